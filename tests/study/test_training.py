"""Training runs of a study."""

import pytest
import torch

from neuroalign import GuidanceDataModule, GuidedNetwork, LabelOnlyGuidance, MeasuredGuidance
from neuroalign.data import ShiftFlip
from neuroalign.guidance import gradient_scale
from neuroalign.study import Recipe, train_classifier
from neuroalign.study import training as room


def make():
    return GuidedNetwork("small_resnet", 10, {"brain": (None, 6)}, image_shape=(3, 8, 8))


@pytest.fixture
def data(digits):
    images, labels = digits
    responses = torch.randn(200, 6, generator=torch.Generator().manual_seed(0))
    return GuidanceDataModule(
        (images[:200], labels[:200]), responses=responses, batch_size=50, augment=ShiftFlip(1, flip=False)
    )


def test_a_control_starts_at_the_scale_of_its_treatment(data, monkeypatch):
    used = {}

    class Spy(room.GuidedClassificationTask):
        def __init__(self, network, guidance, *args, **kwargs):
            if guidance is not None:
                used["scale"] = gradient_scale(guidance, network, room._first_batches(data))
                used["treatment"] = gradient_scale(treatment, network, room._first_batches(data))
            super().__init__(network, guidance, *args, **kwargs)

    monkeypatch.setattr(room, "GuidedClassificationTask", Spy)
    treatment, control = MeasuredGuidance("brain"), LabelOnlyGuidance(10, {"brain": 6}, loss="cka")
    train_classifier(make, data, Recipe(1, 0.05, 1e-4), 0, guidance=control)
    assert used["scale"] != pytest.approx(used["treatment"], rel=0.2)
    train_classifier(make, data, Recipe(1, 0.05, 1e-4), 0, guidance=control, matched_to=treatment)
    assert used["scale"] == pytest.approx(used["treatment"], rel=1e-4)


def test_matching_costs_no_random_numbers(data):
    """A guidance matched to itself trains the very same network."""
    guidance = MeasuredGuidance("brain")
    plain = train_classifier(make, data, Recipe(1, 0.05, 1e-4), 0, guidance=guidance)
    matched = train_classifier(make, data, Recipe(1, 0.05, 1e-4), 0, guidance=guidance, matched_to=guidance)
    torch.testing.assert_close(matched.state_dict(), plain.state_dict(), rtol=1e-5, atol=1e-6)
