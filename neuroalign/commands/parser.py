"""A parser that answers a mistake with one sentence and near matches, and shows examples and real defaults in its help."""

from __future__ import annotations

import argparse
import re
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NoReturn

from neuroalign.names import unknown

__all__: list[str] = []

_VALUES = {"int": "N", "count": "N", "number": "N", "float": "X", "Path": "PATH"}
_KINDS = {"int": "a whole number", "float": "a number"}


def at_least(least: int) -> Callable[[str], int]:
    """The type of an option that takes whole numbers from ``least`` on.

    Example:
        >>> at_least(1)("3")
        3
    """

    def number(text: str) -> int:
        if not text.strip().isdecimal() or int(text) < least:
            raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}; got {text}")
        return int(text)

    return number


class Help(argparse.HelpFormatter):
    """Wraps descriptions, leaves examples as they are, and shows a default only where it is a value."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if "\n" in text:
            return "".join(indent + line for line in text.splitlines(keepends=True))
        return super()._fill_text(text, width, indent)

    def _get_help_string(self, action: argparse.Action) -> str | None:
        text = action.help
        if not text or "default" in text or action.default in (None, [], argparse.SUPPRESS) or action.default is False:
            return text
        return f"{text} (default: %(default)s)"


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose mistakes end with one line and exit status 2."""

    given: Sequence[str] = ()
    """The arguments that are being read."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs["formatter_class"] = Help
        super().__init__(*args, **kwargs)
        self.set_defaults(parser=self)  # the innermost one that reads arguments stays

    def shorten(self) -> None:
        """Name what must be given in the first line of the help, and values by what they are rather than by the option."""
        needed = []
        for action in self._actions:
            if action.option_strings and action.metavar is None and action.nargs != 0 and not action.choices:
                action.metavar = _VALUES.get(getattr(action.type, "__name__", ""), action.dest.split("_")[-1].upper())
            if action.required and action.option_strings:
                needed.append(f"{action.option_strings[0]} {action.metavar}{' ...' if action.nargs == '+' else ''}")
            elif not action.option_strings:
                many = isinstance(action, argparse._SubParsersAction) or action.nargs in ("*", "+")
                name = f"{action.metavar or action.dest}{' ...' if many else ''}"
                needed.append(f"[{name}]" if action.nargs in ("?", "*") else name)
        self.usage = " ".join([self.prog, *needed, "[OPTION ...]"])

    def error(self, message: str) -> NoReturn:
        """End the command with one line about the mistake."""
        print(f"{self.prog}: {self._sentence(message)}", file=sys.stderr)
        raise SystemExit(2)

    def _sentence(self, message: str) -> str:
        needed = message.partition("the following arguments are required: ")[2]
        if needed:  # a misspelt option is also one that lacks
            for option in self._unknown_options(self.given):
                return self._no_option(option)
            return f"missing: {needed}; see {self.prog} --help"
        message = message.removeprefix("argument ")
        if read := re.fullmatch(r"(.*): invalid (\w+) value: (.*)", message, re.DOTALL):
            return f"{read[1]}: must be {_KINDS.get(read[2], f'a {read[2]}')}; got {read[3]}"
        return message

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        if action.choices is None or value in action.choices:
            return
        if isinstance(action, argparse._SubParsersAction):
            given = list(self.given)
            for option in self._unknown_options(given[: given.index(value)] if value in given else ()):
                message = f"no option {option!r} here: the options of a command come after its name"
                raise argparse.ArgumentError(None, message)
            raise argparse.ArgumentError(None, unknown(action.dest, value, action.choices))
        raise argparse.ArgumentError(action, unknown("choice", value, map(str, action.choices)))

    def _get_value(self, action: argparse.Action, arg_string: str) -> Any:
        # As of --data "$DATA" without the variable; the path "" would be the working directory.
        if not arg_string.strip() and not isinstance(action, argparse._SubParsersAction):
            raise argparse.ArgumentError(action, "is empty (a variable that is not set?)")
        return super()._get_value(action, arg_string)

    def _unknown_options(self, words: Sequence[str]) -> Iterator[str]:
        known = self._option_string_actions
        for each in words:
            name = each.partition("=")[0]
            if name.startswith("--") and len(name) > 2 and not any(option.startswith(name) for option in known):
                yield name

    def _no_option(self, name: str) -> str:
        options = [each for each in self._option_string_actions if each.startswith("--") and each != "--help"]
        return unknown("option", name, options)

    def read(self, argv: Sequence[str]) -> argparse.Namespace:
        """Read the arguments of a command; ``parser`` is the parser of the innermost command that they name.

        Raises:
            SystemExit: After a mistake, or after what was asked for, such as help, was shown.
        """
        for each in parsers(self):
            each.given = argv
        args, left = self.parse_known_args(argv)
        if left:
            parser = args.parser
            name = left[0].partition("=")[0]
            parser.error(parser._no_option(name) if name.startswith("-") else f"unexpected argument {name!r}")
        return args


def parsers(parser: Any) -> Iterator[Any]:
    """A parser and those of its commands."""
    yield parser
    for inner in commands_of(parser).values():
        yield from parsers(inner)


def commands_of(parser: argparse.ArgumentParser) -> dict[str, Any]:
    """The parsers of a parser's commands, by name."""
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            return dict(action.choices)
    return {}


def examples(*commands: str) -> str:
    """Examples for the end of a command's help: a text per line, of a command and, after two blanks, what it does.

    Example:
        >>> print(examples("neuroalign demo --fast"))
        examples:
          neuroalign demo --fast
    """
    return "examples:\n" + "\n".join(textwrap.indent(each, "  ") for each in commands)
