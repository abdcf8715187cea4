"""The loss of one image over a plane that is spanned by the gradient and a random direction."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from neuroalign.budgets import Budget, as_budget
from neuroalign.functional.logits import cross_entropy, margin
from neuroalign.functional.norms import Norm, check_norm, length, steepest
from neuroalign.perturbations import Classifier
from neuroalign.perturbations.attacks.budget import per_sample
from neuroalign.perturbations.attacks.classes import as_classes
from neuroalign.perturbations.pixel_classifier import Logits, ModelInterface
from neuroalign.state import evaluating

__all__ = ["loss_landscape"]


def loss_landscape(
    model: nn.Module,
    image: Tensor,
    label: int,
    eps: Budget,
    *,
    logits: Logits | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    norm: Norm = "linf",
    span: float = 2.0,
    num_points: int = 41,
    seed: int = 0,
    batch_size: int = 128,
) -> pd.DataFrame:
    r"""Loss and margin at :math:`x + a u + b v` (not clamped), with the perturbation's length and the share in [0, 1].

    u is the step of length eps that raises cross-entropy most (its gradient's sign for Linf), v a random orthogonal
    direction of the same Euclidean length. A plane that is smooth along v but not along u is typical of a masked gradient.

    Args:
        model: Classifier from images in [0, 1] to logits. It is not changed.
        image: (channel, height, width) in [0, 1].
        label: Class of the image.
        eps: Budget, the length of u in the norm: a number in pixel units or a text such as "8/255".
        logits: Where the logits are in the model's output; see :func:`evaluate_robustness`.
        mean: Mean per channel of the normalisation that the image has had; None means that it is in pixels.
        std: Standard deviation per channel of the same.
        norm: "linf" or "l2".
        span: Extent of the plane to either side, in multiples of u and v.
        num_points: Number of points in each direction, odd.
        seed: Seed of v.
        batch_size: Number of images per pass.

    Returns:
        One row per point: ``a``, ``b``, ``loss`` (cross-entropy), ``margin`` (above 0: misclassified), ``length`` (of the
        perturbation in the norm, in eps: the ball ends at 1), ``in_box`` (share of the values that lie in [0, 1]).

    Raises:
        ValueError: If the image is not in [0, 1], the label is not a class of the model, eps is not positive, or num_points
            is even.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> table = loss_landscape(model, torch.rand(3, 2, 2), 0, eps=0.1, num_points=5)
        >>> len(table), float(table["a"].min())
        (25, -2.0)
    """
    check_norm(norm)
    radius = as_budget(eps, norm)
    interface = ModelInterface(logits, mean, std)
    pixels, model = interface.pixels(image[None]), interface.classifier(model)
    if not radius > 0 or not span > 0 or num_points < 3 or num_points % 2 == 0:
        raise ValueError(f"eps and span must be positive and num_points odd; got {eps}, {span} and {num_points}")
    with evaluating(model, seed):
        per_sample(radius, pixels, norm)
        x = pixels[0].detach().clone()
        labels = as_classes([label], 1, x.device)
        classifier = Classifier(model, classes={"labels": labels})
        _, _, gradient = classifier.gradient(x[None], lambda logits: cross_entropy(logits, labels))
        u = radius * steepest(gradient, norm)[0]
        if not bool(u.any()):
            raise ValueError("the gradient is exactly 0 at this image: there is no direction to look along")
        v = torch.randn(x.shape, generator=torch.Generator().manual_seed(seed)).to(x)
        v = v - (v * u).sum() / u.square().sum() * u
        v = v * (u.norm() / v.norm())
        steps = torch.linspace(-span, span, num_points)
        a, b = (grid.reshape(-1) for grid in torch.meshgrid(steps, steps, indexing="ij"))
        parts = []
        for a_part, b_part in zip(a.split(batch_size), b.split(batch_size)):
            delta = a_part.to(x)[:, None, None, None] * u + b_part.to(x)[:, None, None, None] * v
            points = x + delta
            scores = classifier.logits(points)
            y = labels.expand(len(points))
            parts.append(
                torch.stack(
                    [
                        cross_entropy(scores, y),
                        margin(scores, y),
                        length(delta, norm)[:, 0, 0, 0] / radius,
                        ((points >= 0) & (points <= 1)).flatten(1).float().mean(1),
                    ],
                    1,
                ).cpu()
            )
    loss, gap, lengths, in_box = torch.cat(parts).double().numpy().T
    columns = {"a": a.double().numpy(), "b": b.double().numpy(), "loss": loss, "margin": gap}
    return pd.DataFrame({**columns, "length": lengths, "in_box": np.round(in_box, 6)})
