"""Trunks of networks as folders that timm loads."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neuroalign.config import description_of
from neuroalign.export.equality import TOLERANCE, check_equal, trial_images
from neuroalign.export.folders import check_absent, whole_folder
from neuroalign.export.plain import PlainClassifier, backbone_name, copied, first_sentence, unwrapped
from neuroalign.models import GuidedNetwork, NeuralPredictor, Trunk

__all__ = ["export_timm"]


def export_timm(
    network: nn.Module,
    folder: str | os.PathLike[str],
    *,
    with_classifier: bool = False,
    class_names: Sequence[str] | None = None,
    tolerance: float = TOLERANCE,
    seed: int = 0,
) -> str:
    """Write the trunk of a network as a folder that timm loads (extra ``timm``).

    The folder holds ``config.json`` and ``model.safetensors``, as timm writes them. A timm model takes normalised images: the
    mean and standard deviation are in its ``pretrained_cfg``, where ``timm.data.resolve_data_config`` finds them. Before the
    folder gets its name, timm builds the model, and its outputs are compared with the network's.

    Backbones that were built by a ``timm:`` name can be exported, and those of torchvision whose architecture, layer names
    included, is timm's too: ResNets (ResNeXt and Wide ResNet among them), DenseNets and Inception v3. The stem for images of
    up to 64 pixels has no name in timm, nor has ``small_resnet``.

    Args:
        network: A :class:`GuidedNetwork` or :class:`NeuralPredictor`, or a task that holds one.
        folder: The folder, which must not exist or be empty.
        with_classifier: Whether the classifier comes along, so that the timm model gives the network's logits; else it gives
            features.
        class_names: Names of the classes in the order of the logits.
        tolerance: Largest difference that passes, as a share of the largest output.
        seed: Seed of the random images on which outputs are compared.

    Returns:
        The name by which timm loads it, ``"local-dir:<folder>"``.

    Raises:
        FileExistsError: If the folder has content.
        ImportError: If timm is missing.
        TypeError: If the network is neither a guided network nor a predictor, or a predictor should have a classifier.
        ValueError: If timm has no such architecture, its architecture of that name is another one, or outputs differ.

    Example:
        >>> from neuroalign import GuidedNetwork
        >>> network = GuidedNetwork("timm:resnet18", 10, {"V4": ("layer3", 20)})
        >>> name = export_timm(network, "guided")
        >>> import timm
        >>> trunk = timm.create_model(name, pretrained=True, features_only=True)
    """
    timm = _timm()
    network = unwrapped(network)
    if not isinstance(network, (GuidedNetwork, NeuralPredictor)):
        raise TypeError(
            f"a trunk for timm is that of a GuidedNetwork or NeuralPredictor; got a {type(network).__name__}"
        )
    if with_classifier and not isinstance(network, GuidedNetwork):
        raise TypeError("a predictor of responses has no classifier: leave with_classifier=False")
    check_absent(folder)
    trunk: Trunk = network.trunk
    classifier: Any = network.classifier if with_classifier else None
    if with_classifier and not isinstance(classifier, nn.Linear):
        raise ValueError("the backbone gives logits itself: leave with_classifier=False")
    architecture, options = _architecture(trunk, timm)
    width = 0 if classifier is None else int(classifier.out_features)
    if class_names is not None and len(class_names) != width:
        raise ValueError(
            f"{len(class_names)} class_names for {width} classes" + ("" if width else ": set with_classifier=True")
        )
    model: Any = _built(timm, architecture, options, width)
    state = {k: v.detach().cpu().clone().contiguous() for k, v in trunk.backbone.state_dict().items()}
    if classifier is not None:
        state |= {
            f"{model.pretrained_cfg['classifier']}.{k}": v.detach().cpu() for k, v in classifier.state_dict().items()
        }
    try:
        model.to(trunk.feature_dtype).load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(
            f"timm's {architecture} has other layers than the backbone {backbone_name(trunk) or 'given'}: {_first(error)}"
        ) from error
    _compare(network, model, with_classifier, tolerance, seed)
    config = _config(architecture, options, width, model, trunk, class_names)
    try:
        text = json.dumps(config, indent=2)
    except TypeError as error:
        raise ValueError(
            f"the backbone's options {sorted(options)} are not plain values, which no file can hold"
        ) from error
    with whole_folder(folder) as temporary:
        _write(temporary, text, state)
    return f"local-dir:{Path(folder)}"


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise ImportError("a folder for timm needs timm: pip install 'neuroalign[timm]'") from error
    return timm


def _architecture(trunk: Trunk, timm: Any) -> tuple[str, dict[str, Any]]:
    """Name of the architecture in timm, and the arguments of its constructor."""
    name, backbone = backbone_name(trunk), trunk.backbone
    conv = getattr(backbone, "conv1", None)
    if isinstance(getattr(backbone, "maxpool", None), nn.Identity) and isinstance(conv, nn.Conv2d) and name is not None:
        raise ValueError(
            "the backbone has the stem for small images (a 3x3 convolution, no pooling), which has no name in timm: build "
            "timm's network, replace its conv1 and maxpool, and load network.trunk.backbone.state_dict()"
        )
    # What timm's factory was told, image size included, where this version of timm keeps it.
    made_with = {k: v for k, v in getattr(backbone, "_model_args", {}).items() if k != "num_classes"}
    if name is None:
        told: Any = getattr(backbone, "pretrained_cfg", None)
        if not told or not told.get("architecture"):
            raise ValueError(
                f"the backbone was given as a module ({type(backbone).__name__}) that timm knows by no name"
            )
        return str(told["architecture"]), made_with
    bare = name.removeprefix("timm:")
    if not timm.is_model(bare):
        raise ValueError(
            f"timm has no architecture {bare!r}: export a backbone that it has, such as one with a timm: name"
        )
    if bare == name:
        return bare, {}
    described = description_of(trunk)
    if described is None:
        raise ValueError("the backbone's options are not plain values, which no file can hold")
    return bare.partition(".")[0], {**made_with, **(described["init_args"]["options"] or {})}


def _built(timm: Any, architecture: str, options: dict[str, Any], width: int) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        model: nn.Module = timm.create_model(architecture, pretrained=False, num_classes=width, **options)
    return model.eval()


def _first(error: Exception) -> str:
    """The first layers by which two networks differ, from PyTorch's message."""
    lines = [" ".join(line.split()) for line in str(error).splitlines()[1:]]
    return lines[0][:160].rpartition(",")[0] or lines[0] if lines else first_sentence(error)


def _compare(network: nn.Module, model: nn.Module, with_classifier: bool, tolerance: float, seed: int) -> None:
    """Compare timm's model with a copy of the network; the network itself may be in training mode or on a GPU."""
    plain: Any = PlainClassifier(network) if isinstance(network, GuidedNetwork) else copied(network)
    trunk = plain.trunk.cpu()
    images = [trial_images(None, trunk.image_shape, seed)]

    def run(x: Tensor) -> Tensor:
        return model(trunk._prepared(x))

    check_equal(plain.cpu() if with_classifier else trunk, run, images, tolerance, "timm's network")


def _config(
    architecture: str, options: dict[str, Any], width: int, model: Any, trunk: Trunk, class_names: Sequence[str] | None
) -> dict[str, Any]:
    channels = trunk.image_shape[0]
    mean, std = (0.0,) if trunk.mean is None else trunk.mean, (1.0,) if trunk.std is None else trunk.std
    told = {k: model.pretrained_cfg.get(k) for k in ("first_conv", "classifier", "pool_size", "fixed_input_size")}
    config: dict[str, Any] = {
        "architecture": architecture,
        "num_classes": width,
        "num_features": trunk.num_features,
        "pretrained_cfg": {
            **{k: v for k, v in told.items() if v is not None},
            "num_classes": width,
            "input_size": list(trunk.image_shape),
            # As images from folders are read here: the shorter side resized, the centre cut out.
            "interpolation": "bilinear",
            "crop_pct": 1.0,
            "crop_mode": "center",
            "mean": [float(m) for m in (mean if len(mean) == channels else [mean[0]] * channels)],
            "std": [float(s) for s in (std if len(std) == channels else [std[0]] * channels)],
            "custom_load": False,
        },
    }
    if options:
        config["model_args"] = options
    if class_names is not None:
        config["label_names"] = list(map(str, class_names))
    return config


def _write(folder: Path, config: str, state: dict[str, Tensor]) -> None:
    from safetensors.torch import save_file

    save_file(state, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(f"{config}\n", encoding="utf-8")
