"""Targets of another rank or spectrum, against closed forms."""

import pytest
import torch

from neuroalign.config import build
from neuroalign.functional import participation_ratio
from neuroalign.guidance import PrincipalGains


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def region(n=200, v=8, seed=0, power=1.0):
    """Responses (stimulus, voxel) about a mean far from 0, whose spectrum falls off as a power."""
    rotation = torch.linalg.qr(normal(v, v, seed=seed + 1)).Q
    return normal(n, v, seed=seed) * torch.arange(1.0, v + 1) ** -power @ rotation + 5


def spectrum(x):
    """Variances of the principal components, the strongest first."""
    x = x.double()
    return torch.linalg.svdvals(x - x.mean(0)).square() / len(x)


@pytest.mark.parametrize("shape", [(200, 8), (20, 60)], ids=["tall", "wide"])
@pytest.mark.parametrize("rank", [1, 3, 8])
def test_a_rank_is_exactly_that_of_the_leading_components(shape, rank):
    x = region(*shape)
    gains = PrincipalGains.of_rank(x, rank)
    out = gains(x)
    u, s, vh = torch.linalg.svd((x - x.mean(0)).double(), full_matrices=False)
    expected = (u[:, :rank] * s[:rank]) @ vh[:rank] + x.mean(0)
    torch.testing.assert_close(out, expected.float(), rtol=0, atol=1e-5)
    assert torch.linalg.matrix_rank(out - out.mean(0), rtol=1e-5) == rank
    assert gains.directions.shape == (shape[1], rank)
    torch.testing.assert_close(gains(out), out, rtol=0, atol=1e-5)


def test_the_rank_of_a_reference():
    x, other = region(), normal(200, 3, seed=5) @ normal(3, 30, seed=6)
    assert len(PrincipalGains.of_rank(x, reference=other, variance=1.0).gains) == 3
    share = spectrum(other).cumsum(0) / spectrum(other).sum()
    assert len(PrincipalGains.of_rank(x, reference=other).gains) == int((share < 0.95).sum()) + 1
    ratio = PrincipalGains.of_rank(x, reference=region(power=0.3), variance=None)
    assert len(ratio.gains) == round(float(participation_ratio(region(power=0.3)))) > 1


@pytest.mark.parametrize("width", [8, 5, 30], ids=["as wide", "narrower", "wider"])
def test_a_spectrum_is_the_references(width):
    x, other = region(), region(v=width, seed=3, power=0.2)
    gains = PrincipalGains.of_spectrum(x, other)
    wanted = spectrum(other)[:8]
    wanted = torch.cat([wanted, wanted.new_zeros(max(0, 8 - width))])
    wanted *= spectrum(x).sum() / wanted.sum()
    out = gains(x)
    assert (spectrum(out) - wanted).abs().max() < 1e-5 * wanted[0]
    torch.testing.assert_close(out.mean(0), x.mean(0), rtol=0, atol=1e-5)
    same = torch.linalg.svd((out - out.mean(0)).double(), full_matrices=False).Vh[0]
    own = torch.linalg.svd((x - x.mean(0)).double(), full_matrices=False).Vh[0]
    torch.testing.assert_close((same @ own).abs().float(), torch.tensor(1.0))


def test_the_scale_of_the_reference_does_not_matter():
    x, other = region(), region(seed=3, power=0.2)
    a, b = PrincipalGains.of_spectrum(x, other), PrincipalGains.of_spectrum(x, 100 * other - 3)
    torch.testing.assert_close(a.gains, b.gains)
    torch.testing.assert_close(PrincipalGains.of_spectrum(x, x).gains, torch.ones(8))


def test_directions_of_rounding_are_not_blown_up():
    """A linear readout of few features spans few directions; float32 puts a little noise into the others."""
    x = normal(300, 4) @ normal(4, 40, seed=1) + 3
    gains = PrincipalGains.of_spectrum(x, region(n=300, v=40, power=0))
    assert len(gains.gains) == 4
    assert gains.gains.max() < 10
    with pytest.raises(ValueError, match="a rank of 5 is asked for, and the targets vary in 4 directions"):
        PrincipalGains.of_rank(x, 5)


def test_a_missing_response_leaves_its_stimulus_out():
    x = region()
    holed = torch.cat([x, x[:2]])
    holed[-2, 0] = holed[-1] = torch.nan
    gains = PrincipalGains.of_rank(holed, 2)
    torch.testing.assert_close(gains(x), PrincipalGains.of_rank(x, 2)(x))
    out = gains(holed)
    assert out[-2:].isnan().all()
    assert not out[:-2].isnan().any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_dtypes_and_autocast(dtype):
    x = region()
    gains = PrincipalGains.of_rank(x, 2)
    assert gains(x.to(dtype)).dtype == dtype
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(gains(x), gains(x))
        inside = gains(x)
    assert torch.equal(inside, gains(x))


def test_rebuilt_and_saved():
    gains = PrincipalGains.of_spectrum(region(), region(seed=3, power=0.2))
    again = build(gains.config)
    assert gains.config["class_path"] == "neuroalign.guidance.PrincipalGains.zeros"
    again.load_state_dict(gains.state_dict())
    assert torch.equal(again(region(seed=7)), gains(region(seed=7)))
    assert not list(gains.parameters())


def test_compiles_as_one_graph():
    x = region()
    gains = PrincipalGains.of_rank(x, 2)
    torch.testing.assert_close(torch.compile(gains, backend="eager", fullgraph=True)(x), gains(x))


X = region()


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: PrincipalGains.of_rank(X), "give either rank, or the reference"),
        (lambda: PrincipalGains.of_rank(X, 2, reference=X), "give either rank, or the reference"),
        (lambda: PrincipalGains.of_rank(X, 0), "a rank of 0 is asked for, and the targets vary in 8 directions"),
        (lambda: PrincipalGains.of_rank(X, 9), "lower that region's instead"),
        (lambda: PrincipalGains.of_rank(X, reference=X, variance=2), r"variance must be in \(0, 1\]"),
        (lambda: PrincipalGains.of_rank(torch.full((9, 3), 0.1), 1), "responses are the same for all stimuli"),
        (lambda: PrincipalGains.of_spectrum(X, torch.full((9, 3), 0.1)), "reference are the same for all stimuli"),
        (lambda: PrincipalGains.of_spectrum(X, X[0]), r"reference must be \(stimulus, voxel\); got \(8,\)"),
        (lambda: PrincipalGains.of_rank(X[:1], 1), "1 stimuli without a missing response; two are needed"),
        (lambda: PrincipalGains.of_rank(X / 0, 1), "responses have infinite values; mark missing ones by NaN"),
        (lambda: PrincipalGains.of_rank(X, 1)(X[:, :3]), "gains for 8 voxels, but targets have 3"),
        (lambda: PrincipalGains(X[0], X, X[0]), r"directions \(voxel, component\); got \(8,\), \(8,\) and \(200, 8\)"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
