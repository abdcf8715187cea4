"""Descriptions: what they rebuild, and that nothing else can be reached by one."""

import copy
import json
import pickle
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import neuroalign
from neuroalign import (
    CategoryManifolds,
    GuidedNetwork,
    ManifoldGuidance,
    NeuralPredictor,
    PredictedGuidance,
    StandardizedPredictor,
    register,
)
from neuroalign.config import DescriptionError, build, describe, description_of
from neuroalign.config.classes import MAX_DEPTH, REGISTERED
from neuroalign.losses import MMCRLoss
from neuroalign.tasks import AdversarialTraining

GOOD = {"class_path": "neuroalign.models.Normalize", "init_args": {"mean": [0.5], "std": [0.2]}}


def of(path, /, **arguments):
    return {"class_path": path, "init_args": arguments}


@pytest.fixture
def canary(tmp_path, monkeypatch):
    """A file that hostile descriptions try to make, and a module that they try to import."""
    (tmp_path / "canary_module.py").write_text(
        "import pathlib\n"
        f"pathlib.Path({str(tmp_path / 'canary')!r}).touch()\n"
        "from torch.nn import Linear as Thing\n"
        "from neuroalign.models import Normalize\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path / "canary"
    assert not (tmp_path / "canary").exists()
    assert "canary_module" not in sys.modules


@pytest.fixture
def registry():
    """The registered classes, put back afterwards."""
    before = dict(REGISTERED)
    yield REGISTERED
    REGISTERED.clear()
    REGISTERED.update(before)


def hostile(canary):
    """Descriptions that would do harm, by name."""
    touch = f"touch {canary}"
    system = of("neuroalign.files.os.system", command=touch)
    folder = str(canary.parent / "folder")
    return {
        "os.system": of("os.system", command=touch),
        "subprocess": of("subprocess.run", args=["touch", str(canary)]),
        "builtin": of("builtins.exec", source="1"),
        "own module": of("canary_module.Thing", in_features=1, out_features=1),
        "own module that imports ours": of("canary_module.Normalize", **GOOD["init_args"]),
        "module of a module": system,
        "module of a class's module": of("neuroalign.models.networks.os.system", command=touch),
        "module of the lazy root": of("neuroalign.models.os.system", command=touch),
        "rmtree": of("neuroalign.files.shutil.rmtree", path=folder),
        "import_module": of("neuroalign.config.classes.importlib.import_module", name="canary_module"),
        "private import_module": of("neuroalign._import_module", name="canary_module"),
        "torch's module": of("neuroalign.models.networks.nn.Linear", in_features=1, out_features=1),
        "torch's load": of("neuroalign.models.networks.torch.load", f="x", weights_only=False),
        "class of another package": of("neuroalign.losses.registry.nn.Linear", in_features=1, out_features=1),
        "function of ours": of("neuroalign.models.build_backbone", name="small_resnet"),
        "decorator of ours": of("neuroalign.losses.registry.register_measure", name="x"),
        "function of ours in a private place": of("neuroalign.files.whole", path=str(canary)),
        "container of ours": of("neuroalign.losses.MEASURES.clear"),
        "dunder": of("neuroalign.models.Normalize.__class__"),
        "reaches globals": of("neuroalign.models.Normalize.__init__.__globals__"),
        "method that reads": of("neuroalign.CategoryManifolds.load", path=str(canary)),
        "staticmethod that reads": of("neuroalign.models.NeuralPredictor.load", path=str(canary)),
        "classmethod that measures": of("neuroalign.losses.CategoryManifolds.from_features", features=[], labels=[]),
        "method": of("neuroalign.models.Normalize.eval"),
        "DataModule": of("neuroalign.data.NSDDataModule", root=str(canary)),
        "task": of("neuroalign.tasks.NeuralPredictionTask", predictor=GOOD),
        "task of the root": of("neuroalign.GuidedClassificationTask", network=GOOD),
        "callback": of("neuroalign.callbacks.RobustnessCallback"),
        "command": of("neuroalign.commands.evaluate.run", args=None),
        "main": of("neuroalign.__main__.main", argv=["demo"]),
        "study": of("neuroalign.study.study.Study"),
        "plain class": of("neuroalign.losses.registry.Measure", function="x"),
        "abstract": of("neuroalign.guidance.TargetGuidance"),
        "private class": of("neuroalign.models.smallnet._Block", inputs=1, outputs=1, stride=1),
        "root alone": of("neuroalign"),
        "room alone": of("neuroalign.models"),
        "no such room": of("neuroalign.nothing.Normalize"),
        "no such class": of("neuroalign.models.Nothing"),
        "empty": of(""),
        "dots": of("neuroalign..models.Normalize"),
        "letters that look alike": of("neuroalign.models.Νormalize"),
        "space": of("neuroalign.models. Normalize"),
        "very long": of("neuroalign." + "a" * 10_000_000),
        "path is no string": of(["neuroalign", "models"]),
        "arguments are a list": {**GOOD, "init_args": [[0.5], [0.2]]},
        "arguments are a string": {**GOOD, "init_args": "mean"},
        "argument names are numbers": {**GOOD, "init_args": {1: [0.5]}},
        "further key": {**GOOD, "dict_kwargs": {"x": 1}},
        "argument that is none": of("neuroalign.models.Normalize", mean=[0.5], std=[0.2], sdt=[0.2]),
        "argument that is missing": of("neuroalign.models.NeuralPredictor", backbone="small_resnet"),
        "argument of a wrong type": of("neuroalign.models.Normalize", mean=0.5, std=0.2),
        "text for a number": of("neuroalign.models.NeuralPredictor", backbone="small_resnet", num_voxels="many"),
        "out of memory": of("neuroalign.models.SmallResNet", widths=[10**9, 10**9], in_channels=10**9),
        "in an argument": of("neuroalign.models.Frozen", module=system),
        "in a list of an argument": of("neuroalign.guidance.WeightedGuidance", guidances=[GOOD, [system]]),
        "in a mapping of an argument": of("neuroalign.guidance.PredictedGuidance", predictors={"V4": system}),
        "after a sound one": [GOOD, {"x": GOOD, "y": system}],
        "nested 10,000 deep": deep(10_000),
        "lists 100,000 deep": of("neuroalign.models.Frozen", module=deep_list(100_000)),
        "doubles at every level": of("neuroalign.models.Frozen", module=doubling(60)),
        "holds itself": cyclic(),
        "file of a predictor": of("neuroalign.guidance.PredictedGuidance", predictors={"V4": str(canary)}),
        "file of manifolds": of("neuroalign.guidance.ManifoldGuidance", manifolds={"V4": str(canary)}),
        "pretrained weights": of("neuroalign.models.Trunk", backbone="resnet18", weights="DEFAULT"),
        "weights among options": of("neuroalign.models.Trunk", backbone="timm:resnet18", options={"checkpoint_path": "x"}),
        "model of a hub": of("neuroalign.models.Trunk", backbone="timm:hf-hub:somebody/model"),
    }  # fmt: skip


def deep(levels):
    value = GOOD
    for _ in range(levels):
        value = of("neuroalign.models.Frozen", module=value)
    return value


def deep_list(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


def doubling(levels):
    value = [1]
    for _ in range(levels):
        value = [value, value]
    return value


def cyclic():
    value = of("neuroalign.models.Frozen")
    value["init_args"]["module"] = value
    return value


HOSTILE = sorted(hostile(Path("canary")))


@pytest.mark.parametrize("name", HOSTILE)
def test_nothing_else_is_built(name, canary):
    (canary.parent / "folder").mkdir()
    with pytest.raises(DescriptionError) as refused:
        build(hostile(canary)[name])
    assert len(str(refused.value).splitlines()) == 1 or name == "out of memory"
    assert len(str(refused.value)) < 2000
    assert (canary.parent / "folder").is_dir()


@pytest.mark.parametrize("where", ["first", "last"])
def test_all_of_it_is_checked_before_anything_is_made(where, monkeypatch):
    made = []
    monkeypatch.setattr(neuroalign.models.Normalize, "__init__", lambda self, mean, std: made.append(mean))
    parts = [GOOD, of("neuroalign.files.os.system", command="true")]
    with pytest.raises(DescriptionError, match=r"neuroalign\.files\.os\.system"):
        build(parts if where == "last" else parts[::-1])
    with pytest.raises(DescriptionError, match="no argument 'nothing'"):
        build([GOOD, of("neuroalign.models.Frozen", module=GOOD, nothing=1)])
    assert made == []


def test_names_are_checked_before_rooms_are_loaded():
    code = (
        "import sys\n"
        "from neuroalign.config import build\n"
        "good = {'class_path': 'neuroalign.models.Normalize', 'init_args': {}}\n"
        "try:\n"
        "    build([good, {'class_path': 'os.system', 'init_args': {'command': 'true'}}])\n"
        "except ValueError:\n"
        "    print('torch' in sys.modules, 'neuroalign.models' in sys.modules)\n"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.split() == ["False", "False"]


def test_round_trip_of_a_network():
    network = GuidedNetwork("small_resnet", 5, {"V4": ("layer2", 7)}, image_shape=(3, 8, 8)).eval()
    again = build(network.config).eval()
    again.load_state_dict(network.state_dict())
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(again(images), network(images))


@pytest.mark.parametrize(
    "path",
    ["neuroalign.models.Normalize", "neuroalign.Normalize", "neuroalign.models.backbones.Normalize"],
)
def test_every_public_place_of_a_class(path):
    assert type(build({**GOOD, "class_path": path})) is neuroalign.models.Normalize


@pytest.mark.parametrize("room", ["neuroalign", "neuroalign.losses", "neuroalign.losses.categories"])
def test_the_classmethod_that_constructs(room):
    manifolds = build(of(f"{room}.CategoryManifolds.zeros", num_features=3, ranks=[1, 2]))
    assert manifolds.centers.shape == (2, 3) and manifolds.padded_bases.shape == (2, 3, 2)


def test_attacks_and_robust_training_are_built():
    assert type(build(of("neuroalign.perturbations.PGD", steps=3))) is neuroalign.PGD
    assert build(of("neuroalign.TRADES", eps=0.1)).eps == 0.1


def test_what_is_no_description_comes_back():
    module, tensor = nn.Linear(1, 1), torch.zeros(2)
    assert build(module) is module and build(tensor) is tensor and build("V1") == "V1" and build(None) is None
    assert build({"a": [1, {"b": 2.5}], "c": None}) == {"a": [1, {"b": 2.5}], "c": None}
    assert build(of("neuroalign.models.Frozen", module=module)).module is module  # an object of the caller's own


def test_a_description_of_another_kind_is_told():
    with pytest.raises(DescriptionError, match=r"a Module, or the description of one, is needed; got .*TRADES"):
        build(of("neuroalign.TRADES", eps=0.1), nn.Module)
    with pytest.raises(DescriptionError, match="is needed; got int"):
        build(3, nn.Module)


def test_as_deep_as_allowed():
    assert isinstance(build(deep(MAX_DEPTH // 2 - 3)), nn.Module)
    with pytest.raises(DescriptionError, match=f"more than {MAX_DEPTH} levels"):
        build(deep(MAX_DEPTH))


def test_only_a_description_is_refused_files_and_downloads(tmp_path, registry):
    predictor = NeuralPredictor("small_resnet", 3, image_shape=(3, 8, 8))
    predictor.save(tmp_path / "p.safetensors")
    manifolds = CategoryManifolds.from_features(torch.randn(20, 3), torch.arange(20) % 2)
    manifolds.save(tmp_path / "m.safetensors")
    PredictedGuidance({"V4": tmp_path / "p.safetensors"})
    ManifoldGuidance({"V4": tmp_path / "m.safetensors"})

    @register(name="test.Reads")
    class Reads(PredictedGuidance):
        def __init__(self, path):
            super().__init__({"V4": path})

    assert isinstance(build(of("test.Reads", path=str(tmp_path / "p.safetensors"))), Reads)  # its author's decision


class Retina(nn.Sequential):
    """A class of the user's."""

    def __init__(self, width, *, bias=True):
        super().__init__(nn.Flatten(), nn.Linear(192, width, bias=bias))


def test_a_users_class_is_rebuilt_only_where_it_is_registered(tmp_path, registry):
    retina = register(name="my_lab.Retina")(type("Retina", (Retina,), {"__init__": Retina.__init__}))
    NeuralPredictor(Retina(4), 3, image_shape=(3, 8, 8)).save(tmp_path / "unregistered.safetensors")
    with pytest.raises(
        DescriptionError,
        match=r"tests\.test_config\.Retina needs arguments \(width\), .* neuroalign\.register was called on before",
    ):
        NeuralPredictor.load(tmp_path / "unregistered.safetensors")
    predictor = NeuralPredictor(retina(4, bias=False), 3, image_shape=(3, 8, 8)).eval()
    predictor.save(tmp_path / "p.safetensors")
    again = NeuralPredictor.load(tmp_path / "p.safetensors").eval()
    assert type(again.trunk.backbone) is retina
    images = torch.rand(2, 3, 8, 8)
    torch.testing.assert_close(again(images), predictor(images), rtol=0, atol=0)
    assert description_of(again) == description_of(predictor)
    del registry["my_lab.Retina"]
    with pytest.raises(DescriptionError, match=r"p\.safetensors: 'my_lab\.Retina' .* call neuroalign\.register on it"):
        NeuralPredictor.load(tmp_path / "p.safetensors")


def test_a_registered_class_keeps_its_arguments(registry):
    @register
    class Mine(nn.Module):
        def __init__(self, sizes, inner=None, **options):
            super().__init__()
            sizes.append(0)  # what happens to them later is no matter
            self.inner, self.config = inner, {"not": "ours"}

    name = next(path for path, cls in registry.items() if cls is Mine)
    assert name.startswith(f"{__name__}.")
    mine = Mine([1, 2], MMCRLoss(), depth=3)
    described = description_of(mine)
    assert described["init_args"]["sizes"] == [1, 2] and described["init_args"]["depth"] == 3
    assert described["init_args"]["inner"]["class_path"] == "neuroalign.losses.MMCRLoss"
    assert mine.config == {"not": "ours"}
    assert description_of(copy.deepcopy(mine)) == described
    assert isinstance(build(described).inner, MMCRLoss)
    assert description_of(Mine([1], nn.Linear(1, 1))) is None  # torch's module has none

    class Child(Mine):
        def __init__(self):
            super().__init__([3])

    assert description_of(Child()) is None


def test_names_of_registered_classes(registry):
    register(name="my_lab.A")(type("A", (), {}))
    with pytest.raises(ValueError, match=r"'my_lab\.A' is registered already"):
        register(name="my_lab.A")(type("B", (), {}))
    register(name="my_lab.A")(type("A", (), {}))  # a cell of a notebook, run again
    with pytest.raises(ValueError, match="names in neuroalign are its own"):
        register(name="neuroalign.models.Normalize")(type("C", (), {}))
    with pytest.raises(TypeError, match="takes a class"):
        register(print)


def test_a_foreign_module_has_no_description():
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    assert NeuralPredictor(backbone, 3, image_shape=(3, 8, 8)).config is None
    assert describe("neuroalign.models.Frozen", module=lambda x: x) is None


@pytest.mark.parametrize("config", [{"width": 3}, {"class_path": "neuroalign.models.Normalize"}, {"class_path": 3}])
def test_a_config_of_anothers_is_no_description(config):
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    backbone.config = config
    assert NeuralPredictor(backbone, 3, image_shape=(3, 8, 8)).config is None


def test_a_subclass_is_not_described_as_its_parent(tmp_path):
    class Mine(NeuralPredictor):
        pass

    mine = Mine("small_resnet", 3, image_shape=(3, 8, 8))
    assert description_of(mine) is None
    assert StandardizedPredictor(mine).config is None
    with pytest.raises(ValueError, match="no description to save"):
        mine.save(tmp_path / "p.safetensors")

    class Training(AdversarialTraining):
        pass

    assert description_of(Training(0.1)) is None and description_of(AdversarialTraining(0.1)) is not None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "is no JSON"),
        ("[" * 100_000, "is no JSON"),
        ('{"class_path": NaN}', "class_path must be a string"),
        ("null", "does not describe a predictor"),
        ("3", "does not describe a predictor"),
        ('"neuroalign.models.NeuralPredictor"', "does not describe a predictor"),
        ("[]", "does not describe a predictor"),
        ("{}", "does not describe a predictor"),
        (json.dumps(["x" * 30_000_000]), "does not describe a predictor"),
        (json.dumps(of("neuroalign.models.Frozen", module=list(range(2_000_001)))), "more than 2,000,000 values"),
        (json.dumps(of("neuroalign.TRADES", eps=0.1)), "a Module, or the description of one, is needed"),
        (json.dumps(of("neuroalign.models.Frozen", module="x")), "a Module, or the description of one, is needed"),
        (json.dumps(GOOD), "the weights are not those of the network that it describes"),
    ],
    ids=range(13),
)
def test_metadata_that_describes_no_predictor(text, message, tmp_path):
    save_file({"x": torch.zeros(1)}, tmp_path / "p.safetensors", metadata={"neuroalign": text})
    with pytest.raises(ValueError, match=message) as refused:
        NeuralPredictor.load(tmp_path / "p.safetensors")
    assert "p.safetensors" in str(refused.value) and len(str(refused.value)) < 500


@pytest.mark.parametrize(
    "checkpoint",
    [3, [1], {}, {"state_dict": 3}, {"hyper_parameters": 3, "state_dict": {}}, {"hyper_parameters": {}, "state_dict": {}},
     {"hyper_parameters": {"predictor": 3}, "state_dict": {}}, {"hyper_parameters": {"predictor": [GOOD]}, "state_dict": {}},
     {"hyper_parameters": {"predictor": GOOD}, "state_dict": {3: 4}}, "pickle", "text", "empty"],
    ids=str,
)  # fmt: skip
def test_a_checkpoint_of_no_predictor(checkpoint, tmp_path):
    path = tmp_path / "p.ckpt"
    if checkpoint == "pickle":
        path.write_bytes(pickle.dumps(nn.Linear(1, 1), protocol=2))
    elif checkpoint in ("text", "empty"):
        path.write_text("" if checkpoint == "empty" else "nothing of the kind")
    else:
        torch.save(checkpoint, path)
    with pytest.raises(ValueError, match=r"p\.ckpt"):
        NeuralPredictor.load(path)


@pytest.mark.parametrize(
    "arguments",
    [{"backbone": "a" * 3_000_000}, {"backbone": "small_resnet", "num_voxels": 10**4000}],
    ids=["name", "number"],
)
def test_what_a_file_says_is_not_quoted_at_length(arguments):
    arguments = {"num_voxels": 3, "image_shape": [3, 8, 8], **arguments}
    with pytest.raises(DescriptionError) as refused:
        build({"class_path": "neuroalign.models.NeuralPredictor", "init_args": arguments})
    assert len(str(refused.value)) < 1000 and "\n" not in str(refused.value)
