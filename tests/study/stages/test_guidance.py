"""The guidance of every kind of condition."""

import json

import pytest
import torch

from neuroalign.data import ArrayDataset
from neuroalign.guidance import ManifoldGuidance, gradient_scale
from neuroalign.losses import CategoryManifolds
from neuroalign.study.settings.conditions import KINDS, MANIFOLD, NEURAL
from neuroalign.study.stages.classifier import ClassifierRun
from neuroalign.study.stages.guidance import HEAD, MAKERS, Making, make_guidance
from neuroalign.study.stages.images import read_images
from neuroalign.study.stages.region_stimuli import NO_LABEL, TrainingImages, read_region_stimuli
from tests.study.stages.hand_made import SHAPE, Results, settings_of, work_of


@pytest.fixture(scope="module")
def results(tmp_path_factory, digits):
    return Results(tmp_path_factory.mktemp("results"), digits)


@pytest.fixture
def making(results):
    """From a kind to what its guidance is made from."""

    def make(kind, seed=0, draw="S V4", options=None, loss="mse", **inputs):
        found = results.inputs(kind) | inputs
        images, labels, stimulus = read_images(results.folder("images")).train
        own = read_region_stimuli(found, SHAPE) if KINDS[kind].needs in ("responses", "rdm") else None
        dataset = TrainingImages(ArrayDataset(images, label=labels, stimulus=stimulus), own)
        return Making(kind, found, dataset, 4, seed, draw, loss, options or {})

    return make


@pytest.fixture
def batch(making):
    """The first images of training."""
    return making("none").images.__getitems__(list(range(40)))


def targets(making, batch):
    with torch.no_grad():
        return make_guidance(making).targets(batch)[HEAD]


def test_every_kind_has_guidance():
    assert set(MAKERS) == set(KINDS)


def test_targets_have_mean_0_and_variance_1_over_the_training_images(making):
    given = making(NEURAL)
    images = given.images.__getitems__(list(range(len(given.images))))
    found = targets(given, images)
    torch.testing.assert_close(found.mean(0), torch.zeros(6), atol=1e-5, rtol=0)
    torch.testing.assert_close(found.std(0, correction=0), torch.ones(6), atol=1e-4, rtol=0)
    assert found.shape == (96, 6)


def test_shuffled_images_have_the_target_of_one_other_image(making, batch):
    right, wrong = targets(making(NEURAL), batch), targets(making("shuffled images"), batch)
    every = targets(making(NEURAL), making(NEURAL).images.__getitems__(list(range(96))))
    partner = torch.cdist(wrong, every).argmin(1)
    torch.testing.assert_close(wrong, every[partner], rtol=1e-4, atol=1e-4)
    assert not bool((partner == batch["stimulus"]).any())
    assert not torch.allclose(right, wrong)
    again = targets(making("shuffled images"), {k: v[5:9] for k, v in batch.items()})
    torch.testing.assert_close(again, wrong[5:9], rtol=1e-4, atol=1e-4)  # the same whatever the batch


def test_within_class_the_other_image_is_of_the_same_class(making, batch):
    wrong = targets(making("within class"), batch)
    whole = making(NEURAL).images.__getitems__(list(range(96)))
    partner = torch.cdist(wrong, targets(making(NEURAL), whole)).argmin(1)
    assert torch.equal(whole["label"][partner], batch["label"])
    assert not bool((partner == batch["stimulus"]).any())


def test_class_means_and_labels_hold_nothing_but_the_label(making, batch):
    means, labels = targets(making("class means"), batch), targets(making("label only"), batch)
    whole = making(NEURAL).images.__getitems__(list(range(96)))
    right = targets(making(NEURAL), whole)
    for c in range(4):
        assert (
            means[batch["label"] == c].unique(dim=0).shape[0] == labels[batch["label"] == c].unique(dim=0).shape[0] == 1
        )
        expected = right[whole["label"] == c].mean(0)
        torch.testing.assert_close(means[batch["label"] == c][0], expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "kind", ["shuffled images", "within class", "label only", "noise matched", "shuffled in a batch"]
)
def test_every_seed_and_every_region_draws_anew(making, batch, kind):
    first = targets(making(kind), batch)
    assert torch.equal(targets(making(kind), batch), first)
    assert not torch.allclose(targets(making(kind, seed=1), batch), first)
    assert not torch.allclose(targets(making(kind, draw="S V1"), batch), first)


def test_prototypes_are_not_the_numbers_that_start_the_network(making, batch):
    torch.manual_seed(0)
    drawn = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    assert not torch.allclose(make_guidance(making("label only")).prototypes0, drawn)


def test_a_wrong_predictor_gives_other_targets(making, batch):
    right = targets(making(NEURAL), batch)
    for kind in ("shuffled fit", "random predictor"):
        assert not torch.allclose(targets(making(kind), batch), right)


@pytest.mark.parametrize(
    ("kind", "centers", "bases", "radii"),
    [
        (MANIFOLD, True, True, True),
        ("random geometry", False, False, True),
        ("random bases", True, False, True),
        ("random centers", False, True, True),
        ("shared bases", True, False, True),
        ("shared centers", False, True, False),
    ],
)
def test_controls_of_manifolds_keep_what_they_say(results, making, kind, centers, bases, radii):
    guidance = make_guidance(making(kind))
    kept, right = (
        guidance.losses[HEAD].manifolds,
        CategoryManifolds.load(results.folder("manifolds") / "manifolds.safetensors"),
    )
    assert torch.equal(kept.centers, right.centers) == centers
    assert torch.equal(kept.radii, right.radii) == radii
    same = kept.padded_bases.shape == right.padded_bases.shape and torch.equal(kept.padded_bases, right.padded_bases)
    assert same == bases


def test_options_reach_the_guidance(making):
    guidance = make_guidance(making(MANIFOLD, options={"radius_weight": 3.0}))
    assert guidance.losses[HEAD].weights["radius"] == 3.0
    assert make_guidance(making(NEURAL, loss="cka")).terms == (f"{HEAD}/cka",)
    with pytest.raises(ValueError, match=r"options \{'radius': 3.0\} of 'manifold guidance': .*'radius'"):
        make_guidance(making(MANIFOLD, options={"radius": 3.0}))


def test_matched_targets_have_the_other_regions_property(making, batch):
    right = making(NEURAL)
    whole = right.images.__getitems__(list(range(96)))
    plain = targets(right, whole)
    rank = torch.linalg.matrix_rank(targets(making("rank matched"), whole), rtol=1e-4)
    assert rank <= 3 < torch.linalg.matrix_rank(plain, rtol=1e-4)
    spectrum = targets(making("spectrum matched"), whole)
    assert not torch.allclose(spectrum, plain, atol=1e-3)
    assert torch.linalg.matrix_rank(spectrum, rtol=1e-4) <= 3  # the other region has three voxels
    # The other region is predicted half as well as this one.
    noisy = targets(making("noise matched"), whole)
    r = torch.corrcoef(torch.stack([noisy.flatten(), plain.flatten()]))[0, 1]
    assert float(r) == pytest.approx(0.5, abs=0.08)


def test_noise_can_only_lower_the_accuracy(making, results):
    given = making("noise matched", like=results.folder("predictor"), predictor=results.folder("like"))
    with pytest.raises(ValueError, match=r"accuracy of 0.375 and those of 'like' with 0.750: noise can only lower"):
        make_guidance(given)


def test_measured_responses_join_the_training_images(making):
    given = making("measured responses")
    assert len(given.images) == 96 + 20 and given.num_voxels == 6  # four stimuli are for validation
    batch = given.images.__getitems__([100, 3, 115, 0])
    assert batch["label"].tolist()[0] == batch["label"].tolist()[2] == NO_LABEL and batch["label"][1] >= 0
    assert batch["stimulus"].tolist() == [100, 3, 115, 0]
    missing = batch["response"].isnan().all(1)
    assert missing.tolist() == [False, True, False, True]
    every = given.images.__getitems__(list(range(96, 116)))["response"]
    torch.testing.assert_close(every.mean(0), torch.zeros(6), atol=1e-5, rtol=0)
    alone = given.images.__getitems__([100])
    assert torch.equal(alone["image"][0], batch["image"][0])


def test_dissimilarities_belong_to_the_regions_own_stimuli(making):
    given = making("RDM guidance")
    guidance = make_guidance(given)
    own = given.images.__getitems__(list(range(96, 120)))
    rdm = given.images.stimuli.rdm
    values, vectors = torch.linalg.eigh(-0.5 * rdm.sub(rdm.mean(0)).sub(rdm.mean(1, keepdim=True)).add(rdm.mean()))
    embedded = vectors[:, -5:] * values[-5:].clamp_min(0).sqrt()  # points with exactly these distances
    assert float(guidance({HEAD: embedded}, own)[f"{HEAD}/rsa"]) < 1e-4
    assert float(guidance({HEAD: embedded.flip(0)}, own)[f"{HEAD}/rsa"]) > 0.3
    labelled = given.images.__getitems__(list(range(40)))
    assert float(guidance({HEAD: torch.randn(40, 5)}, labelled)[f"{HEAD}/rsa"]) == 0


def test_a_shuffled_rdm_is_that_of_the_stimuli_in_another_order(making):
    right, wrong = (make_guidance(making(kind)).losses[HEAD].rdm for kind in ("RDM guidance", "shuffled RDM"))
    assert torch.equal(right.flatten().sort().values, wrong.flatten().sort().values)
    profiles = torch.cdist(right.sort(1).values, wrong.sort(1).values).argmin(1)  # who is whom, by the sorted distances
    assert not bool((profiles == torch.arange(24)).any()) and profiles.unique().numel() == 24
    other = make_guidance(making("shuffled RDM", seed=1)).losses[HEAD].rdm
    assert not torch.equal(other, wrong)


def run_of(results, root, kind, **changes):
    return ClassifierRun(work_of(root, settings_of(kind, **changes), results.inputs(kind)))


def others_are_slow(kinds):
    quick = ("shuffled fit", "label only", "random geometry", "shuffled RDM")
    return [kind if kind in quick else pytest.param(kind, marks=pytest.mark.slow) for kind in kinds]


@pytest.mark.parametrize("kind", others_are_slow(k for k in KINDS if KINDS[k].control_of is not None))
def test_controls_have_the_gradient_scale_of_their_treatment(results, tmp_path, kind):
    run = run_of(results, tmp_path / "control", kind)
    treatment = run_of(results, tmp_path / "treatment", KINDS[kind].control_of)
    data = list(run.data().train_dataloader())[:8]
    scales = [gradient_scale(each.guidance, run.network(), data) for each in (run, treatment)]
    assert scales[0] == pytest.approx(scales[1], rel=1e-3) and run.factor > 0
    alone = run_of(results, tmp_path / "alone", kind, matched_to=None)
    assert alone.factor is None and gradient_scale(alone.guidance, run.network(), data) != pytest.approx(
        scales[1], rel=1e-6
    )


def test_a_control_without_a_region_says_what_is_missing(making):
    given = making("label only")
    given.inputs = {"images": given.inputs["images"]}
    with pytest.raises(ValueError, match="'label only' takes the number of its targets' voxels from a region"):
        make_guidance(given)


def test_no_brain_needs_labels_only(making, batch):
    guidance = make_guidance(making("no brain"))
    assert isinstance(guidance, ManifoldGuidance)
    terms = guidance({HEAD: torch.randn(40, 6)}, {"label": batch["label"]})
    assert sorted(terms) == [f"{HEAD}/nuclear", f"{HEAD}/radius"] and json.dumps([float(v) for v in terms.values()])


def test_a_predictor_of_another_image_size_is_refused():
    """A convolutional network runs at any size: it would predict, without a word, from images that it was not fitted to."""
    from neuroalign.models import NeuralPredictor
    from neuroalign.study.stages.guidance import check_image_size

    predictor = NeuralPredictor("small_resnet", 4, image_shape=(3, 32, 32))
    check_image_size(predictor, ArrayDataset(torch.rand(2, 3, 32, 32)))
    with pytest.raises(ValueError, match=r"fitted to 32 x 32 pixels, and the networks see 16 x 16: .*image_size: 16"):
        check_image_size(predictor, ArrayDataset(torch.rand(2, 3, 16, 16)))
