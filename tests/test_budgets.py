"""Budgets as people write them: every public budget takes "8/255" and gives what the number gives."""

import math

import numpy as np
import pytest
import torch
import yaml
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import neuroalign
from neuroalign import FGSM, PGD, TRADES, AdversarialTraining, InputSmoothnessCallback, RobustnessCallback
from neuroalign.budgets import as_budget, as_number, with_numbers
from neuroalign.evaluation import Suite, evaluate_suite, loss_landscape, masking_report, targeted_success
from neuroalign.functional import local_lipschitz

TEXT, NUMBER = "8/255", 8 / 255


@given(st.integers(0, 10**6), st.integers(1, 10**6))
def test_a_fraction_is_python_s_quotient(above, below):
    assert as_number(f"{above}/{below}") == above / below
    assert as_number(f" {above} / {below} ") == above / below


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_and_their_texts_agree(value):
    assert as_number(value) == as_number(repr(value)) == as_number(np.float64(value)) == value


@given(st.text(max_size=12))
def test_a_text_is_read_or_refused_and_never_anything_else(text):
    try:
        value = as_number(text)
    except ValueError:
        return
    assert math.isfinite(value) or "e" in text.lower()


NO_BUDGETS = ["a/b", "1/0", "1/0.0", "", "/", "1/", "/2", "1/2/3", "nan", "inf", "8 255", "1_0", "\u0663/\u0664", "8%"]


@pytest.mark.parametrize("text", NO_BUDGETS)
def test_texts_that_are_no_budget(text):
    with pytest.raises(ValueError, match=r"a number or a fraction, such as 0\.03 or '8/255'; got"):
        as_number(text)


@pytest.mark.parametrize("value", [None, True, [0.1], {"eps": 1}, object()])
def test_values_that_are_no_budget(value):
    with pytest.raises(TypeError, match="a number or a fraction"):
        as_number(value)


@pytest.mark.parametrize("value", ["-1/255", -0.1, float("nan"), "1/-255"])
def test_negative_budgets(value):
    with pytest.raises(ValueError, match="eps must not be negative or NaN"):
        as_budget(value)


@pytest.mark.parametrize("value", ["8", 8, "510/255"])
def test_budgets_of_the_wrong_unit(value):
    with pytest.raises(
        ValueError, match=r"pixel units of \[0, 1\].*got [82]: divide by 255\?.*'[82]/255' is understood"
    ):
        as_budget(value, "linf")
    assert as_budget(value, "l2") == as_number(value)


def test_budgets_of_a_tensor_stay_tensors():
    eps = torch.tensor([0.1, 0.2])
    assert with_numbers(eps) is eps
    assert with_numbers(("1/2", 0.1)) == [0.5, 0.1]


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()


@pytest.fixture
def loader(model):
    images = torch.rand(8, 3, 2, 2)
    return [(images, model(images).argmax(1))]


def test_attacks_take_texts(model, loader):
    ((images, labels),) = loader
    expected = PGD()(model, images, labels, NUMBER)
    torch.testing.assert_close(PGD()(model, images, labels, TEXT), expected, rtol=0, atol=0)
    torch.testing.assert_close(PGD()(model, images, labels, [TEXT] * 7 + [NUMBER]), expected, rtol=0, atol=0)
    with pytest.raises(ValueError, match="divide by 255"):
        FGSM()(model, images, labels, "8")
    with pytest.raises(ValueError, match="a number or a fraction"):
        FGSM()(model, images, labels, "a/b")


EVALUATIONS = {
    "evaluate_robustness": lambda m, b, e: neuroalign.evaluate_robustness(m, b, PGD(steps=2), [e, 0.1])["accuracy"],
    "by name": lambda m, b, e: neuroalign.evaluate_robustness(m, b, FGSM(), {"fgsm-linf": e})["eps"],
    "per_image_robustness": lambda m, b, e: neuroalign.per_image_robustness(m, b, FGSM(), e)["eps"],
    "robustness_curve": lambda m, b, e: neuroalign.robustness_curve(m, b, PGD(steps=2), [e]).eps,
    "targeted_success": lambda m, b, e: targeted_success(m, b, PGD(targeted=True), e)["eps"],
    "evaluate_smoothness": lambda m, b, e: neuroalign.evaluate_smoothness(m, b, PGD(steps=2), e),
    "transfer_matrix": lambda m, b, e: neuroalign.transfer_matrix({"a": m}, b, PGD(steps=2), e)["accuracy"],
    "masking_report": lambda m, b, e: [masking_report(m, b, e).eps],
    "loss_landscape": lambda m, b, e: loss_landscape(m, b[0][0][0], 0, e, num_points=3)["loss"],
    "local_lipschitz": lambda m, b, e: local_lipschitz(m, b[0][0], e),
    "evaluate_suite": lambda m, b, e: evaluate_suite(
        m, b, Suite("own", ((PGD(steps=2), (e,)),), masking_eps=e, masking_images=4)
    ).attacks["eps"],
}


@pytest.mark.parametrize("evaluation", EVALUATIONS.values(), ids=EVALUATIONS)
def test_evaluations_take_texts(evaluation, model, loader):
    np.testing.assert_array_equal(evaluation(model, loader, TEXT), evaluation(model, loader, NUMBER))


@pytest.mark.parametrize("evaluation", EVALUATIONS.values(), ids=EVALUATIONS)
@pytest.mark.parametrize("eps", ["8", "a/b", "-1/255"])
def test_evaluations_refuse_wrong_texts(evaluation, model, loader, eps):
    if evaluation is EVALUATIONS["local_lipschitz"] and eps == "8":
        pytest.skip("its ball may be larger than the box")
    with pytest.raises(ValueError, match=r"divide by 255|a number or a fraction|negative|positive"):
        evaluation(model, loader, eps)


@pytest.mark.parametrize("training", [AdversarialTraining, TRADES])
def test_robust_training_describes_itself_by_the_number(training):
    assert training(TEXT).eps == NUMBER
    assert training(TEXT).config == training(NUMBER).config
    for eps, message in (("8", "divide by 255"), ("0/255", "positive"), ("-1/255", "positive"), ("x", "fraction")):
        with pytest.raises(ValueError, match=message):
            training(eps)


def test_callbacks_take_texts():
    assert RobustnessCallback(PGD(), eps=[TEXT, 0.01]).eps == RobustnessCallback(PGD(), eps=[NUMBER, 0.01]).eps
    assert RobustnessCallback(PGD(), eps=TEXT).keys == RobustnessCallback(PGD(), eps=NUMBER).keys
    assert InputSmoothnessCallback(PGD(), eps=TEXT).eps == NUMBER
    with pytest.raises(ValueError, match="divide by 255"):
        InputSmoothnessCallback(PGD(), eps="4")


@pytest.mark.parametrize(
    ("eps", "expected"),
    [
        ("8/255", [NUMBER]),
        ("[8/255, 0.1]", [NUMBER, 0.1]),
        ("0.1", [0.1]),
        ('{"pgd20-linf-margin-cosine": 8/255}', [NUMBER]),
        ('{"pgd20-linf-margin-cosine": [8/255, 0.1]}', [NUMBER, 0.1]),
    ],
)
@pytest.mark.parametrize("typed", [True, False], ids=["typed", "in a file"])
def test_budgets_in_configurations(eps, expected, typed, tmp_path):
    """As LightningCLI reads them, typed in the shell or written in YAML."""
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--config", action="config")
    parser.add_class_arguments(RobustnessCallback, "callback")
    parser.add_class_arguments(AdversarialTraining, "training")
    single = "8/255" if "255" in eps else "0.1"
    if typed:
        argv = [f"--callback.eps={eps}", f"--training.eps={single}", "--callback.perturbations=neuroalign.PGD"]
    else:
        content = {
            "callback": {"perturbations": {"class_path": "neuroalign.PGD"}, "eps": yaml.safe_load(eps)},
            "training": {"eps": yaml.safe_load(single)},
        }
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(content))
        argv = ["--config", str(tmp_path / "c.yaml")]
    made = parser.instantiate_classes(parser.parse_args(argv))
    assert next(iter(made.callback.eps.values())) == sorted(expected)
    assert made.training.eps == as_number(single)


def test_budgets_in_studies():
    from neuroalign.study.settings.evaluations import Robustness, Smoothness

    assert Robustness(eps=[TEXT, "0.1"]).eps == [NUMBER, 0.1]
    assert Smoothness(eps=TEXT).eps == NUMBER
    with pytest.raises(ValueError, match="fraction such as 2/255"):
        Smoothness(eps="8/0")
