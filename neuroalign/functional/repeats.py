"""Repeated stimuli: which rows belong to the same stimulus, and averages over them.

Rows of the same stimulus are alike on both sides, even if the sides have nothing in common. So where sides are compared by
all pairs of stimuli, pairs of such rows must be left out.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuroalign.functional.checks import check_devices
from neuroalign.functional.missing import shared

__all__: list[str] = []


def check_identities(stimulus: Tensor, num_rows: int) -> None:
    """Refuse anything but an integer identity for each row.

    Raises:
        TypeError: If it is no tensor, not of integers, or not one-dimensional.
        ValueError: If it is not one for each row, or holds no values.
    """
    if not isinstance(stimulus, Tensor):
        raise TypeError(f"stimulus must be a tensor; got {type(stimulus).__name__} (torch.as_tensor(list) makes one)")
    if stimulus.ndim != 1 or stimulus.is_floating_point() or stimulus.is_complex() or stimulus.dtype == torch.bool:
        raise TypeError(
            f"stimulus must be integer identities (stimulus,); got {stimulus.dtype} {tuple(stimulus.shape)}"
        )
    check_devices(stimulus=stimulus)
    if len(stimulus) != num_rows:
        raise ValueError(f"preds has {num_rows} stimuli, but {len(stimulus)} identities were given")


def group_rows(stimulus: Int[Tensor, " row"]) -> Int[Tensor, " row"] | None:
    """The number of each row's stimulus, counted from 0 in order of first occurrence; None if none occurs twice.

    Args:
        stimulus: (row,) integer identities.

    Returns:
        (row,) int64, or None.

    Example:
        >>> group_rows(torch.tensor([7, 3, 7, 5]))
        tensor([0, 1, 0, 2])
        >>> group_rows(torch.tensor([7, 3, 5])) is None
        True
    """
    identity, which = stimulus.unique(return_inverse=True)
    if len(identity) == len(stimulus):
        return None
    rows = torch.arange(len(which), device=which.device)
    first = torch.full_like(identity, len(which), dtype=torch.long).scatter_reduce(0, which, rows, "amin")
    return first.argsort().argsort()[which]


def group_valid_rows(
    stimulus: Int[Tensor, " row"] | None,
    target: Float[Tensor, "row voxel"],
    weight: Float[Tensor, " voxel"] | Float[Tensor, "row voxel"] | None = None,
) -> Int[Tensor, " kept"] | None:
    """As :func:`group_rows`, but only of the rows that :func:`neuroalign.functional.missing.prepare` keeps.

    Args:
        stimulus: (row,) integer identities; None means that no stimulus occurs twice.
        target: (row, voxel), NaN where missing.
        weight: (voxel,) or (row, voxel), non-negative; None means 1 everywhere.

    Raises:
        TypeError: If the identities are no integers.
        ValueError: If they are not one for each row.

    Example:
        >>> group_valid_rows(torch.tensor([7, 5, 7]), torch.tensor([[1.0], [torch.nan], [2.0]]))
        tensor([0, 0])
    """
    if stimulus is None:
        return None
    check_identities(stimulus, len(target))
    stimulus = stimulus.to(target.device)
    if group_rows(stimulus) is None:
        return None
    valid = ~target.isnan() if weight is None else ~target.isnan() & (weight > 0)
    return group_rows(stimulus[valid.any(1)])


def count_stimuli(num_rows: int, group: Tensor | None) -> int:
    """Number of different stimuli among rows with the numbers of :func:`group_rows`.

    Example:
        >>> count_stimuli(3, torch.tensor([0, 1, 0])), count_stimuli(3, None)
        (2, 3)
    """
    return num_rows if group is None else int(group.max()) + 1


def _sum_rows(x: Tensor, group: Tensor, num_stimuli: int) -> Tensor:
    return x.new_zeros(num_stimuli, x.shape[1]).index_add(0, group, x)


def mean_rows(
    x: Float[Tensor, "row column"], group: Int[Tensor, " row"], num_stimuli: int | None = None
) -> Float[Tensor, "stimulus column"]:
    """The mean of the rows of each stimulus.

    Args:
        x: (row, column).
        group: (row,) numbers of :func:`group_rows`.
        num_stimuli: That of :func:`count_stimuli`, for callers that know it: counting makes a device's host wait.

    Returns:
        (stimulus, column).

    Example:
        >>> mean_rows(torch.tensor([[1.0], [5.0], [3.0]]), torch.tensor([0, 1, 0]))
        tensor([[2.],
                [5.]])
    """
    size = count_stimuli(len(x), group) if num_stimuli is None else num_stimuli
    rows = x.new_zeros(size).index_add(0, group, x.new_ones(len(x)))
    return _sum_rows(x, group, size) / rows[:, None]


def average_repeats(
    preds: Float[Tensor, "row feature"],
    target: Float[Tensor, "row voxel"],
    weight: Float[Tensor, "row voxel"],
    group: Int[Tensor, " row"] | None,
) -> tuple[Float[Tensor, "stimulus feature"], Float[Tensor, "stimulus voxel"], Float[Tensor, "stimulus voxel"]]:
    """Prepared sets with one row per stimulus: the mean of its rows.

    Args:
        preds: (row, feature).
        target: (row, voxel), anything finite where missing.
        weight: (row, voxel), 0 where missing; the means of the target are weighted by it.
        group: (row,) numbers of :func:`group_rows`; None returns everything unchanged.

    Returns:
        preds (stimulus, feature); target (stimulus, voxel), 0 where missing; weight (stimulus, voxel), the largest
        weight among the rows of the stimulus.

    Example:
        >>> x = torch.tensor([[1.0], [5.0], [3.0]])
        >>> average_repeats(x, 10 * x, torch.ones(3, 1), torch.tensor([0, 1, 0]))[:2]
        (tensor([[2.],
                [5.]]), tensor([[20.],
                [50.]]))
    """
    if group is None:
        return preds, target, weight
    size = count_stimuli(len(preds), group)
    preds = mean_rows(preds, group, size)
    if shared(weight):
        return preds, mean_rows(target, group, size), weight[:1].expand(size, weight.shape[1])
    sums = _sum_rows(weight, group, size)
    target = _sum_rows(weight * target, group, size) / torch.where(sums > 0, sums, 1)
    weight = torch.zeros_like(sums).scatter_reduce(0, group[:, None].expand_as(weight), weight, "amax")
    if bool((weight == weight[:1]).all()):
        weight = weight[:1].expand_as(weight)
    return preds, target, weight
