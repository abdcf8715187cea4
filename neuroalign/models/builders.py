"""Build networks of torchvision and timm by name, without their classifiers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import Any

from torch import nn

from neuroalign.config import refuse_if_described
from neuroalign.types import unknown

__all__ = ["build_backbone"]

# In training mode these would return the outputs of auxiliary classifiers beside the features.
_WITH_AUXILIARY = ("googlenet", "inception_v3")

_LOADING = ("weights", "weights_backbone", "pretrained", "pretrained_backbone", "pretrained_cfg", "checkpoint_path")
"""Options of torchvision's and timm's constructors that download or read weights."""


def build_backbone(
    name: str, *, weights: str | None = None, small_images: bool = False, options: dict[str, Any] | None = None
) -> nn.Module:
    """A torchvision or timm network without its classifier: images in, features out.

    Args:
        name: A torchvision name (``"resnet18"``), a timm name with its prefix (``"timm:vit_small_patch16_224"``), or
            ``"small_resnet"``, the 78k-parameter network of the demo.
        weights: Name of pretrained weights (torchvision's, or any non-empty string for timm's default); None starts
            from random weights.
        small_images: Give ResNets the stem used for CIFAR: a 3x3 convolution of stride 1, no pooling.
        options: Further arguments of the network's constructor. GoogLeNet and Inception v3 come without their auxiliary
            classifiers unless ``aux_logits`` says so.

    Returns:
        The network; its final linear classifier is replaced by the identity.

    Raises:
        ValueError: If no network has that name (the message lists near matches), or "small_resnet" should have weights.
        ImportError: If a timm name is given and timm is not installed.

    Example:
        >>> build_backbone("resnet18", small_images=True)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 512])
    """
    options = dict(options or {})
    if weights or any(options.get(option) for option in _LOADING):
        refuse_if_described("pretrained weights")
    if name == "small_resnet":
        from neuroalign.models.smallnet import SmallResNet

        if weights:
            raise ValueError(f"small_resnet has no pretrained weights; got weights={weights!r}")
        return SmallResNet(**options)
    if name.startswith("timm:"):
        try:
            import timm
        except ImportError as error:
            raise ImportError(f"{name!r} needs timm: pip install 'neuroalign[timm]'") from error
        bare = name.removeprefix("timm:")
        if not timm.is_model(bare):
            raise ValueError(unknown("timm model", bare, timm.list_models()))
        backbone = timm.create_model(bare, pretrained=bool(weights), num_classes=0, **options)
    else:
        from torchvision import models

        if name not in models.list_models(module=models):
            raise ValueError(unknown("torchvision model", name, models.list_models(module=models)) + _of_timm(name))
        if name in _WITH_AUXILIARY:
            options.setdefault("aux_logits", False)
        backbone = models.get_model(name, weights=weights, **options)
        _drop_classifier(backbone)
    if small_images:
        _small_stem(backbone)
    return backbone


def _of_timm(name: str) -> str:
    """A hint that names of timm need a prefix."""
    if find_spec("timm") is not None:
        import timm

        if timm.is_model(name):
            return f". timm has a model of this name: write 'timm:{name}'"
    return ". Names of timm need a prefix, 'timm:<name>'"


def size_advice(name: str | None, backbone: nn.Module, image_shape: Sequence[int]) -> str:
    """Advice for the case that a network can't take images of this shape."""
    told = getattr(backbone, "pretrained_cfg", None)
    fixed = isinstance(told, Mapping) and told.get("fixed_input_size")
    size = max(image_shape[1:]) if image_shape[1] == image_shape[2] else tuple(image_shape[1:])
    option = "img_size" if fixed else "image_size" if hasattr(backbone, "image_size") else None
    if option is None:
        return (
            f"If your images have this shape, this network can't be used for them ({_needs(name)}); if they have another, "
            "set image_shape=(channel, height, width) to theirs."
        )
    how = f"options={{{option!r}: {size}}}" if name is not None else f"the network must be built with {option}={size}"
    return (
        f"This network is built for one image size: if your images have this shape, give {how}; if they have another, set "
        "image_shape=(channel, height, width) to theirs."
    )


def _needs(name: str | None) -> str:
    """Text on the images that a network needs."""
    if name is not None and not name.startswith("timm:") and name != "small_resnet":
        from torchvision import models

        for weights in models.get_model_weights(name):
            if "min_size" in weights.meta:
                height, width = weights.meta["min_size"]
                return f"{name} needs at least {height}x{width} pixels in colour"
    return "it may need larger ones, another number of channels, or an option for their size"


def _drop_classifier(backbone: nn.Module) -> None:
    """Replace the last linear layer by the identity: it is the classifier of all torchvision networks except SqueezeNet."""
    linears = [n for n, m in backbone.named_modules() if isinstance(m, nn.Linear)]
    children = [n for n, m in backbone.named_modules() if not list(m.children()) and list(m.parameters())]
    if linears and linears[-1] == children[-1]:
        parent, _, leaf = linears[-1].rpartition(".")
        setattr(backbone.get_submodule(parent), leaf, nn.Identity())


def _small_stem(backbone: nn.Module) -> None:
    conv = getattr(backbone, "conv1", None)
    if isinstance(conv, nn.Conv2d) and isinstance(getattr(backbone, "maxpool", None), nn.Module):
        backbone.conv1 = nn.Conv2d(conv.in_channels, conv.out_channels, 3, padding=1, bias=conv.bias is not None)
        backbone.maxpool = nn.Identity()
