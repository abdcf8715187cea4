"""Models that return more than logits, and images that were normalised before they came: the same numbers as without."""

import copy
import pickle
import re
from collections import OrderedDict, namedtuple
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from neuroalign import (
    FGSM,
    PGD,
    Contrast,
    PixelClassifier,
    evaluate_corruptions,
    evaluate_robustness,
    evaluate_smoothness,
    masking_report,
    robustness_curve,
    transfer_matrix,
)
from neuroalign.evaluation import Suite, evaluate_suite, loss_landscape, per_image_robustness
from neuroalign.models import Normalize
from neuroalign.perturbations.pixel_classifier import ModelInterface, logits_of
from tests.evaluation.test_curve import images, network

MEAN, STD = (0.4, 0.45, 0.5), (0.2, 0.25, 0.3)
NamedOutput = namedtuple("NamedOutput", ["logits", "aux"])


@dataclass
class DataclassOutput:
    logits: torch.Tensor
    loss: None = None


class MappingOutput(OrderedDict):
    """As transformers' ModelOutput: keys, attributes and places."""

    def __getitem__(self, key):
        return super().__getitem__(key) if isinstance(key, str) else list(self.values())[key]

    __getattr__ = __getitem__


OUTPUTS = {
    "dict": (lambda z: {"features": z[:, :2], "logits": z}, "logits"),
    "mapping": (lambda z: MappingOutput(logits=z, hidden=(z,)), "logits"),
    "mapping by place": (lambda z: MappingOutput(logits=z, hidden=(z,)), 0),
    "tuple": (lambda z: (z[:, :2], z), 1),
    "branches": (lambda z: [z / 2, z], -1),
    "named tuple": (lambda z: NamedOutput(z, z), "logits"),
    "dataclass": (lambda z: DataclassOutput(z), "logits"),
    "function": (lambda z: {"branches": [z - 1, z + 1]}, lambda out: sum(out["branches"]) / 2),
}


class Foreign(nn.Module):
    """Somebody's network: its input may be normalised, its output is what it likes."""

    def __init__(self, inner, output=lambda z: z):
        super().__init__()
        self.inner, self.output = inner, output

    def forward(self, x):
        return self.output(self.inner(x))


def normalized(x):
    return (x - torch.tensor(MEAN)[:, None, None]) / torch.tensor(STD)[:, None, None]


def sizes(num=24, side=None):
    """A network of normalised images, and pixels that it classifies right."""
    inner = network() if side is None else nn.Sequential(nn.Flatten(), nn.Linear(3 * side * side, 5)).eval()
    x = images(num) if side is None else torch.rand(num, 3, side, side, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        labels = inner(normalized(x)).argmax(1)
    return inner, x, labels


EVALUATIONS = {
    "evaluate_robustness": lambda m, x, y, **k: evaluate_robustness(
        m, [(x, y)], [PGD(steps=3), Contrast(0.5)], [0.01], **k
    ),
    "per_image_robustness": lambda m, x, y, **k: per_image_robustness(m, [(x, y)], FGSM(), [0.01, 0.02], **k),
    "robustness_curve": lambda m, x, y, **k: robustness_curve(
        m, [(x, y)], PGD(steps=5), [0.004, 0.01, 0.02], **k
    ).table(),
    "transfer_matrix": lambda m, x, y, **k: transfer_matrix({"a": m, "b": m}, [(x, y)], PGD(steps=3), 0.01, **k),
    "evaluate_smoothness": lambda m, x, y, **k: pd.DataFrame([evaluate_smoothness(m, [(x, y)], FGSM(), 0.01, **k)]),
    "masking_report": lambda m, x, y, **k: masking_report(m, [(x, y)], 0.01, num_queries=20, **k).table,
    "loss_landscape": lambda m, x, y, **k: loss_landscape(m, x[0], int(y[0]), 0.01, num_points=3, **k),
}


@pytest.mark.parametrize("evaluation", EVALUATIONS)
def test_the_numbers_of_the_same_network_with_its_normalisation_inside(evaluation):
    inner, x, labels = sizes()
    measure = EVALUATIONS[evaluation]
    expected = measure(nn.Sequential(Normalize(MEAN, STD), inner), x, labels)
    output, where = OUTPUTS["dict"]
    found = measure(Foreign(inner, output), normalized(x), labels, logits=where, mean=MEAN, std=STD)
    pd.testing.assert_frame_equal(found, expected, rtol=1e-4, atol=1e-6)
    as_pixels = measure(PixelClassifier(Foreign(inner, output), logits=where, mean=MEAN, std=STD), x, labels)
    pd.testing.assert_frame_equal(as_pixels, expected, rtol=1e-4, atol=1e-6)
    if "accuracy" in expected:
        assert expected["accuracy"].min() < expected["accuracy"].max() or evaluation == "transfer_matrix"


@pytest.mark.parametrize("kind", OUTPUTS)
def test_logits_are_found_in_any_output(kind):
    inner, x, labels = sizes()
    output, where = OUTPUTS[kind]
    found = evaluate_robustness(Foreign(inner, output), [(x, labels)], FGSM(), [0.0, 0.02], logits=where)
    pd.testing.assert_frame_equal(found, evaluate_robustness(inner, [(x, labels)], FGSM(), [0.0, 0.02]))


def test_corruptions_and_a_suite():
    inner, x, labels = sizes(8, side=32)
    plain, foreign = nn.Sequential(Normalize(MEAN, STD), inner), Foreign(inner, OUTPUTS["tuple"][0])
    told = {"logits": 1, "mean": MEAN, "std": STD}
    expected = evaluate_corruptions(plain, [(x, labels)], ["fog", "contrast"], 3)
    found = evaluate_corruptions(foreign, [(normalized(x), labels)], ["fog", "contrast"], 3, **told)
    pd.testing.assert_frame_equal(found, expected)
    suite = Suite("mine", ((PGD(steps=3), (0.001, 0.002)),), ("fog",), (3,), (Contrast(0.5),), masking_eps=0.001)
    expected = evaluate_suite(plain, [(x, labels)], suite)
    found = evaluate_suite(foreign, [(normalized(x), labels)], suite, **told)
    for table in ("attacks", "corruptions", "transforms"):
        pd.testing.assert_frame_equal(getattr(found, table), getattr(expected, table))
    assert found.smoothness == pytest.approx(expected.smoothness, rel=1e-4)
    assert found.record["mean"] == list(MEAN) and found.record["model"] == "Foreign"


def test_budgets_are_in_pixels():
    inner, x, labels = sizes()
    spy = []

    def remember(model, pixels, labels, eps):
        spy.append(pixels)
        return (pixels + eps).clamp(0, 1)

    told = {"mean": MEAN, "std": STD}
    evaluate_robustness(inner, [(normalized(x), labels)], remember, 0.1, **told)
    torch.testing.assert_close(spy[0], x, rtol=0, atol=1e-6)
    assert float(spy[0].min()) >= 0 and float(spy[0].max()) <= 1


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-6), (torch.float16, 2e-3), (torch.bfloat16, 2e-2)])
def test_normalised_images_in_other_precisions_come_back(dtype, tolerance):
    x = torch.cat([images(8), torch.zeros(1, 3, 4, 4), torch.ones(1, 3, 4, 4)])
    found = ModelInterface(mean=MEAN, std=STD).pixels(normalized(x.double()).to(dtype))
    assert found.dtype == torch.float32 and float(found.min()) >= 0 and float(found.max()) <= 1
    torch.testing.assert_close(found, x, rtol=0, atol=tolerance)


@pytest.mark.parametrize("kind", [k for k in OUTPUTS if k != "function"])
@pytest.mark.parametrize("evaluation", EVALUATIONS)
def test_without_being_told_one_sentence_names_the_argument(evaluation, kind):
    inner, x, labels = sizes(4)
    with pytest.raises(
        TypeError, match=r"the model returns a .*, not a tensor of logits: say where they are by logits="
    ):
        EVALUATIONS[evaluation](Foreign(inner, OUTPUTS[kind][0]), x, labels)


@pytest.mark.parametrize("attack", [FGSM(), PGD(steps=2)], ids=str)
def test_an_attack_that_one_calls_takes_the_wrapped_model(attack):
    inner, x, labels = sizes(4)
    foreign = Foreign(inner, OUTPUTS["dict"][0]).eval()
    with pytest.raises(
        TypeError, match=r"a dict of 'features', 'logits', not a tensor .* PixelClassifier\(model, logits="
    ):
        attack(foreign, x, labels, 0.1)
    wrapped = PixelClassifier(foreign, logits="logits", mean=MEAN, std=STD).eval()
    expected = attack(nn.Sequential(Normalize(MEAN, STD), inner).eval(), x, labels, 0.1)
    torch.testing.assert_close(attack(wrapped, x, labels, 0.1), expected)


REFUSED = {
    "normalised, not told": (
        lambda x: normalized(x),
        {},
        ValueError,
        "give these to the evaluation or callback as mean=",
    ),
    "told, but pixels": (lambda x: x, {"mean": MEAN, "std": STD}, ValueError, "all lie in \\[0, 1\\], as pixels do"),
    "another mean": (
        lambda x: normalized(x),
        {"mean": (0, 0, 0), "std": (1, 1, 1)},
        ValueError,
        "come back to -0",
    ),
    "in 0 to 255": (lambda x: normalized(x), {"mean": (102,) * 3, "std": (58,) * 3}, ValueError, "pixel units of"),
    "one channel": (
        lambda x: normalized(x),
        {"mean": (0.4, 0.5), "std": (0.2, 0.2)},
        ValueError,
        "have 2 values",
    ),
    "mean alone": (lambda x: x, {"mean": MEAN}, ValueError, "give both mean and std"),
    "std of 0": (lambda x: x, {"mean": MEAN, "std": (0.2, 0.0, 0.2)}, ValueError, "std positive"),
    "std NaN": (lambda x: x, {"mean": MEAN, "std": (0.2, float("nan"), 0.2)}, ValueError, "std positive"),
    "integers": (
        lambda x: (255 * x).byte(),
        {"mean": MEAN, "std": STD},
        ValueError,
        "floating point; got torch.uint8",
    ),
    "NaN": (lambda x: normalized(x) * torch.nan, {"mean": MEAN, "std": STD}, ValueError, "come back to nan"),
    "three axes": (lambda x: normalized(x)[0], {"mean": MEAN, "std": STD}, ValueError, "channel, height, width"),
    "empty": (lambda x: x[:0], {"mean": MEAN, "std": STD}, ValueError, "gave no image|empty"),
    "no such key": (lambda x: x, {"logits": "logit"}, TypeError, "is a tensor already: leave logits='logit' out"),
    "a float": (lambda x: x, {"logits": 0.5}, TypeError, "a key, an index or a function of the output; got 0.5"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_is_said(case):
    change, told, error, words = REFUSED[case]
    inner, x, labels = sizes(4)
    given = change(x)
    with pytest.raises(error, match=words):
        robustness_curve(inner, [(given, labels[: len(given)])], FGSM(), [0.01], **told)


@pytest.mark.parametrize(
    ("output", "where", "words"),
    [
        (
            {"logits": torch.zeros(1, 2)},
            "logit",
            "logits='logit' finds no logits in the model's output, a dict of 'logits'",
        ),
        ((torch.zeros(1, 2),), 1, "a tuple of Tensor"),
        ([torch.zeros(1, 2)], "logits", "a list of Tensor"),
        (NamedOutput(1, 2), "z", "a NamedOutput of 'logits', 'aux'"),
        (DataclassOutput(None), "logits", "finds a NoneType in the model's output, not a tensor"),
        ({"a": 1}, lambda out: out["b"], "finds no logits in the model's output, a dict of 'a'"),
    ],
)
def test_a_wrong_place_is_said(output, where, words):
    with pytest.raises(TypeError, match=re.escape(words)):
        logits_of(output, where)


def test_only_the_first_batch_is_asked_whether_it_holds_pixels():
    inner, x, labels = sizes(8)
    bright = torch.stack([torch.full((4, 4), m + s / 2) for m, s in zip(MEAN, STD)]).expand(8, 3, 4, 4)
    batches = [(normalized(x), labels), (normalized(bright), labels)]
    curve = robustness_curve(inner, batches, FGSM(), [0.01], mean=MEAN, std=STD)
    assert len(curve.images) == 16


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda m: pickle.loads(pickle.dumps(m))], ids=["deepcopy", "pickle"])
def test_the_wrapped_model_survives_copying_and_its_state_is_kept(copied):
    x = images(4)
    model = PixelClassifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 3)), mean=MEAN, std=STD)
    twin = copied(model)
    torch.testing.assert_close(twin(x), model(x))
    other = PixelClassifier(nn.Sequential(nn.Flatten(), nn.Linear(48, 3)), mean=STD, std=STD)
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other(x), model(x))
    assert "mean=" in repr(model) and "logits=" not in repr(model)
    assert twin.double()(x.double()).dtype == torch.float64


def test_a_class_in_place_of_a_model_is_told():
    with pytest.raises(TypeError, match=r"make an object of it, Foreign\(\.\.\.\)"):
        PixelClassifier(Foreign)
    with pytest.raises(TypeError, match=r"make an object of it, Foreign\(\.\.\.\)"):
        evaluate_robustness(Foreign, [], FGSM(), 0.1, logits=0)


def test_a_checkpoint_of_another_normalisation_is_refused(tmp_path):
    inner, x, labels = sizes(8)
    options = {"checkpoint": tmp_path / "part.csv", "mean": MEAN, "std": STD}
    first = robustness_curve(inner, [(normalized(x), labels)], FGSM(), [0.01], **options)
    again = robustness_curve(inner, [(normalized(x), labels)], FGSM(), [0.01], **options)
    np.testing.assert_array_equal(again.accuracy, first.accuracy)
    with pytest.raises(ValueError, match="another model"):
        robustness_curve(nn.Sequential(Normalize(MEAN, STD), inner), [(x, labels)], FGSM(), [0.01],
                         checkpoint=tmp_path / "part.csv")  # fmt: skip
