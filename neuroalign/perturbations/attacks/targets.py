"""The class toward which a targeted attack pulls each image, if the caller gives none."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from neuroalign.functional.draws import image_keys, uniform
from neuroalign.perturbations.classifier import Classifier

__all__: list[str] = []

Targeting = Literal["random", "least-likely"]

# Above the numbers of random starts.
_STREAM = 1_000_002


def check_targeting(targeted: bool | str | None) -> Targeting | None:
    """How targets are chosen; None means an untargeted attack, True means "random".

    Raises:
        ValueError: If ``targeted`` is not a known choice.

    Example:
        >>> check_targeting(True), check_targeting(False)
        ('random', None)
    """
    if targeted is None or targeted is False:
        return None
    if targeted is True or targeted == "random":
        return "random"
    if targeted == "least-likely":
        return "least-likely"
    raise ValueError(
        f"targeted must be True or 'random', 'least-likely', or False; got {targeted!r}. To attack toward classes of your "
        "own, call the attack with target=classes"
    )


def targeting_name(targeted: Targeting | None) -> str:
    """The end of a targeted attack's name; empty for an untargeted one."""
    return "" if targeted is None else f"-targeted-{targeted}"


def targeting_settings(targeted: Targeting | None, seed: int) -> dict[str, str | int]:
    """Settings of the targets, for the repr of an attack that draws no other random numbers."""
    return {} if targeted is None else {"targeted": targeted, "seed": seed}


def choose_targets(
    how: Targeting, classifier: Classifier, images: Tensor, labels: Tensor, index: Tensor, *, seed: int
) -> Tensor:
    """A class other than its label for each image.

    Args:
        how: "random", each other class with the same probability, or "least-likely", the other class of lowest logit.
        classifier: The model; for "random" it is called with one image only, to find the number of classes.
        images: (stimulus, channel, height, width).
        labels: (stimulus,) int64.
        index: (stimulus,) int64 identity of each image, on the CPU: an image's random target depends on it and the seed.
        seed: Seed of the random targets.

    Returns:
        (stimulus,) int64.

    Source:
        Carlini & Wagner 2017 (arXiv 1608.04644, section VI: "average case") for random targets; Kurakin, Goodfellow &
        Bengio 2017 (arXiv 1611.01236, section 3.2) for the least likely class.
    """
    if how == "least-likely":
        return classifier.logits(images).scatter(1, labels[:, None], torch.inf).argmin(1)
    num_classes = classifier.logits(images[:1]).shape[1]
    draws = uniform(image_keys(index.to(labels.device), seed, _STREAM))
    return (labels + 1 + (draws * (num_classes - 1)).long()) % num_classes
