"""A guided network as an ordinary classifier, and what others must know of a network to use it."""

from __future__ import annotations

import copy
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from neuroalign.models import GuidedNetwork, NeuralPredictor, RidgePredictor, StandardizedPredictor, Trunk
from neuroalign.models.network_files import OwnBackbone
from neuroalign.version import __version__

__all__ = ["PlainClassifier"]


class PlainClassifier(nn.Module):
    """A guided network without its heads and hooks: pixels in, logits out, the normalisation inside.

    It is a copy in eval mode; the guided network keeps its mode, its hooks and its gradients. Layers and weights keep their
    names, such as ``trunk.backbone.layer3``.

    Args:
        network: The guided network, or a task or parallel wrapper around one.

    Shapes:
        images (stimulus, channel, height, width) in [0, 1] -> logits (stimulus, class).

    Attributes:
        trunk: The backbone behind its normalisation.
        classifier: Linear map from features to logits; an identity if the backbone gives logits.
        num_classes: Number of classes.

    Raises:
        TypeError: If it is no :class:`GuidedNetwork`.

    Example:
        >>> heads = {"V4": ("layer2", 20)}
        >>> network = GuidedNetwork("small_resnet", 10, heads, image_shape=(3, 8, 8))
        >>> plain = PlainClassifier(network)
        >>> (
        ...     plain(torch.rand(4, 3, 8, 8)).shape,
        ...     len(plain.trunk.backbone.layer2._forward_hooks),
        ...     network.training,
        ... )
        (torch.Size([4, 10]), 0, True)
    """

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        network = unwrapped(network)
        if not isinstance(network, GuidedNetwork):
            raise TypeError(f"a plain classifier is made of a GuidedNetwork; got a {type(network).__name__}")
        self.trunk, self.classifier = copied(nn.ModuleList([network.trunk, network.classifier]))
        self.num_classes = network.num_classes
        _remove_taps(self.trunk)
        self.eval()

    @staticmethod
    def load(
        path: str | os.PathLike[str], *, backbone: OwnBackbone = None, allow: Sequence[str] = ()
    ) -> PlainClassifier:
        """Read a guided network from its file or from a task's checkpoint, as a plain classifier.

        Args:
            path: The file.
            backbone: For a file with a backbone of your own class: see :meth:`neuroalign.GuidedNetwork.load`.
            allow: Instead, Python modules and packages from which its class may be imported.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds no guided network, or for the reasons of :meth:`neuroalign.GuidedNetwork.load`.
        """
        return PlainClassifier(GuidedNetwork.load(path, backbone=backbone, allow=allow))

    def forward(self, images: Tensor) -> Tensor:
        """Logits (stimulus, class) of images (stimulus, channel, height, width) in [0, 1]."""
        return self.classifier(self.trunk(images))


@dataclass(frozen=True)
class Facts:
    """What the user of an exported network must know: how to make its input, and what its output is.

    Attributes:
        output: "logits", "responses", or "outputs" of a module whose kind isn't known.
        num_outputs: Number of classes or voxels.
        image_shape: (channel, height, width) of the images, floating point in [0, 1].
        mean: Mean per channel that the network subtracts itself; None if it doesn't, or if that is not known.
        std: Standard deviation per channel that it divides by.
        backbone: Name of the backbone; None if it was given as a module.
        class_names: Names of the classes in the order of the outputs; None if they were not given.
        neuroalign: Version that exported it.
    """

    output: str
    num_outputs: int
    image_shape: tuple[int, ...]
    mean: tuple[float, ...] | None
    std: tuple[float, ...] | None
    backbone: str | None
    class_names: tuple[str, ...] | None = None
    neuroalign: str = __version__

    def as_dict(self) -> dict[str, Any]:
        """The facts in plain values, for JSON."""
        return asdict(self)


def plain_network(
    network: nn.Module, image_shape: Sequence[int] | None = None, class_names: Sequence[str] | None = None
) -> tuple[nn.Module, Facts]:
    """A copy of a network to export, in eval mode on the CPU, and the facts about it.

    Args:
        network: A guided network, which becomes a :class:`PlainClassifier`; a predictor of responses; a task or a parallel
            wrapper around one of these; or any module from images to one tensor (stimulus, output).
        image_shape: (channel, height, width) of the images; None takes the network's own.
        class_names: Names of the classes, in the order of the outputs.

    Raises:
        TypeError: If it is no module.
        ValueError: If a module's image shape is not known, it doesn't run, or there are more or fewer names than outputs.
    """
    if not isinstance(network, nn.Module):
        raise TypeError(f"the network must be a torch.nn.Module; got a {type(network).__name__}")
    network = unwrapped(network)
    module = PlainClassifier(network) if isinstance(network, GuidedNetwork) else copied(network)
    trunk = next((m for m in module.modules() if isinstance(m, Trunk)), None)
    if image_shape is None:
        if trunk is None:
            raise ValueError(
                f"give image_shape=(channel, height, width): a {type(network).__name__} doesn't say its own"
            )
        image_shape = trunk.image_shape
    shape = tuple(image_shape)
    module = module.cpu()
    outputs = _num_outputs(module, shape)
    if class_names is not None and len(class_names) != outputs:
        raise ValueError(f"the network has {outputs} outputs, class_names {len(class_names)}")
    predicts = isinstance(network, (NeuralPredictor, RidgePredictor, StandardizedPredictor))
    facts = Facts(
        output="logits" if isinstance(module, PlainClassifier) else "responses" if predicts else "outputs",
        num_outputs=outputs,
        image_shape=shape,
        mean=None if trunk is None or trunk.mean is None else tuple(map(float, trunk.mean)),
        std=None if trunk is None or trunk.std is None else tuple(map(float, trunk.std)),
        backbone=None if trunk is None else backbone_name(trunk),
        class_names=None if class_names is None else tuple(map(str, class_names)),
    )
    return module, facts


def unwrapped(network: nn.Module) -> nn.Module:
    """The network inside ``torch.compile``'s or a parallel wrapper, or inside a task of ours."""
    names = ["_orig_mod"]
    if isinstance(network, (nn.DataParallel, nn.parallel.DistributedDataParallel)):
        names.append("module")
    if any(base.__name__ == "LightningModule" for base in type(network).__mro__):  # without importing Lightning
        names += ["network", "predictor"]
    for name in names:
        inner = getattr(network, name, None)
        if isinstance(inner, nn.Module):
            return unwrapped(inner)
    return network


def backbone_name(trunk: Trunk) -> str | None:
    """The name by which a trunk's backbone was built; None if it was given as a module."""
    return trunk._name


def copied(module: nn.Module) -> Any:
    """A copy in eval mode; a copied parameter has no gradient."""
    try:
        found = copy.deepcopy(module)
    except (RuntimeError, TypeError, ValueError) as error:
        raise ValueError(f"the network can't be copied: {first_sentence(error)}") from error
    return found.eval()


def _remove_taps(trunk: Trunk) -> None:
    """Remove the hooks of the taps; other hooks are part of what the backbone computes."""
    for module in trunk.backbone.modules():
        for key, hook in list(module._forward_hooks.items()):
            if isinstance(hook, partial) and getattr(hook.func, "__func__", None) is Trunk._capture:
                del module._forward_hooks[key]
    trunk.layers, trunk.layer_shapes = (), {}


@torch.no_grad()
def _num_outputs(module: nn.Module, shape: tuple[int, ...]) -> int:
    try:
        output = module(torch.full((2, *shape), 0.5))
    except Exception as error:
        raise ValueError(f"the network doesn't run on images of shape {shape}: {first_sentence(error)}") from error
    if not isinstance(output, Tensor) or output.ndim != 2 or len(output) != 2:
        got = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise ValueError(f"the network must return one tensor (stimulus, output); for 2 images it returned {got}")
    return output.shape[1]


def first_sentence(error: BaseException) -> str:
    r"""What an error of another package says first: its first line that isn't empty, without marks of decoration.

    Example:
        >>> first_sentence(RuntimeError("\n\nCould not guard on u0\n\nPotential causes: ..."))
        'Could not guard on u0'
    """
    text = str(error).split(" For more information, run with ")[0]
    lines = (line.strip(" -=#*\t") for line in text.splitlines())
    return next((line[:300].rstrip(".:!") for line in lines if line), type(error).__name__)
