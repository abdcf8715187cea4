"""The manifolds of a region: what its predictor says of the training images, class by class."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from neuroalign.study.stages.images import read_images
from neuroalign.study.stages.predictor import read_predictor
from neuroalign.study.stages.result_files import write_json
from neuroalign.study.work import Work

if TYPE_CHECKING:
    from torch import Tensor

    from neuroalign.losses import CategoryManifolds

__all__: list[str] = []

VERSION = 1


def make(work: Work) -> None:
    """Write the manifolds of the standardised predicted responses to the training images.

    Files: ``manifolds.safetensors`` and ``manifolds.json``.
    """
    import torch
    from torch import nn
    from torch.utils.data import DataLoader

    from neuroalign.data import collate
    from neuroalign.losses import CategoryManifolds
    from neuroalign.models import StandardizedPredictor
    from neuroalign.study.fitting import inference_device, predicted

    sets, predictor = (
        read_images(work.inputs["images"], work.sources.get("root")),
        read_predictor(work.inputs["predictor"]),
    )
    in_files = not isinstance(sets.train, tuple)
    loader: DataLoader = DataLoader(
        sets.dataset("train"), 256, collate_fn=collate, num_workers=work.cpus - 1 if in_files else 0
    )
    labels: list[Tensor] = []

    def images() -> Iterator[Tensor]:
        for done, batch in enumerate(loader):
            work.report("predicting responses to the training images", done / len(loader))
            labels.append(batch["label"])
            yield batch["image"]

    raw = predicted(predictor, images(), inference_device(work))
    features = StandardizedPredictor(nn.Identity(), raw.shape[1]).fit([raw])(raw)
    manifolds = CategoryManifolds.from_features(
        features, torch.cat(labels), variance=work.settings["variance"], num_classes=sets.num_classes
    )
    manifolds.save(work.out / "manifolds.safetensors")
    about = {
        "num_voxels": features.shape[1],
        "num_classes": sets.num_classes,
        "ranks": manifolds.ranks.tolist(),
        "radii": manifolds.radii.tolist(),
    }
    write_json(work.out / "manifolds.json", about)


def read_manifolds(folder: Path) -> CategoryManifolds:
    """Read the manifolds of :func:`make`.

    Raises:
        FileNotFoundError: If there is no such result.
    """
    from neuroalign.losses import CategoryManifolds

    return CategoryManifolds.load(folder / "manifolds.safetensors")
