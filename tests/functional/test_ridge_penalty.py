"""The choice of a penalty: the same by one inverse for all voxels and by a fit for each, and unchanged by rounding."""

import pytest
import torch

from neuroalign.functional import ridge_gcv, ridge_penalty
from neuroalign.functional.ridge_penalty import chosen_penalties
from tests.functional.linear_data import linear_data

GRID = [0.01, 0.1, 1.0, 10.0, 100.0, 1000.0]


@pytest.mark.parametrize("leave_one_out", [False, True])
@pytest.mark.parametrize("p", [6, 50])
@pytest.mark.parametrize("missing", [0.05, 0.3])
def test_shared_and_single_fits_choose_the_same(p, missing, leave_one_out, monkeypatch):
    chosen = []
    for shares in (True, False):
        monkeypatch.setattr(ridge_penalty, "sharing_voxels", lambda v, *_, of=shares, **__: v.new_full(v.shape[1:], of))
        x, y, _ = linear_data(n=30, p=p, v=150, missing=missing)
        chosen.append(ridge_gcv(x, y * torch.logspace(-1, 1, 150), GRID, leave_one_out=leave_one_out))
    assert torch.equal(*chosen)
    assert len(chosen[0].unique()) > 3


def test_left_out_stimuli_one_by_one():
    x, y, _ = linear_data(n=18, p=5, v=8, missing=0.2)
    found = ridge_gcv(x, y, GRID, leave_one_out=True)
    for v in range(8):
        rows = (~y[:, v].isnan()).nonzero()[:, 0]
        errors = torch.zeros(len(GRID))
        for i, penalty in enumerate(GRID):
            for row in rows:
                kept = rows[rows != row]
                a, b = x[kept], y[kept, v]
                xc = a - a.mean(0)
                beta = torch.linalg.solve(xc.T @ xc + penalty * torch.eye(5), xc.T @ (b - b.mean()))
                errors[i] += (y[row, v] - b.mean() - (x[row] - a.mean(0)) @ beta) ** 2
        assert float(found[v]) == GRID[int(errors.argmin())]


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_equal_errors_choose_the_first(missing):
    x, y, _ = linear_data(n=20, p=3, v=10, missing=missing)
    x = torch.full_like(x, 2.0)  # whatever the penalty, the prediction is the mean
    assert ridge_gcv(x, y, [5.0, 1.0, 30.0]).tolist() == [5.0] * 10


def test_a_penalty_that_rounding_hides_is_tried_for_each_voxel_alone(monkeypatch):
    x, y, _ = linear_data(n=20, p=50, v=10, missing=0.2)
    monkeypatch.setattr(ridge_penalty, "_masked_errors", None)
    assert ridge_gcv(x, y, [1e-13, 10.0]).shape == (10,)


def test_spoilt_systems_are_solved_alone(monkeypatch):
    x, y, _ = linear_data(n=20, p=50, v=10, missing=0.2)
    expected, errors = ridge_gcv(x, y, GRID), ridge_penalty._masked_errors
    monkeypatch.setattr(ridge_penalty, "_masked_errors", lambda *args: errors(*args) * torch.nan)
    assert torch.equal(ridge_gcv(x, y, GRID), expected)
    valid = ~y.isnan()
    numbers = chosen_penalties(x, torch.where(valid, y, 0), torch.tensor(GRID).double(), valid)
    assert torch.equal(torch.tensor(GRID)[numbers].double(), expected.float().double())
