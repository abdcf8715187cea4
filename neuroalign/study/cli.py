"""LightningCLI over our tasks and DataModules: ``neuroalign fit|validate|test|predict --config FILE``."""

from __future__ import annotations

from collections.abc import Sequence

from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI

import neuroalign.callbacks
import neuroalign.data
import neuroalign.tasks  # noqa: F401 - loaded, so that a configuration can name classes without their module


class NeuroalignCLI(LightningCLI):
    """LightningCLI that refuses to evaluate a network nobody trained."""

    def before_instantiate_classes(self) -> None:
        """Check that there is a checkpoint to evaluate."""
        command = self.subcommand
        if command != "fit" and not self.config[command].ckpt_path:
            self.parser.error(
                f"`neuroalign {command}` needs --ckpt_path FILE: without it, it would {command} a network with random weights"
            )


def run_lightning(argv: Sequence[str]) -> None:
    """Run one of LightningCLI's commands."""
    NeuroalignCLI(
        LightningModule,
        LightningDataModule,
        subclass_mode_model=True,
        subclass_mode_data=True,
        save_config_kwargs={"overwrite": True},
        seed_everything_default=0,
        args=list(argv),
        parser_kwargs={"prog": "neuroalign"},
    )
