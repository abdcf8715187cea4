"""Any network as a trunk: built by name or given as a module, with normalised input and with layers tapped by name."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn

from neuroalign.config import Described, build
from neuroalign.models.builders import build_backbone, rebuilding_options, size_advice
from neuroalign.models.normalization import IMAGENET_MEAN as IMAGENET_MEAN
from neuroalign.models.normalization import IMAGENET_STD as IMAGENET_STD
from neuroalign.models.normalization import Normalize, PerChannel, own_normalization
from neuroalign.models.pretraining import own_shape, preparation, warn_of_unseen_pixels
from neuroalign.models.taps import TapError, check_layer, keeps_channels_last, tapped
from neuroalign.models.taps import record_layers as record_layers

__all__ = ["Trunk"]

SMALL_IMAGE = 64
"""Largest height and width at which a ResNet gets its CIFAR stem: a 7x7 stride-2 stem leaves too little of a small image."""


class Trunk(Described, nn.Module):
    """A backbone behind its normalisation; returns its features and, in the same pass, the outputs of tapped layers.

    A captured output is copied at once, because an in-place ReLU would overwrite it. If a layer runs several times in one
    pass, its last output counts. Taps survive ``deepcopy``, ``pickle`` and ``torch.compile``; they are set only here, since
    a hook that is added after compiling never fires.

    Args:
        backbone: A name for :func:`build_backbone`, or any module from images to features (stimulus, feature), or to
            (stimulus, channel, height, width) or (stimulus, token, feature), which are then averaged over space or
            tokens.
        layers: Dotted names of the layers to tap, in the backbone, or their last parts where only one layer has them: see
            :func:`resolve_layer`. If a layer returns several tensors, such as HRNet's branches, add which one:
            ``"stage3[1]"``.
        image_shape: (channel, height, width) of the images, for the dry run that finds the sizes; None means those that the
            network was made for (a timm network's own, those of torchvision's ``weights``, else 3 x 224 x 224). Up to 64
            pixels a ResNet built by name gets its CIFAR stem; a network of a fixed size, by name, is built for it.
        mean: Mean per channel, in pixels of [0, 1]; None means no normalisation; "auto" takes the one that the network was
            trained with (a timm network's own, that of torchvision's ``weights``), else ImageNet's.
        std: Standard deviation per channel, with the same choices.
        weights: Pretrained weights of a backbone given by name: torchvision's name or timm's tag; "DEFAULT" or True for the
            library's default.
        options: Further constructor arguments of a backbone given by name.

    Attributes:
        num_features: Width of the features.
        feature_dtype: Dtype of the features, that of the backbone's weights.
        image_shape: (channel, height, width) of the images.
        layer_shapes: Shape of each tapped layer's output without the stimulus axis, by the given name.
        mean: Mean per channel of the normalisation; None without normalisation.
        std: Standard deviation per channel of the normalisation; None without normalisation.

    Raises:
        TypeError: If the backbone is neither a name nor a module, or images are not floating point.
        ValueError: If a layer is unknown, the dry run fails at ``image_shape``, or the normalisation has another number of
            channels than the images.
        TapError: If a layer returns no tensor, or several and its name doesn't say which.
    """

    _weights: str | bool | None = None
    _options: dict[str, Any] | None = None
    _preparation: str | None = None
    _channels_last = False  # whether the backbone's own output is (stimulus, height, width, channel)

    def __init__(
        self,
        backbone: str | nn.Module | dict[str, Any],
        *,
        layers: Sequence[str] = (),
        image_shape: Sequence[int] | None = None,
        mean: PerChannel = "auto",
        std: PerChannel = "auto",
        weights: str | bool | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if image_shape is not None and len(image_shape) != 3:
            raise ValueError(f"image_shape must be (channel, height, width); got {tuple(image_shape)}")
        if (mean is None) != (std is None):
            raise ValueError("give both mean and std, or neither")
        for value in (mean, std):
            if isinstance(value, str) and value != "auto":
                raise ValueError(f"mean and std must be one value per channel, None or 'auto'; got {value!r}")
        name = backbone if isinstance(backbone, str) else None
        weights = weights or None
        if isinstance(backbone, str):
            image_shape = own_shape(backbone, weights, options) if image_shape is None else image_shape
            small = max(image_shape[1:]) <= SMALL_IMAGE
            module: nn.Module = build_backbone(
                backbone, weights=weights, small_images=small, options=options, image_shape=image_shape
            )
        elif weights is not None or options is not None:
            raise ValueError("weights and options go with a backbone given by name; load them into your module instead")
        else:
            module = build(backbone, nn.Module)
            if not isinstance(module, nn.Module):
                made = f": make one, {module.__name__}(...)" if isinstance(module, type) else ""
                raise TypeError(f"the backbone must be a network's name or a torch.nn.Module; got {module!r}{made}")
            image_shape = own_shape(module) if image_shape is None else image_shape
        own = own_normalization(module, None if name is None or name.startswith("timm:") else name, weights)
        self.mean, self.std = (o if isinstance(v, str) else v for v, o in zip((mean, std), own))
        if self.mean is not None and len(self.mean) not in (1, image_shape[0]):
            raise ValueError(
                f"images have {image_shape[0]} channels by image_shape {tuple(image_shape)}, the normalisation has "
                f"{len(self.mean)}: give mean=..., std=... with one value per channel, or mean=None, std=None (and a "
                "backbone that takes that number of channels)"
            )
        self.normalize = nn.Identity() if self.mean is None else Normalize(self.mean, cast(Sequence[float], self.std))
        self.backbone, self._name, self._weights = module, name, weights
        self._options = rebuilding_options(name, weights, options)
        self._preparation = preparation(module, name, weights)
        self.layers = tuple(dict.fromkeys(layers))
        self.image_shape = tuple(image_shape)
        self._captured: dict[str, Tensor] | None = None
        for layer in self.layers:
            check_layer(module, layer).register_forward_hook(partial(self._capture, layer))
        self.num_features, self.layer_shapes = self._dry_run()
        self._try_auxiliary()
        warn_of_unseen_pixels(module, self.image_shape)

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {**arguments, **self._chosen(), "weights": None}  # the state dict holds the weights

    def _chosen(self) -> dict[str, Any]:
        """Arguments with the values that were chosen for them, for descriptions of the networks that hold this trunk."""
        return {"image_shape": self.image_shape, "mean": self.mean, "std": self.std, "options": self._options}

    def extra_repr(self) -> str:
        """Shown in ``repr``: the backbone, the images that it takes, and how they were prepared where it was trained."""
        name = self._name or type(getattr(self.backbone, "_orig_mod", self.backbone)).__name__
        shown = f"backbone={name}" + ("" if self._weights is None else f", weights={self._weights}")
        mean, std = ("None" if v is None else f"({', '.join(f'{x:.4g}' for x in v)})" for v in (self.mean, self.std))
        shown += f", image_shape={self.image_shape}, mean={mean}, std={std}"
        return shown if self._preparation is None else f"{shown}, trained on images {self._preparation}"

    def _capture(self, layer: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if self._captured is not None:
            self._captured[layer] = tapped(output, layer).clone()

    def _dry_run(self) -> tuple[int, dict[str, tuple[int, ...]]]:
        parameter = next(self.backbone.parameters(), None)
        device = parameter.device if parameter is not None else torch.device("cpu")
        modes = {m: m.training for m in self.backbone.modules()}
        self.backbone.eval()
        captured: dict[str, Tensor] = {}
        self._captured = captured
        try:
            with torch.no_grad():
                images = torch.full((2, *self.image_shape), 0.5, device=device)
                output = self.backbone(self._prepared(images))
        except TapError:
            raise
        except Exception as error:
            advice = size_advice(self._name, self.backbone, self.image_shape, self._weights, self._options)
            said = str(error).rstrip(".")
            raise ValueError(f"the backbone can't take images of shape {self.image_shape}: {said}. {advice}") from error
        finally:
            self._captured = None
            for module, mode in modes.items():
                module.training = mode
        missing = [layer for layer in self.layers if layer not in captured]
        if missing:
            raise ValueError(f"layer {missing[0]!r} exists but does not run in a forward pass")
        self._channels_last = isinstance(output, Tensor) and keeps_channels_last(output.shape[1:], self.image_shape)
        features = self._flatten(output)
        self.feature_dtype = features.dtype
        return features.shape[1], {layer: tuple(x.shape[1:]) for layer, x in captured.items()}

    def _try_auxiliary(self) -> None:
        """Run auxiliary classifiers of a network of torchvision, which only training runs and small images break.

        Raises:
            ValueError: If they can't take the images.
        """
        backbone = self.backbone
        if not (getattr(backbone, "aux_logits", False) and type(backbone).__module__.startswith("torchvision.")):
            return
        device = next(backbone.parameters()).device
        modes = {m: m.training for m in backbone.modules()}
        backbone.eval()
        backbone.training = True  # without the layers inside, whose statistics would change
        try:
            with torch.no_grad():
                backbone(self._prepared(torch.full((1, *self.image_shape), 0.5, device=device)))
        except RuntimeError as error:
            raise ValueError(
                f"the backbone's auxiliary classifiers, which run in training, don't take images of {self.image_shape}: "
                f"{str(error).rstrip('.')}. Give the backbone by its name alone, which leaves them out, or build it with "
                "aux_logits=False, init_weights=True"
            ) from error
        finally:
            for module, before in modes.items():
                module.training = before

    def forward(self, images: Tensor) -> Tensor:
        """Features (stimulus, feature) of images (stimulus, channel, height, width)."""
        return self._flatten(self.backbone(self._prepared(images)))

    def forward_with_layers(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Features, and the outputs of the tapped layers by name, in one pass."""
        self._captured = {}
        try:
            features = self(images)  # call self, not self.forward: parallel wrappers hook the call
            return features, self._captured
        finally:
            self._captured = None

    def _prepared(self, images: Tensor) -> Tensor:
        """Images normalised and converted to the dtype of the backbone's weights."""
        if not images.is_floating_point():
            raise TypeError(
                f"images must be floating point in [0, 1]; got {str(images.dtype).removeprefix('torch.')}: divide images of "
                "0 to 255 by 255"
            )
        images = self.normalize(images)
        weight = next(self.backbone.parameters(), None)
        if weight is None or not weight.is_floating_point():
            return images
        return images.to(weight.dtype)

    def _flatten(self, output: Any) -> Tensor:
        if not isinstance(
            output, Tensor
        ):  # GoogLeNet and Inception v3 in training: outputs of auxiliary classifiers beside
            output = getattr(output, "logits", output)
        if not isinstance(output, Tensor):
            raise ValueError(
                f"the backbone returns {type(output).__name__}, not a tensor; wrap it in a module that returns features"
            )
        if output.ndim == 4:
            return output.mean((1, 2) if self._channels_last else (2, 3))
        if output.ndim == 3:
            return output.mean(1)
        if output.ndim != 2:
            raise ValueError(f"the backbone must return (stimulus, feature); got shape {tuple(output.shape)}")
        return output
