"""Targets that match another region's in one respect, in a plain loop and in the task; noise that belongs to a stimulus."""

import copy
import json

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from neuroalign import (
    CategoryManifolds,
    GuidanceDataModule,
    GuidedClassificationTask,
    GuidedNetwork,
    ManifoldGuidance,
    MatchedGuidance,
    MeasuredGuidance,
    NeuralPredictor,
    PredictedGuidance,
    ShuffledGuidance,
    WeightedGuidance,
)
from neuroalign.config import build
from neuroalign.data import ImageFiles
from neuroalign.guidance import PrincipalGains, StimulusNoise
from neuroalign.models import predicted_responses

SHAPE, V = (3, 8, 8), 5


def images(n=60):
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(1))


def guidance():
    torch.manual_seed(0)
    return PredictedGuidance({"V4": NeuralPredictor("small_resnet", V, image_shape=SHAPE)})


def responses():
    return guidance().targets({"image": images()})["V4"]


ALTERATIONS = {
    "rank": lambda: PrincipalGains.of_rank(responses(), 2),
    "spectrum": lambda: PrincipalGains.of_spectrum(responses(), torch.randn(60, 7)),
    "noise": lambda: StimulusNoise.at_correlation(responses(), 0.5, seed=2),
    "noise of one size": lambda: StimulusNoise(0.1),
}


def batch(which=slice(0, 12)):
    stimulus = torch.arange(60)[which]
    return {"image": images()[which], "label": stimulus % 3, "stimulus": stimulus}


@pytest.mark.parametrize("name", ALTERATIONS)
def test_targets_are_the_altered_ones_whatever_the_batch(name):
    alter = ALTERATIONS[name]()
    control = MatchedGuidance(guidance(), {"V4": alter})
    targets = control.targets(batch(slice(None)))["V4"]
    torch.testing.assert_close(targets, alter(responses(), torch.arange(60)), rtol=1e-5, atol=1e-6)
    assert (targets - responses()).abs().max() > 1e-3
    part = torch.tensor([40, 3, 17])
    torch.testing.assert_close(control.targets(batch(part))["V4"], targets[part], rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(control.held_out_targets(batch(part))["V4"], targets[part], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", ALTERATIONS)
def test_a_plain_loop_trains_the_network_alone(name):
    control = MatchedGuidance(guidance(), {"V4": ALTERATIONS[name]()}).train()
    before = copy.deepcopy(control.state_dict())
    assert not any(p.requires_grad for p in control.parameters())
    network = GuidedNetwork("small_resnet", 3, heads={"V4": (None, V)}, image_shape=SHAPE)
    optimizer, losses = torch.optim.Adam(network.parameters(), 1e-2), []
    for _ in range(30):
        _, preds = network(batch()["image"], with_responses=True)
        terms = control(preds, batch())
        assert list(terms) == ["V4/mse"] == list(control.terms)
        optimizer.zero_grad()
        terms["V4/mse"].backward()
        optimizer.step()
        losses.append(float(terms["V4/mse"].detach()))
    assert losses[-1] < losses[0] / 2
    for key, value in control.state_dict().items():
        assert torch.equal(value, before[key])


@pytest.mark.parametrize("name", ALTERATIONS)
def test_rebuilt_from_its_description_and_weights(name):
    control = MatchedGuidance(guidance(), {"V4": ALTERATIONS[name]()})
    again = build(json.loads(json.dumps(control.config)))
    assert isinstance(again, MatchedGuidance)
    again.load_state_dict(control.state_dict())
    assert torch.equal(again.targets(batch())["V4"], control.targets(batch())["V4"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ALTERATIONS)
def test_in_the_task(name, quiet_trainer, tmp_path):
    control = MatchedGuidance(guidance(), {"V4": ALTERATIONS[name]()})
    task = GuidedClassificationTask(
        GuidedNetwork("small_resnet", 3, heads={"V4": (None, V)}, image_shape=SHAPE), WeightedGuidance(control), 0.5
    )
    pair = images(), torch.arange(60) % 3
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(task, GuidanceDataModule(pair, pair, batch_size=20))
    logged = trainer.callback_metrics
    assert float(logged["alignment/features/V4/mse"]) > 0
    assert "val/alignment/features/V4/correlation" in logged
    trainer.save_checkpoint(tmp_path / "task.ckpt")
    again = GuidedClassificationTask.load_from_checkpoint(tmp_path / "task.ckpt")
    inner = again.guidance.guidances[0]
    assert torch.equal(inner.targets(batch())["V4"], control.targets(batch())["V4"])


def test_two_respects_and_other_heads():
    measured = MeasuredGuidance({"V1": [0, 1], "V4": [2, 3, 4]})
    x = torch.randn(50, 5)
    given = {"response": x, "stimulus": torch.arange(50)}
    rank = MatchedGuidance(measured, {"V4": PrincipalGains.of_rank(x[:, 2:], 1)})
    both = MatchedGuidance(rank, {"V4": StimulusNoise(0.5)})
    targets = both.targets(given)
    assert torch.equal(targets["V1"], x[:, :2])
    torch.testing.assert_close(
        targets["V4"], StimulusNoise(0.5)(rank.targets(given)["V4"], given["stimulus"]), rtol=0, atol=0
    )
    assert both.heads_guided == ("V1", "V4")
    assert both.ceiling_of("V4") is None


def test_around_a_shuffled_guidance():
    shuffled = ShuffledGuidance(guidance(), images=images())
    control = MatchedGuidance(shuffled, {"V4": StimulusNoise(0.0)})
    assert torch.equal(control.targets(batch())["V4"], shuffled.targets(batch())["V4"])
    assert float(control.last_dropped) == 0
    assert control.held_out_targets(batch()) == {}


@pytest.mark.parametrize("r", [0.9, 0.3, torch.tensor([0.9, 0.6, 0.3])])
def test_the_correlation_is_the_one_asked_for(r):
    n = 20_000
    x = torch.randn(n, 3, generator=torch.Generator().manual_seed(0)) * torch.tensor([0.1, 1.0, 10.0]) + 4
    other = x + torch.randn(n, 3, generator=torch.Generator().manual_seed(1)) * torch.tensor([0.1, 1.0, 10.0])
    noisy = StimulusNoise.at_correlation(x, r, seed=3)(x, torch.arange(n))

    def correlation(a, b):
        return torch.stack([torch.corrcoef(torch.stack(pair))[0, 1] for pair in zip(a.T, b.T)])

    torch.testing.assert_close(correlation(noisy, x), torch.as_tensor(r).expand(3), rtol=0, atol=0.02)
    expected = torch.as_tensor(r) * correlation(x, other)
    torch.testing.assert_close(correlation(noisy, other), expected, rtol=0, atol=0.02)


def test_noise_by_its_size_against_the_formula():
    x = torch.tensor([[1.0, 0.0, torch.nan], [3.0, 0.0, torch.nan], [torch.nan, 0.0, torch.nan]])
    torch.testing.assert_close(StimulusNoise.at_correlation(x, 0.6).std, torch.tensor([4 / 3, 0.0, 0.0]))
    assert torch.equal(StimulusNoise.at_correlation(x, 1.0)(x, torch.arange(3))[:2, :2], x[:2, :2])


def test_noise_is_independent_between_stimuli_voxels_and_seeds():
    zeros, stimulus = torch.zeros(4000, 3), torch.arange(4000)
    a, b = (StimulusNoise(2.0, seed)(zeros, stimulus) for seed in (0, 1))
    found = torch.corrcoef(torch.cat([a, b, a.roll(1, 0)], 1).T) - torch.eye(9)
    assert found.abs().max() < 0.08
    torch.testing.assert_close(a.std(), torch.tensor(2.0), rtol=0, atol=0.05)


def test_a_stimulus_without_a_response_stays_without():
    x = torch.tensor([[torch.nan, 1.0], [2.0, 3.0]])
    assert torch.equal(StimulusNoise(1.0)(x, torch.arange(2)).isnan(), x.isnan())


def test_a_guided_network_sees_no_noise_without_stimuli_in_validation():
    control = MatchedGuidance(guidance(), {"V4": StimulusNoise(1.0)})
    without = {key: value for key, value in batch().items() if key != "stimulus"}
    assert control.held_out_targets(without) == {}
    with pytest.raises(ValueError, match="a batch needs 'stimulus'"):
        control.targets(without)


def test_predicted_responses_leave_the_predictor_as_it_was():
    predictor = NeuralPredictor("small_resnet", V, image_shape=SHAPE).train()
    predictor.head.eval()
    before = copy.deepcopy(predictor.state_dict())
    found = predicted_responses(predictor, images(), batch_size=7)
    assert not found.requires_grad
    assert predictor.training
    assert not predictor.head.training
    for key, value in predictor.state_dict().items():
        assert torch.equal(value, before[key])
    torch.testing.assert_close(found, predictor.eval()(images()).detach(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(predicted_responses(predictor, images().split(20)), found, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="there are no images"):
        predicted_responses(predictor, [])
    with pytest.raises(ValueError, match="normalised"):
        predicted_responses(predictor, images() * 3 - 1)


def test_predicted_responses_to_files_and_stored_pixels(tmp_path):
    """Files, uint8 with channels at either place, and floats of the same pixels: one answer."""
    predictor = NeuralPredictor("small_resnet", V, image_shape=SHAPE)
    pixels = np.random.default_rng(0).integers(0, 256, (5, *SHAPE[1:], SHAPE[0]), dtype=np.uint8)
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    first = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    found = predicted_responses(predictor, first / 255, batch_size=2)
    same = ImageFiles(tmp_path), pixels, torch.from_numpy(pixels), first, [pixels[:2], first[2:]], (first / 255).numpy()
    for form in same:
        torch.testing.assert_close(predicted_responses(predictor, form, batch_size=2), found, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="four axes"):
        predicted_responses(predictor, pixels[0])


def manifolds():
    features = torch.randn(40, V, generator=torch.Generator().manual_seed(0))
    return CategoryManifolds.from_features(features, torch.arange(40) % 3, variance=0.7)


@pytest.mark.parametrize(
    ("make", "moved"),
    [
        (lambda m: m.randomized(1), {"radius", "subspace"}),
        (lambda m: m.randomized(1, centers=False), {"subspace"}),
        (lambda m: m.randomized(1, bases=False), {"radius", "subspace"}),
        (lambda m: m.shared(bases=True), {"subspace"}),
        (lambda m: m.shared(centers=True), {"radius", "subspace"}),
        (lambda m: m.shared(centers=True, bases=True), {"radius", "subspace"}),
    ],
    ids=["geometry", "directions", "centres", "shared directions", "shared centres", "all shared"],
)
def test_altered_manifolds_are_controls_that_can_be_saved(make, moved, tmp_path):
    """Each changes the terms that depend on what it replaces, sends gradients, and is the same from a file."""
    preds = {"V4": torch.randn(12, V, generator=torch.Generator().manual_seed(2), requires_grad=True)}
    given = {"label": torch.arange(12) % 3}
    treatment, control = (ManifoldGuidance({"V4": m}) for m in (manifolds(), make(manifolds())))
    real, altered = treatment(preds, given), control(preds, given)
    assert {term.split("/")[1] for term in real if not torch.isclose(real[term], altered[term])} == moved
    sum(altered.values()).backward()
    assert preds["V4"].grad.abs().sum() > 0
    again = build(json.loads(json.dumps(control.config)))
    again.load_state_dict(control.state_dict())
    make(manifolds()).save(tmp_path / "m.safetensors")
    for found in (again, ManifoldGuidance({"V4": tmp_path / "m.safetensors"})):
        torch.testing.assert_close(found(preds, given), altered, rtol=0, atol=0)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: MatchedGuidance(guidance(), {}), ValueError, "give at least one alteration"),
        (lambda: MatchedGuidance(guidance(), {"V5": StimulusNoise(1)}), ValueError, "'V5'; did you mean 'V4'"),
        (
            lambda: MatchedGuidance(ManifoldGuidance({"V4": manifolds()}), {"V4": StimulusNoise(1)}),
            TypeError,
            "CategoryManifolds.randomized and .shared",
        ),
        (lambda: StimulusNoise(-1), ValueError, "std must be a finite number of at least 0.*got -1"),
        (lambda: StimulusNoise(torch.tensor([1, torch.nan])), ValueError, "std must be a finite number"),
        (lambda: StimulusNoise(torch.ones(2, 2)), ValueError, r"one for each voxel, \(voxel,\); got \(2, 2\)"),
        (lambda: StimulusNoise.at_correlation(torch.rand(9, 2), 1.2), ValueError, "accuracy of the other / accuracy"),
        (lambda: StimulusNoise.at_correlation(torch.rand(9, 2), 0), ValueError, r"must be in \(0, 1\]; got 0"),
        (lambda: StimulusNoise.at_correlation(torch.rand(9), 0.5), ValueError, "two stimuli or more"),
        (lambda: StimulusNoise.at_correlation(torch.rand(9, 2), torch.ones(3)), ValueError, "3 correlations for 2"),
        (lambda: StimulusNoise.at_correlation(torch.rand(9, 2) / 0, 0.5), ValueError, "infinite values"),
        (lambda: StimulusNoise(torch.ones(3))(torch.zeros(2, 4), torch.arange(2)), ValueError, "noise for 3 voxels"),
        (lambda: MatchedGuidance(nn.Identity(), {"V4": StimulusNoise(1)}), TypeError, "Identity has none"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()
