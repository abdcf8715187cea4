"""How much a command says: ``--quiet``, ``--verbose`` and ``--debug``, which every command understands."""

from __future__ import annotations

import argparse
import io
import logging
import sys
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

__all__: list[str] = []

_FLAGS = {
    "quiet": (("-q", "--quiet"), "say only where the results are, warnings and errors"),
    "verbose": (("-v", "--verbose"), "say what is being done as well: the library's log, on stderr"),
    "debug": (("--debug",), "after an error, show its whole traceback; implies --verbose"),
}


@dataclass(frozen=True)
class Verbosity:
    """What the options ask for."""

    quiet: bool = False
    verbose: bool = False
    debug: bool = False

    @classmethod
    def of(cls, args: argparse.Namespace) -> Verbosity:
        """From what a parser read."""
        return cls(**{name: bool(getattr(args, name, False)) for name in _FLAGS})


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options to a parser, but those that it has."""
    group = parser.add_argument_group("options of every command")
    taken = {option for action in parser._actions for option in action.option_strings}
    for name, (options, text) in _FLAGS.items():
        free = [option for option in options if option not in taken]
        # Suppressed, so left out of the namespace: a command's own reading must not undo the one before it.
        if len(free) == len(options):
            group.add_argument(*free, dest=name, action="store_true", default=argparse.SUPPRESS, help=text)


def taken_from(argv: Sequence[str]) -> tuple[Verbosity, list[str]]:
    """The options among a command's arguments, and the other arguments: for a parser that isn't ours.

    Example:
        >>> taken_from(["fit", "-q", "--config", "guide.yaml"])
        (Verbosity(quiet=True, verbose=False, debug=False), ['fit', '--config', 'guide.yaml'])
    """
    name_of = {option: name for name, (options, _) in _FLAGS.items() for option in options}
    found = {name_of[each] for each in argv if each in name_of}
    return Verbosity(**dict.fromkeys(found, True)), [each for each in argv if each not in name_of]


@contextmanager
def told(verbosity: Verbosity) -> Iterator[None]:
    """Send the library's log to stderr as the options ask, write warnings on one line, and show progress unless quiet.

    Raises:
        ValueError: If it should be quiet and verbose.
    """
    if verbosity.quiet and verbosity.verbose:
        raise ValueError("--quiet and --verbose exclude each other")
    logger = logging.getLogger("neuroalign")
    before = logger.level, warnings.formatwarning, logger.manager.disable
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s: %(message)s", "%H:%M:%S"))
    if verbosity.verbose or verbosity.debug:
        logger.setLevel(logging.DEBUG)
        logger.addHandler(handler)
    else:
        warnings.formatwarning = _on_one_line
        if verbosity.quiet:
            logging.disable(logging.INFO)  # Lightning's information and our progress, too
    try:
        yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before[0])
        warnings.formatwarning = before[1]
        logging.disable(before[2])


def _on_one_line(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, line: str | None = None
) -> str:
    """A warning as users of a command read it: where in the code it arose is shown by --verbose."""
    return f"warning: {' '.join(str(message).split())}\n"


def print_whatever_comes() -> None:
    """Let a terminal or file that lacks a character get a substitute, where Python would end a run of hours with an error."""
    stream = sys.stdout
    if not isinstance(stream, io.TextIOWrapper) or stream is not sys.__stdout__:  # somebody has replaced it
        return
    stream.reconfigure(errors="backslashreplace" if stream.encoding.lower().startswith("utf") else "replace")
