"""The command line: ``neuroalign`` = ``python -m neuroalign``.

Only the standard library is imported here, so that ``--help`` answers at once; a command loads what it needs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from neuroalign.commands import demo, evaluate, geometry, lightning, nsd, simulate, study

__all__: list[str] = []

_COMMANDS = {"demo": demo, "study": study, "simulate": simulate, "nsd": nsd, "geometry": geometry, "evaluate": evaluate}


def _parser() -> argparse.ArgumentParser:
    from neuroalign.version import __version__

    parser = argparse.ArgumentParser(
        prog="neuroalign", description="Train networks to match a brain, and test whether it makes them robust."
    )
    parser.add_argument("--version", action="version", version=f"neuroalign {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for command in _COMMANDS.values():
        command.add_parser(commands)
    lightning.add_parsers(commands)
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command."""
    argv = list(sys.argv[1:] if argv is None else argv)
    if argv and argv[0] in lightning.COMMANDS:
        with _stopped_in_one_line(argv[0]):
            lightning.run(argv)
        return
    args = _parser().parse_args(argv)
    with _stopped_in_one_line(args.command):
        _COMMANDS[args.command].run(args)


@contextmanager
def _stopped_in_one_line(command: str) -> Iterator[None]:
    """Answer Ctrl-C by one line and the exit status that shells expect of it."""
    try:
        yield
    except KeyboardInterrupt:
        print(f"\nneuroalign {command}: stopped", file=sys.stderr)
        sys.exit(130)


if __name__ == "__main__":
    main()
