"""The penalty of each voxel in ridge regression: by the error at stimuli that are left out, or by an estimate of it."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neuroalign.functional.gram import gram
from neuroalign.functional.host import readable
from neuroalign.functional.ridge_fit import LinearMap, Penalties
from neuroalign.functional.ridge_groups import CHUNK, Groups, patterns, sharing_voxels
from neuroalign.functional.ridge_systems import SEEN, RestrictedInverses

__all__: list[str] = []

_LEAST_FREEDOM = 1e-12
_EQUAL = 1e-12  # relative difference below which errors are equal but for rounding


@torch.no_grad()
def chosen_penalties(
    x: Float[Tensor, "stimulus feature"],
    y: Float[Tensor, "stimulus voxel"],
    grid: Float[Tensor, " penalty"],
    valid: Bool[Tensor, "stimulus voxel"] | None = None,
    groups: Groups | None = None,
    *,
    leave_one_out: bool = False,
) -> Int[Tensor, " voxel"]:
    """The number of each voxel's penalty with the least error.

    Args:
        x: (stimulus, feature), float64 as all that follows.
        y: (stimulus, voxel), anything finite where missing.
        grid: (penalty,), positive.
        valid: (stimulus, voxel), False where y is missing; None means nothing is missing.
        groups: The voxels by missing stimuli, if the caller has them; read from a device otherwise. Complete ones take an
            inverse for each penalty in place of an eigendecomposition, for which a device would be asked.
        leave_one_out: Whether to take the mean squared error at left-out stimuli, else that of generalised cross-validation.
    """
    if valid is None and groups is None:
        return _least(_complete_errors(x, y, grid, leave_one_out))
    k = gram(x - x.mean(0))
    if valid is None or not readable(k):
        groups = Groups.of(valid)[0] if groups is None and valid is not None else groups
        assert groups is not None
        return _least(_masked_errors(k, y, grid, groups, leave_one_out))
    shares = sharing_voxels(valid, x.shape[1], len(grid), chosen=True, leave_one_out=leave_one_out)
    shares = shares & (grid.min() > SEEN * k.diagonal().sum())
    chosen = y.new_zeros(y.shape[1], dtype=torch.long)
    if bool(shares.any()):
        if groups is None or not bool(shares.all()):
            groups = Groups.of(valid[:, shares])[0]
        errors = _masked_errors(k, y[:, shares], grid, groups, leave_one_out)
        chosen[shares] = _least(errors)
        shares[shares.clone()] = ~errors.isnan().any(0)  # rounding has spoilt the others
    for rows, voxels in patterns(valid, (~shares).nonzero()[:, 0]):
        chosen[voxels] = _least(_complete_errors(x[rows], y[rows][:, voxels], grid, leave_one_out))
    return chosen


def _least(errors: Tensor) -> Tensor:
    """The number of the least error (penalty, voxel), the first of those that are equal but for rounding."""
    number = torch.arange(len(errors), device=errors.device)[:, None]
    least = errors <= errors.amin(0) * (1 + _EQUAL)
    return torch.where(least, number, len(errors) - 1).amin(0)


def _complete_errors(x: Tensor, y: Tensor, grid: Tensor, leave_one_out: bool) -> Tensor:
    """Errors (penalty, voxel) of complete sets, up to a factor, from one decomposition of the features."""
    n = len(x)
    x, y = x - x.mean(0), y - y.mean(0)
    vectors, values = _principal(x, grid.min())
    inside = vectors.T @ y
    shrink = grid[:, None] / (values + grid[:, None])  # what is left of a response along each component
    if not leave_one_out:
        outside = (y.square().sum(0) - inside.square().sum(0)).clamp_min(0)
        freedom = n - 1 - (1 - shrink).sum(1)
        return (shrink.square() @ inside.square() + outside) / freedom.clamp_min(_LEAST_FREEDOM)[:, None] ** 2
    outside = y - vectors @ inside
    # The share of a stimulus that no penalty changes: 1 minus its leverage would cancel.
    beyond = (1 - 1 / n - vectors.square().sum(1)).clamp_min(0)
    left = (beyond + shrink @ vectors.square().T).clamp_min(torch.finfo(x.dtype).tiny)
    errors = [
        ((outside + vectors @ (own[:, None] * inside)) / share[:, None]).square().mean(0)
        for own, share in zip(shrink, left)
    ]
    return torch.stack(errors)


def spectral_map(x: Tensor, y: Tensor, penalty: Penalties) -> LinearMap:
    """The fit of complete sets with any penalties, by the decomposition by which they were chosen; not differentiable."""
    center, mean_y = x.mean(0), y.mean(0)
    x, y = x - center, y - mean_y
    vectors, values = _principal(x, penalty.grid.min())
    solution = vectors @ (vectors.T @ y / (values[:, None] + penalty.values))
    return LinearMap(center, x, solution, mean_y)


def _principal(x: Tensor, penalty: Tensor) -> tuple[Tensor, Tensor]:
    """Unit vectors (stimulus, component) along centred features, with their squared lengths (component,); both 0 for none."""
    n, p = x.shape
    values, vectors = torch.linalg.eigh(gram(x) if n <= p else gram(x.T))
    top = values[-1:].sum().clamp_min(0)
    if readable(x) and bool(penalty < SEEN * top):
        vectors, lengths, _ = torch.linalg.svd(x, full_matrices=False)
        values, least = lengths.square(), (lengths[0] * max(n, p) * torch.finfo(x.dtype).eps) ** 2
    else:
        least = top * max(n, p) * torch.finfo(x.dtype).eps
        if n > p:
            vectors = x @ vectors / torch.where(values > least, values, 1).sqrt()
    kept = values > least
    return vectors * kept, torch.where(kept, values, 0)


def _masked_errors(k: Tensor, y: Tensor, grid: Tensor, groups: Groups, leave_one_out: bool) -> Tensor:
    """Errors (penalty, voxel) where voxels miss different stimuli, up to a factor for each voxel."""
    valid = groups.valid
    count = valid.sum(1)
    y = torch.where(valid, y.T[groups.order], 0)
    y = torch.where(valid, y - (y.sum(1) / count.clamp_min(1))[:, None], 0)
    errors = []
    for own in grid.split(max(1, CHUNK // (len(k) * (len(k) + len(valid))))):
        inverses = RestrictedInverses(k, own, groups)
        alpha = inverses.solve(y)  # the residual over the penalty
        if leave_one_out:
            share = inverses.diagonal().clamp_min(torch.finfo(k.dtype).tiny)
            error = (alpha / share).square().sum(2)
        else:
            freedom = (own[:, None] * inverses.trace()).clamp_min(_LEAST_FREEDOM)
            error = own[:, None].square() * alpha.square().sum(2) / freedom**2
        errors.append(torch.where(inverses.wrong(), torch.nan, error))
    # One stimulus or none is fitted alike with any penalty.
    return torch.where(count < 2, 0, torch.cat(errors))[:, groups.back]
