import numpy as np
import pytest
import scipy.integrate
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroalign.functional import cosine, pearson, pooled_normalized_correlation, spearman_brown


def pair(seed=0, n=30, v=5):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(2, n, v, generator=g, dtype=torch.float64)


def test_pearson_against_scipy():
    x, y = pair()
    over_stimuli = [scipy.stats.pearsonr(x[:, v], y[:, v]).statistic for v in range(5)]
    over_voxels = [scipy.stats.pearsonr(x[i], y[i]).statistic for i in range(30)]
    np.testing.assert_allclose(pearson(x, y), over_stimuli)
    np.testing.assert_allclose(pearson(x, y, dim=1), over_voxels)


def test_cosine_against_numpy():
    x, y = pair()
    expected = [np.dot(a, b) / np.linalg.norm(a) / np.linalg.norm(b) for a, b in zip(x.numpy(), y.numpy(), strict=True)]
    np.testing.assert_allclose(cosine(x, y), expected)


def test_missing_values_are_left_out_of_their_voxel():
    x, y = pair()
    y[:7, 2] = torch.nan
    r = pearson(x, y)
    assert float(r[2]) == pytest.approx(scipy.stats.pearsonr(x[7:, 2], y[7:, 2]).statistic)
    torch.testing.assert_close(r[[0, 1, 3, 4]], pearson(x, pair()[1])[[0, 1, 3, 4]])


@pytest.mark.parametrize("constant", [0.0, 0.1, 1000.1])
def test_undefined_is_nan_for_that_voxel_alone(constant):
    x, y = (t.float() for t in pair())
    y[:, 0], x[:, 1] = constant, constant
    y[1:, 2] = torch.nan
    r = pearson(x, y)
    assert r.isnan().tolist() == [True, True, True, False, False]


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 100), st.floats(-50, 50))
def test_pearson_ignores_shift_and_scale(seed, scale, shift):
    x, y = pair(seed)
    torch.testing.assert_close(pearson(scale * x + shift, y), pearson(x, y), rtol=1e-7, atol=1e-9)
    torch.testing.assert_close(pearson(-x, y), -pearson(x, y))


def test_spearman_brown():
    assert float(spearman_brown(torch.tensor(0.5))) == pytest.approx(2 / 3)
    assert float(spearman_brown(torch.tensor(0.2), 5)) == pytest.approx(1 / 1.8)
    with pytest.raises(ValueError, match="factor must be positive; got 0"):
        spearman_brown(torch.tensor(0.5), 0)


@settings(max_examples=60, deadline=None)
@given(st.floats(-1, 1), st.floats(0.1, 100))
def test_spearman_brown_stays_in_range_and_has_an_inverse(r, factor):
    r = torch.tensor(r, dtype=torch.float64)
    longer = spearman_brown(r, factor)
    assert abs(float(longer)) <= 1 + 1e-12
    torch.testing.assert_close(spearman_brown(longer, 1 / factor), r)
    torch.testing.assert_close(spearman_brown(-r, factor), -longer)


def test_spearman_brown_of_many_short_halves_has_a_mean():
    """Twenty stimuli, true r 0 and .1: the plain formula's means are -.13 and .09 (wanted: 0 and .18)."""
    g = torch.Generator().manual_seed(0)
    first = torch.randn(20, 40_000, generator=g)
    noise = torch.randn(20, 40_000, generator=g)
    for rho, expected in ((0.0, 0.0), (0.1, 0.145)):
        r = pearson(first, rho * first + (1 - rho**2) ** 0.5 * noise)
        assert float(spearman_brown(r).mean()) == pytest.approx(expected, abs=0.015)


def unbiased_square(r, n):
    """Olkin and Pratt 1958, with the hypergeometric function by its integral."""
    x = 1 - r**2
    integral = scipy.integrate.quad(lambda t: (n / 2 - 1) * (1 - t) ** (n / 2 - 2) / (1 - x * t), 0, 1, epsabs=1e-12)[0]
    return 1 - (n - 3) / (n - 2) * x * integral


@pytest.mark.parametrize("n", [10, 12, 50, 1000])
def test_pooled_normalised_correlation_against_the_integral(n):
    r, ceiling = np.array([0.1, 0.9, 0.4, -0.05, np.nan, 0.3]), np.array([0.2, 0.9, -0.1, 0.1, 0.5, np.nan])
    expected = np.sqrt(sum(unbiased_square(x, n) for x in r[:4]) / ceiling[:4].sum())
    got = pooled_normalized_correlation(torch.from_numpy(r), torch.from_numpy(ceiling), n)
    assert float(got) == pytest.approx(expected, abs=2e-5)


def test_the_square_of_a_correlation_is_unbiased():
    """What pooling rests on: sums of r² are too large by about 1/n a voxel, which low ceilings don't forgive."""
    g = torch.Generator().manual_seed(0)
    x, e = torch.randn(2, 20, 40_000, generator=g)
    for rho in (0.0, 0.3, 0.8):
        r = pearson(x, rho * x + (1 - rho**2) ** 0.5 * e)
        share = float(pooled_normalized_correlation(r, torch.ones(40_000), 20))
        assert share * abs(share) == pytest.approx(rho**2, abs=0.004)
        assert rho == 0.8 or float((r**2).mean()) > rho**2 + 0.03, "the square itself"


def test_pooled_normalised_correlation_has_a_sign():
    r, ceiling = torch.full((100,), 0.5), torch.full((100,), 0.25)
    assert float(pooled_normalized_correlation(r, ceiling, 10_000)) == pytest.approx(1, abs=1e-3)
    assert float(pooled_normalized_correlation(-r, ceiling, 10_000)) == pytest.approx(-1, abs=1e-3)
    mixed = torch.where(torch.arange(100) < 40, -r, r)  # 40 voxels predicted the wrong way round
    assert float(pooled_normalized_correlation(mixed, ceiling, 10_000)) == pytest.approx(0.2**0.5, abs=1e-3)
    zero = pooled_normalized_correlation(torch.zeros(100), ceiling, 50)
    assert -0.4 < float(zero) < 0, "less is explained than chance would"


def test_pooled_normalised_correlation_where_it_is_undefined():
    r, ceiling = torch.full((4,), 0.5), torch.tensor([0.2, -0.1, -0.1, -0.1])
    assert pooled_normalized_correlation(r, ceiling, 100).isnan()
    assert pooled_normalized_correlation(r, ceiling.abs(), 9).isnan()
    with pytest.raises(ValueError, match=r"must be \(voxel,\); got \(4,\) and \(1,\)"):
        pooled_normalized_correlation(r, ceiling[:1], 100)
    few = torch.tensor([100.0, 9.0, 9.0, 9.0])  # a voxel with few valid stimuli is left out of both sums
    torch.testing.assert_close(
        pooled_normalized_correlation(r, ceiling, few), pooled_normalized_correlation(r[:1], ceiling[:1], 100)
    )
