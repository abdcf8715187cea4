"""The weight decay that makes an unguided network as smooth as a guided one: the paper's control for smoothness."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd
from torch import nn

__all__ = ["SmoothnessMatch", "match_smoothness"]


@dataclass(frozen=True)
class SmoothnessMatch:
    """Result of the search of :func:`match_smoothness`.

    Attributes:
        weight_decay: Weight decay of the network that came closest to the target.
        smoothness: Smoothness of that network.
        target: Wanted smoothness.
        matched: Whether the smoothness is within the tolerance. If not, the network is no control for smoothness.
        network: The network that came closest.
        trials: One row per training: ``weight_decay``, ``smoothness``, ``log_ratio`` (of smoothness to target).
    """

    weight_decay: float
    smoothness: float
    target: float
    matched: bool
    network: nn.Module
    trials: pd.DataFrame


def match_smoothness(
    train: Callable[[float], nn.Module],
    smoothness: Callable[[nn.Module], float],
    target: float,
    *,
    low: float = 1e-5,
    high: float = 1e-1,
    tolerance: float = 0.1,
    max_trainings: int = 8,
) -> SmoothnessMatch:
    """Search for the weight decay whose network has a wanted smoothness.

    Bisects the logarithm of weight decay, on the assumption that more weight decay gives a smaller input gradient. Training
    is noisy, so the assumption may fail in places: all trials are kept, and the closest is returned. Measure smoothness on
    validation images, not on the images that the networks are compared on.

    Args:
        train: From a weight decay to a trained network, with the same seed each time.
        smoothness: From a network to its smoothness, such as
            ``lambda n: evaluate_smoothness(n, loader, attack, eps).adversarial``.
        target: Smoothness of the guided network, measured in the same way.
        low: Smallest weight decay.
        high: Largest weight decay.
        tolerance: Share of the target by which smoothness may differ from it.
        max_trainings: Largest number of trainings, at least 2.

    Raises:
        ValueError: If the target or a bound is not positive, or a network's smoothness is not finite.

    Example:
        >>> make = lambda weight_decay: nn.Linear(1, 1)
        >>> # At the largest weight decay, the smallest and the middle:
        >>> measured = iter([0.5, 8.0, 2.1])
        >>> found = match_smoothness(make, lambda network: next(measured), 2.0)
        >>> found.matched, len(found.trials)
        (True, 3)

    Source:
        Shao et al. 2024, arXiv 2405.02564 (weight-decay models matched in smoothness).
    """
    if not target > 0 or not 0 < low < high:
        raise ValueError(f"target and bounds must be positive and low below high; got {target}, {low} and {high}")
    if max_trainings < 2 or not tolerance > 0:
        raise ValueError(f"max_trainings must be at least 2 and tolerance positive; got {max_trainings}, {tolerance}")
    rows: list[tuple[float, float, float]] = []
    best: list[tuple[float, nn.Module]] = []  # the nearest so far, and how near it is

    def attempt(weight_decay: float) -> float:
        network = train(weight_decay)
        value = float(smoothness(network))
        if not math.isfinite(value) or value <= 0:
            raise ValueError(f"smoothness is {value} at a weight decay of {weight_decay:g}: did training diverge?")
        ratio = math.log(value / target)
        rows.append((weight_decay, value, ratio))
        if not best or abs(ratio) < best[0][0]:
            best[:] = [(abs(ratio), network)]
        return ratio

    close = math.log1p(tolerance)
    left, right = math.log(low), math.log(high)
    # The ends come first: two trainings show whether weight decay can reach the target at all.
    ratio_right, ratio_left = attempt(high), attempt(low)
    while best[0][0] > close and ratio_right < 0 < ratio_left and len(rows) < max_trainings:
        middle = (left + right) / 2
        ratio = attempt(math.exp(middle))
        left, right = (middle, right) if ratio > 0 else (left, middle)
    trials = pd.DataFrame(rows, columns=["weight_decay", "smoothness", "log_ratio"])
    chosen = trials.iloc[int(trials["log_ratio"].abs().argmin())]
    distance, network = best[0]
    return SmoothnessMatch(
        float(chosen["weight_decay"]), float(chosen["smoothness"]), float(target), distance <= close, network, trials
    )  # fmt: skip
