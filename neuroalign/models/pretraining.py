"""What torchvision and timm know of their networks: names of weights, image size, normalisation, how images were prepared."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from neuroalign.callers import outside
from neuroalign.types import unknown

__all__: list[str] = []

IMAGE_SHAPE = (3, 224, 224)
"""(channel, height, width) of networks that don't tell theirs."""

_OF_DEFAULT = ("default", "pretrained", "true")


def torchvision_weights(name: str, weights: str | bool) -> Any:
    """The pretrained weights of a torchvision network by their name, with or without the name of their class.

    Args:
        name: Name of the network.
        weights: ``"DEFAULT"``, ``"IMAGENET1K_V1"`` or ``"ResNet18_Weights.IMAGENET1K_V1"``; True means the default.

    Raises:
        ValueError: If the network has no such weights; the message lists those that it has.

    Example:
        >>> torchvision_weights("resnet18", "DEFAULT").name
        'IMAGENET1K_V1'
        >>> torchvision_weights("resnet18", "IMAGENET")
        Traceback (most recent call last):
        ValueError: unknown weights of resnet18: 'IMAGENET'; did you mean 'IMAGENET1K_V1'?
        Its weights: IMAGENET1K_V1, DEFAULT
    """
    from torchvision import models

    known = models.get_model_weights(name)
    bare = "DEFAULT" if weights is True else str(weights).removeprefix(f"{known.__name__}.")
    if bare not in known.__members__:
        raise ValueError(_unknown_weights(name, bare, list(known.__members__)))
    return known[bare]


def timm_name(name: str, weights: str | bool | None) -> str:
    """A timm network's name with the tag of its pretrained weights.

    Args:
        name: Name without the prefix ``timm:``, with a tag or without.
        weights: A tag (``"a1_in1k"``); ``"DEFAULT"``, ``"pretrained"`` or True for those of the name; None for none.

    Raises:
        ValueError: If the network has no weights of this tag, or its name has another tag.
    """
    import timm

    bare, _, tag = name.partition(".")
    tags = sorted(found.partition(".")[2] for found in timm.list_pretrained(f"{bare}.*"))
    try:
        timm.get_pretrained_cfg(name)
    except RuntimeError:
        raise ValueError(_unknown_weights(f"timm:{bare}", tag, tags)) from None
    if not weights or weights is True or weights.lower() in _OF_DEFAULT:
        return name
    if tag and weights != tag:
        raise ValueError(
            f"the name timm:{name} asks for the weights {tag!r}, and weights= for {weights!r}: give one of them"
        )
    if weights not in tags:
        raise ValueError(_unknown_weights(f"timm:{bare}", weights, ["DEFAULT", *tags]))
    return f"{bare}.{weights}"


def _unknown_weights(network: str, weights: str, known: Sequence[str]) -> str:
    near = unknown("weights", weights, known).partition("; ")[2]
    listed = f" Its weights: {', '.join(known)}" if near.startswith("did") else ""
    return f"unknown weights of {network}: {weights[:100]!r}; {near}{listed}"


def own_shape(
    backbone: str | nn.Module, weights: str | bool | None = None, options: Mapping[str, Any] | None = None
) -> tuple[int, int, int]:
    """(channel, height, width) of the images that a network was made for; 3 x 224 x 224 if it doesn't tell.

    Args:
        backbone: Its name, or the network.
        weights: Pretrained weights of a torchvision network.
        options: Constructor arguments, which may set the number of channels or the size.

    Example:
        >>> own_shape("resnet18"), own_shape("inception_v3", "DEFAULT")
        ((3, 224, 224), (3, 299, 299))
    """
    channels, *size = IMAGE_SHAPE
    options = options or {}
    if isinstance(backbone, nn.Module):
        told = _timm_size(getattr(backbone, "pretrained_cfg", None))
        built = getattr(getattr(backbone, "patch_embed", None), "img_size", None) if told else None
        if type(backbone).__module__.startswith("torchvision."):
            built = getattr(backbone, "image_size", None)
        channels, *size = told or IMAGE_SHAPE
        return (channels, *(_pair(built) if _is_size(built) else size))
    if backbone.startswith("timm:"):
        channels, *size = _timm_size(_timm_config(backbone, weights)) or IMAGE_SHAPE
        channels = options.get("in_chans", channels)
    elif weights and _is_of_torchvision(backbone):
        size = list(_pair(torchvision_weights(backbone, weights).transforms().crop_size))
    given = options.get("img_size", options.get("image_size"))
    return (channels, *(_pair(given) if _is_size(given) else size))


def size_option(
    name: str, image_shape: Sequence[int], weights: str | bool | None, options: Mapping[str, Any]
) -> dict[str, Any]:
    """The constructor argument that tells a network built for one image size that images have another; {} if none is needed.

    Example:
        >>> (
        ...     size_option("vit_b_16", (3, 32, 32), None, {}),
        ...     size_option("resnet18", (3, 32, 32), None, {}),
        ... )
        ({'image_size': 32}, {})
    """
    height, width = image_shape[1:]
    if "img_size" in options or "image_size" in options or (height, width) == own_shape(name, weights)[1:]:
        return {}
    if name.startswith("timm:"):
        fixed = (_timm_config(name, weights) or {}).get("fixed_input_size")
        return {"img_size": height if height == width else (height, width)} if fixed else {}
    is_vit = name.startswith("vit_") and not weights  # torchvision doesn't resample pretrained position embeddings
    return {"image_size": height} if is_vit and height == width else {}


def preparation(backbone: nn.Module, name: str | None, weights: str | bool | None) -> str | None:
    """How images were prepared when a network was trained, in words; None if it is not known.

    Example:
        >>> preparation(nn.Identity(), "resnet18", "IMAGENET1K_V1")
        'resized by bilinear interpolation to 256, cropped to 224'
    """
    told = getattr(backbone, "pretrained_cfg", None)
    if isinstance(told, Mapping) and told.get("interpolation") and told.get("input_size"):
        size, share = told["input_size"][-1], told.get("crop_pct") or 1.0
        return f"resized by {told['interpolation']} interpolation to {int(size / share)}, cropped to {size}"
    if name is not None and weights and _is_of_torchvision(name):
        transform = torchvision_weights(name, weights).transforms()
        (resized, *_), (cropped, *_) = transform.resize_size, transform.crop_size
        return f"resized by {transform.interpolation.value} interpolation to {resized}, cropped to {cropped}"
    return None


def warn_of_unseen_pixels(backbone: nn.Module, image_shape: Sequence[int]) -> None:
    """Warn of a network of timm that cuts images into patches which don't divide them: it leaves the rest out.

    Args:
        backbone: The network.
        image_shape: (channel, height, width) of its images.
    """
    embedding = getattr(backbone, "patch_embed", None)
    patch = getattr(embedding, "patch_size", None)
    if not _is_size(patch) or getattr(embedding, "dynamic_img_pad", None) is not False:
        return
    size, patches = image_shape[1:], _pair(patch)
    left = [pixels % each for pixels, each in zip(size, patches)]
    if any(left):
        what = " and ".join(f"{n} {of}" for n, of in zip(left, ("rows", "columns")) if n)
        warnings.warn(
            f"patches of {patches[0]}x{patches[1]} pixels don't divide images of {size[0]}x{size[1]}: the network never sees "
            f"their last {what}; resize the images to multiples of the patches",
            stacklevel=outside(),
        )


def _is_of_torchvision(name: str) -> bool:
    from torchvision import models

    return name in models.list_models(module=models)


def _timm_config(name: str, weights: str | bool | None) -> dict[str, Any] | None:
    """What timm knows of a network's training; None if timm is not installed or has no such network."""
    try:
        import timm
    except ImportError:
        return None
    bare = name.removeprefix("timm:")
    if not timm.is_model(bare):
        return None
    config = timm.get_pretrained_cfg(timm_name(bare, weights))
    return None if config is None else config.to_dict()


def _timm_size(told: Any) -> tuple[int, ...] | None:
    found = told.get("input_size") if isinstance(told, Mapping) else None
    return tuple(found) if isinstance(found, (tuple, list)) and len(found) == 3 else None


def _is_size(value: Any) -> bool:
    sizes = value if isinstance(value, (tuple, list)) else [value]
    return len(sizes) in (1, 2) and all(isinstance(s, int) and s > 0 for s in sizes)


def _pair(size: Any) -> tuple[int, int]:
    sizes = list(size) if isinstance(size, (tuple, list)) else [size]
    return sizes[0], sizes[-1]
