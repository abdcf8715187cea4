"""Robust accuracy of any classifier, measured while it trains."""

from __future__ import annotations

from collections.abc import Iterable

import lightning as L
import torch
from torch import Tensor

from neuroalign.callbacks.base import EvaluationCallback
from neuroalign.metrics import RobustAccuracy
from neuroalign.perturbations import GradientAttack
from neuroalign.perturbations.evaluation import Perturbations, attacking, eps_values, logits_after, named
from neuroalign.types import check_images


class RobustnessCallback(EvaluationCallback):
    """Attack a classifier on its own validation or test batches and log its accuracy.

    Works inside ``trainer.fit``, ``validate`` and ``test`` on any LightningModule whose call gives logits, and leaves no
    trace: training with it and without it is bit-identical. Attacks run in float32, outside autocast. Logs
    ``robust_accuracy/<perturbation>/eps=<eps>``. Of several validation loaders the first is used.

    Args:
        perturbations: One, several, or several by name.
        eps: Budgets in pixel units of [0, 1]: a number or several.
        every_n_epochs: In ``fit``, attack in every n-th epoch; ``validate`` and ``test`` always attack.
        limit_batches: Attack only so many batches; None all.
        seed: Of whatever a perturbation draws from the global generator.

    Raises:
        ValueError: If images are not in [0, 1] (normalised, perhaps), or an argument is out of range.

    Example:
        >>> from neuroalign import PGD
        >>> callback = RobustnessCallback(PGD(steps=10), eps=[2 / 255, 4 / 255], every_n_epochs=5)
        >>> sorted(callback.keys)[0]
        'robust_accuracy/pgd10-linf/eps=0.00784314'
    """

    def __init__(
        self,
        # Our own attacks stand first: a configuration's class_path is read as the first type that takes it.
        perturbations: GradientAttack | list[GradientAttack] | dict[str, GradientAttack] | Perturbations,
        eps: float | list[float] | Iterable[float],
        *,
        every_n_epochs: int = 1,
        limit_batches: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(every_n_epochs, limit_batches)
        self.perturbations, self.eps, self.seed = named(perturbations), eps_values(eps), seed
        self.metrics = {(name, e): RobustAccuracy() for name in self.perturbations for e in self.eps}

    @property
    def keys(self) -> list[str]:
        """Names of what is logged."""
        return [self._key(name, e) for name, e in self.metrics]

    @staticmethod
    def _key(name: str, eps: float) -> str:
        return f"robust_accuracy/{name}/eps={eps:g}"

    def look(
        self, trainer: L.Trainer, module: L.LightningModule, images: Tensor, labels: Tensor, index: Tensor
    ) -> None:
        """Attack one batch."""
        check_images(images)
        with attacking(module, self.seed):
            with torch.no_grad():
                clean = module(images).float()
            for (name, eps), metric in self.metrics.items():
                logits = logits_after(self.perturbations[name], module, images, labels, eps, index, clean)
                metric.to(logits.device).update(logits, labels, index)

    def results(self) -> dict[str, Tensor]:
        """Robust accuracies, by name."""
        return {self._key(name, e): metric.compute() for (name, e), metric in self.metrics.items()}
