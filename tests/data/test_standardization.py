"""Z-scores of columns in any unit, of any number type, and of what hardly varies."""

import numpy as np
import pytest

from neuroalign import Responses
from neuroalign.data.standardization import constant_columns, moments, zscore


def responses(values):
    n = len(values)
    return Responses.from_arrays(values, stimulus=np.arange(n), session=np.arange(n) % 2)


def by_numpy(values, session=None):
    x = np.asarray(values, np.float64)
    groups = [np.arange(len(x)) % 2 == k for k in (0, 1)] if session else [np.ones(len(x), bool)]
    out = np.empty_like(x)
    for rows in groups:
        out[rows] = (x[rows] - x[rows].mean(0)) / x[rows].std(0)
    return out


RNG = np.random.default_rng(0)
DRAWN = RNG.normal(size=(40, 3))
STEPS = RNG.integers(0, 4, (40, 3))
COLUMNS = {
    **{f"unit {u:g}": (u * DRAWN).astype(np.float32) for u in (1e-37, 1e-20, 1e-10, 1e10, 1e20, 1e37)},
    "ten million and 0 to 3": (1e7 + STEPS).astype(np.float32),
    "minus ten million and 0 to 3": (STEPS - 1e7).astype(np.float32),
    "a thousand, in float16": (1000 + STEPS).astype(np.float16),
    "one and steps of float16": (1 + STEPS * 2.0**-10).astype(np.float16),
    "steps of two units in the last place": (1 + 2 * STEPS * 2.0**-23).astype(np.float32),
    "int8": STEPS.astype(np.int8),
    "int32": (100_000 + STEPS).astype(np.int32),
    "uint16": (65_000 + STEPS).astype(np.uint16),
    "bool": STEPS > 1,
    "float64": DRAWN,
}


@pytest.mark.parametrize("name", COLUMNS)
def test_z_scores_are_numpys(name):
    values = COLUMNS[name]
    given = responses(values)
    sessions, all_rows = given.zscore_sessions().values, given.standardize(given).values
    np.testing.assert_allclose(sessions, by_numpy(values, session=True), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(all_rows, by_numpy(values), rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(zscore(given.values, *moments(given.values)), all_rows)
    assert not constant_columns(given.values).any()


@pytest.mark.parametrize("constant", [0.0, 0.1, -3e-20, 1e20, 1e7, 16_777_216.0])
@pytest.mark.parametrize("rounded", [False, True])
def test_a_constant_voxel_is_nan_and_alone(constant, rounded):
    values = DRAWN.astype(np.float32)
    values[:, 1] = constant
    if rounded:  # the last digit, as averages of equal numbers have it
        values[::3, 1] = np.nextafter(np.float32(constant), np.float32(np.inf))
        if constant == 0:
            values[::3, 1] = 0
    given = responses(values)
    for found in (given.zscore_sessions().values, given.standardize(given).values):
        assert np.isnan(found[:, 1]).all() and not np.isnan(found[:, [0, 2]]).any()
    assert given.drop_invalid().num_voxels == 2


def test_one_row_has_no_z_score():
    one = Responses.from_arrays(DRAWN[:1], stimulus=[0], session=[0])
    assert np.isnan(one.zscore_sessions().values).all() and np.isnan(one.standardize(one).values).all()
