"""The base class of all perturbations: their attributes, and the method by which evaluations apply them."""

from __future__ import annotations

from abc import ABC, abstractmethod

from torch import Tensor

from neuroalign.functional.norms import Norm
from neuroalign.perturbations.classifier import Classifier

__all__ = ["Perturbation"]


class Perturbation(ABC):
    """The base of all perturbations: images in, perturbed images out, in pixel space.

    Attacks, corruptions, filters and rotations are perturbations. A subclass has a ``name`` and implements :meth:`apply`;
    evaluations read its attributes. A plain function ``(model, images, labels, eps) -> images`` needs
    no class: evaluations wrap it.

    Attributes:
        norm: Norm of its budget: "linf" or "l2"; None if it has no budget or its norm isn't known.
        has_budget: Whether it takes a budget. A perturbation without one has a single row in tables.
        needs_model: Whether it is made against a model. If not, there is no adversary: an image that is wrong without the
            change and right with it counts as right.
        is_nested: Whether it searches a ball, so that an image fooled at one budget counts as fooled at all larger ones.
            Evaluations begin such an :class:`Attack` at the largest budget.
        ran: Description of what ran, if that is only known afterwards; None otherwise.
        kind: Kind of change, without its strength; None if the name says it all.
        strength: Strength of the change, on the scale of its kind; NaN if it has none.

    Example:
        >>> from neuroalign.perturbations import Classifier, Perturbation
        >>> class Darker(Perturbation):
        ...     name, norm = "darker", "linf"
        ...
        ...     def apply(self, classifier, images, labels, eps, *, index):
        ...         return (images - eps).clamp(0, 1)
        >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)))
        >>> images, labels = torch.ones(2, 3, 2, 2), torch.tensor([0, 1])
        >>> index = torch.arange(2)
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
            classifier: The model, in eval mode. Perturbations that need no model don't use it.
            images: (stimulus, channel, height, width) in [0, 1], float32.
            labels: (stimulus,) int64.
            eps: Budget in pixel units; NaN for a perturbation without a budget.
            index: (stimulus,) int64 identity of each image, on the CPU; seeds the random numbers.
        """

    def attempt(
        self, classifier: Classifier, images: Tensor, labels: Tensor, eps: float, *, index: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Checked perturbed images, and whether each is misclassified, (stimulus,) bool; see :meth:`apply`.

        Evaluations call this method.

        Raises:
            ValueError: If :meth:`apply` returns images of another shape or outside [0, 1].
        """
        found = self.apply(classifier, images, labels, eps, index=index).detach().float()
        if found.shape != images.shape:
            raise ValueError(f"{self!r} turned images {tuple(images.shape)} into {tuple(found.shape)}")
        low, high = (float(v) for v in found.aminmax())
        if not (low >= -1e-5 and high <= 1 + 1e-5):
            raise ValueError(f"{self!r} gave images from {low:.3g} to {high:.3g}: they must stay in [0, 1]")
        return found, classifier.fooled(found, labels)


def repr_of(instance: object, **settings: object) -> str:
    """A readable repr: the name of the class, and its settings as they were given.

    Example:
        >>> repr_of(object(), steps=3)
        'object(steps=3)'
    """
    return f"{type(instance).__name__}({', '.join(f'{k}={v!r}' for k, v in settings.items())})"
