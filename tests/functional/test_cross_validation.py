"""Cross-validated ridge regression: the reference, himalaya and scikit-learn."""

import numpy as np
import pytest
import torch

from neuroalign.functional import ridge, ridge_cv
from neuroalign.functional.cross_validation import ridge_loo
from tests import similarity_references as ref
from tests.functional.linear_data import linear_data

PENALTIES = [0.1, 1.0, 10.0, 100.0]


@pytest.mark.parametrize(("n", "p"), [(23, 5), (23, 40)])
@pytest.mark.parametrize("num_folds", [2, 5])
def test_cross_validation_against_the_reference(n, p, num_folds):
    x, y, _ = linear_data(n=n, p=p, v=20)
    fit = ridge_cv(x, y, PENALTIES, num_folds=num_folds)
    chosen = fit.penalty.numpy()
    np.testing.assert_array_equal(chosen, ref.ridge_kfold(x.numpy(), y.numpy(), PENALTIES, num_folds))
    assert len(set(chosen)) > 1
    query = x[:3] + 1
    refitted = query @ fit.coefficients + fit.intercept
    torch.testing.assert_close(refitted, ridge(x, y, query, penalty=fit.penalty))
    small = ridge_cv(x.float(), y.float(), PENALTIES, num_folds=num_folds)
    assert (small.penalty.double() / fit.penalty - 1).abs().lt(1e-3).double().mean() >= 0.95


@pytest.mark.parametrize("p", [20, 58])
def test_cross_validation_against_himalaya(p):
    himalaya = pytest.importorskip("himalaya.ridge", reason="himalaya is not installed (extra: peers)")
    x, y, _ = linear_data(n=60, p=p, v=40)
    grid = np.logspace(-2, 4, 10)
    peer = himalaya.RidgeCV(alphas=grid, cv=5, fit_intercept=True).fit(x.numpy(), y.numpy())
    fit = ridge_cv(x, y, grid)
    np.testing.assert_allclose(fit.penalty.numpy(), peer.best_alphas_)
    np.testing.assert_allclose(fit.coefficients.numpy(), peer.coef_, rtol=1e-6)


@pytest.mark.parametrize(("n", "p"), [(40, 8), (20, 60)])
def test_leaving_one_out_chooses_and_fits_as_scikit_learn(n, p):
    from sklearn.linear_model import RidgeCV

    x = torch.randn(n, p, dtype=torch.float64) + 3
    y = x @ torch.randn(p, 6, dtype=torch.float64) + torch.logspace(-1, 2, 6, dtype=torch.float64) * torch.randn(
        n, 6, dtype=torch.float64
    )
    grid = torch.logspace(-2, 5, 15, dtype=torch.float64)
    fit, theirs = ridge_loo(x, y, grid), RidgeCV(grid.numpy(), alpha_per_target=True).fit(x.numpy(), y.numpy())
    assert fit.penalty.tolist() == theirs.alpha_.tolist()
    pred = x @ fit.coefficients + fit.intercept
    torch.testing.assert_close(pred, torch.from_numpy(theirs.predict(x.numpy())), rtol=1e-6, atol=1e-6)


def test_leaving_one_out_fits_a_voxel_to_its_valid_stimuli():
    x, y = torch.randn(30, 5, dtype=torch.float64), torch.randn(30, 3, dtype=torch.float64)
    missing = y.clone()
    missing[4:9, 1] = torch.nan
    grid = [0.1, 1.0, 10.0]
    fit, whole = ridge_loo(x, missing, grid), ridge_loo(x, y, grid)
    kept = ~missing[:, 1].isnan()
    alone = ridge_loo(x[kept], y[kept][:, 1:2], grid)
    for ours, wanted in (
        (fit.coefficients[:, 1:2], alone.coefficients),
        (fit.coefficients[:, 0], whole.coefficients[:, 0]),
    ):
        torch.testing.assert_close(ours, wanted)
    torch.testing.assert_close(fit.intercept[1:2], alone.intercept)
    missing[1:, 2] = torch.nan
    with pytest.raises(ValueError, match="voxel 2 has fewer than two valid stimuli"):
        ridge_loo(x, missing, grid)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y: ridge_cv(x, y, [1.0], num_folds=20), "from 2 to the number of stimuli, 14"),
        (lambda x, y: ridge_cv(x, y.index_fill(0, torch.tensor([0]), torch.nan), [1.0]), "complete responses"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(*linear_data()[:2])
