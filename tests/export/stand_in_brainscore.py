"""A stand-in for brain-score/vision: the few names that a plugin imports, with the behaviour that a plugin relies on."""

from __future__ import annotations

from pathlib import Path

FILES = {
    "brainscore_vision/__init__.py": """
import importlib
from pathlib import Path

model_registry = {}


def load_model(identifier):
    plugins = Path(__file__).parent / "models"
    registers = f"model_registry['{identifier}']"
    found = [p for p in plugins.iterdir() if registers in (p / "__init__.py").read_text().replace('"', "'")]
    (folder,) = found
    importlib.import_module(f"brainscore_vision.models.{folder.name}")
    return model_registry[identifier]()
""",
    "brainscore_vision/model_helpers/__init__.py": "",
    "brainscore_vision/model_helpers/activations/__init__.py": "",
    "brainscore_vision/model_helpers/activations/pytorch.py": """
import torch
from PIL import Image


def load_images(paths):
    return [Image.open(path).convert("RGB") for path in paths]


class PytorchWrapper:
    def __init__(self, model, preprocessing, identifier=None):
        self._model, self.preprocess, self.identifier = model, preprocessing, identifier

    def layer(self, name):
        if name == "logits":  # the last of the last
            module = self._model
            while module._modules:
                module = module._modules[next(reversed(module._modules))]
            return module
        module = self._model
        for part in name.split("."):
            module = module._modules[part]
        return module

    def get_activations(self, images, layers):
        images = torch.stack([torch.from_numpy(image) for image in images])
        found = {}
        for name in layers:
            # As theirs: not a copy, so that an operation in place afterwards would change it.
            self.layer(name).register_forward_hook(lambda m, i, o, name=name: found.update({name: o.data.numpy()}))
        self._model.eval()
        with torch.no_grad():
            self._model(images)
        return found
""",
    "brainscore_vision/model_helpers/brain_transformation/__init__.py": """
import json
from pathlib import Path

import brainscore_vision

STANDARD_REGION_BENCHMARKS = {"V1": "public V1", "V2": "public V2", "V4": "public V4", "IT": "public IT"}


class LayerSelection:
    def __init__(self, model_identifier, activations_model, layers, visual_degrees):
        self.layers = layers

    def __call__(self, selection_identifier, benchmark):
        return f"selected on {benchmark} among {len(self.layers)}"


class RegionLayerMap(dict):
    def __init__(self, layer_selection, region_benchmarks):
        super().__init__()
        self.layer_selection, self.region_benchmarks = layer_selection, region_benchmarks

    def __missing__(self, region):
        self[region] = self.layer_selection(region, self.region_benchmarks[region])
        return self[region]


class ModelCommitment:
    def __init__(self, identifier, activations_model, layers, region_layer_map=None, visual_degrees=8):
        self.identifier, self.activations_model, self.layers = identifier, activations_model, layers
        self.visual_degrees = visual_degrees
        if region_layer_map is None:
            plugins = Path(brainscore_vision.__file__).parent / "models"
            (file,) = plugins.glob(f"*/region_layer_map/{identifier}.json")
            region_layer_map = json.loads(file.read_text())
        self.region_layer_map = region_layer_map
""",
    "brainscore_core/__init__.py": "",
    "brainscore_core/supported_data_standards/__init__.py": "",
    "brainscore_core/supported_data_standards/brainio/__init__.py": "",
    "brainscore_core/supported_data_standards/brainio/s3.py": """
storage = {}


def load_weight_file(bucket, relative_path, sha1, version_id, folder_name):
    return storage[f"{bucket}/{folder_name}/{relative_path}"]
""",
}


def write_stand_in(root: Path) -> Path:
    """Write the packages into a folder; return that of plugins."""
    for name, text in FILES.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    models = root / "brainscore_vision" / "models"
    models.mkdir()
    return models
