"""Seven checks that distinguish a robust network from one with masked gradients, and one of the attack's convergence."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from neuroalign.evaluation.images import EvaluationBatch
from neuroalign.evaluation.measurement import warn_of_softmax
from neuroalign.evaluation.passes import PassOptions
from neuroalign.functional.checks import check_labels
from neuroalign.functional.logits import cross_entropy, margin
from neuroalign.functional.norms import Norm
from neuroalign.perturbations.attacks.budget import per_sample
from neuroalign.perturbations.attacks.gradient import FGSM, PGD
from neuroalign.perturbations.attacks.square import SquareAttack
from neuroalign.perturbations.classifier import Classifier
from neuroalign.perturbations.pixel_classifier import Logits, ModelInterface
from neuroalign.state import evaluating

__all__ = ["MaskingReport", "masking_report"]

# An attack fails on a few images even if a network masks nothing; a check tolerates this share of them.
_ASTRAY = 0.002
_UNCONVERGED = 0.01  # the same for images that only a longer attack fools
# Share of the networks with exactly the tolerated share of such images that fail a check because of the choice of images.
_FALSE_ALARMS = 0.01
_FEW_IMAGES = 16


@dataclass(frozen=True)
class MaskingReport:
    """Results of the checks.

    Attributes:
        table: One row per check: ``check``, ``passed``, ``value``, ``bound``, ``meaning``, ``verdict``. The last row says
            whether the attack has converged; its ``verdict`` is False, because an attack that would gain from more steps is
            no sign of masking, and the row counts neither for ``passed`` nor for ``failed``.
        eps: Budget of the attacks.
        norm: Norm of the attacks.
        num_images: Number of images that the checks used, all classified right. With fewer than 16, masking that affects
            only some images is mostly missed.

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
        lines = [f"gradient masking, {self.num_images} images, {self.norm} eps {self.eps:g}:"]
        for row in self.table.itertuples():
            words = ("passed", "FAILED") if row.verdict else ("converged", "NOT CONVERGED")
            word = words[0] if row.passed else words[1]
            lines.append(f"  {word}  {row.check}: {row.value:.3g} (bound {row.bound:.3g}). {row.meaning}")
        if self.num_images < _FEW_IMAGES:
            lines.append(
                f"  Fewer than {_FEW_IMAGES} images: masking that affects only some images is mostly missed. Give more."
            )
        return "\n".join(lines)


def masking_report(
    model: nn.Module,
    dataloader: Iterable[Any],
    eps: float,
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

    Args:
        model: Classifier from images in [0, 1] to logits. It is not changed.
        dataloader: Batches; the first images that are classified right are used.
        eps: Budget of the attacks. Choose one at which the accuracy is below the clean accuracy, but above 0.
        logits: Where the logits are in the model's output; see :func:`evaluate_robustness`.
        mean: Mean per channel of the normalisation that the loader's images have had; None means that they are pixels.
        std: Standard deviation per channel of the same.
        norm: "linf" or "l2".
        num_images: Maximum number of images.
        num_queries: Queries per image of the black-box attack, which attacks the images that resist the white box.
        seed: Seed of the random starts.
        device: Device to compute on; None means the model's.

    Raises:
        ValueError: If no image is classified right, or images, labels or eps are not valid.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
        >>> images = torch.rand(8, 3, 2, 2)
        >>> print(masking_report(model, [(images, model(images).argmax(1))], eps=0.05).table["check"][0])
        iterative attack raises the loss

    Source:
        Athalye, Carlini & Wagner 2018 (arXiv 1802.00420); Carlini et al. 2019 (arXiv 1902.06705).
    """
    options = PassOptions(ModelInterface(logits, mean, std), seed=seed, device=device)
    return check_masking(model, dataloader, eps, options, norm=norm, num_images=num_images, num_queries=num_queries)


def check_masking(
    model: nn.Module,
    dataloader: Iterable[Any],
    eps: float,
    options: PassOptions,
    *,
    norm: Norm = "linf",
    num_images: int = 64,
    num_queries: int = 200,
) -> MaskingReport:
    """:func:`masking_report` with the options of the pass in one object; without a progress bar."""
    options = replace(options, progress=False)
    device, model = options.prepare(model)
    with evaluating(model, options.seed):
        classifier = Classifier(model, allow_no_gradient=True)
        images, labels, index = _right_images(classifier, options.batches(dataloader, device, ""), num_images)
        rows = _checks(classifier, images, labels, index, eps, norm, num_queries, options.seed)
    columns = ["check", "passed", "value", "bound", "meaning", "verdict"]
    return MaskingReport(pd.DataFrame(rows, columns=columns), float(eps), norm, len(images))


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


def _checks(
    classifier: Classifier, images: Tensor, labels: Tensor, index: Tensor, eps: float, norm: Norm, num_queries: int,
    seed: int,
) -> list[tuple[str, bool, float, float, str, bool]]:  # fmt: skip
    n, radius = len(images), per_sample(eps, images, norm)

    def attack(kind: Any, rows: Tensor | slice = slice(None), budget: Tensor = radius) -> tuple[Tensor, Tensor]:
        where = rows.cpu() if isinstance(rows, Tensor) else rows
        return kind.search(classifier, images[rows], labels[rows], budget[rows], index[where])

    def share(some: Tensor) -> float:
        return int(some.sum()) / n  # in double precision, as the bounds are

    def falling(rows: Tensor, kind: Any) -> Tensor:
        """Whether another attack fools each of the images that resisted so far."""
        return attack(kind, rows)[1] if len(rows) else torch.zeros(0, dtype=torch.bool, device=rows.device)

    clean = _loss(classifier, images, labels)
    perturbed, _ = attack(PGD(norm, steps=10, loss="ce", seed=seed))
    not_raised = share(_loss(classifier, perturbed, labels) <= clean)

    everything = per_sample(1.0, images, "linf")
    unbounded = share(~attack(PGD.two_losses("linf", seed=seed), budget=everything)[1])

    _, fooled = attack(PGD.two_losses(norm, seed=seed))
    left = (~fooled).nonzero()[:, 0]
    longer = PGD(norm, steps=50, restarts=4, loss=("margin", "ce"), random_start=True, seed=seed + 1)
    more = falling(left, longer)
    stronger = share(more)
    # The images that resist all gradient attacks: one on which only the first didn't converge is no sign of masking.
    left = left[~more]
    single = share(falling(left, FGSM(norm, loss="ce")))
    black = share(falling(left, SquareAttack(norm, num_queries=num_queries, seed=seed)))

    flat = torch.zeros(n, dtype=torch.bool, device=images.device)
    for objective in (cross_entropy, margin):  # saturated logits make the first gradient 0, clipped logits the second
        _, _, gradient = classifier.gradient(images, partial(objective, labels=labels))
        flat |= (gradient.flatten(1) == 0).all(1)
    zero = share(flat)

    resists = torch.stack([~attack(PGD(norm, steps=10, seed=seed), budget=radius * s)[1] for s in (0.25, 0.5, 1, 2)
                           if norm == "l2" or s * eps <= 1], 1)  # fmt: skip
    revived = share((resists[:, 1:] & ~resists[:, :-1]).any(1))

    first, second = classifier.logits(images), classifier.logits(images)
    noise = float((first - second).abs().max() / first.abs().max().clamp_min(1e-12))

    astray, unconverged = _allowed(_ASTRAY, n), _allowed(_UNCONVERGED, n)
    return [
        ("iterative attack raises the loss", not_raised <= astray, 1 - not_raised, 1 - astray,
         "Share of images whose cross-entropy PGD raised; below the bound, gradients vanish or mislead.", True),
        _at_most("unbounded attack succeeds", unbounded, astray,
                 "Accuracy when any image in [0, 1] is allowed; above the bound, the attack is stuck, which is no sign of "
                 "robustness."),
        _at_most("iterative beats single step", single, astray, "Share of images fooled by one step but not by many."),
        _at_most("white box beats black box", black, astray,
                 "Share of images fooled by random search but not along gradients."),
        _at_most("gradients are not zero", zero, astray,
                 "Share of images whose cross-entropy or margin has a gradient of exactly 0 (logits saturated or clipped, "
                 "rounding)."),
        _at_most("larger budgets fool more", revived, astray,
                 "Share of images fooled at a budget but not at a larger one."),
        _at_most("outputs are the same twice", noise, 1e-5,
                 "Largest difference of two passes over the largest logit; above 0, average gradients over draws (EOT)."),
        _at_most("more steps change nothing", stronger, unconverged,
                 "Share of images fooled only by 50 steps and 4 random starts; above the bound, PGD.two_losses gives too "
                 "high an accuracy at this budget: take more steps and restarts. Not a sign of masking.", verdict=False),
    ]  # fmt: skip


def _at_most(
    check: str, value: float, bound: float, meaning: str, *, verdict: bool = True
) -> tuple[str, bool, float, float, str, bool]:
    """A row of the table, passed if the value is not above the bound."""
    return check, value <= bound, value, bound, meaning, verdict


def _loss(classifier: Classifier, images: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy (stimulus,) in double precision; in single it is exactly 0 from a margin of 17 on."""
    return cross_entropy(classifier.logits(images).double(), labels)


def _allowed(share: float, num_images: int) -> float:
    """Share of ``num_images`` images that a network with the true ``share`` exceeds in at most 1 % of random choices."""
    from scipy.stats import binom

    return float(binom.ppf(1 - _FALSE_ALARMS, num_images, share)) / num_images
