"""Attacks along the gradient: FGSM and PGD, in the maximum and the Euclidean norm."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuroalign.types import check_images

Norm = Literal["linf", "l2"]
AttackLoss = Literal["margin", "ce"]


def _attack_loss(logits: Tensor, labels: Tensor, loss: AttackLoss) -> Tensor:
    """What an attack increases, one value a sample."""
    logits = logits.float()
    if loss == "ce":
        return F.cross_entropy(logits, labels, reduction="none")
    own = logits.gather(1, labels[:, None])[:, 0]
    other = logits.scatter(1, labels[:, None], -torch.inf).amax(1)
    return other - own


def _per_sample(eps: float | Tensor, images: Tensor) -> Tensor:
    eps = torch.as_tensor(eps, dtype=images.dtype, device=images.device)
    if eps.ndim > 1 or (eps.ndim == 1 and len(eps) != len(images)):
        raise ValueError(f"eps must be a number or one value an image ({len(images)}); got shape {tuple(eps.shape)}")
    if not bool((eps >= 0).all()):
        raise ValueError(f"eps must not be negative; got {eps.tolist()}")
    return eps.expand(len(images))[:, None, None, None]


def _l2(x: Tensor) -> Tensor:
    return x.flatten(1).norm(dim=1)[:, None, None, None]


class GradientAttack(ABC):
    """What gradient attacks share: the checks, the gradient, the steepest direction, the ball.

    Args:
        norm: "linf" or "l2".
        loss: "margin" or "ce".
    """

    def __init__(self, norm: Norm, loss: AttackLoss) -> None:
        if norm not in ("linf", "l2"):
            raise ValueError(f"norm must be 'linf' or 'l2'; got {norm!r}")
        if loss not in ("margin", "ce"):
            raise ValueError(f"loss must be 'margin' or 'ce'; got {loss!r}")
        self.norm, self.loss = norm, loss

    @abstractmethod
    def __call__(
        self, model: nn.Module, images: Tensor, labels: Tensor, eps: float | Tensor, *, index: Tensor | None = None
    ) -> Tensor:
        """Perturbed images."""

    def _prepare(self, images: Tensor, labels: Tensor, eps: float | Tensor) -> Tensor:
        check_images(images)
        if len(labels) != len(images):
            raise ValueError(f"{len(images)} images but {len(labels)} labels")
        budget = _per_sample(eps, images)
        if self.norm == "linf" and bool((budget > 1).any()):
            raise ValueError(
                f"eps is in pixels of [0, 1], where a change of 1 is everything; got {float(budget.max()):g}: divide by 255?"
            )
        return budget

    def _ascent(self, model: nn.Module, x: Tensor, labels: Tensor) -> tuple[Tensor, Tensor]:
        """Loss per sample and the unit step that increases it most; `.grad` of the model is left alone."""
        with torch.enable_grad():
            x = x.detach().requires_grad_()
            logits = model(x)
            value = _attack_loss(logits, labels, self.loss)
            if not value.requires_grad:
                raise ValueError("no gradient reaches the images: is the model wrapped in no_grad or detached?")
            (gradient,) = torch.autograd.grad(value.sum(), x)
        wrong = logits.detach().argmax(1) != labels
        if not bool(value.isfinite().all()):
            raise ValueError("the model gives NaN or infinite logits on these images")
        step = gradient.sign() if self.norm == "linf" else gradient / _l2(gradient).clamp_min(1e-30)
        return wrong, step

    def _project(self, delta: Tensor, images: Tensor, eps: Tensor) -> Tensor:
        if self.norm == "linf":
            return (images + delta.clamp(-eps, eps)).clamp(0, 1)
        return (images + delta * (eps / _l2(delta).clamp_min(1e-30)).clamp_max(1)).clamp(0, 1)


class FGSM(GradientAttack):
    """One step of full length along the gradient (Goodfellow et al. 2015); with ``norm="l2"`` the fast gradient method.

    Args:
        norm: "linf" or "l2" (Euclidean over channel, height and width, in pixel units).
        loss: What is increased: "margin" (largest other logit minus the true one: its gradient doesn't vanish for a
            confident network) or "ce", cross-entropy.

    Call it as ``attack(model, images, labels, eps)``: images (stimulus, channel, height, width) in [0, 1], eps a number
    or one value an image. The model should be in eval mode; :func:`evaluate_robustness` sees to it.

    Raises:
        ValueError: If images are not in [0, 1] (normalised, perhaps), eps is negative, or the logits are not finite.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> images, labels = torch.rand(5, 3, 2, 2), torch.tensor([0, 1, 2, 0, 1])
        >>> perturbed = FGSM()(model, images, labels, eps=8 / 255)
        >>> bool((perturbed - images).abs().max() <= 8 / 255 + 1e-6)
        True
    """

    def __init__(self, norm: Norm = "linf", *, loss: AttackLoss = "margin") -> None:
        super().__init__(norm, loss)

    @property
    def name(self) -> str:
        """Short name for logs and tables."""
        return f"fgsm-{self.norm}"

    def __call__(
        self, model: nn.Module, images: Tensor, labels: Tensor, eps: float | Tensor, *, index: Tensor | None = None
    ) -> Tensor:
        """Perturbed images."""
        radius = self._prepare(images, labels, eps)
        _, step = self._ascent(model, images, labels)
        return self._project(radius * step, images, radius).detach()

    def __repr__(self) -> str:
        return f"FGSM(norm={self.norm!r}, loss={self.loss!r})"


class PGD(GradientAttack):
    r"""Projected gradient descent (Madry et al. 2018), keeping the first perturbation that fools.

    The first run starts at the image, further ``restarts`` at random points of the ball. Steps shrink along a cosine,
    :math:`\epsilon(1+\cos(\pi t/T))/2`, so that a run can cross the ball and still settle; ``rel_step_size`` takes
    constant steps of that share of eps instead.

    Random starts come from a generator seeded by (seed, image index, restart): they don't depend on batch size or order.

    Args:
        norm: "linf" or "l2" (Euclidean over channel, height and width, in pixel units).
        steps: Gradient steps of a run.
        restarts: Runs; an image fooled by one is left out of the next.
        loss: "margin" or "ce"; see :class:`FGSM`.
        rel_step_size: Step as a share of eps; None for the cosine schedule.
        seed: Of the random starts.

    Call it as ``attack(model, images, labels, eps)``; ``index`` (stimulus,) identifies the images, default their place
    in the batch.

    Raises:
        ValueError: If images are not in [0, 1] (normalised, perhaps), eps is negative, or the logits are not finite.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> images, labels = torch.rand(5, 3, 2, 2), torch.tensor([0, 1, 2, 0, 1])
        >>> perturbed = PGD("l2", steps=5, restarts=2)(model, images, labels, eps=0.5)
        >>> bool((perturbed - images).flatten(1).norm(dim=1).max() <= 0.5 + 1e-6)
        True
    """

    def __init__(
        self,
        norm: Norm = "linf",
        *,
        steps: int = 20,
        restarts: int = 1,
        loss: AttackLoss = "margin",
        rel_step_size: float | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(norm, loss)
        if steps < 1 or restarts < 1:
            raise ValueError(f"steps and restarts must be at least 1; got {steps} and {restarts}")
        self.steps, self.restarts, self.rel_step_size, self.seed = steps, restarts, rel_step_size, seed

    @property
    def name(self) -> str:
        """Short name for logs and tables."""
        return f"pgd{self.steps}-{self.norm}" + (f"-x{self.restarts}" if self.restarts > 1 else "")

    def __call__(
        self, model: nn.Module, images: Tensor, labels: Tensor, eps: float | Tensor, *, index: Tensor | None = None
    ) -> Tensor:
        """Perturbed images: one that fools where one was found, the last of the last run elsewhere."""
        radius = self._prepare(images, labels, eps)
        index = torch.arange(len(images)) if index is None else index
        images = images.detach()
        best = images.clone()
        left = torch.arange(len(images), device=images.device)
        for restart in range(self.restarts):
            if not len(left):
                break
            start = images[left]
            if restart:
                start = self._random_start(start, radius[left], index.cpu()[left.cpu()], restart)
            found, fooled = self._run(model, images[left], start, labels[left], radius[left])
            best[left] = found
            left = left[~fooled]
        return best

    def _run(
        self, model: nn.Module, images: Tensor, x: Tensor, labels: Tensor, radius: Tensor
    ) -> tuple[Tensor, Tensor]:
        result = x.clone()
        fooled = torch.zeros(len(x), dtype=torch.bool, device=x.device)
        active = torch.arange(len(x), device=x.device)
        for t in range(self.steps + 1):
            wrong, step = self._ascent(model, x, labels[active])
            result[active], fooled[active] = x, wrong
            keep = ~wrong
            active, x, step = active[keep], x[keep], step[keep]
            if t == self.steps or not len(active):
                break
            share = self.rel_step_size or 0.5 * (1 + math.cos(math.pi * t / self.steps))
            eps = radius[active]
            x = self._project(x + share * eps * step - images[active], images[active], eps)
        return result, fooled

    def _random_start(self, images: Tensor, radius: Tensor, index: Tensor, restart: int) -> Tensor:
        noise = torch.empty_like(images, device="cpu")
        for row, i in enumerate(index.tolist()):
            # Mixed into one 64-bit seed; a plain sum would give image 1 of restart 2 the noise of image 2 of restart 1.
            seed = (self.seed * 1_000_003 + i) * 1_000_003 + restart
            generator = torch.Generator().manual_seed(seed % 2**63)
            noise[row] = torch.randn(images.shape[1:], generator=generator)
            if self.norm == "linf":
                noise[row] = 2 * torch.rand(images.shape[1:], generator=generator) - 1
            else:
                length = torch.rand((), generator=generator) ** (1 / noise[row].numel())
                noise[row] *= length / noise[row].norm()
        return (images + radius * noise.to(images)).clamp(0, 1)

    def __repr__(self) -> str:
        step = "cosine" if self.rel_step_size is None else f"{self.rel_step_size} eps"
        return (
            f"PGD(norm={self.norm!r}, steps={self.steps}, restarts={self.restarts}, loss={self.loss!r}, step={step}, "
            f"seed={self.seed})"
        )
