"""What every perturbation tells about itself, and the one way in which it is applied."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from torch import Tensor

from neuroalign.functional.norms import Norm

if TYPE_CHECKING:
    from neuroalign.perturbations.attacks.base import Classifier


class Perturbation(ABC):
    """Images in, perturbed images out, in pixel space.

    Attacks, corruptions, filters and rotations are perturbations. A subclass has a ``name`` and implements :meth:`apply`;
    its attributes tell evaluations what to expect of it. A plain function ``(model, images, labels, eps) -> images`` needs
    no class: evaluations wrap it.

    Attributes:
        norm: In which its budget bounds it: "linf" or "l2"; None where it has no budget or doesn't say.
        has_budget: Whether it takes a budget. Without one it is what it is, and has one row in tables.
        needs_model: Whether it is made against a model. Without a model there is no adversary: an image that the change
            puts right counts as right.
        is_nested: Whether it searches a ball, so that what fools at one budget counts at all larger ones. Of an
            :class:`Attack` that does, evaluations begin at the largest budget.
        ran: What ran, where that is only known afterwards; None otherwise.
        kind: What is done, whatever its strength; None where the name says it all.
        strength: How much is done, on the scale of its kind; NaN where there is none.

    Example:
        >>> from neuroalign.perturbations import Classifier, Perturbation
        >>> class Darker(Perturbation):
        ...     name, norm = "darker", "linf"
        ...
        ...     def apply(self, classifier, images, labels, eps, *, index):
        ...         return (images - eps).clamp(0, 1)
        >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)))
        >>> images, labels, index = torch.ones(2, 3, 2, 2), torch.tensor([0, 1]), torch.arange(2)
        >>> images, fooled = Darker().attempt(classifier, images, labels, eps=0.5, index=index)
        >>> float(images.max()), fooled.shape
        (0.5, torch.Size([2]))
    """

    norm: Norm | None = None
    has_budget: bool = True
    needs_model: bool = True
    is_nested: bool = False
    ran: str | None = None
    kind: str | None = None
    strength: float = float("nan")

    @property
    @abstractmethod
    def name(self) -> str:
        """Short name for logs and tables."""

    @abstractmethod
    def apply(self, classifier: Classifier, images: Tensor, labels: Tensor, eps: float, *, index: Tensor) -> Tensor:
        """Perturbed images, (stimulus, channel, height, width) in [0, 1].

        Args:
            classifier: The model, in eval mode. Perturbations that need none leave it alone.
            images: (stimulus, channel, height, width) in [0, 1], float32.
            labels: (stimulus,) int64.
            eps: Budget in pixel units; NaN where the perturbation takes none.
            index: (stimulus,) int64 identity of each image, on the CPU; seeds what is random.
        """

    def attempt(
        self, classifier: Classifier, images: Tensor, labels: Tensor, eps: float, *, index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Perturbed images, checked, and whether each is misclassified, (stimulus,) bool; see :meth:`apply`.

        This is what evaluations call.

        Raises:
            ValueError: If what :meth:`apply` gives has another shape or lies outside [0, 1].
        """
        found = self.apply(classifier, images, labels, eps, index=index).detach().float()
        if found.shape != images.shape:
            raise ValueError(f"{self!r} turned images {tuple(images.shape)} into {tuple(found.shape)}")
        low, high = (float(v) for v in found.aminmax())
        if not (low >= -1e-5 and high <= 1 + 1e-5):
            raise ValueError(f"{self!r} gave images from {low:.3g} to {high:.3g}: they must stay in [0, 1]")
        return found, classifier.fooled(found, labels)


def repr_of(instance: object, **settings: object) -> str:
    """A readable repr: the class, and settings as they were given.

    Example:
        >>> repr_of(object(), steps=3)
        'object(steps=3)'
    """
    return f"{type(instance).__name__}({', '.join(f'{k}={v!r}' for k, v in settings.items())})"
