"""Build networks of torchvision and timm by name, without their classifiers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

from torch import nn

from neuroalign.config import refuse_if_described
from neuroalign.models.pretraining import size_option, timm_name, torchvision_weights
from neuroalign.types import unknown

__all__ = ["build_backbone"]

# In training mode these would return the outputs of auxiliary classifiers beside the features.
_AUXILIARY = {"googlenet": ("aux1", "aux2"), "inception_v3": ("AuxLogits",)}

_LOADING = ("weights", "weights_backbone", "pretrained", "pretrained_backbone", "pretrained_cfg", "checkpoint_path")
"""Options of torchvision's and timm's constructors that download or read weights."""

_SQUARE = (
    "vision transformers of torchvision take square images only: resize or crop them, or take a vision transformer of timm, "
    "which takes others"
)


def build_backbone(
    name: str,
    *,
    weights: str | bool | None = None,
    small_images: bool = False,
    options: dict[str, Any] | None = None,
    image_shape: Sequence[int] | None = None,
) -> nn.Module:
    """A torchvision or timm network without its classifier: images in, features out.

    Args:
        name: A torchvision name (``"resnet18"``), a timm name with its prefix (``"timm:vit_small_patch16_224"``), or
            ``"small_resnet"``, the 78k-parameter network of the demo.
        weights: Name of pretrained weights, torchvision's (``"IMAGENET1K_V1"``) or timm's tag (``"a1_in1k"``);
            ``"DEFAULT"`` or True takes the library's default; None starts from random weights.
        small_images: Give ResNets the stem used for CIFAR: a 3x3 convolution of stride 1, no pooling.
        options: Further arguments of the network's constructor. GoogLeNet and Inception v3 come without their auxiliary
            classifiers unless ``aux_logits`` says so.
        image_shape: (channel, height, width) of the images, for which a network of a fixed size (a vision transformer)
            is built, unless ``options`` do so; None leaves it at its own size.

    Returns:
        The network; its final linear classifier is replaced by the identity.

    Raises:
        ValueError: If no network has that name, or it has no weights of that name (the message lists near matches); if it
            can't be built for the size of the images; or if "small_resnet" should have weights.
        ImportError: If a timm name is given and timm is not installed.

    Example:
        >>> build_backbone("resnet18", small_images=True)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 512])
    """
    options = dict(options or {})
    if "@" in name:
        bare, _, tag = name.partition("@")
        raise ValueError(f"{name!r}: weights are given apart from the name, {bare!r} with weights={tag!r}")
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
        tagged, told = timm_name(bare, weights), _told(name, image_shape, weights, options)
        with _built_for(name, image_shape, told):
            backbone = timm.create_model(tagged, pretrained=bool(weights), num_classes=0, **options, **told)
    else:
        from torchvision import models

        if name not in models.list_models(module=models):
            known = [*models.list_models(module=models), "small_resnet"]
            raise ValueError(unknown("torchvision model", name, known) + _of_timm(name))
        pretrained = torchvision_weights(name, weights) if weights else None
        asked = options.pop("aux_logits", False) if name in _AUXILIARY else None
        if asked or (asked is not None and pretrained is None):  # pretrained weights are those of all classifiers
            options["aux_logits"] = asked
        told = _told(name, image_shape, weights, options)
        if name.startswith("vit_") and not isinstance(options.get("image_size", 0), int):
            raise ValueError(f"image_size of {name} is one number; got {options['image_size']!r}: {_SQUARE}")
        with _built_for(name, image_shape, told):
            backbone = models.get_model(name, weights=pretrained, **options, **told)
        if asked is False:
            _drop_auxiliary(backbone, _AUXILIARY[name])
        _drop_classifier(backbone)
    if small_images:
        _small_stem(backbone)
    return backbone


def _told(
    name: str, image_shape: Sequence[int] | None, weights: str | bool | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    return {} if image_shape is None else size_option(name, image_shape, weights, options)


@contextmanager
def _built_for(name: str, image_shape: Sequence[int] | None, told: Mapping[str, Any]) -> Iterator[None]:
    """A context in which an error that comes from the size that a network was told says so."""
    try:
        yield
    except Exception as error:
        if not told or image_shape is None:
            raise
        option, size = next(iter(told.items()))
        why = str(error).rstrip(".") or type(error).__name__
        raise ValueError(
            f"{name} can't be built for images of {image_shape[1]}x{image_shape[2]} pixels ({option}={size}: {why}): resize "
            "the images, or give options that fit this size"
        ) from error


def rebuilding_options(
    name: str | None, weights: str | bool | None, options: dict[str, Any] | None
) -> dict[str, Any] | None:
    """The options that build a network by name again without its weights, when these have changed what it computes.

    Example:
        >>> (
        ...     rebuilding_options("googlenet", "DEFAULT", None),
        ...     rebuilding_options("resnet18", "DEFAULT", None),
        ... )
        ({'transform_input': True}, None)
    """
    if name in _AUXILIARY and weights:  # torchvision then normalises once more inside
        return {"transform_input": True, **(options or {})}
    return options


def _drop_auxiliary(backbone: nn.Module, names: Sequence[str]) -> None:
    backbone.aux_logits = False  # type: ignore[assignment]
    for name in names:
        setattr(backbone, name, None)


def _of_timm(name: str) -> str:
    """A hint that names of timm need a prefix."""
    if find_spec("timm") is not None:
        import timm

        if timm.is_model(name):
            return f" (timm has a model of this name: write 'timm:{name}')"
    return " (Names of timm need a prefix, 'timm:<name>')"


def size_advice(
    name: str | None,
    backbone: nn.Module,
    image_shape: Sequence[int],
    weights: str | bool | None = None,
    options: Mapping[str, Any] | None = None,
) -> str:
    """Advice for the case that a network can't take images of this shape."""
    if name is not None and _told(name, image_shape, weights, options or {}):
        return (
            f"It was built for images of {image_shape[1]}x{image_shape[2]} pixels, which it can't process: resize them"
        )
    told = getattr(backbone, "pretrained_cfg", None)
    fixed = isinstance(told, Mapping) and told.get("fixed_input_size")
    size = max(image_shape[1:]) if image_shape[1] == image_shape[2] else tuple(image_shape[1:])
    option = "img_size" if fixed else "image_size" if hasattr(backbone, "image_size") else None
    if option is None:
        return (
            f"If your images have this shape, this network can't be used for them ({_needs(name)}); if they have another, "
            "set image_shape=(channel, height, width) to theirs."
        )
    if option == "image_size" and image_shape[1] != image_shape[2]:
        return f"{_SQUARE[0].upper()}{_SQUARE[1:]}"
    if name is not None and weights and option == "image_size":
        return (
            f"With pretrained weights it takes images of {backbone.image_size} pixels only: resize them, or take a vision "
            "transformer of timm, whose pretrained ones adapt to the size"
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
