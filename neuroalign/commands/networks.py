"""Open the networks that are named on the command line: by a file, a folder, or a name of torchvision or timm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from neuroalign.commands.own_classes import asking_for_allow, import_own

if TYPE_CHECKING:
    import torch
    from torch import nn

__all__: list[str] = []

CKPT_HELP = (
    "the network: checkpoint of a task (.ckpt), file or folder of a saved network (.safetensors, or what save_pretrained "
    "wrote), or the name of a network of torchvision or, as timm:NAME, of timm (random weights; pretrained with @DEFAULT or "
    "another name of weights, such as resnet18@DEFAULT or timm:resnet18@a1_in1k)"
)
_FILES = (".ckpt", ".safetensors")


class Opened(NamedTuple):
    """A network that was named on the command line.

    Attributes:
        network: A task, or the network itself.
        name: What to call it in titles.
        image_size: Height and width in pixels of the images that it was built for; None if that isn't known.
    """

    network: nn.Module
    name: str
    image_size: int | None


def open_network(named: str, *, classifier: str | None = None, allow: Sequence[str] = ()) -> Opened:
    """The network that a text names.

    Args:
        named: A file, a folder, or a name; see ``CKPT_HELP``.
        classifier: The command, if it needs a network that classifies images; None takes any.
        allow: Python modules and packages from which the class of a file's backbone may be imported; they are imported.

    Raises:
        FileNotFoundError: If there is no such file.
        ImportError: If timm is needed and not installed.
        ValueError: If the file or folder holds no network, or none that classifies though one is needed, or one of a class
            that ``allow`` doesn't name; if a module of ``allow`` can't be imported; or if no network has that name (the
            message has near matches).
    """
    path = Path(named)
    if path.suffix in _FILES or path.exists():
        import_own(allow)
        with asking_for_allow(path, allow):
            return _of_path(path, classifier, allow)
    if "/" in named:
        raise FileNotFoundError(f"there is no file or folder {named}, and networks' names have no slash")
    name, _, weights = named.partition("@")
    network, image_size = _of_timm(name, weights) if name.startswith("timm:") else _of_torchvision(name, weights)
    return Opened(network, named if weights else f"{name} with random weights", image_size)


def open_device(named: str) -> torch.device:
    """The device that ``--device`` names; "auto" takes a GPU if there is one.

    Raises:
        ValueError: If there is no such device here.
    """
    import torch

    if named == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(named)
    except RuntimeError:
        raise ValueError(f"--device {named}: give auto, cpu, cuda, cuda:1, or mps") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"--device {named}: torch finds no GPU here")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"--device {named}: there are {torch.cuda.device_count()} GPUs here, counted from 0")
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError(f"--device {named}: torch finds no GPU of Apple here")
    return device


def _of_path(path: Path, classifier: str | None, allow: Sequence[str]) -> Opened:
    from neuroalign.models.network_files import load_module

    if not path.exists():
        what = "checkpoint" if path.suffix == ".ckpt" else "file"
        raise FileNotFoundError(f"there is no {what} {path}")
    if path.is_dir() and path.suffix != ".ckpt":
        file = path / "model.safetensors"
        if not file.is_file():
            raise ValueError(f"{path} is a folder without model.safetensors, which save_pretrained writes")
        network = load_module(file, "network", allow=allow)
    elif path.suffix == ".safetensors":
        network = load_module(path, "network", allow=allow)
    else:
        network = _of_checkpoint(path, classifier, allow)
    if classifier is not None and _predicts_responses(network):
        raise ValueError(
            f"{path} holds a {type(network).__name__}, which predicts responses: {classifier} needs a classifier"
        )
    return Opened(network, path.name, _image_size(network))


def _of_checkpoint(path: Path, classifier: str | None, allow: Sequence[str]) -> nn.Module:
    from neuroalign.checksums import DamagedFileError
    from neuroalign.tasks import GuidedClassificationTask, NeuralPredictionTask

    try:
        return _task_or_network(GuidedClassificationTask, path, "network", allow)
    except (TypeError, KeyError, RuntimeError, AttributeError, ValueError) as error:
        weights = _weights_in(path)
        parts = {name.partition(".")[0] for name in weights}
        if "predictor" in parts and "network" not in parts:
            if classifier is None:
                return _task_or_network(NeuralPredictionTask, path, "predictor", allow)
            raise ValueError(
                f"{path} is a checkpoint of NeuralPredictionTask, which predicts responses: {classifier} needs a "
                "classifier, such as a checkpoint of GuidedClassificationTask"
            ) from error
        if weights and "network" not in parts and not isinstance(error, DamagedFileError):
            raise ValueError(
                f"{path} is no checkpoint of neuroalign's tasks, but of another network, with weights such as "
                f"{weights[0]!r}: build that network in Python, load its weights, and give it to neuroalign's functions"
            ) from error
        if isinstance(error, ValueError) and not isinstance(error, UnicodeError):
            raise
        reason = str(error).split("\n")[0]
        raise ValueError(f"{path} is no checkpoint of GuidedClassificationTask ({reason})") from error


def _task_or_network(task: Any, path: Path, what: str, allow: Sequence[str]) -> nn.Module:
    """The task of a checkpoint; its network alone if that has a backbone of the user's own, which no task builds."""
    from neuroalign.config.own_modules import lacking
    from neuroalign.models.network_files import load_module

    try:
        found: nn.Module = task.load_from_checkpoint(path, map_location="cpu")
    except ValueError as error:
        if lacking(error) is None:
            raise
        found = load_module(path, what, allow=allow)
    return found


def _weights_in(path: Path) -> list[str]:
    """Names of the weights in a checkpoint of Lightning; none if it can't be read."""
    import torch

    try:
        content: Any = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
        return [str(name) for name in content["state_dict"]]
    except Exception:  # whatever is wrong with the file was found before
        return []


def _predicts_responses(network: nn.Module) -> bool:
    from neuroalign.models import NeuralPredictor, RidgePredictor
    from neuroalign.tasks import NeuralPredictionTask

    return isinstance(network, (NeuralPredictor, RidgePredictor, NeuralPredictionTask))


def _image_size(network: nn.Module) -> int | None:
    """Height and width of the images that the network's trunk was built for, if these are squares."""
    from neuroalign.models.backbones import Trunk

    for module in network.modules():
        if isinstance(module, Trunk):
            _, height, width = module.image_shape
            return int(height) if height == width else None
    return None


def _of_torchvision(name: str, weights: str) -> tuple[nn.Module, int | None]:
    import torch
    from torchvision import models

    from neuroalign.models.normalization import own_normalization
    from neuroalign.models.pretraining import own_shape, torchvision_weights
    from neuroalign.types import unknown

    known = models.list_models(module=models)
    if name not in known:
        message = unknown("torchvision model", name, known)
        if "did you mean" not in message:
            message += f"; networks of timm are written timm:NAME, and files end in {' or '.join(_FILES)}"
        raise ValueError(message)
    pretrained = torchvision_weights(name, weights) if weights else None
    torch.manual_seed(0)
    network = models.get_model(name, weights=pretrained)
    size = own_shape(name, weights)[1] if weights else None
    return _normalizing(network, *own_normalization(network, name, weights or None)), size


def _of_timm(name: str, weights: str) -> tuple[nn.Module, int | None]:
    import torch

    from neuroalign.models.normalization import own_normalization
    from neuroalign.models.pretraining import own_shape, timm_name
    from neuroalign.types import unknown

    try:
        import timm
    except ImportError as error:
        raise ImportError(f"{name!r} needs timm: pip install 'neuroalign[timm]'", name="timm") from error
    bare = name.removeprefix("timm:")
    if not timm.is_model(bare):
        raise ValueError(unknown("timm model", bare, timm.list_models()))
    torch.manual_seed(0)
    network = timm.create_model(timm_name(bare, weights or None), pretrained=bool(weights))
    _, height, width = own_shape(network)
    return _normalizing(network, *own_normalization(network)), height if height == width else None


def _normalizing(network: nn.Module, mean: tuple[float, ...], std: tuple[float, ...]) -> nn.Module:
    """The network with its normalisation in front: a hook rather than a wrapper, so that its layers keep their names."""
    from neuroalign.models import Normalize

    normalize = Normalize(mean, std)

    def before(module: nn.Module, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
        return (normalize.to(inputs[0].device)(inputs[0]), *inputs[1:])

    network.register_forward_pre_hook(before)
    return network
