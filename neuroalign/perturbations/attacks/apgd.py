"""Auto-PGD: projected gradient descent that chooses its own step size."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from neuroalign.functional.checks import check_whole
from neuroalign.functional.norms import Norm, steepest
from neuroalign.perturbations.attacks.objectives import (
    Objective,
    objective,
    of_logits,
    reached,
    targeted_difference_of_logits_ratio,
)
from neuroalign.perturbations.attacks.restarts import RestartedAttack
from neuroalign.perturbations.attacks.targets import Targeting, check_targeting, targeting_name
from neuroalign.perturbations.base import repr_of
from neuroalign.perturbations.classifier import Classifier

__all__ = ["APGD"]

_ALL_TARGETS = (
    "loss='dlr-targeted' tries several target classes of its own; toward a given class, take 'dlr', 'ce' or 'margin'"
)

_MOMENTUM, _RHO = 0.25, 0.75  # as in the paper


class APGD(RestartedAttack):
    """Auto-PGD (Croce & Hein 2020, arXiv 2003.01690): where the loss stops rising, steps halve from the best point on.

    Args:
        norm: "linf" or "l2".
        steps: Gradient steps per run.
        restarts: Number of runs from random points; an image fooled by one run is left out of the next.
        loss: "ce", "dlr", "margin", or "dlr-targeted": one run toward each of the ``num_targets`` other classes of highest
            logit, where any misclassification counts.
        num_targets: Number of targets of "dlr-targeted"; all other classes if there are fewer.
        targeted: Pull each image toward one class until it is predicted as that class: True or "random" for another class
            at random, or "least-likely"; see :class:`PGD`. "dlr" is then the paper's targeted DLR, which compares the
            target's logit with the label's only; "ce" and "margin" compare it with all others.
        seed: Seed of the random starts and targets.

    Raises:
        ValueError: If a model has too few classes when called: "dlr" needs 3; "dlr-targeted", and "dlr" toward a target, 4.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).eval()
        >>> images, labels = torch.rand(5, 3, 2, 2), torch.tensor([0, 1, 2, 3, 4])
        >>> APGD(steps=10, loss="dlr")(model, images, labels, eps=8 / 255).shape
        torch.Size([5, 3, 2, 2])
    """

    random_start = True
    takes_target = True

    def __init__(
        self,
        norm: Norm = "linf",
        *,
        steps: int = 100,
        restarts: int = 1,
        loss: Literal["ce", "dlr", "margin", "dlr-targeted"] = "ce",
        num_targets: int = 9,
        targeted: bool | Targeting = False,
        seed: int = 0,
    ) -> None:
        super().__init__(norm)
        check_whole(steps=steps, restarts=restarts, num_targets=num_targets)
        if min(steps, restarts, num_targets) < 1:
            raise ValueError(
                f"steps, restarts and num_targets must be at least 1; got {steps}, {restarts} and {num_targets}"
            )
        if loss != "dlr-targeted":
            objective(loss)
        self.steps, self.restarts, self.loss, self.num_targets, self.seed = steps, restarts, loss, num_targets, seed
        self.targeted = check_targeting(targeted)
        if self.targeted is not None and loss == "dlr-targeted":
            raise ValueError(_ALL_TARGETS)

    @property
    def name(self) -> str:
        """Short name for logs and tables."""
        return f"apgd-{self.loss}-{self.norm}" + targeting_name(self.targeted)

    def runs(
        self, classifier: Classifier, images: Tensor, labels: Tensor, targets: Tensor | None = None
    ) -> list[tuple[Objective, Tensor | None]]:
        """The loss once per restart, or for "dlr-targeted" once per restart and target class."""
        if targets is not None:
            if self.loss == "dlr-targeted":
                raise ValueError(_ALL_TARGETS)
            return [(objective(self.loss, targeted=True), targets)] * self.restarts
        if self.loss != "dlr-targeted":
            return [(objective(self.loss), None)] * self.restarts
        logits = classifier.logits(images)
        others = logits.scatter(1, labels[:, None], -torch.inf)
        rivals = others.topk(min(self.num_targets, logits.shape[1] - 1), dim=1).indices.unbind(1)
        runs: list[tuple[Objective, Tensor | None]] = [(targeted_difference_of_logits_ratio, rival) for rival in rivals]
        return runs * self.restarts

    def run(
        self, classifier: Classifier, images: Tensor, x: Tensor, labels: Tensor, radius: Tensor, loss: Objective,
        targets: Tensor | None, *, targeted: bool = False,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Gradient steps of decreasing size, until each image's first success."""
        result = x.clone()
        fooled = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        logits, value, gradient = classifier.gradient(x, of_logits(loss, labels, targets))
        wrong = reached(logits, labels, targets if targeted else None)
        fooled |= wrong
        active = (~wrong).nonzero()[:, 0]
        state = _State(images, x, labels, radius, targets, value, gradient).only(active)
        window, checkpoint = max(int(0.22 * self.steps), 1), max(int(0.22 * self.steps), 1)
        smallest, shrink = max(int(0.06 * self.steps), 1), max(int(0.03 * self.steps), 1)
        for t in range(1, self.steps + 1):
            if not len(active):
                break
            step = state.step_size * steepest(state.gradient, self.norm)
            momentum = _MOMENTUM if t > 1 else 0.0
            moved = self.move(state.images, state.x, state.before, step, state.radius, momentum)
            state.before, state.x = state.x, moved
            logits, value, gradient = classifier.gradient(state.x, of_logits(loss, state.labels, state.targets))
            wrong = reached(logits, state.labels, state.targets if targeted else None)
            result[active], fooled[active] = state.x, wrong
            state.record(value, gradient)
            left = (~wrong).nonzero()[:, 0]
            active, state = active[left], state.only(left)
            if t == checkpoint:
                state.halve(window)
                window = max(window - shrink, smallest)
                checkpoint = t + window
        return result, fooled

    def __repr__(self) -> str:
        targets: dict[str, int | str] = {"num_targets": self.num_targets} if self.loss == "dlr-targeted" else {}
        targets |= {} if self.targeted is None else {"targeted": self.targeted}
        return repr_of(
            self, norm=self.norm, steps=self.steps, restarts=self.restarts, loss=self.loss, **targets, seed=self.seed
        )


class _State:
    """State of a run for each image that is not fooled yet."""

    def __init__(
        self, images: Tensor, x: Tensor, labels: Tensor, radius: Tensor, targets: Tensor | None, value: Tensor,
        gradient: Tensor,
    ) -> None:  # fmt: skip
        self.images, self.x, self.before, self.best = images, x, x, x
        self.labels, self.radius, self.targets = labels, radius, targets
        self.step_size = 2 * radius
        self.value, self.best_value, self.value_at_check = value, value, value
        self.gradient, self.best_gradient = gradient, gradient
        self.rises = torch.zeros_like(value)
        self.was_halved = torch.ones_like(value, dtype=torch.bool)

    def only(self, left: Tensor) -> _State:
        """Reduce the state to the images at these places."""
        if len(left) < len(self.value):
            for name, value in vars(self).items():
                if value is not None:
                    setattr(self, name, value[left])
        return self

    def record(self, value: Tensor, gradient: Tensor) -> None:
        """Store the loss and gradient of the current point, and keep the best point."""
        self.rises = self.rises + (value > self.value)
        better = value > self.best_value
        wide = better[:, None, None, None]
        self.best = torch.where(wide, self.x, self.best)
        self.best_gradient = torch.where(wide, gradient, self.best_gradient)
        self.best_value = torch.where(better, value, self.best_value)
        self.value, self.gradient = value, gradient

    def halve(self, window: int) -> None:
        """Halve the step of images whose loss rose too seldom, and return them to their best point.

        The step is also halved if the best loss didn't rise in this window and the last window ended without halving.
        """
        seldom = self.rises < _RHO * window
        stuck = ~self.was_halved & (self.best_value <= self.value_at_check)
        halved = seldom | stuck
        wide = halved[:, None, None, None]
        self.step_size = torch.where(wide, self.step_size / 2, self.step_size)
        self.x = torch.where(wide, self.best, self.x)
        self.before = torch.where(wide, self.best, self.before)
        self.gradient = torch.where(wide, self.best_gradient, self.gradient)
        self.was_halved, self.value_at_check, self.rises = halved, self.best_value, torch.zeros_like(self.rises)
