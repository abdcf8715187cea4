"""Estimates: what is counted exactly, and that they grow with what makes a study longer."""

import pytest
import torch
from torch import nn

from neuroalign.study.estimates import Estimate, estimate_stages
from neuroalign.study.graph import Stage
from neuroalign.study.opening import open_study
from neuroalign.study.passes import attack_passes, evaluation_passes, robust_training_factor
from neuroalign.study.planning import plan_study
from neuroalign.study.probes import Probe, probe_network
from neuroalign.study.sizes import image_sizes, num_voxels, stimulus_sizes
from neuroalign.study.study import Study, merged

DIGITS = {
    "name": "Digits",
    "images": {"source": "digits", "num_neural": [600, 100], "num_test": 350},
    "responses": [{"source": "simulated", "num_voxels": 20, "regions": ["TO"]}],
    "conditions": {"none": {}, "neural guidance": {}},
    "seeds": [0],
    "evaluations": {"robustness": {"pgd": {"eps": [0.02], "steps": 10}}, "geometry": {}},
}
FIXED = Probe(step=1.0, forward=0.1, parameters=1000, state=2000, activations=50, device="cpu", batch=2, operations=10)


@pytest.fixture
def fixed(monkeypatch):
    """Every network takes one second a training step and 0.1 s a forward pass, per image."""
    monkeypatch.setattr("neuroalign.study.estimates.probe_network", lambda *a, **k: FIXED)
    monkeypatch.setattr("neuroalign.study.estimates._START", 0.0)
    monkeypatch.setattr("neuroalign.study.estimates.process_bytes", lambda: 0)


def seconds(settings, kind, **changes):
    stages = plan_study(Study.from_settings(merged(settings, changes))).stages
    found = estimate_stages(stages)
    return {stage.name: found.seconds[stage.key] for stage in stages if stage.kind == kind}


class TestSeconds:
    def test_of_networks(self, fixed):
        found = seconds(DIGITS, "network", training={"epochs": 3})
        assert found["network none, seed 0"] == pytest.approx(3 * 747)
        assert found["network neural guidance simulated TO, seed 0"] == pytest.approx(
            3 * 747 * 1.1
        )  # predictor in the loop

    def test_of_validation(self, fixed):
        found = seconds(DIGITS, "network", training={"epochs": 3}, images={"num_val": 47})
        assert found["network none, seed 0"] == pytest.approx(3 * (700 + 47 * 0.1))

    def test_of_adversarial_training(self, fixed):
        robust = {"adversarial training": {"robust_training": {"eps": 0.02, "steps": 4}}}
        found = seconds(DIGITS, "network", training={"epochs": 3}, conditions=robust)
        assert found["network adversarial training, seed 0"] == pytest.approx(5 * found["network none, seed 0"])

    def test_of_predictors(self, fixed):
        found = seconds(DIGITS, "predictor", predictors={"training": {"epochs": 2}})
        assert found["predictor simulated TO"] == pytest.approx((600 * 4 + 100 * 6) * (2 + 0.1))

    def test_of_an_untrained_predictor(self, fixed):
        found = seconds(DIGITS, "predictor", conditions={"random predictor": {}})
        assert found["predictor simulated TO untrained, seed 0"] == pytest.approx(3000 * 0.1)

    def test_of_attacks(self, fixed):
        found = seconds(DIGITS, "robustness")
        assert found["pgd of network none, seed 0"] == pytest.approx(350 * (10 + 0.1))

    def test_every_kind_of_evaluation(self, fixed):
        more = {"corruptions": {}, "smoothness": {}, "masking": {}, "transfer": {"eps": 0.02}, "rsa": {}}
        stages = plan_study(Study.from_settings(merged(DIGITS, {"evaluations": more}))).stages
        found = estimate_stages(stages)
        assert {"corruptions", "smoothness", "masking", "transfer", "rsa"} <= {stage.kind for stage in stages}
        assert all(found.seconds[s.key] > 0 for s in stages if s.kind not in ("images", "responses", "stimuli"))


class TestMemory:
    def test_counts_batches_parameters_and_images(self, fixed):
        stages = plan_study(Study.from_settings(merged(DIGITS, {"training": {"batch_size": 100}}))).stages
        none = next(stage for stage in stages if stage.name == "network none, seed 0")
        found = estimate_stages(stages).memory[none.key]
        assert found == 1000 + 2000 + 50 * 100 + 4 * (747 + 350) * 3 * 8 * 8


class TestProbe:
    def test_counts_bytes_and_operations(self):
        network = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(256, 5))
        size = 4 * (3 * 4 * 9 + 256 * 5 + 5)
        found = probe_network(network, (3, 8, 8), batch_size=16, optimizer="adam", channels_last=False)
        assert (found.parameters, found.state, found.batch) == (size, 3 * size, 16)
        assert found.operations == 2 * (3 * 9 * 4 * 64 + 256 * 5)
        images, maps = 3 * 64 * 4, 4 * 64 * 4
        assert found.activations == images + maps  # the input of the convolution, and the output of the ReLU for two
        assert found.step > found.forward > 0

    def test_large_images_come_in_small_batches(self):
        network = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 2))
        assert probe_network(network, (3, 224, 224), batch_size=256).batch == 2

    def test_leaves_threads_and_random_numbers_alone(self):
        threads, network = torch.get_num_threads(), nn.Sequential(nn.Flatten(), nn.Linear(12, 5))
        torch.manual_seed(3)
        expected = torch.rand(2)
        torch.manual_seed(3)
        probe_network(network, (3, 2, 2), batch_size=4, threads=1)
        assert torch.equal(torch.rand(2), expected) and torch.get_num_threads() == threads

    @pytest.mark.slow
    def test_real_networks_are_measured_once_each(self):
        told = []
        stages = plan_study(Study.from_settings(merged(DIGITS, {"seeds": [0, 1, 2]}))).stages
        found = estimate_stages(stages, on_probe=told.append)
        assert sorted(told) == ["the network", "the predictor", "the simulated subject's network"]
        assert len(found.probes) == 3 and not found.assumed

    def test_gpu_that_is_not_here(self, monkeypatch):
        monkeypatch.setattr("torch.cuda.is_available", lambda: False)
        stages = plan_study(Study.from_settings(merged(DIGITS, {"resources": {"network": {"gpus": 1}}}))).stages
        found = estimate_stages(stages)
        assert found.on_gpu == {stage.key for stage in stages if stage.kind == "network"}
        assert any("by its operations" in place for place in found.probes)


class TestWall:
    def test_waits_for_what_is_needed(self):
        first = Stage("images", "images", print)
        networks = [Stage("network", f"network {i}", print, {"i": i}, {"images": first}) for i in range(3)]
        found = Estimate({first.key: 10.0, **{n.key: 5.0 for n in networks}})
        assert [found.wall([first, *networks], workers) for workers in (1, 2, 3, 50)] == [25.0, 20.0, 15.0, 15.0]

    def test_scaled_to_finished_stages(self):
        stages = [Stage("network", f"network {i}", print, {"i": i}) for i in range(3)]
        other = Stage("images", "images", print)
        found = Estimate({**{s.key: 10.0 for s in stages}, other.key: 1.0})
        found.scale([*stages, other], {stages[0].key: 20.0, stages[1].key: 40.0})
        assert found.seconds[stages[2].key] == 30.0 and found.seconds[other.key] == 1.0
        assert found.scaled == {"network": 2}


class TestSizes:
    def images(self, **settings):
        return image_sizes(Stage("images", "images", print, settings, sources=settings.pop("sources", {})))

    def test_known_sources(self):
        found = self.images(source="cifar100", classes=["apple", "rose"])
        assert (found.train, found.test, found.num_classes, found.shape) == (1000, 200, 2, (3, 32, 32))
        groups = {"fruit": ["apple", "pear"], "flower": ["rose", "tulip"]}
        assert self.images(source="cifar100", classes=groups).train == 2000
        assert self.images(source="digits").test == 359
        assert self.images(source="cifar10", num_train=100, num_val=50).train == 100

    def test_files_that_are_here(self, tmp_path):
        for part, count in (("train", 5), ("val", 2)):
            for name in ("a", "b", "c"):
                (tmp_path / part / name).mkdir(parents=True)
                for i in range(count):
                    (tmp_path / part / name / f"{i}.png").touch()
        found = self.images(source="folder", classes=["a", "b"], sources={"root": str(tmp_path)})
        assert (found.train, found.test, found.num_classes, found.assumed) == (10, 4, 2, "")

    def test_files_that_are_not_here(self):
        found = self.images(source="folder", image_size=64, sources={"root": "$IMAGENET"})
        assert (found.train, found.test, found.num_classes, found.shape) == (65_000, 2500, 50, (3, 64, 64))
        assert "50 classes of 1,300 training and 50 test images" in found.assumed

    def test_recordings(self, tmp_path):
        import numpy as np

        np.save(tmp_path / "v4.npy", np.zeros((7, 30, 2), np.float32))
        settings = {"source": "recording", "axes": "voxel stimulus repeat", "image_size": 16}
        stage = Stage("stimuli", "stimuli", print, settings, sources={"file": str(tmp_path / "v4.npy")})
        assert stimulus_sizes(stage) == (30, (3, 16, 16), "") and num_voxels(stage) == (7, "")
        gone = Stage("stimuli", "stimuli", print, settings, sources={"file": "none.npy"})
        assert stimulus_sizes(gone)[0] == 1000 and "1,000 stimuli" in stimulus_sizes(gone)[2]

    @pytest.mark.parametrize(("subject", "count"), [("subj01", 10_000), ("subj03", 9411), ("subj08", 9209)])
    def test_nsd(self, subject, count):
        settings = {"source": "nsd", "subject": subject, "sessions": None}
        assert stimulus_sizes(Stage("stimuli", "stimuli", print, settings))[0] == count


class TestPasses:
    def test_attacks(self):
        assert attack_passes({"attack": "pgd", "steps": None, "eps": [0, 0.1]}) == (20, 0)
        assert attack_passes({"attack": "square", "steps": None, "eps": [0.1]}) == (0, 5000)
        own = {"class_path": "neuroalign.perturbations.APGD", "init_args": {"steps": 7}}
        assert attack_passes({"attack": own, "steps": None, "eps": [0.1, 0.2]}) == (14, 0)

    def test_fewer_images(self):
        assert evaluation_passes("smoothness", {"num_images": 10, "steps": 5}, 100)[0] == 10
        assert evaluation_passes("smoothness", {"num_images": 1000, "steps": 5}, 100)[0] == 100

    def test_robust_training(self):
        of = lambda name, **a: robust_training_factor({"class_path": f"neuroalign.tasks.{name}", "init_args": a})  # noqa: E731
        assert (of("TRADES", steps=3), of("GaussianNoiseTraining", std=0.1), robust_training_factor(None)) == (5, 1, 1)


@pytest.mark.slow
def test_a_plan_of_data_that_are_not_here(tmp_path, fixed, monkeypatch):
    """The paper's experiment: counts and an estimate without NSD and ImageNet."""
    from pathlib import Path

    for name in ("NSD_ROOT", "IMAGENET_50"):
        monkeypatch.delenv(name, raising=False)
    file = Path(__file__).parents[2] / "examples/studies/paper.yaml"
    opened = open_study(file, tmp_path / "out")
    found = estimate_stages(opened.plan.stages)
    assert len(found.seconds) == len(opened.plan.stages) > 5000
    assert any("voxels a region" in text for text in found.assumed)
    assert set(opened.missing()) >= {"$NSD_ROOT"}
