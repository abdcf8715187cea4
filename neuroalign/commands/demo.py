"""``neuroalign demo``: the whole experiment on a simulated subject."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from neuroalign.files import output_folder

__all__: list[str] = []


def add_parser(commands: Any) -> None:
    """Add the command."""
    parser = commands.add_parser(
        "demo",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        help="run the whole experiment on a simulated subject, in minutes",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("neuroalign-demo"), help="folder for tables, figures and report"
    )
    parser.add_argument(
        "--fast", action="store_true", help="take seconds, to see that it runs; its numbers mean nothing"
    )
    parser.add_argument(
        "--replications", type=_count, default=argparse.SUPPRESS,
        help="number of replications, each with new splits and networks (default: 4, with --fast 2)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="seed of the first replication")
    parser.add_argument("--workers", type=int, help="number of replications that run at once; None means one per core")
    parser.add_argument("--ray", action="store_true", help="run the replications on Ray (extra: ray)")


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError(f"must be at least 1; got {count}")
    return count


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    import os

    from rich.console import Console

    console = Console()
    try:
        output_folder(args.out)
    except OSError as error:
        sys.exit(f"neuroalign demo: {error}")
    with console.status("loading"):
        from neuroalign.study.demo import DemoSettings, replicate
        from neuroalign.study.demo_report import write_report
        from neuroalign.study.replication import run_replications
    settings = DemoSettings.fast() if args.fast else DemoSettings()
    replications = getattr(args, "replications", 2 if args.fast else 4)
    results = run_replications(
        replicate,
        range(args.seed, args.seed + replications),
        settings,
        work=settings.work,
        num_workers=args.workers or os.cpu_count() or 1,
        use_ray=args.ray,
        console=console,
    )
    write_report(results, settings, args.out, console, fast=args.fast)
