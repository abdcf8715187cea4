"""The two networks of the method: one that predicts responses, one that classifies and is guided by them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any, Literal, overload

from torch import Tensor, nn

from neuroalign.config import Described
from neuroalign.models.backbones import Trunk
from neuroalign.models.card_rows import network_rows, predictor_rows
from neuroalign.models.heads import HeadBuilder, ResponseHead
from neuroalign.models.network_files import OwnBackbone, load_module, save_module
from neuroalign.models.normalization import PerChannel
from neuroalign.sharing import HubMixin
from neuroalign.sharing.kinds import GUIDED_NETWORK, NEURAL_PREDICTOR

__all__ = ["GuidedNetwork", "NeuralPredictor"]


class NeuralPredictor(HubMixin, Described, nn.Module):
    """A network that predicts responses of the voxels of one region from images.

    Args:
        backbone: A torchvision name, a ``timm:`` name, or any module from images to features.
        num_voxels: Number of voxels.
        layer: Layer that the head reads; None means the backbone's final features (the paper's choice).
        size: Height and width that the layer is pooled to before the linear map.
        head: Head that reads the layer: a name in ``HEADS`` or a builder; see :class:`ResponseHead`.
        head_options: Options of a head given by name.
        channels_last: Whether the layer's output is (height, width, channel); None infers it from the images' proportions.
        image_shape: (channel, height, width) of the images; None means those that the backbone was made for, else
            3 x 224 x 224 (see :class:`Trunk`). Small ones give a ResNet its CIFAR stem.
        mean: Mean per channel for the normalisation inside; None means no normalisation; "auto" means the one that the
            backbone was trained with, else ImageNet's (see :class:`Trunk`).
        std: Standard deviation per channel, with the same choices.
        weights: Pretrained weights of a backbone given by name: torchvision's name or timm's tag; "DEFAULT" or True for the
            library's default.
        options: Further constructor arguments of a backbone given by name.

    Shapes:
        images (stimulus, channel, height, width) in [0, 1] -> responses (stimulus, voxel).

    Raises:
        ValueError: If the backbone or layer is unknown, or doesn't run at ``image_shape``.

    Example:
        >>> predictor = NeuralPredictor("small_resnet", num_voxels=50, image_shape=(3, 8, 8))
        >>> predictor(torch.rand(4, 3, 8, 8)).shape
        torch.Size([4, 50])

    Source:
        Shao et al. 2024, arXiv 2405.02564 (ResNet-18, last layer with V outputs).
    """

    _model_kind = NEURAL_PREDICTOR

    def __init__(
        self,
        backbone: str | nn.Module | dict[str, Any],
        num_voxels: int,
        *,
        layer: str | None = None,
        size: int = 1,
        head: str | HeadBuilder = "pooled_linear",
        head_options: Mapping[str, Any] | None = None,
        channels_last: bool | None = None,
        image_shape: Sequence[int] | None = None,
        mean: PerChannel = "auto",
        std: PerChannel = "auto",
        weights: str | bool | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        layers = [] if layer is None else [layer]
        self.trunk = Trunk(
            backbone, layers=layers, image_shape=image_shape, mean=mean, std=std, weights=weights, options=options
        )
        shape = (self.trunk.num_features,) if layer is None else self.trunk.layer_shapes[layer]
        spec = ResponseHead(layer, num_voxels, head, size, head_options or {}, channels_last)
        self.head = spec.build(shape, self.trunk.image_shape).to(self.trunk.feature_dtype)
        self.layer, self.num_voxels = layer, num_voxels

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        arguments.pop("weights")  # the state dict holds them
        return {**arguments, **self.trunk._chosen()}

    def _card_rows(self) -> dict[str, Any]:
        return predictor_rows(self)

    def forward(self, images: Tensor) -> Tensor:
        """Predicted responses (stimulus, voxel)."""
        if self.layer is None:
            return self.head(self.trunk(images))
        return self.head(self.trunk.forward_with_layers(images)[1][self.layer])

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights and description to one safetensors file (under a temporary name first).

        A backbone of your own class is stored as its weights and the name of its class.

        Raises:
            ValueError: If the head is a function, which no file can describe.
        """
        save_module(self, path)

    @staticmethod
    def load(path: str | os.PathLike[str], *, backbone: OwnBackbone = None, allow: Sequence[str] = ()) -> nn.Module:
        """Read a predictor from a file of :meth:`save`, or from a checkpoint of a ``NeuralPredictionTask``.

        Args:
            path: The file.
            backbone: For a file with a backbone of your own class: the backbone, which becomes part of the predictor and gets
                the weights of the file; or its class, or a function, that makes it without arguments.
            allow: Instead, Python modules and packages from which its class may be imported, as ``["mylab.nets"]``; they are
                imported if the file names them, and the class is called without arguments. Classes for which
                :func:`neuroalign.register` was called before need neither.

        Returns:
            The predictor, in train mode.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds no predictor; if its backbone is of your own class and is neither given, allowed nor
                registered, or if its weights don't fit the one given; or if its description names something that a
                description may not name: see :func:`neuroalign.config.build`.

        Example:
            >>> import tempfile
            >>> path = tempfile.mkdtemp() + "/predictor.safetensors"
            >>> NeuralPredictor(nn.Flatten(), num_voxels=5, image_shape=(3, 8, 8)).save(path)
            >>> NeuralPredictor.load(path, backbone=nn.Flatten())(torch.rand(2, 3, 8, 8)).shape
            torch.Size([2, 5])
        """
        loaded = load_module(path, "predictor", backbone=backbone, allow=allow)
        if isinstance(loaded, GuidedNetwork):
            raise ValueError(f"{path} holds a GuidedNetwork, no predictor: GuidedNetwork.load reads it")
        return loaded


class GuidedNetwork(HubMixin, Described, nn.Module):
    """A classifier whose layers also predict responses, in one pass.

    Called on images it returns *logits*, so attacks, metrics and other people's code see an ordinary classifier.

    Args:
        backbone: A torchvision name, a ``timm:`` name, or any module from images to features.
        num_classes: Number of classes, the width of the linear classifier on the features; None if the backbone's output
            is logits already.
        heads: Response heads by name, usually the region's: a :class:`ResponseHead`, a dict of its fields, or a tuple
            ``(layer, num_outputs)``. Several may read one layer. The predictor that a head will match may stand in place of
            its number of outputs: ``("layer3", predictor)``.
        image_shape: (channel, height, width) of the images; None means those that the backbone was made for, else
            3 x 224 x 224 (see :class:`Trunk`). Small ones give a ResNet its CIFAR stem.
        mean: Mean per channel for the normalisation inside; None means no normalisation; "auto" means the one that the
            backbone was trained with, else ImageNet's (see :class:`Trunk`).
        std: Standard deviation per channel, with the same choices.
        weights: Pretrained weights of a backbone given by name: torchvision's name or timm's tag; "DEFAULT" or True for the
            library's default.
        options: Further constructor arguments of a backbone given by name.

    Shapes:
        images (stimulus, channel, height, width) in [0, 1] -> logits (stimulus, class); with ``with_responses=True`` ->
        (logits, {head: responses (stimulus, voxel)}).

    Raises:
        ValueError: If the backbone, a layer or a head is unknown, or the backbone doesn't run at ``image_shape``.

    Example:
        >>> heads = {"V1": ("layer1", 20), "V4": ("layer3", 30)}
        >>> network = GuidedNetwork("small_resnet", 10, heads=heads, image_shape=(3, 8, 8))
        >>> logits, responses = network(torch.rand(4, 3, 8, 8), with_responses=True)
        >>> logits.shape, responses["V4"].shape
        (torch.Size([4, 10]), torch.Size([4, 30]))
    """

    _model_kind = GUIDED_NETWORK

    def __init__(
        self,
        backbone: str | nn.Module | dict[str, Any],
        num_classes: int | None,
        heads: Mapping[str, Any] | None = None,
        *,
        image_shape: Sequence[int] | None = None,
        mean: PerChannel = "auto",
        std: PerChannel = "auto",
        weights: str | bool | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if num_classes is not None and (
            isinstance(num_classes, bool) or not isinstance(num_classes, Integral) or num_classes < 1
        ):
            raise ValueError(f"num_classes must be a positive whole number, or None; got {num_classes!r}")
        if heads is not None and not isinstance(heads, Mapping):
            raise TypeError(f"heads are given by name, {{'V4': ('layer3', 80)}}; got {type(heads).__name__}")
        specs = {name: ResponseHead.of(value) for name, value in (heads or {}).items()}
        for name in specs:
            if not name or "." in name:
                raise ValueError(f"a head's name must not be empty or hold a dot; got {name!r}")
        layers = [spec.layer for spec in specs.values() if spec.layer is not None]
        self.trunk = Trunk(
            backbone, layers=layers, image_shape=image_shape, mean=mean, std=std, weights=weights, options=options
        )
        width = self.trunk.num_features
        self.classifier = nn.Identity() if num_classes is None else nn.Linear(width, num_classes)
        self.classifier.to(self.trunk.feature_dtype)
        self.num_classes = width if num_classes is None else num_classes
        self.heads = nn.ModuleDict(
            {
                n: s.build((width,) if s.layer is None else self.trunk.layer_shapes[s.layer], self.trunk.image_shape)
                for n, s in specs.items()
            }
        )
        self.heads.to(self.trunk.feature_dtype)
        self.head_layers = {name: spec.layer for name, spec in specs.items()}

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        arguments.pop("weights")  # the state dict holds them
        heads = {name: ResponseHead.of(value) for name, value in (arguments["heads"] or {}).items()}
        return {**arguments, "heads": heads, **self.trunk._chosen()}

    def _card_rows(self) -> dict[str, Any]:
        return network_rows(self)

    @overload
    def forward(self, images: Tensor, with_responses: Literal[False] = False) -> Tensor: ...

    @overload
    def forward(self, images: Tensor, with_responses: Literal[True]) -> tuple[Tensor, dict[str, Tensor]]: ...

    def forward(self, images: Tensor, with_responses: bool = False) -> Tensor | tuple[Tensor, dict[str, Tensor]]:
        """Logits (stimulus, class), alone or with the responses (stimulus, voxel) of every head by name, in one pass.

        If the network is wrapped for data parallelism (DDP, FSDP, Accelerate, Fabric), call the wrapper in this way: a call
        that bypasses the wrapper's ``forward``, such as a method of the module inside, is not synchronised.

        Args:
            images: (stimulus, channel, height, width) in [0, 1].
            with_responses: Whether to return the responses as well.
        """
        if not with_responses:
            return self.classifier(self.trunk(images))
        features, captured = self.trunk.forward_with_layers(images)
        responses = {}
        for name, head in self.heads.items():
            layer = self.head_layers[name]
            responses[name] = head(features if layer is None else captured[layer])
        return self.classifier(features), responses

    def forward_with_responses(self, images: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Logits and responses by head: ``network(images, with_responses=True)`` under a name of its own."""
        return self(images, with_responses=True)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write weights and description to one safetensors file (under a temporary name first).

        A backbone of your own class is stored as its weights and the name of its class.

        Raises:
            ValueError: If a head is a function, which no file can describe.
        """
        save_module(self, path)

    @staticmethod
    def load(path: str | os.PathLike[str], *, backbone: OwnBackbone = None, allow: Sequence[str] = ()) -> GuidedNetwork:
        """Read a network from a file of :meth:`save`, or from a checkpoint of a ``GuidedClassificationTask``.

        Args:
            path: The file.
            backbone: For a file with a backbone of your own class, that backbone, or what makes it without arguments: see
                :meth:`NeuralPredictor.load`.
            allow: Instead, Python modules and packages from which its class may be imported, as ``["mylab.nets"]``.

        Returns:
            The network, in train mode.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If it holds no guided network, or for the reasons of :meth:`NeuralPredictor.load`.

        Example:
            >>> import tempfile
            >>> path = tempfile.mkdtemp() + "/network.safetensors"
            >>> heads = {"V4": ("layer3", 30)}
            >>> GuidedNetwork("small_resnet", 10, heads, image_shape=(3, 8, 8)).save(path)
            >>> GuidedNetwork.load(path).head_layers
            {'V4': 'layer3'}
        """
        loaded = load_module(path, "network", backbone=backbone, allow=allow)
        if not isinstance(loaded, GuidedNetwork):
            raise ValueError(
                f"{path} holds a {type(loaded).__name__}, no GuidedNetwork: NeuralPredictor.load reads predictors"
            )
        return loaded
