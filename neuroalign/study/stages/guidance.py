"""The guidance of every kind of condition, from a network's settings and the results that it needs."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from neuroalign.data.images import ArrayDataset, to_pixels
from neuroalign.guidance import (
    LabelOnlyGuidance,
    ManifoldGuidance,
    MatchedGuidance,
    MeasuredGuidance,
    PredictedGuidance,
    PrincipalGains,
    RDMGuidance,
    ShuffledGuidance,
    StimulusNoise,
)
from neuroalign.guidance.controls import cyclic_permutation
from neuroalign.losses import CategoryManifolds, NonNeuralManifoldLoss
from neuroalign.models import NeuralPredictor, StandardizedPredictor
from neuroalign.study.settings.conditions import MANIFOLD, NEURAL, RDM
from neuroalign.study.stages.manifolds import read_manifolds
from neuroalign.study.stages.predictor import read_predictor
from neuroalign.study.stages.region_stimuli import TrainingImages

__all__: list[str] = []

HEAD = "brain"
"""Name of the head for responses."""


@dataclass
class Making:
    """What guidance is made from.

    Args:
        kind: Kind of the condition.
        inputs: Folders of the results by role.
        images: The training images.
        num_classes: Number of classes.
        seed: Seed of the replication.
        draw: Name of what is drawn: regions and subjects that should differ have different names.
        loss: Measure between responses and targets.
        options: Arguments of the guidance.
        device: Device of the predictors.
    """

    kind: str
    inputs: Mapping[str, Path]
    images: TrainingImages
    num_classes: int
    seed: int
    draw: str = ""
    loss: str = "mse"
    options: Mapping[str, Any] = field(default_factory=dict)
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))

    def __post_init__(self) -> None:
        self._predictors: dict[str, StandardizedPredictor] = {}

    @property
    def own_seed(self) -> int:
        """Seed of what this condition draws: none of the generators that start the network or order its images."""
        return derived_seed(self.seed, f"{self.kind} {self.draw}")

    def predictor(self, role: str = "predictor") -> StandardizedPredictor:
        """A predictor whose responses to the training images have mean 0 and variance 1."""
        if role not in self._predictors:
            fitted = read_predictor(self.inputs[role])
            check_image_size(fitted, self.images.labelled)
            made = StandardizedPredictor(fitted.to(self.device)).to(self.device)
            self._predictors[role] = made.fit(batch["image"] for batch in self._batches()).eval()
        return self._predictors[role]

    @torch.no_grad()
    def responses(self, role: str = "predictor") -> Tensor:
        """Predicted responses (stimulus, voxel) to the training images, in their order."""
        predictor = self.predictor(role)
        return torch.cat([predictor(batch["image"].to(self.device)).float() for batch in self._batches()])

    @cached_property
    def labels(self) -> Tensor:
        """Class (stimulus,) of each training image."""
        labelled = self.images.labelled  # images that stay in their files have labels that need no reading of them
        return (labelled.columns["label"] if isinstance(labelled, ArrayDataset) else labelled.labels).long()

    @cached_property
    def manifolds(self) -> CategoryManifolds:
        """The region's category manifolds."""
        return read_manifolds(self.inputs["manifolds"])

    @property
    def num_voxels(self) -> int | None:
        """Width of the head for responses; None if it has none of its own."""
        own = self.images.stimuli
        if own is not None:
            return None if own.responses is None else own.responses.shape[1]
        for role in ("predictor", "treatment"):
            if role in self.inputs:
                return self.predictor(role).num_voxels
        return self.manifolds.num_inputs if "manifolds" in self.inputs else None

    def _batches(self, size: int = 256) -> Iterator[dict[str, Tensor]]:
        labelled = self.images.labelled
        for start in range(0, len(labelled), size):
            batch = labelled.__getitems__(list(range(start, min(start + size, len(labelled)))))
            yield {**batch, "image": to_pixels(batch["image"])}


def check_image_size(predictor: nn.Module, images: Any) -> None:
    """Refuse a predictor that was fitted to images of another size than those that it would see.

    Raises:
        ValueError: If it was.
    """
    if not isinstance(predictor, NeuralPredictor):  # the features of a ridge resize images themselves
        return
    shape = list((predictor.config or {}).get("init_args", {}).get("image_shape", ()))
    seen = list(images.__getitems__([0])["image"].shape[1:])
    if shape and shape[1:] != seen[1:]:
        raise ValueError(
            f"the predictor was fitted to {shape[1]} x {shape[2]} pixels, and the networks see {seen[1]} x {seen[2]}: "
            f"give the responses image_size: {seen[1]}, or the images image_size: {shape[1]}"
        )


def derived_seed(seed: int, name: str) -> int:
    """A seed for one purpose, so that random numbers of two purposes are independent though both belong to one seed.

    Example:
        >>> derived_seed(0, "label only V4") != derived_seed(0, "label only V1")
        True
    """
    return int(np.random.SeedSequence([seed, zlib.crc32(name.encode())]).generate_state(1)[0])


def make_guidance(making: Making) -> nn.Module | None:
    """The guidance of a kind, at its own gradient scale; None if there is none.

    Raises:
        ValueError: If the guidance has no such option, or its inputs don't fit.
    """
    try:
        return MAKERS[making.kind](making)
    except TypeError as error:
        raise ValueError(f"options {dict(making.options)} of {making.kind!r}: {error}") from error


def make_treatment(making: Making, kind: str) -> nn.Module:
    """The guidance whose gradient scale a control gets.

    Raises:
        ValueError: If controls can't be matched to that kind.
    """
    if kind == NEURAL:
        role = "treatment" if "treatment" in making.inputs else "predictor"
        return PredictedGuidance({HEAD: making.predictor(role)}, making.loss)
    if kind == MANIFOLD:
        options = {k: v for k, v in making.options.items() if k in ("radius_weight", "subspace_weight")}
        return ManifoldGuidance({HEAD: making.manifolds}, **options)
    if kind == RDM and making.images.stimuli is not None and making.images.stimuli.rdm is not None:
        return _rdm(making)
    raise ValueError(
        f"{making.kind!r} can't have the gradient scale of {kind!r}: it has nothing of what that is made from"
    )


def _nothing(making: Making) -> None:
    return None


def _predicted(making: Making) -> PredictedGuidance:
    return PredictedGuidance({HEAD: making.predictor()}, making.loss, **making.options)


def _other_images(making: Making, *, within_class: bool) -> ShuffledGuidance:
    # The targets of all training images are predicted once; the shuffled guidance gets them in place of the images, and so
    # the inner one has nothing to do with them. Images that are read from disk need no second copy in memory either.
    inner = PredictedGuidance({HEAD: nn.Identity()}, making.loss)
    labels = making.labels if within_class else None
    return ShuffledGuidance(
        inner, seed=making.own_seed, within_class=within_class, images=making.responses(), labels=labels,
        **making.options,
    )  # fmt: skip


def _in_batch(making: Making) -> ShuffledGuidance:
    return ShuffledGuidance(_predicted(making), seed=making.own_seed)


def _label_only(making: Making) -> LabelOnlyGuidance:
    width = making.num_voxels
    if width is None:
        raise ValueError(f"{making.kind!r} takes the number of its targets' voxels from a region, and none is given")
    widths = {HEAD: width}
    return LabelOnlyGuidance(making.num_classes, widths, seed=making.own_seed, loss=making.loss, **making.options)


def _class_means(making: Making) -> LabelOnlyGuidance:
    responses = making.responses().cpu()
    return LabelOnlyGuidance.from_predictor(HEAD, nn.Identity(), responses, making.labels, loss=making.loss)


def _manifolds(making: Making, change: Callable[[CategoryManifolds, int], CategoryManifolds]) -> ManifoldGuidance:
    return ManifoldGuidance({HEAD: change(making.manifolds, making.own_seed)}, **making.options)


def _altered(making: Making, alteration: nn.Module) -> MatchedGuidance:
    return MatchedGuidance(PredictedGuidance({HEAD: making.predictor()}, making.loss), {HEAD: alteration})


def _noise_matched(making: Making) -> MatchedGuidance:
    own, other = accuracies(making.inputs["predictor"], making.inputs["like"])
    if not 0 < other <= own:
        raise ValueError(
            f"the responses of this region are predicted with an accuracy of {own:.3f} and those of 'like' with {other:.3f}: "
            "noise can only lower the accuracy of the targets, so 'like' must be the region that is predicted less well"
        )
    noise = StimulusNoise.at_correlation(making.responses().cpu(), other / own, making.own_seed)
    return _altered(making, noise)


def _rank_matched(making: Making) -> MatchedGuidance:
    gains = PrincipalGains.of_rank(making.responses(), reference=making.responses("like"), **making.options)
    return _altered(making, gains)


def _spectrum_matched(making: Making) -> MatchedGuidance:
    return _altered(making, PrincipalGains.of_spectrum(making.responses(), making.responses("like")))


def accuracies(*folders: Path) -> list[float]:
    """Median over voxels of each predictor's correlation, relative to what the noise of the recordings allows.

    Args:
        *folders: Folders of the predictors' results. If one of them knows no noise ceiling, the plain correlations are
            compared.
    """
    tables = [pd.read_csv(folder / "prediction.csv") for folder in folders]
    known = [table[table["noise_ceiling"].astype(float) > 0] for table in tables]
    if not all(len(table) for table in known):
        return [float(table["correlation"].median()) for table in tables]
    return [float((table["correlation"] / table["noise_ceiling"] ** 0.5).median()) for table in known]


def _no_brain(making: Making) -> ManifoldGuidance:
    return ManifoldGuidance({HEAD: NonNeuralManifoldLoss(**making.options)})


def _rdm(making: Making, *, shuffled: bool = False) -> RDMGuidance:
    own = making.images.stimuli
    if own is None or own.rdm is None:
        raise ValueError(f"{making.kind!r} needs dissimilarities, and the region has responses")
    order = cyclic_permutation(len(own.rdm), making.own_seed) if shuffled else torch.arange(len(own.rdm))
    first = len(making.images.labelled)
    stimuli = torch.arange(first, len(making.images))
    return RDMGuidance({HEAD: own.rdm[order][:, order]}, stimuli=stimuli, **making.options)


def _of(change: Callable[[CategoryManifolds, int], CategoryManifolds]) -> Callable[[Making], ManifoldGuidance]:
    return lambda making: _manifolds(making, change)


MAKERS: dict[str, Callable[[Making], nn.Module | None]] = {
    "none": _nothing,
    NEURAL: _predicted,
    MANIFOLD: _of(lambda manifolds, seed: manifolds),
    "measured responses": lambda making: MeasuredGuidance(HEAD, making.loss, **making.options),
    RDM: _rdm,
    "shuffled RDM": lambda making: _rdm(making, shuffled=True),
    "random predictor": _predicted,
    "shuffled fit": _predicted,
    "shuffled images": lambda making: _other_images(making, within_class=False),
    "shuffled in a batch": _in_batch,
    "within class": lambda making: _other_images(making, within_class=True),
    "label only": _label_only,
    "class means": _class_means,
    "noise matched": _noise_matched,
    "rank matched": _rank_matched,
    "spectrum matched": _spectrum_matched,
    "random geometry": _of(lambda manifolds, seed: manifolds.randomized(seed)),
    "random bases": _of(lambda manifolds, seed: manifolds.randomized(seed, centers=False)),
    "random centers": _of(lambda manifolds, seed: manifolds.randomized(seed, bases=False)),
    "shared bases": _of(lambda manifolds, seed: manifolds.shared(bases=True)),
    "shared centers": _of(lambda manifolds, seed: manifolds.shared(centers=True)),
    "no brain": _no_brain,
    "cross-entropy weight": _nothing,
    "smoothness matched": _nothing,
    "adversarial training": _nothing,
}
