"""The command line: ``neuroalign`` = ``python -m neuroalign``.

Only the standard library is imported here, so that ``--help`` answers at once; a command loads what it needs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from neuroalign.commands import evaluate, geometry, nsd
from neuroalign.files import output_folder

_LIGHTNING = {
    "fit": "train a task: fit --config guide.yaml",
    "validate": "evaluate a checkpoint on the validation set",
    "test": "evaluate a checkpoint on the test set",
    "predict": "predict with a checkpoint",
}


def _parser() -> argparse.ArgumentParser:
    from neuroalign import __version__

    parser = argparse.ArgumentParser(
        prog="neuroalign", description="Train networks to match a brain, and test whether it makes them robust."
    )
    parser.add_argument("--version", action="version", version=f"neuroalign {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)

    demo = commands.add_parser(
        "demo",
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
        help="the whole experiment on a simulated subject, in minutes",
    )
    demo.add_argument("--out", type=Path, default=Path("neuroalign-demo"), help="folder for tables, figures and report")
    demo.add_argument("--fast", action="store_true", help="seconds, to see that it runs; its numbers mean nothing")
    demo.add_argument(
        "--replications", type=int, default=argparse.SUPPRESS,
        help="how often, with new splits and networks (default: 4, with --fast 2)",
    )  # fmt: skip
    demo.add_argument("--seed", type=int, default=0, help="of the first replication")
    demo.add_argument("--workers", type=int, help="replications at once; None is one a core")
    demo.add_argument("--ray", action="store_true", help="run the replications on Ray (extra: ray)")

    simulate = commands.add_parser("simulate", help="write a simulated subject as a tree of NSD files")
    simulate.add_argument("--out", type=Path, required=True, help="folder to write to; empty or absent")
    simulate.add_argument("--container", choices=("hdf5", "nii.gz"), default="hdf5", help="of the betas")
    simulate.add_argument("--seed", type=int, default=0)

    nsd.add_parser(commands)
    geometry.add_parser(commands)
    evaluate.add_parser(commands)

    for name, text in _LIGHTNING.items():
        commands.add_parser(name, help=text, add_help=False)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] in _LIGHTNING:
        with _stopped_in_one_line(argv[0]):
            from neuroalign.study.cli import run_lightning

            run_lightning(argv)
        return
    parser = _parser()
    args = parser.parse_args(argv)
    if args.command == "demo":
        args.replications = getattr(args, "replications", 2 if args.fast else 4)
        if args.replications < 1:
            parser.error("--replications must be at least 1")
    with _stopped_in_one_line(args.command):
        _run(args)


@contextmanager
def _stopped_in_one_line(command: str) -> Iterator[None]:
    """Answer Ctrl-C by one line and the exit status that shells expect of it."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nneuroalign {command}: stopped", file=sys.stderr)
        sys.exit(130)


def _run(args: argparse.Namespace) -> None:
    if args.command == "demo":
        _demo(args)
    elif args.command == "nsd":
        nsd.run(args)
    elif args.command == "geometry":
        geometry.run(args)
    elif args.command == "evaluate":
        evaluate.run(args)
    else:
        _simulate(args)


def _demo(args: argparse.Namespace) -> None:
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
    results = run_replications(
        replicate,
        range(args.seed, args.seed + args.replications),
        settings,
        work=settings.work,
        num_workers=args.workers or os.cpu_count() or 1,
        use_ray=args.ray,
        console=console,
    )
    write_report(results, settings, args.out, console, fast=args.fast)


def _simulate(args: argparse.Namespace) -> None:
    from neuroalign.data import load_digits, write_simulated_nsd

    images, labels = load_digits()
    try:
        subject = write_simulated_nsd(output_folder(args.out), images, labels, container=args.container, seed=args.seed)
    except OSError as error:
        sys.exit(f"neuroalign simulate: {error}")
    print(f"Wrote a simulated subject ({len(subject.stimulus)} digit images, regions {', '.join(subject.signals)}) to "
          f"{subject.root}")  # fmt: skip


if __name__ == "__main__":
    main()
