"""LightningCLI over our tasks and DataModules: ``neuroalign fit|validate|test|predict --config FILE``."""

from __future__ import annotations

import logging
import sys
from collections.abc import Sequence

from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI

import neuroalign.callbacks
import neuroalign.data
import neuroalign.tasks  # noqa: F401 - loaded, so that a configuration can name classes without their module


class NeuroalignCLI(LightningCLI):
    """LightningCLI that refuses to evaluate a network nobody trained."""

    def _parse_ckpt_path(self) -> None:
        """Take the model from the configuration alone.

        Lightning would read the checkpoint's hyperparameters as command-line arguments too; ours describe modules as
        they were built (a predictor, not the path it came from), which is more than such arguments can say.
        """

    def before_instantiate_classes(self) -> None:
        """Check that there is a checkpoint to evaluate."""
        command = self.subcommand
        if command != "fit" and not self.config[command].ckpt_path:
            self.parser.error(
                f"`neuroalign {command}` needs --ckpt_path FILE: without it, it would {command} a network with random weights"
            )


def run_lightning(argv: Sequence[str]) -> None:
    """Run one of LightningCLI's commands.

    Raises:
        KeyboardInterrupt: If it was stopped by Ctrl-C, after Lightning has tidied up. Checkpoints that were saved stay.
    """
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    logger.addFilter(_tells_more_than_an_interrupt)
    try:
        NeuroalignCLI(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            args=None if list(argv) == sys.argv[1:] else list(argv),  # it warns where both are given
            parser_kwargs={"prog": "neuroalign"},
        )
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # of which Lightning makes an exit with status 1
            raise KeyboardInterrupt from None
        raise
    finally:
        logger.removeFilter(_tells_more_than_an_interrupt)


def _tells_more_than_an_interrupt(record: logging.LogRecord) -> bool:
    return "Detected KeyboardInterrupt" not in record.getMessage()
