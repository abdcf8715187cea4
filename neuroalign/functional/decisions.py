"""Whether two observers (models or humans) err on the same images, and whether one decides by shape or by texture."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neuroalign.functional.intervals import wilson

__all__ = [
    "CueDecisions",
    "ErrorConsistency",
    "SIXTEEN_CLASSES",
    "error_consistency",
    "shape_bias",
    "sixteen_class_probabilities",
]


class ErrorConsistency(NamedTuple):
    """Agreement of two observers beyond the agreement that their accuracies alone imply.

    Attributes:
        kappa: Cohen's kappa of being right: 1 for the same errors, 0 for independent errors, negative for fewer common errors
            than that. NaN if both observers are always right, or both always wrong.
        observed: Share of images on which both are right or both are wrong.
        expected: The same for independent observers of these accuracies.
        num_images: Number of images.
        low: Lower end of the 95 % interval of kappa over images; NaN if kappa is NaN.
        high: Upper end of this interval.
    """

    kappa: Tensor
    observed: Tensor
    expected: Tensor
    num_images: int
    low: Tensor
    high: Tensor


def error_consistency(
    correct: Bool[Tensor, " stimulus"], other: Bool[Tensor, " stimulus"], *, num_samples: int = 10_000, seed: int = 0
) -> ErrorConsistency:
    """Error consistency of two observers, models or humans, on the same images.

    The interval treats the images as a random sample. It holds the central 95 % of kappa's posterior distribution, with
    Jeffreys' prior on the four probabilities (both right, one alone, the other alone, both wrong), and the estimate. In
    simulations of observers of accuracies .5 to .98 and kappas 0 to .9 it covers .91 to .99 with 50 images, .92 to .97 with
    500 and .87 to 1 with 10. The usual standard error covers as little as .46 with 50 images and .65 with 500, a bootstrap
    over images .48 and .65: both miss pairs of high accuracy, whose few errors may never coincide.

    Args:
        correct: (stimulus,) bool, whether the first was right.
        other: (stimulus,) bool, whether the second was right on the same image, in the same order.
        num_samples: Number of draws from the posterior.
        seed: Seed of the draws.

    Raises:
        ValueError: If there is no image or the two differ in shape.

    Warns:
        UserWarning: If chance agreement is certain, so that kappa is not defined.

    Example:
        >>> same = torch.tensor([True, True, False, False])
        >>> found = error_consistency(same, same)
        >>> found.kappa, found.low < 0.5  # four images don't say much
        (tensor(1., dtype=torch.float64), tensor(True))

    Source:
        Geirhos, Meding & Wichmann 2020, eq. 1 to 3 (arXiv 2006.16736); the interval: Jeffreys 1946, Proc. R. Soc. A 186.
    """
    if correct.shape != other.shape or correct.ndim != 1 or not len(correct):
        raise ValueError(
            f"both must be (stimulus,) of the same images; got {tuple(correct.shape)} and {tuple(other.shape)}"
        )
    for x in (correct, other):
        if not bool(((x == 0) | (x == 1)).all()):
            raise ValueError(
                "both must say whether an observer was right, True or False; these look like decided classes"
            )
    a, b = correct.double(), other.to(correct.device).double()
    observed = (a == b).double().mean()
    p, q = a.mean(), b.mean()
    expected = p * q + (1 - p) * (1 - q)
    if float(expected) == 1:
        warnings.warn(
            f"kappa is not defined: both accuracies are {float(p):g}, so that chance alone brings full agreement",
            stacklevel=2,
        )
    kappa = (observed - expected) / (1 - expected)  # 0 / 0 is NaN
    low, high = _kappa_interval(a, b, kappa, num_samples, seed)
    return ErrorConsistency(kappa, observed, expected, len(correct), low, high)


def _kappa_interval(a: Tensor, b: Tensor, kappa: Tensor, num_samples: int, seed: int) -> tuple[Tensor, Tensor]:
    from scipy.stats import dirichlet

    if not bool(kappa.isfinite()):
        return kappa.clone(), kappa.clone()
    both, first, second, neither = ((x * y).sum() for x in (a, 1 - a) for y in (b, 1 - b))
    counts = torch.stack([both, first, second, neither]).cpu()
    shares = dirichlet.rvs((counts + 0.5).numpy(), size=num_samples, random_state=seed)
    drawn = torch.from_numpy(shares)
    p, q = drawn[:, 0] + drawn[:, 1], drawn[:, 0] + drawn[:, 2]
    expected = p * q + (1 - p) * (1 - q)
    kappas = (drawn[:, 0] + drawn[:, 3] - expected) / (1 - expected)
    low, high = kappas.quantile(kappas.new_tensor([0.025, 0.975])).to(kappa)
    return torch.minimum(low, kappa), torch.maximum(high, kappa)


class CueDecisions(NamedTuple):
    """Decisions on images whose shape is of one class and whose texture of another.

    Attributes:
        shape_bias: Share of shape decisions among the decisions by either cue; NaN if there are none.
        shape_rate: Share of images decided by shape.
        texture_rate: Share decided by texture.
        num_shape: Number of images decided by shape.
        num_texture: Number of images decided by texture.
        num_images: Number of images whose cues are in conflict.
        low: Lower end of the 95 % interval of the shape bias (Wilson, over the images decided by either cue); NaN if there
            are none.
        high: Upper end of this interval.
    """

    shape_bias: Tensor
    shape_rate: Tensor
    texture_rate: Tensor
    num_shape: int
    num_texture: int
    num_images: int
    low: Tensor
    high: Tensor


def shape_bias(
    decisions: Int[Tensor, " stimulus"], shapes: Int[Tensor, " stimulus"], textures: Int[Tensor, " stimulus"]
) -> CueDecisions:
    """Shape bias: the share of decisions by shape on images whose shape and texture are of different classes.

    Images whose two cues agree are left out.

    Args:
        decisions: (stimulus,) int64, the chosen class.
        shapes: (stimulus,) int64, the class of each image's shape.
        textures: (stimulus,) int64, the class of its texture.

    Raises:
        ValueError: If the three differ in shape or no image is in conflict.

    Example:
        >>> decisions = torch.tensor([0, 1, 2])
        >>> found = shape_bias(decisions, torch.tensor([0, 0, 0]), torch.tensor([1, 1, 1]))
        >>> [round(float(value), 2) for value in (found.shape_bias, found.low, found.high)]
        [0.5, 0.09, 0.91]

    Source:
        Geirhos et al. 2019, arXiv 1811.12231.
    """
    num_shape, num_texture, total = count_cues(decisions, shapes, textures)
    by_either = num_shape + num_texture
    low, high = wilson(num_shape, by_either) if by_either else (torch.nan, torch.nan)

    def value(x: float) -> Tensor:
        return torch.tensor(x, dtype=torch.float64, device=decisions.device)

    return CueDecisions(
        value(num_shape / by_either if by_either else torch.nan),
        value(num_shape / total),
        value(num_texture / total),
        num_shape,
        num_texture,
        total,
        value(low),
        value(high),
    )


def count_cues(
    decisions: Int[Tensor, " stimulus"], shapes: Int[Tensor, " stimulus"], textures: Int[Tensor, " stimulus"]
) -> tuple[int, int, int]:
    """Decisions by shape, decisions by texture, and images in conflict; see :func:`shape_bias`.

    Raises:
        ValueError: If the three differ in shape or no image is in conflict.

    Example:
        >>> count_cues(
        ...     torch.tensor([0, 1, 2]), torch.tensor([0, 0, 0]), torch.tensor([1, 1, 1])
        ... )
        (1, 1, 3)
    """
    if not decisions.shape == shapes.shape == textures.shape or decisions.ndim != 1:
        raise ValueError(
            f"decisions, shapes and textures must be (stimulus,) of the same images; got {tuple(decisions.shape)}, "
            f"{tuple(shapes.shape)} and {tuple(textures.shape)}"
        )
    conflict = shapes != textures
    total = int(conflict.sum())
    if not total:
        raise ValueError("no image has a shape of one class and a texture of another")
    by_shape = (decisions == shapes) & conflict
    by_texture = (decisions == textures) & conflict
    return int(by_shape.sum()), int(by_texture.sum()), total


def _range(first: int, last: int) -> tuple[int, ...]:
    return tuple(range(first, last + 1))


# Which of ImageNet's 1,000 classes make up each of the 16 of Geirhos et al. 2018 (arXiv 1808.08750): 207 of them, by the
# WordNet hierarchy, as in the benchmark model-vs-human.
SIXTEEN_CLASSES: dict[str, tuple[int, ...]] = {
    "airplane": (404,),
    "bear": _range(294, 297),
    "bicycle": (444, 671),
    "bird": (
        8, *_range(10, 16), *_range(18, 20), *_range(22, 24), *_range(80, 83), *_range(87, 96), *_range(98, 100),
        *_range(127, 133), *_range(135, 145),
    ),
    "boat": (472, 554, 625, 814, 914),
    "bottle": (440, 720, 737, 898, 899, 901, 907),
    "car": (436, 511, 817),
    "cat": _range(281, 286),
    "chair": (423, 559, 765, 857),
    "clock": (409, 530, 892),
    "dog": (
        *_range(152, 191), *_range(193, 203), *_range(205, 226), *_range(228, 241), *_range(243, 250), *_range(252, 257),
        259, *_range(261, 263), *_range(265, 268),
    ),
    "elephant": (385, 386),
    "keyboard": (508, 878),
    "knife": (499,),
    "oven": (766,),
    "truck": (555, 569, 656, 675, 717, 734, 864, 867),
}  # fmt: skip
"""Numbers of ImageNet's 1,000 classes, 207 of them, by the name of the 16 classes of Geirhos et al. 2018."""


def sixteen_class_probabilities(logits: Float[Tensor, "stimulus 1000"]) -> Float[Tensor, "stimulus 16"]:
    """Probabilities of the 16 categories of model-vs-human from logits of ImageNet's 1,000 classes.

    The mean softmax probability of the classes of a category: not the sum, which would favour dog with its 109 classes over
    knife with its one; and not the mean of logits.

    Args:
        logits: (stimulus, 1000).

    Returns:
        (stimulus, 16), in the order of ``SIXTEEN_CLASSES``; they don't sum to 1.

    Raises:
        ValueError: If there are not 1,000 logits.

    Example:
        >>> sixteen_class_probabilities(torch.randn(2, 1000)).shape
        torch.Size([2, 16])
    """
    if logits.ndim != 2 or logits.shape[1] != 1000:
        raise ValueError(f"logits must be (stimulus, 1000), of ImageNet's classes; got {tuple(logits.shape)}")
    probabilities = logits.float().softmax(1)
    parts = [probabilities[:, list(indices)].mean(1) for indices in SIXTEEN_CLASSES.values()]
    return torch.stack(parts, 1)
