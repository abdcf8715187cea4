"""The parts of an unfinished evaluation: continued by the same evaluation, and in nobody's way after a failure."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from neuroalign.evaluation.results_file import OtherResultsError
from neuroalign.files import whole
from neuroalign.functional.distributed import world_size

__all__: list[str] = []

T = TypeVar("T")
_FAILED = "failed.txt"
SET_ASIDE = "parts-of-failed-run"


def with_parts(out: Path, run: Callable[[Path], T], say: Callable[[str], None]) -> T:
    """The result of a run that keeps its parts in a folder, from which a later run goes on.

    A run that failed because of its input leaves a note. If the next one is of other images or of another network, the parts
    of the failed run are moved away. Parts of a run that was stopped or killed stay, and the next run must be the same.

    Args:
        out: The folder of the evaluation; parts are in the folder ``parts`` in it.
        run: The run; its argument is the folder of the parts.
        say: Called with a line of text.

    Raises:
        ValueError: If the folder holds the parts of another run that was stopped, or the results of another one.
    """
    parts = out / "parts"
    failed = (parts / _FAILED).exists()
    (parts / _FAILED).unlink(missing_ok=True)
    try:
        return _noted(parts, run)
    except OtherResultsError as error:
        if not failed or (out / "record.json").exists() or world_size() > 1:
            useless = out if (out / "record.json").exists() else parts
            raise ValueError(
                f"{error.what}: name another folder as out (--out), or remove {useless} if nobody needs what is in it"
            ) from error
    shutil.rmtree(out / SET_ASIDE, ignore_errors=True)
    parts.rename(out / SET_ASIDE)
    say(
        f"The parts of an earlier run that failed belong to other images or another network: they are in {out / SET_ASIDE}"
    )
    return _noted(parts, run)


def _noted(parts: Path, run: Callable[[Path], T]) -> T:
    try:
        return run(parts)
    except OtherResultsError:
        raise
    except (ValueError, TypeError) as error:  # a mistake in the input, which the next run won't have
        if parts.is_dir():
            with whole(parts / _FAILED) as temporary:
                temporary.write_text(f"{error}\n", encoding="utf-8")
        raise
