"""The base of all attacks: how they query a model, and the checks of their input."""

from __future__ import annotations

import warnings
from abc import abstractmethod
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from neuroalign.config import Described
from neuroalign.functional.checks import check_devices
from neuroalign.functional.norms import Norm, check_norm, length
from neuroalign.perturbations.attacks.budget import per_sample
from neuroalign.perturbations.attacks.classes import as_classes, as_index, check_targets
from neuroalign.perturbations.attacks.targets import Targeting, choose_targets
from neuroalign.perturbations.base import Perturbation
from neuroalign.perturbations.classifier import Classifier
from neuroalign.types import check_images

__all__ = ["Attack"]


class Attack(Described, Perturbation):
    """A perturbation bounded in a norm, called as ``attack(model, images, labels, eps)``.

    Subclasses implement :meth:`search`, which may rely on checked input.

    Args:
        norm: "linf" or "l2".

    Attributes:
        takes_start: Whether :meth:`search` can begin at given images.
        takes_target: Whether :meth:`search` can pull each image toward a class given as ``target``.
        targeted: How a targeted attack chooses that class, "random" or "least-likely"; None means untargeted.
        seed: Seed of the random numbers.
    """

    takes_start = False
    takes_target = False
    targeted: Targeting | None = None
    seed: int = 0

    norm: Norm

    def __init__(self, norm: Norm) -> None:
        self.norm = check_norm(norm)

    @property
    def is_nested(self) -> bool:  # type: ignore[override]
        """Whether an image fooled at one budget counts as fooled at all larger ones.

        False for a targeted attack, which goes on when an image is predicted as a class other than label and target.
        """
        return self.targeted is None

    @abstractmethod
    def search(
        self,
        classifier: Classifier,
        images: Tensor,
        labels: Tensor,
        eps: Tensor,
        index: Tensor,
        start: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Perturbed images within their budgets, and whether each is misclassified (as any class).

        Attacks with ``takes_target`` have a further argument ``target``, (stimulus,) int64 or None.

        Args:
            classifier: The model.
            images: (stimulus, channel, height, width) in [0, 1], float32.
            labels: (stimulus,) int64.
            eps: (stimulus, 1, 1, 1) budgets in pixel units.
            index: (stimulus,) int64 identity of each image, on the CPU; seeds the random numbers.
            start: Images in the balls at which to begin, for attacks with ``takes_start``.
        """

    def apply(self, classifier: Classifier, images: Tensor, labels: Tensor, eps: float, *, index: Tensor) -> Tensor:
        """The images that :meth:`search` finds at one budget."""
        return self.attempt(classifier, images, labels, eps, index=index)[0]

    def attempt(
        self, classifier: Classifier, images: Tensor, labels: Tensor, eps: float, *, index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """The images that :meth:`search` finds at one budget, and whether it reports each as misclassified."""
        return self.search(classifier, images, labels, per_sample(eps, images, self.norm), index.cpu())

    def aim(
        self, classifier: Classifier, images: Tensor, labels: Tensor, index: Tensor, target: Tensor | None
    ) -> Tensor | None:
        """Targets (stimulus,): those given, else those that the attack chooses; None if it is untargeted."""
        if target is not None or self.targeted is None:
            return target
        return choose_targets(self.targeted, classifier, images, labels, index, seed=self.seed)

    def targets(self, model: nn.Module, images: Tensor, labels: Tensor, *, index: Tensor | None = None) -> Tensor:
        """The classes (stimulus,) int64 toward which a targeted attack pulls these images.

        Compare them with predictions to count how many images reached their target.

        Args:
            model: As in a call of the attack.
            images: (stimulus, channel, height, width) in [0, 1].
            labels: (stimulus,) integers.
            index: (stimulus,) identity of each image; pass the same to the call of the attack.

        Raises:
            ValueError: If the attack is untargeted, images are not in [0, 1], or labels are not classes of the model.

        Example:
            >>> from neuroalign import PGD
            >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
            >>> images, labels = torch.rand(5, 3, 2, 2), torch.tensor([0, 1, 2, 0, 1])
            >>> targets = PGD(targeted=True).targets(model, images, labels)
            >>> bool((targets == labels).any())
            False
        """
        if self.targeted is None:
            raise ValueError(f"{self!r} is untargeted: make it with targeted=True or targeted='least-likely'")
        check_images(images)
        with torch.inference_mode(False), torch.no_grad():
            y = as_classes(labels, len(images), images.device)
            classifier = Classifier(model, classes={"labels": y})
            return choose_targets(
                self.targeted, classifier, images.detach().clone().float(), y, as_index(index, len(y)), seed=self.seed
            )

    def __call__(
        self,
        model: nn.Module,
        images: Tensor,
        labels: Tensor,
        eps: float | str | Sequence[float | str] | Tensor,
        *,
        index: Tensor | None = None,
        target: Tensor | None = None,
    ) -> Tensor:
        """Perturbed images, (stimulus, channel, height, width) in [0, 1].

        Args:
            model: Function from images in [0, 1] to logits, with its normalisation inside, in eval mode.
            images: (stimulus, channel, height, width) in [0, 1].
            labels: (stimulus,) classes in 0..C-1: a tensor of any integer type, an array or a list.
            eps: Budget in pixel units: a number, a text such as "8/255", or one value per image (stimulus,).
            index: (stimulus,) identity of each image, which seeds the random numbers; None means its place in the batch.
            target: (stimulus,) classes toward which the images are pulled, instead of away from their labels; for FGSM,
                PGD, APGD, Carlini & Wagner and FMN. If None, an attack made with ``targeted`` chooses them itself.

        Raises:
            ValueError: If images are not in [0, 1] (perhaps normalised), labels or targets are not classes of the model,
                a target is the image's own label, the attack has no targeted form, eps is negative, the logits are not
                finite, or no gradient reaches the images.
        """
        check_images(images)
        if target is not None and not self.takes_target:
            raise ValueError(
                f"{type(self).__name__} has no targeted form: FGSM, PGD, APGD, CarliniWagner and FMN take a target"
            )
        check_devices(labels=labels if isinstance(labels, Tensor) else None)
        if isinstance(model, nn.Module) and model.training:
            warnings.warn(
                "the model is in train mode: dropout makes its gradients noisy and BatchNorm's statistics move; call "
                "model.eval() first, or use evaluate_robustness, which switches to eval mode and back",
                stacklevel=2,
            )
        with torch.inference_mode(False), torch.no_grad():
            x, y = images.detach().clone().float(), as_classes(labels, len(images), images.device)
            classes, given = {"labels": y}, {}
            if target is not None:
                classes["targets"] = given["target"] = as_classes(target, len(x), x.device, what="targets")
                check_targets(given["target"], y)
            radius = per_sample(eps, x, self.norm)
            index = as_index(index, len(x))
            found, _ = self.search(Classifier(model, classes=classes), x, y, radius, index, **given)
        excess = float((length(found - x, self.norm) - radius).max())
        if not excess <= 1e-5:  # a bug in the attack, ours or a user's: its accuracy would be meaningless
            raise RuntimeError(f"{self!r} left the ball by {excess:.2g}")
        return found.to(images.dtype)
