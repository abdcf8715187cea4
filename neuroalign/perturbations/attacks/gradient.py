"""Attacks along the gradient: FGSM and PGD, in the maximum norm and the Euclidean norm."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from neuroalign.functional.checks import check_whole
from neuroalign.functional.logits import margin
from neuroalign.functional.norms import Norm, steepest
from neuroalign.perturbations.attacks.base import Attack
from neuroalign.perturbations.attacks.budget import project
from neuroalign.perturbations.attacks.objectives import (
    Objective,
    objective,
    of_logits,
    reached,
)
from neuroalign.perturbations.attacks.restarts import RestartedAttack
from neuroalign.perturbations.attacks.targets import Targeting, check_targeting, targeting_name, targeting_settings
from neuroalign.perturbations.base import repr_of
from neuroalign.perturbations.classifier import Classifier

__all__ = ["FGSM", "PGD"]

AttackLoss = Literal["margin", "ce", "dlr"]


class FGSM(Attack):
    """One step of full length along the sign of the gradient of cross-entropy; in "l2" along the gradient itself.

    Its name in tables includes the loss unless that is cross-entropy.

    Call it as ``attack(model, images, labels, eps)``: images (stimulus, channel, height, width) in [0, 1], eps a number
    or one value per image. The model should be in eval mode; :func:`evaluate_robustness` ensures this.

    Args:
        norm: "linf" or "l2" (Euclidean over channel, height and width, in pixel units; the fast gradient method).
        loss: Objective that is increased: "ce", cross-entropy, as in the literature; "margin", the largest other logit
            minus the true one, whose gradient doesn't vanish for a confident network; or "dlr".
        targeted: Step toward a class: True or "random" for another class at random, or "least-likely"; see :class:`PGD`.
        seed: Seed of random targets.

    Raises:
        ValueError: If images are not in [0, 1] (perhaps normalised), eps is negative, or the logits are not finite.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
        >>> images, labels = torch.rand(5, 3, 2, 2), torch.tensor([0, 1, 2, 0, 1])
        >>> perturbed = FGSM()(model, images, labels, eps=8 / 255)
        >>> bool((perturbed - images).abs().max() <= 8 / 255 + 1e-6)
        True

    Source:
        Goodfellow, Shlens & Szegedy 2015, arXiv 1412.6572.
    """

    takes_target = True
    is_nested = False  # the literature's number at a budget is that of a single step of exactly this length

    def __init__(
        self, norm: Norm = "linf", *, loss: AttackLoss = "ce", targeted: bool | Targeting = False, seed: int = 0
    ) -> None:
        super().__init__(norm)
        objective(loss)
        self.loss, self.targeted, self.seed = loss, check_targeting(targeted), seed

    @property
    def name(self) -> str:
        """Short name for logs and tables."""
        return f"fgsm-{self.norm}" + ("" if self.loss == "ce" else f"-{self.loss}") + targeting_name(self.targeted)

    def search(
        self, classifier: Classifier, images: Tensor, labels: Tensor, eps: Tensor, index: Tensor,
        start: Tensor | None = None, target: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """One step of full length."""
        targets = self.aim(classifier, images, labels, index, target)
        loss = objective(self.loss, targeted=targets is not None)
        _, _, gradient = classifier.gradient(images, of_logits(loss, labels, targets))
        found = project(eps * steepest(gradient, self.norm), images, eps, self.norm)
        return found, classifier.fooled(found, labels)

    def __repr__(self) -> str:
        return repr_of(self, norm=self.norm, loss=self.loss, **targeting_settings(self.targeted, self.seed))


def _check_runs(steps: int, restarts: int) -> None:
    check_whole(steps=steps, restarts=restarts)
    if steps < 1 or restarts < 1:
        raise ValueError(f"steps and restarts must be at least 1; got {steps} and {restarts}")


class PGD(RestartedAttack):
    r"""Projected gradient descent, which keeps the first perturbation that fools the model.

    The defaults make it stronger than the literature's: it increases the margin, starts at the image, and its steps shrink
    along a cosine, :math:`\epsilon(1+\cos(\pi t/T))/2`, so that a run can cross the ball and still settle. The attack of
    Madry et al. (cross-entropy, random start, constant steps) is :meth:`PGD.madry`. Further ``restarts`` begin at random
    points of the ball. The name in tables includes loss and schedule where they differ from the literature's:
    "pgd20-linf-margin-cosine".

    Random starts are computed from (seed, image index, restart): they don't depend on batch size or order.

    Call it as ``attack(model, images, labels, eps)``; ``index`` (stimulus,) identifies the images; the default is their
    place in the batch.

    Args:
        norm: "linf" or "l2" (Euclidean over channel, height and width, in pixel units).
        steps: Gradient steps per run.
        restarts: Number of runs; an image fooled by one run is left out of the next.
        loss: "margin", "ce" or "dlr"; see :class:`FGSM`. If several are given, the runs use them in turn.
        rel_step_size: Constant step as a share of eps; None means the cosine schedule.
        random_start: Start the first run at a random point, too.
        momentum: Weight of the previous move in a step, as in APGD (where it is 0.25); 0 means none.
        patience: From this step on, give an image up if the rest of the run would not fool it even if its margin rose three
            times as fast as in the last two steps; None means never. Not used toward targets, which are often reached late.
        early_stop: Stop at an image's first success; False goes on raising the loss, as in adversarial training.
        targeted: Pull each image toward a class instead of away from its label: True or "random", toward another class
            drawn for each image from (seed, image index), as in the average case of Carlini & Wagner; "least-likely",
            toward the one of lowest logit (Kurakin et al. 2017). The run of an image stops when it is predicted as that
            class. To choose the classes yourself, pass ``target`` (stimulus,) to the call, whatever ``targeted`` is.
        seed: Seed of the random starts and targets.

    Raises:
        TypeError: If steps, restarts or patience is no whole number.
        ValueError: If an option is out of its range, images are not in [0, 1] (perhaps normalised), eps is negative, or the
            logits are not finite.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
        >>> images, labels = torch.rand(5, 3, 2, 2), torch.tensor([0, 1, 2, 0, 1])
        >>> perturbed = PGD("l2", steps=5, restarts=2)(model, images, labels, eps=0.5)
        >>> bool((perturbed - images).flatten(1).norm(dim=1).max() <= 0.5 + 1e-6)
        True
        >>> toward_the_next = PGD()(model, images, labels, eps=0.5, target=(labels + 1) % 3)
        >>> toward_the_next.shape, PGD(targeted=True).name
        (torch.Size([5, 3, 2, 2]), 'pgd20-linf-margin-cosine-targeted-random')

    Source:
        Madry et al. 2018, arXiv 1706.06083.
    """

    takes_target = True

    def __init__(
        self,
        norm: Norm = "linf",
        *,
        steps: int = 20,
        restarts: int = 1,
        loss: AttackLoss | Sequence[AttackLoss] = "margin",
        rel_step_size: float | None = None,
        random_start: bool = False,
        momentum: float = 0.0,
        patience: int | None = None,
        early_stop: bool = True,
        targeted: bool | Targeting = False,
        seed: int = 0,
    ) -> None:
        super().__init__(norm)
        _check_runs(steps, restarts)
        check_whole(patience=patience)
        if not 0 <= momentum < 1:
            raise ValueError(f"momentum must be in [0, 1); got {momentum}")
        if rel_step_size is not None and not 0 < rel_step_size < math.inf:
            raise ValueError(
                f"rel_step_size must be a positive share of eps, or None for the cosine schedule; got {rel_step_size}"
            )
        if patience is not None and patience < 2:
            raise ValueError(f"patience must be at least 2 steps, or None; got {patience}")
        self.steps, self.restarts, self.rel_step_size, self.seed = steps, restarts, rel_step_size, seed
        self.loss, self.random_start, self.momentum, self.patience = loss, random_start, momentum, patience
        self.early_stop, self.targeted = early_stop, check_targeting(targeted)
        self._losses = [loss] if isinstance(loss, str) else list(loss)
        for name in self._losses:
            objective(name)

    @classmethod
    def madry(
        cls,
        norm: Norm = "linf",
        *,
        steps: int = 40,
        restarts: int = 1,
        targeted: bool | Targeting = False,
        seed: int = 0,
    ) -> PGD:
        """The literature's attack: cross-entropy, from a random point of the ball, constant steps of 2.5 eps / steps.

        Args:
            norm: "linf" or "l2".
            steps: Gradient steps per run.
            restarts: Number of runs, each from a random point.
            targeted: See :class:`PGD`.
            seed: Seed of the random points.

        Example:
            >>> PGD.madry(steps=10)
            PGD(norm='linf', steps=10, restarts=1, loss='ce', step=0.25 eps, seed=0,
                random_start=True)

        Source:
            Madry et al. 2018, arXiv 1706.06083 (section 5 has the 2.5 eps / steps).
        """
        _check_runs(steps, restarts)
        return cls(
            norm, steps=steps, restarts=restarts, loss="ce", rel_step_size=2.5 / steps, random_start=True,
            targeted=targeted, seed=seed,
        )  # fmt: skip

    @classmethod
    def two_losses(
        cls, norm: Norm = "linf", *, steps: int = 20, targeted: bool | Targeting = False, seed: int = 0
    ) -> PGD:
        """The attack for curves: a run on the margin from the image, then one on cross-entropy from a random point.

        It uses momentum, and gives images up on which it makes no progress (except in targeted attacks). A second *loss*
        fools images that a second run with the same loss does not.

        Example:
            >>> PGD.two_losses().name
            'pgd20-linf-margin+ce-cosine'
        """
        return cls(
            norm,
            steps=steps,
            restarts=2,
            loss=("margin", "ce"),
            momentum=0.25,
            patience=5,
            targeted=targeted,
            seed=seed,
        )

    @property
    def name(self) -> str:
        """Short name for logs and tables."""
        losses = self._losses
        parts = [f"pgd{self.steps}", self.norm]
        parts += [] if losses == ["ce"] else ["+".join(losses)]
        parts += [] if self.rel_step_size is not None else ["cosine"]
        parts += [] if self.restarts == len(losses) else [f"x{self.restarts}"]
        return "-".join(parts) + targeting_name(self.targeted)

    def runs(
        self, classifier: Classifier, images: Tensor, labels: Tensor, targets: Tensor | None = None
    ) -> list[tuple[Objective, Tensor | None]]:
        """The losses in turn, one per run."""
        losses = [objective(name, targeted=targets is not None) for name in self._losses]
        return [(losses[i % len(losses)], targets) for i in range(self.restarts)]

    def run(
        self, classifier: Classifier, images: Tensor, x: Tensor, labels: Tensor, radius: Tensor, loss: Objective,
        targets: Tensor | None, *, targeted: bool = False,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Steps until each image's first success, or all steps."""
        gives_up = self.patience is not None and not targeted
        result, before = x.clone(), x
        fooled = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        active = torch.arange(len(x), device=x.device)
        margins: list[Tensor] = []  # of the active images, at the last three points
        best = torch.full_like(radius[:, 0, 0, 0], -torch.inf)
        for t in range(self.steps + 1):
            last = t == self.steps
            if last:
                logits, gradient = classifier.logits(x), x
            else:
                logits, _, gradient = classifier.gradient(x, of_logits(loss, labels, targets))
            wrong = reached(logits, labels, targets if targeted else None)
            result[active], fooled[active] = x, wrong
            if last:
                break
            keep = ~wrong if self.early_stop else torch.ones_like(wrong)
            if gives_up:
                margins = [*margins[-2:], margin(logits, labels)]
                best = torch.maximum(best, margins[-1])
                keep &= ~self._is_hopeless(best, margins, t)
            # Without a stop every image goes on, and nothing is read from the device.
            left = keep.nonzero()[:, 0] if self.early_stop or gives_up else active
            if not len(left):
                break
            if len(left) < len(x):
                active, x, before, images = active[left], x[left], before[left], images[left]
                labels, radius, gradient = labels[left], radius[left], gradient[left]
                targets = None if targets is None else targets[left]
                best, margins = best[left], [m[left] for m in margins]
            cosine = 0.5 * (1 + math.cos(math.pi * t / self.steps))
            share = cosine if self.rel_step_size is None else self.rel_step_size
            step = share * radius * steepest(gradient, self.norm)
            before, x = x, self.move(images, x, before, step, radius, self.momentum if t else 0.0)
        return result, fooled

    def _is_hopeless(self, best: Tensor, margins: list[Tensor], t: int) -> Tensor:
        if self.patience is None or t < self.patience:
            return torch.zeros_like(best, dtype=torch.bool)
        rate = (margins[-1] - margins[-3]).clamp_min(0) / 2
        return best + 3 * rate * (self.steps - t) < 0

    def __repr__(self) -> str:
        step = "cosine" if self.rel_step_size is None else f"{self.rel_step_size} eps"
        extra = {"random_start": self.random_start, "momentum": self.momentum, "patience": self.patience}
        extra["early_stop"] = None if self.early_stop else False
        further = "".join(f", {k}={v!r}" for k, v in extra.items() if v or (v is False and k == "early_stop"))
        further += "" if self.targeted is None else f", targeted={self.targeted!r}"
        return (
            f"PGD(norm={self.norm!r}, steps={self.steps}, restarts={self.restarts}, loss={self.loss!r}, step={step}, "
            f"seed={self.seed}{further})"
        )
