"""What a model card says of a network itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import nn

from neuroalign.models.backbones import Trunk

__all__: list[str] = []


def predictor_rows(predictor: Any) -> dict[str, Any]:
    """Rows of a ``NeuralPredictor``: its trunk, the layer that is read, the head and the number of voxels."""
    return {
        **_trunk_rows(predictor.trunk),
        "Layer": predictor.layer or "final features",
        "Head": type(predictor.head).__name__,
        "Output": _voxels(predictor.num_voxels),
    }


def network_rows(network: Any) -> dict[str, Any]:
    """Rows of a ``GuidedNetwork``: its trunk, the number of classes, and each head with its layer."""
    heads = {
        f"Head {name}": f"{type(head).__name__} on {network.head_layers[name] or 'the final features'}"
        + ("" if width is None else f", {_voxels(width)}")
        for name, head in network.heads.items()
        for width in [getattr(head, "num_outputs", None)]
    }
    return {**_trunk_rows(network.trunk), "Classes": network.num_classes, **(heads or {"Heads": "none"})}


def ridge_rows(predictor: Any) -> dict[str, Any]:
    """Rows of a ``RidgePredictor``: its features and the number of voxels."""
    return {
        "Features": f"{_name(predictor.features)}, {predictor.features.num_features} of them",
        "Fit": "ridge regression, one penalty per voxel",
        "Output": _voxels(predictor.num_voxels),
    }


def _trunk_rows(trunk: Trunk) -> dict[str, Any]:
    return {
        "Backbone": trunk._name or _name(trunk.backbone),
        "Images (channel, height, width)": ", ".join(map(str, trunk.image_shape)),
        "Normalisation inside: mean": "none" if trunk.mean is None else _numbers(trunk.mean),
        "Normalisation inside: std": "none" if trunk.std is None else _numbers(trunk.std),
    }


def _name(module: nn.Module) -> str:
    return f"{type(module).__name__}, a module of the authors'" if _is_own(module) else type(module).__name__


def _is_own(module: nn.Module) -> bool:
    return not type(module).__module__.startswith(("neuroalign.", "torch", "timm."))


def _numbers(values: Sequence[float]) -> str:
    return ", ".join(f"{float(value):.4g}" for value in values)


def _voxels(number: int) -> str:
    return f"{number} voxel{'' if number == 1 else 's'}"
