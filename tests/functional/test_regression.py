"""Ridge regression: the reference, scikit-learn and himalaya, missing values, chosen penalties, gradients."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from neuroalign import NeuralAlignmentLoss, RidgePredictivity
from neuroalign.functional import regression as module
from neuroalign.functional import ridge, ridge_cv, ridge_gcv, ridge_predictivity
from neuroalign.functional.cross_validation import ridge_loo
from tests import similarity_references as ref

PENALTIES = [0.1, 1.0, 10.0, 100.0]


def data(n=14, p=5, v=6, missing=0.0, seed=0):
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, p, generator=g, dtype=torch.float64) + 2
    y = x @ torch.randn(p, v, generator=g, dtype=torch.float64) + 2 * torch.randn(
        n, v, generator=g, dtype=torch.float64
    )
    query = torch.randn(4, p, generator=g, dtype=torch.float64) + 2
    y[torch.rand(n, v, generator=g) < missing] = torch.nan
    return x, y, query


@pytest.mark.parametrize("p", [5, 30])
@pytest.mark.parametrize("missing", [0.0, 0.2])
@pytest.mark.parametrize("penalty", ["number", "per voxel"])
def test_predictions_against_the_reference(p, missing, penalty):
    x, y, query = data(p=p, missing=missing)
    lam = 3.0 if penalty == "number" else torch.tensor([0.1, 1.0, 0.1, 5.0, 5.0, 2.0]).double()
    value = ridge(x, y, query, penalty=lam)
    expected = ref.ridge_predictions(x.numpy(), y.numpy(), query.numpy(), lam if penalty == "number" else lam.numpy())
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-8)
    if not missing and penalty == "number":
        np.testing.assert_allclose(value.numpy(), Ridge(alpha=3.0).fit(x, y).predict(query), rtol=1e-8)


def test_voxels_that_miss_stimuli_are_fitted_in_pieces(monkeypatch):
    x, y, query = data(missing=0.3)
    whole = ridge(x, y, query), ridge_gcv(x, y, PENALTIES)
    monkeypatch.setattr(module, "_CHUNK", 2 * 14 * 14)
    torch.testing.assert_close(ridge(x, y, query), whole[0])
    torch.testing.assert_close(ridge_gcv(x, y, PENALTIES), whole[1])


def test_a_voxel_without_stimuli_is_nan():
    x, y, query = data()
    y[:, 3] = torch.nan
    assert ridge(x, y, query).isnan().all(0).tolist() == [False, False, False, True, False, False]


@pytest.mark.parametrize("p", [5, 30])
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_generalised_cross_validation_against_the_reference(p, missing):
    for seed in range(3):
        x, y, _ = data(p=p, missing=missing, seed=seed)
        expected = ref.ridge_gcv(x.numpy(), y.numpy(), PENALTIES)
        np.testing.assert_array_equal(ridge_gcv(x, y, PENALTIES).numpy(), expected)


@pytest.mark.parametrize(("n", "p"), [(23, 5), (23, 40)])
@pytest.mark.parametrize("num_folds", [2, 5])
def test_cross_validation_against_the_reference(n, p, num_folds):
    x, y, _ = data(n=n, p=p, v=20)
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
    x, y, _ = data(n=60, p=p, v=40)
    grid = np.logspace(-2, 4, 10)
    peer = himalaya.RidgeCV(alphas=grid, cv=5, fit_intercept=True).fit(x.numpy(), y.numpy())
    fit = ridge_cv(x, y, grid)
    np.testing.assert_allclose(fit.penalty.numpy(), peer.best_alphas_)
    np.testing.assert_allclose(fit.coefficients.numpy(), peer.coef_, rtol=1e-6)


@pytest.mark.parametrize("p", [5, 30])
@pytest.mark.parametrize("missing", [0.0, 0.2])
def test_gradients(p, missing):
    x, y, query = data(n=9, p=p, v=3, missing=missing)
    penalty = torch.tensor([1.0, 1.0, 3.0], dtype=torch.float64)
    assert torch.autograd.gradcheck(
        lambda a, q: ridge(a, y, q, penalty=penalty), (x.requires_grad_(), query.requires_grad_())
    )


def test_predictivity_is_of_held_out_stimuli():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 100, generator=g), torch.randn(60, 50, generator=g)
    assert abs(float(ridge_predictivity(x, y).mean())) < 0.1  # fitted to what it predicts, it would be near 1
    assert float(ridge_predictivity(x, x @ torch.randn(100, 50, generator=g)).mean()) > 0.3


@pytest.mark.parametrize("num_folds", [2, 5])
@pytest.mark.parametrize("missing", [0.0, 0.15])
def test_predictivity_is_the_mean_of_its_folds(num_folds, missing):
    x, y, _ = data(n=23, missing=missing)  # folds of 5 and of 4
    r = ridge_predictivity(x, y, penalty=0.1, num_folds=num_folds)
    predictions = np.zeros(y.shape)
    for fold in range(num_folds):
        query = np.arange(23) % num_folds == fold
        support = x.numpy()[~query]
        unit = ((support - support.mean(0)) ** 2).sum(1).mean()
        predictions[query] = ref.ridge_predictions(support, y.numpy()[~query], x.numpy()[query], 0.1 * unit)
    np.testing.assert_allclose(r.numpy(), ref.within_folds(predictions, y.numpy(), num_folds), rtol=1e-8)


def test_folds_without_a_correlation_are_left_out_of_the_mean():
    x, y, _ = data(n=15, v=3)
    whole = ridge_predictivity(x, y, penalty=0.1, num_folds=3)
    y[[0, 3, 6], 0] = torch.nan  # two of the first fold's five are left
    y[[0, 3, 6, 9, 12], 1] = 7.0  # constant there
    y[[0, 3, 6, 1, 4, 7, 2, 5, 8], 2] = torch.nan  # two in every fold
    r = ridge_predictivity(x, y, penalty=0.1, num_folds=3)
    assert r.isnan().tolist() == [False, False, True]
    for v in (0, 1):
        predictions, unit = np.zeros((15, 1)), []
        for fold in range(3):
            query = np.arange(15) % 3 == fold
            support = x.numpy()[~query]
            unit = 0.1 * ((support - support.mean(0)) ** 2).sum(1).mean()
            predictions[query] = ref.ridge_predictions(support, y.numpy()[~query, v : v + 1], x.numpy()[query], unit)
        by_hand = [np.corrcoef(predictions[f::3, 0], y.numpy()[f::3, v])[0, 1] for f in (1, 2)]
        assert float(r[v]) == pytest.approx(np.mean(by_hand), rel=1e-8)
        assert abs(float(r[v] - whole[v])) > 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(("n", "draws"), [(16, 400), (64, 250)])
@pytest.mark.parametrize("num_folds", [2, 5])
@pytest.mark.parametrize("face", ["function", "metric", "loss"])
def test_independent_data_read_zero(face, num_folds, n, draws):
    faces = {
        "function": lambda x, y: ridge_predictivity(x, y, num_folds=num_folds).mean(),
        "metric": lambda x, y: RidgePredictivity(num_folds=num_folds, reduction="mean")(x, y),
        "loss": lambda x, y: 1 - NeuralAlignmentLoss("ridge", num_folds=num_folds)(x, y),
    }
    g = torch.Generator().manual_seed(n + num_folds)
    r = torch.tensor([float(faces[face](torch.randn(n, 20, generator=g), torch.randn(n, 60, generator=g)))
                      for _ in range(draws)])  # fmt: skip
    assert float(r.std()) / draws**0.5 < 0.003
    assert abs(float(r.mean())) < 0.01


def test_a_weak_signal_keeps_its_sign():
    g = torch.Generator().manual_seed(0)
    r = []
    for _ in range(30):
        x = torch.randn(64, 20, generator=g)
        y = torch.randn(64, 60, generator=g) + 0.25 * x @ torch.randn(20, 60, generator=g) / 20**0.5
        r.append(ridge_predictivity(x, y, num_folds=5).mean())
    assert 0.06 < float(torch.stack(r).mean()) < 0.1  # pooled over folds: -0.11


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda x, y, q: ridge(x, y, q, penalty=0.0), "must be positive; got 0"),
        (lambda x, y, q: ridge(x, y, q, penalty=torch.ones(2)), r"a number or \(6,\), one a voxel; got \(2,\)"),
        (lambda x, y, q: ridge(x, y, q[:, :3]), r"query must be \(query, 5\)"),
        (lambda x, y, q: ridge_predictivity(x[:5], y[:5]), "in 2 folds of 3 or more needs at least 6 stimuli; got 5"),
        (lambda x, y, q: ridge_predictivity(x, y, num_folds=14), "in 14 folds of 3 or more needs at least 42 stimuli"),
        (lambda x, y, q: ridge_predictivity(x, y, num_folds=1), "num_folds must be at least 2"),
        (lambda x, y, q: ridge_cv(x, y, [1.0], num_folds=20), "from 2 to the number of stimuli, 14"),
        (lambda x, y, q: ridge_cv(x, y.index_fill(0, torch.tensor([0]), torch.nan), [1.0]), "complete responses"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(*data())


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
