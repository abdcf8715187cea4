"""Files from strangers through every command and loader: nothing in them is run, and one line says why not."""

import json
import pickle
import sys

import lightning as L
import pytest
import torch
from safetensors.torch import save_file

from neuroalign import GuidedClassificationTask, GuidedNetwork, NeuralPredictionTask, NeuralPredictor, PredictedGuidance
from neuroalign.__main__ import main

NETWORK = {
    "class_path": "neuroalign.models.GuidedNetwork",
    "init_args": {"backbone": "small_resnet", "num_classes": 10, "image_shape": [3, 8, 8]},
}
HARMFUL = ["module", "outside", "own module", "nested", "sibling", "robust training", "no class", "deep", "wrong type"]


class Pickled:
    """Runs a command where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.path}",)


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A file that the hostile files try to make, and a module that they try to import."""
    (tmp_path / "canary_module.py").write_text(
        "import pathlib\n"
        f"pathlib.Path({str(tmp_path / 'canary')!r}).touch()\n"
        "from torch.nn import Identity as Thing\n"
        "def make(cls, config):\n"
        "    return cls(**config)\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "canary"
    assert not (tmp_path / "canary").exists()
    assert "canary_module" not in sys.modules


def harmful(kind, canary):
    system = {"class_path": "neuroalign.files.os.system", "init_args": {"command": f"touch {canary}"}}
    deep = system
    for _ in range(120):
        deep = {"class_path": "neuroalign.models.Frozen", "init_args": {"module": deep}}
    return {
        "module": system,
        "outside": {"class_path": "os.system", "init_args": {"command": f"touch {canary}"}},
        "own module": {"class_path": "canary_module.Thing", "init_args": {}},
        "nested": {**NETWORK, "init_args": {**NETWORK["init_args"], "backbone": system}},
        "sibling": {**NETWORK, "init_args": {**NETWORK["init_args"], "heads": {"V1": ("layer1", 3), "V4": system}}},
        "robust training": {"class_path": "neuroalign.tasks.TRADES", "init_args": {"eps": 0.1}},
        "no class": {"class_path": "neuroalign.models.build_backbone", "init_args": {"name": "small_resnet"}},
        "deep": deep,
        "wrong type": "neuroalign.models.GuidedNetwork",
    }[kind]


def checkpoint(path, name, description, **more):
    """A task's checkpoint whose module of this name is described so."""
    weights = GuidedNetwork("small_resnet", 10, image_shape=(3, 8, 8)).state_dict()
    sound = {} if name in ("network", "predictor") else {"network": NETWORK}
    content = {
        "state_dict": {f"{name}.{k}": v for k, v in weights.items()},
        "hyper_parameters": {**sound, name: description},
        "pytorch-lightning_version": L.__version__,
        **more,
    }
    torch.save(content, path)
    return path


def one_line(error):
    assert len(str(error).splitlines()) == 1 and len(str(error)) < 1000


@pytest.mark.parametrize("kind", HARMFUL)
@pytest.mark.parametrize(
    ("task", "name"),
    [(GuidedClassificationTask, "network"), (GuidedClassificationTask, "guidance"),
     (GuidedClassificationTask, "robust_training"), (NeuralPredictionTask, "predictor"), (NeuralPredictionTask, "loss")],
)  # fmt: skip
@pytest.mark.parametrize("weights_only", [None, True])
def test_tasks(task, name, kind, weights_only, canary, tmp_path):
    if name == "robust_training" and kind == "robust training":
        kind = "module"
    if name == "loss" and kind == "wrong type":
        kind = "nested"  # a string names a measure there
    path = checkpoint(tmp_path / "task.ckpt", name, harmful(kind, canary))
    if name == "loss":
        sound = {"class_path": "neuroalign.models.NeuralPredictor", "init_args": {"backbone": "small_resnet", "num_voxels": 3,
                 "image_shape": [3, 8, 8]}}  # fmt: skip
        content = torch.load(path)
        content["hyper_parameters"]["predictor"] = sound
        torch.save(content, path)
    with pytest.raises(ValueError, match=r"task\.ckpt(: | is no checkpoint of )") as refused:
        task.load_from_checkpoint(path, weights_only=weights_only)
    one_line(refused.value)


@pytest.mark.parametrize("kind", HARMFUL)
@pytest.mark.parametrize("suffix", ["ckpt", "safetensors"])
def test_predictors(suffix, kind, canary, tmp_path):
    path = tmp_path / f"p.{suffix}"
    if suffix == "ckpt":
        checkpoint(path, "predictor", harmful(kind, canary))
    else:
        save_file({"x": torch.zeros(1)}, path, metadata={"neuroalign": json.dumps(harmful(kind, canary))})
    for load in (NeuralPredictor.load, lambda p: PredictedGuidance({"V4": str(p)})):
        with pytest.raises(ValueError, match=r"p\.(ckpt|safetensors)") as refused:
            load(path)
        one_line(refused.value)


@pytest.mark.parametrize("task", [GuidedClassificationTask, NeuralPredictionTask])
@pytest.mark.parametrize("instantiator", ["canary_module.make", "lightning.pytorch.cli.instantiate_module"])
def test_a_checkpoint_does_not_say_who_builds_it(task, instantiator, canary, tmp_path):
    thing = {"class_path": "canary_module.Thing", "init_args": {}}
    path = checkpoint(tmp_path / "task.ckpt", "network", thing)
    content = torch.load(path)
    content["hyper_parameters"].update(predictor=thing, _instantiator=instantiator)
    torch.save(content, path)
    with pytest.raises(ValueError, match=r"task\.ckpt: 'canary_module\.Thing' is no class of neuroalign's"):
        task.load_from_checkpoint(path)


def test_a_checkpoint_with_an_instantiator_still_loads(tmp_path):
    path = checkpoint(tmp_path / "task.ckpt", "network", NETWORK)
    content = torch.load(path)
    content["hyper_parameters"]["_instantiator"] = "lightning.pytorch.cli.instantiate_module"
    torch.save(content, path)
    assert GuidedClassificationTask.load_from_checkpoint(path).network.num_classes == 10


def test_pickles(canary, tmp_path):
    path = checkpoint(tmp_path / "task.ckpt", "network", NETWORK, extra=Pickled(canary))
    (tmp_path / "plain.ckpt").write_bytes(pickle.dumps(Pickled(canary), protocol=2))
    for file in (path, tmp_path / "plain.ckpt"):
        for load in (GuidedClassificationTask.load_from_checkpoint, NeuralPredictor.load):
            with pytest.raises(ValueError, match=r"is no checkpoint.*damaged,? or ") as refused:
                load(file)
            one_line(refused.value)


def test_every_part_of_a_checkpoint_of_a_wrong_type(tmp_path):
    parts = [
        ("hyper_parameters", v) for v in (3, "x", [1], {"network": 3}, {"weight": "much", "network": NETWORK}, {1: 2})
    ]
    parts += [("state_dict", v) for v in (3, "x", [1])]
    for i, (part, value) in enumerate(parts):
        path = checkpoint(tmp_path / f"task{i}.ckpt", "network", NETWORK, **{part: value})
        with pytest.raises(ValueError, match=rf"task{i}\.ckpt|give a network"):
            GuidedClassificationTask.load_from_checkpoint(path)


@pytest.fixture
def run(monkeypatch):
    """The command line with these arguments, as a shell gives them."""

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["neuroalign", *map(str, arguments)])
        main()

    return run


@pytest.fixture
def refused(run, capsys):
    """The one line with which a command ends."""

    def refused(*arguments):
        with pytest.raises(SystemExit) as stopped:
            run(*arguments)
        printed = capsys.readouterr().err
        assert stopped.value.code == 2 and "Traceback" not in printed
        lines = [line for line in printed.splitlines() if line and not line.startswith("Seed set")]
        assert len(lines) == 1 and lines[0].startswith(f"neuroalign {arguments[0]}: "), printed
        return lines[0]

    return refused


@pytest.mark.parametrize("kind", [*HARMFUL, "pickle"])
@pytest.mark.parametrize("command", ["evaluate", "geometry"])
def test_commands_that_take_a_checkpoint(command, kind, canary, tmp_path, refused):
    more = {"extra": Pickled(canary)} if kind == "pickle" else {}
    path = checkpoint(tmp_path / "task.ckpt", "network", NETWORK if more else harmful(kind, canary), **more)
    layers = ["--layers", "network"] if command == "geometry" else []
    arguments = [command, "--ckpt", path, "--data", "digits", "--out", tmp_path / "out", *layers]
    assert "task.ckpt" in refused(*arguments)


CONFIG = """
trainer: {{accelerator: cpu, logger: false, enable_checkpointing: false, enable_progress_bar: false, max_epochs: 1,
  enable_model_summary: false, default_root_dir: {folder}}}
model:
  class_path: neuroalign.tasks.GuidedClassificationTask
  init_args: {model}
data:
  class_path: neuroalign.data.GuidanceDataModule
  init_args: {{dataset: digits}}
"""


def configuration(folder, **model):
    path = folder / "config.yaml"
    path.write_text(CONFIG.format(folder=folder, model=json.dumps(model)))
    return path


@pytest.mark.parametrize("kind", ["module", "outside", "nested", "sibling", "no class", "robust training"])
@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_configurations(command, kind, canary, tmp_path, refused):
    path = configuration(tmp_path, network=harmful(kind, canary))
    more = [] if command == "fit" else ["--ckpt_path", tmp_path / "none.ckpt"]
    refused(command, "--config", path, *more)
    assert not canary.exists() and "canary_module" not in sys.modules


@pytest.mark.parametrize("where", ["guidance", "robust_training"])
def test_configurations_of_other_parts(where, canary, tmp_path, refused):
    path = configuration(tmp_path, network=NETWORK, **{where: harmful("module", canary)})
    assert "neuroalign.files.os.system" in refused("fit", "--config", path)


@pytest.mark.parametrize("command", ["fit", "validate", "test", "predict"])
def test_pickles_as_ckpt_path(command, canary, tmp_path, refused):
    path = configuration(tmp_path, network=NETWORK)
    hostile = checkpoint(tmp_path / "task.ckpt", "network", NETWORK, extra=Pickled(canary))
    line = refused(command, "--config", path, "--ckpt_path", hostile)
    assert "more than tensors and plain values" in line


@pytest.mark.parametrize("command", ["validate", "test"])
def test_descriptions_in_a_ckpt_path_are_not_built(command, canary, tmp_path, run):
    path = configuration(tmp_path, network=NETWORK)
    hostile = checkpoint(tmp_path / "task.ckpt", "network", harmful("module", canary), epoch=0, global_step=0)
    limit = f"--trainer.limit_{'val' if command == 'validate' else 'test'}_batches=1"
    run(command, "--config", path, "--ckpt_path", hostile, limit)
    assert not canary.exists() and "canary_module" not in sys.modules


def test_what_is_wrong_with_a_configuration_is_one_line(tmp_path, refused):
    path = configuration(tmp_path, network={**NETWORK, "init_args": {"backbone": "resnet19", "num_classes": 10}})
    assert "unknown torchvision model 'resnet19'" in refused("fit", "--config", path)
    guidance = {"class_path": "neuroalign.guidance.PredictedGuidance", "init_args": {"predictors": {"V4": "no.ckpt"}}}
    path = configuration(tmp_path, network=NETWORK, guidance=guidance)
    assert "no predictor at no.ckpt" in refused("fit", "--config", path)
