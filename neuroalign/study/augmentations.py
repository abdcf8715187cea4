"""Augmentations from their descriptions: neuroalign's own, registered ones, and torchvision's transforms."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

from torch import nn

from neuroalign.config import DescriptionError, build
from neuroalign.types import unknown

__all__: list[str] = []

_TORCHVISION = "torchvision.transforms.v2."


def augmentation(described: Mapping[str, Any] | None) -> nn.Module | None:
    """The augmentation of a description.

    Args:
        described: ``{class_path: ..., init_args: {...}}`` of ``neuroalign.data.ShiftFlip``, of a class that was registered
            with :func:`neuroalign.register`, or of a transform in ``torchvision.transforms.v2``, whose arguments may be
            descriptions again; None means no augmentation.

    Raises:
        DescriptionError: If there is no such class, or it refuses its arguments.

    Example:
        >>> augmentation({"class_path": "neuroalign.data.ShiftFlip", "init_args": {"shift": 2}})
        ShiftFlip(shift=2, flip=True)
        >>> flip = {"class_path": "torchvision.transforms.v2.RandomHorizontalFlip"}
        >>> augmentation(
        ...     {
        ...         "class_path": "torchvision.transforms.v2.RandomApply",
        ...         "init_args": {"transforms": [flip]},
        ...     }
        ... ).p
        0.5
    """
    if described is None:
        return None
    made = _made(described)
    if not isinstance(made, nn.Module):
        raise DescriptionError(f"{described.get('class_path')} is no module that changes images")
    return made


def _made(value: Any) -> Any:
    if isinstance(value, list):
        return [_made(each) for each in value]
    path = value.get("class_path") if isinstance(value, Mapping) else None
    if not isinstance(path, str):
        return value
    return _of_torchvision(path, value) if path.startswith(_TORCHVISION) else build(dict(value), nn.Module)


def _of_torchvision(path: str, described: Mapping[str, Any]) -> Any:
    from torchvision.transforms import v2

    name = path.removeprefix(_TORCHVISION)
    known = [n for n, found in vars(v2).items() if inspect.isclass(found) and issubclass(found, nn.Module)]
    if name not in known:
        raise DescriptionError(unknown("transform of torchvision.transforms.v2", name, known))
    try:
        return getattr(v2, name)(**{key: _made(each) for key, each in (described.get("init_args") or {}).items()})
    except (TypeError, ValueError) as error:
        raise DescriptionError(f"{path} can't be built from its description: {error}") from error
