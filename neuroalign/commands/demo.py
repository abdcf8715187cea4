"""``neuroalign demo``: the study of a simulated subject that comes with the package."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from neuroalign.commands import study
from neuroalign.commands.parser import at_least, examples

__all__: list[str] = []

FILE = Path(__file__).parents[1] / "study/simulated.yaml"


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "demo",
        help="run the whole experiment on a simulated subject, in minutes",
        description="Run the whole experiment on a simulated subject, in minutes: the same as `neuroalign study run` of "
        f"{FILE}. What is done in the folder is not done again: after a stop, the same command goes on.",
        epilog=examples(
            "neuroalign demo --fast                 a minute: see that everything runs",
            "neuroalign demo --out demo             about ten minutes on two cores",
            "neuroalign demo --out demo --replications 10",
        ),
    )
    parser.add_argument("--out", default="neuroalign-demo", help="folder for tables, figures and report")
    parser.add_argument(
        "--fast", action="store_true", help="take a minute, to see that it runs; its numbers mean nothing"
    )
    parser.add_argument(
        "--replications", type=at_least(1), default=argparse.SUPPRESS,
        help="number of replications, each with new splits and networks (default: 4, with --fast 2)",
    )  # fmt: skip
    parser.add_argument("--seed", type=at_least(0), default=0, help="seed of the first replication")
    parser.add_argument("--workers", type=at_least(1), help="stages that run at once (default: one per core)")
    parser.add_argument("--device", default="cpu", help="where networks train: cpu, cuda or auto; these are so small that a "
                        "GPU gains little")  # fmt: skip
    parser.add_argument("--ray", action="store_true", help="run the stages on Ray (extra: ray)")


def goes_on(args: argparse.Namespace) -> str:
    """How to go on after Ctrl-C."""
    return f"the same command goes on from what is in {args.out}"


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    replications = getattr(args, "replications", 2 if args.fast else 4)
    seeds = list(range(args.seed, args.seed + replications))
    study.run(
        argparse.Namespace(
            action="run",
            file=str(FILE),
            out=args.out,
            fast=args.fast,
            settings=[(["seeds"], seeds), *_on_device(args.device)],
            engine="ray" if args.ray else "local",
            workers=args.workers,
            engine_option=[],
            quiet=args.quiet,
        )
    )


def _on_device(named: str) -> list[tuple[list[str], Any]]:
    """Settings of the study that train its networks on a device; which one it is changes no stage's key."""
    if named == "cpu":  # what the file says
        return []
    from neuroalign.commands.networks import open_device

    accelerator = {"cuda": "gpu"}.get(kind := open_device(named).type, kind)
    return [([*place, "accelerator"], accelerator) for place in (["training"], ["predictors", "training"])]
