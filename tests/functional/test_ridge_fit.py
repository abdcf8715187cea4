"""One fit for all voxels and one for each set of valid stimuli: the same predictions and gradients."""

import pytest
import torch

from neuroalign.functional import ridge, ridge_fit
from neuroalign.functional.gram import gram
from neuroalign.functional.ridge_fit import Penalties, ridge_maps, ridge_predictions
from tests.functional.linear_data import linear_data


def predictions_and_gradients(x, y, query, penalty):
    x, y, query, penalty = (t.clone().requires_grad_() for t in (x, y, query, penalty))
    pred = ridge(x, y, query, penalty=penalty)
    loss = (pred * torch.arange(pred.numel()).view_as(pred).sin()).sum()
    return pred.detach(), *torch.autograd.grad(loss, (x, y, query, penalty))


@pytest.mark.parametrize("p", [5, 40])
@pytest.mark.parametrize("missing", [0.05, 0.3, 0.7])
@pytest.mark.parametrize("per_voxel", [False, True])
def test_shared_and_single_fits_are_the_same(p, missing, per_voxel, monkeypatch):
    x, y, query = linear_data(n=24, p=p, v=30, missing=missing)
    penalty = 10.0 ** (torch.arange(30, dtype=torch.float64) % 3) if per_voxel else torch.tensor(3.0).double()
    results = []
    for shares in (lambda v: v >= 0, lambda v: v < 0, lambda v: v % 2 == 0):
        monkeypatch.setattr(ridge_fit, "sharing_voxels", lambda valid, *_, of=shares: of(torch.arange(valid.shape[1])))
        results.append(predictions_and_gradients(x, y, query, penalty))
    for shared, single, mixed in zip(*results):
        torch.testing.assert_close(shared, single, rtol=1e-8, atol=1e-9)
        torch.testing.assert_close(mixed, single, rtol=1e-8, atol=1e-9)
    assert bool((results[0][2][y.isnan()] == 0).all())  # exactly: what is missing has no gradient


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_each_voxel_has_the_gradient_of_its_own_penalty(missing):
    x, y, query = linear_data(n=9, p=5, v=4, missing=missing)
    penalty = torch.tensor([1.0, 1.0, 1.0, 3.0], dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: ridge(x, y, query, penalty=p), penalty)


@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_second_derivatives(missing):
    x, y, query = linear_data(n=7, p=4, v=2, missing=missing)
    assert torch.autograd.gradgradcheck(lambda a: ridge(a, y, query), x.requires_grad_())


def test_a_penalty_that_rounding_hides_is_refused_with_missing_values():
    x, y, query = (t.float() for t in linear_data(n=20, p=40, v=6, missing=0.2))
    x = torch.cat([x[:10], x[:10]])
    with pytest.raises(ValueError, match="penalty is lost to rounding"):
        ridge(1e8 * x, y, query, penalty=1.0)


def test_spoilt_systems_are_solved_alone(monkeypatch):
    x, y, query = linear_data(n=20, p=40, v=9, missing=0.2)
    expected = ridge(x, y, query)
    monkeypatch.setattr(ridge_fit.RestrictedInverses, "wrong", lambda self: torch.tensor(True))
    torch.testing.assert_close(ridge(x, y, query), expected)


@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("per_voxel", [False, True])
def test_the_form_without_branches_is_the_same(missing, per_voxel, monkeypatch):
    x, y, query = linear_data(n=20, p=40, v=9, missing=missing)
    valid = ~y.isnan() if missing else None
    y = y.nan_to_num(0.0)
    penalty = Penalties.of(torch.arange(9).double() % 3 + 1 if per_voxel else torch.tensor(2.0).double())
    expected = ridge_predictions(x, y, query, penalty, valid)
    for name in ("ridge_fit", "ridge_systems"):
        monkeypatch.setattr(f"neuroalign.functional.{name}.readable", lambda x: False)
    torch.testing.assert_close(ridge_predictions(x, y, query, penalty, valid), expected)
    hidden = Penalties(penalty.values * 0 - 1e3, penalty.grid * 0 - 1e3, penalty.which)  # no positive system
    assert bool(ridge_predictions(x, y, query, hidden, valid).isnan().all())


def test_coefficients_of_stimuli_and_of_features():
    for p in (5, 40):
        x, y, query = linear_data(n=20, p=p)
        [(_, fit)] = ridge_maps(x, y, Penalties.of(torch.tensor(2.0).double()))
        assert (fit.support is None) == (p == 5)
        xc = x - x.mean(0)
        expected = torch.linalg.solve(gram(xc.T) + 2 * torch.eye(p), xc.T @ y)
        torch.testing.assert_close(fit.coefficients(), expected)
        torch.testing.assert_close(fit.predict(query), ridge(x, y, query, penalty=2.0))
