"""How the alignment loss compares sets where it can't look at values: on a device, and in compiled graphs."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neuroalign.functional.host import spoil
from neuroalign.functional.row_masks import average_masked, first_rows, keep, mask_sets

__all__: list[str] = []


def masked_value(
    measure: Callable[..., Tensor],
    preds: Float[Tensor, "stimulus feature"],
    target: Float[Tensor, "stimulus voxel"],
    ceiling: Float[Tensor, " voxel"] | None,
    stimulus: Int[Tensor, " stimulus"] | None,
    min_valid: int,
    takes_stimulus: bool,
) -> tuple[Float[Tensor, ""], Float[Tensor, "stimulus voxel"], Bool[Tensor, ""]]:
    """The value of a measure of sets, without a shape that depends on values.

    Args:
        measure: Called as ``measure(preds, target, weight, kept=...)``, with ``stimulus`` too if it takes that.
        preds: (stimulus, feature).
        target: (stimulus, voxel), NaN where missing.
        ceiling: (voxel,) weights; None means 1 everywhere.
        stimulus: (stimulus,) identities; None means that no stimulus occurs twice.
        min_valid: With fewer stimuli the value is 0.
        takes_stimulus: Whether the measure wants all rows of a stimulus, and their numbers; otherwise it gets their mean.

    Returns:
        Value, NaN where preds isn't finite or target infinite; weights (stimulus, voxel); and whether there were enough
        stimuli (True also where the value is NaN).
    """
    wrong = ~preds.detach().isfinite().all() | target.detach().isinf().any()
    sets = mask_sets(preds, target, ceiling)
    first = None if stimulus is None else first_rows(stimulus.to(target.device), sets.kept)
    counted = sets.kept if first is None else sets.kept & (first == torch.arange(len(first), device=first.device))
    enough = counted.sum() >= min_valid
    # Without enough stimuli every row is left out, and the measure is undefined: it must still send no NaN.
    sets = keep(sets, enough & ~wrong)
    if takes_stimulus and first is not None:
        value = measure(*sets[:3], kept=sets.kept, stimulus=first)
    else:
        sets = average_masked(sets, first)
        value = measure(*sets[:3], kept=sets.kept)
    value = torch.where(enough, value, 0) + (0 * preds).sum()  # with a graph, whatever the measure did
    return spoil(value, wrong), sets.weight, enough | wrong
