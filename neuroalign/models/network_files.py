"""Files of networks: weights, and the description that rebuilds the network around them."""

from __future__ import annotations

import json
import os
import pickle
import textwrap
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias, cast

import torch
from torch import Tensor, nn

from neuroalign.config import (
    DescriptionError,
    build,
    is_description,
    reason_unsaved,
    refuse_if_described,
    saved_description_of,
)
from neuroalign.config.markers import own_modules
from neuroalign.config.own_modules import made_by_name
from neuroalign.files import check_source, whole
from neuroalign.tensor_files import check_checkpoint, load_tensors, stamp_tensors

__all__: list[str] = []

OwnBackbone: TypeAlias = "nn.Module | Callable[[], nn.Module] | None"
"""A module of a class of the user's own, or its class or a function that makes it."""

TASKS = {"predictor": "NeuralPredictionTask", "network": "GuidedClassificationTask"}
"""The task whose checkpoints hold a network under this name."""


def save_module(module: nn.Module, path: str | os.PathLike[str]) -> None:
    """Write the weights and the description of a network to one safetensors file (under a temporary name first).

    A module inside that has no description, of a class of the user's own or of another package, is stored as its weights and
    the names of its class.

    Args:
        module: A network of neuroalign or of a registered class, such as a ``NeuralPredictor``, ``RidgePredictor`` or
            ``GuidedNetwork``.
        path: The file.

    Raises:
        ValueError: If no file can describe it, such as one with a head given as a function.

    Example:
        >>> import tempfile
        >>> from neuroalign.models import GuidedNetwork
        >>> path = Path(tempfile.mkdtemp()) / "network.safetensors"
        >>> save_module(GuidedNetwork("small_resnet", 10, image_shape=(3, 8, 8)), path)
        >>> load_module(path, "network")(torch.rand(2, 3, 8, 8)).shape
        torch.Size([2, 10])
    """
    from safetensors.torch import save_file

    config = saved_description_of(module)
    if config is None:
        raise ValueError(f"there is no description to save: {reason_unsaved(module)}. Its state_dict can be saved")
    module = getattr(module, "_orig_mod", module)  # the module inside torch.compile's wrapper
    state = {k: v.contiguous().cpu() for k, v in module.state_dict().items()}
    with whole(path) as temporary:
        save_file(state, temporary, metadata=stamp_tensors(state, {"neuroalign": json.dumps(config)}))


def load_module(
    path: str | os.PathLike[str], what: str, *, backbone: OwnBackbone = None, allow: Sequence[str] = ()
) -> nn.Module:
    """Read a network from a file of :func:`save_module`, or from a checkpoint of a task.

    Args:
        path: The file.
        what: The network's name in a task's checkpoint, such as ``"predictor"`` or ``"network"``; also for messages.
        backbone: The module of a class of the user's own that the file names: it becomes part of the network, with the
            weights of the file. Or its class, or a function, that makes it without arguments. None if the file names none.
        allow: Python modules and packages from which such a class may be imported instead, as ``["mylab.nets"]``; it is made
            without arguments.

    Returns:
        The network, in train mode.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it describes no network, or something that a description may not name: see
            :func:`neuroalign.config.build`; if it names a class of the user's own and neither argument is given; if
            ``backbone`` is given and it names none; or if the weights don't fit.
    """
    refuse_if_described("reading a file")
    path = check_source(path, what)
    config, state = _checkpoint(path, what) if path.suffix == ".ckpt" else _safetensors(path, what)
    if config is None:
        raise ValueError(f"{path} does not describe a {what}: build it and load the state dict yourself")
    if not is_description(config):
        raise ValueError(f"{path} does not describe a {what}: in place of a description it holds {_short(config)}")
    try:
        module = build(config, nn.Module, own=backbone, allow=allow)
    except DescriptionError as error:
        raise DescriptionError(f"{path}: {error}") from error
    given = backbone if isinstance(backbone, nn.Module) else None
    before = {} if given is None else {k: v.clone() for k, v in given.state_dict().items()}
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        if given is not None:
            given.load_state_dict(before)  # those weights that fit were loaded already
        reason = textwrap.shorten(str(error), 400, placeholder=" ...")
        advice = made_by_name(list(own_modules(config))) if backbone is None else ""
        raise ValueError(
            f"{path}: the weights are not those of the network that it describes ({reason}){advice}"
        ) from error
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
    if what not in parameters and not any(str(k).startswith(prefix) for k in state):
        for other, task in TASKS.items():
            if other in parameters or any(str(k).startswith(f"{other}.") for k in state):
                raise ValueError(f"{path} is a checkpoint of {task}: it holds a {other}, no {what}")
    return parameters.get(what), {k.removeprefix(prefix): v for k, v in state.items() if str(k).startswith(prefix)}


def _safetensors(path: Path, what: str) -> tuple[Any, dict[str, Tensor]]:
    """Description and weights of a network in a safetensors file."""
    state, metadata = load_tensors(path, f"a {what}")
    try:
        return json.loads(metadata.get("neuroalign", "null")), state
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: the description of the {what} is no JSON ({str(error)[:80]})") from error


class PredictorFile:
    """Gives a predictor ``save`` and ``load``."""

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights and description to one safetensors file: see :meth:`neuroalign.NeuralPredictor.save`."""
        save_module(cast(nn.Module, self), path)

    @staticmethod
    def load(path: str | os.PathLike[str], *, backbone: OwnBackbone = None, allow: Sequence[str] = ()) -> nn.Module:
        """Read a predictor of any class from its file: see :meth:`neuroalign.NeuralPredictor.load`.

        Args:
            path: The file.
            backbone: The backbone or features of your own class that the file names, or what makes them; None if it names
                none.
            allow: Instead, Python modules and packages from which such a class may be imported.
        """
        return load_module(path, "predictor", backbone=backbone, allow=allow)
