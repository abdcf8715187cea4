"""Auto-PGD: projected gradient descent that chooses its own step size."""

from __future__ import annotations

from functools import partial
from typing import Literal

import torch
from torch import Tensor

from neuroalign.perturbations.attacks.base import Attack, Classifier, describe
from neuroalign.perturbations.attacks.budget import Norm, project, random_points, steepest
from neuroalign.perturbations.attacks.objectives import Objective, objective, targeted_difference_of_logits_ratio

_MOMENTUM, _RHO = 0.25, 0.75  # of the paper


class APGD(Attack):
    """Auto-PGD (Croce & Hein 2020, arXiv 2003.01690): steps halve where the loss stops rising, from the best point on.

    Args:
        norm: "linf" or "l2".
        steps: Gradient steps of a run.
        restarts: Runs from random points; an image fooled by one is left out of the next.
        loss: "ce", "dlr", "margin", or "dlr-targeted": a run toward each of the ``num_targets`` classes of highest logit.
        num_targets: Targets of "dlr-targeted"; where there are fewer other classes, all of them.
        seed: Of the random starts.

    Raises:
        ValueError: Called with "dlr" on fewer than 3 classes, or with "dlr-targeted" on fewer than 4.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).eval()
        >>> images, labels = torch.rand(5, 3, 2, 2), torch.tensor([0, 1, 2, 3, 4])
        >>> APGD(steps=10, loss="dlr")(model, images, labels, eps=8 / 255).shape
        torch.Size([5, 3, 2, 2])
    """

    takes_start = True

    def __init__(
        self,
        norm: Norm = "linf",
        *,
        steps: int = 100,
        restarts: int = 1,
        loss: Literal["ce", "dlr", "margin", "dlr-targeted"] = "ce",
        num_targets: int = 9,
        seed: int = 0,
    ) -> None:
        super().__init__(norm)
        if min(steps, restarts, num_targets) < 1:
            raise ValueError(
                f"steps, restarts and num_targets must be at least 1; got {steps}, {restarts} and {num_targets}"
            )
        if loss != "dlr-targeted":
            objective(loss)
        self.steps, self.restarts, self.loss, self.num_targets, self.seed = steps, restarts, loss, num_targets, seed

    @property
    def name(self) -> str:
        """Short name for logs and tables."""
        return f"apgd-{self.loss}-{self.norm}"

    def search(
        self, classifier: Classifier, images: Tensor, labels: Tensor, eps: Tensor, index: Tensor, start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Runs until one fools."""
        best = images.clone()
        fooled = torch.zeros(len(images), dtype=torch.bool, device=images.device)
        left = torch.arange(len(images), device=images.device)
        targets = self._targets(classifier, images, labels)
        for run in range(self.restarts * (1 if targets is None else targets.shape[1])):
            if not len(left):
                break
            x, radius = images[left], eps[left]
            if run == 0 and start is not None:
                begin = start[left]
            else:
                begin = random_points(x, radius, self.norm, index[left.cpu()], seed=self.seed, stream=run)
            target = None if targets is None else targets[left, run % targets.shape[1]]
            best[left], fooled[left] = self._run(classifier, x, begin, labels[left], radius, target)
            left = left[~fooled[left]]
        return best, fooled

    def _targets(self, classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor | None:
        if self.loss != "dlr-targeted":
            return None
        logits = classifier.logits(images)
        others = logits.scatter(1, labels[:, None], -torch.inf)
        return others.topk(min(self.num_targets, logits.shape[1] - 1), dim=1).indices

    def _objective(self, labels: Tensor, target: Tensor | None) -> Objective:
        if target is not None:
            return partial(targeted_difference_of_logits_ratio, labels=labels, targets=target)  # type: ignore[return-value]
        return partial(objective(self.loss), labels=labels)  # type: ignore[return-value]

    def _run(
        self, classifier: Classifier, images: Tensor, x: Tensor, labels: Tensor, radius: Tensor, target: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        result = x.clone()
        fooled = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        active = torch.arange(len(x), device=x.device)
        logits, value, gradient = classifier.gradient(x, self._objective(labels, target))
        wrong = logits.argmax(1) != labels
        fooled |= wrong
        state = _State(images, x, labels, radius, target, value, gradient).only(~wrong)
        active = active[~wrong]
        window, checkpoint = max(int(0.22 * self.steps), 1), max(int(0.22 * self.steps), 1)
        smallest, shrink = max(int(0.06 * self.steps), 1), max(int(0.03 * self.steps), 1)
        for t in range(1, self.steps + 1):
            if not len(active):
                break
            state.step(self.norm, first=t == 1)
            logits, value, gradient = classifier.gradient(state.x, self._objective(state.labels, state.target))
            wrong = logits.argmax(1) != state.labels
            result[active], fooled[active] = state.x, wrong
            state.record(value, gradient)
            active, state = active[~wrong], state.only(~wrong)
            if t == checkpoint:
                state.halve(window)
                window = max(window - shrink, smallest)
                checkpoint = t + window
        return result, fooled

    def __repr__(self) -> str:
        targets = {"num_targets": self.num_targets} if self.loss == "dlr-targeted" else {}
        return describe(
            self, norm=self.norm, steps=self.steps, restarts=self.restarts, loss=self.loss, **targets, seed=self.seed
        )


class _State:
    """What a run knows of each image that still resists."""

    def __init__(
        self, images: Tensor, x: Tensor, labels: Tensor, radius: Tensor, target: Tensor | None, value: Tensor,
        gradient: Tensor,
    ) -> None:  # fmt: skip
        self.images, self.x, self.before, self.best = images, x, x, x
        self.labels, self.radius, self.target = labels, radius, target
        self.step_size = 2 * radius
        self.value, self.best_value, self.value_at_check = value, value, value
        self.gradient, self.best_gradient = gradient, gradient
        self.rises = torch.zeros_like(value)
        self.was_halved = torch.ones_like(value, dtype=torch.bool)

    def only(self, keep: Tensor) -> _State:
        """The images that are kept."""
        if not bool(keep.all()):
            for name, value in vars(self).items():
                if value is not None:
                    setattr(self, name, value[keep])
        return self

    def step(self, norm: Norm, *, first: bool) -> None:
        """Along the gradient, with momentum."""
        step = self.step_size * steepest(self.gradient, norm)
        moved = project(self.x + step - self.images, self.images, self.radius, norm)
        if not first:
            moved = self.x + (1 - _MOMENTUM) * (moved - self.x) + _MOMENTUM * (self.x - self.before)
            moved = project(moved - self.images, self.images, self.radius, norm)
        self.before, self.x = self.x, moved

    def record(self, value: Tensor, gradient: Tensor) -> None:
        """Keep the best point."""
        self.rises = self.rises + (value > self.value)
        better = value > self.best_value
        wide = better[:, None, None, None]
        self.best = torch.where(wide, self.x, self.best)
        self.best_gradient = torch.where(wide, gradient, self.best_gradient)
        self.best_value = torch.where(better, value, self.best_value)
        self.value, self.gradient = value, gradient

    def halve(self, window: int) -> None:
        """Halve steps where the loss rose too seldom, or not in a window after one without halving; go back to the best."""
        seldom = self.rises < _RHO * window
        stuck = ~self.was_halved & (self.best_value <= self.value_at_check)
        halved = seldom | stuck
        wide = halved[:, None, None, None]
        self.step_size = torch.where(wide, self.step_size / 2, self.step_size)
        self.x = torch.where(wide, self.best, self.x)
        self.before = torch.where(wide, self.best, self.before)
        self.gradient = torch.where(wide, self.best_gradient, self.gradient)
        self.was_halved, self.value_at_check, self.rises = halved, self.best_value, torch.zeros_like(self.rises)
