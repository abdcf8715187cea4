"""Log likelihoods of responses: Gaussian for betas, Poisson for spike counts."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from neuroalign.functional.checks import check_infinite, check_pair, widen

__all__ = ["gaussian_nll", "poisson_nll"]


def weighted_mean(values: Float[Tensor, ...], weight: Float[Tensor, ...]) -> Float[Tensor, ""]:
    """Weighted mean of all values; 0 where all weights are 0."""
    return (weight * values).sum() / weight.sum().clamp_min(torch.finfo(values.dtype).tiny)


def _weigh(
    preds: Tensor, target: Tensor, weight: Tensor | None, *, squared: bool = False
) -> tuple[Tensor, Tensor, Tensor]:
    check_pair(preds, target)
    preds, target = widen(preds, target)
    check_infinite(weight=weight)
    check_infinite(target=target, squared=squared)
    valid = ~target.isnan()
    if not bool(valid.any()):
        raise ValueError("target has no valid value: every entry is NaN")
    weight = torch.where(valid, 1 if weight is None else weight.to(target.dtype).nan_to_num(0.0).expand_as(target), 0)
    used = weight > 0
    return torch.where(used, preds, 0), torch.where(used, target, 0), weight.to(target.dtype)


def check_counts(target: Tensor, weight: Tensor) -> None:
    """Refuse negative spike counts.

    Raises:
        ValueError: With the smallest value and the reason.
    """
    low = float(torch.where(weight > 0, target, 0).min()) if target.numel() else 0.0
    if low < 0:
        raise ValueError(
            f"a Poisson likelihood is of counts, which can't be negative; the target's smallest value is {low:.3g}. Were "
            "the responses z-scored, or a baseline subtracted? Use 'gaussian_nll' or 'mse' for those"
        )


def check_rates(rates: Tensor, weight: Tensor, log_input: bool) -> None:
    """Refuse negative rates, unless they are log rates.

    Raises:
        ValueError: With the smallest value and the remedy.
    """
    if not log_input and bool((torch.where(weight > 0, rates, 1) < 0).any()):
        raise ValueError(
            f"rates can't be negative; the smallest is {float(rates.min()):.3g}. Let the network give log rates "
            "(log_input=True), or end it with softplus"
        )


def gaussian_nll(
    preds: Float[Tensor, "stimulus voxel"],
    target: Float[Tensor, "stimulus voxel"],
    variance: Float[Tensor, ""] | Float[Tensor, " voxel"] | Float[Tensor, "stimulus voxel"] | float = 1.0,
    *,
    weight: Float[Tensor, " voxel"] | Float[Tensor, "stimulus voxel"] | None = None,
) -> Float[Tensor, ""]:
    r"""Negative log likelihood of responses with Gaussian noise, averaged over valid entries.

    .. math:: \frac{(\hat y - y)^2}{2\sigma^2} + \tfrac12 \log \sigma^2

    without the constant :math:`\tfrac12\log 2\pi`. Its minimum over predictions is the mean of
    :math:`\tfrac12\log\sigma^2`, at perfect alignment.

    Args:
        preds: (stimulus, voxel).
        target: (stimulus, voxel), NaN where missing.
        variance: Variance of the noise: a number, (voxel,) or (stimulus, voxel), positive.
        weight: (voxel,) or (stimulus, voxel), non-negative; None means 1 everywhere.

    Returns:
        Scalar.

    Raises:
        ValueError: If the shapes differ, nothing is valid, a target is infinite or its square would be, or a variance is not
            positive and finite.

    Example:
        >>> gaussian_nll(torch.zeros(2, 1), torch.tensor([[1.0], [-1.0]]))
        tensor(0.5000)
    """
    preds, target, w = _weigh(preds, target, weight, squared=True)
    variance = torch.as_tensor(variance, dtype=target.dtype, device=target.device)
    if not bool((variance > 0).all()):
        raise ValueError(f"variance must be positive; its smallest value is {float(variance.min()):.3g}")
    check_infinite(variance=variance)
    return gaussian_terms(preds, target, w, variance)


def gaussian_terms(
    preds: Float[Tensor, "stimulus voxel"],
    target: Float[Tensor, "stimulus voxel"],
    weight: Float[Tensor, "stimulus voxel"],
    variance: Float[Tensor, ...],
) -> Float[Tensor, ""]:
    """The Gaussian negative log likelihood of responses without NaN."""
    return weighted_mean(((preds - target).square() / variance + variance.log()) / 2, weight)


def poisson_nll(
    preds: Float[Tensor, "stimulus neuron"],
    target: Float[Tensor, "stimulus neuron"],
    *,
    log_input: bool = True,
    weight: Float[Tensor, " neuron"] | Float[Tensor, "stimulus neuron"] | None = None,
) -> Float[Tensor, ""]:
    r"""Negative log likelihood of spike counts minus that of rates equal to the counts: half the Poisson deviance.

    .. math:: \lambda - y + y \log(y/\lambda)

    averaged over valid entries; 0 where every rate equals its count. The gradient is that of the plain likelihood.

    Args:
        preds: (stimulus, neuron), log rates, or rates with ``log_input=False``.
        target: (stimulus, neuron), non-negative, NaN where missing.
        log_input: Whether preds are log rates, as in ``torch.nn.PoissonNLLLoss``.
        weight: (neuron,) or (stimulus, neuron), non-negative; None means 1 everywhere.

    Returns:
        Scalar, at least 0.

    Raises:
        ValueError: If the shapes differ, nothing is valid, a count is negative or infinite, or a rate is negative (without
            ``log_input``).

    Example:
        >>> poisson_nll(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]]))
        tensor(0.5000)
    """
    preds, target, w = _weigh(preds, target, weight)
    check_counts(target, w)
    check_rates(preds, w, log_input)
    return poisson_terms(preds, target, w, log_input)


def poisson_terms(
    preds: Float[Tensor, "stimulus voxel"],
    target: Float[Tensor, "stimulus voxel"],
    weight: Float[Tensor, "stimulus voxel"],
    log_input: bool,
) -> Float[Tensor, ""]:
    """Half the Poisson deviance of counts without NaN."""
    if log_input:
        rate, log_rate = preds.exp(), preds
    else:
        # A rate of 0 has an infinite negative log likelihood where there were spikes, and is right where there were none.
        rate, log_rate = preds, torch.where(target > 0, preds.clamp_min(torch.finfo(preds.dtype).tiny), 1).log()
    return weighted_mean(rate - target + torch.xlogy(target, target) - target * log_rate, weight)
