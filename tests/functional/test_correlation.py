import numpy as np
import pytest
import scipy.stats
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from neuroalign.functional import cosine, noise_ceiling, pearson, spearman_brown
from tests import references as ref


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


def test_noise_ceiling_against_the_reference():
    signal, noise = torch.randn(200, 1, 6, dtype=torch.float64), torch.randn(200, 3, 6, dtype=torch.float64)
    responses = signal + torch.linspace(0, 3, 6) * noise
    np.testing.assert_allclose(noise_ceiling(responses), ref.noise_ceiling(responses.numpy()))


def test_noise_ceiling_is_nsds_for_z_scored_responses():
    responses = torch.randn(300, 1, 4, dtype=torch.float64) + 1.3 * torch.randn(300, 3, 4, dtype=torch.float64)
    flat = responses.reshape(-1, 4)
    z = ((flat - flat.mean(0)) / flat.std(0, correction=0)).reshape(300, 3, 4)
    np.testing.assert_allclose(noise_ceiling(z), ref.nsd_noise_ceiling(z.numpy()))


def test_noise_ceiling_is_the_explainable_share():
    """The squared correlation of the true signal with the average of three trials is what the ceiling estimates."""
    g = torch.Generator().manual_seed(0)
    signal = torch.randn(5000, 1, 3, generator=g, dtype=torch.float64)
    trials = signal + torch.tensor([0.5, 1.0, 2.0]) * torch.randn(5000, 3, 3, generator=g, dtype=torch.float64)
    explained = pearson(signal[:, 0], trials.mean(1)) ** 2
    torch.testing.assert_close(noise_ceiling(trials), explained, atol=0.02, rtol=0)
    torch.testing.assert_close(noise_ceiling(trials), torch.tensor([12 / 13, 3 / 4, 3 / 7]).double(), atol=0.03, rtol=0)


def test_noise_ceiling_with_missing_repeats():
    g = torch.Generator().manual_seed(0)
    trials = torch.randn(4000, 1, 2, generator=g) + torch.randn(4000, 3, 2, generator=g)
    trials[:1000, 2] = torch.nan
    trials[:500, 1] = torch.nan
    inverse = (3000 / 3 + 500 / 2 + 500) / 4000  # the mean of 1/n, as Algonauts 2023 has it
    torch.testing.assert_close(noise_ceiling(trials), torch.full((2,), 1 / (1 + inverse)), atol=0.03, rtol=0)
    assert (noise_ceiling(trials, num_averaged=1) < noise_ceiling(trials, num_averaged=3)).all()


def test_noise_ceiling_of_noise_is_zero_and_of_nothing_nan():
    noise = torch.randn(2000, 3, 1)
    assert float(noise_ceiling(noise)) < 0.1
    assert float(noise_ceiling(torch.ones(10, 3, 1)).isnan())
    with pytest.raises(ValueError, match="at least 2 repeats"):
        noise_ceiling(torch.randn(10, 1, 3))


def test_spearman_brown():
    assert float(spearman_brown(torch.tensor(0.5))) == pytest.approx(2 / 3)
    assert float(spearman_brown(spearman_brown(torch.tensor(0.3)), 0.5)) == pytest.approx(0.3)
