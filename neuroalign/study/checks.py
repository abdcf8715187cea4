"""What a study's names stand for, built once and thrown away: a class, layer or measure that isn't there is told at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from neuroalign.study.settings.conditions import KINDS
from neuroalign.study.settings.images import Images
from neuroalign.study.settings.network import Network
from neuroalign.study.sizes import KNOWN
from neuroalign.study.study import Study, StudyError, listed

__all__: list[str] = []


def check_names(study: Study) -> None:
    """Build the augmentations, attacks, robust trainings, losses and networks that a study names, without any data.

    Args:
        study: The study.

    Raises:
        StudyError: If one can't be built; a line for each, with the path of its key.
    """
    lines = []
    for key, make in _named(study):
        try:
            make()
        except (ValueError, TypeError, KeyError, ImportError) as error:
            lines.append(f"{key}: {' '.join(str(error).split())}")
    if lines:
        raise StudyError(listed(study.name, list(dict.fromkeys(lines))))


def _named(study: Study) -> Iterator[tuple[str, Callable[[], Any]]]:
    from neuroalign.losses import NeuralAlignmentLoss
    from neuroalign.study.augmentations import augmentation
    from neuroalign.study.stages.attacks import attack_of

    trainings: dict[str, Any] = {"training": study.training.augment}
    if study.predictors.kind == "network":
        trainings["predictors.training"] = study.predictors.training.augment
    for name, condition in study.conditions.items():
        if "augment" in condition.training:
            trainings[f"conditions.{name}.training"] = condition.training["augment"]
        if KINDS[study.kind_of(name)].needs not in ("nothing", "manifolds", "rdm", "network"):
            yield f"conditions.{name}.loss", partial(NeuralAlignmentLoss, condition.loss)
    for key, described in trainings.items():
        yield f"{key}.augment", partial(augmentation, described)
    for name, each in study.evaluations.robustness.items():
        yield f"evaluations.robustness.{name}.attack", partial(attack_of, each.attack, each.norm, each.steps)
    yield from _networks(study)


def _networks(study: Study) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The networks at the shape of their images, with a head of two voxels."""
    from neuroalign.models import GuidedNetwork, NeuralPredictor, ResponseHead

    given, shape = study.network, _shape(study.images)
    layers = given.layer if isinstance(given.layer, dict) else {"": given.layer}
    for region, layer in layers.items():
        key = f"network.layer.{region}" if region else "network"

        def network(layer: str | None = layer) -> None:
            GuidedNetwork(given.backbone, 2, {"brain": ResponseHead(layer, 2, size=given.size or 1)}, image_shape=shape)

        yield key, network
    measured = {"geometry": study.evaluations.geometry, "rsa": study.evaluations.rsa}
    for name, wanted in measured.items():
        if wanted is not None and wanted.layers:
            yield f"evaluations.{name}.layers", partial(_check_layers, given, wanted.layers, shape)
    predictors = study.predictors
    if study.responses and predictors.kind == "network":
        source = study.responses[0]
        shown = shape if source.source == "simulated" else (3, source.image_size, source.image_size)
        yield (
            "predictors",
            lambda: NeuralPredictor(
                predictors.backbone, 2, layer=predictors.layer, size=predictors.size or 1, image_shape=shown
            ),
        )


def _check_layers(given: Network, layers: list[str], shape: tuple[int, int, int]) -> None:
    """Refuse layers that a network's trunk doesn't have."""
    from neuroalign.models import GuidedNetwork, record_layers

    with record_layers(GuidedNetwork(given.backbone, 2, image_shape=shape).trunk.backbone, layers):
        pass


def _shape(images: Images) -> tuple[int, int, int]:
    """(channel, height, width) of images; files tell it when they are read, and 224 pixels are enough for any network."""
    channels, *size = KNOWN[images.source][3] if images.source in KNOWN else (3, 224, 224)
    height, width = (images.image_size, images.image_size) if images.image_size else size
    return channels, height, width
