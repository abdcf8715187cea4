"""The command line: ``neuroalign`` = ``python -m neuroalign``.

Only the standard library is imported here, so that ``--help`` answers at once; a command loads what it needs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from neuroalign.commands import (
    cite,
    completion,
    demo,
    doctor,
    evaluate,
    export,
    geometry,
    lightning,
    nsd,
    simulate,
    study,
    versions,
)
from neuroalign.commands.mistakes import told_in_one_line
from neuroalign.commands.parser import Parser, commands_of, examples, parsers
from neuroalign.commands.verbosity import Verbosity, add_options, print_whatever_comes, taken_from, told

__all__: list[str] = []

_COMMANDS: dict[str, Any] = {
    "demo": demo,
    "study": study,
    "simulate": simulate,
    "nsd": nsd,
    "geometry": geometry,
    "evaluate": evaluate,
    "export": export,
    "doctor": doctor,
    "cite": cite,
}


def _parser() -> Parser:
    parser = Parser(
        add_help=False,  # options come after the commands
        prog="neuroalign",
        description="Train networks to match a brain, and test whether it makes them robust.",
        epilog=examples(
            "neuroalign demo --fast              see that everything runs",
            "neuroalign evaluate --help          options and examples of a command",
            "neuroalign doctor                   what is installed, and what is missing",
            "neuroalign --print-completion bash  completion by the Tab key",
        ),
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands", prog="neuroalign")
    for command in _COMMANDS.values():
        command.add_parser(commands)
    lightning.add_parsers(commands)
    options = parser.add_argument_group("options")
    options.add_argument("-h", "--help", action="help", help="show this help, or that of a command")
    options.add_argument(
        "--version", action=versions.ShowVersions, help="show versions of neuroalign and what it needs"
    )
    completion.add_option(options)
    for each in parsers(parser):
        add_options(each)
        each.shorten()
    return parser


def main(argv: Sequence[str] | None = None) -> None:
    """Run a command; without one, show the help."""
    argv = list(sys.argv[1:] if argv is None else argv)
    print_whatever_comes()
    verbosity, rest = taken_from(argv)
    if rest and rest[0] in lightning.COMMANDS:
        with told_in_one_line(rest[0], debug=verbosity.debug), told(verbosity):
            lightning.run(rest, verbosity)
        return
    if rest and rest[0] == "help":  # as in git help COMMAND
        argv = [*rest[1:], "--help"]
    with told_in_one_line(rest[0] if rest else "help", debug=verbosity.debug):
        args = _parser().read(argv)
    if commands_of(args.parser):
        args.parser.print_help()
        return
    _run(args)


def _run(args: argparse.Namespace) -> None:
    command = _COMMANDS[args.command]
    verbosity = Verbosity.of(args)
    args.quiet = verbosity.quiet
    goes_on = command.goes_on(args) if hasattr(command, "goes_on") else None
    name = args.parser.prog.removeprefix("neuroalign ")
    with told_in_one_line(name, debug=verbosity.debug, goes_on=goes_on), told(verbosity):
        command.run(args)


if __name__ == "__main__":
    main()
