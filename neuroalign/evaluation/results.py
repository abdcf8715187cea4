"""Results of one process so far: every image under every perturbation, stored in a file if one is given."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from neuroalign.evaluation.images import EvaluationBatch
from neuroalign.evaluation.outcomes import Outcomes
from neuroalign.evaluation.results_file import Columns, OtherResultsError, ResultsFile, joined
from neuroalign.functional.distributed import world_size
from neuroalign.functional.logits import margin
from neuroalign.perturbations.base import Perturbation
from neuroalign.perturbations.classifier import Classifier

__all__ = ["weights_hash"]


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


class Results:
    """Results so far: those of an existing checkpoint, and those of this run.

    Args:
        checkpoint: The file, or None; with several processes each has its own file, with its rank in the name.
        model: Classifier from images in [0, 1] to logits.
        perturbations: Perturbations by name.
        grids: Increasing budgets of each perturbation, by name.
        **settings: Other settings on which the results depend, as plain values.

    Attributes:
        num_batches: Number of batches that this run added.

    Raises:
        ValueError: If the file holds results of other settings, perturbations or weights, or is damaged.
    """

    def __init__(
        self, checkpoint: str | Path | None, model: nn.Module, perturbations: Mapping[str, Perturbation],
        grids: Mapping[str, list[float]], **settings: bool | int,
    ) -> None:  # fmt: skip
        self.grids, self.num_batches = grids, 0
        self._wanted: list[np.ndarray] = []  # images of this run; the file may hold others, too
        self._checked = False
        self._batches: list[Columns] = []
        self._file: ResultsFile | None = None
        if checkpoint is not None:
            what = {name: [repr(p), grids[name]] for name, p in perturbations.items()}
            measured_with: dict[str, Any] = {"weights": weights_hash(model), "perturbations": what, **settings}
            distances = tuple(f"{name} distance" for name in perturbations)
            self._file = ResultsFile(_of_this_process(Path(checkpoint)), measured_with, distances)
            if self._file.path.exists():
                self._batches.append(joined([self._file.read()]))
        self._before = _Known(self._batches[0]) if self._batches else None

    def without_done(self, batch: EvaluationBatch, classifier: Classifier) -> EvaluationBatch:
        """The images of a batch that the checkpoint doesn't hold.

        Raises:
            ValueError: If an image in the checkpoint had another label, other pixels or other logits: the checkpoint is of
                other data or of another model.
        """
        self._wanted.append(batch.index.numpy())
        if self._before is None:
            return batch
        rows = self._before.rows(batch.index.numpy())
        done = torch.from_numpy(rows >= 0)
        on_device = done.to(batch.images.device)
        self._check_known(rows[rows >= 0], batch.images[on_device], batch.labels[on_device], classifier)
        return EvaluationBatch(batch.images[~on_device], batch.labels[~on_device], batch.index[~done])

    def _check_known(self, rows: np.ndarray, images: Tensor, labels: Tensor, classifier: Classifier) -> None:
        assert self._file is not None and self._before is not None
        known = {name: values[rows] for name, values in self._before.columns.items()}
        same_label = known["label"] == labels.cpu().numpy()
        same_pixels = np.abs(known["mean_pixel"] - _mean_pixel(images)) <= 1e-5
        if "pixel_code" in known:  # not in files of earlier versions
            same_pixels &= np.abs(known["pixel_code"] - _pixel_code(images)) <= 1e-6
        if not (same_label & same_pixels).all():
            raise OtherResultsError(f"{self._file.path} holds results of other images or labels")
        # Changes of the model other than of its weights, as in a normalisation, show in the logits only.
        if len(rows) and not self._checked:
            few = slice(0, 8)
            now = margin(classifier.logits(images[few]), labels[few]).double().cpu().numpy()
            before = known["margin"][few]
            if (np.abs(now - before) > 1e-3 * (1 + np.abs(before))).any():
                raise OtherResultsError(
                    f"{self._file.path} was begun with a model that gave other logits (or gives others each time)"
                )
            self._checked = True

    def add(
        self, batch: EvaluationBatch, margins: Tensor, right: Tensor, found: Mapping[str, Outcomes],
        counts: Mapping[str, tuple[int, int]],
    ) -> None:  # fmt: skip
        """Store a batch's results.

        Args:
            batch: The images.
            margins: (stimulus,) largest other logit minus the true one, without perturbation.
            right: (stimulus,) bool, classified right without perturbation.
            found: Outcomes of the images, by perturbation.
            counts: Numbers of forward and backward passes of an image, by perturbation.
        """
        self.num_batches += 1
        columns = {
            "stimulus": batch.index.numpy(),
            "label": batch.labels.cpu().numpy(),
            "mean_pixel": _mean_pixel(batch.images),
            "pixel_code": _pixel_code(batch.images),
            "margin": margins.double().cpu().numpy(),
            "clean": right.cpu().numpy().astype(np.int8),
        }
        first = np.arange(len(batch.index)) == 0  # the number of a batch's passes is in its first row
        for name, outcome in found.items():
            for kind, count in zip(("forward", "backward"), counts[name]):
                columns[f"{name} {kind}"] = np.where(first, count, 0)
            columns[f"{name} distance"] = outcome.distance.cpu().double().numpy()
            for k in range(outcome.correct.shape[1]):
                columns[f"{name} {k}"] = outcome.correct[:, k].cpu().numpy().astype(np.int8)
        self._batches.append(columns)
        if self._file is not None:
            self._file.add(self._batches)

    def counts(self, name: str) -> list[int]:
        """Numbers of forward and backward passes under a perturbation, in this run and in those before it in the file."""
        if not self._batches:
            return [0, 0]
        return [int(self._joined()[f"{name} {kind}"].sum()) for kind in ("forward", "backward")]

    def arrays(self, name: str, device: torch.device) -> tuple[Tensor, ...]:
        """Identity, label, clean, correct and distance of this process's images under one perturbation."""
        num_eps = len(self.grids[name])
        if not self._batches:  # this process had no image; others may have had some
            empty = torch.empty(0, dtype=torch.long, device=device)
            correct = torch.empty(0, num_eps, dtype=torch.uint8, device=device)
            return empty, empty, empty.byte(), correct, empty.double()
        every = self._joined()
        wanted = np.isin(every["stimulus"], np.concatenate([np.empty(0, np.int64), *self._wanted]))
        types = {"stimulus": np.int64, "label": np.int64, "clean": np.uint8, f"{name} distance": np.float64}
        stimulus, label, clean, distance = (every[column][wanted].astype(dtype) for column, dtype in types.items())
        right = np.stack([every[f"{name} {k}"][wanted].astype(np.uint8) for k in range(num_eps)], 1)
        return tuple(torch.from_numpy(a).to(device) for a in (stimulus, label, clean, right, distance))

    def _joined(self) -> Columns:
        """All batches in one, which is made once for all perturbations."""
        if len(self._batches) > 1:
            self._batches = [joined(self._batches)]
        return self._batches[0]


class _Known:
    """What a checkpoint knew of each image before this run, looked up by the image's identity."""

    def __init__(self, columns: Columns) -> None:
        once = pd.DataFrame(columns).drop_duplicates("stimulus")
        # Hashed once; np.isin would sort all of it anew for every batch.
        self._index = pd.Index(once["stimulus"])
        names = ("label", "mean_pixel", "pixel_code", "margin")
        self.columns = {name: once[name].to_numpy() for name in names if name in once}

    def rows(self, stimulus: np.ndarray) -> np.ndarray:
        """The row of each image, or -1."""
        return self._index.get_indexer(pd.Index(stimulus))


def _of_this_process(path: Path) -> Path:
    if world_size() == 1:
        return path
    return path.with_name(f"{path.stem}-rank{torch.distributed.get_rank()}{path.suffix}")


def _mean_pixel(images: Tensor) -> np.ndarray:
    """Mean over all values of each image (stimulus,), by which images are recognised."""
    return images.flatten(1).double().mean(1).cpu().numpy()


def _pixel_code(images: Tensor) -> np.ndarray:
    """The sum of each image's values with fixed Gaussian weights, divided by the root of their number: (stimulus,).

    It distinguishes images of the same mean. If one pixel changes by one level of 255, it changes by about 1e-5 at 224 x 224;
    rounding on another machine changes it by 1e-7.
    """
    flat = images.flatten(1).double()
    return (flat @ _weights(flat.shape[1]).to(flat.device) / flat.shape[1] ** 0.5).cpu().numpy()


@functools.lru_cache(maxsize=4)
def _weights(num: int) -> Tensor:
    return torch.from_numpy(np.random.RandomState(0).standard_normal(num))  # a stream that NumPy promises not to change
