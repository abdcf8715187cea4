"""Two networks on the same images: exact tests and intervals of the difference between their curves."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from neuroalign.perturbations import RobustnessCurve


@dataclass(frozen=True)
class PairedComparison:
    """How much more accurate one network is than another.

    Attributes:
        table: A row for every perturbation and budget: ``perturbation``, ``eps``, ``accuracy``, ``other_accuracy``,
            ``difference``, its 95 % interval ``low`` and ``high`` (bootstrap over images), ``only_first`` and
            ``only_second`` (images that one network alone gets right), ``p_value`` (exact McNemar), ``num_images``.
        mean_difference: Mean of the differences over the rows.
        low: Lower end of its 95 % interval.
        high: Upper end.
    """

    table: pd.DataFrame
    mean_difference: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.mean_difference:+.3f} [{self.low:+.3f}, {self.high:+.3f}]"


def compare_paired(
    first: pd.DataFrame | RobustnessCurve,
    second: pd.DataFrame | RobustnessCurve,
    *,
    labels: pd.Series | None = None,
    num_resamples: int = 2000,
    seed: int = 0,
) -> PairedComparison:
    """Compare two networks on the same images, budget by budget and over all.

    The intervals resample images, each time the same ones for both networks and all budgets: they say how far the
    difference depends on these images, not on the seeds of training. p values are not corrected for the number of rows.

    Args:
        first: A curve, or a row an image from :func:`per_image_robustness`: ``perturbation``, ``eps``, ``stimulus``,
            ``correct``, and perhaps ``label``.
        second: The same of the other network.
        labels: Class by stimulus (its index): images are then resampled within their class.
        num_resamples: Of the bootstrap.
        seed: Of the bootstrap.

    Raises:
        ValueError: If the two hold different images, perturbations or budgets, or a column is missing.

    Example:
        >>> a = pd.DataFrame({"perturbation": "pgd", "eps": 0.1, "stimulus": range(6), "correct": [1, 1, 1, 1, 0, 0]})
        >>> b = a.assign(correct=[1, 0, 0, 0, 0, 0])
        >>> row = compare_paired(a, b).table.iloc[0]
        >>> row["difference"], int(row["only_first"]), float(row["p_value"])
        (np.float64(0.5), 3, 0.25)

    Source:
        McNemar 1947, Psychometrika 12; Efron & Tibshirani 1993, An Introduction to the Bootstrap.
    """
    from scipy.stats import binomtest

    tables = [t.per_image() if isinstance(t, RobustnessCurve) else t for t in (first, second)]
    a, b = (_wide(t) for t in tables)
    if not a.columns.equals(b.columns):
        raise ValueError(f"the two were measured under different perturbations or budgets: {list(a)} and {list(b)}")
    if not a.index.equals(b.index) or not _same_labels(*tables):
        raise ValueError(
            "the two were measured on different images: don't shuffle the loader, or give each image's 'stimulus' in its "
            "batch"
        )
    difference = a.to_numpy() - b.to_numpy()
    strata = np.zeros(len(a), dtype=int) if labels is None else _strata(labels, a.index)
    resampled = _resampled_means(difference, strata, num_resamples, seed)
    low, high = np.quantile(resampled, [0.025, 0.975], axis=0)
    only_first, only_second = (difference > 0).sum(0), (difference < 0).sum(0)
    tests = [binomtest(int(f), int(f + s)).pvalue if f + s else 1.0 for f, s in zip(only_first, only_second)]
    perturbation, eps = zip(*a.columns)
    table = pd.DataFrame(
        {
            "perturbation": perturbation, "eps": eps, "accuracy": a.to_numpy().mean(0),
            "other_accuracy": b.to_numpy().mean(0), "difference": difference.mean(0), "low": low, "high": high,
            "only_first": only_first, "only_second": only_second, "p_value": tests, "num_images": len(a),
        }
    )  # fmt: skip
    over_all = np.quantile(resampled.mean(1), [0.025, 0.975])
    return PairedComparison(table, float(difference.mean()), float(over_all[0]), float(over_all[1]))


def _same_labels(first: pd.DataFrame, second: pd.DataFrame) -> bool:
    if "label" not in first or "label" not in second:
        return True
    a, b = (t.drop_duplicates("stimulus").set_index("stimulus")["label"].sort_index() for t in (first, second))
    return a.equals(b)


def _wide(table: pd.DataFrame) -> pd.DataFrame:
    """(stimulus, (perturbation, eps)) of 0 and 1; a perturbation without a budget has eps -1 while it is a key."""
    missing = {"perturbation", "eps", "stimulus", "correct"} - set(table)
    if missing:
        raise ValueError(
            f"a row an image is needed, as per_image_robustness gives; {', '.join(sorted(missing))} is missing"
        )
    keyed = table.assign(eps=table["eps"].fillna(-1.0), correct=table["correct"].astype(float))
    if keyed.duplicated(["perturbation", "eps", "stimulus"]).any():
        raise ValueError("an image occurs twice: give each its own 'stimulus'")
    order = list(dict.fromkeys(zip(keyed["perturbation"], keyed["eps"])))
    wide = keyed.pivot(index="stimulus", columns=["perturbation", "eps"], values="correct")[order]
    if wide.isna().any(axis=None):
        raise ValueError("not every image was measured under every perturbation")
    wide.columns = pd.Index([(p, np.nan if e == -1 else e) for p, e in order], tupleize_cols=False)
    return wide


def _strata(labels: pd.Series, stimuli: pd.Index) -> np.ndarray:
    missing = stimuli.difference(labels.index)
    if len(missing):
        raise ValueError(f"labels has no class for stimulus {missing[0]} and {len(missing) - 1} others")
    return pd.factorize(labels.loc[stimuli])[0]


def _resampled_means(values: np.ndarray, strata: np.ndarray, num_resamples: int, seed: int) -> np.ndarray:
    """(resample, column) means over rows drawn with replacement within their stratum."""
    rng = np.random.default_rng(seed)
    sums = np.zeros((num_resamples, values.shape[1]))
    for stratum in np.unique(strata):
        rows = values[strata == stratum]
        # How often each row is drawn: the product with the rows costs no copy of them for each resample.
        sums += rng.multinomial(len(rows), np.full(len(rows), 1 / len(rows)), num_resamples) @ rows
    return sums / len(values)
