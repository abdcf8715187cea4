"""Files of networks: weights, and the description that rebuilds the network around them."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from neuroalign.config import (
    DescriptionError,
    build,
    description_of,
    is_description,
    reason_undescribed,
    refuse_if_described,
)
from neuroalign.files import check_source, whole
from neuroalign.tensor_files import check_checkpoint, load_tensors, stamp_tensors

__all__: list[str] = []


def save_module(module: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write the weights and the description of a network to one safetensors file (under a temporary name first).

    Args:
        module: A network that has a description, such as a ``NeuralPredictor``, ``RidgePredictor`` or ``GuidedNetwork``.
        path: The file.

    Raises:
        ValueError: If no file can describe it, such as one whose backbone was given as a module.

    Example:
        >>> import tempfile
        >>> from neuroalign.models import GuidedNetwork
        >>> path = Path(tempfile.mkdtemp()) / "network.safetensors"
        >>> save_module(GuidedNetwork("small_resnet", 10, image_shape=(3, 8, 8)), path)
        >>> load_module(path, "network")(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 10])
    """
    from safetensors.torch import save_file

    config = description_of(module)
    if config is None:
        raise ValueError(
            f"there is no description to save: {reason_undescribed(module)}. Save its state_dict, give the "
            "backbone by name, or register the class with neuroalign.register before it is made"
        )
    module = getattr(module, "_orig_mod", module)  # the module inside torch.compile's wrapper
    state = {k: v.contiguous().cpu() for k, v in module.state_dict().items()}
    with whole(path) as temporary:
        save_file(state, temporary, metadata=stamp_tensors(state, {"neuroalign": json.dumps(config)}))


def load_module(path: str | os.PathLike[str], what: str) -> nn.Module:
    """Read a network from a file of :func:`save_module`, or from a checkpoint of a task.

    Args:
        path: The file.
        what: The network's name in a task's checkpoint, such as ``"predictor"`` or ``"network"``; also for messages.

    Returns:
        The network, in train mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it describes no network, or something that a description may not name: see
            :func:`neuroalign.config.build`.
    """
    refuse_if_described("reading a file")
    path = check_source(path, what)
    config, state = _checkpoint(path, what) if path.suffix == ".ckpt" else _safetensors(path, what)
    if config is None:
        raise ValueError(f"{path} does not describe a {what}: build it and load the state dict yourself")
    if not is_description(config):
        raise ValueError(f"{path} does not describe a {what}: in place of a description it holds {_short(config)}")
    try:
        module = build(config, nn.Module)
    except DescriptionError as error:
        raise DescriptionError(f"{path}: {error}") from error
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path}: the weights are not those of the network that it describes ({reason})") from error
    return module


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:57]}..."


def _checkpoint(path: Path, what: str) -> tuple[Any, dict[str, Tensor]]:
    """Description and weights of a network in a task's checkpoint."""
    check_checkpoint(path)
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError) as error:
        raise ValueError(f"{path} is no checkpoint: it is damaged, or holds more than tensors and plain values; nothing in "
                         "it was run") from error  # fmt: skip
    parts = checkpoint if isinstance(checkpoint, Mapping) else {}
    parameters, state = parts.get("hyper_parameters", {}), parts.get("state_dict")
    if not isinstance(parameters, Mapping) or not isinstance(state, Mapping):
        raise ValueError(f"{path} is no checkpoint of a task: it holds no hyper_parameters or state_dict by name")
    prefix = f"{what}."
    return parameters.get(what), {k.removeprefix(prefix): v for k, v in state.items() if str(k).startswith(prefix)}


def _safetensors(path: Path, what: str) -> tuple[Any, dict[str, Tensor]]:
    """Description and weights of a network in a safetensors file."""
    state, metadata = load_tensors(path, f"a {what}")
    try:
        return json.loads(metadata.get("neuroalign", "null")), state
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: the description of the {what} is no JSON ({str(error)[:80]})") from error
