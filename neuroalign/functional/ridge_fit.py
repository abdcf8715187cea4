"""Ridge regression of checked tensors: one fit for all voxels, also where they miss different stimuli."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neuroalign.functional.gram import gram
from neuroalign.functional.host import readable, spoil
from neuroalign.functional.ridge_groups import Groups, patterns, sharing_voxels
from neuroalign.functional.ridge_systems import SEEN, PenalizedSolve, RestrictedInverses

__all__: list[str] = []


class Penalties(NamedTuple):
    """Penalties, and which voxels share one.

    Attributes:
        values: Scalar or (voxel,), differentiable.
        grid: (penalty,), the different ones of them.
        which: (voxel,), the number of each voxel's penalty; None means that there is only one.
    """

    values: Tensor
    grid: Tensor
    which: Tensor | None

    @classmethod
    def of(cls, values: Tensor) -> Penalties:
        """Penalties (voxel,), of which a device is asked which are equal, or a scalar."""
        if not values.ndim:
            return cls(values, values.detach()[None], None)
        return cls(values, *values.detach().unique(return_inverse=True))

    def of_voxels(self, voxels: Tensor) -> Penalties:
        """The penalties of some voxels."""
        return Penalties.of(self.values[voxels]) if self.values.ndim else self


class LinearMap(NamedTuple):
    """A fitted map from features to responses.

    Attributes:
        center: (feature,), the point at which it gives the intercept.
        support: (stimulus, feature), centred, if the solution has a coefficient for each stimulus; None if for each feature.
        solution: (stimulus or feature, voxel).
        intercept: (voxel,).
    """

    center: Tensor
    support: Tensor | None
    solution: Tensor
    intercept: Tensor

    def predict(self, query: Float[Tensor, "query feature"]) -> Float[Tensor, "query voxel"]:
        """The responses to other stimuli."""
        query = query - self.center
        return (query if self.support is None else query @ self.support.T) @ self.solution + self.intercept

    def coefficients(self) -> Float[Tensor, "feature voxel"]:
        """The coefficients of the features."""
        return self.solution if self.support is None else self.support.T @ self.solution


def ridge_predictions(
    x: Float[Tensor, "stimulus feature"],
    y: Float[Tensor, "stimulus voxel"],
    query: Float[Tensor, "query feature"],
    penalty: Penalties,
    valid: Bool[Tensor, "stimulus voxel"] | None = None,
    groups: Groups | None = None,
) -> Float[Tensor, "query voxel"]:
    """Predictions of :func:`neuroalign.functional.ridge`, for checked tensors in one dtype with magnitudes near 1.

    Args:
        x: (stimulus, feature).
        y: (stimulus, voxel), anything finite where missing.
        query: (query, feature).
        penalty: The penalties.
        valid: (stimulus, voxel), False where y is missing; None means nothing is missing.
        groups: The voxels by missing stimuli, if the caller has them; read from a device otherwise.

    Returns:
        (query, voxel), NaN for a voxel without any valid stimulus.
    """
    pred = None
    for voxels, fit in ridge_maps(x, y, penalty, valid, groups):
        own = fit.predict(query)
        if voxels is None:
            return own if valid is None else torch.where(valid.any(0), own, torch.nan)
        if pred is None:
            pred = own.new_full((len(query), y.shape[1]), torch.nan)
        pred = pred.index_copy(1, voxels, own)
    return query.new_full((len(query), y.shape[1]), torch.nan) if pred is None else pred


def ridge_maps(
    x: Float[Tensor, "stimulus feature"],
    y: Float[Tensor, "stimulus voxel"],
    penalty: Penalties,
    valid: Bool[Tensor, "stimulus voxel"] | None = None,
    groups: Groups | None = None,
    *,
    complete: Callable[[Tensor, Tensor, Penalties], LinearMap] | None = None,
) -> list[tuple[Tensor | None, LinearMap]]:
    """The fitted maps with the numbers of their voxels, None for all voxels.

    Args:
        x: As in :func:`ridge_predictions`.
        y: As in :func:`ridge_predictions`.
        penalty: The penalties.
        valid: As in :func:`ridge_predictions`.
        groups: As in :func:`ridge_predictions`.
        complete: Fits complete sets; None means by Cholesky's method, differentiably.
    """
    complete = complete or _cholesky_map
    if valid is None:
        return [(None, complete(x, y, penalty))]
    shares = sharing_voxels(valid, x.shape[1], len(penalty.grid)) if readable(x) else None
    if shares is None or bool(shares.all()):
        fit = _masked_map(x, y, penalty, groups or Groups.of(valid)[0])
        if fit is not None:
            return [(None, fit)]
        shares = valid.new_zeros(y.shape[1])
    maps: list[tuple[Tensor | None, LinearMap]] = []
    if bool(shares.any()):
        voxels = shares.nonzero()[:, 0]
        fit = _masked_map(x, y[:, voxels], penalty.of_voxels(voxels), Groups.of(valid[:, voxels])[0])
        if fit is None:
            shares = torch.zeros_like(shares)
        else:
            maps.append((voxels, fit))
    for rows, voxels in patterns(valid, (~shares).nonzero()[:, 0]):
        maps.append((voxels, complete(x[rows], y[rows][:, voxels], penalty.of_voxels(voxels))))
    return maps


def _cholesky_map(x: Tensor, y: Tensor, penalty: Penalties) -> LinearMap:
    center, mean_y = x.mean(0), y.mean(0)
    x, y = x - center, y - mean_y
    dual = len(x) <= x.shape[1]
    a, right = (gram(x), y) if dual else (gram(x.T), x.T @ y)
    values = penalty.values.expand(y.shape[1])
    solution = PenalizedSolve.apply(a, right, values, _solver(a.detach(), penalty))
    return LinearMap(center, x if dual else None, solution, mean_y)


def _solver(a: Tensor, penalty: Penalties) -> Callable[[Tensor], Tensor]:
    """A function that solves (a + penalty) z = right for each voxel, by Cholesky's method for each different penalty."""
    eye = torch.eye(len(a), dtype=a.dtype, device=a.device)
    if readable(a):
        factors = [_cholesky(a + value * eye) for value in penalty.grid]
        if penalty.which is None:
            return lambda right: torch.cholesky_solve(right, factors[0])
        columns = [(penalty.which == i).nonzero()[:, 0] for i in range(len(factors))]

        def solve(right: Tensor) -> Tensor:
            out = torch.empty_like(right)
            for own, factor in zip(columns, factors):
                out[:, own] = torch.cholesky_solve(right[:, own], factor)
            return out

        return solve
    factor, info = torch.linalg.cholesky_ex(a + penalty.grid[:, None, None] * eye)
    which, wrong = penalty.which, info.ne(0).any()

    def solve_all(right: Tensor) -> Tensor:
        out = torch.cholesky_solve(right, factor[0])
        if which is not None:
            for i in range(1, len(factor)):
                out = torch.where(which == i, torch.cholesky_solve(right, factor[i]), out)
        return spoil(out, wrong)

    return solve_all


def _cholesky(a: Tensor) -> Tensor:
    factor, info = torch.linalg.cholesky_ex(a)
    if int(info):
        raise ValueError(
            f"the ridge penalty is lost to rounding beside the features' inner products, some of which depend on others: "
            f"take a larger penalty (in units of the squared features), or float64 tensors in place of {a.dtype}"
        )
    result: Tensor = factor
    return result


def _masked_map(x: Tensor, y: Tensor, penalty: Penalties, groups: Groups) -> LinearMap | None:
    """The fit where voxels miss different stimuli; None where rounding hides a penalty, on the CPU."""
    center = x.mean(0)
    x = x - center
    k = gram(x)
    fixed = k.detach()
    if readable(k) and not _is_seen(fixed, penalty.grid.min()):
        return None
    valid = groups.valid[groups.back].T
    wide = torch.float32 if k.device.type == "mps" else torch.float64  # which has no float64
    which = None if penalty.which is None else penalty.which[groups.order]
    inverses = RestrictedInverses(fixed.to(wide), penalty.grid.to(wide), groups, which)

    def solve(right: Tensor) -> Tensor:
        right = torch.where(groups.valid, right.T[groups.order], 0)
        alpha = inverses.solve(right.to(wide))[0].to(k.dtype)
        return spoil(alpha, inverses.wrong())[groups.back].T

    share = valid.to(k.dtype) / valid.sum(0).clamp_min(1)
    mean_y = (y * share).sum(0)
    alpha = PenalizedSolve.apply(k, torch.where(valid, y - mean_y, 0), penalty.values.expand(y.shape[1]), solve)
    if readable(k) and bool(inverses.wrong()):
        return None
    return LinearMap(center, x, alpha, mean_y - ((k @ share) * alpha).sum(0))


def _is_seen(k: Tensor, penalty: Tensor) -> bool:
    """Whether a penalty counts beside the rounding errors of inner products, in their dtype and in float64."""
    eye = torch.eye(len(k), dtype=k.dtype, device=k.device)
    info = torch.linalg.cholesky_ex(k + penalty * eye)[1]
    return not int(info) and bool(penalty > SEEN * k.diagonal().sum())
