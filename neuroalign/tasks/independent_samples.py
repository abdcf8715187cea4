"""Input gradients of a network in training: of each image's loss by that image only."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.overrides import TorchFunctionMode

from neuroalign.functional.smoothness import InputGradients, input_gradient_norm
from neuroalign.tasks.further_pass import evaluating

__all__: list[str] = []


def independent_gradients(network: nn.Module, images: Tensor, labels: Tensor) -> InputGradients:
    r"""Squared input gradients of cross-entropy, with a graph, for a network in training whose samples are independent.

    Dropout is off. BatchNorm in train mode normalises by the batch's mean and variance. The gradient by the images treats
    them as constants, like the running statistics in eval mode; the gradient by the parameters treats them as variables. In
    plain train mode each image's gradient would include its effect on the other images' losses. In plain eval mode the
    parameters could lower the gradients for outdated running statistics without any cost in the training loss, which uses the
    batch's statistics. Running statistics don't change.

    Args:
        network: Network from images to logits.
        images: (stimulus, channel, height, width).
        labels: (stimulus,) int64.

    Returns:
        ``squared_norm`` (stimulus,) and ``loss`` (stimulus,), both with a graph.

    Example:
        >>> network = nn.Sequential(
        ...     nn.BatchNorm2d(3), nn.Flatten(), nn.Dropout(), nn.Linear(12, 3)
        ... )
        >>> images, labels = torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 0])
        >>> independent_gradients(network, images, labels).squared_norm.shape
        torch.Size([4])
    """
    norms = (m for m in network.modules() if isinstance(m, _BatchNorm) and m.training)
    constants = _BatchStatisticsAsConstants(m.running_mean for m in norms)
    with evaluating(network), constants:
        found = input_gradient_norm(network, images, labels, create_graph=True)
    constants.differentiable = True
    return found


class _BatchStatisticsAsConstants(TorchFunctionMode):
    """BatchNorm with the batch's statistics, which have no gradient until ``differentiable`` is set.

    Args:
        running_means: Running means of the modules in train mode, which identify the calls of these modules.
    """

    def __init__(self, running_means: Iterable[Tensor | None]) -> None:
        super().__init__()
        self.differentiable = False
        self._known = {id(x) for x in running_means if x is not None}

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func is not F.batch_norm:
            return func(*args, **kwargs)
        return self._batch_norm(*args, **kwargs)

    def _batch_norm(
        self, x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor | None = None,
        bias: Tensor | None = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
    ) -> Tensor:  # fmt: skip
        if not training and id(running_mean) not in self._known:
            return F.batch_norm(x, running_mean, running_var, weight, bias, training, momentum, eps)
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        axes = [0, *range(2, x.ndim)]
        var, mean = torch.var_mean(wide, axes, correction=0, keepdim=True)
        scale = (_Held.apply(var, self) + eps).rsqrt()
        shape = (1, -1, *[1] * (x.ndim - 2))
        if weight is not None:
            scale = scale * weight.view(shape)
        out = (wide - _Held.apply(mean, self)) * scale
        return (out if bias is None else out + bias.view(shape)).to(x.dtype)


class _Held(torch.autograd.Function):
    """A tensor that is a constant in the first backward pass and a variable in later ones."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, mode: _BatchStatisticsAsConstants) -> Tensor:
        ctx.mode = mode
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, None]:
        return (grad if ctx.mode.differentiable else None), None
