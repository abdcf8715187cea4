"""``neuroalign simulate``: write a simulated subject as NSD files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from neuroalign.commands.parser import at_least, examples
from neuroalign.files import output_folder

__all__: list[str] = []


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "simulate",
        help="write a simulated subject as a folder of NSD files",
        description="Write a simulated subject as a folder of NSD files: responses of three regions to images of digits, "
        "from a known code with noise. Every command that reads NSD reads it, to try them without the data.",
        epilog=examples(
            "neuroalign simulate --out nsd",
            "neuroalign nsd check nsd",
            "neuroalign nsd extract nsd --subject 1 --roi V1 V4 --out subj01.h5",
        ),
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write to; empty or absent")
    parser.add_argument("--container", choices=("hdf5", "nii.gz"), default="hdf5", help="file format of the betas")
    parser.add_argument("--seed", type=at_least(0), default=0, help="seed of the code and of the noise")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from neuroalign.data import load_digits, write_simulated_nsd

    images, labels = load_digits()
    subject = write_simulated_nsd(output_folder(args.out), images, labels, container=args.container, seed=args.seed)
    print(f"Wrote a simulated subject ({len(subject.stimulus)} digit images, regions {', '.join(subject.signals)}) to "
          f"{subject.root}")  # fmt: skip
