"""Eight checks that tell a robust network from one whose gradients are masked."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuroalign.functional.manifold import check_labels
from neuroalign.perturbations.attacks.base import Classifier
from neuroalign.perturbations.attacks.budget import Norm, per_sample
from neuroalign.perturbations.attacks.gradient import FGSM, PGD
from neuroalign.perturbations.attacks.objectives import cross_entropy
from neuroalign.perturbations.attacks.square import Square
from neuroalign.perturbations.attacks.state import attacking
from neuroalign.perturbations.evaluation.batches import device_of, evaluation_batches
from neuroalign.perturbations.evaluation.measurement import warn_of_softmax


@dataclass(frozen=True)
class MaskingReport:
    """What the checks found.

    Attributes:
        table: A row a check: ``check``, ``passed``, ``value``, ``bound``, ``meaning``.
        eps: Budget of the attacks.
        norm: Their norm.
        num_images: Images that the checks used: those classified right.

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

    @property
    def passed(self) -> bool:
        """Whether every check passed."""
        return bool(self.table["passed"].all())

    @property
    def failed(self) -> list[str]:
        """Names of the checks that failed."""
        return self.table.loc[~self.table["passed"], "check"].tolist()

    def __str__(self) -> str:
        lines = [f"gradient masking, {self.num_images} images, {self.norm} eps {self.eps:g}:"]
        for row in self.table.itertuples():
            verdict = "passed" if row.passed else "FAILED"
            lines.append(f"  {verdict}  {row.check}: {row.value:.3g} (bound {row.bound:.3g}). {row.meaning}")
        return "\n".join(lines)


def masking_report(
    model: nn.Module,
    dataloader: Iterable[Any],
    eps: float,
    *,
    norm: Norm = "linf",
    num_images: int = 64,
    num_queries: int = 200,
    seed: int = 0,
    device: torch.device | str | None = None,
) -> MaskingReport:
    """Look for signs that a network only hides its gradients (Athalye et al. 2018; Carlini et al. 2019).

    Passing is no proof of robustness; failing is a reason to distrust every figure of a gradient attack.

    Args:
        model: From images in [0, 1] to logits. It is left as it was.
        dataloader: Batches; the first images that are classified right are used.
        eps: Budget of the attacks: one at which the accuracy is neither the clean one nor 0.
        norm: "linf" or "l2".
        num_images: At most so many images.
        num_queries: Of the black-box attack, on the images that resist the white box.
        seed: Of the random starts.
        device: Where to compute; default where the model is.

    Raises:
        ValueError: If no image is classified right, or the input is not what it should be.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
        >>> images = torch.rand(8, 3, 2, 2)
        >>> print(masking_report(model, [(images, model(images).argmax(1))], eps=0.05).table["check"][0])
        iterative attack raises the loss

    Source:
        Athalye, Carlini & Wagner 2018 (arXiv 1802.00420); Carlini et al. 2019 (arXiv 1902.06705).
    """
    where = device_of(model, device)
    with attacking(model, seed):
        classifier = Classifier(model, allow_no_gradient=True)
        images, labels, index = _right_images(classifier, dataloader, where, num_images)
        rows = _checks(classifier, images, labels, index, eps, norm, num_queries, seed)
    columns = ["check", "passed", "value", "bound", "meaning"]
    return MaskingReport(pd.DataFrame(rows, columns=columns), float(eps), norm, len(images))


def _right_images(
    classifier: Classifier, dataloader: Iterable[Any], device: torch.device, num_images: int
) -> tuple[Tensor, Tensor, Tensor]:
    parts, found = [], 0
    for batch in evaluation_batches(dataloader, device):
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


def _checks(
    classifier: Classifier, images: Tensor, labels: Tensor, index: Tensor, eps: float, norm: Norm, num_queries: int,
    seed: int,
) -> list[tuple[str, bool, float, float, str]]:  # fmt: skip
    n, radius = len(images), per_sample(eps, images, norm)
    one = 1 / n  # one image is as fine as a share of them can be

    def attack(kind: Any, rows: Tensor | slice = slice(None), budget: Tensor = radius) -> tuple[Tensor, Tensor]:
        where = rows.cpu() if isinstance(rows, Tensor) else rows
        return kind.search(classifier, images[rows], labels[rows], budget[rows], index[where])

    def resisting(rows: Tensor, kind: Any) -> float:
        """Share of all images that fall to another attack although they resisted the first."""
        return float(attack(kind, rows)[1].sum()) / n if len(rows) else 0.0

    clean = F.cross_entropy(classifier.logits(images), labels, reduction="none")
    perturbed, _ = attack(PGD(norm, steps=10, loss="ce", seed=seed))
    raised = float((F.cross_entropy(classifier.logits(perturbed), labels, reduction="none") > clean).float().mean())

    everything = per_sample(1.0, images, "linf")
    unbounded = float((~attack(PGD.two_losses("linf", seed=seed), budget=everything)[1]).float().mean())

    _, fooled = attack(PGD.two_losses(norm, seed=seed))
    left = (~fooled).nonzero()[:, 0]
    single = resisting(left, FGSM(norm, loss="ce"))
    black = resisting(left, Square(norm, num_queries=num_queries, seed=seed))
    stronger = resisting(left, PGD(norm, steps=50, restarts=4, loss=("margin", "ce"), random_start=True, seed=seed + 1))

    _, _, gradient = classifier.gradient(images, lambda logits: cross_entropy(logits, labels))
    zero = float((gradient.flatten(1) == 0).all(1).float().mean())

    resists = torch.stack([~attack(PGD(norm, steps=10, seed=seed), budget=radius * s)[1] for s in (0.25, 0.5, 1, 2)
                           if norm == "l2" or s * eps <= 1], 1)  # fmt: skip
    revived = float((resists[:, 1:] & ~resists[:, :-1]).any(1).float().mean())

    first, second = classifier.logits(images), classifier.logits(images)
    noise = float((first - second).abs().max() / first.abs().max().clamp_min(1e-12))

    return [
        ("iterative attack raises the loss", raised >= 0.99, raised, 0.99,
         "Share of images whose cross-entropy PGD raised; less, where gradients vanish or lie."),
        ("unbounded attack succeeds", unbounded <= 0, unbounded, 0.0,
         "Accuracy when any image in [0, 1] is allowed; above 0, the attack is stuck, not the network strong."),
        ("iterative beats single step", single <= one, single, one,
         "Share of images that fall to one step but not to many."),
        ("white box beats black box", black <= one, black, one,
         "Share of images that fall to random search but not to gradients."),
        ("gradients are not zero", zero <= 0.05, zero, 0.05,
         "Share of images whose cross-entropy has a gradient of exactly 0 (saturated logits, rounding)."),
        ("larger budgets fool more", revived <= one, revived, one,
         "Share of images that fall at a budget and stand at a larger one."),
        ("more steps change nothing", stronger <= max(0.01, one), stronger, max(0.01, one),
         "Share of images that fall only to 50 steps and 4 random starts."),
        ("outputs are the same twice", noise <= 1e-5, noise, 1e-5,
         "Largest difference of two passes over the largest logit; above 0, average gradients over draws (EOT)."),
    ]  # fmt: skip
