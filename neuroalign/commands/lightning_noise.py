"""Lines of Lightning that tell a user of our commands nothing: they are left out, each by its own text."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from lightning import Callback
from torch import Tensor

from neuroalign.data.images import ArrayDataset

__all__: list[str] = []

_VOID_LINES = (
    "Detected KeyboardInterrupt",  # we end with a line that says how to go on
    "GPU available: False",  # what is used in place of a GPU is seen in the end; a GPU that lies idle is a warning
    "TPU available: False",
    "HPU available: False",
    "Trainer already configured with model summary callbacks: [<class 'neuroalign.",
    "\N{ELECTRIC LIGHT BULB} Tip:",  # advertisements
)
_VOID_WARNINGS = (
    r".*treespec, LeafSpec.* is deprecated",  # Lightning's own use of a torch API that moved
    r".*will be overridden by `NeuroalignCLI\.configure_optimizers`",  # what --optimizer asked for
)
_LOGGERS = ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero")


@contextmanager
def without_void_lines() -> Iterator[None]:
    """Leave out the lines and warnings that are void under our commands; all others are shown."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    for logger in loggers:
        logger.addFilter(_tells_something)
    try:
        with warnings.catch_warnings():
            for message in _VOID_WARNINGS:
                warnings.filterwarnings("ignore", message=message)
            yield
    finally:
        for logger in loggers:
            logger.removeFilter(_tells_something)


def _tells_something(record: logging.LogRecord) -> bool:
    text = record.getMessage()
    return not text.startswith(_VOID_LINES) and "Detected KeyboardInterrupt" not in text


class NoAdviceOnWorkers(Callback):
    """Leaves out Lightning's advice to use more loader processes where all images are arrays in memory."""

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Look at the data sets, which the DataModule has made by now."""
        datasets = list((getattr(trainer.datamodule, "datasets", None) or {}).values())
        if datasets and all(isinstance(d, ArrayDataset) and isinstance(d.image, Tensor) for d in datasets):
            warnings.filterwarnings("ignore", message=r".*does not have many workers which may be a bottleneck")
