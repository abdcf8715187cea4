"""Soft matching: how well single units of one representation can be paired with single voxels of another."""

from __future__ import annotations

import warnings

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from neuroalign.functional.checks import check_enough
from neuroalign.functional.missing import center, check_valid, prepare, shared
from neuroalign.functional.variation import unit_range

__all__ = ["soft_matching"]


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

    Sinkhorn's algorithm in float64. The potentials are absorbed into the kernel every few steps, so that no number leaves
    its range, and the temperature is lowered by halves, so that the algorithm converges at small temperatures too.
    """
    r, a, b = r.double(), a.double(), b.double()
    f, g = torch.zeros_like(a), torch.zeros_like(b)
    current = max(temperature, 0.5)
    while True:
        last = current <= temperature
        for _ in range(100 if last else 2):
            kernel = ((r - f[:, None] - g) / current).exp()
            u, v = torch.ones_like(a), torch.ones_like(b)
            for _ in range(25):
                u = 1 / (kernel @ (b * v))
                v = 1 / (kernel.T @ (a * u))
            f, g = f - current * u.log(), g - current * v.log()
            error = (u * (kernel @ (b * v)) - 1).abs().max()
            if error < tolerance:
                break
        if last:
            break
        current = max(current / 2, temperature)
    if error > 1e-2:
        warnings.warn(f"soft matching did not converge (marginal error {float(error):.1e}): raise the temperature "
                      f"above {temperature}", RuntimeWarning, stacklevel=4)  # fmt: skip
    plan = ((r - f[:, None] - g) / temperature).exp() * a[:, None] * b
    return plan, a @ f + b @ g


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
        r.detach(), a, voxel / voxel.sum(), temperature, 1e-5 if r.dtype == torch.float32 else 1e-11
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
    if temperature <= 0:
        raise ValueError(f"temperature must be positive; got {temperature}")
    preds, target, w = prepare(x, y, weight)
    check_valid(w)
    check_enough(len(preds), 3, "soft matching")
    value, defined = soft_matching_terms(preds, target, w, temperature)
    return torch.where(defined, value, torch.nan)
