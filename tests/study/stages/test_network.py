"""The stage that trains the classifier of each condition."""

import json
from dataclasses import replace
from functools import partial

import pandas as pd
import pytest
import torch

from neuroalign.study.fitting import fit_task
from neuroalign.study.settings.conditions import KINDS
from neuroalign.study.stages import classifier
from neuroalign.study.stages.classifier import ClassifierRun
from neuroalign.study.stages.network import train
from neuroalign.study.stages.trained import read_network
from tests.study.stages.hand_made import SHAPE, Results, settings_of, work_of


@pytest.fixture(scope="module")
def results(tmp_path_factory, digits):
    return Results(tmp_path_factory.mktemp("results"), digits)


ADVERSARIAL = {"class_path": "neuroalign.tasks.AdversarialTraining", "init_args": {"eps": 8 / 255, "steps": 2}}
TRADES = {"class_path": "neuroalign.tasks.TRADES", "init_args": {"eps": 8 / 255, "steps": 2}}


@pytest.fixture(scope="module")
def trained(results, tmp_path_factory):
    """From a kind to the folder of its trained network; each is trained once."""
    done = {}

    def train_once(kind, **changes):
        key = json.dumps([kind, changes])
        if key not in done:
            if kind == "adversarial training":
                changes["robust_training"] = ADVERSARIAL
            inputs = results.inputs(kind)
            if kind == "smoothness matched":
                inputs["guided"] = train_once("neural guidance")
            work = work_of(tmp_path_factory.mktemp("network") / "work", settings_of(kind, **changes), inputs)
            train(work)
            done[key] = work.out
        return done[key]

    return train_once


def about(folder):
    return json.loads((folder / "network.json").read_text())


QUICK = ("neural guidance", "manifold guidance", "RDM guidance", "measured responses", "label only", "shuffled fit")


def others_are_slow(kinds):
    return [kind if kind in QUICK else pytest.param(kind, marks=pytest.mark.slow) for kind in kinds]


@pytest.mark.parametrize("kind", others_are_slow(k for k in KINDS if k not in ("none", "smoothness matched")))
def test_every_kind_trains_a_network_of_its_own(trained, kind):
    folder, plain = trained(kind), trained("none")
    known = about(folder)
    assert known["epochs"] == 2 and known["seconds"] > 0
    assert (known["factor"] is not None) == (KINDS[kind].control_of is not None)
    assert known["weights_crc"] != about(plain)["weights_crc"]
    assert not torch.equal(read_network(folder).classifier.weight, read_network(plain).classifier.weight)
    others = [k for k in KINDS if k not in (kind, "none", "smoothness matched")]
    assert all(about(trained(other))["weights_crc"] != known["weights_crc"] for other in others[:3])


def test_what_is_written(trained):
    folder = trained("neural guidance")
    log = pd.read_csv(folder / "log.csv")
    assert log["epoch"].tolist() == [1, 2] and log["step"].tolist() == [3, 6]
    assert {"train/loss", "train/task_loss", "val/accuracy", "alignment/features/brain/mse"} <= set(log)
    network = read_network(folder)
    assert not network.training and network.heads["brain"].num_outputs == 6 and network.num_classes == 4
    logits, responses = network(torch.rand(2, *SHAPE), with_responses=True)
    assert logits.shape == (2, 4) and responses["brain"].shape == (2, 6)
    assert about(folder)["num_voxels"] == 6 and about(trained("none"))["num_voxels"] is None


def run_of(results, root, kind, **changes):
    return ClassifierRun(work_of(root, settings_of(kind, **changes), results.inputs(kind)))


def test_all_conditions_of_a_seed_start_from_the_same_weights(results, tmp_path):
    kinds = ["none", "neural guidance", "RDM guidance", "measured responses", "no brain"]
    networks = [run_of(results, tmp_path / kind, kind).network() for kind in kinds]
    layered = {"layer": {"V4": "layer2", "V1": "layer1"}, "size": 2}
    networks.append(run_of(results, tmp_path / "layered", "neural guidance", network=layered).network())
    assert networks[-1].head_layers == {"brain": "layer2"} and networks[1].head_layers == {"brain": None}
    first = networks[0]
    for other in networks[1:]:
        torch.testing.assert_close(other.trunk.state_dict(), first.trunk.state_dict(), rtol=0, atol=0)
        torch.testing.assert_close(other.classifier.state_dict(), first.classifier.state_dict(), rtol=0, atol=0)
    fresh = run_of(results, tmp_path / "seed", "none", seed=1).network()
    assert not torch.equal(fresh.classifier.weight, first.classifier.weight)


def test_a_head_that_guides_nothing_changes_nothing(results, tmp_path):
    """Random numbers of the steps, the order of images and augmentation are the same, however wide the head is."""
    augment = {"class_path": "neuroalign.data.ShiftFlip", "init_args": {"shift": 1}}
    ends = []
    for kind in ("none", "neural guidance"):
        run = run_of(results, tmp_path / kind, kind, training={"augment": augment}, robust_training=ADVERSARIAL)
        network, _ = run.fit(None)
        ends.append(network)
    torch.testing.assert_close(ends[0].trunk.state_dict(), ends[1].trunk.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    "kind", ["neural guidance", *(pytest.param(k, marks=pytest.mark.slow) for k in ("RDM guidance", "shuffled images"))]
)
def test_a_killed_training_ends_like_an_uninterrupted_one(results, tmp_path, monkeypatch, kind):
    monkeypatch.setattr(classifier, "fit_task", partial(fit_task, checkpoint_seconds=0))
    noise = {"class_path": "neuroalign.tasks.GaussianNoiseTraining", "init_args": {"std": 0.1}}
    settings = settings_of(kind, training={"epochs": 4}, robust_training=noise)

    class Killed(Exception):
        pass

    def kill(text, share):
        if share >= 0.5:
            raise Killed

    whole = work_of(tmp_path / "whole", settings, results.inputs(kind))
    train(whole)
    killed = work_of(tmp_path / "killed", settings, results.inputs(kind), report=kill)
    with pytest.raises(Killed):
        train(killed)
    assert not any(killed.out.iterdir())
    told = []
    train(type(killed)(**{**vars(killed), "report": lambda text, share: told.append(share)}))
    assert told[0] >= 0.5, "it started again from the beginning"
    assert about(killed.out)["weights_crc"] == about(whole.out)["weights_crc"]
    assert pd.read_csv(killed.out / "log.csv").equals(pd.read_csv(whole.out / "log.csv"))


def test_a_loss_that_is_no_number_names_condition_epoch_and_step(results, tmp_path):
    work = work_of(
        tmp_path / "work", settings_of("none", training={"lr": 1e30}), results.inputs("none"), name="network none"
    )
    with pytest.raises(ValueError, match=r"^network none: the loss is NaN or infinite in epoch 1, step \d") as error:
        train(work)
    assert str(error.value).count("network none") == 1


def test_measured_responses_and_trades(trained):
    folder = trained("measured responses", robust_training=TRADES)
    assert about(folder)["weights_crc"] != about(trained("measured responses"))["weights_crc"]
    log = pd.read_csv(folder / "log.csv")
    assert log["alignment/features/brain/mse"].notna().all() and log["train/accuracy"].between(0, 1).all()


def test_stimuli_without_labels_can_not_be_attacked(results, tmp_path):
    settings = settings_of("measured responses", robust_training=ADVERSARIAL)
    work = work_of(tmp_path / "work", settings, results.inputs("measured responses"))
    with pytest.raises(
        ValueError, match=r"AdversarialTraining needs the label of every image, .* use TRADES or Gaussian"
    ):
        train(work)


def test_every_batch_shows_some_of_the_regions_own_stimuli(results, tmp_path):
    data = run_of(results, tmp_path / "run", "RDM guidance").data()
    labels = [batch["label"] for batch in data.train_dataloader()]
    assert all(int((each == classifier.NO_LABEL).sum()) >= 8 for each in labels)
    seen = torch.cat(labels)
    assert int((seen >= 0).sum()) == 96  # each labelled image comes once


def test_the_cross_entropy_has_the_weight_that_it_has_beside_guidance(results, tmp_path):
    run = run_of(results, tmp_path / "run", "cross-entropy weight", weight=0.9)
    task = run._task(run.network(), run.guidance)
    assert task.guidance is None and task.task_weight == pytest.approx(0.1)


@pytest.mark.slow
def test_the_smoothness_of_the_guided_network_is_searched_for(trained):
    folder = trained("smoothness matched")
    known = about(folder)
    assert known["measured_on"] == "validation images" and 2 <= len(known["trials"]) <= 8
    assert known["weight_decay"] in [trial["weight_decay"] for trial in known["trials"]]
    nearest = min(abs(trial["log_ratio"]) for trial in known["trials"])
    assert known["matched"] == (nearest <= torch.log1p(torch.tensor(0.1)))
    assert pd.read_csv(folder / "log.csv")["epoch"].tolist() == [1, 2]


@pytest.mark.slow
def test_a_killed_search_keeps_its_trainings(results, tmp_path, monkeypatch, trained):
    inputs = results.inputs("smoothness matched") | {"guided": trained("neural guidance")}
    whole = work_of(tmp_path / "whole", settings_of("smoothness matched"), inputs)
    train(whole)
    counted = []
    fit = ClassifierRun.fit

    def interrupted(self, guidance, **changes):
        counted.append(changes["weight_decay"])
        if len(counted) == 2:
            raise KeyboardInterrupt
        return fit(self, guidance, **changes)

    monkeypatch.setattr(ClassifierRun, "fit", interrupted)
    killed = work_of(tmp_path / "killed", settings_of("smoothness matched"), inputs)
    with pytest.raises(KeyboardInterrupt):
        train(killed)
    train(killed)
    assert len(set(counted)) == len(counted) - 1, "only the interrupted training is repeated"
    first, second = about(whole.out), about(killed.out)
    assert {**first, "seconds": 0} == {**second, "seconds": 0}


def test_the_gradient_scale_is_that_of_whole_batches_on_any_number_of_devices(results, tmp_path):
    factors = []
    for devices in (1, 2):
        run = run_of(results, tmp_path / str(devices), "label only")
        factors.append(replace(run, work=replace(run.work, options={**run.work.options, "devices": devices})).factor)
    assert factors[0] == factors[1]
