"""Networks as plugin folders for Brain-Score's vision models, written as text without importing its package."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from torch import nn

from neuroalign.citations import bibtex
from neuroalign.config.markers import own_modules
from neuroalign.export.brainscore_layers import IT_NOTE, RegionLayer, candidate_layers, region_layers_of
from neuroalign.export.folders import check_absent, whole_folder
from neuroalign.export.plain import PlainClassifier, backbone_name, unwrapped
from neuroalign.files import readable_size
from neuroalign.models import GuidedNetwork
from neuroalign.models.network_files import save_module
from neuroalign.version import __version__

__all__ = ["BrainScorePlugin", "export_brainscore"]

WARNING = (
    "The benchmarks Allen2022_fmri.* and Allen2022_fmri_surface.* ARE the Natural Scenes Dataset (NSD).",
    "A network that was guided by responses of NSD, or by predictors fitted to them, is not independent of these benchmarks:",
    "its scores there are no test on new data, and must not be reported as one.",
)


@dataclass(frozen=True)
class BrainScorePlugin:
    """What :func:`export_brainscore` wrote.

    Attributes:
        folder: The plugin's folder.
        identifier: The model's identifier in Brain-Score; it ends in the start of a hash of the weights.
        region_layer_map: The layer of each region that a head or the caller named.
        sha1: SHA-1 of the file of weights.
        message: What to know and to do next, with the warning about NSD.

    Example:
        >>> BrainScorePlugin(
        ...     Path("plugin"),
        ...     "guided-0a1b2c3d",
        ...     {"V4": "trunk.backbone.layer3"},
        ...     "0a1b2c3d...",
        ...     "Copy it.",
        ... )
        BrainScorePlugin(folder=plugin, identifier=guided-0a1b2c3d)
    """

    folder: Path
    identifier: str
    region_layer_map: Mapping[str, str]
    sha1: str
    message: str

    def __repr__(self) -> str:
        return f"BrainScorePlugin(folder={self.folder}, identifier={self.identifier})"


def export_brainscore(
    network: nn.Module,
    folder: str | os.PathLike[str],
    *,
    name: str | None = None,
    region_layers: Mapping[str, str] | None = None,
    layers: Sequence[str] | None = None,
    visual_degrees: float = 8.0,
) -> BrainScorePlugin:
    """Write a guided network as a plugin folder for Brain-Score (brain-score/vision, ``brainscore_vision/models``).

    The folder holds ``__init__.py``, ``model.py``, ``test.py``, ``metadata.yaml``, ``requirements.txt``, ``README.md``,
    ``region_layer_map/<identifier>.json`` and the weights, ``network.safetensors``, without the heads. The plugin's code
    needs neuroalign where it runs. The identifier ends in the start of a hash of the weights, since Brain-Score stores
    activations under it: other weights under an old identifier would be scored with old activations.

    Regions take the layer that a head of the same name reads: V1, V2 and V4. IT, a region of the monkey, has no head of its
    name; it takes the layer of the first head among IT, ventral, LO, VO, PHC and TO. This order is a choice: the human
    object-selective areas LO are those most often compared with the monkey's IT. A region without a head or a layer in
    ``region_layers`` is left to Brain-Score, which selects among ``layers`` on its public benchmarks.

    The benchmarks ``Allen2022_fmri.*`` *are* NSD: a network that was guided by NSD is not independent of them. The files and
    the message say so.

    Args:
        network: A :class:`GuidedNetwork` that can be rebuilt from plain values, or a task that holds one.
        folder: The folder, which must not exist or be empty; its name is a Python name.
        name: Start of the identifier: letters, digits, ``_`` and ``-``; None takes the folder's name.
        region_layers: Layers of the backbone by region (V1, V2, V4, IT), instead of those of the heads.
        layers: Layers of the backbone among which Brain-Score may select; None takes the blocks of the backbone.
        visual_degrees: Degrees of visual angle that an image spans. 8 is Brain-Score's default; NSD's images spanned 8.4.

    Returns:
        What was written, with ``message`` to read.

    Raises:
        FileExistsError: If the folder has content.
        TypeError: If it is no guided network.
        ValueError: If the backbone was given as a module or is of a class of your own, images have other than one or three
            channels, or a name, layer or region is unknown.

    Example:
        >>> import tempfile
        >>> heads = {"V4": ("layer2", 20), "LO": ("layer3", 20)}
        >>> network = GuidedNetwork("small_resnet", 10, heads, image_shape=(3, 8, 8))
        >>> plugin = export_brainscore(network, tempfile.mkdtemp() + "/guided_small")
        >>> dict(plugin.region_layer_map)
        {'V4': 'trunk.backbone.layer2', 'IT': 'trunk.backbone.layer3'}
    """
    from neuroalign.evaluation import weights_hash

    network = unwrapped(network)
    if not isinstance(network, GuidedNetwork):
        raise TypeError(f"a plugin is made of a GuidedNetwork; got a {type(network).__name__}")
    folder = check_absent(folder)
    name = _checked_name(folder.name if name is None else name, folder)
    if not 0 < visual_degrees < float("inf"):
        raise ValueError(f"visual_degrees must be positive; got {visual_degrees}")
    plain = PlainClassifier(network).cpu()
    if plain.trunk.image_shape[0] not in (1, 3):
        raise ValueError(
            f"Brain-Score's images have colours or one channel; the network takes {plain.trunk.image_shape[0]}"
        )
    regions = region_layers_of(network, plain, region_layers)
    candidates = candidate_layers(plain, layers, [r.layer for r in regions if r.layer])
    with whole_folder(folder) as temporary:
        save_module(_without_heads(network, plain), temporary / "network.safetensors")
        content = (temporary / "network.safetensors").read_bytes()
        sha1 = hashlib.sha1(content).hexdigest()  # by which Brain-Score checks a file that it fetched
        identifier = f"{name}-{weights_hash(plain)[:8]}"
        known = {r.region: r.layer for r in regions if r.layer is not None}
        told = _told(plain, identifier, sha1, folder, regions, candidates, visual_degrees, len(content))
        _write(temporary, identifier, known, told, plain)
    return BrainScorePlugin(folder, identifier, known, sha1, _message(folder, identifier, regions, sha1))


def _checked_name(name: str, folder: Path) -> str:
    """A name that is safe in Python text, in file names and in Brain-Score's search for registrations."""
    for text, what in ((name, "name"), (folder.name, "folder's name")):
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]*", text):
            raise ValueError(f"the {what} must be made of letters, digits, _ and -; got {text!r}")
    return name


def _without_heads(network: GuidedNetwork, plain: PlainClassifier) -> GuidedNetwork:
    """The network without its heads, whose weights are fitted to one brain's voxels and needed by nobody there."""
    from neuroalign.config import build, description_of, reason_undescribed, saved_description_of

    described = description_of(network)
    own = next(own_modules(saved_description_of(network) or {}), None)
    if (
        described is None and own is not None
    ):  # neuroalign.register wouldn't help: it isn't called where Brain-Score runs
        raise ValueError(
            f"Brain-Score can't rebuild the network, whose backbone is a {own}, no network known by a name: give the "
            "backbone by name"
        )
    if described is None:
        raise ValueError(
            f"Brain-Score must rebuild the network from values: {reason_undescribed(network)}: give the backbone by name"
        )
    foreign = [
        path
        for path in re.findall(r'"class_path": "([^"]+)"', json.dumps(described))
        if not path.startswith("neuroalign.")
    ]
    if foreign:
        raise ValueError(f"Brain-Score can't import {foreign[0]}, a class of your own: give the backbone by name")
    described["init_args"]["heads"] = {}
    with torch.random.fork_rng(devices=[]):
        found = build(described, GuidedNetwork)
    found.load_state_dict(plain.state_dict())
    return found


def _told(plain: PlainClassifier, identifier: str, sha1: str, folder: Path, regions: Sequence[RegionLayer],
          candidates: Sequence[str], visual_degrees: float, size: int) -> dict[str, Any]:  # fmt: skip
    """What the templates are filled with."""
    channels, height, width = shape = plain.trunk.image_shape
    image = torch.linspace(0, 1, channels * height * width).reshape(1, *shape)
    with torch.no_grad():
        logits = plain(image)[0, :10].double().tolist()
    return {
        "warning": WARNING, "identifier": identifier, "sha1": sha1, "folder": folder.name, "layers": candidates,
        "regions": [(r.region, r.layer, r.reason) for r in regions], "missing": [r.region for r in regions if not r.layer],
        "visual_degrees": float(visual_degrees), "shape": tuple(shape), "channels": channels,
        "height": height, "width": width, "num_classes": plain.num_classes,
        "backbone": backbone_name(plain.trunk) or type(plain.trunk.backbone).__name__,
        "logits": [float(f"{x:.6g}") for x in logits], "size": readable_size(size),
        "it_note": IT_NOTE, "bibtex": bibtex("shao2024").strip(),
    }  # fmt: skip


def _write(
    folder: Path, identifier: str, known: Mapping[str, str], told: dict[str, Any], plain: PlainClassifier
) -> None:
    from jinja2 import Environment, StrictUndefined

    environment = Environment(
        undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["python"] = repr
    templates = files("neuroalign.export") / "templates"
    for file in ("__init__.py", "model.py", "test.py", "README.md"):
        text = environment.from_string((templates / f"{file}.j2").read_text(encoding="utf-8")).render(told)
        (folder / file).write_text(text, encoding="utf-8")
    (folder / "region_layer_map").mkdir()
    (folder / "region_layer_map" / f"{identifier}.json").write_text(json.dumps(known, indent=2) + "\n")
    extra = "[timm]" if told["backbone"].startswith("timm:") else ""
    (folder / "requirements.txt").write_text(f"neuroalign{extra}>={__version__}\n")
    (folder / "metadata.yaml").write_text(
        "".join(f"# {line}\n" for line in WARNING) + _metadata(identifier, told, plain)
    )


def _metadata(identifier: str, told: Mapping[str, Any], plain: PlainClassifier) -> str:
    import yaml

    weights = list(plain.parameters())
    layers = [m for m in plain.modules() if not list(m.children())]
    total = sum(p.numel() for p in weights)
    entry = {
        "architecture": None,
        "model_family": told["backbone"],
        "total_parameter_count": total,
        "trainable_parameter_count": sum(p.numel() for p in weights if p.requires_grad),
        "total_layers": len(layers),
        "trainable_layers": sum(1 for m in layers if list(m.parameters(recurse=False))),
        "model_size_mb": round(sum(p.numel() * p.element_size() for p in weights) / 1e6, 1),
        "training_dataset": None,
        "task_specialization": None,
        "brainscore_link": None,
        "huggingface_link": None,
        "extra_notes": " ".join(WARNING),
        "runnable": True,
    }
    return str(yaml.safe_dump({"models": {identifier: entry}}, sort_keys=False, width=1000))


def _message(folder: Path, identifier: str, regions: Sequence[RegionLayer], sha1: str) -> str:
    lines = [f"{folder}: plugin of the model {identifier}"]
    lines += [f"  {r.region}: {r.layer or 'selected by Brain-Score'} ({r.reason})" for r in regions]
    lines += [
        f"  weights: network.safetensors, SHA-1 {sha1}; README.md says where they go",
        "Warning: " + " ".join(WARNING),
    ]
    return "\n".join(lines)
