"""How much a difference between two conditions varies: over seeds, subjects and images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from neuroalign.evaluation.paired_outcomes import PairedOutcomes, paired_outcomes
from neuroalign.evaluation.variance_components import mean_variance

__all__ = ["Spread", "spread_of"]


@dataclass(frozen=True)
class Spread:
    """Standard deviations of the parts of a paired difference in accuracy, each in accuracy (0 to 1).

    The difference of one image, seed and subject is the mean over attack budgets of one network's outcome (0 or 1) minus the
    other's. It is taken for the sum of the difference that all have in common and of independent parts:

    Args:
        seed: Part of the seed (of one subject), the same for all images: how much trainings differ.
        image: Part of the image, the same for all seeds and subjects.
        rest: What is left: it differs from image to image and from seed to seed. 0 if ``seed`` was measured with as many
            images as are planned, and holds it.
        subject: Part of the subject, the same for all its seeds and images; 0 with one subject.
        common: Part of the seed that all subjects share, for example by one control for all; 0 with one subject.
        num_seeds: Number of seeds that ``seed`` was estimated from; 0 if it is given, not estimated.
        num_subjects: Number of subjects in the data.
        num_images: Number of images per seed in the data; 0 if the numbers are given, not estimated.

    Example:
        >>> spread = Spread(seed=0.012, image=0.3, rest=0.3)
        >>> round(spread.variance(seeds=4, images=1000) ** 0.5, 4)
        0.0122
    """

    seed: float
    image: float
    rest: float = 0.0
    subject: float = 0.0
    common: float = 0.0
    num_seeds: int = 0
    num_subjects: int = 1
    num_images: int = 0

    def __post_init__(self) -> None:
        for name in ("seed", "image", "rest", "subject", "common"):
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= 2):
                raise ValueError(f"{name} must be a standard deviation of differences in accuracy, 0 to 2; got {value}")

    def variance(self, *, seeds: int, images: int, subjects: int = 1) -> float:
        """Variance of the mean difference over subjects, seeds per subject and images.

        Args:
            seeds: Number of seeds, of each subject if there are several.
            images: Number of test images that all share.
            subjects: Number of subjects.
        """
        own = self.seed**2 + self.rest**2 / images
        by_subject = self.subject**2 / subjects + self.common**2 / seeds
        return by_subject + own / (subjects * seeds) + self.image**2 / images

    def seed_interval(self, confidence: float = 0.95) -> tuple[float, float]:
        """The interval of ``seed`` that its estimation leaves open: wide, because seeds are few.

        Args:
            confidence: Confidence of the interval.

        Raises:
            ValueError: If the spread was given, not estimated.
        """
        from scipy.stats import chi2

        if not self.num_seeds:
            raise ValueError("this spread is given, not estimated from seeds, so it has no interval")
        df = self.num_subjects * (self.num_seeds - 1)
        by_images = self.rest**2 / self.num_images
        total = df * (self.seed**2 + by_images)
        low, high = (total / chi2.ppf((1 + sign * confidence) / 2, df) - by_images for sign in (1, -1))
        return max(low, 0.0) ** 0.5, max(high, 0.0) ** 0.5

    def parts(self) -> Mapping[str, float]:
        """The standard deviations by name."""
        return {name: getattr(self, name) for name in ("seed", "image", "rest", "subject", "common")}


def spread_of(first: pd.DataFrame, second: str | pd.DataFrame, /, control: str | None = None) -> Spread:
    """Estimate the parts of a paired difference from per-image outcomes, by moments.

    The parts are those of the mean over budgets above 0, which :func:`neuroalign.evaluation.compare` compares. A part is 0 if
    its estimate is below 0, as happens when it is small beside the others. Parts of an image that only one subject's seeds,
    or only one seed's subjects, have in common count to ``subject`` and ``common``: these two hold for about as many images.

    Args:
        first: A table with one row per image, as for :func:`neuroalign.evaluation.compare`.
        second: Name of the treatment in ``condition``, or the table of the network that is subtracted.
        control: Name of the control in ``condition``; None with two tables.

    Raises:
        ValueError: If there is one replication, which shows no spread over seeds, or what ``compare`` refuses.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> table = pd.DataFrame(
        ...     {
        ...         "condition": ["a"] * 800 + ["b"] * 800,
        ...         "replication": np.tile(np.repeat(range(4), 200), 2),
        ...         "eps": 0.1,
        ...         "stimulus": list(range(200)) * 8,
        ...         "correct": rng.integers(0, 2, 1600),
        ...     }
        ... )
        >>> spread = spread_of(table, "a", "b")
        >>> round(spread.rest, 2), spread.num_seeds, spread.num_images
        (0.69, 4, 200)

    Source:
        Searle, Casella & McCulloch 1992, Variance Components, chapter 4 (analysis of variance, random effects).
    """
    outcomes = paired_outcomes(first, second, control)
    if outcomes.num_replications < 2:
        raise ValueError("one replication shows no spread over seeds: train each condition with another seed")
    attacked = outcomes.attacked
    rows = (outcomes.first[:, :, attacked] - outcomes.second[:, :, attacked]).mean(2)
    return _several_subjects(rows, outcomes) if outcomes.subjects is not None else _one_subject(rows)


def _one_subject(rows: np.ndarray) -> Spread:
    found = mean_variance(rows)
    images = _num_images(rows)
    shared, single = found.crossed[-1][0], _over_images(rows)
    between = found.units[0][0] * len(rows)
    return Spread(_root(between - (single - shared)), _root(images * shared), _root(images * (single - shared)),
                  num_seeds=len(rows), num_images=images)  # fmt: skip


def _several_subjects(rows: np.ndarray, outcomes: PairedOutcomes) -> Spread:
    assert outcomes.subjects is not None
    found = mean_variance(rows, subjects=outcomes.subjects, replications=outcomes.replications)
    images, single, shared = _num_images(rows), _over_images(rows), found.crossed[-1][0]
    means = pd.Series(np.nanmean(rows, axis=1)).groupby(outcomes.subjects)
    subjects, seeds = means.ngroups, len(rows) / means.ngroups
    within = float(means.var().mean()) if seeds > 1 else 0.0
    # What subjects share is the first part; it stands there only if two replications or more are shared.
    common = found.crossed[0][0] * outcomes.num_replications if len(found.crossed) > 1 else 0.0
    own = max(within - common, 0.0)
    return Spread(
        _root(own - (single - shared)), _root(images * shared), _root(images * (single - shared)),
        subject=_root(found.units[0][0] * subjects - own / seeds), common=_root(common),
        num_seeds=outcomes.num_replications, num_subjects=subjects, num_images=images,
    )  # fmt: skip


def _num_images(rows: np.ndarray) -> int:
    """Images per row."""
    return round(float((~np.isnan(rows)).sum(1).mean()))


def _over_images(rows: np.ndarray) -> float:
    """Variance of one row's mean over its images, on average over rows."""
    return float((np.nanvar(rows, axis=1, ddof=1) / (~np.isnan(rows)).sum(1)).mean())


def _root(variance: float) -> float:
    return float(max(variance, 0.0) ** 0.5)
