"""How often a GPU would make the host wait in a step of guidance, forward and backward, after the first batch."""

import copy

import pytest
import torch
from torch import nn

import neuroalign as na
from neuroalign.guidance import PrincipalGains, StimulusNoise
from tests.stand_in_device import StandIn, on_stand_in

N = 12
HEADS = {"V1": 4, "V4": 3}
PREDICTORS = {h: na.NeuralPredictor("small_resnet", width, image_shape=(3, 8, 8)) for h, width in HEADS.items()}


def batch(missing):
    response = torch.randn(N, 7)
    if missing:
        response[0, 0] = response[3] = torch.nan
    return {
        "image": torch.rand(N, 3, 8, 8),
        "label": torch.arange(N) % 3,
        "response": response,
        "stimulus": torch.arange(N),
        "subject": torch.arange(N) % 2,
    }


def manifolds():
    return na.CategoryManifolds.from_features(torch.randn(40, 4), torch.arange(40) % 3)


def measured(loss="mse"):
    return na.MeasuredGuidance({"V1": [0, 1, 2, 3], "V4": [4, 6, 5]}, loss)


def predicted(loss="mse"):
    return na.PredictedGuidance(copy.deepcopy(PREDICTORS), loss)


GUIDANCES = {
    "PredictedGuidance": (predicted, 0),
    "MeasuredGuidance": (measured, 0),
    "MeasuredGuidance, first columns": (lambda loss: na.MeasuredGuidance({"V1": 4, "V4": 3}, loss), 0),
    "MeasuredGuidance, subjects": (
        lambda loss: na.MeasuredGuidance({"V1": 4, "V4": 3}, loss, subjects={"V1": 0, "V4": 1}),
        0,
    ),
    "ShuffledGuidance": (lambda loss: na.ShuffledGuidance(measured(loss)), 0),
    "ShuffledGuidance, within class": (lambda loss: na.ShuffledGuidance(measured(loss), within_class=True), 1),
    "ShuffledGuidance, images": (
        lambda loss: na.ShuffledGuidance(predicted(loss), images=torch.rand(N, 3, 8, 8)),
        0,
    ),
    "LabelOnlyGuidance": (lambda loss: na.LabelOnlyGuidance(3, HEADS, loss=loss), 0),
    "MatchedGuidance, gains": (
        lambda loss: na.MatchedGuidance(predicted(loss), {"V1": PrincipalGains.of_rank(torch.randn(9, 4), 2)}),
        0,
    ),
    "MatchedGuidance, noise": (
        lambda loss: na.MatchedGuidance(measured(loss), {"V4": StimulusNoise(torch.ones(3))}),
        0,
    ),
    "WeightedGuidance": (lambda loss: na.WeightedGuidance([predicted(loss)], {"V1/*": 0.5}), 0),
    "WeightedGuidance, ramp": (
        lambda loss: na.WeightedGuidance(predicted(loss), {"V1/*": na.Ramp(delay=1, duration=4), "*": 2.0}),
        0,
    ),
    "WeightedGuidance, learned": (lambda loss: na.WeightedGuidance(predicted(loss), "learned", weigh_task=True), 0),
}
"""By name a guidance made with a loss, and how often a step with it may let the host wait."""


def step(guidance, preds, batch):
    """Waits of one step with a task's loss beside the guidance."""
    with StandIn() as device:
        terms = guidance(preds, batch)
        task = preds["V1"].square().mean()
        weighted = getattr(guidance, "weighted_task", None)
        (sum(terms.values()) + (task if weighted is None else weighted(task))).backward()
    return device


def second_step(guidance, missing):
    guidance = on_stand_in(guidance)
    preds = on_stand_in({head: torch.randn(N, width).requires_grad_() for head, width in HEADS.items()})
    first = on_stand_in(batch(missing))
    device = step(guidance, preds, first)
    assert not device.mixes
    device = step(guidance, preds, on_stand_in(batch(missing)))
    assert not device.mixes
    return device


@pytest.mark.parametrize("loss", ["mse", nn.MSELoss()], ids=["mse", "torch's"])
@pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])
@pytest.mark.parametrize("name", GUIDANCES)
def test_waits_of_a_step(name, missing, loss):
    make, allowed = GUIDANCES[name]
    device = second_step(make(loss), missing)
    assert device.waits.total() <= allowed, device.waits
    assert device.copies.total() <= allowed, device.copies


RELATIONS = {
    "ManifoldGuidance": (lambda: na.ManifoldGuidance({"V1": manifolds()}), 0),
    "RDMGuidance": (lambda: na.RDMGuidance({"V1": na.functional.rdm(torch.randn(N, 5))}), 5),
    "OddOneOutGuidance": (
        lambda: na.OddOneOutGuidance("V1", torch.stack([torch.randperm(N)[:3] for _ in range(20)])),
        5,
    ),
}


@pytest.mark.parametrize("name", RELATIONS)
def test_waits_of_guidance_without_responses(name):
    make, allowed = RELATIONS[name]
    device = second_step(make(), False)
    assert device.waits.total() <= allowed, device.waits
    assert device.copies.total() <= allowed, device.copies


@pytest.mark.parametrize("name", GUIDANCES)
def test_a_step_on_the_device_has_the_values_of_the_cpu(name):
    here = GUIDANCES[name][0](nn.MSELoss())
    there = on_stand_in(copy.deepcopy(here))
    given, preds = batch(False), {head: torch.randn(N, width) for head, width in HEADS.items()}
    for _ in range(4):
        expected = here(preds, given)
        with StandIn():
            got = there(on_stand_in(preds), on_stand_in(given))
        torch.testing.assert_close({term: value.inner for term, value in got.items()}, expected, equal_nan=True)
    for term, weight in getattr(here, "last_weights", {}).items():
        with StandIn():
            assert float(there.last_weights[term]) == pytest.approx(weight)


class Negative(nn.Module):
    name = "negative"

    def forward(self, preds, target):
        return -preds.square().mean()


def test_a_negative_term_is_refused_first_and_becomes_nan_later():
    preds = on_stand_in({head: torch.zeros(N, width).requires_grad_() for head, width in HEADS.items()})
    guidance = on_stand_in(na.WeightedGuidance(predicted(Negative()), "learned", weigh_task=True))
    given = on_stand_in(batch(False))
    with StandIn():
        guidance(preds, given)  # -0 is not negative
        loss = guidance.weighted_task(preds["V1"].sum())
    preds = on_stand_in({head: torch.ones(N, width).requires_grad_() for head, width in HEADS.items()})
    with StandIn():
        terms = guidance(preds, given)
        terms["V1/negative"].backward()
        loss = guidance.weighted_task(-preds["V1"].sum())
    assert torch.isnan(terms["V1/negative"].inner) and torch.isnan(loss.inner)
    assert torch.isnan(preds["V1"].grad.inner).all()
    fresh = on_stand_in(na.WeightedGuidance(predicted(Negative()), "learned"))
    with StandIn(), pytest.raises(ValueError, match="is negative"):
        fresh(preds, given)


def test_a_label_out_of_range_is_refused_first_and_spoils_the_loss_later():
    guidance = on_stand_in(na.LabelOnlyGuidance(3, {"V1": 4}, loss=nn.MSELoss()))
    preds = on_stand_in({"V1": torch.zeros(3, 4)})
    good, bad = (on_stand_in({"label": torch.tensor([0, 1, last])}) for last in (2, 3))
    with StandIn(), pytest.raises(ValueError, match="labels run from 0 to 3"):
        guidance(preds, bad)
    with StandIn():
        assert guidance(preds, good)["V1/MSELoss"].isfinite()
        assert not guidance(preds, bad)["V1/MSELoss"].isfinite()


def test_columns_that_follow_one_another_are_a_slice():
    response = torch.randn(5, 8)
    heads = {"a": [0, 1, 2], "b": [5, 6], "c": [3, 1], "d": [], "e": [7], "f": 2, "g": [-2, -1]}
    targets = na.MeasuredGuidance(heads).targets({"response": response})
    for head, columns in heads.items():
        expected = response[:, :columns] if isinstance(columns, int) else response[:, columns]
        assert torch.equal(targets[head], expected)
        shared = targets[head].untyped_storage().data_ptr() == response.untyped_storage().data_ptr()
        assert shared == (head not in ("c", "g"))
