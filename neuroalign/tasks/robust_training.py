"""What robustness people train with, as parts that combine with any guidance.

Each is handed to a task (``GuidedClassificationTask(network, robust_training=TRADES(8 / 255))``) or called in a loop of
your own: :meth:`RobustTraining.inputs` says on which images the network learns, :meth:`RobustTraining.penalty` what is
added to the loss.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from neuroalign.config import Described
from neuroalign.functional.distributed import world_size
from neuroalign.functional.norms import Norm, check_norm, steepest
from neuroalign.perturbations import PGD, Classifier
from neuroalign.perturbations.attacks.budget import per_sample, project, random_points
from neuroalign.perturbations.attacks.classes import as_classes
from neuroalign.state import evaluating
from neuroalign.tasks.further_pass import paired_logits
from neuroalign.tasks.independent_samples import independent_gradients
from neuroalign.types import check_images


class RobustTraining(Described):
    """A way to train a classifier to be robust; the defaults train as usual.

    Random numbers come from torch's global generator and the process's rank, so that a seeded training is reproducible and
    no two processes draw alike. A task here seeds that generator for each step, by the number of the batch and the process:
    a resumed training draws what it would have drawn. In a loop of your own, ``torch.manual_seed`` before each step does the
    same. Images must be in [0, 1]: normalisation belongs into the network.
    """

    def inputs(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """The images that the network is trained on, (stimulus, channel, height, width)."""
        return images

    def penalty(self, network: nn.Module, images: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
        """What is added to the task's loss, a scalar.

        Args:
            network: Being trained.
            images: (stimulus, channel, height, width), as they came.
            labels: (stimulus,).
            logits: (stimulus, class), of the network on :meth:`inputs`.
        """
        return logits.new_zeros(())


def _rank() -> int:
    return dist.get_rank() if world_size() > 1 else 0


def _new_starts(num: int) -> Tensor:
    """Identities by which each image gets a random start that it had in no step before, nor on another process."""
    return torch.randint(2**31, (num,)) + 2**31 * _rank()


def _budget(eps: float, norm: Norm, steps: int) -> tuple[float, Norm, int]:
    norm = check_norm(norm)
    if not eps > 0 or (norm == "linf" and eps > 1):
        raise ValueError(f"eps must be a positive budget in pixels of [0, 1]; got {eps}: divide by 255?")
    if steps < 1:
        raise ValueError(f"steps must be at least 1; got {steps}")
    return float(eps), norm, steps


class AdversarialTraining(RobustTraining):
    """Train on PGD's images in place of the clean ones (Madry et al. 2018, arXiv 1706.06083).

    The attack sees the network in eval mode, so that BatchNorm's statistics come from the training step alone. A guided
    network's target stays the response to the clean image.

    Args:
        eps: Budget in pixel units of [0, 1].
        norm: "linf" or "l2".
        steps: Of PGD with cross-entropy, each of 2.5 eps / steps, from a random start.

    Raises:
        ValueError: If an argument is out of range, images are not in [0, 1], or labels are soft.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> images, labels = torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 0])
        >>> inputs = AdversarialTraining(8 / 255).inputs(network, images, labels)
        >>> bool((inputs - images).abs().max() <= 8 / 255 + 1e-6)
        True
    """

    def __init__(self, eps: float, norm: Norm = "linf", *, steps: int = 7) -> None:
        self.eps, self.norm, self.steps = _budget(eps, norm, steps)
        self.attack = PGD(norm, steps=steps, loss="ce", rel_step_size=2.5 / steps, random_start=True, early_stop=False)

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {**arguments, "eps": self.eps}

    def inputs(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Images that the network finds hard."""
        check_images(images)
        if getattr(labels, "ndim", 1) != 1:
            raise ValueError(
                f"adversarial images need labels (stimulus,), not soft ones {tuple(labels.shape)}: leave MixUp and CutMix "
                "out, or use TRADES, which looks for other logits and asks for no label"
            )
        labels = as_classes(labels, len(images), images.device)
        index = _new_starts(len(images))
        with evaluating(network), torch.no_grad():
            radius = per_sample(self.eps, images.float(), self.norm)
            classifier = Classifier(network, classes={"labels": labels})
            found, _ = self.attack.search(classifier, images.float(), labels, radius, index)
        return found.to(images.dtype)


class TRADES(RobustTraining):
    r"""Clean cross-entropy plus :math:`\beta\,\mathrm{KL}(p(x)\,\|\,p(x'))` at the worst point of the ball.

    As published, the search for the worst point sees the network in eval mode, and the divergence is that of the network
    in train mode: BatchNorm normalises each of the two batches by its own statistics. In two points the authors' code says
    nothing or does otherwise. Running statistics are moved by the clean pass alone (there by the perturbed images as well).
    And dropout, which their networks don't have, takes the same masks for x and x', so that the divergence is 0 at a
    budget of 0; a network that draws random numbers passes the clean images once more for it.

    Args:
        eps: Budget in pixel units of [0, 1].
        norm: "linf" or "l2".
        beta: Weight of the divergence.
        steps: Of the ascent on the divergence, each of 2.5 eps / steps.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> images, labels = torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 0])
        >>> TRADES(8 / 255).penalty(network, images, labels, network(images)).ndim
        0

    Source:
        Zhang et al. 2019, arXiv 1901.08573 (beta 6, 10 steps).
    """

    def __init__(self, eps: float, norm: Norm = "linf", *, beta: float = 6.0, steps: int = 10) -> None:
        self.eps, self.norm, self.steps = _budget(eps, norm, steps)
        if not beta > 0:
            raise ValueError(f"beta must be positive; got {beta}")
        self.beta = float(beta)

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {**arguments, "eps": self.eps, "beta": self.beta}

    def penalty(self, network: nn.Module, images: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
        """The divergence at the images where it is largest; ``logits`` must be those of ``images``."""
        check_images(images)
        perturbed = self._worst(network, images.float()).to(images.dtype)
        return self.beta * _divergence(*paired_logits(network, images, logits, perturbed)).mean()

    def _worst(self, network: nn.Module, images: Tensor) -> Tensor:
        index = _new_starts(len(images))
        radius = per_sample(self.eps, images, self.norm)
        with evaluating(network):
            classifier = Classifier(network)
            clean = classifier.logits(images)
            # Close to the image: at the image itself the divergence has no gradient.
            x = random_points(images, 0.01 * radius, self.norm, index, seed=0, stream=0)
            for _ in range(self.steps):
                _, _, gradient = classifier.gradient(x, lambda logits: _divergence(clean, logits))
                step = 2.5 / self.steps * radius * steepest(gradient, self.norm)
                x = project(x + step - images, images, radius, self.norm)
        return x


def _divergence(clean: Tensor, perturbed: Tensor) -> Tensor:
    """KL(p || q) of each sample, from logits."""
    clean, perturbed = clean.float().log_softmax(1), perturbed.float().log_softmax(1)
    return F.kl_div(perturbed, clean, reduction="none", log_target=True).sum(1)


class GaussianNoiseTraining(RobustTraining):
    """Train on images with Gaussian noise, kept in [0, 1].

    Args:
        std: Standard deviation in pixel units of [0, 1].

    Example:
        >>> GaussianNoiseTraining(0.1).inputs(nn.Identity(), torch.rand(4, 3, 2, 2), torch.zeros(4)).shape
        torch.Size([4, 3, 2, 2])
    """

    def __init__(self, std: float) -> None:
        if not std > 0:
            raise ValueError(f"std must be positive, in pixel units of [0, 1]; got {std}")
        self.std = float(std)

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"std": self.std}

    def inputs(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Noisy images."""
        check_images(images)
        if (rank := _rank()) == 0:
            noise = torch.randn_like(images)
        else:  # the global generator is often seeded alike on all processes
            generator = torch.Generator(images.device).manual_seed(int(torch.randint(2**62, ())) + rank)
            noise = torch.randn(images.shape, generator=generator, device=images.device, dtype=images.dtype)
        return (images + self.std * noise).clamp(0, 1)


class GradientRegularization(RobustTraining):
    r"""Penalise :math:`\lambda \|\nabla_x \mathrm{CE}\|_2^2` at the images, by double backpropagation.

    Of each image's own loss by that image alone, as in eval mode: dropout is off, and the statistics by which BatchNorm
    normalises are constants to the gradient by the images. They are the batch's, as in the pass that is trained, and the
    running ones stay as they are. So without BatchNorm the value is lambda times that of
    :func:`neuroalign.evaluate_smoothness` over 400; with it, what that would be if the running statistics were the
    batch's. Differentiating through the batch's statistics would add to each image's gradient how it changes the losses
    of the others.

    Args:
        weight: lambda.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> images, labels = torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 0])
        >>> GradientRegularization(0.1).penalty(network, images, labels, network(images)).requires_grad
        True

    Source:
        Ross & Doshi-Velez 2018, arXiv 1711.09404.
    """

    def __init__(self, weight: float) -> None:
        if not weight > 0:
            raise ValueError(f"weight must be positive; got {weight}")
        self.weight = float(weight)

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"weight": self.weight}

    def penalty(self, network: nn.Module, images: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
        """Mean squared gradient norm, with a graph."""
        check_images(images)
        return self.weight * independent_gradients(network, images, labels).squared_norm.mean()
