import numpy as np
import pytest
import torch
from scipy.optimize import nnls

from neuroalign.functional import cone, cone_projection
from neuroalign.functional.nonnegative import coefficients, crowded_spans


def cones(groups, points, width, draws=30, seed=0, height=False):
    """Points (group, width, point) and targets (group, draw, width); with ``height`` all points lie on one side."""
    g = torch.Generator().manual_seed(seed)
    s = torch.randn(groups, width, points, generator=g, dtype=torch.float64)
    if height:
        s = torch.cat([0.1 * s, torch.ones(groups, 1, points, dtype=s.dtype)], 1)
    s = s / s.norm(dim=1, keepdim=True)
    return s, torch.randn(groups, draws, s.shape[1], generator=g, dtype=torch.float64)


def spans_of(s, t, signs=None):
    inner = (t @ s).flatten(0, 1)
    return crowded_spans(s.mT @ s, inner if signs is None else inner * signs, signs)


@pytest.mark.parametrize(
    ("points", "width", "height", "crowded"),
    [
        (80, 20, False, True),  # the cone is the whole space: a projection uses all 20 dimensions
        (80, 20, True, False),  # a narrow cone: few points are used
        (40, 60, False, False),  # fewer points than dimensions
        (40, 40, False, False),
    ],
)
def test_a_few_projections_tell_where_one_at_a_time_is_faster(points, width, height, crowded):
    s, t = cones(3, points, width, height=height)
    assert set(spans_of(s, t)) == (set(range(3)) if crowded else set())


@pytest.mark.parametrize("signed", [False, True])
def test_the_points_are_those_of_the_inner_products(signed):
    s, t = cones(1, 60, 12)
    signs = torch.where(torch.rand(30, 60, generator=torch.Generator().manual_seed(1)) < 0.5, 1.0, -1.0).double()
    signs = signs if signed else None
    (span,) = spans_of(s, t, signs).values()
    assert span.points.shape == (12, 60)
    torch.testing.assert_close(torch.from_numpy(span.points.T @ span.points), s[0].mT @ s[0])
    inner = t[0] @ s[0] if signs is None else (t[0] @ s[0]) * signs
    found = coefficients(span, inner, signs)
    for a, target, sign in zip(found, t[0], torch.ones(30, 60) if signs is None else signs):
        expected = nnls((s[0] * sign).numpy(), target.numpy())[0]
        projections = [(s[0] * sign) @ torch.as_tensor(v, dtype=torch.float64) for v in (a, expected)]
        torch.testing.assert_close(*projections, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("signed", [False, True])
def test_the_projection_does_not_depend_on_the_method(monkeypatch, signed):
    """Crowded and ordinary cones in one call, cut into slices that do not end where a group ends."""
    wide, narrow = cones(2, 60, 12), cones(2, 60, 11, height=True, seed=1)
    s, t = torch.cat([wide[0], narrow[0]]), torch.cat([wide[1], narrow[1]])
    signs = None
    if signed:
        signs = torch.where(torch.rand(30, 60, generator=torch.Generator().manual_seed(1)) < 0.5, 1.0, -1.0).double()
    monkeypatch.setattr(cone, "_ELEMENTS", 61 * 37)
    used = []
    monkeypatch.setattr(cone, "coefficients", lambda *args: used.append(len(args[1])) or coefficients(*args))
    mixed = cone_projection(s.mT @ s, t @ s, signs=signs)
    assert sum(used) == (120 if signed else 60)  # signs turn narrow cones into wide ones
    monkeypatch.setattr(cone, "crowded_spans", lambda *args: {})
    together = cone_projection(s.mT @ s, t @ s, signs=signs)
    turn = 1 if signs is None else signs
    torch.testing.assert_close((mixed.coefficients * turn) @ s.mT, (together.coefficients * turn) @ s.mT)
    torch.testing.assert_close(mixed.squared_norm, together.squared_norm, rtol=1e-10, atol=1e-10)
    assert float(mixed.residual.max()) < 1e-12


@pytest.mark.parametrize("answer", [np.nan, 0.5])
def test_an_answer_that_is_not_optimal_is_computed_anew(monkeypatch, answer):
    s, t = cones(2, 60, 12)
    right = cone_projection(s.mT @ s, t @ s)
    monkeypatch.setattr(cone, "coefficients", lambda span, target, signs: torch.full_like(target, answer))
    found = cone_projection(s.mT @ s, t @ s)
    assert float(found.residual.max()) < 1e-11
    torch.testing.assert_close(found.squared_norm, right.squared_norm)


def test_scipy_giving_up_is_marked(monkeypatch):
    import scipy.optimize

    s, t = cones(1, 60, 12)
    (span,) = spans_of(s, t).values()

    def gives_up(*args):
        raise RuntimeError("Maximum number of iterations reached.")

    monkeypatch.setattr(scipy.optimize, "nnls", gives_up)
    assert bool(coefficients(span, t[0] @ s[0], None).isnan().all())


def test_float32_and_no_points_stay_with_the_batched_method():
    s, t = cones(1, 60, 12)
    assert not spans_of(s.float(), t.float())
    assert not spans_of(0 * s, t)
    assert not spans_of(s[:, :, :0], t)
