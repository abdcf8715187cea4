"""Soft matching: how well single units of one representation can be paired with single voxels of another."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neuroalign.functional.checks import check_enough
from neuroalign.functional.host import readable
from neuroalign.functional.missing import center, check_valid, prepare, shared
from neuroalign.functional.variation import unit_range

__all__ = ["soft_matching"]

_WARM = 0.01  # the lowest temperature at which exp(r / temperature) stays well inside float64
_ROUND = 10  # sweeps between two estimates of the error


def unit_correlations(
    preds: Float[Tensor, "stimulus feature"],
    target: Float[Tensor, "stimulus voxel"],
    weight: Float[Tensor, "stimulus voxel"],
    kept: Bool[Tensor, " stimulus"] | None = None,
) -> tuple[Tensor, Tensor]:
    """Correlations (feature, voxel) over stimuli of all pairs of columns of prepared sets, 0 where undefined.

    Each voxel is correlated over its valid stimuli; ``kept`` (stimulus,) says which rows count, None means all. The second
    result says whether both sides vary.
    """
    complete = shared(weight)
    used = None if complete else weight > 0
    x, varies_x, _ = unit_range(preds, None if kept is None else kept[:, None])
    y, varies_y, _ = unit_range(target, used)
    any_varies = varies_x.any() & varies_y.any()
    if complete:
        x, y = x - x.mean(0), y - y.mean(0)
        xx, cross = x.square().sum(0)[:, None], x.T @ y
        defined = varies_x[:, None] & varies_y
    else:
        # A feature may be constant over the valid stimuli of a voxel; seeing that by a difference of sums needs float64.
        valid = weight.gt(0).double()
        x, y = (x - x.mean(0)).double(), center(y, valid.to(y.dtype)).double()
        square, mean = (x * x).T @ valid, x.T @ valid / valid.sum(0).clamp_min(1)
        xx, cross = square - valid.sum(0) * mean**2, x.T @ y
        defined = varies_x[:, None] & varies_y & (xx > 64 * torch.finfo(xx.dtype).eps * square)
    yy = torch.where(varies_y, y.square().sum(0), 1)
    r = cross / torch.where(defined, xx, 1).sqrt() / yy.sqrt()
    return torch.where(defined, r, 0 * cross).to(preds.dtype), any_varies


@torch.no_grad()
def _transport(r: Tensor, a: Tensor, b: Tensor, temperature: float, tolerance: float) -> tuple[Tensor, Tensor]:
    """The coupling (feature, voxel) that maximises sum P r - temperature KL(P | a b'), and that maximum.

    Sinkhorn's algorithm in float64. A temperature below 0.01 is approached by halves: there the kernel of the correlations
    themselves would leave float64, and the algorithm converge slowly.
    """
    r, a, b = r.double(), a.double(), b.double()
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    current = max(temperature, _WARM)
    while current > temperature:
        f, g, _ = _sinkhorn(r, a, b, f, g, current, 0.0, looks=(50,))
        current = max(current / 2, temperature)
    # A look makes the host of a device wait, so there are few of them, and some sweeps too many.
    looks = range(_ROUND, 2001, _ROUND) if readable(r) else (10, 40, 150, 600, 2000)
    f, g, error = _sinkhorn(r, a, b, f, g, temperature, tolerance, looks)
    if error > 1e-2:
        warnings.warn(f"soft matching did not converge (marginal error {error:.1e}): raise the temperature "
                      f"above {temperature}", RuntimeWarning, stacklevel=4)  # fmt: skip
    plan = ((r - f[:, None] - g) / temperature).exp() * a[:, None] * b
    return plan, a @ f + b @ g


def _sinkhorn(
    r: Tensor,
    a: Tensor,
    b: Tensor,
    f: Tensor,
    g: Tensor,
    temperature: float,
    tolerance: float,
    looks: Sequence[int],
) -> tuple[Tensor, Tensor, float]:
    """Sweeps of the potentials (feature,) and (voxel,) at one temperature, over-relaxed, until a look finds them right.

    Returns the potentials, with which the sums over features are exact, and the largest error of the sums over voxels,
    relative; 0 without tolerance.
    """
    kernel = ((r - f[:, None] - g) / temperature).exp()
    turned = kernel.T
    u, v = torch.ones_like(a), torch.ones_like(b)
    relaxation, before, error = r.new_ones(()), r.new_full((), torch.inf), 0.0
    for sweep in range(1, looks[-1] + 1):
        change = (kernel.mv(b * v).mul_(u)).reciprocal_()
        if sweep % _ROUND == 0:
            now = (1 / change - 1).abs().amax()
            if tolerance and sweep in looks:
                error = float(now)
                if error < (tolerance if sweep <= 500 else 10 * tolerance):
                    break
            relaxation, before = _relaxation(relaxation, before, now), now
        u.mul_(change.pow_(relaxation))
        v.mul_(turned.mv(a * u).mul_(v).reciprocal_().pow_(relaxation))
        if temperature < _WARM and sweep % 25 == 0:  # so that no number leaves its range
            f, g = f - temperature * u.log(), g - temperature * v.log()
            kernel = ((r - f[:, None] - g) / temperature).exp()
            turned = kernel.T
            u, v = torch.ones_like(a), torch.ones_like(b)
    u = 1 / kernel.mv(b * v)
    v = 1 / turned.mv(a * u)
    return f - temperature * u.log(), g - temperature * v.log(), error


def _relaxation(relaxation: Tensor, before: Tensor, now: Tensor) -> Tensor:
    """By which power the sweeps of the next round move the factors; 1 is Sinkhorn's algorithm.

    Near the solution the error shrinks by a constant factor a sweep. From this factor follows that of plain sweeps, and from
    that the best power (the theory of successive over-relaxation; Lehmann et al. 2022, arXiv 2012.12562).
    """
    rate = (now / before) ** (1 / _ROUND)
    plain = ((rate + relaxation - 1).square() / (rate * relaxation.square())).clamp_max(1 - 1e-6)
    best = (2 / (1 + (1 - plain).sqrt())).clamp_max(1.97)
    faster = torch.where((now < 0.3) & (rate > relaxation - 1), best, relaxation)
    return torch.where(rate < 1, faster, (1 + relaxation) / 2)


def soft_matching_terms(
    preds: Float[Tensor, "stimulus feature"],
    target: Float[Tensor, "stimulus voxel"],
    weight: Float[Tensor, "stimulus voxel"],
    temperature: float,
    kept: Bool[Tensor, " stimulus"] | None = None,
) -> tuple[Float[Tensor, ""], Bool[Tensor, ""]]:
    """Soft matching similarity of prepared sets, and whether both sides vary; of the rows ``kept``, None means all."""
    r, defined = unit_correlations(preds, target, weight, kept)
    voxel = weight.amax(0)
    if kept is not None:
        voxel = torch.where(kept.any(), voxel, 1)
    a = r.new_full((r.shape[0],), 1 / r.shape[0])
    plan, value = _transport(
        r.detach(), a, voxel / voxel.sum(), temperature, 1e-6 if r.dtype == torch.float32 else 1e-11
    )
    # At the maximum, the derivative with respect to r is that of a constant plan (envelope theorem).
    paid = (plan.to(r.dtype) * r).sum()
    return paid + (value.to(r.dtype) - paid).detach(), defined


def soft_matching(
    x: Float[Tensor, "stimulus feature"],
    y: Float[Tensor, "stimulus voxel"],
    *,
    temperature: float = 0.05,
    weight: Float[Tensor, " voxel"] | Float[Tensor, "stimulus voxel"] | None = None,
) -> Float[Tensor, ""]:
    r"""Soft matching: the best pairing of units with voxels, by the correlation of their responses over stimuli.

    .. math:: \max_P \sum_{fv} P_{fv} r_{fv} - \tau\,\mathrm{KL}(P \,\|\, ab^\top)

    over couplings P of units (each of weight 1/number) and voxels (weights as given). As the temperature goes to 0 this is
    the soft matching correlation score, a permutation-invariant similarity of two sets of different size; at a temperature
    above 0 it is lower by at most :math:`\tau \log(\text{number of voxels})`, even at perfect alignment.

    Unchanged by shifting and positively scaling single columns, by permuting them and by permuting the stimuli of both;
    *not* by rotations: it measures whether the axes agree.

    Missing values: a voxel is correlated over its valid stimuli. Integer weights equal repeating voxels.

    Args:
        x: (stimulus, feature).
        y: (stimulus, voxel), NaN where missing.
        temperature: tau, in units of correlation, positive.
        weight: (voxel,) or (stimulus, voxel), non-negative; None means 1 everywhere. The weight of a voxel is the largest
            of its entries.

    Returns:
        Scalar, at most 1; NaN if a side is constant. A constant column correlates 0 with all.

    Raises:
        ValueError: If the number of stimuli differs or is below 3, no value is valid, or the temperature is not
            positive.

    Example:
        >>> x = torch.tensor([[0.0, 1.0], [1.0, 0.0], [3.0, 1.0], [0.0, 0.0]])
        >>> soft_matching(x, x.flip(1), temperature=0.001).round(decimals=2)
        tensor(1.)

    Source:
        Khosla & Williams 2024, arXiv 2311.09466; Cuturi 2013, arXiv 1306.0895 (entropic transport).
    """
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive and finite; got {temperature}")
    preds, target, w = prepare(x, y, weight)
    check_valid(w)
    check_enough(len(preds), 3, "soft matching")
    value, defined = soft_matching_terms(preds, target, w, temperature)
    return torch.where(defined, value, torch.nan)
