"""How steeply a classifier's loss and outputs change with its input."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from neuroalign.budgets import Budget, as_budget
from neuroalign.functional.checks import check_choice
from neuroalign.functional.logits import cross_entropy, margin
from neuroalign.functional.norms import Norm, length, steepest

__all__ = ["InputGradients", "input_gradient_norm", "input_smoothness", "local_lipschitz", "released_smoothness"]

SmoothnessLoss = Literal["ce", "margin"]


def _loss(logits: Tensor, labels: Tensor, loss: SmoothnessLoss) -> Tensor:
    check_choice("loss", loss, get_args(SmoothnessLoss))
    if loss == "ce":
        return cross_entropy(logits, labels)
    return margin(logits, labels)


def _logits(model: Callable[[Tensor], Tensor], images: Tensor) -> Tensor:
    logits = model(images)
    if not isinstance(logits, Tensor):
        raise TypeError(
            f"the model returns a {type(logits).__name__}, not a tensor of logits: give a function that picks them, "
            "lambda images: model(images)['logits'], say"
        )
    return _wide(logits)


def _gradient(value: Tensor, x: Tensor, *, create_graph: bool = False) -> Tensor:
    """The gradient of the sum of ``value`` with respect to the images; refused if none reaches them."""
    found = None
    if value.requires_grad:
        (found,) = torch.autograd.grad(value.sum(), x, create_graph=create_graph, allow_unused=True)
    if found is None:
        raise ValueError(
            "no gradient reaches the images: is the model quantised, wrapped in no_grad, detached, or rounding? Smoothness "
            "is measured on the network in floating point"
        )
    return found


class InputGradients(NamedTuple):
    """Squared norms of input gradients, and the losses.

    Attributes:
        squared_norm: (stimulus,), squared Euclidean norm of the gradient of the loss with respect to the pixels.
        loss: (stimulus,), the loss. The squared gradient of cross-entropy grows with the square of the scale of the logits
            for misclassified images, and vanishes where a network is confident: report the loss beside the smoothness.
    """

    squared_norm: Tensor
    loss: Tensor


def input_gradient_norm(
    model: Callable[[Tensor], Tensor],
    images: Float[Tensor, "stimulus channel height width"],
    labels: Int[Tensor, " stimulus"],
    *,
    loss: SmoothnessLoss = "ce",
    create_graph: bool = False,
) -> InputGradients:
    r"""Squared norm of each sample's input gradient, :math:`\|\nabla_x \ell(x_i)\|_2^2`.

    :func:`input_smoothness` is 400 times its mean over images.

    Args:
        model: Maps images to logits, in eval mode: the logits of an image must not depend on other images.
        images: (stimulus, channel, height, width).
        labels: (stimulus,) int64.
        loss: "ce", cross-entropy, or "margin", the largest other logit minus the true one.
        create_graph: Whether to keep the graph, for training.

    Raises:
        TypeError: If the model's output is no tensor.
        ValueError: If no gradient reaches the images, as in a quantised network.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
        >>> input_gradient_norm(
        ...     model, torch.rand(5, 3, 2, 2), torch.tensor([0, 1, 2, 0, 1])
        ... ).squared_norm.shape
        torch.Size([5])

    Source:
        Shao et al. 2024, arXiv 2405.02564.
    """
    with torch.enable_grad():
        x = images if create_graph and images.requires_grad else images.detach().requires_grad_()
        value = _loss(_logits(model, x), labels, loss)
        # The sum, not the mean: a mean would divide every squared gradient by the squared batch size.
        gradient = _gradient(value, x, create_graph=create_graph)
    return InputGradients(_wide(gradient).flatten(1).square().sum(1), value if create_graph else value.detach())


def input_smoothness(squared_norm: Float[Tensor, " stimulus"]) -> Float[Tensor, ""]:
    r"""Input smoothness, :math:`400\,\langle\|\nabla_x \ell(x_i)\|_2^2\rangle_i`; lower is smoother.

    The gradient is that of each image's own loss with respect to its pixels in [0, 1]. This is the quantity that the paper
    describes, but on another scale: the released script takes the gradient of the *batch-mean* loss with respect to
    *normalised* images, so that its number is smaller by the squared batch size and the squared standard deviations of the
    normalisation; see :func:`released_smoothness`.

    Args:
        squared_norm: (stimulus,) from :func:`input_gradient_norm`; the paper measures it at adversarial images.

    Returns:
        Scalar.

    Example:
        >>> input_smoothness(torch.tensor([0.01, 0.03]))
        tensor(8.)

    Source:
        After Shao et al. 2024, arXiv 2405.02564.
    """
    return 400 * squared_norm.mean()


def released_smoothness(
    model: Callable[[Tensor], Tensor],
    images: Float[Tensor, "stimulus channel height width"],
    labels: Int[Tensor, " stimulus"],
    *,
    std: Sequence[float],
) -> Float[Tensor, ""]:
    r"""The number that the script released with the paper gives for one batch.

    .. math:: 400\,\Big\langle \big\| \nabla_{z_i} \tfrac1B \textstyle\sum_j \mathrm{CE}(z_j) \big\|_2^2 \Big\rangle_i

    with z the normalised images, :math:`z = (x - \mathrm{mean}) / \mathrm{std}`. It depends on the batch size B: with half
    the batch it is about four times as large. Use it only to compare with published numbers, at their batch size.

    Args:
        model: Maps images in [0, 1] to logits, with the normalisation inside, in eval mode.
        images: (stimulus, channel, height, width) in [0, 1]: one batch.
        labels: (stimulus,) int64.
        std: Standard deviations of the normalisation, one per channel.

    Returns:
        Scalar.

    Raises:
        TypeError: If the model's output is no tensor.
        ValueError: If there is not one std per channel, or no gradient reaches the images.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
        >>> images, labels = torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 0])
        >>> ours = input_smoothness(input_gradient_norm(model, images, labels).squared_norm)
        >>> theirs = released_smoothness(model, images, labels, std=(0.5, 0.5, 0.5))
        >>> (ours / theirs).round()  # 4 squared, over 0.5 squared
        tensor(64.)

    Source:
        ``analysis/smoothness.py`` of the code released with Shao et al. 2024, arXiv 2405.02564.
    """
    scale = torch.as_tensor(std, dtype=images.dtype, device=images.device)
    if scale.shape != images.shape[1:2]:
        raise ValueError(f"std must have a value for each of the {images.shape[1]} channels; got {tuple(scale.shape)}")
    with torch.enable_grad():
        x = images.detach().requires_grad_()
        gradient = _gradient(F.cross_entropy(_logits(model, x), labels), x)
    return input_smoothness((_wide(gradient) * scale[:, None, None]).flatten(1).square().sum(1))


def local_lipschitz(
    model: Callable[[Tensor], Tensor],
    images: Float[Tensor, "stimulus channel height width"],
    eps: Budget,
    *,
    norm: Norm = "linf",
    steps: int = 10,
    seed: int = 0,
) -> Float[Tensor, " stimulus"]:
    r"""A lower bound of the local Lipschitz constant, :math:`\max_{\|x'-x\|\le\epsilon} \|f(x)-f(x')\|_1/\|x-x'\|`.

    Found by gradient ascent from a random point of the ball; the value of an image does not depend on its batch.

    Args:
        model: Maps images in [0, 1] to logits.
        images: (stimulus, channel, height, width).
        eps: Radius of the ball, a number in pixel units or a text such as "8/255".
        norm: Norm of the ball and of the denominator.
        steps: Number of steps of the ascent.
        seed: Seed of the random point.

    Returns:
        (stimulus,), the largest ratio that was found.

    Raises:
        TypeError: If the model's output is no tensor.
        ValueError: If eps is not positive, or no gradient reaches the images.

    Example:
        >>> model = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(12, 3))
        >>> local_lipschitz(model, torch.rand(5, 3, 2, 2), 0.1).shape
        torch.Size([5])

    Source:
        Yang et al. 2020, eq. 3 (arXiv 2003.02460).
    """
    radius = as_budget(eps)
    if not radius > 0:
        raise ValueError(f"eps must be positive; got {eps}")
    images = images.detach()
    with torch.no_grad():
        center = _logits(model, images)
    generator = torch.Generator().manual_seed(seed)
    # One random direction for all images: drawn per image it would depend on the batch.
    direction = torch.randn(images.shape[1:], generator=generator).to(images).expand_as(images)
    x = (images + 0.5 * radius * steepest(direction, norm)).clamp(0, 1)
    largest = images.new_zeros(len(images))
    for _ in range(steps + 1):
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            change = (_logits(model, x) - center).abs().sum(1)
            # Of the change, not the ratio: at a linear model's best point the latter is 0, and a unit step would leave it.
            gradient = _gradient(change, x)
        largest = torch.maximum(
            largest, change.detach() / length(x.detach() - images, norm)[:, 0, 0, 0].clamp_min(1e-12)
        )
        delta = x.detach() + 0.5 * radius * steepest(gradient, norm) - images
        x = (images + delta * (radius / length(delta, norm).clamp_min(1e-12)).clamp_max(1)).clamp(0, 1)
    return largest


def _wide(x: Tensor) -> Tensor:
    return x.to(torch.promote_types(x.dtype, torch.float32))
