"""The former name of the comparison of two networks."""

import numpy as np
import pandas as pd
import pytest

from neuroalign.evaluation import PairedComparison, compare, compare_paired


def test_the_former_name_still_works():
    rng = np.random.default_rng(0)
    a, b = (
        pd.DataFrame({"perturbation": "pgd", "eps": 0.1, "stimulus": range(30), "correct": rng.random(30) < rate})
        for rate in (0.8, 0.4)
    )
    with pytest.warns(DeprecationWarning, match="compare_paired is compare"):
        found = compare_paired(a, b, num_resamples=10, seed=1)
    assert found == compare(a, b)
    assert isinstance(found, PairedComparison)
    assert found.mean_difference == found.difference
    assert found.table.equals(compare(a, b).table)
