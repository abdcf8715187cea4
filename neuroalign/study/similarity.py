"""How similarly the networks and regions of a study tell images apart: representational similarity."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from neuroalign.study.collecting import Finished
from neuroalign.study.graph import Stage
from neuroalign.study.runs import label_of
from neuroalign.study.stages.similarity import FILE, LAST, read_rdms

if TYPE_CHECKING:
    from torch import Tensor

__all__: list[str] = []

SIMILARITY = [
    "first", "second", "first_network", "second_network", "subject_first", "subject_second", "seed_first", "seed_second",
    "layer", "similarity", "n_images",
]  # fmt: skip

_BLOCK = 2**16  # pairs of images that are multiplied at once, so that float64 copies stay small


@dataclass(frozen=True)
class _Entry:
    """One network or predictor that was shown a set of images.

    Args:
        label: Name of condition and region, or region of a predictor.
        network: "classifier" or "predictor".
        subject: Name of the subject, if there is one.
        seed: Seed of the replication, or of the images; None if seeds share predictor and images.
        images: Key of the images.
        stimulus: (stimulus,) identities of the images.
        rdms: Dissimilarities (pair,) by layer.
    """

    label: str
    network: str
    subject: str | None
    seed: int | None
    images: str
    stimulus: Tensor
    rdms: dict[str, Tensor]


def similarity_table(finished: Finished) -> pd.DataFrame:
    """Correlation of the dissimilarities of every two networks or predictors that were shown the same test images.

    Predicted responses stand beside each layer of the networks. Rows of stages that aren't finished are left out.

    Args:
        finished: The study's results.

    Returns:
        Columns ``first``, ``second``, ``first_network``, ``second_network``, ``subject_first``, ``subject_second``,
        ``seed_first``, ``seed_second``, ``layer``, ``similarity`` (-1 to 1), ``n_images``; conditions in the study's order,
        then regions.
    """
    settings = finished.plan.study.evaluations.rsa
    if settings is None:
        return pd.DataFrame(columns=SIMILARITY)
    entries = list(_entries(finished))
    parts = []
    for layer in (LAST, *settings.layers):
        for images in dict.fromkeys(entry.images for entry in entries):
            shown = [entry for entry in entries if entry.images == images and _layer(entry, layer) in entry.rdms]
            if len(shown) > 1:
                parts.append(_pairs(shown, layer, ranked=settings.comparison == "spearman"))
    found = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(columns=SIMILARITY)
    for column in ("seed_first", "seed_second"):
        found[column] = found[column].astype("Int64")
    return found


def correlations(rdms: np.ndarray, *, ranked: bool = True) -> np.ndarray:
    """Correlation of every two rows of dissimilarities.

    Args:
        rdms: (network, pair), at least two pairs, no row constant.
        ranked: Whether to correlate ranks (Spearman), ties at their mean, or the dissimilarities themselves (Pearson).

    Returns:
        (network, network) float64, 1 on the diagonal.

    Example:
        >>> correlations(np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 9.0], [3.0, 2.0, 1.0]]))
        array([[ 1.,  1., -1.],
               [ 1.,  1., -1.],
               [-1., -1.,  1.]])
    """
    from scipy.stats import rankdata

    rows = np.empty(rdms.shape, dtype=np.float32)  # millions of ranks of a hundred networks would take gigabytes
    for row, values in zip(rows, rdms):
        values = rankdata(values) if ranked else values.astype(np.float64)
        values = values - values.mean()
        row[:] = values / np.sqrt(np.mean(values**2))
    product = np.zeros((len(rows), len(rows)))
    for start in range(0, rdms.shape[1], _BLOCK):
        block = rows[:, start : start + _BLOCK].astype(np.float64)
        product += block @ block.T
    size = np.sqrt(product.diagonal())
    return np.clip(product / size / size[:, None], -1, 1)


def _entries(finished: Finished) -> Iterator[_Entry]:
    """What is finished: networks by condition, region and seed, then predictors by region."""
    plan, study = finished.plan, finished.plan.study
    order = [label_of(name, region) for name in study.conditions for region in study.regions_of(name)]
    networks = sorted(plan.networks, key=lambda run: (order.index(label_of(run.condition, run.region)), run.seed))
    for network in networks:
        stage = network.evaluations.get("rsa")
        found = None if stage is None else _read(finished, stage)
        if stage is not None and found is not None:
            label = label_of(network.condition, network.region)
            yield _Entry(label, "classifier", network.subject, network.seed, stage.needs["images"].key, *found)
    for predictor in sorted(plan.predictors, key=lambda run: study.regions.index(run.region)):
        for seed, stage in predictor.rsa.items():
            found = _read(finished, stage)
            if found is not None:
                # Where images differ, the seed of the images tells the rows of one predictor apart.
                of = seed if study.images.resplit else predictor.seed
                images = stage.needs["images"].key
                yield _Entry(predictor.region, "predictor", predictor.subject, of, images, *found)


def _read(finished: Finished, stage: Stage) -> tuple[Tensor, dict[str, Tensor]] | None:
    if stage.key not in finished.done:
        return None
    folder = finished.folder.path(stage, only=(FILE,))
    return read_rdms(folder) if (folder / FILE).exists() else None


def _layer(entry: _Entry, layer: str) -> str:
    """Which of an entry's dissimilarities stand at a layer: predicted responses have no layers."""
    return LAST if entry.network == "predictor" else layer


def _pairs(entries: list[_Entry], layer: str, *, ranked: bool) -> pd.DataFrame:
    """A row for every two of them, all of which were shown the same images."""
    stimulus = entries[0].stimulus
    other = next((each for each in entries if not each.stimulus.equal(stimulus)), None)
    if other is not None:
        raise ValueError(
            f"evaluations.rsa: {other.label!r} was shown other images than {entries[0].label!r}, though its result says the "
            "same ones; delete the results of kind 'rsa' and run the study again"
        )
    matrix = correlations(np.stack([each.rdms[_layer(each, layer)].numpy() for each in entries]), ranked=ranked)
    sides = np.triu_indices(len(entries), k=1)
    found: dict[str, np.ndarray] = {}
    for which, side in zip(("first", "second"), sides):
        found[which] = np.array([each.label for each in entries], dtype=object)[side]
        found[f"{which}_network"] = np.array([each.network for each in entries], dtype=object)[side]
        found[f"subject_{which}"] = np.array([each.subject for each in entries], dtype=object)[side]
        found[f"seed_{which}"] = np.array([each.seed for each in entries], dtype=object)[side]
    return pd.DataFrame(found).assign(layer=layer, similarity=matrix[sides], n_images=len(stimulus))[SIMILARITY]
