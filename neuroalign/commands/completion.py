"""``neuroalign --print-completion SHELL``: a script by which a shell completes commands, options, choices and files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from neuroalign.commands.parser import parsers

__all__: list[str] = []

SHELLS = ("bash", "zsh", "tcsh", "fish")
_FILES = {"ckpt", "data", "file", "config", "ckpt_path", "out", "what"}
_FOLDERS = {"root", "place"}


def add_option(parser: argparse._ActionsContainer) -> None:
    """Add the option to the parser of all commands, or to a group of its options."""
    parser.add_argument(
        "--print-completion", action=_PrintCompletion, choices=SHELLS, default=argparse.SUPPRESS, metavar="SHELL",
        help="print the script that completes commands by the Tab key: for bash, zsh, tcsh or fish",
    )  # fmt: skip


class _PrintCompletion(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, namespace: Any, values: Any, option_string: Any = None) -> None:
        try:
            import shtab
        except ImportError:
            parser.error("--print-completion needs shtab: pip install shtab")
        for each in parsers(parser):
            for action in each._actions:
                if isinstance(action, argparse._SubParsersAction):  # shells show one line beside a command
                    for choice in action._choices_actions:
                        action.choices[choice.dest].description = choice.help
                if (action.type is Path or action.dest in _FILES | _FOLDERS) and not action.choices:
                    action.complete = shtab.DIRECTORY if action.dest in _FOLDERS else shtab.FILE
        try:
            script = shtab.complete(parser, values, root_prefix="neuroalign")
        except NotImplementedError:
            parser.error(f"this shtab doesn't know {values}: pip install -U shtab")
        print(script)
        parser.exit()
