"""Classes of the user's own on the command line: the option that allows their Python modules, and what asks for it."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

__all__: list[str] = []


def add_allow(parser: argparse.ArgumentParser) -> None:
    """Add ``--allow``."""
    parser.add_argument("--allow", nargs="+", default=[], metavar="MODULE", help="Python modules or packages of your own, "
                        "from which the class of the network's backbone may be imported, such as mynet for mynet.py in the "
                        "working directory")  # fmt: skip


def find_in_working_directory() -> None:
    """Let Python find modules in the working directory: last, so that no file there hides an installed package."""
    if str(Path.cwd()) not in sys.path and "" not in sys.path:
        sys.path.append(str(Path.cwd()))


def import_own(allow: Sequence[str]) -> None:
    """Import the modules that ``--allow`` names, so that the classes which they register are found.

    Raises:
        ValueError: If one can't be imported; the message says why.
    """
    if not allow:
        return
    from neuroalign.config.own_modules import import_allowed

    find_in_working_directory()
    try:
        import_allowed(allow)
    except ValueError as error:
        raise ValueError(f"--allow: {error}") from error.__cause__


@contextmanager
def asking_for_allow(path: Path, allow: Sequence[str]) -> Iterator[None]:
    """Say by which option a file is read whose backbone is of a class of the user's own.

    Raises:
        ValueError: If a file was refused for want of such a class.
    """
    from neuroalign.config.own_modules import lacking

    try:
        yield
    except ValueError as error:
        wanted = lacking(error)
        if wanted is None:
            raise
        if wanted.module == "__main__":
            advice = (
                f"it was defined in a script or notebook, where no command finds it: write it to a file, such as mynet.py, "
                f"load the network in Python by backbone={wanted.name}() from there, and save it again"
            )
        elif wanted.module in allow:
            advice = f"{wanted.module} neither defines it nor calls neuroalign.register on it"
        else:
            advice = f"allow its Python module, --allow {wanted.module}, if you trust it: importing it runs it"
        raise ValueError(f"{path}: its backbone is of the class {wanted}, none of neuroalign's; {advice}") from error
