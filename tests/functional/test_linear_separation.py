import math

import numpy as np
import pytest
import torch

from neuroalign.functional import linear_separability, manifold_capacity, simulated_capacity
from tests.geometry_references import known_answers
from tests.geometry_references import simulated as ref

D = torch.float64


def test_separable_classes_and_chance():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(200, 10, generator=g), torch.arange(200) % 4
    corners = torch.randn(4, 10, generator=g)
    assert float(linear_separability(x + 20 * corners[y], y)) == 1
    chance = float(linear_separability(x, y))
    assert abs(chance - 0.25) < 4 * math.sqrt(0.25 * 0.75 / 200)


def test_exclusive_or_is_not_separable():
    g = torch.Generator().manual_seed(0)
    corners = torch.tensor([[0.0, 0], [1, 1], [0, 1], [1, 0]]).repeat(25, 1)
    x = corners + 0.05 * torch.randn(100, 2, generator=g)
    y = torch.tensor([0, 0, 1, 1]).repeat(25)
    assert float(linear_separability(x, y)) < 0.8
    assert float(linear_separability(torch.cat([x, x[:, :1] * x[:, 1:]], 1), y, C=100)) == 1


def test_wide_features_are_only_a_rotation():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 40, generator=g, dtype=D), torch.arange(60) % 3
    x = x + 0.3 * torch.randn(3, 40, generator=g, dtype=D)[y]
    q = torch.linalg.qr(torch.randn(300, 40, generator=g, dtype=D))[0]
    one, two = linear_separability(x, y), linear_separability(4 * x @ q.T + 1, y)
    assert float(one) == pytest.approx(float(two), abs=1.1 / 60) and 0.4 < float(one) < 1


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: linear_separability(x, torch.zeros_like(y)), "at least two"),
        (lambda x, y: linear_separability(x[:7], y[:7]), "fewer than the 5 folds"),
        (lambda x, y: linear_separability(x, y, num_folds=1), "num_folds"),
        (lambda x, y: linear_separability(x * torch.nan, y), "NaN"),
        (lambda x, y: simulated_capacity([x]), "at least two"),
        (lambda x, y: simulated_capacity([x[:, :1], x[:, :1] + 1]), "at least two features"),
        (lambda x, y: simulated_capacity([x, x], num_projections=0), "at least 1"),
    ],
)
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message):
        call(torch.randn(20, 5), torch.arange(20) % 2)


def test_trial_equals_the_reference_test_of_separability():
    from neuroalign.functional.linear_separation import _is_separable

    rng = np.random.default_rng(0)
    agree = []
    for n in (3, 5, 8, 12):
        for _ in range(10):
            x, y = rng.standard_normal((14, n)), np.repeat(rng.permutation([1.0] * 4 + [-1.0] * 3), 2)
            agree.append((_is_separable(x, y, True), ref.is_linearly_separable(x, y)))
    assert all(a == b for a, b in agree) and len(set(agree)) == 2


@pytest.mark.slow
def test_mean_field_agrees_with_trial():
    """The independent check of the theory: segments with random centres and axes."""
    g = torch.Generator().manual_seed(0)
    centers = torch.randn(40, 1, 200, generator=g, dtype=D)
    axes = torch.randn(40, 1, 200, generator=g, dtype=D)
    segments = list(centers + torch.tensor([[1.0], [-1.0]], dtype=D) * axes)
    by_trial = simulated_capacity(segments, num_projections=8, num_dichotomies=10)
    by_theory = manifold_capacity(segments)
    assert by_trial.bracketed
    assert by_trial.capacity == pytest.approx(float(by_theory.capacity), rel=0.12)
    assert float(by_theory.capacity) == pytest.approx(known_answers.segment_capacity(1.0), rel=0.05)


def test_points_by_trial():
    g = torch.Generator().manual_seed(0)
    found = simulated_capacity(
        list(torch.randn(40, 1, 100, generator=g)), num_projections=6, num_dichotomies=10, bias=False
    )
    assert found.capacity == pytest.approx(2, rel=0.15) and found.bracketed


def test_bounds_are_told():
    x = [torch.zeros(1, 3), torch.ones(1, 3)]
    assert not simulated_capacity(x, num_projections=2, num_dichotomies=2).bracketed
    mixed = [torch.tensor([[-1.0, 0], [1, 0]]), torch.tensor([[0, -1.0], [0, 1]])]
    assert simulated_capacity(mixed, num_projections=2, num_dichotomies=2) == (1.0, 2, False, {2: 0.0})
