"""``neuroalign fit``, ``validate``, ``test`` and ``predict``: LightningCLI over our tasks and DataModules."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from neuroalign.commands.mistakes import told_in_one_line

__all__: list[str] = []

COMMANDS = {
    "fit": "train a task: fit --config guide.yaml",
    "validate": "evaluate a checkpoint on the validation set",
    "test": "evaluate a checkpoint on the test set",
    "predict": "predict with a checkpoint",
}


def add_parsers(commands: Any) -> None:
    """Name the commands in ``neuroalign --help``; LightningCLI reads their arguments."""
    for name, text in COMMANDS.items():
        commands.add_parser(name, help=text, add_help=False)


def run(argv: Sequence[str]) -> None:
    """Run the command that the arguments begin with."""
    with told_in_one_line(argv[0], debug="--debug" in argv):
        from neuroalign.commands.lightning_cli import run_lightning

        run_lightning([each for each in argv if each != "--debug"])
