import numpy as np
import pytest
import torch

from neuroalign.functional import few_shot_error
from tests.geometry_references import few_shot as ref

D = torch.float64


def two_classes(n=6, seed=6):
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((2, n, n)) / np.sqrt(n)
    a = rng.standard_normal((50, n)) @ factors[0] + 0.5 * rng.standard_normal(n)
    b = rng.standard_normal((70, n)) @ (1.3 * factors[1]) + 0.5 * rng.standard_normal(n)
    return a, b


def joined(a, b):
    return torch.from_numpy(np.concatenate([a, b])), torch.arange(2).repeat_interleave(torch.tensor([len(a), len(b)]))


@pytest.mark.parametrize("shots", [1, 5, 50])
def test_published_formula(shots):
    a, b = two_classes()
    found = few_shot_error(*joined(a, b), num_shots=shots, terms="published")
    for i, j, one, two in ((0, 1, a, b), (1, 0, b, a)):
        snr = ref.fewshot_snr(one, two, shots)
        assert float(found.snr[i, j]) == pytest.approx(snr, rel=1e-10)
        assert float(found.error[i, j]) == pytest.approx(ref.fewshot_error(snr), rel=1e-10)
    assert bool(found.snr.diagonal().isnan().all())


@pytest.mark.parametrize("shots", [1, 5])
def test_all_terms_are_the_moments_without_the_bias_of_few_points(shots):
    a, b = two_classes()
    found = few_shot_error(*joined(a, b), num_shots=shots)
    for i, j, one, two in ((0, 1, a, b), (1, 0, b, a)):
        mean, variance = ref.unbiased_margin_moments(one, two, shots)
        assert float(found.snr[i, j]) == pytest.approx(mean / np.sqrt(variance), rel=1e-10)


def test_of_many_points_the_moments_are_exact():
    """Copies of the points leave their moments as they are and let the correction vanish."""
    a, b = two_classes()
    many = [np.tile(x, (20, 1)) for x in (a, b)]
    found = few_shot_error(*joined(*many), num_shots=3)
    mean, variance = ref.prototype_margin_moments(
        a.mean(0), np.cov(a.T, bias=True), b.mean(0), np.cov(b.T, bias=True), 3
    )
    assert float(found.snr[0, 1]) == pytest.approx(mean / np.sqrt(variance), rel=1e-2)


@pytest.mark.parametrize("num_points", [20, 50, 500])
def test_the_error_of_the_population_is_predicted_from_few_points(num_points):
    """50 dimensions; the mean over samples of points lies at the error of the rule in the population."""
    rng = np.random.default_rng(0)
    scale = np.sqrt(rng.uniform(0.2, 2.0, (2, 50)))
    shift = 0.25 * rng.standard_normal(50)
    x = rng.standard_normal((3, 40_000, 50))
    point, own = x[0] * scale[0], x[1] * scale[0] / np.sqrt(5)
    other = shift + x[2] * scale[1] / np.sqrt(5)
    true = np.mean(((point - other) ** 2).sum(1) < ((point - own) ** 2).sum(1))
    found = []
    for _ in range(60):
        clouds = [rng.standard_normal((num_points, 50)) * s + m for s, m in zip(scale, (0, shift))]
        found.append(float(few_shot_error(*joined(*clouds)).error[0, 1]))
    assert 0.3 < true < 0.45
    assert np.mean(found) == pytest.approx(true, abs=0.01 + 2.5 * np.std(found) / np.sqrt(60))


def test_closed_form_of_two_balls():
    """Two clouds with covariance I and centres a distance d apart: everything is known by hand."""
    points = torch.cat([torch.eye(4, dtype=D), -torch.eye(4, dtype=D)]) * 2  # covariance I
    x = torch.cat([points, points + torch.tensor([3.0, 0, 0, 0])])
    found = few_shot_error(x, torch.arange(2).repeat_interleave(8), num_shots=2, terms="published")
    assert float(found.snr[0, 1]) == pytest.approx(4.5 / np.sqrt(4 / 2 + 9 / 2 + 9))


def test_predicts_the_error_of_a_simulation():
    rng = np.random.default_rng(0)
    n = 40
    S = [np.diag(rng.uniform(0.2, 2.0, n)) for _ in range(2)]
    mu = [np.zeros(n), 0.5 * rng.standard_normal(n)]
    # Clouds with exactly these moments, and so many points that there is nothing to correct.
    clouds = []
    for m, s in zip(mu, S):
        z = np.concatenate([np.eye(n), -np.eye(n)]) * np.sqrt(n)
        clouds.append(np.tile(z @ np.sqrt(s) + m, (30, 1)))
    predicted = float(few_shot_error(*joined(*clouds), num_shots=3).error[0, 1])
    simulated, _ = ref.prototype_error_simulated(mu[0], S[0], mu[1], S[1], 3, num_trials=4000)
    assert predicted == pytest.approx(simulated, abs=4 * np.sqrt(simulated * (1 - simulated) / 4000) + 0.01)


def test_invariances_and_many_classes():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 9, generator=g, dtype=D), torch.arange(60) % 4
    x = x + y[:, None]
    q = torch.linalg.qr(torch.randn(9, 9, dtype=D))[0]
    one, two = few_shot_error(x, y), few_shot_error(5 * x @ q - 3, 2 * y + 1)
    torch.testing.assert_close(one.snr, two.snr, equal_nan=True)
    only = few_shot_error(x[(y == 1) | (y == 3)], y[(y == 1) | (y == 3)])
    torch.testing.assert_close(one.snr[1, 3], only.snr[0, 1])


def test_bad_input():
    x, y = torch.randn(6, 3), torch.tensor([0, 0, 0, 5, 1, 1])
    with pytest.raises(ValueError, match="class 5 has one point"):
        few_shot_error(x, y)
    x, y = torch.randn(8, 3), torch.tensor([0, 0, 0, 5, 5, 1, 1, 1])
    with pytest.raises(ValueError, match="class 5 has two points"):
        few_shot_error(x, y)
    assert bool(few_shot_error(x, y, terms="published").error[0, 1].isfinite())
    with pytest.raises(ValueError, match="num_shots"):
        few_shot_error(x, y, num_shots=0)
    with pytest.raises(ValueError, match="terms"):
        few_shot_error(x, y, terms="some")
    with pytest.raises(ValueError, match="at least two classes"):
        few_shot_error(x, torch.zeros(8, dtype=torch.long))
