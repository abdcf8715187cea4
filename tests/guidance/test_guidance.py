"""Guidance and its controls, in a plain loop without any trainer."""

import copy

import pytest
import torch
from torch import nn

from neuroalign import (
    CategoryManifolds,
    GuidedNetwork,
    LabelOnlyGuidance,
    ManifoldGuidance,
    ManifoldGuidanceLoss,
    MeasuredGuidance,
    NeuralAlignmentLoss,
    NeuralPredictor,
    NonNeuralManifoldLoss,
    PredictedGuidance,
    ShuffledGuidance,
    WeightedGuidance,
)
from neuroalign.config import build
from neuroalign.guidance import TargetGuidance
from neuroalign.guidance.controls import cyclic_permutation
from neuroalign.guidance.responses import loss_of_term, nothing, valid_terms
from neuroalign.models import RidgePredictor, StandardizedPredictor, VisualFeatures
from tests.device_reads import CountReads

SHAPE, V = (3, 8, 8), 5


def predictor(seed=0):
    torch.manual_seed(seed)
    return NeuralPredictor("small_resnet", V, image_shape=SHAPE)


def batch(n=12, num_classes=3):
    g = torch.Generator().manual_seed(3)
    return {
        "image": torch.rand(n, *SHAPE, generator=g),
        "label": torch.arange(n) % num_classes,
        "response": torch.randn(n, V, generator=g),
        "stimulus": torch.arange(n),
    }


def test_predicted_targets_are_the_frozen_predictors():
    p, b = predictor(), batch()
    before = copy.deepcopy(p.state_dict())
    guidance = PredictedGuidance({"V4": p}).train()
    preds = {"V4": torch.randn(12, V, requires_grad=True)}
    terms = guidance(preds, b)
    target = p.eval()(b["image"])
    torch.testing.assert_close(terms["V4/mse"], (preds["V4"] - target).square().mean())
    terms["V4/mse"].backward()
    assert all(q.grad is None and not q.requires_grad for q in p.parameters())
    for name, value in p.state_dict().items():
        assert torch.equal(value, before[name])


@pytest.mark.parametrize("wrap", [lambda p: p, StandardizedPredictor], ids=["predictor", "standardized"])
def test_images_of_another_size_than_a_predictors_give_one_warning(wrap):
    b = {**batch(), "image": torch.rand(12, 3, 16, 8)}
    guidance, preds = PredictedGuidance({"V4": wrap(predictor())}), {"V4": torch.randn(12, V)}
    with pytest.warns(UserWarning, match="predictor of 'V4' was built for images of 8x8 pixels and gets 16x8") as told:
        guidance(preds, b)
    assert len(told) == 1
    guidance(preds, b)  # once is enough, and a second warning would be an error here


def test_a_predictor_that_was_given_no_size_takes_any():
    class Means(nn.Module):
        def forward(self, images):
            return images.mean((2, 3))

    guidance = PredictedGuidance({"V4": NeuralPredictor(Means(), V)})
    guidance({"V4": torch.randn(12, V)}, batch())


def test_a_plain_loop_learns_to_match():
    """Guidance alone pulls a network's responses to the predictor's: no trainer needed."""
    b = batch(32)
    guidance = PredictedGuidance({"V4": predictor()})
    torch.manual_seed(1)
    network = GuidedNetwork("small_resnet", 3, {"V4": (None, V)}, image_shape=SHAPE)
    optimizer = torch.optim.Adam(network.parameters(), 0.01)
    losses = []
    for _ in range(30):
        _, responses = network.forward_with_responses(b["image"])
        loss = guidance(responses, b)["V4/mse"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss))
    assert losses[-1] < 0.2 * losses[0]


def test_measured_responses_and_missing_rows():
    b = batch()
    b["response"][::2] = torch.nan
    preds = {"V4": torch.randn(12, V)}
    terms = MeasuredGuidance("V4")(preds, b)
    torch.testing.assert_close(terms["V4/mse"], (preds["V4"] - b["response"])[1::2].square().mean())
    with pytest.raises(ValueError, match="holds no 'response'"):
        MeasuredGuidance("V4")(preds, {"image": b["image"]})
    with pytest.raises(ValueError, match="wants column 7 of responses with 5"):
        MeasuredGuidance({"V4": [7]})(preds, b)


def test_other_measures():
    b = batch()
    preds = {"V4": torch.randn(12, V)}
    assert list(MeasuredGuidance("V4", loss="pearson")(preds, b)) == ["V4/pearson"]
    custom = MeasuredGuidance("V4", loss=NeuralAlignmentLoss("cosine", voxel_reduction="sum"))
    assert list(custom(preds, b)) == ["V4/cosine"]


def test_a_batch_that_names_its_stimuli_is_not_compared_with_itself():
    b, preds = batch(), torch.randn(12, V)
    rows = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 3, 0])
    twice = {key: value[rows] for key, value in b.items()}
    guidance = MeasuredGuidance({"V4": V}, loss="cka")
    once = guidance({"V4": preds}, b)["V4/cka"]
    torch.testing.assert_close(guidance({"V4": preds[rows]}, twice)["V4/cka"], once)
    unnamed = {"response": twice["response"]}
    assert abs(float(guidance({"V4": preds[rows]}, unnamed)["V4/cka"] - once)) > 0.05
    own = MeasuredGuidance({"V4": V}, loss=torch.nn.MSELoss())  # which takes no third argument
    assert torch.isfinite(own({"V4": preds[rows]}, twice)["V4/MSELoss"])
    named = {
        **twice,
        "stimulus": [f"image{i}" for i in rows],
    }  # somebody's names are none of a voxel-wise measure's business
    assert torch.isfinite(MeasuredGuidance({"V4": V})({"V4": preds[rows]}, named)["V4/mse"])


def test_manifold_guidance_names_and_weights():
    b = batch()
    features = torch.randn(60, V)
    manifolds = CategoryManifolds.from_features(features, torch.arange(60) % 3, variance=0.6)
    preds = {"TO": 3 * torch.randn(12, V)}
    one = ManifoldGuidance({"TO": manifolds})(preds, b)
    two = ManifoldGuidance({"TO": manifolds}, radius_weight=2.0, subspace_weight=0.0)(preds, b)
    torch.testing.assert_close(two["TO/radius"], 2 * one["TO/radius"])
    assert float(two["TO/subspace"]) == 0
    control = ManifoldGuidance({"TO": NonNeuralManifoldLoss()})(preds, b)
    assert set(control) == {"TO/radius", "TO/nuclear"}
    other = ManifoldGuidance({"TO": manifolds}, deviations_from="batch mean")(preds, b)
    torch.testing.assert_close(other["TO/radius"], one["TO/radius"])
    expected = ManifoldGuidanceLoss(manifolds, deviations_from="batch mean").terms(preds["TO"], b["label"])
    assert float(other["TO/subspace"]) == float(expected["subspace"]) != float(one["TO/subspace"])


def test_manifolds_from_a_file(tmp_path):
    manifolds = CategoryManifolds.from_features(torch.randn(60, V), torch.arange(60) % 3)
    manifolds.save(tmp_path / "m.safetensors")
    preds, b = {"TO": torch.randn(12, V)}, batch()
    from_file = ManifoldGuidance({"TO": str(tmp_path / "m.safetensors")})(preds, b)
    torch.testing.assert_close(from_file, ManifoldGuidance({"TO": manifolds})(preds, b))


def test_predictors_from_a_file(tmp_path):
    p = predictor().eval()
    p.save(tmp_path / "V4.safetensors")
    b = batch()
    from_file = PredictedGuidance({"V4": str(tmp_path / "V4.safetensors")}).targets(b)
    torch.testing.assert_close(from_file["V4"], p(b["image"]))


@pytest.mark.parametrize("n", [2, 3, 12, 101])
def test_no_image_keeps_its_own_target(n):
    permutation = cyclic_permutation(n, seed=0)
    assert sorted(permutation.tolist()) == list(range(n))
    assert (permutation != torch.arange(n)).all()


def test_shuffled_within_the_batch():
    b, inner = batch(), MeasuredGuidance("V4")
    shuffled = ShuffledGuidance(inner, seed=1)
    targets = shuffled.targets(b)["V4"]
    assert not (targets == b["response"]).all(1).any()
    assert sorted(targets[:, 0].tolist()) == sorted(b["response"][:, 0].tolist())
    assert torch.equal(shuffled.targets(b)["V4"], targets)  # always the same
    assert not torch.equal(ShuffledGuidance(inner, seed=2).targets(b)["V4"], targets)


def test_guidance_tells_which_terms_had_something_to_compare():
    b = batch()
    b["response"][3:] = torch.nan
    b["response"][:, 4] = torch.nan
    heads = {"V1": [0, 1], "V4": [2, 3], "TO": [4], "PHC": [0, 4]}
    guidance = MeasuredGuidance(heads, loss={"V1": "rsa", "V4": "cka", "TO": "mse", "PHC": nn.MSELoss()})
    assert guidance.last_valid == {}
    preds = {head: torch.randn(12, len(columns)) for head, columns in heads.items()}
    terms = guidance(preds, b)
    told = {
        "V1/rsa": True,
        "V4/cka": False,
        "TO/mse": False,
        "PHC/MSELoss": True,
    }  # torch's own loss tells nothing itself
    assert {name: bool(valid) for name, valid in guidance.last_valid.items()} == told
    assert all(valid.shape == () and valid.dtype == torch.bool for valid in guidance.last_valid.values())
    assert list(guidance.last_valid) == list(terms)
    assert float(terms["V4/cka"]) == float(terms["TO/mse"]) == 0
    both = WeightedGuidance([guidance, LabelOnlyGuidance(3, {"IT": 2})])
    both({**preds, "IT": torch.randn(12, 2)}, b)
    assert {name: bool(v) for name, v in valid_terms(both).items()} == {**told, "IT/mse": True}
    assert loss_of_term(both, "V1/rsa").min_valid == 3 and loss_of_term(both, "V4/cka").min_valid == 4
    assert loss_of_term(both, "V4/rsa") is None and valid_terms(None) == {}


@pytest.mark.parametrize("heads", [1, 2])
def test_the_share_of_images_that_a_control_drops(heads):
    b = batch(40, num_classes=10)
    b["label"][30:] = torch.arange(100, 110)  # ten are alone of their class
    names = ["V4", "TO"][:heads]
    shuffled = ShuffledGuidance(MeasuredGuidance({name: list(range(V)) for name in names}), within_class=True)
    assert shuffled.last_dropped is None
    target = shuffled.targets(b)["V4"]
    assert float(shuffled.last_dropped) == pytest.approx(0.25) == float(target.isnan().all(1).double().mean())
    every = ShuffledGuidance(MeasuredGuidance("V4"))
    every.targets(b)
    assert float(every.last_dropped) == 0


def test_the_documented_share_of_lone_images():
    """32 images of 100 equal classes, 256 of 200 and of 1,000: (1 - 1/C)^(B - 1)."""
    g = torch.Generator().manual_seed(0)
    for size, classes, expected in ((32, 100, 0.73), (256, 200, 0.28), (256, 1000, 0.77)):
        shuffled, shares = ShuffledGuidance(MeasuredGuidance("V4"), within_class=True), []
        for _ in range(200):
            labels = torch.randint(classes, (size,), generator=g)
            shuffled.targets({"response": torch.zeros(size, 1), "label": labels})
            shares.append(float(shuffled.last_dropped))
        assert sum(shares) / len(shares) == pytest.approx(expected, abs=0.01)
        assert (1 - 1 / classes) ** (size - 1) == pytest.approx(expected, abs=0.006)


def test_other_images_do_not_change_measured_responses():
    b = batch()
    shuffled = ShuffledGuidance(MeasuredGuidance("V4"), images=b["image"])
    with pytest.raises(ValueError, match="measured responses come with the batch and don't depend on images"):
        shuffled.targets(b)


def test_a_lone_image_has_nobodys_target():
    b = batch(1)
    shuffled = ShuffledGuidance(MeasuredGuidance("V4"))
    assert shuffled.targets(b)["V4"].isnan().all()
    preds = {"V4": torch.randn(1, V, requires_grad=True)}
    value = shuffled(preds, b)["V4/mse"]
    value.backward()
    assert float(value) == 0


def test_shuffled_within_class_keeps_the_class_means():
    b = batch(13, num_classes=4)
    b["label"][-1] = 7  # the only one of its class
    targets = ShuffledGuidance(MeasuredGuidance("V4"), within_class=True).targets(b)["V4"]
    for c in range(4):
        mine = b["label"] == c
        torch.testing.assert_close(targets[mine].mean(0), b["response"][mine].mean(0))
        assert not (targets[mine] == b["response"][mine]).all(1).any()
    assert targets[-1].isnan().all()


@pytest.mark.parametrize("within_class", [False, True])
def test_shuffled_over_the_data_set(within_class):
    b, p = batch(), predictor()
    inner = PredictedGuidance({"V4": p})
    shuffled = ShuffledGuidance(inner, images=b["image"], labels=b["label"], within_class=within_class)
    own = inner.targets(b)["V4"]
    targets = shuffled.targets(b)["V4"]
    for i in range(12):
        partner = int(shuffled.partner[i])
        assert partner != i
        torch.testing.assert_close(targets[i], own[partner])
        if within_class:
            assert b["label"][partner] == b["label"][i]
    half = {k: v[5:] for k, v in b.items()}  # the same partner whatever the batch
    torch.testing.assert_close(shuffled.targets(half)["V4"], targets[5:])
    with pytest.raises(ValueError, match="needs 'stimulus'"):
        shuffled.targets({"image": b["image"], "label": b["label"]})


@pytest.mark.parametrize("within_class", [False, True])
def test_another_seed_gives_other_partners(within_class):
    b = batch(40)
    inner = MeasuredGuidance("V4")
    options = {"images": b["image"], "labels": b["label"], "within_class": within_class}
    zero, one = (ShuffledGuidance(inner, seed=seed, **options).partner for seed in (0, 1))
    for partner in (zero, one):
        assert sorted(partner.tolist()) == list(range(40))
    assert not torch.equal(zero, one)
    in_batch = [ShuffledGuidance(inner, seed=s, within_class=within_class).targets(b)["V4"] for s in (0, 1)]
    assert not torch.equal(*in_batch)


def test_a_checkpoint_holds_no_images():
    b = batch()
    shuffled = ShuffledGuidance(PredictedGuidance({"V4": predictor()}), images=b["image"])
    assert "images" in dict(shuffled.named_buffers())
    assert not {"images", "partner"} & set(shuffled.state_dict())


def test_shuffled_refuses():
    manifolds = CategoryManifolds.from_features(torch.randn(60, V), torch.arange(60) % 3)
    with pytest.raises(TypeError, match=r"CategoryManifolds\.randomized"):
        ShuffledGuidance(ManifoldGuidance({"TO": manifolds}))
    with pytest.raises(ValueError, match="needs its labels"):
        ShuffledGuidance(MeasuredGuidance("V4"), images=torch.rand(4, *SHAPE), within_class=True)
    with pytest.raises(ValueError, match="4 images but 3 labels"):
        ShuffledGuidance(MeasuredGuidance("V4"), images=torch.rand(4, *SHAPE), labels=torch.arange(3))


def test_label_only():
    guidance = LabelOnlyGuidance(3, {"V1": 4, "TO": V}, seed=1)
    targets = guidance.targets(batch())
    assert targets["V1"].shape == (12, 4)
    assert torch.equal(targets["TO"][0], targets["TO"][3])  # one class, one target
    assert not torch.equal(targets["TO"][0], targets["TO"][1])
    with pytest.raises(ValueError, match="labels run from 0 to 5, but there are 3 classes"):
        guidance.targets(batch(num_classes=6))


def test_label_only_from_class_means():
    b, p = batch(), predictor().eval()
    guidance = LabelOnlyGuidance.from_predictor("TO", p, b["image"], b["label"])
    expected = p(b["image"])[b["label"] == 2].mean(0)
    torch.testing.assert_close(guidance.targets({"label": torch.tensor([2])})["TO"][0], expected)


def test_a_head_that_is_not_there():
    with pytest.raises(ValueError, match="unknown response head 'V4'; did you mean 'V1'"):
        MeasuredGuidance("V4")({"V1": torch.zeros(12, V)}, batch())
    with pytest.raises(ValueError, match="at least one predictor"):
        PredictedGuidance({})
    with pytest.raises(TypeError, match=r"abstract method '?targets"):
        TargetGuidance()


def test_descriptions_rebuild_guidance():
    manifolds = CategoryManifolds.from_features(torch.randn(60, V), torch.arange(60) % 3, variance=0.6)
    preds, b = {"V4": torch.randn(12, V)}, batch()
    for guidance in (
        PredictedGuidance({"V4": predictor()}),
        ManifoldGuidance({"V4": manifolds}),
        ShuffledGuidance(PredictedGuidance({"V4": predictor()}), seed=4),
        LabelOnlyGuidance(3, {"V4": V}),
    ):
        again = build(guidance.config)
        again.load_state_dict(guidance.state_dict())
        torch.testing.assert_close(again(preds, b), guidance(preds, b))
    assert PredictedGuidance({"V4": nn.Flatten()}).config is None


def test_nothing_keeps_the_graph():
    x = torch.randn(2, V, requires_grad=True)
    nothing({"a": x}).backward()
    assert torch.equal(x.grad, torch.zeros(2, V))


def test_normalised_images_are_refused_in_a_loop_of_ones_own():
    """Most CIFAR code normalises in its transform; the predictor would normalise once more, and predict nonsense."""
    guidance = PredictedGuidance({"V4": NeuralPredictor("small_resnet", 5, image_shape=(3, 8, 8))})
    images = torch.rand(4, 3, 8, 8)
    normalized = (images - 0.5) / 0.25
    with pytest.raises(
        ValueError, match=r"a predictor normalises by itself, so give guidance the pixels, .*\* std \+ mean"
    ):
        guidance({"V4": torch.zeros(4, 5)}, {"image": normalized})
    mended = copy.deepcopy(guidance)({"V4": torch.zeros(4, 5)}, {"image": normalized * 0.25 + 0.5})
    torch.testing.assert_close(mended, guidance({"V4": torch.zeros(4, 5)}, {"image": images}), rtol=1e-4, atol=1e-6)
    guidance = copy.deepcopy(guidance)
    guidance({"V4": torch.zeros(4, 5)}, {"image": images})
    guidance(
        {"V4": torch.zeros(4, 5)}, {"image": images + 0.1}
    )  # looked at once: what augmentation does later is its own
    with CountReads() as counted:
        guidance.targets({"image": images})
    assert counted.reads == 0
    own = PredictedGuidance({"V4": nn.Flatten()})
    own.checks_images = False
    own({"V4": torch.zeros(4, 192)}, {"image": normalized})


@pytest.mark.parametrize("fit", ["standardized", "ridge"])
def test_a_predictor_is_fitted_on_pixels(fit):
    images = torch.rand(12, *SHAPE)
    if fit == "standardized":
        made = lambda x: StandardizedPredictor(predictor()).fit(x)  # noqa: E731
    else:
        features = VisualFeatures(8, wavelengths=(4,), grid=2)
        made = lambda x: RidgePredictor(features, 2).fit(x, torch.randn(12, 2))  # noqa: E731
    with pytest.raises(ValueError, match=r"a predictor takes pixels, so fit it on images \* std \+ mean"):
        made((images - 0.5) / 0.25)
    assert bool(made(images)(images).isfinite().all())
