import numpy as np
import pytest
import torch

from neuroalign.functional import glue
from neuroalign.functional.glue_geometry import _coordinates, _signs, _summary, joint_geometry
from tests.geometry_references.glue import glue as reference

D = torch.float64
MEASURES = ("capacity", "radius", "dimension", "utility")


def clouds(num=6, points=8, width=20, spread=0.5, seed=0):
    g = torch.Generator().manual_seed(seed)
    centers = torch.randn(num, 1, width, generator=g, dtype=D)
    return centers + spread * torch.randn(num, points, width, generator=g, dtype=D)


@pytest.mark.parametrize(("alignment", "suffix"), [("inner_product", ""), ("cosine", "_cosine")])
def test_equals_the_quadratic_program_on_fixed_draws(alignment, suffix):
    x = clouds()
    g = torch.Generator().manual_seed(1)
    signs, t = _signs("random", 6, 60, g), torch.randn(60, 20, generator=g, dtype=D)
    expected = reference(list(x.numpy()), signs.numpy(), t.numpy())
    exists = torch.ones(1, 6, 8, dtype=torch.bool)
    parts = joint_geometry(_coordinates(x[None], exists), exists, t[None], signs, alignment, False)
    mine = _summary(*parts, 6, D)
    for name in MEASURES:
        assert float(getattr(mine, name)) == pytest.approx(expected[name], rel=1e-7)
    for name in ("center_alignment", "axis_alignment", "center_axis_alignment"):
        assert float(getattr(mine, name)) == pytest.approx(expected[name + suffix], rel=1e-7)
    np.testing.assert_allclose(expected["a"], expected["projection"], rtol=1e-8)  # (St)'(SS')^+(St) is |p|^2
    assert float(mine.residual) < 1e-12


@pytest.mark.parametrize("dichotomies", ["random", "one_vs_rest", "pairs", torch.tensor([[1, 1, 1, -1, -1, -1]])])
@pytest.mark.parametrize("width", [20, 200])
def test_identity(dichotomies, width):
    g = glue(list(clouds(width=width)), dichotomies=dichotomies)
    assert float(g.capacity) == pytest.approx(float(g.utility * (1 + g.radius**-2) / g.dimension), rel=1e-9)
    assert all(bool(v.isfinite()) for v in g) and float(g.capacity_error) < 0.1 * float(g.capacity)


def test_points_have_capacity_two():
    found = glue(list(clouds(num=40, points=1, width=300)), num_samples=400)
    assert abs(float(found.capacity) - 2) < 4 * float(found.capacity_error) + 2 / 40


def test_a_given_half_is_one_pair():
    x = list(clouds(num=2))
    pair = glue(x, dichotomies="pairs")
    given = glue(x, dichotomies=torch.tensor([[1, -1], [-1, 1]]))
    for name in MEASURES:
        error = 5 * float(getattr(pair, name + "_error") + getattr(given, name + "_error"))
        assert abs(float(getattr(pair, name)) - float(getattr(given, name))) < error


def test_pairs_are_every_two_by_themselves():
    x = list(clouds(num=4))
    together = glue(x, dichotomies="pairs", num_samples=2000)
    alone = [2 / float(glue([x[i], x[j]], num_samples=2000).capacity) for i in range(4) for j in range(i)]
    assert 2 / float(together.capacity) == pytest.approx(np.mean(alone), rel=0.02)


@pytest.mark.parametrize("alignment", ["inner_product", "cosine"])
def test_invariances(alignment):
    """With more features than points the draws follow the points, so that rotations change nothing at all."""
    x = clouds(width=200)
    q = torch.linalg.qr(torch.randn(200, 200, dtype=D))[0]
    plain = glue(list(x), alignment=alignment)
    moved = glue(list(3.0 * x @ q + torch.randn(200, dtype=D)), alignment=alignment)
    for name in MEASURES:
        assert float(getattr(plain, name)) == pytest.approx(float(getattr(moved, name)), rel=1e-6)
    scale = 9 if alignment == "inner_product" else 1
    for name in ("center_alignment", "axis_alignment", "center_axis_alignment"):
        assert scale * float(getattr(plain, name)) == pytest.approx(float(getattr(moved, name)), rel=1e-6)


def test_correlated_centers_show_in_the_alignment():
    x = clouds(width=100)
    shared = 3 * torch.randn(6, 1, 1, dtype=D, generator=torch.Generator().manual_seed(3)) * torch.ones(100, dtype=D)
    apart, along = glue(list(x), alignment="cosine"), glue(list(x + shared), alignment="cosine")
    assert float(along.center_alignment) > 2 * float(apart.center_alignment)


def test_features_with_labels_and_unequal_sizes():
    x = [p[: 3 + i] for i, p in enumerate(clouds())]
    labels = torch.arange(6).repeat_interleave(torch.tensor([len(p) for p in x]))
    one, two = glue(x), glue(torch.cat(x), labels)
    assert all(torch.equal(a, b) for a, b in zip(one, two))
    assert glue([p.float() for p in x]).capacity.dtype == torch.float32


@pytest.mark.slow
def test_standard_errors_are_those_of_repeated_draws():
    x = list(clouds(num=4))
    runs = [glue(x, num_samples=100, seed=s) for s in range(100)]
    for name in MEASURES:
        spread = np.std([float(getattr(r, name)) for r in runs])
        error = np.mean([float(getattr(r, name + "_error")) for r in runs])
        assert 0.7 < error / spread < 1.4, name


def test_variance_reduction_reduces():
    x = list(clouds(num=6))
    spread = {
        v: np.var([float(glue(x, variance_reduction=v, seed=s).capacity) for s in range(30)]) for v in (True, False)
    }
    assert spread[True] < 0.5 * spread[False]


def test_dichotomies():
    g = torch.Generator().manual_seed(0)
    halves = _signs("random", 7, 50, g)
    assert bool((halves.sum(1).abs() == 1).all()) and len(halves.unique(dim=0)) > 10
    one = _signs("one_vs_rest", 3, 4, g)
    assert one.tolist() == [[1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, -1, -1]]


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x: glue(x[:1]), "at least two"),
        (lambda x: glue([]), "at least two"),
        (lambda x: glue([x[0], x[1][:0]]), "manifold 1 is empty"),
        (lambda x: glue([x[0], x[1][:, :3]]), "manifold 1 has 3 features"),
        (lambda x: glue([x[0], x[1] * torch.nan]), "NaN"),
        (lambda x: glue(torch.cat(x)), "need labels"),
        (lambda x: glue(torch.cat(x), torch.zeros(48, dtype=torch.long)), "at least two classes; got 1"),
        (lambda x: glue(x, torch.arange(6)), "labels belong"),
        (lambda x: glue(x, dichotomies="all"), "dichotomies"),
        (lambda x: glue(x, dichotomies=torch.zeros(3, 6)), "of \\+1 and -1"),
        (lambda x: glue(x, dichotomies=torch.ones(3, 5)), "dichotomy, 6"),
        (lambda x: glue(x, num_samples=1), "num_samples"),
        (lambda x: glue(x, alignment="angle"), "alignment"),
        (lambda x: glue([torch.ones(2, 3), torch.ones(4, 3)]), "all points are equal"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(list(clouds()))
