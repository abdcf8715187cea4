"""The whole experiment on a simulated subject: real digit images, simulated responses, every step of the real chain."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from neuroalign.data import GuidanceDataModule, NSDDataModule, ShiftFlip, load_digits, write_simulated_nsd
from neuroalign.data.images import ArrayDataset, as_pixels
from neuroalign.evaluation import per_image_robustness
from neuroalign.functional import pearson
from neuroalign.guidance import LabelOnlyGuidance, ManifoldGuidance, PredictedGuidance, ShuffledGuidance
from neuroalign.losses import CategoryManifolds, NonNeuralManifoldLoss
from neuroalign.metrics import ManifoldGeometry
from neuroalign.models import GuidedNetwork, NeuralPredictor, StandardizedPredictor, untrained
from neuroalign.perturbations import PGD
from neuroalign.study.replication import Progress
from neuroalign.study.training import Recipe, matched_control, train_classifier, train_predictor

__all__: list[str] = []

REGIONS = ("V1", "V4", "TO")
CONDITIONS = (
    "none",
    "label only",
    "random predictor",
    "shuffled images",
    "TO shuffled fit",
    "V1",
    "V4",
    "TO",
    "TO manifold",
    "random geometry",
    "no brain",
)
# The treatment that each control is compared with; the control is trained at the gradient scale of that treatment.
TREATMENTS = {
    "label only": "TO",
    "random predictor": "TO",
    "shuffled images": "TO",
    "TO shuffled fit": "TO",
    "random geometry": "TO manifold",
    "no brain": "TO manifold",
}
_BY_GEOMETRY = ("TO manifold", "random geometry", "no brain")
_SHAPE = (3, 8, 8)


@dataclass(frozen=True)
class DemoSettings:
    """Sizes and recipes of the demo.

    Args:
        teacher: Recipe of the network whose features are the subject's object level (TO).
        predictor: Recipe of the neural predictors.
        classifier: Recipe of every guided and unguided network.
        weight: Share of guidance in the loss.
        manifold_weight: Share of manifold guidance in the loss. Its terms are not in units of squared responses.
        contrast: Contrast of the digits on grey, for subject and networks alike: at full contrast half of any noise would
            be clipped at black and white.
        teacher_noise: Standard deviation of the pixel noise in the training of the teacher.
        stimulus_noise: Largest standard deviation of the pixel noise on the images that the subject sees.
        copies: Number of noisy, shifted copies of each training image that the subject sees.
        val_copies: Number of such copies of each validation image.
        eps: Attack budgets, in pixels of [0, 1].
        steps: Steps of PGD.
        num_voxels: Voxels per region.
    """

    teacher: Recipe = field(default_factory=lambda: Recipe(epochs=60, max_lr=0.1, weight_decay=1e-4))
    predictor: Recipe = field(default_factory=lambda: Recipe(epochs=12, max_lr=3e-3, weight_decay=5e-4))
    classifier: Recipe = field(default_factory=lambda: Recipe(epochs=40, max_lr=0.1, weight_decay=1e-4))
    weight: float = 0.9
    manifold_weight: float = 0.5
    contrast: float = 0.5
    teacher_noise: float = 0.15
    stimulus_noise: float = 0.3
    copies: int = 4
    val_copies: int = 6
    eps: tuple[float, ...] = (0.0, 0.01, 0.02, 0.03, 0.04)
    steps: int = 10
    num_voxels: int = 80

    @classmethod
    def fast(cls) -> DemoSettings:
        """Settings of a run that takes seconds, to see that everything runs; its numbers mean nothing."""
        return cls(
            teacher=Recipe(4, 0.1, 1e-4),
            predictor=Recipe(1, 3e-3, 5e-4),
            classifier=Recipe(2, 0.1, 1e-4),
            copies=1,
            val_copies=1,
            eps=(0.0, 0.02),
            steps=3,
        )

    @property
    def work(self) -> float:
        """Work of one replication, in training steps (steps of an attack count by their cost)."""
        epochs = self.teacher.epochs * 10 + (len(REGIONS) + 1) * self.predictor.epochs * self.copies * 10
        return epochs + len(CONDITIONS) * (self.classifier.epochs * 12 + self._attack_work)

    @property
    def _attack_work(self) -> float:
        return 2.0 * self.steps * (len(self.eps) - 1)


@dataclass(frozen=True)
class DemoResult:
    """Tables of one replication.

    Attributes:
        images: One row per image, condition and budget.
        prediction: One row per voxel.
        geometry: One row per network.
        factors: One row per control: the factor on its loss that gives its gradient the scale of the treatment's gradient.
    """

    images: pd.DataFrame
    prediction: pd.DataFrame
    geometry: pd.DataFrame
    factors: pd.DataFrame


class _PixelNoise:
    """Shifts training images and adds Gaussian noise."""

    def __init__(self, sd: float) -> None:
        self.sd, self.shift = sd, ShiftFlip(1, flip=False)

    def __call__(self, images: Tensor) -> Tensor:
        images = self.shift(images)
        return images + self.sd * torch.randn_like(images)


def _network(num_voxels: int) -> GuidedNetwork:
    return GuidedNetwork("small_resnet", 10, {"brain": (None, num_voxels)}, image_shape=_SHAPE)


def replicate(seed: int, settings: DemoSettings, progress: Progress) -> DemoResult:
    """Run one replication: new splits of the digits, a new subject, all networks trained from the start."""
    images, labels = load_digits()
    images = 0.5 + settings.contrast * (images - 0.5)
    order = np.random.default_rng(seed).permutation(len(images))
    neural_fit, neural_val, guided, test = np.split(order, [600, 700, 1447])
    teacher = train_classifier(
        lambda: _network(1),
        GuidanceDataModule(
            (images[neural_fit], labels[neural_fit]),
            batch_size=64,
            augment=_PixelNoise(settings.teacher_noise),
            seed=seed,
        ),
        settings.teacher,
        seed,
        on_epoch=lambda: progress("making the simulated subject", 10),
    )
    with tempfile.TemporaryDirectory() as root:
        _show_to_subject(root, images, labels, neural_fit, neural_val, teacher, settings, seed)
        predictors, prediction = _fit_predictors(root, settings, seed, progress)
    guided_images, guided_labels = images[guided], labels[guided]
    standardized = {name: StandardizedPredictor(p).fit(guided_images) for name, p in predictors.items()}
    data = GuidanceDataModule(
        (guided_images, guided_labels), batch_size=64, augment=ShiftFlip(1, flip=False), seed=seed
    )
    test_batches = [
        {"image": images[i], "label": labels[i], "stimulus": torch.from_numpy(i)} for i in np.array_split(test, 2)
    ]
    guide = partial(_guidance, standardized, guided_images, guided_labels, settings, seed)
    make = partial(_network, settings.num_voxels)
    robustness, geometry, factors = [], [], []
    for region in REGIONS:
        geometry.append(_geometry(predictors[region], test_batches) | {"network": "predictor", "condition": region})
    for condition in CONDITIONS:
        guidance = guide(condition)
        if condition in TREATMENTS and guidance is not None:
            treatment = cast(nn.Module, guide(TREATMENTS[condition]))  # "none" is nobody's treatment
            guidance = matched_control(guidance, treatment, make, data, seed)
            factors.append(
                {"condition": condition, "matched to": TREATMENTS[condition], "factor": guidance.weights["*"]}
            )
        network = train_classifier(
            make,
            data,
            settings.classifier,
            seed,
            guidance=guidance,
            weight=settings.manifold_weight if condition in _BY_GEOMETRY else settings.weight,
            on_epoch=partial(progress, f"training: {condition}", 12),
        )
        progress(f"attacking: {condition}")
        table = per_image_robustness(network, test_batches, PGD(steps=settings.steps), settings.eps)
        robustness.append(table.assign(condition=condition))
        geometry.append(
            _geometry(cast(nn.Module, network.trunk), test_batches) | {"network": "classifier", "condition": condition}
        )
        progress(f"attacking: {condition}", settings._attack_work)
    return DemoResult(
        images=pd.concat(robustness, ignore_index=True).assign(replication=seed),
        prediction=prediction.assign(replication=seed),
        geometry=pd.DataFrame(geometry).assign(replication=seed),
        factors=pd.DataFrame(factors).assign(replication=seed),
    )


def _show_to_subject(
    root: str,
    images: Tensor,
    labels: Tensor,
    fit: np.ndarray,
    val: np.ndarray,
    teacher: nn.Module,
    settings: DemoSettings,
    seed: int,
) -> None:
    """Write the NSD folder of a subject that sees shifted copies of the digits under noise of many strengths."""
    shown = np.concatenate([np.repeat(val, settings.val_copies), np.repeat(fit, settings.copies)])
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stimuli = ShiftFlip(1, flip=False)(images[shown])
    strength = settings.stimulus_noise * torch.rand(len(stimuli), 1, 1, 1, generator=generator)
    stimuli = (stimuli + strength * torch.randn(stimuli.shape, generator=generator)).clamp(0, 1)
    write_simulated_nsd(
        root,
        stimuli,
        labels[shown],
        regions=REGIONS,
        num_voxels=settings.num_voxels,
        num_shared=len(val) * settings.val_copies,
        object_stage=cast(nn.Module, teacher.trunk),
        seed=seed,
    )


def _fit_predictors(
    root: str, settings: DemoSettings, seed: int, progress: Progress
) -> tuple[dict[str, nn.Module], pd.DataFrame]:
    """One predictor per region, one more fitted to shuffled responses of TO, and a table of how well each predicts."""
    predictors, tables = {}, []
    for name in (*REGIONS, "TO shuffled fit"):
        region = name.split(" ")[0]
        data = NSDDataModule(root, roi=region, batch_size=64, seed=seed, shuffle_seed=seed if name != region else None)
        predictors[name] = train_predictor(
            lambda: NeuralPredictor("small_resnet", settings.num_voxels, layer="layer3", size=2, image_shape=_SHAPE),
            data,
            settings.predictor,
            seed,
            on_epoch=partial(progress, f"fitting predictor: {name}", 10 * settings.copies),
        )
        val = data.val_responses
        seen = as_pixels(cast(ArrayDataset, data.datasets["val"]).image[val.stimulus]).float() / 255
        with torch.no_grad():
            r = pearson(predictors[name](seen), torch.from_numpy(val.values))
        tables.append(pd.DataFrame({"region": name, "correlation": r.numpy(), "noise_ceiling": val.noise_ceiling}))
    return predictors, pd.concat(tables, ignore_index=True)


def _guidance(
    predictors: Mapping[str, StandardizedPredictor],
    images: Tensor,
    labels: Tensor,
    settings: DemoSettings,
    seed: int,
    condition: str,
) -> nn.Module | None:
    if condition == "none":
        return None
    if condition == "label only":
        return LabelOnlyGuidance(10, {"brain": settings.num_voxels}, seed=seed)
    if condition == "random predictor":
        fresh = untrained(predictors["TO"].predictor, seed + 1)
        return PredictedGuidance({"brain": StandardizedPredictor(fresh).fit(images)})
    if condition == "shuffled images":
        return ShuffledGuidance(PredictedGuidance({"brain": predictors["TO"]}), seed=seed)
    if condition == "no brain":
        return ManifoldGuidance({"brain": NonNeuralManifoldLoss()})
    if condition in ("TO manifold", "random geometry"):
        with torch.no_grad():
            manifolds = CategoryManifolds.from_features(predictors["TO"](images), labels)
        return ManifoldGuidance({"brain": manifolds if condition == "TO manifold" else manifolds.randomized(seed)})
    return PredictedGuidance({"brain": predictors[condition]})


def _geometry(module: nn.Module, batches: list[dict[str, Tensor]]) -> dict[str, float]:
    metric = ManifoldGeometry()
    with torch.no_grad():
        for batch in batches:
            metric.update(module(batch["image"]), batch["label"], batch["stimulus"])
    return {name: float(value) for name, value in metric.compute().items()}
