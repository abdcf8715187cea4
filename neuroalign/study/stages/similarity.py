"""Stage of representational similarity: how different the features of each pair of test images are."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from neuroalign.study.work import Work

if TYPE_CHECKING:
    from torch import Tensor

__all__: list[str] = []

VERSION = 1
FILE = "rdm.safetensors"
LAST = "features"  # the last features of a network, or the responses of a predictor
MOST = 2000  # images; their two million pairs take 8 MB in every network's file, and a second to rank

_PREFIX = "rdm "


def rsa(work: Work) -> None:
    """Write ``rdm.safetensors``: dissimilarities of the features of test images, and which images they are.

    Tensors: ``stimulus`` (stimulus,) int64; ``rdm features`` (pair,) float32, in the order of
    ``scipy.spatial.distance.pdist``; ``rdm LAYER`` of each layer.

    Raises:
        ValueError: If there are too many images, or the features of one are not finite or have no dissimilarity.
    """
    import torch

    from neuroalign.study.stages.result_files import write_tensors

    features, stimulus = _features(work)
    if len(stimulus) < 3:
        raise ValueError(f"{work.name}: a comparison of dissimilarities needs 3 test images; there are {len(stimulus)}")
    rdms = {f"{_PREFIX}{layer}": _rdm(work, values, layer) for layer, values in features.items()}
    write_tensors(work.out / FILE, {"stimulus": stimulus.to(torch.int64), **rdms})


def read_rdms(folder: Path) -> tuple[Tensor, dict[str, Tensor]]:
    """Identities of the images (stimulus,), and dissimilarities (pair,) by layer.

    Raises:
        FileNotFoundError: If there is no such result.
        DamagedFileError: If it is damaged.
    """
    from neuroalign.study.stages.result_files import read_tensors

    found = read_tensors(folder / FILE, "dissimilarities")
    stimulus = found.pop("stimulus")
    return stimulus, {name.removeprefix(_PREFIX): values for name, values in found.items()}


def _features(work: Work) -> tuple[dict[str, Tensor], Tensor]:
    """Features (stimulus, feature) by layer, and the identities of the images."""
    import torch

    from neuroalign.models import record_layers, resolve_layer
    from neuroalign.state import evaluating
    from neuroalign.study.stages.measuring import batches_of_test, device_of, features_of, images_of

    wanted = work.settings["num_images"]
    available = len(images_of(work).dataset("test"))  # type: ignore[arg-type]
    if min(wanted or available, available) > MOST:
        raise ValueError(
            f"evaluations.rsa.num_images: all {available:,} test images make {available * (available - 1) // 2:,} pairs; "
            f"give a number of images up to {MOST:,}"
        )
    module, device = features_of(work), device_of(work)
    layers = {each: resolve_layer(module, each) for each in work.settings["layers"]}
    found: dict[str, list[Tensor]] = {name: [] for name in (LAST, *layers)}
    stimulus: list[Tensor] = []
    with evaluating(module), torch.no_grad(), record_layers(module, list(layers.values())) as recorded:
        for batch in batches_of_test(work, "recording features", num_images=wanted):
            found[LAST].append(module(batch["image"].to(device)).flatten(1).float().cpu())
            for name, place in layers.items():
                found[name].append(recorded[place].flatten(1).float().cpu())
            stimulus.append(batch["stimulus"])
    return {name: torch.cat(parts) for name, parts in found.items()}, torch.cat(stimulus)


def _rdm(work: Work, features: Tensor, layer: str) -> Tensor:
    """Dissimilarities (pair,) of features (stimulus, feature)."""
    from neuroalign.functional import rdm, square_rdm

    how, where = work.settings["dissimilarity"], "" if layer == LAST else f" of layer {layer!r}"
    broken = int((~features.isfinite()).any(1).sum())
    if broken:
        raise ValueError(
            f"{work.name}: the features{where} of {broken} of {len(features)} images have values that are not finite; did "
            "the training diverge?"
        )
    found = rdm(features, dissimilarity=how)
    if bool(found.isnan().any()):
        constant = int((square_rdm(found).isnan().sum(1) == len(features) - 1).sum())
        raise ValueError(
            f"{work.name}: the features{where} of {constant} of {len(features)} images are all equal, so they have no "
            f"{how} with others; did the training fail? 'sqeuclidean' (evaluations.rsa.dissimilarity) can compare them"
        )
    if not float(found.max()) > float(found.min()):
        raise ValueError(
            f"{work.name}: the features{where} make every pair of images equally different, so there is nothing to compare; "
            "did the training fail?"
        )
    return found.float()
