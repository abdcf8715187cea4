"""The rule that decides where a correlation or a similarity is undefined: constant is constant, whatever the unit."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroalign.functional import cosine, noise_ceiling, pearson
from neuroalign.functional.variation import is_constant, unit_magnitude, unit_range

constants = st.floats(-1e20, 1e20) | st.floats(-2, 2) | st.floats(1e-20, 1e-18)
lengths = st.integers(2, 10_000)


@settings(max_examples=300, deadline=None)
@given(constants, lengths, st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]))
def test_a_constant_voxel_has_no_correlation(constant, n, dtype):
    x, y = torch.randn(n, 2), torch.tensor(constant, dtype=torch.float32).to(dtype).expand(n, 2).clone()
    if not bool(y.isfinite().all()):  # beyond float16
        return
    assert pearson(x, y).isnan().all()
    assert pearson(y, x).isnan().all()
    assert pearson(y, y).isnan().all()


def test_many_constants_at_the_lengths_that_are_summed_inexactly():
    for n in (100, 256, 1448, 9000):
        for dtype in (torch.float32, torch.float64):
            c = torch.linspace(-2, 2, 101, dtype=dtype)[torch.arange(101) != 50].expand(n, -1)
            assert pearson(torch.randn(n, 100, dtype=dtype), c).isnan().all()
            assert pearson(c.T.contiguous(), torch.randn(100, n, dtype=dtype), dim=1).isnan().all()


def test_a_constant_up_to_its_last_place_is_constant_and_a_little_more_is_not():
    for dtype in (torch.float32, torch.float64):
        eps = torch.finfo(dtype).eps
        for unit in (1e-20, 1.0, 1e20):
            x = torch.ones(50, 1, dtype=dtype) * unit
            x[::2] += 2 * eps * unit
            assert pearson(torch.randn(50, 1, dtype=dtype), x).isnan()
            x[::2] += 100 * eps * unit
            assert pearson(x, x) == pytest.approx(1)


@settings(max_examples=60, deadline=None)
@given(st.floats(-20, 20), st.floats(-20, 20), st.integers(0, 999))
def test_correlation_and_cosine_in_any_unit(a, b, seed):
    g = torch.Generator().manual_seed(seed)
    x, y = torch.randn(2, 30, 4, generator=g)
    y[3, 1] = torch.nan
    for measure in (pearson, cosine):
        for dim in (0, 1):
            expected = measure(x, y, dim=dim)
            torch.testing.assert_close(measure(10**a * x, 10**b * y, dim=dim), expected, rtol=1e-4, atol=1e-5)


def test_float64_stays_exact_under_a_large_mean():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(2, 500, 3, generator=g, dtype=torch.float64)
    y = y + 0.7 * x
    x, y = x + 1e8, y - 1e9
    expected = [float(torch.corrcoef(torch.stack([x[:, v] - 1e8, y[:, v] + 1e9]))[0, 1]) for v in range(3)]
    torch.testing.assert_close(pearson(x, y), torch.tensor(expected, dtype=torch.float64), rtol=1e-9, atol=0)


def test_nan_and_infinite_values_are_not_constant():
    high = torch.tensor([torch.nan, torch.inf])
    assert not is_constant(torch.zeros(2), high, 1e-7).any()
    assert not is_constant(-high, high, 1e-7).any()
    z = unit_range(torch.tensor([[0.0, 0.0], [1.0, torch.inf]]))[0]
    assert z[:, 1].isnan().any()
    assert unit_magnitude(torch.tensor([[torch.inf, 1.0]]), 1)[0].isnan().any()


def test_subnormal_numbers_are_nothing():
    for dtype in (torch.float32, torch.float64):
        x = torch.tensor([[1.0, 2.0], [3.0, 7.0], [2.0, 1.0]], dtype=dtype) * torch.finfo(dtype).tiny / 100
        assert unit_range(x)[0].eq(0).all() and unit_magnitude(x, 1)[0].eq(0).all()
        assert pearson(x, x).isnan().all() and cosine(x, x).isnan().all()


def test_where_nothing_is_used_nothing_varies():
    z, varies, scale = unit_range(torch.randn(4, 2), torch.tensor([[True, False]]).expand(4, 2))
    assert varies.tolist() == [True, False]
    assert z[:, 1].eq(0).all() and math.isclose(float(scale[1]), 1)
    assert unit_range(torch.zeros(0, 3))[1].tolist() == [False] * 3


@pytest.mark.parametrize("constant", [0.1, 1e20, 1e-20])
def test_a_constant_voxel_has_no_noise_ceiling(constant):
    assert noise_ceiling(torch.full((70, 3, 2), constant)).isnan().all()


@pytest.mark.parametrize("which", ["preds", "target", "weight"])
def test_infinite_values_are_refused(which):
    sides = {"preds": torch.randn(5, 2), "target": torch.randn(5, 2), "weight": torch.ones(5, 2)}
    sides[which][3, 1] = -torch.inf if which == "target" else torch.inf
    for measure in (pearson, cosine):
        with pytest.raises(ValueError, match=rf"{which} has infinite values; .*first\s+at \(3, 1\)"):
            measure(sides["preds"], sides["target"], weight=sides["weight"])
    with pytest.raises(ValueError, match="responses has infinite values"):
        noise_ceiling(torch.full((4, 3, 1), torch.inf))
