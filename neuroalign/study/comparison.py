"""From per-image outcomes to paired differences between conditions, and to words that say no more than these."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Comparison:
    """A paired difference in robust accuracy between two conditions, averaged over budgets.

    Attributes:
        treatment: Name of the condition.
        control: Name of the other.
        difference: Mean accuracy of the treatment minus that of the control, over images, budgets and replications.
        low: Lower end of its 95 % interval, from resampling images.
        high: Upper end.
        num_positive: Replications in which the treatment was higher.
        num_replications: Of how many.
        num_images: Distinct images.
    """

    treatment: str
    control: str
    difference: float
    low: float
    high: float
    num_positive: int
    num_replications: int
    num_images: int

    @property
    def outcome(self) -> str:
        """Either "higher" or "lower" where the interval excludes 0 and at least two replications agree, or "undecided"."""
        if self.num_replications < 2:
            return "undecided"
        if self.low > 0 and self.num_positive == self.num_replications:
            return "higher"
        if self.high < 0 and self.num_positive == 0:
            return "lower"
        return "undecided"

    def __str__(self) -> str:
        return (
            f"{self.treatment} - {self.control}: {self.difference:+.3f} [{self.low:+.3f}, {self.high:+.3f}], higher in "
            f"{self.num_positive} of {self.num_replications}"
        )


def mean_over_eps(images: pd.DataFrame) -> pd.DataFrame:
    """Robust accuracy averaged over budgets above 0, a row for each condition and replication.

    Args:
        images: A row an image: ``condition``, ``replication``, ``eps``, ``stimulus``, ``correct``.
    """
    attacked = images[images["eps"] > 0]
    return attacked.groupby(["condition", "replication"], sort=False)["correct"].mean().rename("accuracy").reset_index()


def compare(images: pd.DataFrame, treatment: str, control: str, *, seed: int = 0) -> Comparison:
    """Compare two conditions on the same images.

    An image's outcome is the mean of its ``correct`` over budgets above 0 and the replications that tested it; the
    interval is the percentile bootstrap over images of the paired differences. It says how far the result depends on
    these images, not on the seeds: for that, look at the replications one by one.

    Args:
        images: A row an image: ``condition``, ``replication``, ``eps``, ``stimulus``, ``correct``.
        treatment: A name in ``condition``.
        control: Another.
        seed: Of the bootstrap.

    Raises:
        ValueError: If a condition is absent, or the two were tested on different images.

    Example:
        >>> table = pd.DataFrame({"condition": ["a"] * 4 + ["b"] * 4, "replication": 0, "eps": 0.1,
        ...                       "stimulus": [0, 1, 2, 3] * 2, "correct": [1, 1, 1, 0, 1, 0, 0, 0]})
        >>> compare(table, "a", "b").difference
        0.5
    """
    from scipy.stats import bootstrap

    attacked = images[images["eps"] > 0]
    wide = attacked.pivot_table(
        index=["replication", "stimulus"], columns="condition", values="correct", aggfunc="mean", observed=True
    )
    for name in (treatment, control):
        if name not in wide:
            raise ValueError(f"no condition {name!r}; there are {sorted(wide.columns)}")
    if wide[[treatment, control]].isna().any(axis=None):
        raise ValueError(f"{treatment!r} and {control!r} were tested on different images")
    difference = wide[treatment].astype(float) - wide[control].astype(float)
    by_replication = difference.groupby("replication").mean()
    by_image = difference.groupby("stimulus").mean().to_numpy()
    low = high = float(by_image.mean())
    if np.ptp(by_image) > 0:
        interval = bootstrap(
            (by_image,), np.mean, n_resamples=2000, method="percentile", rng=np.random.default_rng(seed)
        ).confidence_interval
        low, high = float(interval.low), float(interval.high)
    return Comparison(
        treatment,
        control,
        float(by_replication.mean()),
        low,
        high,
        int((by_replication > 0).sum()),
        len(by_replication),
        len(by_image),
    )


def verdict(comparisons: Sequence[Comparison], subject: str) -> str:
    """One or two sentences on what comparisons of one treatment show, whichever way they fall.

    Args:
        comparisons: Of one treatment with several controls.
        subject: What the sentence is about, such as "TO guidance of this simulated subject".

    Example:
        >>> verdict([Comparison("TO", "none", 0.1, 0.05, 0.15, 2, 2, 300)], "TO guidance")
        'TO guidance raised accuracy under attack above none (+0.100).'
    """

    def listed(outcome: str) -> str:
        parts = [f"{c.control} ({c.difference:+.3f})" for c in comparisons if c.outcome == outcome]
        return parts[0] if len(parts) == 1 else ", ".join(parts[:-1]) + " and " + parts[-1] if parts else ""

    clauses = []
    if listed("higher"):
        clauses.append(f"raised accuracy under attack above {listed('higher')}")
    if listed("lower"):
        clauses.append(f"lowered it below {listed('lower')}")
    if listed("undecided"):
        clauses.append(f"shows no clear difference from {listed('undecided')}")
    text = f"{subject} {'; it '.join(clauses)}."
    if clauses and clauses[0].startswith("lowered it"):
        text = text.replace("lowered it below", "lowered accuracy under attack below", 1)
    return text
