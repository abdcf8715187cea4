"""Ridge regression: the reference and scikit-learn, missing values, chosen penalties, gradients."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from neuroalign.functional import ridge, ridge_gcv
from neuroalign.functional import ridge_groups as module
from tests import similarity_references as ref
from tests.functional.linear_data import linear_data

PENALTIES = [0.1, 1.0, 10.0, 100.0]


@pytest.mark.parametrize("p", [5, 30])
@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("penalty", ["number", "per voxel"])
def test_predictions_against_the_reference(p, missing, penalty):
    x, y, query = linear_data(p=p, missing=missing)
    lam = 3.0 if penalty == "number" else torch.tensor([0.1, 1.0, 0.1, 5.0, 5.0, 2.0]).double()
    value = ridge(x, y, query, penalty=lam)
    expected = ref.ridge_predictions(x.numpy(), y.numpy(), query.numpy(), lam if penalty == "number" else lam.numpy())
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-8)
    if not missing and penalty == "number":
        np.testing.assert_allclose(value.numpy(), Ridge(alpha=3.0).fit(x, y).predict(query), rtol=1e-8)


def test_voxels_that_miss_stimuli_are_fitted_in_pieces(monkeypatch):
    x, y, query = linear_data(missing=0.3)
    whole = ridge(x, y, query), ridge_gcv(x, y, PENALTIES)
    monkeypatch.setattr(module, "CHUNK", 2 * 14 * 14)
    torch.testing.assert_close(ridge(x, y, query), whole[0])
    torch.testing.assert_close(ridge_gcv(x, y, PENALTIES), whole[1])


def test_a_voxel_without_stimuli_is_nan():
    x, y, query = linear_data()
    y[:, 3] = torch.nan
    assert ridge(x, y, query).isnan().all(0).tolist() == [False, False, False, True, False, False]


@pytest.mark.parametrize("p", [5, 30])
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_generalised_cross_validation_against_the_reference(p, missing):
    for seed in range(3):
        x, y, _ = linear_data(p=p, missing=missing, seed=seed)
        expected = ref.ridge_gcv(x.numpy(), y.numpy(), PENALTIES)
        np.testing.assert_array_equal(ridge_gcv(x, y, PENALTIES).numpy(), expected)


@pytest.mark.parametrize("p", [5, 30])
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_gradients(p, missing):
    x, y, query = linear_data(n=9, p=p, v=3, missing=missing)
    penalty = torch.tensor([1.0, 1.0, 3.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda a, q: ridge(a, y, q, penalty=penalty), (x.requires_grad_(), query.requires_grad_())
    )


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y, q: ridge(x, y, q, penalty=0.0), "must be positive; got 0"),
        (lambda x, y, q: ridge(x, y, q, penalty=torch.ones(2)), r"a number or \(6,\), one per voxel; got \(2,\)"),
        (lambda x, y, q: ridge(x, y, q[:, :3]), r"query must be \(query, 5\)"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(*linear_data())
