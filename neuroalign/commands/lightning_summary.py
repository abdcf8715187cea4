"""The parts of a network that is about to be trained, in a few lines."""

from __future__ import annotations

from typing import Any

from lightning.pytorch.callbacks import ModelSummary
from lightning.pytorch.utilities.model_summary import get_human_readable_count
from torch import nn
from torch.nn.parameter import UninitializedParameter

__all__: list[str] = []


class PartsSummary(ModelSummary):
    """Prints the parts of a module that have parameters: how many, and whether they are trained.

    Lightning's table also counts modules in eval mode and operations. A frozen predictor is in eval mode on purpose, and
    operations are 0 for a module without an example input.
    """

    def on_fit_start(self, trainer: Any, pl_module: nn.Module) -> None:
        """Print the parts."""
        if trainer.is_global_zero and self._max_depth:
            print(parts_of(pl_module))


def parts_of(module: nn.Module) -> str:
    """A line for each part of a module that has parameters.

    Example:
        >>> print(parts_of(nn.ModuleDict({"a": nn.Linear(9, 1), "b": nn.Identity()})))
        a  Linear  10 parameters, trained
    """
    rows = []
    for name, part in module.named_children():
        sizes = [
            (0 if isinstance(p, UninitializedParameter) else p.numel(), p.requires_grad) for p in part.parameters()
        ]
        if sizes:
            count = get_human_readable_count(sum(size for size, _ in sizes)).strip()
            trained = {requires for _, requires in sizes}
            state = "trained" if trained == {True} else "frozen" if trained == {False} else "some trained"
            rows.append((name, type(part).__name__, f"{count} parameters, {state}"))
    wide = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    return "\n".join(f"{name:<{wide[0]}}  {kind:<{wide[1]}}  {text}" for name, kind, text in rows)
