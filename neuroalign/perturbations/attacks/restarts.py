"""Several runs of an attack, each on the images that the runs before did not fool."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
from torch import Tensor

from neuroalign.perturbations.attacks.base import Attack
from neuroalign.perturbations.attacks.budget import project, random_points
from neuroalign.perturbations.attacks.objectives import Objective
from neuroalign.perturbations.classifier import Classifier

__all__: list[str] = []


class RestartedAttack(Attack):
    """An attack of one or more runs; runs after the first begin at random points of each image's ball.

    Attributes:
        random_start: Whether the first run begins at a random point, too, if no start is given.
        seed: Seed of the random points.
    """

    takes_start = True
    random_start: bool
    seed: int

    @abstractmethod
    def runs(
        self, classifier: Classifier, images: Tensor, labels: Tensor, targets: Tensor | None = None
    ) -> list[tuple[Objective, Tensor | None]]:
        """The objective of each run, with the class (stimulus,) that each image is pulled toward, or None.

        If ``targets`` are given, that class is the image's target.
        """

    @abstractmethod
    def run(
        self, classifier: Classifier, images: Tensor, x: Tensor, labels: Tensor, radius: Tensor, loss: Objective,
        targets: Tensor | None, *, targeted: bool = False,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """One run from ``x``: its points, and whether each is misclassified or, if ``targeted``, predicted as its target."""

    def search(
        self, classifier: Classifier, images: Tensor, labels: Tensor, eps: Tensor, index: Tensor,
        start: Tensor | None = None, target: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """The point of the first run that fools each image; if none does, the last point of the last run."""
        goals = self.aim(classifier, images, labels, index, target)
        toward_goals: dict[str, Any] = {} if goals is None else {"targets": goals}
        until_there: dict[str, Any] = {} if goals is None else {"targeted": True}
        best = images.clone()
        fooled = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        left = torch.arange(len(images), device=images.device)
        index = index.to(images.device)
        for stream, (loss, targets) in enumerate(self.runs(classifier, images, labels, **toward_goals)):
            if stream:
                left = (~fooled).nonzero()[:, 0]
            if not len(left):
                break
            x, radius = images[left], eps[left]
            if stream == 0 and start is not None:
                begin = start[left]
            elif stream == 0 and not self.random_start:
                begin = x
            else:
                begin = random_points(x, radius, self.norm, index[left], seed=self.seed, stream=stream)
            toward = None if targets is None else targets[left]
            best[left], fooled[left] = self.run(classifier, x, begin, labels[left], radius, loss, toward, **until_there)
        # An image that didn't reach its target may still be misclassified.
        return best, fooled if goals is None else classifier.fooled(best, labels)

    def move(self, images: Tensor, x: Tensor, before: Tensor, step: Tensor, radius: Tensor, momentum: float) -> Tensor:
        """The point after a step mixed with the previous move, projected into the ball and the box."""
        moved = project(x + step - images, images, radius, self.norm)
        if not momentum:
            return moved
        moved = x + (1 - momentum) * (moved - x) + momentum * (x - before)
        return project(moved - images, images, radius, self.norm)
