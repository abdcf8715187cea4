"""The former name for comparing two networks on the same images: :func:`neuroalign.evaluation.compare` does it."""

from __future__ import annotations

import warnings

import pandas as pd

from neuroalign.evaluation.comparison import Comparison, compare
from neuroalign.evaluation.curve import RobustnessCurve

PairedComparison = Comparison


def compare_paired(
    first: pd.DataFrame | RobustnessCurve,
    second: pd.DataFrame | RobustnessCurve,
    *,
    labels: pd.Series | None = None,
    num_resamples: int | None = None,
    seed: int | None = None,
) -> Comparison:
    """``compare(first, second, labels=labels)``, with a warning; ``num_resamples`` and ``seed`` do nothing any more."""
    warnings.warn(
        "compare_paired is compare(first, second) now: its intervals are computed, not drawn",
        DeprecationWarning,
        stacklevel=2,
    )
    return compare(first, second, labels=labels)
