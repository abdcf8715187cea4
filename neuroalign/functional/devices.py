"""Tensors that meet must be on one device, and hold values."""

from __future__ import annotations

from torch import Tensor


def check_devices(**tensors: Tensor | None) -> None:
    """Refuse tensors on different devices, and such as hold no values. Looks at attributes alone.

    Args:
        **tensors: By the name that the error gives them; None is passed over.

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
