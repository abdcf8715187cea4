"""Writing what a network predicted to an HDF5 file."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import torch.distributed as dist
from lightning.pytorch.callbacks import BasePredictionWriter
from torch import Tensor

from neuroalign.data import Responses
from neuroalign.files import whole

__all__ = ["PredictionWriter"]


@dataclass
class _Part:
    """What one batch gave: rows of the data set, predictions, and what the batch told of its stimuli."""

    rows: np.ndarray | None
    values: np.ndarray
    stimulus: np.ndarray | None
    label: np.ndarray | None


class PredictionWriter(BasePredictionWriter):
    """Writes the predictions of ``trainer.predict`` to one HDF5 file, in the order of the data set.

    A task says by its attribute ``predicts`` what its predictions are. "responses" (:class:`NeuralPredictionTask`) become a
    file that :meth:`neuroalign.Responses.load` reads, with one row per stimulus, and with the regions and places of the
    voxels if the DataModule has them. "logits" (:class:`GuidedClassificationTask`) become the arrays ``logits`` (stimulus,
    class), ``class`` (stimulus,), the class of the largest logit, and ``label`` (stimulus,) if the batches have labels. For
    any other module the array is called ``predictions``. The array ``stimulus`` (stimulus,) holds the batch's numbers, or
    the rows of the data set if batches have none.

    The file is complete or absent. Several processes send their parts to the first one, which writes. Predictions are kept in
    memory until the end, so ``trainer.predict(..., return_predictions=False)`` needs half of it.

    Args:
        path: The file; None means ``predictions.h5`` in the folder of the logger, or in ``default_root_dir`` without one.
            With several loaders the number of the loader is added to its name.

    Attributes:
        written: The files that the last prediction wrote.

    Raises:
        TypeError: If the module predicts something else than one tensor (stimulus, ...) per batch.
        ValueError: If several processes predict and a loader doesn't say which rows of its data set a batch holds.

    Example:
        >>> import tempfile, lightning as L, neuroalign
        >>> network = neuroalign.GuidedNetwork("small_resnet", 10, image_shape=(3, 8, 8))
        >>> writer = PredictionWriter(tempfile.mkdtemp() + "/digits.h5")
        >>> trainer = L.Trainer(
        ...     accelerator="cpu", logger=False, callbacks=[writer], enable_progress_bar=False
        ... )
        >>> data = neuroalign.GuidanceDataModule(dataset="digits")
        >>> task = neuroalign.GuidedClassificationTask(network)
        >>> trainer.predict(task, data, return_predictions=False)
        >>> import h5py
        >>> with h5py.File(writer.written[0]) as file:
        ...     file["logits"].shape, sorted(file)
        ((500, 10), ['class', 'label', 'logits', 'stimulus'])
    """

    def __init__(self, path: str | os.PathLike[str] | None = None) -> None:
        super().__init__("batch")
        self.path = None if path is None else Path(path)
        self.written: list[Path] = []
        self._parts: dict[int, list[_Part]] = {}

    def on_predict_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Forget an earlier prediction."""
        self._parts, self.written = {}, []

    def write_on_batch_end(
        self,
        trainer: L.Trainer,
        pl_module: L.LightningModule,
        prediction: Any,
        batch_indices: Sequence[int] | None,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int,
    ) -> None:
        """Keep what one batch gave."""
        if not isinstance(prediction, Tensor) or prediction.ndim < 1:
            raise TypeError(
                f"predictions are written if predict_step returns one tensor (stimulus, ...); {type(pl_module).__name__} "
                f"returned {type(prediction).__name__}"
            )
        rows = np.asarray(batch_indices, dtype=np.int64) if batch_indices else None
        if rows is not None and len(rows) != len(prediction):
            rows = None
        part = _Part(rows, _array(prediction.float()), _column(batch, "stimulus"), _column(batch, "label"))
        self._parts.setdefault(dataloader_idx, []).append(part)

    def on_predict_epoch_end(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        """Bring the parts of all processes together, and write them."""
        folder = trainer.log_dir or trainer.default_root_dir  # asked on every process: Lightning sends the first one's
        gathered = _of_all_processes(self._parts)
        self._parts = {}
        for loader in sorted({number for parts in gathered for number in parts}):
            several = len(gathered) > 1
            columns = _in_order([part for parts in gathered for part in parts.get(loader, [])], several)
            path = self.path or Path(folder) / "predictions.h5"
            if loader:
                path = path.with_name(f"{path.stem}-{loader}{path.suffix}")
            if trainer.is_global_zero:
                _write(path, columns, getattr(pl_module, "predicts", "predictions"), trainer)
            self.written.append(path)


def _column(batch: Any, name: str) -> np.ndarray | None:
    """A column of whole numbers (stimulus,) of a batch; None if it has none."""
    value = batch.get(name) if isinstance(batch, Mapping) else None
    if isinstance(batch, (tuple, list)) and len(batch) >= 2 and name == "label":
        value = batch[1]
    if not isinstance(value, Tensor) or value.ndim != 1 or value.is_floating_point():
        return None
    return _array(value)


def _array(value: Tensor) -> np.ndarray:
    return value.detach().cpu().numpy()


def _of_all_processes(parts: dict[int, list[_Part]]) -> list[dict[int, list[_Part]]]:
    """The parts of every process, on the first; on the others, their own."""
    if not dist.is_available() or not dist.is_initialized() or dist.get_world_size() == 1:
        return [parts]
    gathered: list[Any] | None = [None] * dist.get_world_size() if dist.get_rank() == 0 else None
    dist.gather_object(parts, gathered)
    return [parts, {}] if gathered is None else gathered


def _in_order(parts: Sequence[_Part], several: bool) -> dict[str, np.ndarray | None]:
    """The parts as columns, in the order of the data set."""
    known = [part.rows for part in parts if part.rows is not None]
    values = np.concatenate([part.values for part in parts])
    if len(known) < len(parts):
        if several:
            raise ValueError(
                "several processes predict, and the loader doesn't say which rows of its data set a batch holds, so their "
                "predictions can't be put in order: predict in one process (trainer.devices 1)"
            )
        order, rows = np.arange(len(values)), np.arange(len(values))
    else:
        rows = np.concatenate(known)
        _, order = np.unique(rows, return_index=True)  # a sampler may repeat rows to give every process the same number
    columns: dict[str, np.ndarray | None] = {"values": values[order], "stimulus": rows[order], "label": None}
    for name in ("stimulus", "label"):
        found = [each for part in parts if (each := getattr(part, name)) is not None]
        if len(found) == len(parts):
            columns[name] = np.concatenate(found)[order]
    return columns


def _write(path: Path, columns: Mapping[str, np.ndarray | None], kind: str, trainer: L.Trainer) -> None:
    import h5py

    values, stimulus, label = columns["values"], columns["stimulus"], columns["label"]
    assert values is not None and stimulus is not None
    if kind == "responses" and values.ndim == 2:
        _responses(values, stimulus, getattr(trainer, "datamodule", None)).save(path)
        return
    with whole(path) as temporary, h5py.File(temporary, "w") as file:
        file[kind] = values
        file["stimulus"] = stimulus
        if kind == "logits":
            file["class"] = values.argmax(-1)
        if label is not None:
            file["label"] = label


def _responses(values: np.ndarray, stimulus: np.ndarray, data: Any) -> Responses:
    """Predicted responses, with the regions and places of the voxels if a DataModule has them."""
    recorded = _recorded(data)
    info = {"content": "predicted responses"}
    if recorded is None or recorded.num_voxels != values.shape[1]:
        return Responses.from_arrays(values, stimulus=stimulus, roi=_regions(data, values.shape[1]), info=info)
    names = ("shape", "affine", "stimulus_id")
    info |= {name: recorded.info[name] for name in names if name in recorded.info}
    out = Responses.from_arrays(
        values, stimulus=stimulus, roi=list(recorded.roi), voxel_index=recorded.voxel_index, info=info
    )
    return out if recorded.vertex_index is None else out.on_vertices(recorded.vertex_index)


def _recorded(data: Any) -> Responses | None:
    try:
        found = getattr(data, "val_responses", None)
    except ValueError:  # of several subjects
        return None
    return found if isinstance(found, Responses) else None


def _regions(data: Any, width: int) -> list[str] | str:
    """The head's name of each voxel where a DataModule has columns by head, as for several subjects."""
    columns = getattr(data, "columns", None)
    names = ["unknown"] * width
    for name, places in columns.items() if isinstance(columns, Mapping) else ():
        for place in places:
            if place < width:
                names[place] = str(name)
    return names
