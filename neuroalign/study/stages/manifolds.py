"""The manifolds of a region: what its predictor says of the training images, class by class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from neuroalign.study.stages.images import read_images
from neuroalign.study.stages.predictor import read_predictor
from neuroalign.study.stages.result_files import write_json
from neuroalign.study.work import Work

if TYPE_CHECKING:
    from neuroalign.losses import CategoryManifolds

__all__: list[str] = []

VERSION = 1


def make(work: Work) -> None:
    """Write the manifolds of the standardised predicted responses to the training images.

    Files: ``manifolds.safetensors`` and ``manifolds.json``.
    """
    import torch
    from torch.utils.data import DataLoader

    from neuroalign.data import collate
    from neuroalign.losses import CategoryManifolds
    from neuroalign.models import StandardizedPredictor

    sets = read_images(work.inputs["images"], work.sources.get("root"))
    predictor = read_predictor(work.inputs["predictor"])
    loader: DataLoader = DataLoader(sets.dataset("train"), batch_size=256, collate_fn=collate)
    standardized = StandardizedPredictor(predictor)
    standardized.fit(batch["image"] for batch in loader)
    features, labels = [], []
    with torch.no_grad():
        for done, batch in enumerate(loader):
            work.report("predicting responses to the training images", 0.5 + 0.5 * done / len(loader))
            features.append(standardized(batch["image"]))
            labels.append(batch["label"])
    manifolds = CategoryManifolds.from_features(
        torch.cat(features), torch.cat(labels), variance=work.settings["variance"], num_classes=sets.num_classes
    )
    manifolds.save(work.out / "manifolds.safetensors")
    about = {
        "num_voxels": standardized.num_voxels,
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
