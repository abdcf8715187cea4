"""Input smoothness of a network over a data set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from neuroalign.budgets import Budget
from neuroalign.evaluation.images import gathered_once
from neuroalign.evaluation.passes import PassOptions
from neuroalign.evaluation.requests import check_attack
from neuroalign.functional.smoothness import SmoothnessLoss, input_gradient_norm, input_smoothness
from neuroalign.perturbations.attacks.base import Attack
from neuroalign.perturbations.classifier import Classifier
from neuroalign.perturbations.pixel_classifier import Logits, ModelInterface
from neuroalign.state import evaluating

__all__ = ["Smoothness", "evaluate_smoothness"]


class Smoothness(NamedTuple):
    """Input smoothness (lower is smoother), with the losses that are needed to judge it.

    Values are on the scale of :func:`neuroalign.functional.input_smoothness`, which is not that of published numbers.

    Attributes:
        clean: 400 times the mean squared norm of each image's own gradient with respect to its pixels in [0, 1].
        adversarial: The same at adversarial points; NaN without an attack.
        clean_loss: Mean loss at the images. Gradients scale with the logits, so two networks of different loss differ in
            smoothness for this reason alone.
        adversarial_loss: Mean loss at adversarial points.
        num_images: Number of images.
    """

    clean: float
    adversarial: float
    clean_loss: float
    adversarial_loss: float
    num_images: int


def smoothness_of(
    model: nn.Module, images: Tensor, labels: Tensor, index: Tensor, attack: Attack | None, eps: float | None,
    loss: SmoothnessLoss = "ce",
) -> Tensor:  # fmt: skip
    """Squared gradient norm and loss of each image, at the image and at an adversarial point (NaN without an attack).

    Args:
        model: Classifier, within the context :func:`evaluating`.
        images: (stimulus, channel, height, width) in [0, 1].
        labels: (stimulus,) class of each image.
        index: (stimulus,) identity of each image.
        attack: Attack that makes the adversarial points, or None.
        eps: Budget of the attack.
        loss: Loss whose gradient is taken.

    Returns:
        (stimulus, 4) float64.
    """
    classifier = Classifier(model, classes={"labels": labels})
    found = input_gradient_norm(classifier.forward, images, labels, loss=loss)
    clean = [found.squared_norm, found.loss]
    if attack is None:
        return torch.stack([*clean, *[clean[0] * torch.nan] * 2], 1).double()
    assert eps is not None
    perturbed, _ = attack.attempt(classifier, images, labels, eps, index=index)
    found = input_gradient_norm(classifier.forward, perturbed, labels, loss=loss)
    return torch.stack([*clean, found.squared_norm, found.loss], 1).double()


def evaluate_smoothness(
    model: nn.Module,
    dataloader: Iterable[Any],
    attack: Attack | None = None,
    eps: Budget | None = None,
    *,
    logits: Logits | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    loss: SmoothnessLoss = "ce",
    limit_batches: int | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> Smoothness:
    """Mean squared norm of the loss's gradient with respect to pixels, times 400, at images and at adversarial points.

    See :func:`neuroalign.functional.input_smoothness` for the scale, and ``released_smoothness`` there for that of the
    published script.

    Args:
        model: Classifier from images in [0, 1] to logits. It is not changed.
        dataloader: Batches; see :func:`evaluate_robustness`.
        attack: Attack that makes the adversarial points; None leaves them out.
        eps: Budget of the attack, a number in pixel units or a text such as "8/255".
        logits: Where the logits are in the model's output; see :func:`evaluate_robustness`.
        mean: Mean per channel of the normalisation that the loader's images have had; None means that they are pixels.
        std: Standard deviation per channel of the same.
        loss: "ce", or "margin", whose gradient doesn't vanish for a confident network.
        limit_batches: Maximum number of batches; None means all.
        seed: Seed of the global random generator, if the attack draws from it.
        device: Device to compute on; None means the model's.
        progress: Show a progress bar.

    Raises:
        ValueError: If no gradient reaches the images, as in a quantised network, or images, labels or logits are not
            valid.

    Example:
        >>> from neuroalign import PGD
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> loader = [(torch.rand(8, 3, 2, 2), torch.randint(3, (8,)))]
        >>> evaluate_smoothness(model, loader, PGD(), eps=0.1).num_images
        8

    Source:
        Shao et al. 2024, arXiv 2405.02564.
    """
    options = PassOptions(ModelInterface(logits, mean, std), limit_batches, seed, device, progress)
    return measure_smoothness(model, dataloader, attack, eps, options, loss=loss)


def measure_smoothness(
    model: nn.Module,
    dataloader: Iterable[Any],
    attack: Attack | None,
    eps: Budget | None,
    options: PassOptions,
    *,
    loss: SmoothnessLoss = "ce",
) -> Smoothness:
    """:func:`evaluate_smoothness` with the options of the pass in one object."""
    budget = check_attack(attack, eps)
    device, model = options.prepare(model)
    seen = [torch.empty(0, dtype=torch.long, device=device)]
    rows = [torch.empty(0, 4, dtype=torch.float64, device=device)]
    with evaluating(model, options.seed):
        for batch in options.batches(dataloader, device, "smoothness"):
            seen.append(batch.index.to(device))
            rows.append(smoothness_of(model, batch.images, batch.labels, batch.index, attack, budget, loss))
    index, values = gathered_once(torch.cat(seen), torch.cat(rows))
    clean, clean_loss, adversarial, adversarial_loss = values.T
    return Smoothness(
        float(input_smoothness(clean)), float(input_smoothness(adversarial)), float(clean_loss.mean()),
        float(adversarial_loss.mean()), len(index),
    )  # fmt: skip
