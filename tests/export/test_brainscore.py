"""Plugin folders for Brain-Score: what they register, compute and say, run with a stand-in of its package."""

import ast
import hashlib
import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from torch import nn

import neuroalign
from neuroalign import GuidedNetwork, PlainClassifier, export_brainscore
from neuroalign.config.described import record_arguments
from neuroalign.config.records import REGISTERED
from neuroalign.evaluation import weights_hash
from neuroalign.models.network_files import load_module
from tests.export.stand_in_brainscore import write_stand_in

SHAPE = (3, 8, 8)
REGIONS = {"V1": ("layer1", 6), "V2": ("layer1", 7), "V4": ("layer2", 8), "LO": ("layer3", 9), "TO": (None, 9)}


def guided(heads=None, shape=SHAPE, **options):
    torch.manual_seed(0)
    return GuidedNetwork(
        "small_resnet", 5, {"V4": ("layer2", 7)} if heads is None else heads, image_shape=shape, **options
    )


@pytest.fixture
def brainscore(tmp_path, monkeypatch):
    """The folder of plugins of a stand-in, which can be imported."""
    models = write_stand_in(tmp_path / "site")
    monkeypatch.syspath_prepend(tmp_path / "site")
    yield models
    for name in [n for n in sys.modules if n.split(".")[0] in ("brainscore_vision", "brainscore_core")]:
        del sys.modules[name]


@pytest.fixture
def pictures(tmp_path):
    """Two files of another size than the network's images."""
    paths = [tmp_path / f"{i}.png" for i in range(2)]
    for i, path in enumerate(paths):
        Image.fromarray(np.random.default_rng(i).integers(0, 256, (20, 30, 3), dtype=np.uint8)).save(path)
    return paths


def commitment(identifier):
    return importlib.import_module("brainscore_vision").load_model(identifier)


def test_logits_and_layers_are_the_networks(brainscore, pictures):
    network = guided(REGIONS)
    network(torch.rand(16, *SHAPE))  # batch statistics of its own
    plugin = export_brainscore(network, brainscore / "guided_small", visual_degrees=8.4)
    model = commitment(plugin.identifier)
    assert model.identifier == model.activations_model.identifier == plugin.identifier
    assert model.visual_degrees == 8.4 and model.region_layer_map == plugin.region_layer_map
    images = model.activations_model.preprocess(pictures)
    assert images.shape == (2, *SHAPE) and images.dtype == np.float32 and 0 <= images.min() < images.max() <= 1
    found = model.activations_model.get_activations(images, ["logits", *model.layers])
    assert network.training
    network.eval()
    logits, _ = network(torch.from_numpy(images), with_responses=True)
    np.testing.assert_array_equal(found["logits"], logits.detach())
    features, layers = network.trunk.forward_with_layers(torch.from_numpy(images))
    np.testing.assert_array_equal(found["trunk.backbone.layer2"], layers["layer2"].detach())
    np.testing.assert_array_equal(found["trunk"], features.detach())


def test_a_layer_before_an_activation_in_place_is_recorded_before_it(brainscore, pictures):
    network = GuidedNetwork("resnet18", 5, {"V1": ("bn1", 4)}, image_shape=(3, 32, 32)).eval()
    assert network.trunk.backbone.relu.inplace
    model = commitment(export_brainscore(network, brainscore / "guided").identifier)
    images = model.activations_model.preprocess(pictures)
    found = model.activations_model.get_activations(images, ["trunk.backbone.bn1"])["trunk.backbone.bn1"]
    assert found.min() < 0
    np.testing.assert_array_equal(found, network.trunk.forward_with_layers(torch.from_numpy(images))[1]["bn1"].detach())


def test_one_channel(brainscore, pictures):
    network = guided(shape=(1, 8, 8), mean=None, std=None, options={"in_channels": 1})
    model = commitment(export_brainscore(network, brainscore / "grey").identifier)
    assert model.activations_model.preprocess(pictures).shape == (2, 1, 8, 8)


def test_weights_from_their_storage(brainscore, tmp_path):
    plugin = export_brainscore(guided(), brainscore / "guided_small")
    stored = tmp_path / "elsewhere.safetensors"
    (plugin.folder / "network.safetensors").rename(stored)
    s3 = importlib.import_module("brainscore_core.supported_data_standards.brainio.s3")
    s3.storage[f"brainscore-storage/brainscore-vision/models/{plugin.identifier}/network.safetensors"] = stored
    images = torch.rand(2, *SHAPE)
    model = commitment(plugin.identifier).activations_model._model
    assert torch.equal(model(images), PlainClassifier(guided())(images))
    stored.write_bytes(stored.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match=f"does not hold the weights of {plugin.identifier}: its SHA-1 is"):
        importlib.import_module("brainscore_vision.models.guided_small.model").get_model()


def test_regions_without_a_layer_are_left_to_brain_score(brainscore):
    plugin = export_brainscore(guided({"V4": ("layer2", 7)}), brainscore / "guided_small")
    assert plugin.region_layer_map == {"V4": "trunk.backbone.layer2"}
    regions = commitment(plugin.identifier).region_layer_map
    assert regions["V4"] == "trunk.backbone.layer2" and regions["V1"] == "selected on public V1 among 6"
    assert "V1: selected by Brain-Score (no head of this region, and no layer given)" in plugin.message


@pytest.mark.parametrize(
    ("heads", "layer", "reason"),
    [
        (REGIONS, "trunk.backbone.layer3", "read by the head LO"),
        ({"TO": (None, 4)}, "trunk", "read by the head TO"),
        ({"it": ("layer1", 4), "LO": ("layer3", 4)}, "trunk.backbone.layer1", "read by the head it"),
        ({"V3": ("layer1", 4)}, None, "no head of this region"),
    ],
)
def test_the_layer_of_it(tmp_path, heads, layer, reason):
    plugin = export_brainscore(guided(heads), tmp_path / "guided")
    assert plugin.region_layer_map.get("IT") == layer
    assert f"IT: {layer or 'selected by Brain-Score'} ({reason}" in plugin.message
    assert "a choice" in (plugin.folder / "README.md").read_text()


def test_layers_that_the_caller_names(tmp_path):
    plugin = export_brainscore(
        guided(), tmp_path / "guided", region_layers={"IT": "layer3", "V4": "layer1"}, layers=["stem.0"], name="my-net"
    )
    assert plugin.region_layer_map == {"V4": "trunk.backbone.layer1", "IT": "trunk.backbone.layer3"}
    tree = ast.parse((plugin.folder / "model.py").read_text())
    listed = {
        t.id: n.value for n in tree.body if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)
    }
    layers = ["stem.0", "layer1", "layer3"]
    assert ast.literal_eval(listed["LAYERS"]) == [*(f"trunk.backbone.{layer}" for layer in layers), "trunk"]
    assert "2405.02564" in ast.literal_eval(listed["BIBTEX"])
    assert plugin.identifier == f"my-net-{weights_hash(PlainClassifier(guided()))[:8]}"


def test_every_file_is_valid_and_warns(tmp_path):
    plugin = export_brainscore(guided(), tmp_path / "guided_small")
    names = {str(p.relative_to(plugin.folder)) for p in plugin.folder.rglob("*") if p.is_file()}
    region_file = f"region_layer_map/{plugin.identifier}.json"
    assert names == {"__init__.py", "model.py", "test.py", "README.md", "metadata.yaml", "requirements.txt",
                     "network.safetensors", region_file}  # fmt: skip
    for name in ("__init__.py", "model.py", "test.py", "metadata.yaml"):
        text = (plugin.folder / name).read_text()
        assert text.startswith("# The benchmarks Allen2022_fmri.* and Allen2022_fmri_surface.* ARE the Natural Scenes")
        if name.endswith(".py"):
            compile(text, name, "exec")
    assert "ARE the Natural Scenes Dataset" in (plugin.folder / "README.md").read_text()
    assert "ARE the Natural Scenes Dataset" in plugin.message
    assert json.loads((plugin.folder / region_file).read_text()) == plugin.region_layer_map
    (entry,) = yaml.safe_load((plugin.folder / "metadata.yaml").read_text())["models"].values()
    assert entry["total_parameter_count"] == sum(p.numel() for p in PlainClassifier(guided()).parameters())
    assert "NSD" in entry["extra_notes"]
    assert (plugin.folder / "requirements.txt").read_text() == f"neuroalign>={neuroalign.__version__}\n"


def test_other_weights_have_another_identifier_and_heads_stay_at_home(tmp_path):
    first, again = (export_brainscore(guided(), tmp_path / f"v{i}", name="net") for i in (1, 2))
    assert first.identifier == again.identifier
    changed = guided()
    with torch.no_grad():
        changed.classifier.bias[0] += 1
    assert export_brainscore(changed, tmp_path / "v3", name="net").identifier != first.identifier
    content = (first.folder / "network.safetensors").read_bytes()
    assert hashlib.sha1(content).hexdigest() == first.sha1
    saved = load_module(first.folder / "network.safetensors", "network")
    assert not len(saved.heads)  # their weights are fitted to one brain's voxels


class OfMine(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(192, 4)

    def forward(self, images):
        return self.linear(images.flatten(1))


@pytest.mark.parametrize(
    ("make", "options", "error", "message"),
    [
        (lambda: nn.Linear(2, 2), {}, TypeError, "made of a GuidedNetwork; got a Linear"),
        (
            lambda: GuidedNetwork(OfMine(), 5, image_shape=SHAPE),
            {},
            ValueError,
            r"rebuild the network, whose backbone is a \S+\.OfMine, no network known by a name: give the backbone by name$",
        ),
        (guided, {"name": "a']; import os; ['"}, ValueError, "the name must be made of letters"),
        (guided, {"region_layers": {"V8": "layer1"}}, ValueError, "unknown region of Brain-Score 'V8'; did you mean"),
        (guided, {"region_layers": {"V1": "layer9"}}, ValueError, "layer9.*did you mean"),
        (guided, {"visual_degrees": 0}, ValueError, "visual_degrees must be positive; got 0"),
    ],
    ids=["no network", "own module", "name", "region", "layer", "degrees"],
)
def test_what_is_refused(tmp_path, make, options, error, message):
    with pytest.raises(error, match=message):
        export_brainscore(make(), tmp_path / "guided", **options)
    assert not list(tmp_path.iterdir())


def test_a_registered_class_is_refused_because_brain_score_cannot_import_it(tmp_path, monkeypatch):
    registered = type("Registered", (OfMine,), {})
    monkeypatch.setitem(REGISTERED, "mylab.Registered", registered)
    record_arguments(registered)
    network = GuidedNetwork(registered(), 5, image_shape=SHAPE)
    with pytest.raises(ValueError, match=r"Brain-Score can't import mylab.Registered, a class of your own"):
        export_brainscore(network, tmp_path / "guided")


def test_folders(tmp_path):
    with pytest.raises(ValueError, match="the folder's name must be made of letters"):
        export_brainscore(guided(), tmp_path / "my.model", name="net")
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="exists and is not empty"):
        export_brainscore(guided(), tmp_path / "taken")
    assert [p.name for p in tmp_path.rglob("*")] == ["taken", "notes.txt"]


@pytest.mark.slow
def test_the_plugins_own_test_passes(tmp_path):
    plugin = export_brainscore(guided(REGIONS), write_stand_in(tmp_path) / "guided_small")
    roots = os.pathsep.join([str(tmp_path), str(Path(neuroalign.__file__).parents[1])])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "brainscore_vision/models/guided_small/test.py"],
        cwd=tmp_path, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": roots},
    )  # fmt: skip
    assert done.returncode == 0 and "2 passed" in done.stdout, done.stdout[-3000:]
    assert plugin.identifier in (plugin.folder / "__init__.py").read_text()
