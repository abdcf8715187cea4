"""A mistake of whoever typed a command is answered in one sentence; a fault of ours keeps its traceback."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import TracebackType

from neuroalign.addresses import redacted
from neuroalign.commands.extras import extra_of, is_needed

__all__: list[str] = []

_OF_THE_USER = (ValueError, TypeError, OSError, ImportError, IndexError)
"""Errors that our own checks raise for a wrong value, file or missing extra."""

_FOREIGN = {"MisconfigurationException", "OutOfMemoryError", "UnpicklingError", "YAMLError"}
"""The same of other packages, by name: importing those would make every command slow."""

_UNFORESEEN = (
    "neuroalign {command}: this error was not foreseen. If the lines above don't tell you what to change, it is a fault of "
    "ours: please report them with what `neuroalign doctor` prints."
)


@contextmanager
def told_in_one_line(command: str, *, debug: bool = False, goes_on: str | None = None) -> Iterator[None]:
    """Answer a mistake with one line and exit status 2, and Ctrl-C with one line and exit status 130.

    An error of another kind is a fault of ours: it keeps its traceback, which ends by saying where to report it.

    Args:
        command: Name of the command, for the line.
        debug: Whether mistakes keep their whole traceback, too.
        goes_on: How to go on after Ctrl-C, such as "the same command goes on from what is in DIR"; None if there is nothing
            to go on from.

    Raises:
        SystemExit: After a mistake or Ctrl-C.

    Example:
        >>> # Prints "neuroalign evaluate: there is no layer9 ..." on stderr:
        >>> with told_in_one_line("evaluate"):
        ...     raise ValueError("there is no layer9")
        Traceback (most recent call last):
            ...
        SystemExit: 2
    """
    try:
        yield
    except KeyboardInterrupt:
        if debug:
            raise
        print(f"\nneuroalign {command}: stopped{f'; {goes_on}' if goes_on else ''}", file=sys.stderr)
        raise SystemExit(130) from None
    except BrokenPipeError:  # the reader of our output, such as `head`, has read enough
        with suppress(OSError, ValueError, AttributeError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the exit flushes to it once more
        raise SystemExit(141) from None
    except SystemExit as stop:
        if isinstance(stop.__context__, BrokenPipeError):  # rich has answered it, with status 1
            raise SystemExit(141) from None
        raise
    except Exception as error:
        if debug:
            raise
        if not _of_the_user(error):
            error.add_note(_UNFORESEEN.format(command=command))
            raise
        print(f"neuroalign {command}: {sentence_of(error)}", file=sys.stderr)
        raise SystemExit(2) from None


def sentence_of(error: BaseException) -> str:
    r"""What an error says to a user: on one line, unless our own check found several mistakes at once.

    A message of ours, which other packages may have wrapped in reports of many lines, comes before theirs. Passwords in URLs
    are hidden.

    Example:
        >>> sentence_of(ValueError("two\nlines"))
        'two lines (--debug shows where)'
        >>> sentence_of(FileNotFoundError(2, "No such file or directory", "guide.yaml"))
        'guide.yaml: No such file or directory'
    """
    told = _telling(error)
    if type(told).__module__.startswith("neuroalign."):
        text = str(told).strip()
    elif isinstance(told, OSError) and told.strerror:
        text = f"{os.fspath(told.filename)}: {told.strerror}" if told.filename is not None else str(told.strerror)
    else:
        text = " ".join(str(told).split()) or type(told).__name__
    if _out_of_memory(told):
        text = f"the memory of the device is too small: a smaller batch needs less ({text.split('. ')[0]})"
    elif isinstance(told, ImportError):
        text += _remedy(told)
    elif not isinstance(told, OSError) and not _is_ours(told):
        text += " (--debug shows where)"
    return redacted(text)


def _of_the_user(error: BaseException) -> bool:
    names = {kind.__name__ for kind in type(error).__mro__}
    return isinstance(error, _OF_THE_USER) or bool(names & _FOREIGN) or _out_of_memory(error)


def _out_of_memory(error: BaseException) -> bool:
    """Whether the memory of a GPU or of the machine is too small: torch has a class for the first alone."""
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
        return True
    return isinstance(error, RuntimeError) and "DefaultCPUAllocator: can't allocate memory" in str(error)


def _telling(error: BaseException) -> BaseException:
    """The error in a chain that tells most: the last that our code raised, else the last; the first if that is a report."""
    chain = list(chain_of(error))
    for each in chain:
        if _is_ours(each) and str(each) and _of_the_user(each):
            return each
    if "\n" not in str(error).strip() and str(error):
        return error
    return next((each for each in reversed(chain) if str(each) and _of_the_user(each)), error)


def chain_of(error: BaseException | None) -> Iterator[BaseException]:
    """An error, what it was raised from, what that was raised from ..."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _is_ours(error: BaseException) -> bool:
    """Whether it was raised in our code, rather than in a package that our code called."""
    last: TracebackType | None = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return last is not None and str(last.tb_frame.f_globals.get("__name__", "")).split(".")[0] == "neuroalign"


def _remedy(error: ImportError) -> str:
    """How to install what is missing, if the message doesn't say it."""
    extra = extra_of(error.name or "")
    if "pip install" in str(error) or not error.name:
        return ""
    if extra:
        return f": pip install 'neuroalign[{extra}]'"
    return ": neuroalign needs it; `neuroalign doctor` says what is missing or broken" if is_needed(error.name) else ""
