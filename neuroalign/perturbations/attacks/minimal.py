"""Attacks that look for the shortest perturbation, not the worst within a budget: DeepFool, Carlini & Wagner, FMN."""

from __future__ import annotations

import math
from abc import abstractmethod
from functools import partial
from typing import Any

import torch
from torch import Tensor

from neuroalign.functional.checks import check_whole
from neuroalign.functional.logits import margin
from neuroalign.functional.norms import Norm, dual_length, length
from neuroalign.perturbations.attacks.base import Attack
from neuroalign.perturbations.attacks.budget import project
from neuroalign.perturbations.attacks.objectives import of_logits, reached, targeted_margin
from neuroalign.perturbations.attacks.targets import (
    Targeting,
    check_targeting,
    targeting_name,
    targeting_settings,
)
from neuroalign.perturbations.base import repr_of
from neuroalign.perturbations.classifier import Classifier

__all__ = ["CarliniWagner", "DeepFool", "FMN"]


class MinimalNormAttack(Attack):
    """An attack of which one run serves every budget: an image is fooled at each budget above the length that was found.

    Called with a budget, it returns the perturbation if it fits, and otherwise its projection into the ball.
    """

    @abstractmethod
    def minimize(self, classifier: Classifier, images: Tensor, labels: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """The closest misclassified images found, and whether one was found; see :meth:`Attack.search`.

        Attacks with ``takes_target`` have a further argument ``target``, (stimulus,) int64 or None; a targeted attack
        returns the closest images that are predicted as their target.
        """

    def search(
        self, classifier: Classifier, images: Tensor, labels: Tensor, eps: Tensor, index: Tensor,
        start: Tensor | None = None, target: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """The shortest perturbation found, projected into the budget's ball."""
        given: dict[str, Any] = {} if target is None else {"target": target}
        found, _ = self.minimize(classifier, images, labels, index, **given)
        found = project(found - images, images, eps, self.norm)
        return found, classifier.fooled(found, labels)


class DeepFool(MinimalNormAttack):
    """Steps to the nearest boundary of the linearised classifier until the class changes (Moosavi-Dezfooli et al. 2016).

    Args:
        steps: Maximum number of steps.
        candidates: Number of classes whose boundaries are considered: the true one and the others of highest logit.
        overshoot: Share by which the sum of the steps is lengthened.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
        >>> images, labels = torch.rand(5, 3, 2, 2), torch.tensor([0, 1, 2, 0, 1])
        >>> DeepFool()(model, images, labels, eps=0.5).shape
        torch.Size([5, 3, 2, 2])
    """

    def __init__(self, *, steps: int = 50, candidates: int = 10, overshoot: float = 0.02) -> None:
        super().__init__("l2")
        check_whole(steps=steps, candidates=candidates)
        if steps < 1 or candidates < 2 or not 0 <= overshoot < math.inf:
            raise ValueError(
                "steps must be at least 1, candidates at least 2 and overshoot finite and not negative; got "
                f"{steps}, {candidates} and {overshoot}"
            )
        self.steps, self.candidates, self.overshoot = steps, candidates, overshoot

    @property
    def name(self) -> str:
        """Short name for logs and tables."""
        return "deepfool-l2"

    def minimize(self, classifier: Classifier, images: Tensor, labels: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Step to the nearest boundary until the class changes."""
        logits = classifier.logits(images)
        others = logits.scatter(1, labels[:, None], -torch.inf)
        others = others.topk(min(self.candidates, logits.shape[1]) - 1, dim=1).indices
        classes = torch.cat([labels[:, None], others], 1)
        result, x = images.clone(), images
        fooled = logits.argmax(1) != labels
        total = torch.zeros_like(images)
        active = (~fooled).nonzero()[:, 0]
        x, total = x[active], total[active]
        for _ in range(self.steps):
            if not len(active):
                break
            logits, gradients = classifier.class_gradients(x, classes[active])
            values = logits.gather(1, classes[active])
            gaps = (values[:, 1:] - values[:, :1]).abs()
            normals = (gradients[:, 1:] - gradients[:, :1]).flatten(2)
            sizes = normals.norm(dim=2).clamp_min(1e-8)
            nearest = (gaps / sizes).argmin(1)
            row = torch.arange(len(active), device=x.device)
            # The small constant takes the step across a boundary that it would otherwise only touch.
            distance = gaps[row, nearest] / sizes[row, nearest] + 1e-4
            step = (distance / sizes[row, nearest])[:, None] * normals[row, nearest]
            total = total + step.view_as(total)
            x = (images[active] + (1 + self.overshoot) * total).clamp(0, 1)
            result[active] = x
            fooled[active] = classifier.fooled(x, labels[active])
            keep = ~fooled[active]
            active, x, total = active[keep], x[keep], total[keep]
        return result, fooled

    def __repr__(self) -> str:
        return repr_of(self, steps=self.steps, candidates=self.candidates, overshoot=self.overshoot)


class CarliniWagner(MinimalNormAttack):
    """The L2 attack of Carlini & Wagner (2017): Adam on squared length plus a weighted hinge of the margin.

    The weight is found by bisection.

    Args:
        steps: Adam steps per weight. The paper takes 10,000; an image whose loss no longer falls ends earlier.
        search_steps: Number of weights that are tried.
        lr: Learning rate of Adam, in the space of the inverse hyperbolic tangent.
        initial_weight: First weight of the hinge.
        confidence: Difference by which a wrong logit must exceed the true one, or the target's logit all others.
        targeted: Look for the shortest perturbation toward a class: True or "random" for another class at random, or
            "least-likely"; see :class:`PGD`. The call accepts a ``target`` of your own.
        seed: Seed of random targets.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
        >>> images, labels = torch.rand(5, 3, 2, 2), torch.tensor([0, 1, 2, 0, 1])
        >>> CarliniWagner(steps=20)(model, images, labels, eps=0.5).shape
        torch.Size([5, 3, 2, 2])
    """

    takes_target = True

    def __init__(
        self,
        *,
        steps: int = 1000,
        search_steps: int = 9,
        lr: float = 0.01,
        initial_weight: float = 1e-3,
        confidence: float = 0.0,
        targeted: bool | Targeting = False,
        seed: int = 0,
    ) -> None:
        super().__init__("l2")
        check_whole(steps=steps, search_steps=search_steps)
        finite = 0 < lr < math.inf and 0 < initial_weight < math.inf and 0 <= confidence < math.inf
        if min(steps, search_steps) < 1 or not finite:
            raise ValueError(
                "steps and search_steps must be at least 1, lr and initial_weight positive, confidence >= 0, all of them "
                f"finite; got {steps}, {search_steps}, {lr}, {initial_weight} and {confidence}"
            )
        self.steps, self.search_steps, self.lr = steps, search_steps, lr
        self.initial_weight, self.confidence = initial_weight, confidence
        self.targeted, self.seed = check_targeting(targeted), seed

    @property
    def name(self) -> str:
        """Short name for logs and tables."""
        return "cw-l2" + targeting_name(self.targeted)

    def minimize(
        self, classifier: Classifier, images: Tensor, labels: Tensor, index: Tensor, target: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Bisect the weight; keep the shortest perturbation of all runs."""
        targets = self.aim(classifier, images, labels, index, target)
        best, shortest = images.clone(), images.new_full((len(images),), torch.inf)
        low, high = torch.zeros_like(shortest), torch.full_like(shortest, 1e10)
        weight = torch.full_like(shortest, self.initial_weight)
        for _ in range(self.search_steps):
            found, size = self._adam(classifier, images, labels, targets, weight)
            succeeded, shorter = size < torch.inf, size < shortest
            best[shorter], shortest = found[shorter], torch.minimum(size, shortest)
            high = torch.where(succeeded, torch.minimum(high, weight), high)
            low = torch.where(succeeded, low, torch.maximum(low, weight))
            weight = torch.where(high < 1e9, (low + high) / 2, 10 * low)
        fooled = shortest < torch.inf
        fooled = fooled & classifier.fooled(best, labels, targets)
        return best, fooled

    def _adam(
        self, classifier: Classifier, images: Tensor, labels: Tensor, targets: Tensor | None, weight: Tensor
    ) -> tuple[Tensor, Tensor]:
        best, shortest = images.clone(), images.new_full((len(images),), torch.inf)
        active = torch.arange(len(images), device=images.device)
        # Start just inside the box, because the hyperbolic tangent never reaches its border.
        w = torch.atanh((2 * images - 1) * 0.999999)
        first, second, before = torch.zeros_like(w), torch.zeros_like(w), torch.full_like(shortest, torch.inf)
        check = max(1, self.steps // 10)
        for t in range(1, self.steps + 1):
            if not len(active):
                break
            tanh = w.tanh()
            x, y = (tanh + 1) / 2, labels[active]
            goals = None if targets is None else targets[active]
            hinge = partial(_hinge, labels=y, targets=goals, confidence=self.confidence)
            logits, value, gradient = classifier.gradient(x, hinge)
            delta = x - images[active]
            size = delta.flatten(1).norm(dim=1)
            loss = size.square() + weight[active] * value
            clear = _margin(logits, y, goals) > self.confidence
            shorter = clear & reached(logits, y, goals) & (size < shortest[active])
            best[active[shorter]], shortest[active[shorter]] = x[shorter], size[shorter]
            gradient = (2 * delta + weight[active][:, None, None, None] * gradient) * (1 - tanh.square()) / 2
            first = 0.9 * first + 0.1 * gradient
            second = 0.999 * second + 0.001 * gradient.square()
            w = w - self.lr * (first / (1 - 0.9**t)) / ((second / (1 - 0.999**t)).sqrt() + 1e-8)
            if t % check == 0:
                keep = loss <= 0.9999 * before[active]
                before[active] = loss
                active, w, first, second = active[keep], w[keep], first[keep], second[keep]
        return best, shortest

    def __repr__(self) -> str:
        return repr_of(
            self, steps=self.steps, search_steps=self.search_steps, lr=self.lr, initial_weight=self.initial_weight,
            confidence=self.confidence, **targeting_settings(self.targeted, self.seed),
        )  # fmt: skip


def _margin(logits: Tensor, labels: Tensor, targets: Tensor | None) -> Tensor:
    return margin(logits, labels) if targets is None else targeted_margin(logits, labels, targets)


def _hinge(logits: Tensor, labels: Tensor, targets: Tensor | None, confidence: float) -> Tensor:
    return (confidence - _margin(logits, labels, targets)).clamp_min(0)


class FMN(MinimalNormAttack):
    """Fast minimum-norm attack (Pintor et al. 2021): the ball shrinks while the point fools the model, else grows.

    Args:
        norm: "linf" or "l2".
        steps: Number of gradient steps.
        step_size: Euclidean length of the first step; it falls along a cosine to a hundredth.
        gamma: Share by which the ball changes at first; it falls along a cosine to 0.001.
        targeted: Look for the shortest perturbation toward a class: True or "random" for another class at random, or
            "least-likely"; see :class:`PGD`. The call accepts a ``target`` of your own.
        seed: Seed of random targets.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
        >>> images, labels = torch.rand(5, 3, 2, 2), torch.tensor([0, 1, 2, 0, 1])
        >>> FMN("linf", steps=20)(model, images, labels, eps=0.1).shape
        torch.Size([5, 3, 2, 2])
    """

    takes_target = True

    def __init__(
        self,
        norm: Norm = "linf",
        *,
        steps: int = 100,
        step_size: float = 1.0,
        gamma: float = 0.05,
        targeted: bool | Targeting = False,
        seed: int = 0,
    ) -> None:
        super().__init__(norm)
        check_whole(steps=steps)
        if steps < 1 or not 0 < step_size < math.inf or not 0 < gamma < 1:
            raise ValueError(
                f"steps must be at least 1, step_size positive and gamma in (0, 1); got {steps}, {step_size} and {gamma}"
            )
        self.steps, self.step_size, self.gamma = steps, step_size, gamma
        self.targeted, self.seed = check_targeting(targeted), seed

    @property
    def name(self) -> str:
        """Short name for logs and tables."""
        return f"fmn-{self.norm}" + targeting_name(self.targeted)

    def minimize(
        self, classifier: Classifier, images: Tensor, labels: Tensor, index: Tensor, target: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Update the radius and the point in turn."""
        targets = self.aim(classifier, images, labels, index, target)
        loss = of_logits(margin if targets is None else targeted_margin, labels, targets)
        best, shortest = images.clone(), images.new_full((len(images), 1, 1, 1), torch.inf)
        radius, x = torch.full_like(shortest, torch.inf), images
        for t in range(self.steps):
            annealed = 0.5 * (1 + math.cos(math.pi * t / self.steps))
            step_size = self.step_size * (0.01 + 0.99 * annealed)
            gamma = 0.001 + (self.gamma - 0.001) * annealed
            logits, value, gradient = classifier.gradient(x, loss)
            wrong = reached(logits, labels, targets)[:, None, None, None]
            size = length(x - images, self.norm)
            shorter = wrong & (size < shortest)
            best, shortest = torch.where(shorter, x, best), torch.where(shorter, size, shortest)
            # Until a point fools the model, the radius reaches to the boundary of the linearised classifier.
            to_boundary = value.abs()[:, None, None, None] / dual_length(gradient, self.norm).clamp_min(1e-12)
            # It also grows: steps much longer than the radius jump about inside the ball, and may never reach the boundary.
            grown = torch.where(radius < torch.inf, radius * (1 + gamma), 0.0)
            reach = torch.maximum(size + to_boundary, grown)
            outside = torch.where(shortest < torch.inf, radius * (1 + gamma), reach)
            radius = torch.where(wrong, torch.minimum(radius * (1 - gamma), shortest * (1 - gamma)), outside)
            step = step_size * gradient / length(gradient, "l2").clamp_min(1e-12)
            x = project(x + step - images, images, radius, self.norm)
        fooled = classifier.fooled(x, labels, targets)
        size = length(x - images, self.norm)
        shorter = fooled[:, None, None, None] & (size < shortest)
        best, shortest = torch.where(shorter, x, best), torch.where(shorter, size, shortest)
        return best, shortest[:, 0, 0, 0] < torch.inf

    def __repr__(self) -> str:
        return repr_of(
            self, norm=self.norm, steps=self.steps, step_size=self.step_size, gamma=self.gamma,
            **targeting_settings(self.targeted, self.seed),
        )  # fmt: skip
