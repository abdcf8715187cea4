"""Checks of the arguments of formulas: errors that name the argument and the remedy. And questions about single tensors."""

from __future__ import annotations

import difflib
import math
from collections.abc import Iterable
from numbers import Integral

import torch
from jaxtyping import Float
from torch import Tensor

__all__: list[str] = []


def check_choice(what: str, value: object, choices: Iterable[str], *, or_else: str | None = None) -> None:
    """Refuse an option that isn't one of a few.

    Args:
        what: Name of the option, for the error.
        value: The given value.
        choices: The allowed values.
        or_else: Anything else that the caller allows, for the error, for instance "a tensor"; None means nothing else.

    Raises:
        ValueError: Listing the choices, with the nearest one if the value looks like it.

    Example:
        >>> check_choice("norm", "linf", ("linf", "l2"))
    """
    choices = tuple(choices)
    if value in choices:
        return
    listed = [repr(choice) for choice in choices] + ([or_else] if or_else else [])
    allowed = f"{', '.join(listed[:-1])} or {listed[-1]}" if len(listed) > 1 else listed[0]
    near = difflib.get_close_matches(value, choices, n=1) if isinstance(value, str) else []
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown {what} {value!r}: it must be {allowed}{hint}")


def check_whole(**counts: object) -> None:
    """Refuse a count that is no whole number.

    Args:
        **counts: Counts by the name that the error gives them; None is skipped.

    Raises:
        TypeError: Naming the count.

    Example:
        >>> check_whole(steps=5, patience=None)
    """
    for name, count in counts.items():
        if count is not None and (isinstance(count, bool) or not isinstance(count, Integral)):
            raise TypeError(f"{name} must be a whole number; got {count!r}")


def check_devices(**tensors: Tensor | None) -> None:
    """Refuse tensors on different devices, and tensors without values (on "meta"). Looks at attributes alone.

    Args:
        **tensors: Tensors by the name that the error gives them; None is skipped.

    Raises:
        ValueError: Naming the devices.

    Example:
        >>> import torch
        >>> check_devices(preds=torch.zeros(2), target=torch.zeros(3), weight=None)
    """
    first: tuple[str, Tensor] | None = None
    for name, x in tensors.items():
        if x is None:
            continue
        if x.device.type == "meta":
            raise ValueError(
                f"{name} is on the device 'meta', where tensors have shapes but no values: make it, or load its module, on a "
                "real device"
            )
        if first is None:
            first = name, x
        elif x.device != first[1].device:
            raise ValueError(
                f"{first[0]} is on {first[1].device}, {name} on {x.device}: move one to the other's device by .to(...)"
            )


def check_sets(preds: Tensor, target: Tensor) -> None:
    """Refuse anything but two floating-point tensors, (stimulus, feature) and (stimulus, voxel), of the same stimuli.

    Raises:
        TypeError: If one is no tensor, or not floating point.
        ValueError: If the shapes don't fit, a side has no columns, or the two are on different devices.
    """
    for name, x in (("preds", preds), ("target", target)):
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} must be a tensor; got {type(x).__name__} (torch.as_tensor(array) makes one)")
        if x.is_complex() or not x.is_floating_point():
            raise TypeError(f"{name} must be floating point; got {x.dtype} ({name}.float() makes it so)")
    if preds.ndim != 2 or target.ndim != 2:
        raise ValueError(
            f"preds and target must be (stimulus, voxel); got {tuple(preds.shape)} and {tuple(target.shape)}"
        )
    if preds.shape[0] != target.shape[0]:
        raise ValueError(
            f"preds has {preds.shape[0]} stimuli and target {target.shape[0]}: rows must be the same images"
        )
    check_devices(preds=preds, target=target)
    for name, x in (("preds", preds), ("target", target)):
        if x.shape[1] == 0:
            raise ValueError(f"{name} has no voxels: shape {tuple(x.shape)}. Is the region empty after masking?")


def check_pair(preds: Tensor, target: Tensor) -> None:
    """Refuse responses that are not two floating-point (stimulus, voxel) tensors of the same shape.

    Raises:
        TypeError: If one is no tensor, or not floating point.
        ValueError: Naming what differs.
    """
    check_sets(preds, target)
    if preds.shape[1] != target.shape[1]:
        raise ValueError(
            f"preds has {preds.shape[1]} voxels and target {target.shape[1]}: voxel by voxel, they must be the same. "
            "(Measures of whole sets such as 'cka', 'rsa' or 'procrustes' compare different numbers.)"
        )


def check_features(features: Tensor, labels: Tensor) -> None:
    """Refuse anything but features (stimulus, feature) with an integer label for each row.

    Raises:
        TypeError: If the features are not floating point.
        ValueError: Naming what is wrong.
    """
    if not features.is_floating_point():
        raise TypeError(f"features must be floating point; got {features.dtype}")
    if features.ndim != 2:
        raise ValueError(f"features must be (stimulus, feature); got shape {tuple(features.shape)}")
    if labels.shape != features.shape[:1]:
        raise ValueError(f"{len(features)} rows of features but labels of shape {tuple(labels.shape)}")
    if labels.is_floating_point() or labels.is_complex():
        raise ValueError(f"labels must be integers; got {labels.dtype}")
    check_devices(features=features)
    check_devices(labels=labels)


def check_labels(labels: Tensor, num_classes: int) -> None:
    """Refuse labels outside ``range(num_classes)``.

    Raises:
        ValueError: Naming the label that is out of range.
    """
    if len(labels) and not bool(((labels >= 0) & (labels < num_classes)).all()):
        low, high = int(labels.min()), int(labels.max())
        raise ValueError(
            f"labels run from {low} to {high}, but there are {num_classes} classes (0 to {num_classes - 1})"
        )


def check_finite(features: Tensor) -> None:
    """Refuse NaN and infinite values.

    Raises:
        ValueError: Naming the first row that holds one.
    """
    finite = features.isfinite()
    if not bool(finite.all()):
        row = int((~finite).nonzero()[0, 0])
        raise ValueError(f"features hold NaN or infinite values (first in row {row}); remove those rows first")


_REMEDIES = {
    "preds": "has the network diverged?",
    "variance": "a variance is a finite, positive number",
    "weight": "weights are finite numbers from 0 on, NaN leaves a voxel out",
}


def check_infinite(*, squared: bool = False, **tensors: Tensor | None) -> None:
    """Refuse infinite values: a mean would spread them, and a mask would hide them.

    Args:
        squared: Whether the values will be squared and summed: values too large for that are refused too, unless they
            cancel out in a plain sum.
        **tensors: Tensors by the name that the error gives them; None is skipped.

    Raises:
        ValueError: Saying which tensor, how many, where the first is, and what to do.
    """
    for name, x in tensors.items():
        if x is None:
            continue
        dtype = torch.promote_types(x.dtype, torch.float32)  # the dtype of the computation
        largest = (torch.finfo(dtype).max / max(x.numel(), 1)) ** 0.5 if squared else math.inf
        total = float(x.detach().nansum())
        if math.isfinite(total) and abs(total) <= largest:
            continue
        infinite = x.detach().isinf()
        count = int(infinite.sum())
        if count:
            place = tuple(infinite.nonzero()[0].tolist())
            raise ValueError(
                f"{name} has infinite values; {_REMEDIES.get(name, 'mark missing ones by NaN')} ({count} of them, the first "
                f"at {place})"
            )
        top = float(x.detach().nan_to_num(0.0).abs().max())
        if top > largest:
            raise ValueError(
                f"{name} has values up to {top:.3g}, whose squares leave {dtype}: bring them to another unit (z-scores, "
                "say), or give float64 tensors"
            )


def check_ceiling(ceiling: Tensor) -> Float[Tensor, " voxel"]:
    """A noise ceiling as voxel weights, (voxel,) float32, 0 where it is NaN.

    Raises:
        ValueError: If it is not (voxel,) in [0, 1], or leaves every voxel out.
    """
    if ceiling.ndim != 1:
        raise ValueError(f"noise_ceiling must be (voxel,); got shape {tuple(ceiling.shape)}")
    ceiling = torch.nan_to_num(ceiling.float(), nan=0.0, posinf=torch.inf)
    if bool((ceiling < 0).any()) or bool((ceiling > 1).any()):
        raise ValueError(
            f"noise_ceiling must be in [0, 1]; got {float(ceiling.min()):.3g} to {float(ceiling.max()):.3g} "
            "(divide per cent by 100; turn ncsnr into a ceiling with ncsnr^2 / (ncsnr^2 + 1/n))"
        )
    if not bool((ceiling > 0).any()):
        raise ValueError("noise_ceiling is 0 or NaN everywhere: every voxel would be left out")
    return ceiling


def check_enough(num_stimuli: int, minimum: int, what: str) -> None:
    """Refuse a set too small for a formula.

    Raises:
        ValueError: Naming the number and the remedy.
    """
    if num_stimuli < minimum:
        raise ValueError(
            f"{what} needs at least {minimum} stimuli; got {num_stimuli}. Use larger batches, and drop_last=True where "
            "the last one is too small"
        )


def widen(*tensors: Tensor) -> tuple[Tensor, ...]:
    """The tensors in their common dtype, float32 or wider."""
    dtype = tensors[0].dtype
    if dtype in (torch.float32, torch.float64) and all(x.dtype == dtype for x in tensors):
        return tensors
    dtype = torch.float32
    for x in tensors:
        dtype = torch.promote_types(dtype, x.dtype)
    return tuple(x.to(dtype) for x in tensors)


def has_nan(x: Tensor) -> bool:
    """Whether any entry is NaN. Decided by sums; a mask is made only if infinite or huge entries leave it open."""
    x = x.detach()
    return bool(x.sum().isnan()) and (bool(x.nansum().isfinite()) or bool(x.isnan().any()))


def all_finite(x: Tensor) -> bool:
    """Whether no entry is NaN or infinite. Decided by sums; a mask is made only if these leave it open."""
    x = x.detach()
    total = x.sum()
    if bool(total.isfinite()):
        return True
    return not (bool(total.isnan()) and bool(x.nansum().isfinite())) and bool(x.isfinite().all())
