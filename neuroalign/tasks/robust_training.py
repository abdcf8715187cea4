"""Robust-training methods (adversarial training, TRADES, ...) that combine with any guidance.

Pass one to a task (``GuidedClassificationTask(network, robust_training=TRADES(8 / 255))``) or call it in your own loop:
:meth:`RobustTraining.inputs` returns the images to train on, :meth:`RobustTraining.penalty` the term to add to the loss.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from neuroalign.budgets import Budget, as_number, check_largest
from neuroalign.config import Described
from neuroalign.functional.checks import check_whole
from neuroalign.functional.distributed import world_size
from neuroalign.functional.draws import image_keys
from neuroalign.functional.host import FirstBatch, readable, spoil
from neuroalign.functional.norms import Norm, check_norm, steepest
from neuroalign.perturbations import PGD, Classifier
from neuroalign.perturbations.attacks.budget import per_sample, project, random_points
from neuroalign.perturbations.attacks.classes import as_classes
from neuroalign.state import evaluating
from neuroalign.tasks.further_pass import paired_logits
from neuroalign.tasks.independent_samples import independent_gradients
from neuroalign.types import check_images, outside

__all__ = ["AdversarialTraining", "GaussianNoiseTraining", "GradientRegularization", "RobustTraining", "TRADES"]


class RobustTraining(Described):
    """The base of robust-training methods; its own methods give normal training.

    Random numbers come from torch's global generator and the process's rank, so that a seeded training is reproducible and
    each process draws other numbers. Tasks of neuroalign seed that generator for each step from the number of the batch and
    the process, so a resumed training draws the same numbers as without the interruption. In your own loop,
    ``torch.manual_seed`` before each step does the same. Images must be in [0, 1]: normalisation belongs in the network.

    On the CPU every batch is checked. On a GPU only the first one is, because the host would have to wait; from then on a
    batch that would have been refused gives NaN.
    """

    def inputs(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """The images that the network is trained on, (stimulus, channel, height, width)."""
        return images

    def penalty(self, network: nn.Module, images: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
        """The term that is added to the task's loss, a scalar.

        Args:
            network: The network being trained.
            images: (stimulus, channel, height, width), the images of the batch.
            labels: (stimulus,).
            logits: (stimulus, class), the network's logits on :meth:`inputs`.
        """
        return logits.new_zeros(())

    def _looks(self, images: Tensor) -> bool:
        """Whether to look at the values of this batch; see :class:`FirstBatch`, which is made when it is needed."""
        if readable(images):
            return True
        if "_first" not in vars(self):
            self._first = FirstBatch()
        return self._first(images)


def _rank() -> int:
    return dist.get_rank() if world_size() > 1 else 0


def _checked(images: Tensor, looks: bool) -> Tensor:
    """The images, refused if they are no pixels in [0, 1]; if values are not looked at, NaN instead of a refusal."""
    check_images(images, values=looks)
    return images if looks else spoil(images, outside(images))


def _new_starts(images: Tensor) -> Tensor:
    """Identities that give each image a new random start, different from earlier steps and from other processes."""
    seed = int(torch.randint(2**62, ()))  # by the host's generator, so that no device is waited for
    return image_keys(torch.arange(len(images), device=images.device), seed, _rank())


def _budget(eps: Budget, norm: Norm, steps: int) -> tuple[float, Norm, int]:
    norm, eps = check_norm(norm), as_number(eps)
    if not eps > 0:
        raise ValueError(f"eps must be a positive budget in pixels of [0, 1]; got {eps:g}")
    check_largest(eps, norm)
    check_whole(steps=steps)
    if steps < 1:
        raise ValueError(f"steps must be at least 1; got {steps}")
    return eps, norm, steps


class _InItsAutocast(nn.Module):
    """A network under the autocast that is active now, for passes that are made where it is switched off."""

    def __init__(self, network: nn.Module, device: str) -> None:
        super().__init__()
        # As in Classifier: the wrapper would synchronise the processes' buffers in every pass of the attack.
        self.network = network.module if isinstance(network, DistributedDataParallel) else network
        self.device, self.dtype = device, torch.get_autocast_dtype(device)
        self.enabled = torch.is_autocast_enabled(device)

    def forward(self, images: Tensor) -> Tensor:
        with torch.autocast(self.device, self.dtype, enabled=self.enabled, cache_enabled=False):
            result: Tensor = self.network(images)
        return result


class AdversarialTraining(RobustTraining):
    """Train on PGD's adversarial images instead of the clean images (Madry et al. 2018, arXiv 1706.06083).

    The attack sees the network in eval mode, so that BatchNorm's statistics come from the training step only. The target of
    guidance stays the response to the clean image.

    Args:
        eps: Budget, a number in pixel units of [0, 1] or a text such as "8/255".
        norm: "linf" or "l2".
        steps: Number of PGD steps on cross-entropy, each of size 2.5 eps / steps, from a random start.
        mixed_precision: Whether the attack's passes run in the training's own autocast, which takes half the time; its sign
            then differs for some pixels in a hundred. False attacks in float32.

    Raises:
        ValueError: If an argument is out of range, images are not in [0, 1], or labels are soft.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> images, labels = torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 0])
        >>> inputs = AdversarialTraining(8 / 255).inputs(network, images, labels)
        >>> bool((inputs - images).abs().max() <= 8 / 255 + 1e-6)
        True
    """

    def __init__(self, eps: float | str, norm: Norm = "linf", *, steps: int = 7, mixed_precision: bool = False) -> None:
        self.eps, self.norm, self.steps = _budget(eps, norm, steps)
        self.mixed_precision = mixed_precision
        self.attack = PGD(norm, steps=steps, loss="ce", rel_step_size=2.5 / steps, random_start=True, early_stop=False)

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        described = {**arguments, "eps": self.eps}
        if not self.mixed_precision:
            described.pop("mixed_precision", None)  # so that files of earlier versions describe the same training
        return described

    def inputs(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Adversarial images for the network."""
        looks = self._looks(images)
        images = _checked(images, looks)
        if getattr(labels, "ndim", 1) != 1:
            raise ValueError(
                f"adversarial images need labels (stimulus,), not soft ones {tuple(labels.shape)}: leave MixUp and CutMix "
                "out, or use TRADES, which looks for other logits and asks for no label"
            )
        labels = as_classes(labels, len(images), images.device)
        index = _new_starts(images)
        with evaluating(network), torch.no_grad():
            radius = per_sample(self.eps, images.float(), self.norm)
            seen = _InItsAutocast(network, images.device.type) if self.mixed_precision else network
            classifier = Classifier(seen, classes={"labels": labels}, looks=looks)
            found, _ = self.attack.search(classifier, images.float(), labels, radius, index)
        return _unless_refused(found, classifier).to(images.dtype)


class TRADES(RobustTraining):
    r"""Clean cross-entropy plus :math:`\beta\,\mathrm{KL}(p(x)\,\|\,p(x'))` at the worst point of the ball.

    As published, the search for the worst point uses the network in eval mode, and the divergence is that of the network in
    train mode: BatchNorm normalises each of the two batches by its own statistics. Two points differ from the authors' code
    or are not covered by it. Running statistics are updated by the clean pass only (in their code also by the perturbed
    images). Dropout, which their networks don't have, uses the same masks for x and x', so that the divergence is 0 at a
    budget of 0; a network with random numbers therefore has one more pass of the clean images.

    Args:
        eps: Budget, a number in pixel units of [0, 1] or a text such as "8/255".
        norm: "linf" or "l2".
        beta: Weight of the divergence.
        steps: Number of ascent steps on the divergence, each of size 2.5 eps / steps.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> images, labels = torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 0])
        >>> TRADES(8 / 255).penalty(network, images, labels, network(images)).ndim
        0

    Source:
        Zhang et al. 2019, arXiv 1901.08573 (beta 6, 10 steps).
    """

    def __init__(self, eps: float | str, norm: Norm = "linf", *, beta: float = 6.0, steps: int = 10) -> None:
        self.eps, self.norm, self.steps = _budget(eps, norm, steps)
        if not 0 < beta < math.inf:
            raise ValueError(f"beta must be positive and finite; got {beta}")
        self.beta = float(beta)

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {**arguments, "eps": self.eps, "beta": self.beta}

    def penalty(self, network: nn.Module, images: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
        """The divergence at the images that maximise it; ``logits`` must be those of ``images``."""
        looks = self._looks(images)
        perturbed = self._worst(network, _checked(images, looks).float(), looks).to(images.dtype)
        return self.beta * _divergence(*paired_logits(network, images, logits, perturbed)).mean()

    def _worst(self, network: nn.Module, images: Tensor, looks: bool = True) -> Tensor:
        index = _new_starts(images)
        radius = per_sample(self.eps, images, self.norm)
        with evaluating(network):
            classifier = Classifier(network, looks=looks)
            clean = classifier.logits(images)
            # Start close to the image, since at the image itself the divergence has no gradient.
            x = random_points(images, 0.01 * radius, self.norm, index, seed=0, stream=0)
            for _ in range(self.steps):
                _, _, gradient = classifier.gradient(x, lambda logits: _divergence(clean, logits))
                step = 2.5 / self.steps * radius * steepest(gradient, self.norm)
                x = project(x + step - images, images, radius, self.norm)
        return _unless_refused(x, classifier)


def _unless_refused(found: Tensor, classifier: Classifier) -> Tensor:
    """The images; NaN if the classifier refused a pass without looking."""
    return found if classifier.refused is None else spoil(found, classifier.refused)


def _divergence(clean: Tensor, perturbed: Tensor) -> Tensor:
    """KL(p || q) per sample, from logits."""
    clean, perturbed = clean.float().log_softmax(1), perturbed.float().log_softmax(1)
    return F.kl_div(perturbed, clean, reduction="none", log_target=True).sum(1)


class GaussianNoiseTraining(RobustTraining):
    """Train on images with Gaussian noise, clipped to [0, 1].

    Args:
        std: Standard deviation in pixel units of [0, 1].

    Example:
        >>> images, labels = torch.rand(4, 3, 2, 2), torch.zeros(4)
        >>> GaussianNoiseTraining(0.1).inputs(nn.Identity(), images, labels).shape
        torch.Size([4, 3, 2, 2])
    """

    def __init__(self, std: float) -> None:
        if not 0 < std < math.inf:
            raise ValueError(f"std must be positive and finite, in pixel units of [0, 1]; got {std}")
        self.std = float(std)

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"std": self.std}

    def inputs(self, network: nn.Module, images: Tensor, labels: Tensor) -> Tensor:
        """Noisy images."""
        images = _checked(images, self._looks(images))
        if (rank := _rank()) == 0:
            noise = torch.randn_like(images)
        else:  # the global generator often has the same seed on all processes
            generator = torch.Generator(images.device).manual_seed(int(torch.randint(2**62, ())) + rank)
            noise = torch.randn(images.shape, generator=generator, device=images.device, dtype=images.dtype)
        return (images + self.std * noise).clamp(0, 1)


class GradientRegularization(RobustTraining):
    r"""Penalise :math:`\lambda \|\nabla_x \mathrm{CE}\|_2^2` at the images, by double backpropagation.

    The gradient is that of each image's own loss by that image only, as in eval mode: dropout is off, and the statistics by
    which BatchNorm normalises are constants in the gradient by the images. They are the batch's statistics, as in the
    training pass; running statistics stay as they are. So without BatchNorm the value is lambda times that of
    :func:`neuroalign.evaluate_smoothness` divided by 400; with BatchNorm it is this value for running statistics equal to the
    batch's. Differentiating through the batch's statistics would add the effect of each image on the losses of the others.

    Args:
        weight: lambda, the weight of the penalty.

    Example:
        >>> network = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> images, labels = torch.rand(4, 3, 2, 2), torch.tensor([0, 1, 2, 0])
        >>> penalty = GradientRegularization(0.1).penalty
        >>> penalty(network, images, labels, network(images)).requires_grad
        True

    Source:
        Ross & Doshi-Velez 2018, arXiv 1711.09404.
    """

    def __init__(self, weight: float) -> None:
        if not 0 < weight < math.inf:
            raise ValueError(f"weight must be positive and finite; got {weight}")
        self.weight = float(weight)

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"weight": self.weight}

    def penalty(self, network: nn.Module, images: Tensor, labels: Tensor, logits: Tensor) -> Tensor:
        """Mean squared gradient norm, with a graph."""
        images = _checked(images, self._looks(images))
        return self.weight * independent_gradients(network, images, labels).squared_norm.mean()
