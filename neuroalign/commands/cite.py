"""``neuroalign cite``: BibTeX for the software, and for what a run or study used."""

from __future__ import annotations

import argparse
import shutil
import sys
import textwrap
from pathlib import Path
from typing import Any

from neuroalign.commands.parser import examples

__all__: list[str] = []


def add_parser(commands: Any) -> None:
    """Add the command."""
    text = "BibTeX for the software, and for the data and methods of a run or study"
    parser = commands.add_parser(
        "cite",
        help=text,
        description=f"{text}. What its records don't name, such as recordings of your own, is yours to add.",
        epilog=examples(
            "neuroalign cite                 the software and the paper of its method",
            "neuroalign cite results > x.bib what the study or run in results used",
            "neuroalign cite guided.ckpt     what a checkpoint or saved network names",
            "neuroalign cite pgd cka nsd     an attack, a measure, a data set",
            "neuroalign cite --list          all references",
        ),
    )
    parser.add_argument(
        "what",
        nargs="*",
        metavar="DIR|NAME",
        help="folders of runs, studies or saved models, .ckpt or .safetensors files, or names and keys",
    )
    parser.add_argument("--list", action="store_true", help="print the key of every reference")


def run(args: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        FileNotFoundError: If a folder holds no record of a run.
        ValueError: If a name is unknown, or a record damaged.
    """
    from neuroalign.citations import bibtex, keys_of, list_references
    from neuroalign.citations.records import FILES

    if args.list:
        references = list_references()
        width = max(map(len, references)) + 2
        room = max(shutil.get_terminal_size().columns - width, 20) if sys.stdout.isatty() else sys.maxsize
        for key, text in references.items():
            print(f"{key:{width}}{textwrap.shorten(text, room, placeholder=' ...')}")
        return
    names: list[str] = []
    for what in args.what:
        names += keys_of(what) if Path(what).exists() or "/" in what or Path(what).suffix in FILES else [what]
    print(bibtex(*names), end="")
    if any(Path(what).exists() for what in args.what) and not getattr(args, "quiet", False):
        print("a data set of your own is yours to add", file=sys.stderr)
