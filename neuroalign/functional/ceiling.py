"""Noise ceilings: how much of the measured responses any model could explain."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuroalign.functional.checks import check_infinite, widen
from neuroalign.functional.variation import is_constant

__all__ = ["noise_ceiling", "noise_ceiling_error", "noise_ceiling_of_trials", "rescale_ceiling"]

_BLOCK = 2**24  # float64 numbers per block, so that memory doesn't grow with the number of voxels
_LOWEST = -1e12  # in place of minus infinity, where repeats differ but all averages are equal

_Repeat = tuple[Tensor | slice, Tensor, Tensor | slice]


def noise_ceiling(
    responses: Float[Tensor, "stimulus repeat voxel"], *, num_averaged: int | None = None, clamp: bool = True
) -> Float[Tensor, " voxel"]:
    r"""Share of the variance of the trial average that any model could explain, from repeated trials.

    .. math:: \mathrm{NC} = 1 - \frac{S-3}{S-1} \cdot \frac{\mathrm{MS}_\mathrm{within}}{\mathrm{MS}_\mathrm{between}}

    with the mean squares of a one-way analysis of variance over S stimuli of n repeats each. The first factor makes the
    estimate unbiased for normal responses. With :math:`\mathrm{ncsnr}^2 = \mathrm{NC}/(1 - \mathrm{NC})/n`, the ratio of
    signal to single-trial noise variance, the ceiling of an average of k is
    :math:`\mathrm{ncsnr}^2 / (\mathrm{ncsnr}^2 + 1/k)`, as in Allen et al. (2022). Where the numbers of repeats differ, n is
    the n₀ of that analysis, :math:`(N - \sum n_i^2/N)/(S-1)` for N trials. NSD's own ncsnr lacks the small-sample terms;
    ``neuroalign.data.nsd`` keeps it as it is where a stored one is checked.

    What is left of bias, in simulations of 20,000 voxels (4,000 for 1,000 stimuli), normal signal and noise, 3 repeats:

    ================================ ===== ===== ===== ===== =====
    mean estimate, by stimuli            5    10    20   100 1,000
    ================================ ===== ===== ===== ===== =====
    average of 3, truth .6            .681  .618  .602  .599  .601
    the same, unclamped               .604  .601  .601  .599  .601
    single trial, truth .6            .683  .630  .613  .603  .600
    average of 3, truth 0             .401  .242  .162  .069  .021
    the same, unclamped              -.011  .002  .000 -.001 -.001
    ================================ ===== ===== ===== ===== =====

    For signals with heavy tails and few stimuli the estimate is too low: for Poisson counts of log-normal rates, truth
    .863, it is .827 from 20 stimuli and .852 from 100.

    Args:
        responses: (stimulus, repeat, voxel), NaN where a repeat is missing. Repeats are counted per voxel.
        num_averaged: Number of repeats that will be averaged, k. None means as many as each stimulus has; where that
            differs, 1/k is the mean of 1/n over stimuli.
        clamp: Whether to raise negative estimates to 0. Sums and means over voxels are unbiased only with ``clamp=False``.

    Returns:
        (voxel,) in [0, 1], or with ``clamp=False`` at most 1; NaN for a voxel without repeats, without variance, or with
        fewer than two stimuli.

    Raises:
        ValueError: If the shape is not three-dimensional, there is only one repeat, ``num_averaged`` is below 1,
            or a response is infinite.

    Example:
        >>> signal = torch.tensor([-1.0, 1.0]).repeat(50)
        >>> noise_ceiling(signal[:, None, None].expand(100, 3, 1))
        tensor([1.])

    Source:
        Searle, Casella and McCulloch 1992, Variance Components, chapter 3; Allen et al. 2022, Nature Neuroscience.
    """
    return _over_blocks(_grid(responses), responses.shape[0], num_averaged, partial(_ceiling, clamp=clamp))


def noise_ceiling_error(
    responses: Float[Tensor, "stimulus repeat voxel"], *, num_averaged: int | None = None
) -> Float[Tensor, " voxel"]:
    """Standard error of the unclamped :func:`noise_ceiling`, by the jackknife over stimuli.

    Each stimulus is left out in turn, and the spread of the S estimates times :math:`(S-1)^2/S` is the squared error. It
    assumes only that stimuli are independent, and nothing about the distribution of responses. In simulations (ceilings 0
    and .6, 3 repeats) its mean is within 2 % of the standard deviation of the estimates from 20 stimuli on.

    Args:
        responses: (stimulus, repeat, voxel), NaN where a repeat is missing.
        num_averaged: As in :func:`noise_ceiling`.

    Returns:
        (voxel,); NaN where the ceiling is NaN, and for fewer than five stimuli.

    Raises:
        ValueError: As :func:`noise_ceiling`.

    Example:
        >>> f"{noise_ceiling_error(torch.randn(100, 3, 4000)).mean():.1f}"
        '0.2'

    Source:
        Efron and Stein 1981, Annals of Statistics.
    """
    return _over_blocks(_grid(responses), responses.shape[0], num_averaged, _jackknife)


def noise_ceiling_of_trials(
    values: Float[Tensor, "trial voxel"],
    stimulus: Int[Tensor, " trial"],
    *,
    num_averaged: int | None = None,
    clamp: bool = True,
) -> Float[Tensor, " voxel"]:
    """:func:`noise_ceiling` from a list of trials in any order, without a padded (stimulus, repeat, voxel) tensor.

    Args:
        values: (trial, voxel), NaN where missing.
        stimulus: (trial,) integers, the identity of the stimulus of each trial.
        num_averaged: As in :func:`noise_ceiling`.
        clamp: As in :func:`noise_ceiling`.

    Returns:
        (voxel,), as :func:`noise_ceiling`.

    Raises:
        ValueError: If the shapes don't fit, no stimulus comes twice, ``num_averaged`` is below 1, or a value is infinite.

    Example:
        >>> trials, stimulus = torch.randn(6, 2), torch.tensor([5, 7, 5, 7, 9, 9])
        >>> grid = trials[[0, 2, 1, 3, 4, 5]].view(3, 2, 2)
        >>> torch.allclose(noise_ceiling_of_trials(trials, stimulus), noise_ceiling(grid))
        True
    """
    if values.ndim != 2 or stimulus.shape != values.shape[:1]:
        raise ValueError(
            f"values must be (trial, voxel), and stimulus (trial,); got {tuple(values.shape)}, {tuple(stimulus.shape)}"
        )
    check_infinite(values=values)
    _, inverse, counts = torch.unique(stimulus, return_inverse=True, return_counts=True)
    if not len(counts) or int(counts.max()) < 2:
        raise ValueError("no stimulus was repeated, so there is no estimate of the noise")
    order = inverse.argsort(stable=True)
    starts = counts.cumsum(0) - counts
    (x,) = widen(values.detach())
    repeats: list[_Repeat] = []
    for number in range(int(counts.max())):
        which = (counts > number).nonzero()[:, 0]
        repeats.append((which, x, order[starts[which] + number]))
    return _over_blocks(repeats, len(counts), num_averaged, partial(_ceiling, clamp=clamp))


def rescale_ceiling(ceiling: Float[Tensor, " voxel"], ratio: Tensor | float) -> Float[Tensor, " voxel"]:
    r"""The noise ceiling for another noise variance, as after averaging more or fewer repeats.

    .. math:: \mathrm{NC}' = \frac{\mathrm{NC}}{\mathrm{NC} + \mathrm{ratio} \cdot (1 - \mathrm{NC})}

    Args:
        ceiling: (voxel,) at most 1, negative where it is an unclamped estimate.
        ratio: New noise variance over the old one, positive: 1/n from a single trial to the average of n.

    Returns:
        (voxel,), at most 1.

    Example:
        >>> rescale_ceiling(torch.tensor([0.25]), 1 / 3)
        tensor([0.5000])
    """
    ratio = torch.as_tensor(ratio, dtype=ceiling.dtype, device=ceiling.device)
    whole = ceiling + ratio * (1 - ceiling)
    # A ceiling far below 0 can't be rescaled to many more repeats: the whole variance would be negative.
    whole = torch.where(ceiling < 0, torch.maximum(whole, ratio / 4), whole)
    return ceiling / whole


class _Summary:
    """Sums over the repeats of each stimulus for a block of voxels, (stimulus, voxel): count, mean and squares about it."""

    def __init__(self, repeats: Sequence[_Repeat], num_stimuli: int, columns: slice) -> None:
        first = repeats[0][1][:, columns]
        self.low, self.high = first.new_full(first.shape[1:], torch.inf), first.new_full(first.shape[1:], -torch.inf)
        for _, x, valid in self._of(repeats, columns):
            self.low = torch.minimum(self.low, torch.where(valid, x, torch.inf).amin(0))
            self.high = torch.maximum(self.high, torch.where(valid, x, -torch.inf).amax(0))
        self.constant = is_constant(self.low, self.high, torch.finfo(first.dtype).eps)
        low, scale = self.low.double(), torch.where(self.constant, 1, self.high.double() - self.low.double())
        self.count = torch.zeros(num_stimuli, first.shape[1], dtype=torch.float64, device=first.device)
        self.mean, self.squares = torch.zeros_like(self.count), torch.zeros_like(self.count)
        for which, x, valid in self._of(repeats, columns):
            self.count[which] += valid
            self.mean[which] += torch.where(valid, (x.double() - low) / scale, 0)
        self.mean /= self.count.clamp_min(1)
        for which, x, valid in self._of(repeats, columns):
            self.squares[which] += torch.where(valid, (x.double() - low) / scale - self.mean[which], 0) ** 2
        self.seen = self.count > 0
        self.deviation = torch.where(self.seen, self.mean - (self.count * self.mean).sum(0) / self.count.sum(0), 0)

    @staticmethod
    def _of(repeats: Sequence[_Repeat], columns: slice) -> Iterator[tuple[Tensor | slice, Tensor, Tensor]]:
        for which, source, rows in repeats:
            x = source[:, columns][rows]
            yield which, x, ~x.isnan()


def _grid(responses: Tensor) -> list[_Repeat]:
    if responses.ndim != 3 or responses.shape[1] < 2:
        raise ValueError(
            f"responses must be (stimulus, repeat, voxel) with at least 2 repeats; got {tuple(responses.shape)}"
        )
    check_infinite(responses=responses)
    (x,) = widen(responses.detach())
    return [(slice(None), x[:, number], slice(None)) for number in range(x.shape[1])]


def _over_blocks(
    repeats: Sequence[_Repeat],
    num_stimuli: int,
    num_averaged: int | None,
    formula: Callable[[_Summary, int | None], Tensor],
) -> Tensor:
    if num_averaged is not None and not num_averaged >= 1:
        raise ValueError(f"num_averaged must be at least 1; got {num_averaged}")
    x = repeats[0][1]
    width = max(1, _BLOCK // max(1, num_stimuli))
    parts = [
        formula(_Summary(repeats, num_stimuli, slice(start, start + width)), num_averaged).to(x.dtype)
        for start in range(0, x.shape[1], width)
    ]
    return torch.cat(parts) if parts else x.new_empty(0)


def _ceiling(s: _Summary, num_averaged: int | None, clamp: bool) -> Tensor:
    size, trials = s.seen.sum(0).double(), s.count.sum(0)
    within = s.squares.sum(0)
    between = (s.count * s.deviation**2).sum(0)
    ceiling = _from_sums(
        within, between, size, trials, (s.count**2).sum(0), (s.seen / s.count.clamp_min(1)).sum(0), num_averaged
    )
    defined = ~s.constant & (trials > size) & (size > 1)
    return torch.where(defined, ceiling.clamp_min(0) if clamp else ceiling, torch.nan)


def _jackknife(s: _Summary, num_averaged: int | None) -> Tensor:
    """Standard error from the ceilings without each stimulus in turn; its part is subtracted from every sum."""
    size, trials = s.seen.sum(0).double(), s.count.sum(0)
    part = s.count * s.deviation**2
    without = _from_sums(
        (s.squares.sum(0) - s.squares).clamp_min(0),
        (part.sum(0) - part * trials / (trials - s.count)).clamp_min(0),  # about the mean of the others
        size - 1,
        trials - s.count,
        (s.count**2).sum(0) - s.count**2,
        (s.seen / s.count.clamp_min(1)).sum(0) - s.seen / s.count.clamp_min(1),
        num_averaged,
    )
    mean = torch.where(s.seen, without, 0).sum(0) / size
    spread = torch.where(s.seen, (without - mean) ** 2, 0).sum(0)
    defined = ~s.constant & (trials > size) & (size > 4)
    return torch.where(defined, (spread * (size - 1) / size).sqrt(), torch.nan)


def _from_sums(
    within: Tensor,
    between: Tensor,
    size: Tensor,
    trials: Tensor,
    squared_counts: Tensor,
    inverse_counts: Tensor,
    num_averaged: int | None,
) -> Tensor:
    """The ceiling from the sums of squares within and between stimuli, and sums over stimuli of n, n² and 1/n."""
    ratio = (within / (trials - size)) / (between / (size - 1))
    # 1 / (mean square between) is too large by this factor in expectation, which exists only for more than three stimuli.
    ratio = ratio * torch.where(size > 3, (size - 3) / (size - 1), 1)
    num_repeats = (trials - squared_counts / trials) / (size - 1)
    averaged = size / inverse_counts if num_averaged is None else num_averaged
    return rescale_ceiling((1 - ratio).clamp_min(_LOWEST), num_repeats / averaged)
