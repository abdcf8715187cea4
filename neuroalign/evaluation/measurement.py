"""One pass over a loader: the outcome of every image under every perturbation, on one process or several."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuroalign.evaluation.images import gathered_once
from neuroalign.evaluation.outcomes import outcomes
from neuroalign.evaluation.passes import PassOptions
from neuroalign.evaluation.requests import check_budgets
from neuroalign.evaluation.results import Results
from neuroalign.functional.checks import check_labels
from neuroalign.functional.distributed import gather_batch, reduce_sum, world_size
from neuroalign.functional.logits import margin
from neuroalign.perturbations.base import Perturbation
from neuroalign.perturbations.classifier import Classifier
from neuroalign.state import evaluating

__all__: list[str] = []


@dataclass(frozen=True)
class Measurement:
    """Outcomes of every image under one perturbation.

    Attributes:
        perturbation: The perturbation.
        name: Name of the perturbation.
        eps: (eps,) budgets; one NaN for a perturbation without a budget.
        stimulus: (stimulus,) identity of each image, increasing.
        label: (stimulus,) class of each image.
        clean: (stimulus,) bool, classified right without the perturbation.
        correct: (stimulus, eps) bool, classified right with the perturbation.
        distance: (stimulus,) length of the shortest perturbation that fooled: 0 if it is wrong without one, inf if none did.
        num_forward: Number of images that went through the model.
        num_backward: Number of image gradients that were computed.
        sizes: Distinct sizes (height, width) of the images, in pixels.
    """

    perturbation: Perturbation
    name: str
    eps: np.ndarray
    stimulus: np.ndarray
    label: np.ndarray
    clean: np.ndarray
    correct: np.ndarray
    distance: np.ndarray
    num_forward: int
    num_backward: int
    sizes: tuple[tuple[int, int], ...] = ()

    def at(self, eps: Sequence[float]) -> Measurement:
        """The measurement at some of its budgets, in the order given; unchanged for a perturbation without a budget."""
        if np.isnan(self.eps).all():
            return self
        order = np.searchsorted(self.eps, eps)
        return replace(self, eps=self.eps[order], correct=self.correct[:, order])


def measure(
    model: nn.Module,
    dataloader: Iterable[Any],
    perturbations: Mapping[str, Perturbation],
    eps: Mapping[str, list[float]],
    options: PassOptions,
    *,
    exhaustive: bool = False,
    rms: bool = False,
) -> list[Measurement]:
    """Measure every perturbation at its budgets on every image of a loader.

    Args:
        model: Network from images to logits, as described by ``options.interface``.
        dataloader: Batches; see :func:`neuroalign.evaluation.images.evaluation_batches`.
        perturbations: Perturbations by name; see :func:`neuroalign.evaluation.requests.named`.
        eps: Increasing budgets of each perturbation, by name.
        options: Options of the pass.
        exhaustive: Attack at every budget from scratch.
        rms: Budgets of "l2" are root mean squares over an image's values, not lengths.

    Raises:
        ValueError: If images, labels or logits are not valid, the loader is empty, or the checkpoint belongs to another
            measurement.
    """
    device, model = options.prepare(model)
    grids = {name: eps[name] if p.has_budget else [float("nan")] for name, p in perturbations.items()}
    for name, perturbation in perturbations.items():
        check_budgets(perturbation, grids[name])
    settings = {"exhaustive": exhaustive, "rms": rms, "seed": options.seed}
    results = Results(options.checkpoint, model, perturbations, grids, **settings)
    classifier = Classifier(model)
    sizes: set[tuple[int, ...]] = set()
    with evaluating(model, options.seed):
        # The loop is inside, because starting to iterate a DataLoader draws from the global generator, shuffled or not.
        text = next(iter(perturbations)) if len(perturbations) == 1 else "robustness"
        for batch in options.batches(dataloader, device, text):
            sizes.add(tuple(batch.images.shape[-2:]))
            left = results.without_done(batch, classifier)
            if not len(left.index):
                continue
            logits = classifier.logits(left.images)
            if not results.num_batches:
                warn_of_softmax(logits)
            check_labels(left.labels, logits.shape[1])
            right = logits.argmax(1) == left.labels
            found, counts = {}, {}
            for name, perturbation in perturbations.items():
                scale = left.images[0].numel() ** 0.5 if rms and perturbation.norm == "l2" else 1.0
                grid = torch.tensor(grids[name], device=device, dtype=torch.float32) * scale
                asker = Classifier(model)
                found[name] = outcomes(
                    perturbation, asker, left.images, left.labels, left.index, grid, right, exhaustive=exhaustive
                )
                counts[name] = asker.num_forward + len(logits), asker.num_backward
            results.add(left, margin(logits, left.labels), right, found, counts)
    every = gather_batch(torch.tensor(sorted(sizes), dtype=torch.long, device=device).reshape(len(sizes), 2))
    found_sizes = tuple((height, width) for height, width in every.unique(dim=0).tolist())
    return [
        _as_measurement(
            name, p, np.array(grids[name]), results.arrays(name, device), results.counts(name), device, found_sizes
        )
        for name, p in perturbations.items()
    ]


def _as_measurement(
    name: str, perturbation: Perturbation, eps: np.ndarray, arrays: tuple[Tensor, ...], counts: list[int],
    device: torch.device, sizes: tuple[tuple[int, int], ...],
) -> Measurement:  # fmt: skip
    if world_size() == 1:
        seen, times = arrays[0].unique(return_counts=True)
        if bool((times > 1).any()):
            twice = int(seen[times > 1][0])
            raise ValueError(f"stimulus {twice} occurs twice in the data: give each image an identity of its own")
    stimulus, label, clean, correct, distance = gathered_once(*arrays)
    if not len(stimulus):
        raise ValueError("the dataloader gave no image")
    forward, backward = reduce_sum(torch.tensor(counts, device=device)).tolist()
    return Measurement(
        perturbation,
        name,
        eps,
        stimulus.cpu().numpy(),
        label.cpu().numpy(),
        clean.bool().cpu().numpy(),
        correct.bool().cpu().numpy(),
        distance.cpu().numpy(),
        num_forward=forward,
        num_backward=backward,
        sizes=sizes,
    )


def warn_of_softmax(logits: Tensor) -> None:
    """Warn if outputs look like probabilities."""
    sums = logits.sum(1)
    if bool((logits >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all()):
        warnings.warn(
            "the model's outputs are probabilities (rows sum to 1), not logits: a softmax inside flattens the gradients "
            "that attacks follow, and the network looks more robust than it is; take it out",
            stacklevel=5,  # to point at the caller of the public function
        )
