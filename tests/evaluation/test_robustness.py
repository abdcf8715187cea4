"""evaluate_robustness: right counts, no trace, the same whatever the batches."""

import copy

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from neuroalign import FGSM, PGD, evaluate_robustness
from neuroalign.evaluation import per_image_robustness, results
from neuroalign.state import evaluating
from tests.perturbations.attacks.test_gradient import closed_form, images, linear


def loader(x, labels, batch_size=32):
    return DataLoader(TensorDataset(x, labels), batch_size)


def test_closed_form_accuracy():
    model, x = linear(2), images()
    labels = model(x).argmax(1)
    labels[:20] = 1 - labels[:20]
    table = evaluate_robustness(model, loader(x, labels), FGSM(), [0.0, 0.005, 0.02])
    expected = [closed_form(model, x, labels, e, "linf").mean() for e in (0.0, 0.005, 0.02)]
    np.testing.assert_allclose(table["accuracy"], expected)
    assert (table["clean_accuracy"] == 0.9).all()
    assert (table["num_images"] == 200).all()
    assert (table["num_correct"] == table["accuracy"] * 200).all()
    assert ((table["ci_low"] <= table["accuracy"]) & (table["accuracy"] <= table["ci_high"])).all()


def test_a_row_for_each_perturbation_and_budget_in_order():
    model, x = linear(3), images(20)
    labels = model(x).argmax(1)
    table = evaluate_robustness(model, loader(x, labels), {"b": PGD(steps=2), "a": FGSM("l2")}, [0.02, 0.01])
    assert table[["perturbation", "norm", "eps"]].values.tolist() == [
        ["b", "linf", 0.02], ["b", "linf", 0.01], ["a", "l2", 0.02], ["a", "l2", 0.01],
    ]  # fmt: skip


def test_batches_are_joined_once_however_many_perturbations(monkeypatch):
    joined, calls = results.joined, []
    monkeypatch.setattr(results, "joined", lambda batches: calls.append(len(batches)) or joined(batches))
    model, x = linear(3), images(40)
    evaluate_robustness(model, loader(x, model(x).argmax(1), 16), [FGSM("l2"), FGSM(), PGD(steps=1)], 0.01)
    assert calls == [3]


def test_the_same_for_any_batch_size_and_order():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 32), nn.Tanh(), nn.Linear(32, 4))
    x = images(100)
    labels = model(x).argmax(1)
    attack = PGD(steps=3, restarts=2)
    whole = per_image_robustness(model, loader(x, labels, 100), attack, 0.04)["correct"].to_numpy()
    parts = per_image_robustness(model, loader(x, labels, 7), attack, 0.04)["correct"].to_numpy()
    assert (whole != parts).sum() <= 1
    order = torch.randperm(100)
    batches = [{"image": x[i], "label": labels[i], "stimulus": i} for i in order.split(13)]
    shuffled = per_image_robustness(model, batches, attack, 0.04).sort_values("stimulus")["correct"].to_numpy()
    assert (whole != shuffled).sum() <= 1


def test_no_trace():
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Dropout(0.5), nn.Flatten(), nn.Linear(16, 3))
    model.train()
    model[1].eval()  # a mode of its own, which must come back
    model[0].weight.requires_grad_(False)
    x, labels = images(20), torch.zeros(20, dtype=torch.long)
    state, rng = copy.deepcopy(model.state_dict()), torch.get_rng_state()
    evaluate_robustness(model, loader(x, labels), PGD(steps=2, restarts=2), 0.05)
    assert [m.training for m in model] == [True, False, True, True, True]
    assert [p.requires_grad for p in model.parameters()] == [False, True, True, True, True, True]
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), rng)
    for name, value in model.state_dict().items():
        assert torch.equal(value, state[name])


def test_the_state_comes_back_after_an_error():
    model = nn.Sequential(nn.Dropout(), nn.Linear(2, 2)).train()
    with pytest.raises(RuntimeError, match="halfway"), evaluating(model):
        raise RuntimeError("halfway")
    assert model.training
    assert all(p.requires_grad for p in model.parameters())


def test_perturbations_of_ones_own():
    model, x = linear(3), images(30)
    labels = model(x).argmax(1)

    def darker(model, images, labels, eps):
        return (images - eps).clamp(0, 1)

    table = evaluate_robustness(model, loader(x, labels), darker, 0.1)
    assert table["perturbation"].tolist() == ["darker"]
    assert table["num_correct"][0] == int((model(x - 0.1).argmax(1) == labels).sum())


def test_clean_errors_count_as_errors_even_if_the_attack_mends_them():
    model, x = linear(2), images(30)
    labels = 1 - model(x).argmax(1)
    table = evaluate_robustness(model, loader(x, labels), lambda m, i, y, eps: i * 0 + 0.5, 0.1)
    assert table["accuracy"][0] == 0


def test_inside_no_grad_and_inference_mode():
    model, x = linear(2), images(30)
    labels = model(x).argmax(1)
    expected = evaluate_robustness(model, loader(x, labels), FGSM(), 0.01)
    for mode in (torch.no_grad, torch.inference_mode):
        with mode():
            pd.testing.assert_frame_equal(evaluate_robustness(model, loader(x, labels), FGSM(), 0.01), expected)


def test_limit_and_progress():
    model, x = linear(2), images(50)
    table = evaluate_robustness(model, loader(x, model(x).argmax(1), 10), FGSM(), 0.01, limit_batches=2, progress=True)
    assert table["num_images"].tolist() == [20]


def test_refusals():
    model, x = linear(2), images(10)
    labels = model(x).argmax(1)
    with pytest.raises(ValueError, match="normalised"):
        evaluate_robustness(model, loader((x - 0.5) / 0.2, labels), FGSM(), 0.1)
    with pytest.raises(ValueError, match="two perturbations are named 'fgsm-linf'"):
        evaluate_robustness(model, loader(x, labels), [FGSM(), FGSM()], 0.1)
    with pytest.raises(ValueError, match="must not be negative or NaN"):
        evaluate_robustness(model, loader(x, labels), FGSM(), [-1.0])
    with pytest.raises(ValueError, match="gave no batch"):
        evaluate_robustness(model, [], FGSM(), 0.1)
    with pytest.raises(TypeError, match="can't be called"):
        evaluate_robustness(model, loader(x, labels), [3], 0.1)

    with pytest.raises(TypeError, match=r"make an object of it, FGSM\(\)"):
        evaluate_robustness(model, loader(x, labels), FGSM, 0.1)
    with pytest.raises(ValueError, match="unknown perturbation 'fgms'; did you mean 'FGSM'"):
        evaluate_robustness(model, loader(x, labels), "fgms", 0.1)
    with pytest.raises(ValueError, match="divide by 255"):
        evaluate_robustness(model, loader(x, labels), FGSM(), 8)
    with pytest.raises(ValueError, match="labels run from"):
        evaluate_robustness(model, loader(x, labels + 50), FGSM(), 0.1)
    assert len(evaluate_robustness(model, loader(x, labels), FGSM(), np.float32(0.1))) == 1
    assert len(evaluate_robustness(model, loader(x, labels), FGSM(), torch.tensor([0.1, 0.2]))) == 2

    class Broken(nn.Module):
        def forward(self, z):
            return model(z) * torch.nan

    with pytest.raises(ValueError, match="NaN or infinite logits"):
        evaluate_robustness(Broken(), loader(x, labels), FGSM(), 0.1)
