"""What comes in at the door of every attack: labels of all types, images in all layouts, models without a gradient."""

import re
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from neuroalign import (
    APGD,
    FGSM,
    FMN,
    PGD,
    AdversarialTraining,
    AutoAttack,
    BrendelBethge,
    CarliniWagner,
    DeepFool,
    RotationTranslation,
    SquareAttack,
    evaluate_robustness,
    evaluate_smoothness,
    masking_report,
    robustness_curve,
    targeted_success,
    transfer_matrix,
)
from neuroalign.evaluation import loss_landscape
from neuroalign.perturbations.attacks.classes import ClassRange, as_classes
from neuroalign.perturbations.classifier import Classifier
from tests.evaluation.test_curve import network
from tests.perturbations.attacks.test_gradient import images, linear

GRADIENT_ATTACKS = [
    FGSM(), FGSM("l2", loss="margin"), PGD(steps=3), PGD.two_losses("l2", steps=3), APGD(steps=3),
    APGD(steps=3, loss="dlr-targeted"), DeepFool(), CarliniWagner(steps=3), FMN(steps=3), FMN("l2", steps=3),
    PGD(steps=3, targeted=True), APGD(steps=3, loss="dlr", targeted=True), CarliniWagner(steps=3, targeted="least-likely"),
    FMN(steps=3, targeted=True), AutoAttack(version="fast"),
]  # fmt: skip
ATTACKS = [*GRADIENT_ATTACKS, SquareAttack(num_queries=5), RotationTranslation(num_rotations=3, num_translations=1)]

LABELS = torch.tensor([0, 1, 4, 3])
GOOD = {
    "int32": LABELS.int(),
    "int16": LABELS.short(),
    "uint8": LABELS.byte(),
    "not contiguous": torch.stack([LABELS, LABELS], 1)[:, 0],
    "list": LABELS.tolist(),
    "tuple of tensors": tuple(LABELS),
    "numpy": LABELS.numpy(),
    "numpy uint64": LABELS.numpy().astype(np.uint64),
    "numpy of the other byte order": LABELS.numpy().astype(">i4"),
}
BAD = {
    "one-hot": (torch.eye(5)[LABELS].long(), r"got shape \(4, 5\): one-hot or scores\? take argmax\(1\)"),
    "scores": (torch.rand(4, 5).tolist(), r"got shape \(4, 5\): one-hot or scores"),
    "a column": (LABELS[:, None], r"got shape \(4, 1\): take squeeze\(1\)"),
    "one value": (torch.tensor(1), r"got shape \(\)"),
    "a number": (1, "got 1"),
    "nothing": (None, "got None"),
    "too few": (LABELS[:3], "4 images but 3 labels"),
    "too many": ([0, 1, 2, 3, 4], "4 images but 5 labels"),
    "float": (LABELS.float(), r"got values of type torch.float32: if these are whole numbers"),
    "numpy float": (LABELS.numpy() + 0.5, "got values of type float64: if these are whole numbers"),
    "complex": (LABELS.cfloat(), "got values of type torch.complex64"),
    "names": (["a", "b", "c", "d"], "got values of type <U1"),
    "ragged": ([[0], [1, 2], [3], [4]], "got a list that is not an array"),
    "one above": (LABELS + 1, r"labels run from 1 to 5, but there are 5 classes \(0 to 4\).*do they count from 1\?"),
    "far above": ([0, 1, 2, 2**40], "labels run from 0 to 1099511627776, but there are 5 classes"),
    "unlabelled": (LABELS - 1, "labels run from -1 to 3, but there are 5 classes.*leave images without a label out"),
}


@pytest.mark.parametrize("labels", GOOD.values(), ids=GOOD)
@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_labels_of_any_integer_type(attack, labels):
    model, x = linear(5), images(4)
    assert torch.equal(attack(model, x, labels, 0.01), attack(model, x, LABELS, 0.01))


@pytest.mark.parametrize(("labels", "message"), BAD.values(), ids=BAD)
@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_labels_that_are_none_are_refused(attack, labels, message):
    with pytest.raises(ValueError, match=message) as error:
        attack(linear(5), images(4), labels, 0.01)
    assert "labels must be (stimulus,) int64 in 0..C-1" in str(error.value)


EVALUATIONS = {
    "evaluate_robustness": lambda m, b: evaluate_robustness(m, b, FGSM(), 0.01)["accuracy"].to_numpy(),
    "robustness_curve": lambda m, b: robustness_curve(m, b, PGD(steps=3), [0.01, 0.02]).accuracy,
    "evaluate_smoothness": lambda m, b: np.array(evaluate_smoothness(m, b)),
    "masking_report": lambda m, b: masking_report(m, b, 0.01, num_queries=3).table["value"].to_numpy(),
    "transfer_matrix": lambda m, b: transfer_matrix({"a": m}, b, FGSM(), 0.01)["accuracy"].to_numpy(),
    "targeted_success": lambda m, b: targeted_success(m, b, PGD(targeted=True), 0.01)["success_rate"].to_numpy(),
}


@pytest.mark.parametrize("evaluate", EVALUATIONS.values(), ids=EVALUATIONS)
def test_labels_of_a_loader(evaluate):
    model, x = linear(5), images(4)
    right = model(x).argmax(1)
    expected = evaluate(model, [(x, right)])
    forms = [right.int(), right.byte(), right.tolist(), right.numpy(), right.numpy().astype(np.uint16)]
    for batch in [(x, labels) for labels in forms] + [{"image": x, "label": right.tolist()}]:
        np.testing.assert_array_equal(evaluate(model, [batch]), expected)
    for labels, message in BAD.values():
        with pytest.raises(ValueError, match="labels") as error:
            evaluate(model, [(x, labels)])
        found = str(error.value)
        assert re.search(message, found) or found.startswith("labels run from "), (message, found)


def test_labels_of_adversarial_training_and_of_a_landscape():
    model, x = linear(5), images(4)
    plain = AdversarialTraining(0.01).inputs
    for labels in (LABELS.int(), LABELS.tolist(), LABELS.numpy()):
        torch.manual_seed(0)
        expected = plain(model, x, LABELS)
        torch.manual_seed(0)
        assert torch.equal(plain(model, x, labels), expected)
    for labels, message in BAD.values():
        with pytest.raises(ValueError, match=rf"{message}|need labels \(stimulus,\)"):
            plain(model, x, labels)
    for label, message in ((5, "labels run from 5 to 5"), (-1, "labels run from -1"), (0.5, "type float64")):
        with pytest.raises(ValueError, match=message):
            loss_landscape(model, x[0], label, 0.1, num_points=3)
    table = loss_landscape(model, x[0], 1, 0.1, num_points=3)
    assert table.equals(loss_landscape(model, x[0], np.uint8(1), 0.1, num_points=3))
    assert table.equals(loss_landscape(model, x[0], torch.tensor(1), 0.1, num_points=3))


def test_the_door_reads_every_integer_type_alike():
    for kind in (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.int64, np.uint64, np.bool_):
        values = np.array([0, 1, 1], dtype=kind)
        for form in (values, values.tolist(), torch.from_numpy(values)):
            found = as_classes(form, 3, torch.device("cpu"))
            assert found.dtype == torch.int64
            assert found.tolist() == [0, 1, 1]


def test_the_door_keeps_no_hold_of_what_came_in():
    labels = torch.tensor([0, 1])
    assert as_classes(labels, 2, torch.device("cpu")).data_ptr() != labels.data_ptr()
    with torch.inference_mode():
        labels = torch.tensor([0, 1, 4, 3])
    model, x = network(), images(4)
    assert torch.equal(PGD(loss="ce")(model, x, labels, 0.01), PGD(loss="ce")(model, x, labels.tolist(), 0.01))


def test_the_range_is_read_once_a_call(monkeypatch):
    """On a GPU each reading waits for the device."""
    reads = []
    plain = torch.Tensor.aminmax

    def counted(self, **keywords):
        reads.append(self.dtype)
        return plain(self, **keywords)

    monkeypatch.setattr(torch.Tensor, "aminmax", counted)
    PGD(steps=10)(linear(5), images(4), LABELS, 0.01)
    assert reads.count(torch.int64) == 1
    classifier = Classifier(linear(5), classes={"labels": LABELS})
    for _ in range(5):
        classifier.logits(images(4))
    assert reads.count(torch.int64) == 2


def test_no_classes_have_no_range():
    ClassRange({}).check(2)
    ClassRange({"labels": torch.empty(0, dtype=torch.long)}).check(2)


@pytest.mark.parametrize("index", [[5, 6, 7, 9], np.array([5, 6, 7, 9]), torch.tensor([5, 6, 7, 9]).int()])
def test_identities_of_any_integer_type(index):
    model, x, attack = network(), images(4), PGD(steps=2, random_start=True)
    expected = attack(model, x, LABELS, 0.01, index=torch.tensor([5, 6, 7, 9]))
    assert torch.equal(attack(model, x, LABELS, 0.01, index=index), expected)
    assert not torch.equal(attack(model, x, LABELS, 0.01), expected)


@pytest.mark.parametrize(
    ("keywords", "kind", "message"),
    [
        ({"images": images(4).numpy()}, TypeError, "images must be a torch tensor.*got a ndarray: torch.as_tensor"),
        ({"images": images(4).tolist()}, TypeError, "images must be a torch tensor.*got a list"),
        ({"images": (255 * images(4)).byte()}, ValueError, "divide uint8 by 255"),
        ({"images": images(4)[:0], "labels": LABELS[:0]}, ValueError, "images are empty"),
        ({"images": images(4)[0]}, ValueError, r"must be \(stimulus, channel, height, width\)"),
        ({"index": [1, 2]}, ValueError, r"4 images but 2 index values: index must be \(stimulus,\) int64, one"),
        ({"index": torch.rand(4)}, ValueError, "index must be .*got values of type torch.float32"),
        ({"eps": None}, ValueError, r"eps must be a number or one value per image \(4\); got None"),
        ({"eps": "8 of 255"}, ValueError, "a budget eps is a number or a fraction.*got .8 of 255."),
        ({"eps": [0.1, float("nan"), 0.1, 0.1]}, ValueError, "eps must not be negative"),
        ({"model": "resnet18"}, TypeError, "model must be callable, from images to logits; got 'resnet18'"),
    ],
)
@pytest.mark.parametrize("attack", [FGSM(), DeepFool(), SquareAttack(num_queries=3)], ids=repr)
def test_other_input_is_refused_in_words(attack, keywords, kind, message):
    given = {"model": linear(5), "images": images(4), "labels": LABELS, "eps": 0.1, **keywords}
    index = {"index": given.pop("index")} if "index" in given else {}
    with pytest.raises(kind, match=message):
        attack(*given.values(), **index)


def test_no_budget_of_a_grid_is_nan():
    with pytest.raises(ValueError, match="must not be negative or NaN"):
        evaluate_robustness(linear(5), [(images(4), LABELS)], FGSM(), [0.1, float("nan")])


@pytest.mark.parametrize(
    "attack", [FGSM("l2"), PGD("l2", steps=3, random_start=True), DeepFool(), SquareAttack("l2", num_queries=3)]
)
def test_an_infinite_budget_is_the_whole_box(attack):
    model, x = linear(5), images(4)
    found = attack(model, x, LABELS, float("inf"))
    assert torch.equal(found, attack(model, x, LABELS, 48**0.5))
    assert bool(found.isfinite().all())


LAYOUTS = {
    "one image": lambda x: x[:1],
    "not contiguous": lambda x: x.transpose(2, 3).contiguous().transpose(2, 3),
    "a slice": lambda x: torch.cat([x, x], 2)[:, :, :4],
    "channels last": lambda x: x.to(memory_format=torch.channels_last),
    "expanded": lambda x: x[:1].expand(4, -1, -1, -1),
    "half": lambda x: x.half(),
    "double": lambda x: x.double(),
    "requires grad": lambda x: x.clone().requires_grad_(),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_images_in_any_layout(attack, layout):
    """As the plain images of the same values, in the same type; a budget of 0 changes nothing."""
    model, x = linear(5), layout(images(4))
    labels = LABELS[: len(x)]
    plain = x.detach().float().contiguous().clone()
    found = attack(model, x, labels, 0.01)
    assert (found.dtype, found.shape) == (x.dtype, x.shape)
    assert not found.requires_grad
    torch.testing.assert_close(found, attack(model, plain, labels, 0.01).to(x.dtype), rtol=0, atol=2e-6)
    if attack.norm is not None:
        assert torch.equal(attack(model, x, labels, 0.0), x)


class Detached(nn.Module):
    def __init__(self):
        super().__init__()
        self.inner = linear(5)

    def forward(self, x):
        return self.inner(x).detach()


class NoGrad(Detached):
    def forward(self, x):
        with torch.no_grad():
            return self.inner(x)


class Inference(Detached):
    def forward(self, x):
        with torch.inference_mode():
            return self.inner(x)


class ParametersOnly(Detached):
    """A graph, but from the parameters alone."""

    def forward(self, x):
        return self.inner(x.detach())


def quantized():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # an old way that is on its way out, and what people have
        return torch.ao.quantization.quantize_dynamic(linear(5), {nn.Linear})


WITHOUT_GRADIENT = {
    "detached": Detached, "no_grad": NoGrad, "inference_mode": Inference, "parameters only": ParametersOnly,
    "quantised": quantized,
}  # fmt: skip


@pytest.mark.filterwarnings("ignore:.*autograd kernel was not registered.*")
@pytest.mark.parametrize("make", WITHOUT_GRADIENT.values(), ids=WITHOUT_GRADIENT)
@pytest.mark.parametrize("attack", GRADIENT_ATTACKS, ids=repr)
def test_a_model_without_a_gradient_is_told_so(attack, make):
    model, x = make().eval(), images(6)
    right = model(x).argmax(1).clone()
    message = "no gradient reaches the images: .*quantised.*no_grad.*SquareAttack needs no gradients"
    with pytest.raises(ValueError, match=message):
        attack(model, x, right, 0.01)
    with pytest.raises(ValueError, match=message):
        evaluate_robustness(model, [(x, right)], attack, 0.01)


@pytest.mark.filterwarnings("ignore:.*autograd kernel was not registered.*")
@pytest.mark.parametrize("make", WITHOUT_GRADIENT.values(), ids=WITHOUT_GRADIENT)
def test_what_needs_no_gradient_attacks_such_a_model(make):
    model, x = make().eval(), images(6)
    right = model(x).argmax(1).clone()
    assert len(evaluate_robustness(model, [(x, right)], SquareAttack(num_queries=5), 0.01)) == 1
    with pytest.raises(ValueError, match="no gradient reaches the images"):
        evaluate_smoothness(model, [(x, right)])


def test_brendel_bethge_too():
    pytest.importorskip("foolbox", reason="foolbox is not installed")
    pytest.importorskip("numba", reason="numba, which foolbox compiles with, is not installed")
    model, x = NoGrad().eval(), images(2)
    with pytest.raises(ValueError, match="no gradient reaches the images"):
        BrendelBethge()(model, x, model(x).argmax(1), 0.1)
    with pytest.raises(
        ValueError, match="no gradient reaches the images"
    ):  # clean errors, on which DeepFool takes no step
        BrendelBethge()(model, x, (model(x).argmax(1) + 1) % 5, 0.1)
    with pytest.raises(ValueError, match="got shape"):
        BrendelBethge()(linear(5), x, torch.zeros(2, 1, dtype=torch.long), 0.1)
