"""Accuracy under corruptions and its means, by hand."""

import pandas as pd
import pytest
import torch
from torch import nn

from neuroalign import Corruption, RobustnessCallback, corruption_errors, evaluate_corruptions, evaluate_robustness
from tests.perturbations.evaluation.test_curve import loader


def table(accuracies, clean=0.9):
    rows = [(c, s, a, clean, 50) for c, by_severity in accuracies.items() for s, a in by_severity.items()]
    return pd.DataFrame(rows, columns=["corruption", "severity", "accuracy", "clean_accuracy", "num_images"])


def test_by_hand():
    ours = table({"fog": {1: 0.8, 5: 0.4}, "snow": {1: 0.7, 5: 0.5}})
    theirs = table({"snow": {1: 0.5, 5: 0.1}, "fog": {1: 0.6, 5: 0.2}}, clean=0.7)
    found = corruption_errors(ours, theirs)
    assert found.mean_error == pytest.approx((0.4 + 0.4) / 2)
    assert found.mce == pytest.approx(((0.2 + 0.6) / (0.4 + 0.8) + (0.3 + 0.5) / (0.5 + 0.9)) / 2)
    assert found.relative_mce == pytest.approx(((0.1 + 0.5) / (0.1 + 0.5) + (0.2 + 0.4) / (0.2 + 0.6)) / 2)
    assert found.by_corruption["corruption"].tolist() == ["fog", "snow"]
    alone = corruption_errors(ours)
    assert alone.mean_error == found.mean_error
    assert pd.isna(alone.mce)
    assert pd.isna(alone.relative_mce)
    with pytest.raises(ValueError, match="same corruptions"):
        corruption_errors(ours, theirs.iloc[:3])


class Brightness(nn.Module):
    """Says whether the mean is above a half."""

    def forward(self, x):
        mean = x.mean((1, 2, 3))
        return torch.stack([0.5 - mean, mean - 0.5], 1)


def test_evaluated_on_all_images_whatever_they_were():
    x = torch.rand(12, 3, 32, 32) * 0.2 + 0.38
    labels = torch.ones(12, dtype=torch.long)  # dark images, called bright: brightening them makes the answer right
    model = Brightness()
    found = evaluate_corruptions(model, loader(x, labels, 5), ["brightness", "fog"], [1, 5])
    assert (found["clean_accuracy"] < 1).all()
    by_hand = [
        float((model(Corruption(c, s)(x)).argmax(1) == labels).float().mean())
        for c in ("brightness", "fog")
        for s in (1, 5)
    ]
    assert found["accuracy"].tolist() == pytest.approx(by_hand)
    assert found["accuracy"][1] == 1
    assert found["perturbation"].tolist() == ["brightness-1", "brightness-5", "fog-1", "fog-5"]
    assert found["norm"].isna().all()


def test_mixed_with_attacks_in_one_call():
    from neuroalign import FGSM

    x, labels = torch.rand(12, 3, 32, 32), torch.ones(12, dtype=torch.long)
    found = evaluate_robustness(Brightness(), loader(x, labels), [FGSM(), Corruption("snow", 2)], [0.0, 0.1])
    assert found["perturbation"].tolist() == ["fgsm-linf", "fgsm-linf", "snow-2"]
    assert found["eps"].isna().tolist() == [False, False, True]
    callback = RobustnessCallback([FGSM(), Corruption("snow", 2)], [0.1])
    assert callback.keys == ["robust_accuracy/fgsm-linf/eps=0.1", "robust_accuracy/snow-2"]


def test_sizes_without_a_table_are_refused():
    x, labels = torch.rand(3, 3, 40, 40), torch.ones(3, dtype=torch.long)
    with pytest.raises(ValueError, match="no table of severities for images of 40 x 40"):
        evaluate_corruptions(Brightness(), loader(x, labels), ["fog"])
    assert len(evaluate_corruptions(Brightness(), loader(x, labels), ["fog"], [1], table=32)) == 1
