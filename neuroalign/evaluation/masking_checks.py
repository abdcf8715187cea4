"""The checks of the masking report: cheap ones on every image, expensive ones where the cheap ones leave something open.

An attack that takes hundreds of passes is run on a few images that resisted the cheaper attacks, most promising ones first,
and on further ones only as long as it finds something. On a network that masks nothing it ends after the first group.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor

from neuroalign.functional.logits import cross_entropy, margin
from neuroalign.functional.norms import Norm
from neuroalign.perturbations.attacks.base import Attack
from neuroalign.perturbations.attacks.budget import per_sample
from neuroalign.perturbations.attacks.gradient import FGSM, PGD
from neuroalign.perturbations.attacks.square import SquareAttack
from neuroalign.perturbations.classifier import Classifier

__all__: list[str] = []

# An attack fails on a few images even if a network masks nothing; a check tolerates this share of them.
_ASTRAY = 0.002
_UNCONVERGED = 0.01  # the same for images that only a longer attack fools
# Share of the networks with exactly the tolerated share of such images that fail a check because of the choice of images.
_FALSE_ALARMS = 0.01
# Of this many images one is in the first group that an expensive attack tries.
_ONE_IN_BLACK_BOX, _ONE_IN_LONGER = 8, 16


class Check(NamedTuple):
    """A row of the report's table; its attributes are the columns."""

    check: str
    passed: bool
    value: float
    bound: float
    meaning: str
    verdict: bool
    num_tried: int


MEASURED = {
    "iterative attack raises the loss": ("share of images whose loss the attack raises:", "at least"),
    "unbounded attack succeeds": ("accuracy when any image is allowed:", "at most"),
    "iterative beats single step": ("share fooled by one step but not by many:", "at most"),
    "white box beats black box": ("share fooled by random search but not along gradients:", "at most"),
    "gradients are not zero": ("share with a gradient of exactly 0:", "at most"),
    "larger budgets fool more": ("share fooled at a budget but not at a larger one:", "at most"),
    "outputs are the same twice": ("largest difference of two passes:", "at most"),
    "more steps change nothing": ("share fooled only by more steps and restarts:", "at most"),
}
"""What the value of each check is, in words, and on which side of the bound it must lie."""


class _Target:
    """A network with the images to attack."""

    def __init__(self, classifier: Classifier, images: Tensor, labels: Tensor, index: Tensor, radius: Tensor) -> None:
        self.classifier, self.images, self.labels, self.index, self.radius = classifier, images, labels, index, radius
        self.rows = torch.arange(len(images), device=images.device)

    def attack(self, attack: Attack, rows: Tensor, *, radius: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """What an attack finds on some of the images, and whether each is fooled."""
        if not len(rows):
            return self.images[rows], torch.zeros(0, dtype=torch.bool, device=rows.device)
        radius = self.radius if radius is None else radius
        return attack.search(
            self.classifier, self.images[rows], self.labels[rows], radius[rows], self.index[rows.cpu()]
        )

    def margin(self, images: Tensor, rows: Tensor) -> Tensor:
        """Largest other logit minus the true one, for some of the images or for what became of them."""
        return margin(self.classifier.logits(images), self.labels[rows]) if len(rows) else images.new_zeros(0)

    def loss(self, images: Tensor, rows: Tensor) -> Tensor:
        """Cross-entropy (row,) in double precision; in single it is exactly 0 from a margin of 17 on."""
        return cross_entropy(self.classifier.logits(images).double(), self.labels[rows])


class _Longer:
    """A long attack, which is run once at most on each image."""

    def __init__(self, target: _Target, attack: Attack) -> None:
        self._target, self._attack = target, attack
        self.tried, self.fell = (torch.zeros_like(target.rows, dtype=torch.bool) for _ in range(2))

    def fools(self, rows: Tensor) -> Tensor:
        """Whether it fools each of these images."""
        new = rows[~self.tried[rows]]
        self.fell[new] = self._target.attack(self._attack, new)[1]
        self.tried[new] = True
        return self.fell[rows]


def masking_checks(
    classifier: Classifier, images: Tensor, labels: Tensor, index: Tensor, eps: float, norm: Norm, num_queries: int,
    seed: int,
) -> list[Check]:  # fmt: skip
    """All checks, on images that are classified right.

    Args:
        classifier: The network, which may give no gradients.
        images: (stimulus, channel, height, width) in [0, 1].
        labels: (stimulus,) class of each image.
        index: (stimulus,) identity of each image, on the CPU.
        eps: Budget of the attacks.
        norm: Norm of the attacks.
        num_queries: Queries of the black-box attack.
        seed: Seed of the attacks.
    """
    target, n = _Target(classifier, images, labels, index, per_sample(eps, images, norm)), len(images)
    not_raised = _without_raised_loss(target, norm, seed)
    everything = per_sample(1.0, images, "linf")
    _, in_the_box = target.attack(PGD.two_losses("linf", seed=seed), target.rows, radius=everything)

    found, fooled = target.attack(PGD.two_losses(norm, seed=seed), target.rows)
    left = (~fooled).nonzero()[:, 0]
    # One that a longer attack along gradients fools is no sign of masking: only the first attack didn't converge.
    longer = _Longer(target, PGD(norm, steps=50, restarts=4, loss=("margin", "ce"), random_start=True, seed=seed + 1))

    def beyond_gradients(attack: Attack, rows: Tensor) -> Tensor:
        fallen = rows[target.attack(attack, rows)[1]]
        return fallen[~longer.fools(fallen)]

    single = len(beyond_gradients(FGSM(norm, loss="ce"), left))
    # By their margins without any attack: no masking of gradients can change this order.
    order = left[target.margin(images[left], left).argsort(descending=True, stable=True)]
    random_search = SquareAttack(norm, num_queries=num_queries, seed=seed)
    black, tried = _group_by_group(order, n // _ONE_IN_BLACK_BOX, lambda rows: beyond_gradients(random_search, rows))
    order = left[target.margin(found[left], left).argsort(descending=True, stable=True)]
    _group_by_group(order, n // _ONE_IN_LONGER, lambda rows: rows[longer.fools(rows)])

    counts = {
        "not raised": not_raised, "unbounded": int((~in_the_box).sum()), "single": single, "black": black,
        "zero": _without_gradient(target), "revived": _revived(target, eps, norm, seed), "longer": int(longer.fell.sum()),
    }  # fmt: skip
    share = {name: count / n for name, count in counts.items()}  # in double precision, as the bounds are
    astray, unconverged = _allowed(_ASTRAY, n), _allowed(_UNCONVERGED, n)
    return [
        Check("iterative attack raises the loss", share["not raised"] <= astray, 1 - share["not raised"], 1 - astray,
              "Share of images whose cross-entropy PGD raised; below the bound, gradients vanish or mislead.", True, n),
        _at_most("unbounded attack succeeds", share["unbounded"], astray, n,
                 "Accuracy when any image in [0, 1] is allowed; above the bound, the attack is stuck, which is no sign of "
                 "robustness."),
        _at_most("iterative beats single step", share["single"], astray, len(left),
                 "Share of images fooled by one step but not by many."),
        _at_most("white box beats black box", share["black"], astray, tried,
                 "Share of images fooled by random search but not along gradients; more are tried while some are found."),
        _at_most("gradients are not zero", share["zero"], astray, n,
                 "Share of images whose cross-entropy or margin has a gradient of exactly 0 (logits saturated or clipped, "
                 "rounding)."),
        _at_most("larger budgets fool more", share["revived"], astray, n,
                 "Share of images fooled at a budget but not at a larger one."),
        _at_most("outputs are the same twice", _noise(target), 1e-5, n,
                 "Largest difference of two passes over the largest logit; above 0, average gradients over draws (EOT)."),
        _at_most("more steps change nothing", share["longer"], unconverged, int(longer.tried.sum()),
                 "Share of images fooled only by 50 steps and 4 random starts; above the bound, PGD.two_losses gives too "
                 "high an accuracy at this budget: take more steps and restarts. Not a sign of masking.", verdict=False),
    ]  # fmt: skip


def _at_most(check: str, value: float, bound: float, num_tried: int, meaning: str, *, verdict: bool = True) -> Check:
    """A row of the table, passed if the value is not above the bound."""
    return Check(check, value <= bound, value, bound, meaning, verdict, num_tried)


def _group_by_group(order: Tensor, size: int, hits: Callable[[Tensor], Tensor]) -> tuple[int, int]:
    """Try rows in groups of doubling size until a group has no hit; returns the numbers of hits and of rows tried."""
    size = max(size, 2)
    found = tried = 0
    while tried < len(order):
        group = order[tried : tried + size]
        new = len(hits(group))
        found, tried, size = found + new, tried + len(group), 2 * size
        if not new:
            break
    return found, tried


def _without_raised_loss(target: _Target, norm: Norm, seed: int) -> int:
    """Number of images whose cross-entropy neither a short run raises nor, for those, a long one."""
    clean, rows = target.loss(target.images, target.rows), target.rows
    for steps in (3, 10):
        if len(rows):
            perturbed, _ = target.attack(PGD(norm, steps=steps, loss="ce", seed=seed), rows)
            rows = rows[target.loss(perturbed, rows) <= clean[rows]]
    return len(rows)


def _without_gradient(target: _Target) -> int:
    """Number of images at which one of the losses has a gradient of exactly 0."""
    # Saturated logits make the first gradient 0, clipped logits the second.
    flat = [without_gradient(target.classifier, target.images, target.labels, each) for each in (cross_entropy, margin)]
    return int(torch.stack(flat).any(0).sum())


def without_gradient(
    classifier: Classifier, images: Tensor, labels: Tensor, objective: Callable[..., Tensor]
) -> Tensor:
    """Whether the objective (logits, labels) has a gradient of exactly 0 at each image (stimulus,)."""
    _, _, gradient = classifier.gradient(images, partial(objective, labels=labels))
    return (gradient.flatten(1) == 0).all(1)


def _revived(target: _Target, eps: float, norm: Norm, seed: int) -> int:
    """Number of images that are fooled at a budget but not at a larger one."""
    scales = [s for s in (0.25, 0.5, 1, 2) if norm == "l2" or s * eps <= 1]

    def revived(rows: Tensor, patience: int | None) -> Tensor:
        attack = PGD(norm, steps=10, patience=patience, seed=seed)
        resists = torch.stack([~target.attack(attack, rows, radius=target.radius * s)[1] for s in scales], 1)
        return rows[(resists[:, 1:] & ~resists[:, :-1]).any(1)]

    # An attack that gives up early may only seem to be weaker at the larger budget, so it is no proof.
    return len(revived(revived(target.rows, patience=3), patience=None))


def _noise(target: _Target) -> float:
    """Largest difference of two passes, as a share of the largest logit."""
    first, second = (target.classifier.logits(target.images) for _ in range(2))
    return float((first - second).abs().max() / first.abs().max().clamp_min(1e-12))


def _allowed(share: float, num_images: int) -> float:
    """Share of ``num_images`` images that a network with the true ``share`` exceeds in at most 1 % of random choices."""
    from scipy.stats import binom

    return float(binom.ppf(1 - _FALSE_ALARMS, num_images, share)) / num_images
