"""Input smoothness of any classifier, measured during training."""

from __future__ import annotations

from collections.abc import Sequence

import lightning as L
from torch import Tensor

from neuroalign.budgets import Budget
from neuroalign.callbacks.base import EvaluationCallback
from neuroalign.evaluation.requests import check_attack
from neuroalign.evaluation.smoothness import smoothness_of
from neuroalign.functional.checks import check_choice
from neuroalign.functional.smoothness import SmoothnessLoss, input_smoothness
from neuroalign.metrics.stimuli import StimulusMetric
from neuroalign.perturbations import Attack
from neuroalign.perturbations.pixel_classifier import Logits, ModelInterface
from neuroalign.state import evaluating

__all__ = ["InputSmoothnessCallback"]

_KEYS = ("clean", "clean_loss", "adversarial", "adversarial_loss")


class _Means(StimulusMetric):
    """Means over images of the values measured per image."""

    kept = ("values",)
    values: list[Tensor]

    def update(self, values: Tensor, index: Tensor) -> None:
        self.add(index, values=values)

    def compute(self) -> Tensor:
        rows = self.seen().rows
        return self.joined("values")[rows].mean(0).float()


class InputSmoothnessCallback(EvaluationCallback):
    """Log how steeply a classifier's loss changes with its input, on its own validation or test batches.

    Logs ``smoothness/clean`` and, with an attack, ``smoothness/adversarial`` (400 times the mean over images of the squared
    norm of the gradient of the image's loss by its pixels; lower is smoother; see
    :func:`neuroalign.functional.input_smoothness`), and also ``smoothness/clean_loss`` and ``smoothness/adversarial_loss``.
    Training with and without the callback is bit-identical.

    Args:
        attack: Attack that makes the adversarial images; None measures at the clean images only.
        eps: Budget of the attack, a number in pixel units of [0, 1] or a text such as "8/255".
        logits: Where the logits are in the module's output: a key, an index, or a function of the output. None if the output
            is the logits.
        mean: Mean per channel of the normalisation that images have already had when they reach the module's step (in a
            transform or in ``on_after_batch_transfer``); None if they are pixels. Normalised images are converted back to
            pixels, so that budgets are in pixel units, and normalised again for the module.
        std: Standard deviation per channel of the same normalisation.
        loss: The loss whose gradient is measured, "ce" or "margin".
        every_n_epochs: In ``fit``, measure in the first epoch that is validated and in every n-th; ``validate`` and ``test``
            always do. In between, the last value stays for callbacks that monitor it, so ``EarlyStopping`` needs a patience
            of at least n.
        limit_batches: Largest number of batches to measure; None means all.
        seed: Seed of the random numbers that the attack draws from the global generator.

    Raises:
        ValueError: If images are not in [0, 1] (perhaps they are normalised), or an argument is out of range.

    Example:
        >>> from neuroalign import PGD
        >>> InputSmoothnessCallback(PGD(steps=10), eps=4 / 255).keys
        ['smoothness/clean', 'smoothness/clean_loss', 'smoothness/adversarial',
         'smoothness/adversarial_loss']

    Source:
        Shao et al. 2024, arXiv 2405.02564.
    """

    def __init__(
        self,
        attack: Attack | None = None,
        eps: Budget | None = None,
        *,
        logits: Logits | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        loss: SmoothnessLoss = "ce",
        every_n_epochs: int = 1,
        limit_batches: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(every_n_epochs, limit_batches)
        check_choice("loss", loss, ("ce", "margin"))
        budget = check_attack(attack, eps)
        self.interface = ModelInterface(logits, mean, std)
        self.attack, self.eps, self.loss, self.seed = attack, budget, loss, seed
        self.metrics = {"means": _Means()}

    @property
    def keys(self) -> list[str]:
        """Names of what is logged."""
        return [f"smoothness/{key}" for key in (_KEYS if self.attack is not None else _KEYS[:2])]

    @property
    def names(self) -> list[str]:
        """Names of what is logged."""
        return self.keys

    def look(
        self, trainer: L.Trainer, module: L.LightningModule, images: Tensor, labels: Tensor, index: Tensor
    ) -> None:
        """Measure one batch."""
        images = self.interface.pixels(images, first=not self.metrics["means"].update_called)
        model = self.interface.classifier(module)
        with evaluating(model, self.seed):
            values = smoothness_of(model, images, labels, index, self.attack, self.eps, self.loss)
        self.metrics["means"].to(images.device).update(values, index)

    def results(self) -> dict[str, Tensor]:
        """Smoothness and losses, by name."""
        clean, clean_loss, adversarial, adversarial_loss = self.metrics["means"].compute()
        values = (input_smoothness(clean), clean_loss, input_smoothness(adversarial), adversarial_loss)
        return dict(zip(self.keys, values))
