"""Any network as a trunk: built by name or taken as it is, normalising its input, its layers tapped by name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from neuroalign.config import build, describe, refuse_if_described
from neuroalign.types import unknown

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
SMALL_IMAGE = 64
"""Up to this height and width a ResNet gets its CIFAR stem: a 7x7 stride-2 stem leaves too little of a small image."""

_LOADING = ("weights", "weights_backbone", "pretrained", "pretrained_backbone", "pretrained_cfg", "checkpoint_path")
"""Options by which torchvision's and timm's constructors fetch or read weights."""


class Normalize(nn.Module):
    """Subtract a mean and divide by a standard deviation per channel: a model's first layer, so that eps is in pixels.

    Args:
        mean: (channel,), in pixel units of [0, 1].
        std: (channel,), positive.

    Raises:
        ValueError: If a standard deviation is not positive, or the two differ in length.

    Example:
        >>> Normalize((0.5,), (0.25,))(torch.ones(1, 1, 1, 1)).item()
        2.0
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD) -> None:
        super().__init__()
        if len(mean) != len(std) or min(std) <= 0:
            raise ValueError(f"mean and std must have one value a channel, std positive; got {mean} and {std}")
        self.register_buffer("mean", torch.tensor(mean, dtype=torch.float32)[:, None, None])
        self.register_buffer("std", torch.tensor(std, dtype=torch.float32)[:, None, None])

    def forward(self, images: Tensor) -> Tensor:
        """Normalise images (stimulus, channel, height, width)."""
        if images.shape[-3] != len(self.mean) and len(self.mean) != 1:
            raise ValueError(f"images have {images.shape[-3]} channels, the normalisation {len(self.mean)}")
        return (images - self.mean) / self.std

    def extra_repr(self) -> str:
        """Shown in ``repr``."""
        return f"mean={self.mean.flatten().tolist()}, std={self.std.flatten().tolist()}"


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
        options: Further arguments of the network's constructor.

    Returns:
        The network, its final linear classifier replaced by the identity.

    Raises:
        ValueError: If no network has that name; the message lists near matches.
        ImportError: If a timm name is given and timm is not installed.

    Example:
        >>> build_backbone("resnet18", small_images=True)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 512])
    """
    options = options or {}
    if weights or any(options.get(option) for option in _LOADING):
        refuse_if_described("pretrained weights")
    if name == "small_resnet":
        from neuroalign.models.smallnet import SmallResNet

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
            raise ValueError(unknown("torchvision model", name, models.list_models(module=models)))
        backbone = models.get_model(name, weights=weights, **options)
        _drop_classifier(backbone)
    if small_images:
        _small_stem(backbone)
    return backbone


def _drop_classifier(backbone: nn.Module) -> None:
    """Replace the last linear layer, torchvision's classifier in all but SqueezeNet, by the identity."""
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


def check_layer(module: nn.Module, layer: str) -> nn.Module:
    """The submodule of a dotted name.

    Raises:
        ValueError: If there is none; the message lists near matches.
    """
    modules = dict(module.named_modules())
    if layer not in modules or layer == "":
        raise ValueError(unknown("layer", layer, [n for n in modules if n]))
    return modules[layer]


def _tensor(output: Any, layer: str) -> Tensor:
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor):
        output = output[0]  # attention layers return (values, weights)
    if not isinstance(output, Tensor):
        raise TypeError(f"layer {layer!r} returns {type(output).__name__}, not a tensor: tap a layer inside it")
    return output


@contextmanager
def record_layers(module: nn.Module, layers: Sequence[str]) -> Iterator[dict[str, Tensor]]:
    """Record the outputs of named layers of any module while the context is open.

    Args:
        module: Any module.
        layers: Dotted names of submodules.

    Yields:
        A dict that holds, after each forward pass, the last output of every layer that ran, as a copy.

    Raises:
        ValueError: If a layer doesn't exist; the message lists near matches.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 3), nn.ReLU())
        >>> with record_layers(net, ["0"]) as features:
        ...     _ = net(torch.zeros(4, 2))
        >>> features["0"].shape
        torch.Size([4, 3])
    """
    recorded: dict[str, Tensor] = {}

    def save(layer: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        recorded[layer] = _tensor(output, layer).clone()

    handles = [check_layer(module, layer).register_forward_hook(partial(save, layer)) for layer in layers]
    try:
        yield recorded
    finally:
        for handle in handles:
            handle.remove()


class Trunk(nn.Module):
    """A backbone behind its normalisation, giving its features and, in the same pass, the outputs of tapped layers.

    A captured output is copied at once: an in-place ReLU would overwrite it. Where a layer runs several times in a pass
    the last run counts. Taps survive ``deepcopy``, ``pickle`` and ``torch.compile``; they are set only here, since a
    hook added after compiling never fires.

    Args:
        backbone: A name for :func:`build_backbone`, or any module from images to features (stimulus, feature), or to
            (stimulus, channel, height, width) or (stimulus, token, feature), which are then averaged over space or
            tokens.
        layers: Dotted names of the layers to tap, in the backbone.
        image_shape: (channel, height, width) of the images, for the dry run that finds the sizes; up to 64 pixels a
            ResNet built by name gets its CIFAR stem.
        mean: Per channel, None for no normalisation.
        std: Per channel.
        weights: Pretrained weights of a backbone given by name.
        options: Further constructor arguments of a backbone given by name.

    Attributes:
        num_features: Width of the features.
        layer_shapes: Shape of each tapped layer's output without the stimulus axis.

    Raises:
        ValueError: If a layer is unknown, or the dry run fails at ``image_shape``.
    """

    def __init__(
        self,
        backbone: str | nn.Module | dict[str, Any],
        *,
        layers: Sequence[str] = (),
        image_shape: Sequence[int] = (3, 224, 224),
        mean: Sequence[float] | None = IMAGENET_MEAN,
        std: Sequence[float] | None = IMAGENET_STD,
        weights: str | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if len(image_shape) != 3:
            raise ValueError(f"image_shape must be (channel, height, width); got {tuple(image_shape)}")
        if (mean is None) != (std is None):
            raise ValueError("give both mean and std, or neither")
        self.config = describe(
            "neuroalign.models.Trunk",
            backbone=backbone,
            layers=list(layers),
            image_shape=list(image_shape),
            mean=mean,
            std=std,
            weights=None,  # the state dict holds them
            options=options,
        )
        if isinstance(backbone, str):
            small = max(image_shape[1:]) <= SMALL_IMAGE
            backbone = build_backbone(backbone, weights=weights, small_images=small, options=options)
        elif weights is not None or options is not None:
            raise ValueError("weights and options go with a backbone given by name; load them into your module instead")
        else:
            backbone = build(backbone, nn.Module)
        self.normalize = nn.Identity() if mean is None else Normalize(mean, std)
        self.backbone = backbone
        self.layers = tuple(dict.fromkeys(layers))
        self.image_shape = tuple(image_shape)
        self._captured: dict[str, Tensor] | None = None
        for layer in self.layers:
            check_layer(backbone, layer).register_forward_hook(partial(self._capture, layer))
        self.num_features, self.layer_shapes = self._dry_run()

    def _capture(self, layer: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if self._captured is not None:
            self._captured[layer] = _tensor(output, layer).clone()

    def _dry_run(self) -> tuple[int, dict[str, tuple[int, ...]]]:
        parameter = next(self.backbone.parameters(), None)
        device = parameter.device if parameter is not None else torch.device("cpu")
        modes = {m: m.training for m in self.backbone.modules()}
        self.backbone.eval()
        try:
            with torch.no_grad():
                images = torch.full((2, *self.image_shape), 0.5, device=device)
                features, captured = self.forward_with_layers(images)
        except ValueError:
            raise
        except Exception as error:
            raise ValueError(
                f"the backbone can't take images of shape {self.image_shape}: {error}. Set image_shape=(channel, height, "
                "width) to that of your images."
            ) from error
        finally:
            for module, mode in modes.items():
                module.training = mode
        missing = [layer for layer in self.layers if layer not in captured]
        if missing:
            raise ValueError(f"layer {missing[0]!r} exists but does not run in a forward pass")
        return features.shape[1], {layer: tuple(x.shape[1:]) for layer, x in captured.items()}

    def forward(self, images: Tensor) -> Tensor:
        """Features (stimulus, feature) of images (stimulus, channel, height, width)."""
        return self._flatten(self.backbone(self.normalize(images)))

    def forward_with_layers(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features, and the outputs of the tapped layers by name, in one pass."""
        self._captured = {}
        try:
            features = self(images)  # the call, not the method: hooks of parallel wrappers sit around it
            return features, self._captured
        finally:
            self._captured = None

    @staticmethod
    def _flatten(output: Any) -> Tensor:
        if not isinstance(output, Tensor):
            raise ValueError(
                f"the backbone returns {type(output).__name__}, not a tensor; wrap it in a module that returns features"
            )
        if output.ndim == 4:
            return output.mean((2, 3))
        if output.ndim == 3:
            return output.mean(1)
        if output.ndim != 2:
            raise ValueError(f"the backbone must return (stimulus, feature); got shape {tuple(output.shape)}")
        return output
