"""One pass over a loader: what became of every image under every perturbation, on one process or several, resumable."""

from __future__ import annotations

import functools
import hashlib
import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from neuroalign.evaluation.images import (
    EvaluationBatch,
    device_of,
    evaluation_batches,
    gathered_once,
)
from neuroalign.evaluation.outcomes import outcomes
from neuroalign.evaluation.requests import check_budgets
from neuroalign.evaluation.results_file import read_results, write_results
from neuroalign.functional.distributed import gather_batch, reduce_sum, world_size
from neuroalign.functional.logits import margin
from neuroalign.functional.manifold import check_labels
from neuroalign.perturbations.attacks.base import Classifier
from neuroalign.perturbations.base import Perturbation
from neuroalign.perturbations.pixel_classifier import PIXELS_TO_LOGITS, ModelInterface
from neuroalign.state import evaluating


@dataclass(frozen=True)
class Measurement:
    """What became of every image under one perturbation.

    Attributes:
        perturbation: The perturbation.
        name: Its name.
        eps: (eps,) budgets; one NaN for a perturbation without.
        stimulus: (stimulus,) identity of each image, increasing.
        label: (stimulus,) its class.
        clean: (stimulus,) bool, right without perturbation.
        correct: (stimulus, eps) bool, right with it.
        distance: (stimulus,) length of the shortest perturbation that fooled: 0 for a clean error, inf if none did.
        num_forward: Images that went through the model.
        num_backward: Images whose gradient was taken.
        sizes: Height and width in pixels of the images, each that occurs once.
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


def weights_hash(model: nn.Module) -> str:
    """Sixteen hexadecimal digits of a model's parameters and buffers: the same weights give the same digits.

    Example:
        >>> len(weights_hash(nn.Linear(2, 2)))
        16
    """
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def measure(
    model: nn.Module,
    dataloader: Iterable[Any],
    perturbations: Mapping[str, Perturbation],
    eps: Mapping[str, list[float]],
    *,
    exhaustive: bool = False,
    rms: bool = False,
    limit_batches: int | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = False,
    checkpoint: Path | None = None,
    interface: ModelInterface = PIXELS_TO_LOGITS,
) -> list[Measurement]:
    """Every perturbation at its budgets on every image of a loader.

    Args:
        model: From images in [0, 1] to logits.
        dataloader: Batches; see :func:`neuroalign.evaluation.images.evaluation_batches`.
        perturbations: By name; see :func:`neuroalign.evaluation.requests.named`.
        eps: Increasing budgets of each, by name.
        exhaustive: Attack at every budget from scratch.
        rms: Budgets of "l2" are root mean squares over an image's values, not lengths.
        limit_batches: Use only so many batches.
        seed: Of whatever a perturbation draws from the global generator.
        device: Where to compute; default where the model is.
        progress: Show a progress bar.
        checkpoint: File to which each batch's results go; images in it are not attacked again.
        interface: What the loader's images are, and where the model's logits stand.

    Raises:
        ValueError: If images, labels or logits are not what they should be, the loader is empty, or the checkpoint is of
            another measurement.
    """
    device, model = device_of(model, device), interface.classifier(model)
    grids = {name: eps[name] if p.has_budget else [float("nan")] for name, p in perturbations.items()}
    for name, perturbation in perturbations.items():
        check_budgets(perturbation, grids[name])
    done = _Done(checkpoint, model, perturbations, grids, exhaustive=exhaustive, rms=rms, seed=seed)
    classifier = Classifier(model)
    sizes: set[tuple[int, ...]] = set()
    with evaluating(model, seed):
        # Inside: starting to iterate a DataLoader draws from the global generator, shuffled or not.
        text = (next(iter(perturbations)) if len(perturbations) == 1 else "robustness") if progress else None
        for batch in evaluation_batches(
            dataloader, device, limit_batches=limit_batches, progress=text, interface=interface
        ):
            sizes.add(tuple(batch.images.shape[-2:]))
            left = done.without(batch, classifier)
            if not len(left.index):
                continue
            logits = classifier.logits(left.images)
            if not done.num_batches:
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
            done.add(left, margin(logits, left.labels), right, found, counts)
    every = gather_batch(torch.tensor(sorted(sizes), dtype=torch.long, device=device).reshape(len(sizes), 2))
    found_sizes = tuple((height, width) for height, width in every.unique(dim=0).tolist())
    return [
        _as_measurement(
            name, p, np.array(grids[name]), done.arrays(name, device), done.counts(name), device, found_sizes
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
    parts = (a.cpu().numpy() for a in (stimulus, label, clean.bool(), correct.bool(), distance))
    return Measurement(perturbation, name, eps, *parts, num_forward=forward, num_backward=backward, sizes=sizes)


def warn_of_softmax(logits: Tensor) -> None:
    """Warn where outputs look like probabilities."""
    sums = logits.sum(1)
    if bool((logits >= 0).all()) and bool(((sums - 1).abs() < 1e-3).all()):
        warnings.warn(
            "the model's outputs are probabilities (rows sum to 1), not logits: a softmax inside flattens the gradients "
            "that attacks follow, and the network looks more robust than it is; take it out",
            stacklevel=4,
        )


def _mean_pixel(images: Tensor) -> np.ndarray:
    """By which an image is known again."""
    return images.flatten(1).double().mean(1).cpu().numpy()


def _pixel_code(images: Tensor) -> np.ndarray:
    """Which tells images with one mean apart: the pixels' sum with Gaussian weights, by the root of their number.

    A pixel that changes by one level of 255 changes it by some 1e-5 at 224 x 224; rounding of another machine by 1e-7.
    """
    flat = images.flatten(1).double()
    return (flat @ _weights(flat.shape[1]).to(flat.device) / flat.shape[1] ** 0.5).cpu().numpy()


@functools.lru_cache(maxsize=4)
def _weights(num: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(0).standard_normal(num))  # a stream that NumPy keeps for good


class _Done:
    """Results so far, kept in a file where one is given."""

    def __init__(
        self, path: Path | None, model: nn.Module, perturbations: Mapping[str, Perturbation],
        grids: Mapping[str, list[float]], **settings: Any,
    ) -> None:  # fmt: skip
        self.grids, self.num_batches, self.path = grids, 0, None
        self.wanted: list[int] = []  # the images of this run: the file may hold more
        self.checked = False
        self.tables: list[pd.DataFrame] = []
        if path is None:
            self.seen = pd.DataFrame()
            return
        rank = torch.distributed.get_rank() if world_size() > 1 else 0
        self.path = path.with_name(f"{path.stem}-rank{rank}{path.suffix}") if world_size() > 1 else path
        what = {name: [repr(p), grids[name]] for name, p in perturbations.items()}
        self.settings = {"weights": weights_hash(model), "perturbations": what, **settings}
        if self.path.exists():
            distances = tuple(f"{name} distance" for name in perturbations)
            self.tables.append(read_results(self.path, self.settings, distances=distances))
        self.seen = self.tables[0].drop_duplicates("stimulus").set_index("stimulus") if self.tables else pd.DataFrame()

    def without(self, batch: EvaluationBatch, classifier: Classifier) -> EvaluationBatch:
        """The images of a batch that are not done.

        Raises:
            ValueError: If one that is done had another label, other pixels or other logits: the file is of other data or
                of another model.
        """
        self.wanted.extend(batch.index.tolist())
        if not len(self.seen):
            return batch
        keep = torch.from_numpy(~np.isin(batch.index.numpy(), self.seen.index))
        done = (~keep).nonzero()[:, 0]
        known = self.seen.loc[batch.index[done].numpy()]
        on_device = done.to(batch.images.device)
        images, labels = batch.images[on_device], batch.labels[on_device]
        same_label = known["label"].to_numpy() == labels.cpu().numpy()
        same_pixels = np.abs(known["mean_pixel"].to_numpy() - _mean_pixel(images)) <= 1e-5
        if "pixel_code" in known:  # not in files of earlier versions
            same_pixels &= np.abs(known["pixel_code"].to_numpy() - _pixel_code(images)) <= 1e-6
        if not (same_label & same_pixels).all():
            raise ValueError(
                f"{self.path} holds results of other images or labels: delete it, or name another checkpoint"
            )
        if len(done) and not self.checked:  # what isn't a weight, such as a normalisation, shows in the logits alone
            few = slice(0, 8)
            now = margin(classifier.logits(images[few]), labels[few]).double().cpu().numpy()
            before = known["margin"].to_numpy()[few]
            if (np.abs(now - before) > 1e-3 * (1 + np.abs(before))).any():
                raise ValueError(
                    f"{self.path} was begun with a model that gave other logits (or gives others each time): delete it, "
                    "or name another checkpoint"
                )
            self.checked = True
        rest = keep.to(batch.images.device)
        return EvaluationBatch(batch.images[rest], batch.labels[rest], batch.index[keep])

    def add(
        self, batch: EvaluationBatch, margins: Tensor, right: Tensor, found: Mapping[str, Any],
        counts: Mapping[str, tuple[int, int]],
    ) -> None:  # fmt: skip
        """Keep a batch's results."""
        self.num_batches += 1
        columns = {
            "stimulus": batch.index.numpy(),
            "label": batch.labels.cpu().numpy(),
            "mean_pixel": _mean_pixel(batch.images),
            "pixel_code": _pixel_code(batch.images),
            "margin": margins.double().cpu().numpy(),
            "clean": right.cpu().numpy().astype(np.int8),
        }
        first = np.arange(len(batch.index)) == 0  # a batch's passes stand in its first row
        for name, outcome in found.items():
            for kind, count in zip(("forward", "backward"), counts[name]):
                columns[f"{name} {kind}"] = np.where(first, count, 0)
            columns[f"{name} distance"] = outcome.distance.cpu().double().numpy()
            for k in range(outcome.correct.shape[1]):
                columns[f"{name} {k}"] = outcome.correct[:, k].cpu().numpy().astype(np.int8)
        self.tables.append(pd.DataFrame(columns))
        if self.path is not None:
            write_results(self.path, pd.concat(self.tables, ignore_index=True), self.settings)

    def counts(self, name: str) -> list[int]:
        """Images that went forward and backward under a perturbation, in this run and those it goes on from."""
        return [sum(int(t[f"{name} {kind}"].sum()) for t in self.tables) for kind in ("forward", "backward")]

    def arrays(self, name: str, device: torch.device) -> tuple[Tensor, ...]:
        """Identity, label, clean, correct and distance of this process's images under one perturbation."""
        num_eps = len(self.grids[name])
        if not self.tables:  # this process had no image; others may have had some
            empty = torch.empty(0, dtype=torch.long, device=device)
            correct = torch.empty(0, num_eps, dtype=torch.uint8, device=device)
            return empty, empty, empty.byte(), correct, empty.double()
        table = pd.concat(self.tables, ignore_index=True)
        table = table[table["stimulus"].isin(self.wanted)]
        correct = table[[f"{name} {k}" for k in range(num_eps)]].to_numpy(np.uint8)
        arrays = (
            table["stimulus"].to_numpy(np.int64), table["label"].to_numpy(np.int64), table["clean"].to_numpy(np.uint8),
            correct, table[f"{name} distance"].to_numpy(np.float64),
        )  # fmt: skip
        return tuple(torch.from_numpy(np.array(a)).to(device) for a in arrays)
