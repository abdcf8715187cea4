"""Seven checks that distinguish a robust network from one with masked gradients, and one of the attack's convergence."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import pandas as pd
import torch
from torch import Tensor, nn

from neuroalign.budgets import Budget, as_budget, eps_text
from neuroalign.evaluation.images import EvaluationBatch
from neuroalign.evaluation.masking_checks import MEASURED, Check, masking_checks, without_gradient
from neuroalign.evaluation.measurement import warn_of_softmax
from neuroalign.evaluation.passes import PassOptions
from neuroalign.evaluation.result_table import result_table
from neuroalign.functional.checks import check_labels
from neuroalign.functional.logits import cross_entropy, margin
from neuroalign.functional.norms import Norm, check_norm
from neuroalign.perturbations.classifier import Classifier
from neuroalign.perturbations.pixel_classifier import Logits, ModelInterface
from neuroalign.progress import in_lines
from neuroalign.state import evaluating

__all__ = ["MaskingReport", "masking_report"]

_FEW_IMAGES = 16
_MOSTLY = 0.5  # of the images
_SATURATED = 1e-3  # of a cross-entropy; its gradient is at most about twice this share of the logits' own


def _digits(value: float) -> str:
    """A value in two digits.

    Example:
        >>> _digits(0.0), _digits(0.03125), _digits(1.0), _digits(2e-6)
        ('0', '0.031', '1', '2e-06')
    """
    return f"{value:.2g}"


def _bound(bound: float, side: str) -> str:
    """A limit in words; of what can't be smaller than 0 or larger than 1, these are the only values allowed.

    Example:
        >>> _bound(0.0, "at most"), _bound(0.05, "at most"), _bound(1.0, "at least")
        ('0', 'at most 0.05', '1')
    """
    exact = bound == (0 if side == "at most" else 1)
    return _digits(bound) if exact else f"{side} {_digits(bound)}"


@dataclass(frozen=True)
class MaskingReport:
    """Results of the checks.

    Attributes:
        table: One row per check: ``check``, ``passed``, ``value``, ``bound``, ``num_tried`` (the number of images that the
            check attacked; a value that is a share is one of ``num_images``), ``meaning``, ``verdict``. The last row says
            whether the attack has converged; its ``verdict`` is False, because an attack that would gain from more steps is
            no sign of masking, and the row counts neither for ``passed`` nor for ``failed``.
        eps: Budget of the attacks.
        norm: Norm of the attacks.
        num_images: Number of images that the checks used, all classified right. With fewer than 16, masking that affects
            only some images is mostly missed.
        loss: Median cross-entropy of these images; NaN if it isn't known. Where it is below 0.001, large logits alone may be
            why checks fail, and the printed report says what to do.
        zero_gradient: Share of these images at which the margin, the largest other logit minus the true one, has a gradient
            of exactly 0; NaN if it isn't known. Large logits can't be the reason for that: something on the way cuts
            gradients off, and the printed report says so instead.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
        >>> images = torch.rand(8, 3, 2, 2)
        >>> report = masking_report(model, [(images, model(images).argmax(1))], eps=0.05)
        >>> report.passed, len(report.table)
        (True, 8)
    """

    table: pd.DataFrame
    eps: float
    norm: Norm
    num_images: int
    loss: float = math.nan
    zero_gradient: float = math.nan

    @property
    def passed(self) -> bool:
        """Whether every check for masking passed."""
        return not self.failed

    @property
    def failed(self) -> list[str]:
        """Names of the checks for masking that failed."""
        return self.table.loc[self.table["verdict"] & ~self.table["passed"], "check"].tolist()

    @property
    def converged(self) -> bool:
        """Whether more steps and more random starts fool almost no further image."""
        return bool(self.table.loc[~self.table["verdict"], "passed"].all())

    def __str__(self) -> str:
        lines = [
            f"Checks for masked gradients, on {self.num_images} images, {self.norm} eps {eps_text(self.eps, self.norm)}:"
        ]
        for row in self.table.itertuples():
            words = ("passed", "FAILED") if row.verdict else ("converged", "NOT CONVERGED")
            word = words[0] if row.passed else words[1]
            quantity, side = MEASURED.get(str(row.check), (row.check, "at most"))
            bound = f"must be {_bound(float(cast(float, row.bound)), side)}"
            tried = "" if row.num_tried == self.num_images else f"; {row.num_tried} images tried"
            lines.append(f"  {word}: {quantity} {_digits(float(cast(float, row.value)))} ({bound}{tried})")
            if not row.passed:
                lines.append(f"    {row.meaning}")
        if self.failed and self.zero_gradient > _MOSTLY:
            lines += [
                f"  The margin has no gradient either, at {100 * self.zero_gradient:.0f} % of the images. Large logits",
                "    are no reason for that; something cuts gradients off: rounding, a clamp, detach(), no_grad(). Attack",
                "    with that step replaced by a smooth one, or with the adversarial images of a similar network.",
            ]
        elif self.failed and self.loss < _SATURATED:
            lines += [
                f"  The median loss at the images is {_digits(self.loss)}: saturated logits may be the reason, since",
                "    cross-entropy has almost no gradient there. Divide the logits by a temperature that brings them to",
                "    about 10, logits=lambda output: output / temperature, which changes no prediction, and evaluate again.",
                "    PGD with the margin loss isn't affected.",
            ]
        if self.num_images < _FEW_IMAGES:
            lines.append(
                f"  Fewer than {_FEW_IMAGES} images: masking that affects only some images is mostly missed. Give more."
            )
        return "\n".join(lines)


def masking_report(
    model: nn.Module,
    dataloader: Iterable[Any],
    eps: Budget,
    *,
    logits: Logits | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    norm: Norm = "linf",
    num_images: int = 64,
    num_queries: int = 200,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> MaskingReport:
    """Look for signs that a network only hides its gradients (Athalye et al. 2018; Carlini et al. 2019).

    Passing is no proof of robustness; failing is a reason to distrust every result of a gradient attack.

    Cheap checks are made on every image. Random search and a longer attack, which take hundreds of passes, begin with a few
    of the images that resist: those with the smallest margin, and those that came nearest to being fooled. As long as they
    find something, they go on to further images.

    Args:
        model: Classifier from images in [0, 1] to logits. It is not changed.
        dataloader: Batches; the first images that are classified right are used.
        eps: Budget of the attacks, a number in pixel units or a text such as "2/255". Choose one at which the accuracy is
            below the clean accuracy, but above 0.
        logits: Where the logits are in the model's output; see :func:`evaluate_robustness`.
        mean: Mean per channel of the normalisation that the loader's images have had; None means that they are pixels.
        std: Standard deviation per channel of the same.
        norm: "linf" or "l2".
        num_images: Maximum number of images.
        num_queries: Queries per image of the black-box attack, which attacks images that resist the white box.
        seed: Seed of the random starts.
        device: Device to compute on; None means the model's.

    Raises:
        ValueError: If no image is classified right, or images, labels or eps are not valid.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
        >>> images = torch.rand(8, 3, 2, 2)
        >>> loader = [(images, model(images).argmax(1))]
        >>> print(masking_report(model, loader, eps=0.05).table["check"][0])
        iterative attack raises the loss

    Source:
        Athalye, Carlini & Wagner 2018 (arXiv 1802.00420); Carlini et al. 2019 (arXiv 1902.06705).
    """
    options = PassOptions(ModelInterface(logits, mean, std), seed=seed, device=device)
    return check_masking(model, dataloader, eps, options, norm=norm, num_images=num_images, num_queries=num_queries)


def check_masking(
    model: nn.Module,
    dataloader: Iterable[Any],
    eps: Budget,
    options: PassOptions,
    *,
    norm: Norm = "linf",
    num_images: int = 64,
    num_queries: int = 200,
) -> MaskingReport:
    """:func:`masking_report` with the options of the pass in one object; progress is shown in logs only."""
    budget = as_budget(eps, check_norm(norm))
    shown, options = options.progress, replace(options, progress=False)
    device, model = options.prepare(model)
    with evaluating(model, options.seed), in_lines("checks for masked gradients", show=shown):
        classifier = Classifier(model, allow_no_gradient=True)
        images, labels, index = _right_images(classifier, options.batches(dataloader, device, ""), num_images)
        rows = masking_checks(classifier, images, labels, index, budget, norm, num_queries, options.seed)
        loss = abs(float(cross_entropy(classifier.logits(images).double(), labels).median()))  # no -0
        zero = float(without_gradient(classifier, images, labels, margin).double().mean())
    table = pd.DataFrame(rows, columns=list(Check._fields))
    first = ["check", "passed", "value", "bound", "num_tried"]
    return MaskingReport(result_table(table, first), budget, norm, len(images), loss, zero)


def _right_images(
    classifier: Classifier, batches: Iterable[EvaluationBatch], num_images: int
) -> tuple[Tensor, Tensor, Tensor]:
    parts: list[tuple[Tensor, ...]] = []
    found = 0
    for batch in batches:
        logits = classifier.logits(batch.images)
        check_labels(batch.labels, logits.shape[1])
        if not parts:
            warn_of_softmax(logits)
        right = logits.argmax(1) == batch.labels
        parts.append((batch.images[right], batch.labels[right], batch.index[right.cpu()]))
        found += int(right.sum())
        if found >= num_images:
            break
    images, labels, index = (torch.cat(p)[:num_images] for p in zip(*parts))
    if not len(images):
        raise ValueError("no image is classified right, so there is nothing to attack")
    return images, labels, index
