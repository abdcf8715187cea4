"""A model as attacks query it."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from neuroalign.perturbations.attacks.classes import ClassRange
from neuroalign.perturbations.attacks.objectives import reached
from neuroalign.perturbations.pixel_classifier import asked, no_logits

__all__ = ["Classifier"]

NO_GRADIENT = (
    "no gradient reaches the images: the model is quantised, detaches its outputs or runs under no_grad, and can't be "
    "attacked along gradients; SquareAttack needs no gradients (see masking_report)"
)


class Classifier:
    """A model as attacks use it: checked float32 logits, outside autocast; gradients that leave the parameters unchanged.

    Args:
        model: Function from images (stimulus, channel, height, width) in [0, 1] to logits (stimulus, class).
        allow_no_gradient: If no gradient reaches the images, use a gradient of 0 instead of raising an error.
        classes: Labels and targets (stimulus,) int64, by their name in messages; the first pass refuses classes that the
            model doesn't have.
        looks: Whether to refuse logits and classes by an error, for which the host waits for a GPU at every pass. If not,
            ``refused`` says it at the end.

    Attributes:
        refused: Scalar bool tensor, whether an error would have been raised if ``looks`` were true; None if it is, or
            before the first pass.
        num_forward: Number of images that went through the model so far.
        num_backward: Number of image gradients computed so far.

    Example:
        >>> classifier = Classifier(nn.Sequential(nn.Flatten(), nn.Linear(12, 3)))
        >>> classifier.logits(torch.rand(5, 3, 2, 2)).shape, classifier.num_forward
        (torch.Size([5, 3]), 5)
    """

    def __init__(
        self,
        model: Callable[[Tensor], Tensor],
        *,
        allow_no_gradient: bool = False,
        classes: Mapping[str, Tensor] | None = None,
        looks: bool = True,
    ) -> None:
        if isinstance(model, type):
            raise TypeError(f"the model is a class: make an object of it, {model.__name__}(...)")
        if not callable(model):
            raise TypeError(f"the model must be callable, from images to logits; got {model!r}")
        self._allow_no_gradient = allow_no_gradient
        self._classes = classes or {}
        self._range = ClassRange(self._classes) if looks else None
        self.refused: Tensor | None = None
        # The wrapper would synchronise buffers in every pass, but the processes attack with different numbers of passes.
        self.model = model.module if isinstance(model, DistributedDataParallel) else model
        parameters = model.parameters() if isinstance(model, nn.Module) else ()
        # A model in half or double precision gets a converted copy; the images that an attack keeps stay float32.
        self._dtype = next((p.dtype for p in parameters if p.is_floating_point()), None)
        self.num_forward = self.num_backward = 0

    def forward(self, images: Tensor) -> Tensor:
        """Logits (stimulus, class) in float32, with a graph if gradients are enabled."""
        self.num_forward += len(images)
        with torch.autocast(images.device.type, enabled=False):
            logits = asked(self.model, images if self._dtype is None else images.to(self._dtype))
        if not isinstance(logits, Tensor):
            raise TypeError(no_logits(logits))
        if logits.ndim != 2 or len(logits) != len(images) or logits.shape[1] < 2:
            raise ValueError(
                f"the model must return logits (stimulus, class) of at least 2 classes; for {len(images)} images it "
                f"returned shape {tuple(logits.shape)}"
            )
        logits = logits.float()
        self._check(logits.detach())
        return logits

    def _check(self, logits: Tensor) -> None:
        """Refuse classes that the model doesn't have, and logits that are not finite."""
        finite = logits.isfinite().all()
        if self._range is None:
            wrong = [~finite] + [((c < 0) | (c >= logits.shape[1])).any() for c in self._classes.values()]
            self.refused = torch.stack(wrong if self.refused is None else [*wrong, self.refused]).any()
            return
        self._range.check(logits.shape[1])
        if not bool(finite):
            raise ValueError("the model gives NaN or infinite logits on these images")

    @torch.no_grad()
    def logits(self, images: Tensor) -> Tensor:
        """Logits (stimulus, class) in float32, without a graph."""
        return self.forward(images)

    def gradient(self, images: Tensor, objective: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
        """Logits, the objective's value (stimulus,) and its gradient with respect to the images.

        Args:
            images: (stimulus, channel, height, width).
            objective: Function from logits to one value per sample.

        Raises:
            ValueError: If the logits are not finite or no gradient reaches the images.
        """
        with torch.enable_grad():
            images = images.detach().requires_grad_()
            logits = self.forward(images)
            value = objective(logits)
            gradient = None
            if value.requires_grad:  # may be True because of the parameters alone
                (gradient,) = torch.autograd.grad(value.sum(), images, allow_unused=True)
            if gradient is None and self._allow_no_gradient:
                gradient = torch.zeros_like(images)
            if gradient is None:
                raise ValueError(NO_GRADIENT)
        self.num_backward += len(images)
        return logits.detach(), value.detach(), gradient

    def class_gradients(self, images: Tensor, classes: Tensor) -> tuple[Tensor, Tensor]:
        """Logits and the gradients of several of them: (stimulus, class) and (stimulus, wanted, channel, height, width).

        Args:
            images: (stimulus, channel, height, width).
            classes: (stimulus, wanted) int64, the classes of each image whose logits are differentiated.

        Raises:
            ValueError: If the logits are not finite or no gradient reaches the images.
        """
        with torch.enable_grad():
            images = images.detach().requires_grad_()
            logits = self.forward(images)
            wanted = logits.gather(1, classes).unbind(1)
            if not logits.requires_grad:
                raise ValueError(NO_GRADIENT)
            gradients = [torch.autograd.grad(z.sum(), images, retain_graph=True, allow_unused=True)[0] for z in wanted]
            if any(gradient is None for gradient in gradients):
                raise ValueError(NO_GRADIENT)
        self.num_backward += len(images) * len(gradients)
        return logits.detach(), torch.stack(gradients, 1)

    def fooled(self, images: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:
        """Whether each image is misclassified or, if targets are given, predicted as its target: (stimulus,) bool."""
        return reached(self.logits(images), labels, targets)
