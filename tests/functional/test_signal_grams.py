import pytest
import torch

from neuroalign.functional import ManifoldStatistics, manifold_capacity, signal_gram

D = torch.float64


def measurements(noise, rank=12, seed=0):
    g = torch.Generator().manual_seed(seed)
    loading = torch.randn(rank, 150, generator=g, dtype=D) / rank**0.5
    latent = torch.randn(15, 1, rank, generator=g, dtype=D) + 0.7 * torch.randn(15, 12, rank, generator=g, dtype=D)
    signal = latent.flatten(0, 1) @ loading
    pair = [signal + noise * torch.randn(signal.shape, generator=g, dtype=D) for _ in range(2)]
    return signal, *pair, torch.arange(15).repeat_interleave(12)


def test_without_noise_it_is_the_gram_matrix():
    signal, first, second, _ = measurements(0.0)
    about = signal - signal.mean(0)
    torch.testing.assert_close(signal_gram(first, second), about @ about.T)


def test_unbiased_without_shrinkage():
    signal = measurements(0.0)[0][:20]
    g = torch.Generator().manual_seed(0)
    estimates = []
    for _ in range(300):
        pair = [signal + 2 * torch.randn(signal.shape, generator=g, dtype=D) for _ in range(2)]
        estimates.append(signal_gram(*pair, shrink=False))
    estimates, about = torch.stack(estimates), signal - signal.mean(0)
    z = (estimates.mean(0) - about @ about.T) / (estimates.std(0) / 300**0.5)
    assert float(z.abs().max()) < 4.5


@pytest.mark.parametrize("noise", [0.5, 1.0])
def test_capacity_of_the_signal_is_recovered(noise):
    """Against the truth of the simulation, and against the plain average as the negative control."""
    signal, first, second, y = measurements(noise)
    kwargs = {"center_correlation": "keep"}
    truth = manifold_capacity(signal, y, **kwargs)
    average = manifold_capacity((first + second) / 2, y, **kwargs)
    corrected = manifold_capacity(
        ManifoldStatistics.from_gram(signal_gram(first, second), y, num_features=150), **kwargs
    )
    for name, tolerance in (("capacity", 0.06), ("radius", 0.06), ("dimension", 0.06)):
        right, plain, mine = (float(getattr(g, name)) for g in (truth, average, corrected))
        assert mine == pytest.approx(right, rel=tolerance)
        assert abs(mine - right) < 0.4 * abs(plain - right)


def test_shrunk_is_positive_semidefinite():
    _, first, second, _ = measurements(2.0)
    assert float(torch.linalg.eigvalsh(signal_gram(first, second))[0]) > -1e-8
    assert float(torch.linalg.eigvalsh(signal_gram(first, second, shrink=False))[0]) < -1


def test_bad_input():
    with pytest.raises(ValueError, match="alike"):
        signal_gram(torch.zeros(3, 2), torch.zeros(3, 4))
    with pytest.raises(ValueError, match="NaN"):
        signal_gram(torch.zeros(3, 2), torch.full((3, 2), torch.nan))
