"""``neuroalign fit``, ``validate``, ``test`` and ``predict``: LightningCLI over our tasks and DataModules."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from neuroalign.commands.verbosity import Verbosity

__all__: list[str] = []

COMMANDS = {
    "fit": "train a task: fit --config guide.yaml",
    "validate": "evaluate a checkpoint on the validation set",
    "test": "evaluate a checkpoint on the test set",
    "predict": "predict with a checkpoint",
}
_COMPLETED: dict[str, tuple[str, ...]] = {
    "--config": (),
    "--ckpt_path": (),
    "--model": ("NeuralPredictionTask", "GuidedClassificationTask"),
    "--data": ("NSDDataModule", "ResponsesDataModule", "GuidanceDataModule"),
    "--optimizer": (),
    "--lr_scheduler": (),
    "--seed_everything": (),
    "--print_config": (),
    "--trainer.accelerator": ("auto", "cpu", "gpu", "mps"),
    "--trainer.devices": (),
    "--trainer.logger": (),
    "--trainer.max_epochs": (),
    "--trainer.precision": ("32-true", "16-mixed", "bf16-mixed"),
}
"""Options that the Tab key offers, with their usual values; LightningCLI has hundreds."""


def add_parsers(commands: Any) -> None:
    """Name the commands in ``neuroalign --help`` and to completion; LightningCLI reads their arguments."""
    for name, text in COMMANDS.items():
        parser = commands.add_parser(name, help=text, add_help=False)
        parser.add_argument("-h", "--help", action="store_true")
        for option, values in _COMPLETED.items():
            parser.add_argument(option, choices=values or None)


def run(argv: Sequence[str], verbosity: Verbosity) -> None:
    """Run the command that the arguments begin with."""
    from neuroalign.commands.lightning_cli import run_lightning

    run_lightning(argv, quiet=verbosity.quiet)
