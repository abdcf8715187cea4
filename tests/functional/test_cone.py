import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import nnls

from neuroalign.functional import cone_projection


def problems(groups=3, draws=40, points=12, width=8, seed=0, dtype=torch.float64):
    g = torch.Generator().manual_seed(seed)
    s = torch.randn(groups, width, points, generator=g, dtype=torch.float64) + 0.3
    t = torch.randn(groups, draws, width, generator=g, dtype=torch.float64)
    return s.to(dtype), t.to(dtype)


def solve(s, t, **kwargs):
    return cone_projection(s.mT @ s, t @ s, **kwargs)


def by_scipy(s, t):
    return np.array([[nnls(s[i].numpy(), t[i, j].numpy())[0] for j in range(t.shape[1])] for i in range(len(s))])


@pytest.mark.parametrize(("points", "width"), [(5, 8), (12, 8), (60, 200), (200, 6)])
def test_equals_scipy(points, width):
    s, t = problems(points=points, width=width)
    found = solve(s, t)
    expected = torch.from_numpy(by_scipy(s, t))
    torch.testing.assert_close(found.squared_norm, (s @ expected.mT).square().sum(1), rtol=1e-10, atol=1e-10)
    if points <= width:  # otherwise the coefficients need not be unique
        torch.testing.assert_close(found.coefficients, expected, rtol=1e-9, atol=1e-9)
    assert float(found.residual.max()) < 1e-12
    assert bool((found.coefficients >= 0).all())


def test_many_points_in_use():
    """Systems larger than those that are unrolled, found in a few steps of many points."""
    s, t = problems(groups=1, draws=4, points=150, width=150)
    found = solve(s, t + 1.0)
    assert int(found.num_active.max()) > 40
    torch.testing.assert_close(found.coefficients, torch.from_numpy(by_scipy(s, t + 1.0)), rtol=1e-8, atol=1e-9)
    assert float(found.residual.max()) < 1e-12


def test_float32_is_certified_at_its_own_precision():
    s, t = problems()
    wide, narrow = solve(s, t), solve(s.float(), t.float())
    torch.testing.assert_close(narrow.squared_norm, wide.squared_norm.float(), rtol=1e-4, atol=1e-4)
    assert narrow.coefficients.dtype == torch.float32 and float(narrow.residual.max()) < 1e-5


def test_certificate_is_positive_for_a_wrong_answer():
    """The positive control of the certificate: it is computed from the answer, not assumed."""
    s, t = problems()
    right = solve(s, t)
    dual = t @ s - right.coefficients @ (s.mT @ s)
    length = s.norm(dim=1)[:, None]
    scale = ((t @ s) / length).abs().amax(2, keepdim=True)
    scaled = dual / length / scale
    by_hand = torch.where(right.coefficients > 0, scaled.abs(), scaled.clamp_min(0)).amax(2)
    torch.testing.assert_close(right.residual, by_hand, rtol=0, atol=1e-14)
    shifted = t @ s - 1.5 * right.coefficients @ (s.mT @ s)
    assert float((shifted / length / scale).abs()[right.coefficients > 0].max()) > 1e-2


def test_repeated_points_count_once():
    s, t = problems(points=6)
    once, twice = solve(s, t), solve(torch.cat([s, s, s[:, :, :1]], 2), t)
    torch.testing.assert_close(once.squared_norm, twice.squared_norm)
    assert torch.equal(once.num_active, twice.num_active)


def test_nearly_repeated_points_end_and_are_certified():
    s, t = problems(points=6)
    near = torch.cat([s, s + 1e-9 * torch.randn_like(s), s + 1e-14], 2)
    found = solve(near, t)
    torch.testing.assert_close(found.squared_norm, solve(s, t).squared_norm, rtol=1e-6, atol=1e-6)
    assert float(found.residual.max()) < 1e-6


def test_signs_equal_signed_points():
    s, t = problems(groups=1, draws=20)
    signs = torch.randint(0, 2, (20, s.shape[2])).double() * 2 - 1
    signed = solve(s, t, signs=signs)
    for j in range(20):
        alone = solve(s * signs[j], t[:, j : j + 1])
        torch.testing.assert_close(signed.coefficients[:, j], alone.coefficients[:, 0], rtol=1e-9, atol=1e-10)


def test_inside_and_outside():
    """A target in the cone is its own projection; one in the polar cone goes to the apex."""
    s, _ = problems(points=5)
    inside = (s @ torch.rand(3, 5, 7, dtype=torch.float64)).mT
    torch.testing.assert_close(solve(s, inside).squared_norm, inside.square().sum(2))
    eye = torch.eye(4, dtype=torch.float64)[None]
    polar = solve(eye, -torch.rand(1, 9, 4, dtype=torch.float64))
    assert not bool(polar.coefficients.any()) and not bool(polar.num_active.any()) and not bool(polar.residual.any())


def test_padding_is_no_point():
    s, t = problems(points=5)
    gram, inner = s.mT @ s, t @ s
    padded = cone_projection(torch.nn.functional.pad(gram, (0, 3, 0, 3)), torch.nn.functional.pad(inner, (0, 3)))
    torch.testing.assert_close(padded.coefficients[:, :, :5], solve(s, t).coefficients)
    assert not bool(padded.coefficients[:, :, 5:].any())


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 10**6))
def test_optimality(points, width, seed):
    """Moreau: t - p is orthogonal to p and in the polar cone."""
    s, t = problems(groups=2, draws=5, points=points, width=width, seed=seed)
    found = solve(s, t)
    p = found.coefficients @ s.mT
    assert float((p * (t - p)).sum(2).abs().max()) < 1e-9
    assert float(((t - p) @ s).max()) < 1e-9
    torch.testing.assert_close(found.squared_norm, p.square().sum(2), rtol=1e-9, atol=1e-9)
    assert int(found.num_active.max()) <= min(points, width)


def test_order_of_draws_does_not_matter():
    s, t = problems(groups=2, draws=50)
    shuffled = torch.randperm(50)
    torch.testing.assert_close(
        solve(s, t).coefficients[:, shuffled], solve(s, t[:, shuffled]).coefficients, rtol=0, atol=1e-12
    )


@pytest.mark.parametrize(
    ("gram", "target", "message"),
    [
        (torch.eye(3), torch.ones(1, 2, 3), "point, point"),
        (torch.eye(3)[None], torch.ones(1, 2, 4), "target must be"),
        (torch.eye(3)[None], torch.ones(1, 2, 3).double(), "floating-point type"),
        (torch.eye(3)[None] * torch.nan, torch.ones(1, 2, 3), "NaN"),
    ],
)
def test_bad_input(gram, target, message):
    with pytest.raises(ValueError, match=message):
        cone_projection(gram, target)
    with pytest.raises(ValueError, match="signs"):
        cone_projection(torch.eye(3)[None], torch.ones(1, 2, 3), signs=torch.ones(3, 3))
