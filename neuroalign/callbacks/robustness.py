"""Robust accuracy of any classifier, measured during training."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import lightning as L
import torch
from torch import Tensor

from neuroalign.callbacks.base import EvaluationCallback
from neuroalign.evaluation.outcomes import outcomes
from neuroalign.evaluation.requests import Budget, Budgets, Perturbations, budgets_of, check_budgets, named
from neuroalign.functional.checks import check_labels
from neuroalign.metrics import RobustAccuracy
from neuroalign.perturbations import Attack, Classifier, Perturbation
from neuroalign.perturbations.pixel_classifier import Logits, ModelInterface
from neuroalign.state import evaluating

__all__ = ["RobustnessCallback"]


class RobustnessCallback(EvaluationCallback):
    """Attack a classifier on its own validation or test batches and log its accuracy.

    Works inside ``trainer.fit``, ``validate`` and ``test`` on any LightningModule that returns logits, or an output that
    holds them. Training with and without the callback is bit-identical. Attacks run in float32, outside autocast, all budgets
    of an attack in a single pass, as in :func:`robustness_curve`. Logs ``robust_accuracy/<perturbation>/eps=<eps>``, or
    ``robust_accuracy/<perturbation>`` for a perturbation without a budget. If there are several validation loaders, only the
    first is used.

    Args:
        perturbations: One perturbation, several, or several by name; attacks, corruptions, or your own callables.
        eps: Budgets, numbers in pixel units of [0, 1] or texts such as "8/255": one or several, for all perturbations or by
            perturbation name. None for perturbations without a budget.
        logits: Where the logits are in the module's output: a key, an index, or a function of the output. None if the output
            is the logits.
        mean: Mean per channel of the normalisation that images have already had when they reach the module's step (in a
            transform or in ``on_after_batch_transfer``); None if they are pixels. Normalised images are converted back to
            pixels, so that budgets are in pixel units, and normalised again for the module.
        std: Standard deviation per channel of the same normalisation.
        every_n_epochs: In ``fit``, attack in the first epoch that is validated and in every n-th; ``validate`` and ``test``
            always attack. In between, the last value stays for callbacks that monitor it, so ``EarlyStopping`` needs a
            patience of at least n.
        limit_batches: Largest number of batches to attack; None means all.
        seed: Seed of the random numbers that a perturbation draws from the global generator.

    Raises:
        ValueError: If images are not in [0, 1] (perhaps they are normalised), or an argument is out of range.

    Example:
        >>> from neuroalign import PGD
        >>> eps = [2 / 255, 4 / 255]
        >>> callback = RobustnessCallback(PGD(steps=10), eps, every_n_epochs=5)
        >>> sorted(callback.keys)[0]
        'robust_accuracy/pgd10-linf-margin-cosine/eps=0.00784314'
    """

    def __init__(
        self,
        # Attacks come first: a class_path in a configuration is read as the first type that accepts it.
        perturbations: Attack
        | list[Attack]
        | dict[str, Attack]
        | Perturbation
        | dict[str, Perturbation]
        | Perturbations,
        eps: float | str | list[float | str] | Iterable[Budget] | Budgets | None = None,
        *,
        logits: Logits | None = None,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
        every_n_epochs: int = 1,
        limit_batches: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(every_n_epochs, limit_batches)
        self.interface = ModelInterface(logits, mean, std)
        self.perturbations, self.seed = named(perturbations), seed
        budgets = budgets_of(eps, self.perturbations)
        self.eps = {
            name: sorted(set(budgets[name])) if p.has_budget else [math.nan] for name, p in self.perturbations.items()
        }
        for name, perturbation in self.perturbations.items():
            check_budgets(perturbation, self.eps[name])
        self.metrics = {(name, k): RobustAccuracy() for name, grid in self.eps.items() for k in range(len(grid))}

    @property
    def keys(self) -> list[str]:
        """Names of what is logged."""
        return [self._key(*which) for which in self.metrics]

    def _key(self, name: str, k: int) -> str:
        eps = self.eps[name][k]
        return f"robust_accuracy/{name}" + ("" if math.isnan(eps) else f"/eps={eps:g}")

    @property
    def names(self) -> list[str]:
        """Names of what is logged."""
        return self.keys

    def look(
        self, trainer: L.Trainer, module: L.LightningModule, images: Tensor, labels: Tensor, index: Tensor
    ) -> None:
        """Attack one batch."""
        first = not any(metric.update_called for metric in self.metrics.values())
        images, model = self.interface.pixels(images, first=first), self.interface.classifier(module)
        with evaluating(model, self.seed):
            logits = Classifier(model).logits(images)
            check_labels(labels, logits.shape[1])
            right = logits.argmax(1) == labels
            for name, perturbation in self.perturbations.items():
                grid = torch.tensor(self.eps[name], device=images.device, dtype=torch.float32)
                found = outcomes(perturbation, Classifier(model), images, labels, index, grid, right)
                for k in range(len(grid)):
                    predicted = torch.where(found.correct[:, k], labels, -1)
                    self.metrics[name, k].to(labels.device).update(predicted, labels, index)

    def results(self) -> dict[str, Tensor]:
        """Robust accuracies, by name."""
        return {self._key(*which): metric.compute() for which, metric in self.metrics.items()}
