"""Soft matching's coupling: against plain Sinkhorn in logarithms, and how often it looks at its error."""

import pytest
import torch

from neuroalign.functional import matching
from neuroalign.functional.matching import _transport
from tests.device_reads import CountReads


def correlations(kind, features=20, voxels=30, stimuli=40):
    g = torch.Generator().manual_seed(0)
    x = torch.randn(stimuli, features, generator=g, dtype=torch.float64)
    y = torch.randn(stimuli, voxels, generator=g, dtype=torch.float64)
    if kind == "matched":
        y = x[:, torch.randint(features, (voxels,), generator=g)] + 0.3 * y
    return torch.corrcoef(torch.cat([x, y], 1).T)[:features, features:]


def plain(r, a, b, temperature, sweeps=20000):
    """The coupling by Sinkhorn's algorithm in logarithms."""
    k, f, g = r / temperature, torch.zeros_like(a), torch.zeros_like(b)
    for _ in range(sweeps):
        before = f
        f = -(k + g + b.log()).logsumexp(1)
        g = -(k + f[:, None] + a.log()[:, None]).logsumexp(0)
        if float((f - before).abs().max()) < 1e-13:
            break
    return (k + f[:, None] + g).exp() * a[:, None] * b, -temperature * (a @ f + b @ g)


def weights(r):
    a = torch.full((len(r),), 1 / len(r), dtype=torch.float64)
    b = torch.rand(r.shape[1], generator=torch.Generator().manual_seed(1), dtype=torch.float64) + 0.1
    return a, b / b.sum()


@pytest.mark.parametrize("temperature", [1.0, 0.05, 0.02, 0.008])
@pytest.mark.parametrize("kind", ["independent", "matched"])
def test_the_coupling(kind, temperature):
    r = correlations(kind)
    a, b = weights(r)
    expected, maximum = plain(r, a, b, temperature)
    for tolerance, allowed in ((1e-11, 1e-8), (1e-6, 1e-4)):  # times the largest entry
        coupling, value = _transport(r, a, b, temperature, tolerance)
        torch.testing.assert_close(coupling, expected, rtol=0, atol=allowed * float(expected.max()))
        torch.testing.assert_close(value, maximum, rtol=0, atol=allowed * temperature)
        torch.testing.assert_close(coupling.sum(0), b)


def test_a_voxel_without_weight_takes_no_part():
    r = correlations("matched")
    a, b = weights(r)
    b[3] = 0
    b /= b.sum()
    coupling, value = _transport(r, a, b, 0.05, 1e-11)
    others = torch.arange(len(b)) != 3
    expected, maximum = _transport(r[:, others], a, b[others], 0.05, 1e-11)
    torch.testing.assert_close(coupling[:, others], expected)
    torch.testing.assert_close(value, maximum)
    assert not coupling[:, 3].any()


@pytest.mark.parametrize("temperature", [0.05, 0.005])
def test_few_looks_where_each_makes_the_host_wait(monkeypatch, temperature):
    r = correlations("matched")
    a, b = weights(r)
    expected, maximum = _transport(r, a, b, temperature, 1e-11)
    monkeypatch.setattr(matching, "readable", lambda x: False)
    with CountReads() as count:
        coupling, value = _transport(r, a, b, temperature, 1e-11)
    assert count.reads <= 5
    torch.testing.assert_close(coupling, expected, rtol=0, atol=1e-8)
    torch.testing.assert_close(value, maximum)


def test_no_convergence_is_said():
    r = correlations("matched", 10, 15)
    r = r.round(decimals=1)  # ties, and few voxels to share
    with pytest.warns(RuntimeWarning, match="soft matching did not converge .* raise the temperature above 1e-05"):
        _transport(r, *weights(r), 1e-5, 1e-11)
