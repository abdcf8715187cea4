"""What ``fit``, ``validate`` and ``test`` say at the end: where everything is, how to go on, and the values."""

from __future__ import annotations

import os
import pickle
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from neuroalign.commands.attack_names import explained

__all__: list[str] = []

_FIRST = ("accuracy", "robust_accuracy", "normalized_correlation", "correlation", "pattern_correlation")
_GAP = "  "


def table_of(results: Mapping[str, float], width: int | None = None) -> str:
    """Results as two columns, with whole names; what people look for first comes first, what attacks' names mean last.

    Args:
        results: Values by name.
        width: Columns of the terminal; None asks it.

    Example:
        >>> print(table_of({"test/task_loss": 1.82704, "test/accuracy": 0.646}, width=80))
        test/accuracy   0.6460
        test/task_loss  1.8270
    """
    width = shutil.get_terminal_size().columns if width is None else width
    rows = [(name, _value(results[name])) for name in sorted(results, key=_place)]
    wide = max((len(value) for _, value in rows), default=0)
    column = min(max((len(name) for name, _ in rows), default=0), max(width - wide - len(_GAP), 20))
    lines = []
    for name, value in rows:
        *before, last = _broken(name, column)
        lines += [*before, f"{last:<{column}}{_GAP}{value:>{wide}}"]
    attacks = [part for name in results if "robust_accuracy" in name.split("/") for part in name.split("/")]
    if legend := explained(attacks):
        lines += ["In the names:", *(f"  {line}" for line in legend)]
    return "\n".join(lines)


def _place(name: str) -> tuple[int, str]:
    """Where a value stands: by what it measures, then by name."""
    parts = name.split("/")
    measures = [parts[0], *(parts[1:2])]
    return next((place for place, first in enumerate(_FIRST) if first in measures), len(_FIRST)), name


def _value(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1e5 else f"{value:.4g}"


def _broken(name: str, width: int) -> list[str]:
    """A name on as many lines as it needs, broken after slashes where there are some."""
    lines = []
    while len(name) > width:
        at = name.rfind("/", 1, width) + 1 or width
        lines.append(name[:at])
        name = "  " + name[at:]
    return [*lines, name]


def newest_checkpoint(trainer: Any) -> str | None:
    """The checkpoint that was written last in this run; None if none was."""
    paths = set()
    for callback in trainer.checkpoint_callbacks:
        names = ("last_model_path", "best_model_path", "_last_checkpoint_saved")
        paths |= {path for name in names if (path := getattr(callback, name, "")) and Path(path).exists()}
    return shown(max(paths, key=lambda path: Path(path).stat().st_mtime)) if paths else None


def how_to_go_on(argv: Sequence[str], trainer: Any) -> str:
    """The end of the line that answers Ctrl-C."""
    checkpoint = newest_checkpoint(trainer) if trainer.state.fn == "fit" else None
    if checkpoint is None:
        return "no checkpoint was written yet" if trainer.state.fn == "fit" else "nothing was written"
    return f"to go on: {command_of(argv, checkpoint)}"


def command_of(argv: Sequence[str], checkpoint: str, command: str | None = None) -> str:
    """The command with another checkpoint, as one types it.

    Example:
        >>> command_of(
        ...     ["fit", "--config", "guide.yaml", "--ckpt_path=old.ckpt"], "runs/last.ckpt"
        ... )
        'neuroalign fit --config guide.yaml --ckpt_path runs/last.ckpt'
    """
    kept, skip = [], False
    for each in argv[1:]:
        if not skip and not each.startswith("--ckpt_path"):
            kept.append(each)
        skip = each == "--ckpt_path"
    return shlex.join(["neuroalign", command or argv[0], *kept, "--ckpt_path", checkpoint])


def end_of_fit(argv: Sequence[str], trainer: Any, configuration: Path | None) -> str:
    """Where the checkpoints, the log and the configuration of a finished training are, and the next command.

    Args:
        argv: The command that was run.
        trainer: Its trainer.
        configuration: The configuration that was saved; None if none was.
    """
    lines = []
    best, score = _best(trainer)
    newest = newest_checkpoint(trainer)
    if best is not None:
        facts = ", ".join(filter(None, (score, _epochs_in(best, trainer))))
        lines.append(("best checkpoint", f"{best} ({facts})" if facts else best))
    if newest is not None and newest != best:
        facts = _epochs_in(newest, trainer)
        lines.append(("last checkpoint", f"{newest} ({facts})" if facts else newest))
    if (log := _log_of(trainer)) is not None:
        lines.append(("log", log))
    if configuration is not None and configuration.exists():
        lines.append(("configuration", shown(configuration)))
    checkpoint = best or newest
    if checkpoint is not None:
        again = _only_configurations(argv) or configuration is None
        argv = argv if again else ["fit", "--config", shown(configuration or "")]
        lines.append(("next", command_of(argv, checkpoint, "test")))
    else:
        lines.append(("checkpoint", "none was written: trainer.enable_checkpointing or a ModelCheckpoint writes one"))
    wide = max(len(name) for name, _ in lines)
    return "\n".join(f"{name + ':':<{wide + 1}} {text}" for name, text in lines)


def _best(trainer: Any) -> tuple[str | None, str]:
    """The best checkpoint by what it was chosen by, with the value; if nothing chose one, there is no best."""
    for callback in trainer.checkpoint_callbacks:
        path, monitor = getattr(callback, "best_model_path", ""), getattr(callback, "monitor", None)
        if path and monitor is not None and Path(path).exists():
            score = getattr(callback, "best_model_score", None)
            return shown(path), "" if score is None else f"{monitor} {float(score):.4f}"
    return None, ""


def _epochs_in(checkpoint: str, trainer: Any) -> str:
    """After how many epochs a checkpoint was written; empty if it doesn't say."""
    try:
        # Only what is looked at is read from the disk.
        epoch = torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["epoch"]
    except (OSError, RuntimeError, ValueError, KeyError, TypeError, pickle.UnpicklingError):
        return ""
    return f"after {epoch + 1} of {trainer.current_epoch} epochs"


def without_test_set(datamodule: Any) -> str | None:
    """What to say below test's values if they are those of the validation set; None if there is a test set.

    Example:
        >>> from types import SimpleNamespace
        >>> without_test_set(SimpleNamespace(datasets={"test": []}))
    """
    datasets = getattr(datamodule, "datasets", None) or {}
    if "test" in datasets or "val" not in datasets:
        return None
    return (
        f"These are the validation images: {type(datamodule).__name__} has no test set here.\n"
        "If they chose the checkpoint, the values are too high."
    )


def _log_of(trainer: Any) -> str | None:
    for logger in trainer.loggers:
        folder = getattr(logger, "log_dir", None) or getattr(logger, "save_dir", None)
        if folder:
            file = Path(folder) / "metrics.csv"
            return shown(file if file.exists() else folder)
    return None


def _only_configurations(argv: Sequence[str]) -> bool:
    rest = [each for each in argv[1:] if not each.startswith("--config=")]
    return bool(argv[1:]) and all(each in ("--config", "-c") for each in rest[::2]) and len(rest) % 2 == 0


def shown(path: str | os.PathLike[str]) -> str:
    """A path relative to the working directory, if it lies in it."""
    path = Path(path)
    try:
        return str(path.resolve().relative_to(Path.cwd()))
    except ValueError:
        return str(path)
