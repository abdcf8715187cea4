"""Attacks of other libraries, without their side effects: AutoAttack by pyautoattack, Brendel & Bethge by foolbox."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor, nn

from neuroalign.functional.checks import check_choice, check_whole
from neuroalign.functional.norms import Norm
from neuroalign.perturbations.attacks.base import Attack
from neuroalign.perturbations.attacks.budget import project
from neuroalign.perturbations.attacks.minimal import DeepFool, MinimalNormAttack
from neuroalign.perturbations.base import repr_of
from neuroalign.perturbations.classifier import Classifier
from neuroalign.state import evaluating

__all__ = ["AutoAttack", "BrendelBethge"]


class _Shell(nn.Module):
    """The classifier with its checks, as the module that other libraries require."""

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self._ask, self._dtype = classifier.forward, torch.get_default_dtype()

    def forward(self, images: Tensor) -> Tensor:
        with _default_dtype(self._dtype):  # the default dtype of the caller, not the attack's
            return self._ask(images)


@contextmanager
def _default_dtype(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


@contextmanager
def _undone(classifier: Classifier, seed: int) -> Iterator[_Shell]:
    """Undo another library's effects on parameters' gradients, random generators and the trace function; mute its log."""
    trace, logger = sys.gettrace(), logging.getLogger("auto-attack")
    level = logger.level
    model = classifier.model if isinstance(classifier.model, nn.Module) else nn.Identity()
    try:
        logger.setLevel(logging.CRITICAL)
        shell = _Shell(classifier).eval()
        with (
            evaluating(model, seed),
            _default_dtype(torch.float32),
        ):  # these libraries mix tensors of the default dtype with our float32 images
            yield shell
    finally:
        logger.setLevel(level)
        sys.settrace(trace)


class AutoAttack(Attack):
    """The standard ensemble of four parameter-free attacks (Croce & Hein 2020), run by ``pyautoattack``.

    Works for any number of classes from 2 up: the targeted attacks use all other classes as targets, at most 9. With fewer
    than 4 classes, where their loss is not defined, the untargeted FAB replaces them; tables say what ran. Random numbers
    are drawn per batch, so that results may differ a little with the batch size.

    Args:
        norm: "linf" or "l2".
        version: "standard", or "fast": its first two attacks (APGD with cross-entropy and with the targeted DLR loss).
        seed: Seed of all attacks.

    Attributes:
        ran: Names of the attacks that ran, with their targets; None before the first run.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 5)).eval()
        >>> images, labels = torch.rand(5, 3, 2, 2), torch.tensor([0, 1, 2, 3, 4])
        >>> AutoAttack(version="fast")(model, images, labels, eps=8 / 255).shape
        torch.Size([5, 3, 2, 2])
    """

    def __init__(
        self, norm: Norm = "linf", *, version: Literal["standard", "fast"] = "standard", seed: int = 0
    ) -> None:
        super().__init__(norm)
        check_choice("version", version, ("standard", "fast"))
        self.version, self.seed = version, seed
        self.ran: str | None = None

    @property
    def name(self) -> str:
        """Short name for logs and tables."""
        return f"autoattack-{self.norm}" + ("-fast" if self.version == "fast" else "")

    def _choose(self, num_classes: int) -> tuple[list[str], int]:
        attacks = ["apgd-ce", "apgd-t", "fab-t", "square"] if num_classes >= 4 else ["apgd-ce", "fab", "square"]
        return attacks[:2] if self.version == "fast" else attacks, min(9, num_classes - 1)

    def search(
        self, classifier: Classifier, images: Tensor, labels: Tensor, eps: Tensor, index: Tensor, start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """One run for each distinct budget of the images."""
        found = images.clone()
        # Ask for a gradient, too: for a model without one, our error message is clearer than autograd's.
        logits, _, _ = classifier.gradient(images[:1], lambda z: z.sum(1))
        attacks, num_targets = self._choose(logits.shape[1])
        self.ran = f"{', '.join(attacks)} with {num_targets} targets"
        for budget in eps.unique().tolist():
            rows = (eps[:, 0, 0, 0] == budget).nonzero()[:, 0]
            if budget > 0:
                found[rows] = self._run(classifier, images[rows], labels[rows], budget, attacks, num_targets)
        found = project(found - images, images, eps, self.norm)
        return found, classifier.fooled(found, labels)

    def _run(
        self, classifier: Classifier, images: Tensor, labels: Tensor, eps: float, attacks: list[str], num_targets: int
    ) -> Tensor:
        import pyautoattack

        with _undone(classifier, self.seed) as shell:
            adversary = pyautoattack.AutoAttack(
                shell, norm={"linf": "Linf", "l2": "L2"}[self.norm], eps=eps, version="custom",
                attacks=attacks, device=images.device, seed=self.seed,
            )  # fmt: skip
            # The settings of the version "standard", which itself fails with fewer than 10 classes.
            adversary.apgd.n_restarts = adversary.fab.n_restarts = adversary.apgd_targeted.n_restarts = 1
            adversary.apgd_targeted.n_target_classes = adversary.fab.n_target_classes = num_targets
            adversary.square.n_queries = 5000
            found, _ = adversary.run_standard_evaluation(images, labels, batch_size=len(images))
        return found.detach()

    def __repr__(self) -> str:
        return repr_of(self, norm=self.norm, version=self.version, seed=self.seed)


class BrendelBethge(MinimalNormAttack):
    """The attack along the boundary of Brendel, Rauber, Kümmerer, Ustyuzhaninov & Bethge (2019), run by ``foolbox``.

    Begins at the images that :class:`DeepFool` finds. The first use compiles code for one to three minutes. Needs the extra
    "foolbox".

    Args:
        norm: "linf" or "l2".
        steps: Number of steps along the boundary.
        seed: Seed of the random generators.

    Raises:
        ImportError: If foolbox is not installed.

    Example:
        >>> BrendelBethge("l2", steps=100)
        BrendelBethge(norm='l2', steps=100, seed=0)
    """

    def __init__(self, norm: Norm = "linf", *, steps: int = 1000, seed: int = 0) -> None:
        super().__init__(norm)
        check_whole(steps=steps)
        if steps < 1:
            raise ValueError(f"steps must be at least 1; got {steps}")
        self.steps, self.seed = steps, seed

    @property
    def name(self) -> str:
        """Short name for logs and tables."""
        return f"brendel-bethge-{self.norm}"

    def minimize(self, classifier: Classifier, images: Tensor, labels: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
        """Walk along the boundary from where DeepFool reached it."""
        try:
            import foolbox
            import numba  # noqa: F401  foolbox imports it late and fails without a message
        except ImportError as error:
            raise ImportError("the Brendel-Bethge attack is foolbox's: pip install 'neuroalign[foolbox]'") from error
        found, fooled = DeepFool().minimize(classifier, images, labels, index)
        rows = fooled.nonzero()[:, 0]
        if not len(rows):
            return found, fooled
        kinds = {"linf": "LinfinityBrendelBethgeAttack", "l2": "L2BrendelBethgeAttack"}
        attack = getattr(foolbox.attacks, kinds[self.norm])(steps=self.steps)
        classifier.gradient(images[:1], lambda z: z.sum(1))  # raises our error for a model without a gradient
        with _undone(classifier, self.seed) as shell:
            model = foolbox.PyTorchModel(shell, bounds=(0, 1), device=images.device)
            walked = attack.run(
                model, images[rows], foolbox.criteria.Misclassification(labels[rows]), starting_points=found[rows]
            )
        walked = walked.clamp(0, 1)
        better = classifier.fooled(walked, labels[rows])
        found[rows[better]] = walked[better]
        return found, fooled

    def __repr__(self) -> str:
        return repr_of(self, norm=self.norm, steps=self.steps, seed=self.seed)
