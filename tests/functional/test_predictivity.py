"""Ridge predictivity: held-out correlations, folds, and no bias without a signal."""

import numpy as np
import pytest
import torch

from neuroalign import NeuralAlignmentLoss, RidgePredictivity
from neuroalign.functional import ridge_predictivity
from tests import similarity_references as ref
from tests.functional.linear_data import linear_data


def test_predictivity_is_of_held_out_stimuli():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(60, 100, generator=g), torch.randn(60, 50, generator=g)
    assert abs(float(ridge_predictivity(x, y).mean())) < 0.1  # fitted to what it predicts, it would be near 1
    assert float(ridge_predictivity(x, x @ torch.randn(100, 50, generator=g)).mean()) > 0.3


@pytest.mark.parametrize("num_folds", [2, 5])
@pytest.mark.parametrize("missing", [0.0, 0.15])
def test_predictivity_is_the_mean_of_its_folds(num_folds, missing):
    x, y, _ = linear_data(n=23, missing=missing)  # folds of 5 and of 4
    r = ridge_predictivity(x, y, penalty=0.1, num_folds=num_folds)
    predictions = np.zeros(y.shape)
    for fold in range(num_folds):
        query = np.arange(23) % num_folds == fold
        support = x.numpy()[~query]
        unit = ((support - support.mean(0)) ** 2).sum(1).mean()
        predictions[query] = ref.ridge_predictions(support, y.numpy()[~query], x.numpy()[query], 0.1 * unit)
    np.testing.assert_allclose(r.numpy(), ref.within_folds(predictions, y.numpy(), num_folds), rtol=1e-8)


def test_folds_without_a_correlation_are_left_out_of_the_mean():
    x, y, _ = linear_data(n=15, v=3)
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


@pytest.mark.parametrize("num_folds", [2, 3])
@pytest.mark.parametrize("missing", [0.0, 0.15])
@pytest.mark.parametrize("penalty", [0.1, (0.001, 0.1, 10.0)])
def test_the_form_without_branches_is_the_same(penalty, missing, num_folds, monkeypatch):
    results = []
    for looks in (True, False):
        if not looks:
            for name in ("predictivity", "ridge_fit", "ridge_penalty", "ridge_systems"):
                monkeypatch.setattr(f"neuroalign.functional.{name}.readable", lambda x: False)
        x, y, _ = linear_data(n=20, v=8, missing=missing)
        r = ridge_predictivity(x.requires_grad_(), y, penalty=penalty, num_folds=num_folds)
        results.append((r.detach(), *torch.autograd.grad(r.nansum(), x)))
    for expected, found in zip(*results):
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9, equal_nan=True)


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
        (lambda x, y: ridge_predictivity(x[:5], y[:5]), "in 2 folds of 3 or more needs at least 6 stimuli; got 5"),
        (lambda x, y: ridge_predictivity(x, y, num_folds=14), "in 14 folds of 3 or more needs at least 42 stimuli"),
        (lambda x, y: ridge_predictivity(x, y, num_folds=1), "num_folds must be at least 2"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call(*linear_data()[:2])
