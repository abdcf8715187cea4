"""The whole curve of accuracy against budget in one pass, with the threshold of every image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from torch import nn

from neuroalign.budgets import Budget
from neuroalign.evaluation.measurement import Measurement, measure
from neuroalign.evaluation.passes import PassOptions
from neuroalign.evaluation.requests import PerturbationLike, eps_values, named, settings_of
from neuroalign.evaluation.tables import accuracy_table, per_image_table
from neuroalign.functional.checks import check_choice
from neuroalign.perturbations.pixel_classifier import Logits, ModelInterface

__all__ = ["RobustnessCurve", "robustness_curve"]


@dataclass(frozen=True)
class RobustnessCurve:
    """The smallest budget that fools each image, and so the accuracy at every budget.

    Attributes:
        attack: Name of the attack.
        settings: The attack's own description.
        norm: "linf", "l2", or None if the attack doesn't state a norm.
        eps: Budgets in pixel units, increasing; with ``l2_scale="rms"`` divided by the root of an image's size.
        images: One row per image: ``stimulus``, ``label``, ``threshold`` (the smallest budget of the grid that fools it: 0
            if it is wrong without attack, inf if none does) and ``distance`` (length of the shortest perturbation found,
            always in pixel units: 0 if it is wrong without attack, inf if none was found; an attack on a ball mostly uses all
            of it, so that only attacks on the shortest perturbation measure a length).
        seed: Seed of the global random generator, for attacks that draw from it.
        num_forward: Number of images that went through the model.
        num_backward: Number of image gradients that were computed.
        num_revived: Number of images that were fooled at one budget and right at a larger one; 0 unless each budget was
            attacked on its own (``exhaustive``). Many of them are a sign of a weak attack or of masked gradients.

    Example:
        >>> from neuroalign import PGD, robustness_curve
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> loader = [(torch.rand(8, 3, 2, 2), torch.randint(3, (8,)))]
        >>> curve = robustness_curve(model, loader, PGD(), [0.05, 0.1])
        >>> curve.table()[["eps", "num_images"]].values.tolist()
        [[0.05, 8.0], [0.1, 8.0]]
    """

    attack: str
    settings: str
    norm: str | None
    eps: tuple[float, ...]
    images: pd.DataFrame = field(repr=False)
    seed: int
    num_forward: int
    num_backward: int
    num_revived: int

    def correct(self) -> np.ndarray:
        """(stimulus, eps) bool: whether each image is still right at each budget."""
        return self.images["threshold"].to_numpy()[:, None] > np.array(self.eps)[None]

    @property
    def accuracy(self) -> np.ndarray:
        """(eps,) share of all images that are still right; those that are wrong without attack count as wrong."""
        return self.correct().mean(0)

    @property
    def median_distance(self) -> float:
        """Median over images of the shortest perturbation: inf if most images resist, 0 if most are clean errors."""
        return float(np.median(self.images["distance"]))

    def table(self) -> pd.DataFrame:
        """One row per budget, with the columns of :func:`evaluate_robustness`."""
        return accuracy_table(
            self.attack, self.norm, self.eps, self.correct(), (self.images["threshold"] > 0).to_numpy(), self.settings
        )

    def per_image(self) -> pd.DataFrame:
        """One row per budget and image, with the columns of :func:`per_image_robustness`."""
        return per_image_table(
            self.attack, self.eps, self.images["stimulus"].to_numpy(), self.images["label"].to_numpy(), self.correct(),
            (self.images["threshold"] > 0).to_numpy(),
        )  # fmt: skip

    @staticmethod
    def worst_case(curves: Sequence[RobustnessCurve]) -> RobustnessCurve:
        """The worst case over attacks: each image is fooled at the smallest budget at which any of them fools it.

        Budgets may differ: at a budget at which an attack was not run, the images that it fooled below count as fooled.

        Raises:
            ValueError: If the curves differ in norm or images.

        Example:
            >>> from neuroalign import FGSM, PGD, robustness_curve
            >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
            >>> loader = [(torch.rand(8, 3, 2, 2), torch.randint(3, (8,)))]
            >>> attacks, eps = [FGSM(), PGD()], [0.05, 0.1]
            >>> curves = [robustness_curve(model, loader, attack, eps) for attack in attacks]
            >>> union = RobustnessCurve.worst_case(curves)
            >>> bool((union.accuracy <= curves[0].accuracy).all())
            True
        """
        if not curves:
            raise ValueError("give at least one curve")
        first = curves[0]
        for other in curves[1:]:
            if other.norm != first.norm:
                raise ValueError(f"{other.attack} and {first.attack} differ in norm: {other.norm} and {first.norm}")
            same = other.images[["stimulus", "label"]].equals(first.images[["stimulus", "label"]])
            if not same:
                raise ValueError(
                    f"{other.attack} and {first.attack} were measured on different images: don't shuffle the loader, or "
                    "give each image's 'stimulus' in its batch"
                )
        images = first.images.copy()
        for column in ("threshold", "distance"):
            images[column] = np.min([c.images[column] for c in curves], axis=0)
        return replace(
            first,
            attack="worst case",
            settings=" | ".join(c.settings for c in curves),
            eps=tuple(sorted({e for c in curves for e in c.eps})),
            images=images,
            num_forward=sum(c.num_forward for c in curves),
            num_backward=sum(c.num_backward for c in curves),
            num_revived=sum(c.num_revived for c in curves),
        )


def robustness_curve(
    model: nn.Module,
    dataloader: Iterable[Any],
    attack: PerturbationLike,
    eps_grid: Iterable[Budget],
    *,
    logits: Logits | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    exhaustive: bool = False,
    l2_scale: Literal["absolute", "rms"] = "absolute",
    limit_batches: int | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = False,
    checkpoint: str | Path | None = None,
) -> RobustnessCurve:
    """Accuracy at every budget of a grid, at little more than the cost of one budget.

    Every image is attacked at the largest budget first. An image that isn't fooled there is done. If an image is fooled, its
    perturbation is shortened by forward passes alone, and the image is attacked again at the next budget below, starting
    from the shortened perturbation. Attacks that look for the shortest perturbation (:class:`DeepFool`,
    :class:`CarliniWagner`, :class:`FMN`) run once. :meth:`PGD.two_losses` gives the strongest result at this cost.

    The curve is that of the attack with these warm starts: the first run begins where the attack itself does (at a random
    point, for some), later runs at the perturbation that fooled at a larger budget. For an attack that converges, such as
    :meth:`PGD.two_losses`, the curve agrees with ``exhaustive=True``; an attack of few or small steps becomes stronger, and
    the accuracy lower. To get the literature's number for such a weak attack, use ``exhaustive=True``.

    Exact in distributed training (call it on every process; a loader that isn't split among the processes is split here),
    and the same for any batch size and order, except for images on the border.

    Args:
        model: Classifier from images in [0, 1] to logits, with its normalisation inside; for others see ``logits`` and
            ``mean``. It is not changed.
        dataloader: Batches as dicts with ``image`` and ``label`` (and ``stimulus``, the image's identity, which seeds random
            starts; without it the image's place in the data) or as pairs.
        attack: An attack, or any callable ``(model, images, labels, eps) -> images``.
        eps_grid: Increasing budgets, not negative: numbers in pixel units or texts such as "8/255".
        logits: Where the logits are in the model's output: a key, an index, or a function of the output; None means that the
            output is the logits.
        mean: Mean per channel of the normalisation that the loader's images have had; None means that they are pixels. The
            images are converted back to pixels, so that budgets are in pixel units, and normalised again for the model.
        std: Standard deviation per channel of the same.
        exhaustive: Attack at every budget from scratch, as the plain sweep of other libraries does.
        l2_scale: Unit of the budgets of an L2 attack: "absolute", the Euclidean length over channel, height and width, or
            "rms", this length divided by the root of the number of values.
        limit_batches: Maximum number of batches; None means all.
        seed: Seed of the global random generator, for attacks that draw from it.
        device: Device to compute on; None means the model's.
        progress: Show a progress bar.
        checkpoint: File to which each batch's results are added; a second call with the same arguments continues from it.

    Raises:
        ValueError: If images are not in [0, 1] (perhaps normalised), budgets are negative or not increasing, labels are
            out of range, or logits are not finite.

    Example:
        >>> from neuroalign import PGD
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> loader = [(torch.rand(8, 3, 2, 2), torch.randint(3, (8,)))]
        >>> curve = robustness_curve(model, loader, PGD.two_losses(), [0.0, 0.05, 0.1])
        >>> curve.accuracy.shape, sorted(curve.images)
        ((3,), ['distance', 'label', 'stimulus', 'threshold'])
    """
    options = PassOptions(ModelInterface(logits, mean, std), limit_batches, seed, device, progress, checkpoint)
    return measure_curve(model, dataloader, attack, eps_grid, options, exhaustive=exhaustive, l2_scale=l2_scale)


def measure_curve(
    model: nn.Module,
    dataloader: Iterable[Any],
    attack: PerturbationLike,
    eps_grid: Iterable[Budget],
    options: PassOptions,
    *,
    exhaustive: bool = False,
    l2_scale: Literal["absolute", "rms"] = "absolute",
) -> RobustnessCurve:
    """:func:`robustness_curve` with the options of the pass in one object."""
    budgets = eps_values(eps_grid)
    if any(b <= a for a, b in pairwise(budgets)):
        raise ValueError(f"eps_grid must be increasing budgets; got {budgets}")
    ((name, perturbation),) = named(attack).items()
    if not perturbation.has_budget:
        raise ValueError(f"{attack!r} takes no budget, so it has no curve: use evaluate_robustness")
    check_choice("l2_scale", l2_scale, ("absolute", "rms"))
    if l2_scale == "rms" and perturbation.norm != "l2":
        raise ValueError(f"l2_scale='rms' is for L2 attacks; {attack!r} is not one")
    (found,) = measure(
        model, dataloader, {name: perturbation}, {name: budgets}, options, exhaustive=exhaustive, rms=l2_scale == "rms"
    )  # fmt: skip
    return as_curve(found, options.seed)


def as_curve(found: Measurement, seed: int) -> RobustnessCurve:
    """The curve of a measurement; an image fooled at one budget counts as fooled at every larger one."""
    resists = np.logical_and.accumulate(found.correct, axis=1)
    place = resists.sum(1)
    threshold = np.where(place < len(found.eps), found.eps[np.minimum(place, len(found.eps) - 1)], np.inf)
    threshold[~found.clean] = 0.0
    # At budget 0 a grid has the clean accuracy, so a threshold of 0 means a clean error.
    images = pd.DataFrame(
        {"stimulus": found.stimulus, "label": found.label, "threshold": threshold, "distance": found.distance}
    )
    return RobustnessCurve(
        attack=found.name,
        settings=settings_of(found.perturbation),
        norm=found.perturbation.norm,
        eps=tuple(float(e) for e in found.eps),
        images=images,
        seed=seed,
        num_forward=found.num_forward,
        num_backward=found.num_backward,
        num_revived=int((resists != found.correct).any(1).sum()),
    )
