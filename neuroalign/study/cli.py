"""LightningCLI over our tasks and DataModules: ``neuroalign fit|validate|test|predict --config FILE``."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI

import neuroalign.callbacks
import neuroalign.data
import neuroalign.tasks  # noqa: F401 - loaded, so that a configuration can name classes without their module
from neuroalign.checksums import check_checkpoint


class NeuroalignCLI(LightningCLI):
    """LightningCLI that refuses to evaluate a network nobody trained."""

    def _parse_ckpt_path(self) -> None:
        """Take the model from the configuration alone.

        Lightning would read the checkpoint's hyperparameters as command-line arguments too; ours describe modules as
        they were built (a predictor, not the path it came from), which is more than such arguments can say.
        """

    def before_instantiate_classes(self) -> None:
        """Check that there is a checkpoint to evaluate, that it is whole, and that nothing but data is read from it."""
        command = self.subcommand
        if self.config[command].weights_only is None:  # Lightning would unpickle anything that comes from a URL
            self.config[command].weights_only = True
        checkpoint = self.config[command].get("ckpt_path")
        if checkpoint and Path(str(checkpoint)).exists():  # else a word such as "last", a URL, or Lightning's to refuse
            try:
                check_checkpoint(checkpoint)
            except ValueError as error:
                _end(command, str(error))
        if command != "fit" and not self.config[command].ckpt_path:
            self.parser.error(
                f"`neuroalign {command}` needs --ckpt_path FILE: without it, it would {command} a network with random weights"
            )

    def instantiate_classes(self) -> None:
        """Make what the configuration names; what is wrong with its values ends the command with one line."""
        try:
            super().instantiate_classes()
        except (ValueError, OSError) as error:
            reason: BaseException = error
            while reason.__cause__ is not None:
                reason = reason.__cause__
            if not isinstance(reason, (ValueError, OSError)):
                raise
            _end(self.subcommand, _cause(str(error), str(reason)))


def _cause(told: str, first: str) -> str:
    """The one reason in what the parser tells of every type that it tried."""
    if "\n" not in first:
        return first
    reasons = [line.strip()[2:] for line in told.splitlines() if line.strip().startswith("- ")]
    of_types = ("Does not validate", "Expected a", "Not a valid", "a class path", "a dict ")
    own = [reason for reason in reasons if not reason.startswith(of_types)]
    return own[0] if own else first.splitlines()[0]


def _end(command: str, reason: str) -> NoReturn:
    print(f"neuroalign {command}: {reason}", file=sys.stderr)
    raise SystemExit(2) from None


def run_lightning(argv: Sequence[str]) -> None:
    """Run one of LightningCLI's commands."""
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
    except pickle.UnpicklingError:
        _end(argv[0], "the checkpoint is damaged, or holds more than tensors and plain values: nothing of it was run")
