"""The robustness callback, batch by batch."""

import jsonargparse
import pytest
import torch

import neuroalign
from neuroalign import FGSM, PGD, RobustnessCallback
from tests.evaluation.test_curve import images, network


def test_images_in_double_precision_are_attacked_in_single():
    model, x = network(), images(40)
    labels, values = model(x).argmax(1), []
    for given in (x, x.double()):
        callback = RobustnessCallback(PGD("l2", steps=3, random_start=True), 0.04)
        callback.look(None, model, given, labels, torch.arange(40))
        values.append(float(callback.results()[callback.keys[0]]))
    assert 0 < values[0] < 1
    assert values[1] == pytest.approx(values[0])


def test_the_seed_is_0_unless_told_otherwise():
    assert RobustnessCallback(FGSM(), 0.1).seed == 0
    assert RobustnessCallback(FGSM(), 0.1, seed=3).seed == 3


@pytest.mark.parametrize("shape", [lambda p: p, lambda p: [p], lambda p: {"mine": p}])
@pytest.mark.parametrize(
    "perturbation",
    [
        {"class_path": "neuroalign.PGD", "init_args": {"steps": 3}},
        {"class_path": "neuroalign.LowPass", "init_args": {"cutoff": 3}},
        {"class_path": "neuroalign.RotationTranslation"},
    ],
)
def test_a_configuration_names_any_perturbation(shape, perturbation):
    parser = jsonargparse.ArgumentParser(exit_on_error=False)
    parser.add_class_arguments(RobustnessCallback, "callback")
    read = parser.parse_object({"callback": {"perturbations": shape(perturbation), "eps": 0.1}})
    (found,) = parser.instantiate_classes(read).callback.perturbations.values()
    assert type(found) is getattr(neuroalign, perturbation["class_path"].split(".")[1])
