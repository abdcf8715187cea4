"""What is known about a model: taken from responses, checked at the door, and read again from a folder."""

import dataclasses
import hashlib
import json

import numpy as np
import pandas as pd
import pytest
import torch
from scipy import stats

from neuroalign import CardFacts, NeuralPredictor, Responses, VoxelCorrelation, read_nsd
from neuroalign.functional import wilson
from neuroalign.sharing import HeldOutCorrelation, held_out_correlation, stimulus_hash

SHAPE = (3, 8, 8)
INFO = {"dataset": "Natural Scenes Dataset", "simulated": False, "subject": 1, "root": "/secret/place", "betas": "b3",
        "space": "func1pt8mm", "unit": "standard deviations"}  # fmt: skip


def responses(stimuli, *, num_voxels=4, seed=0, **more):
    values = np.random.default_rng(seed).normal(size=(len(stimuli), num_voxels))
    return Responses.from_arrays(values, stimulus=stimuli, **{"roi": "V4", "info": INFO, **more})


def test_what_responses_know():
    training = responses([3, 1, 1, 2], history=("zscore_sessions",))
    held_out = responses([10, 11, 12], noise_ceiling=[0.2, 0.4, 0.9, np.nan], history=("average_repeats",))
    facts = CardFacts.from_responses(training, held_out, license="mit")
    assert (facts.dataset, facts.simulated, facts.subject, facts.region) == (
        "Natural Scenes Dataset",
        False,
        1,
        ("V4",),
    )
    assert (facts.num_voxels, facts.num_training_images, facts.num_held_out_images) == (4, 3, 3)
    assert facts.responses == "b3 in func1pt8mm, z-scored within sessions" and facts.license == "mit"
    assert facts.training_hash == stimulus_hash([1, 2, 3]) and facts.held_out_hash == stimulus_hash([12, 11, 10])
    assert facts.noise_ceiling == pytest.approx(0.4)
    assert "/secret" not in json.dumps(facts.to_dict())
    assert CardFacts.from_responses(training, subject=2).subject == 2  # what is given goes first
    assert CardFacts.from_responses(responses([1, 2], roi=["V4", "V4", "LO", "TO"])).region == ("V4", "LO", "TO")


def test_responses_that_know_nothing():
    facts = CardFacts.from_responses(Responses.from_arrays(np.ones((2, 3))))
    assert facts.to_dict() == {"num_voxels": 3, "num_training_images": 2, "training_hash": stimulus_hash([0, 1])}


def test_a_simulated_subject_is_called_simulated(subject):
    trials = read_nsd(subject.root, 1, roi="V4")
    facts = CardFacts.from_responses(trials)
    assert facts.simulated is True and facts.dataset == "simulated subject in NSD's layout" and facts.subject == 1


def test_names_of_stimuli_are_hashed_by_name():
    training = responses([0, 1, 0], info={"stimulus_id": ["b.png", "a.png"]})
    assert CardFacts.from_responses(training).training_hash == hashlib.sha256(b"a.png\nb.png").hexdigest()


def test_hashes_of_stimuli():
    expected = hashlib.sha256(b"2\n10\n100").hexdigest()
    assert stimulus_hash([100, 2, 10, 2]) == stimulus_hash(np.array([10, 100, 2])) == expected
    assert stimulus_hash(torch.tensor([10, 100, 2])) == expected
    assert stimulus_hash(["10", "100"]) != stimulus_hash(["1", "0100"])
    with pytest.raises(ValueError, match="no stimuli"):
        stimulus_hash([])
    for wrong in ([1.5], [True], [None]):
        with pytest.raises(TypeError, match="by its number or name"):
            stimulus_hash(wrong)


def test_splits_that_are_none():
    training = responses([1, 2, 3])
    with pytest.raises(ValueError, match="images of held_out are in training too, 1 of 2, such as 3"):
        CardFacts.from_responses(training, responses([3, 4]))
    with pytest.raises(ValueError, match="training has 4 voxels, held_out 5"):
        CardFacts.from_responses(training, responses([4, 5], num_voxels=5))
    with pytest.raises(ValueError, match="several rows of an image: average its repeats first"):
        CardFacts.from_responses(training, responses([4, 4, 5]), predictions=np.ones((3, 4)))
    with pytest.raises(ValueError, match="predictions need held_out"):
        CardFacts.from_responses(training, predictions=np.ones((3, 4)))
    with pytest.raises(TypeError, match="unknown fact of a card 'licence'; did you mean 'license'"):
        CardFacts.from_responses(training, licence="mit")


@pytest.mark.parametrize(
    ("facts", "error", "says"),
    [
        ({"noise_ceiling": 41}, ValueError, r"noise_ceiling must be in \[0, 1\]; got 41"),
        ({"noise_ceiling": float("nan")}, ValueError, r"noise_ceiling must be in \[0, 1\]"),
        ({"accuracy": (11, 10)}, ValueError, "accuracy must be .number classified right"),
        ({"accuracy": 0.66}, TypeError, r"accuracy is \(number of test images classified right, .* got 0.66"),
        ({"accuracy": (66,)}, TypeError, r"such as \(66, 100\); got \(66,\)"),
        ({"accuracy": (0, 0)}, ValueError, "accuracy must be .number classified right"),
        ({"correlation": (1.2, 1, 1, 10, 2)}, ValueError, r"in \[-1, 1\]"),
        ({"correlation": (0.2, 0.3, 0.1, 10, 2)}, ValueError, r"in \[-1, 1\]"),
        ({"num_voxels": 1.5}, ValueError, "num_voxels must be a number of things"),
        ({"num_training_images": -1}, ValueError, "num_training_images must be"),
        ({"training_hash": "abc"}, ValueError, "what stimulus_hash gives"),
        ({"summary": 3}, TypeError, "summary must be text; got int"),
        ({"tags": [1]}, TypeError, "tags must be texts"),
        ({"subject": 1.5}, TypeError, "subject must be a number or a name"),
        ({"robustness": [{"perturbation": "pgd"}]}, ValueError, "robustness has no column 'eps'"),
        ({"robustness": [1]}, ValueError, "robustness must be a table, or its rows as dicts; got int"),
        ({"robustness": [{"perturbation": "p", "eps": 0, "accuracy": 50, "num_images": 9}]}, ValueError, "must be in"),
        ({"controls": [{"treatment": "V4"}]}, ValueError, "controls has no column 'control'"),
    ],
)
def test_wrong_facts_are_refused_at_the_door(facts, error, says):
    with pytest.raises(error, match=says):
        CardFacts(**facts)


def test_rows_keep_their_numbers():
    table = pd.DataFrame(
        {"perturbation": ["pgd", "fog"], "eps": [0.1, np.nan], "accuracy": [0.25, 0.5], "num_images": [40, 40]}
    )
    first, second = CardFacts(robustness=table).robustness
    assert (first["low"], first["high"]) == wilson(10, 40) and first["eps"] == 0.1
    assert second["eps"] is None and second["norm"] is None and second["settings"] is None


def test_a_folder_gives_the_facts_back(tmp_path):
    row = {"treatment": "V4", "control": "none", "difference": 0.1, "low": 0.0, "high": 0.2, "over": "100 images"}
    table = [
        {"perturbation": "pgd", "norm": "linf", "eps": 0.1, "accuracy": 0.5, "num_images": 10, "settings": "PGD()"}
    ]
    facts = CardFacts.from_responses(
        responses([1, 2]), responses([3, 4], noise_ceiling=[0.5] * 4), accuracy=(3, 4), test_set="digits", robustness=table,
        controls=row, correlation=HeldOutCorrelation(0.3, float("nan"), float("nan"), 2, 4), tags=["x"],
    )  # fmt: skip
    NeuralPredictor("small_resnet", 4, image_shape=SHAPE).save_pretrained(tmp_path, card=facts)
    found = CardFacts.load(tmp_path)
    assert repr(found) == repr(facts)
    assert found.robustness == facts.robustness and found.controls == facts.controls
    empty = tmp_path / "empty"
    NeuralPredictor("small_resnet", 4, image_shape=SHAPE).save_pretrained(empty)
    assert CardFacts.load(empty) == CardFacts()


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ("[]", "no configuration of neuroalign"),
        ('{"library_name": "timm"}', "no configuration of neuroalign"),
        ('{"library_name": "neuroalign", "card": 3}', "facts that this version doesn't know: nothing by name"),
        ('{"library_name": "neuroalign", "card": {"__class__": 1}}', "facts that this version doesn't know: __class__"),
        ('{"library_name": "neuroalign", "card": {"accuracy": {"x": 1}}}', "config.json: .*unexpected keyword"),
        ('{"library_name": "neuroalign", "card": {"num_voxels": "many"}}', "config.json: "),
        ('{"library_name": "neuroalign", "card": {"robustness": 7}}', "config.json: "),
        ('{"library_name": "neuroalign", "card": {"correlation": {"median": null}}}', "config.json: "),
        (" " * (2**20 + 1), "has 1,048,577 bytes"),
    ],
)
def test_foreign_configurations_are_refused_in_one_line(content, says, tmp_path):
    (tmp_path / "config.json").write_text(content)
    with pytest.raises(ValueError, match=says) as refused:
        CardFacts.load(tmp_path)
    assert "\n" not in str(refused.value) and len(str(refused.value)) < 400
    with pytest.raises(FileNotFoundError, match=r"no config\.json at"):
        CardFacts.load(tmp_path / "nowhere")


# ---------------------------------------------------------------------------------------------------- the correlation


def pair(n=80, v=6, noise=1.5, seed=0):
    rng = np.random.default_rng(seed)
    target = rng.normal(size=(n, v))
    return target + noise * rng.normal(size=(n, v)), target


def test_the_correlation_is_that_of_the_metric():
    preds, target = pair()
    target[3, 1] = target[5:9, 2] = np.nan
    preds[:, 4] = 1.0  # undefined
    found = held_out_correlation(preds, target)
    metric = VoxelCorrelation(reduction="median")
    metric.update(torch.as_tensor(preds), torch.as_tensor(target))
    assert found.median == pytest.approx(float(metric.compute()), abs=1e-6)
    assert found.num_voxels == 5 and found.num_images == 80 and found.low < found.median < found.high


def test_the_interval_is_the_bootstraps_of_scipy():
    preds, target = pair(60, 5)

    def median_correlation(rows):
        x, y = preds[rows], target[rows]
        x, y = x - x.mean(0), y - y.mean(0)
        return np.median((x * y).sum(0) / np.sqrt((x * x).sum(0) * (y * y).sum(0)))

    reference = stats.bootstrap((np.arange(60),), median_correlation, n_resamples=3000, method="BCa", vectorized=False,
                                rng=np.random.default_rng(1)).confidence_interval  # fmt: skip
    found = held_out_correlation(preds, target, num_resamples=3000)
    # Ends of intervals from other draws differ by about .005 here, most of it from the estimate of the bias.
    assert found.low == pytest.approx(reference.low, abs=0.02) and found.high == pytest.approx(reference.high, abs=0.02)
    assert held_out_correlation(preds, target, num_resamples=3000) == found  # the same seed, the same interval


def test_the_interval_does_not_depend_on_the_unit():
    preds, target = pair(40, 3)
    found = held_out_correlation(preds, target, num_resamples=200)
    shifted = held_out_correlation(preds * 3 + 1e4, target / 7 - 1e4, num_resamples=200)
    np.testing.assert_allclose(shifted, found, atol=1e-8)


def test_the_interval_covers():
    """Of 100 recordings of 40 images, about 95 intervals hold the true correlation."""
    true = 1 / np.sqrt(1 + 1.5**2)
    covered = sum(
        (found := held_out_correlation(*pair(40, 9, seed=seed), num_resamples=300)).low <= true <= found.high
        for seed in range(100)
    )
    assert 88 <= covered <= 100


def test_what_has_no_correlation():
    preds, target = pair(10, 2)
    with pytest.raises(ValueError, match="no voxel has a correlation"):
        held_out_correlation(np.ones_like(preds), target)
    with pytest.raises(ValueError, match="preds has 1 voxels and target 2"):
        held_out_correlation(preds[:, :1], target)


def test_facts_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        CardFacts().subject = 1
