"""Predictors of a region's responses: fitted to the right responses, to shuffled ones, or not at all."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from neuroalign.study.stages.responses import Stimuli, read_responses, read_stimuli
from neuroalign.study.stages.result_files import read_json, write_json
from neuroalign.study.work import Work

if TYPE_CHECKING:
    import numpy as np
    from torch import nn
    from torch.utils.data import Dataset

    from neuroalign.data import Responses
    from neuroalign.types import Batch

__all__: list[str] = []

VERSION = 1

_UNTRAINED = 1000  # added to the seed, so that no classifier is drawn from the same one


class _Parts(NamedTuple):
    """Images and standardised responses of the two parts, and which voxels they are.

    Args:
        train: Responses to the training stimuli.
        val: Responses to the validation stimuli.
        stimuli: The images.
        voxels: (voxel,) their places among the voxels of the recording.
    """

    train: Responses
    val: Responses
    stimuli: Stimuli
    voxels: np.ndarray


def fit(work: Work) -> None:
    """Fit a predictor, and write it with its correlations on validation stimuli.

    Files: ``predictor.safetensors``, ``prediction.csv`` (voxel, correlation, noise_ceiling), ``predictor.json``, and
    ``log.csv`` of a trained network.

    Raises:
        ValueError: If a predictor from a file has another number of voxels, or should be fitted to shuffled responses.
    """
    import numpy as np

    from neuroalign.files import write_csv
    from neuroalign.models.network_files import save_module

    began = time.monotonic()
    parts = _parts(work)
    if work.settings["fit"] == "shuffled":
        parts = parts._replace(train=parts.train.shuffled(work.settings["seed"]))
    makers = {"network": _network, "ridge": _ridge, "file": _from_file}
    module = makers[work.settings["kind"]](work, parts)
    save_module(module, work.out / "predictor.safetensors")
    work.report("predicting validation stimuli", 0.95)
    table = _prediction(work, module, parts)
    write_csv(table, work.out / "prediction.csv")
    about = read_json(work.inputs["responses"] / "responses.json", "responses")
    median = float(np.nanmedian(table["correlation"])) if table["correlation"].notna().any() else None
    write_json(
        work.out / "predictor.json",
        {
            "num_voxels": parts.train.num_voxels,
            "num_train": len(parts.train),
            "num_val": len(parts.val),
            "median_correlation": median,
            "noise_ceiling_from": about["noise_ceiling_from"],
            "seconds": round(time.monotonic() - began, 3),
        },
    )


def read_predictor(folder: Path) -> nn.Module:
    """Read the predictor of :func:`fit`, in eval mode; its ``num_voxels`` is the number of voxels.

    Raises:
        FileNotFoundError: If there is no such result.
        DamagedFileError: If it is damaged.
    """
    from neuroalign.models.network_files import load_module

    return load_module(folder / "predictor.safetensors", "predictor").eval()


def _parts(work: Work) -> _Parts:
    """Both parts on one scale: training stimuli have mean 0 and standard deviation 1; voxels constant there are left out."""
    import numpy as np

    from neuroalign.data.datamodules.standardized import standardize_parts
    from neuroalign.data.standardization import constant_columns

    responses, stimuli = read_responses(work.inputs["responses"]), read_stimuli(work.inputs["stimuli"])
    train, val = responses.split_shared()
    voxels = np.flatnonzero(~constant_columns(train.values))
    if not len(voxels):
        raise ValueError(f"{work.name}: no voxel varies over the training stimuli, so there is nothing to fit")
    train, val = (part.select(voxels=voxels) for part in (train, val))
    train, val = standardize_parts(train, val, reference=train)
    return _Parts(train, val, stimuli, voxels)


def _network(work: Work, parts: _Parts) -> nn.Module:
    """A network trained end to end."""
    from neuroalign.data.datamodules import BatchDataModule
    from neuroalign.files import write_csv
    from neuroalign.models import NeuralPredictor, untrained
    from neuroalign.study.fitting import fit_task, loading, seeded
    from neuroalign.tasks import NeuralPredictionTask

    settings, seed = work.settings, work.settings["seed"]
    with seeded(seed):
        predictor = NeuralPredictor(
            settings["backbone"],
            parts.train.num_voxels,
            layer=settings["layer"],
            size=settings["size"] or 1,
            image_shape=tuple(parts.stimuli.images.shape[1:]),
            weights=settings["weights"],
        )
        if settings["fit"] == "untrained":
            return untrained(predictor, _UNTRAINED + seed).eval()
        data = BatchDataModule(**loading(settings["training"], work, seed))
        data.datasets = {"train": _dataset(parts.stimuli, parts.train), "val": _dataset(parts.stimuli, parts.val)}
        task = NeuralPredictionTask(predictor)
        log = fit_task(task, data, settings["training"], work, share=(0.0, 0.95))
    write_csv(log, work.out / "log.csv")
    return predictor.eval()


def _dataset(stimuli: Stimuli, responses: Responses) -> Dataset[Batch]:
    """Images and responses; the images of both parts are one tensor, which is not copied."""
    import torch

    from neuroalign.data.images import ArrayDataset

    return ArrayDataset(
        stimuli.images,
        image_rows=stimuli.places(responses.stimulus),
        response=torch.from_numpy(responses.values),
        stimulus=torch.from_numpy(responses.stimulus),
    )


def _ridge(work: Work, parts: _Parts) -> nn.Module:
    """Ridge regression on fixed features."""
    import torch

    from neuroalign.data.images import to_pixels
    from neuroalign.models import RidgePredictor, VisualFeatures, untrained

    images, responses = parts.stimuli.of(parts.train.stimulus), torch.from_numpy(parts.train.values)
    work.report("fitting a ridge regression", 0.1)
    features = VisualFeatures(images.shape[-1], grid=work.settings["grid"])
    predictor = RidgePredictor(features, parts.train.num_voxels).fit(to_pixels(images), responses)
    untrain = work.settings["fit"] == "untrained"
    return untrained(predictor, _UNTRAINED + work.settings["seed"]) if untrain else predictor.eval()


def _from_file(work: Work, parts: _Parts) -> nn.Module:
    """A predictor that was saved before."""
    from neuroalign.models import untrained
    from neuroalign.models.network_files import load_module

    if work.settings["fit"] == "shuffled":
        raise ValueError(
            "predictors.kind: a predictor from a file can't be fitted to shuffled responses; take kind 'network' or 'ridge', "
            "or leave the condition 'shuffled fit' out"
        )
    path = work.sources["file"]
    predictor = load_module(path, "predictor").eval()
    num_voxels = getattr(predictor, "num_voxels", None)
    if num_voxels != parts.train.num_voxels:
        raise ValueError(
            f"{path} predicts {num_voxels} voxels, but the responses have {parts.train.num_voxels} that vary over the "
            "training stimuli"
        )
    return (
        untrained(predictor, _UNTRAINED + work.settings["seed"]) if work.settings["fit"] == "untrained" else predictor
    )


def _prediction(work: Work, predictor: nn.Module, parts: _Parts) -> Any:
    """One row per voxel: correlation of its predicted and its right responses to validation stimuli."""
    import numpy as np
    import pandas as pd
    import torch

    from neuroalign.functional import pearson
    from neuroalign.study.fitting import inference_device, predicted

    images = parts.stimuli.of(parts.val.stimulus)
    responses = predicted(predictor, images.split(256), inference_device(work))
    correlation = pearson(responses, torch.from_numpy(parts.val.values))
    ceiling = parts.val.noise_ceiling
    ceiling = np.full(len(parts.voxels), np.nan, dtype=np.float32) if ceiling is None else ceiling
    return pd.DataFrame({"voxel": parts.voxels, "correlation": correlation.numpy(), "noise_ceiling": ceiling})
