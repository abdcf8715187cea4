"""Lines of Lightning that tell a user of our commands nothing: they are left out, each by its own text."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lightning import Callback
from torch import Tensor

from neuroalign.commands.lightning_results import shown
from neuroalign.data.images import ArrayDataset
from neuroalign.files import check_output_folder

__all__: list[str] = []

_VOID_LINES = (
    "Detected KeyboardInterrupt",  # we end with a line that says how to go on
    "GPU available: False",  # what is used in place of a GPU is seen in the end; a GPU that lies idle is a warning
    "TPU available: False",
    "HPU available: False",
    "Trainer already configured with model summary callbacks: [<class 'neuroalign.",
    "\N{ELECTRIC LIGHT BULB} Tip:",  # advertisements
    "Seed set to",  # the saved configuration holds it
    "Restoring states from",  # "Restored all states" follows
    "Loaded model weights from",
    "`Trainer.fit` stopped: `max_epochs=",  # as was asked
    "`Trainer(limit_",
)
_VOID_WARNINGS = (
    r".*treespec, LeafSpec.* is deprecated",  # Lightning's own use of a torch API that moved
    r".*will be overridden by `NeuroalignCLI\.configure_optimizers`",  # what --optimizer asked for
    r"Starting from v1\.9\.0, `tensorboardX` has been removed",  # without a logger, a CSVLogger is used
    r"Checkpoint directory .* exists and is not empty",  # which OnlyNeededWarnings says where it matters
)
_LOGGERS = (
    "lightning.pytorch.utilities.rank_zero",
    "lightning.fabric.utilities.rank_zero",
    "lightning.fabric.utilities.seed",
)


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


class OnlyNeededWarnings(Callback):
    """Leaves out Lightning's warnings where they are void, and says what its warning about a folder means here."""

    _looked = False

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Look at the data sets, which the DataModule has made by now, and at the folders of checkpoints.

        Raises:
            NotADirectoryError: If checkpoints are to be written to a folder that is a file, before anything is trained.
        """
        datasets = list((getattr(trainer.datamodule, "datasets", None) or {}).values())
        if datasets and all(isinstance(d, ArrayDataset) and isinstance(d.image, Tensor) for d in datasets):
            warnings.filterwarnings("ignore", message=r".*does not have many workers which may be a bottleneck")
        for callback in trainer.checkpoint_callbacks if stage == "fit" else ():
            if getattr(callback, "dirpath", None) and "://" not in str(callback.dirpath):
                check_output_folder(callback.dirpath)

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        """Say what a new training may replace: here, since nothing is written by one that ends with a mistake before."""
        if trainer.ckpt_path is not None:
            return
        for callback in trainer.checkpoint_callbacks:  # the log may be in their folder
            folder, replaces = (
                getattr(callback, "dirpath", None),
                not getattr(callback, "_enable_version_counter", True),
            )
            found = sorted(path.name for path in Path(folder).glob("*.ckpt")) if folder else []
            if folder and found and replaces and trainer.is_global_zero:
                warnings.warn(
                    f"{shown(folder)} holds checkpoints of an earlier run, which this one may replace: {', '.join(found)}",
                    stacklevel=2,
                )

    def on_train_batch_start(self, trainer: Any, pl_module: Any, batch: Any, batch_idx: int) -> None:
        """Compare the first images with those that the network was built for: many networks take others silently."""
        if self._looked or not trainer.is_global_zero:
            return
        self._looked = True
        images = batch.get("image") if isinstance(batch, Mapping) else None
        network = getattr(pl_module, "network", None) or getattr(pl_module, "predictor", None)
        wanted = getattr(getattr(network, "trunk", None), "image_shape", None)
        if isinstance(images, Tensor) and wanted is not None and tuple(images.shape[1:]) != tuple(wanted):
            given = list(images.shape[1:])
            warnings.warn(
                f"the network was built for images of image_shape {list(wanted)}, and the data have {given}: give "
                f"image_shape: {given}, unless the network is meant for images of other sizes",
                stacklevel=2,
            )
