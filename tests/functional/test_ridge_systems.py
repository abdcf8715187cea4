"""Inverses without the stimuli that a voxel misses, against those of its valid stimuli alone."""

import numpy as np
import pytest
import torch

from neuroalign.functional import ridge_systems as module
from neuroalign.functional.gram import gram
from neuroalign.functional.ridge_groups import Groups
from neuroalign.functional.ridge_systems import PenalizedSolve, RestrictedInverses

N, GRID = 20, torch.tensor([0.5, 30.0], dtype=torch.float64)


def missing(share):
    g = torch.Generator().manual_seed(0)
    valid = torch.rand(N, 12, generator=g) >= share
    valid[:, 0], valid[:, 1], valid[:3, 1] = True, False, True
    return valid


def alone(k, valid, penalty):
    """The matrix that maps the responses of the valid stimuli to their coefficients, 0 elsewhere, by NumPy."""
    rows = np.flatnonzero(valid.numpy())
    m = len(rows)
    bordered = np.ones((m + 1, m + 1))
    bordered[:m, :m] = k.numpy()[np.ix_(rows, rows)] + penalty * np.eye(m)
    bordered[m, m] = 0
    out = np.zeros((N, N))
    out[np.ix_(rows, rows)] = np.linalg.inv(bordered)[:m, :m]
    return out


@pytest.mark.parametrize("share", [0.05, 0.3, 0.7])
@pytest.mark.parametrize("p", [4, 40])
@pytest.mark.parametrize("kept", [True, False])
def test_inverses_of_the_valid_stimuli(p, share, kept, monkeypatch):
    if not kept:
        monkeypatch.setattr(module, "_KEPT", 0)
    g = torch.Generator().manual_seed(1)
    x, valid = torch.randn(N, p, generator=g, dtype=torch.float64) + 1, missing(share)
    y, groups = torch.randn(N, 12, generator=g, dtype=torch.float64), Groups.of(valid)[0]
    k = gram(x)
    right = torch.where(groups.valid, y.T[groups.order], 0)
    every = RestrictedInverses(k, GRID, groups)
    which = torch.arange(12) % 2
    own = RestrictedInverses(k, GRID, groups, which[groups.order]).solve(right)[0, groups.back]
    solved, trace, diagonal = every.solve(right), every.trace(), every.diagonal()
    for i, penalty in enumerate(GRID.tolist()):
        for v in range(12):
            inverse = alone(k, valid[:, v], penalty)
            place = int(groups.back[v])
            expected = inverse @ torch.where(valid[:, v], y[:, v], 0).numpy()
            np.testing.assert_allclose(solved[i, place], expected, rtol=1e-8, atol=1e-10)
            np.testing.assert_allclose(trace[i, place], np.trace(inverse), rtol=1e-8)
            rows = valid[:, v].numpy()
            np.testing.assert_allclose(diagonal[i, place].numpy()[rows], np.diag(inverse)[rows], rtol=1e-8)
            if i == which[v]:
                np.testing.assert_allclose(own[v], expected, rtol=1e-8, atol=1e-10)
    assert not bool(every.wrong())


def test_a_penalty_below_rounding_is_told():
    x = torch.randn(N, 3, dtype=torch.float64)
    groups = Groups.of(missing(0.2))[0]
    inverses = RestrictedInverses(gram(x) - 1e-6 * torch.eye(N), GRID[:1] * 1e-30, groups)
    assert bool(inverses.wrong())


def test_solutions_are_differentiable_twice():
    g = torch.Generator().manual_seed(0)
    root = torch.randn(5, 5, generator=g, dtype=torch.float64).requires_grad_()
    right = torch.randn(5, 3, generator=g, dtype=torch.float64).requires_grad_()
    penalty = torch.tensor([1.0, 2.0, 1.0], dtype=torch.float64).requires_grad_()

    def solved(root, right, penalty):
        a = root @ root.T

        def solve(columns):
            systems = a.detach() + penalty.detach()[:, None, None] * torch.eye(5, dtype=a.dtype)
            return torch.linalg.solve(systems, columns.T[:, :, None])[:, :, 0].T

        return PenalizedSolve.apply(a, right, penalty, solve)

    assert torch.autograd.gradcheck(solved, (root, right, penalty))
    assert torch.autograd.gradgradcheck(solved, (root, right, penalty))
