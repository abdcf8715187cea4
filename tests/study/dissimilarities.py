"""Made-up dissimilarities of a planned study's networks and regions, in the files that its stages write."""

import zlib

import numpy as np
import torch
from scipy.spatial.distance import pdist

from neuroalign.study.stages.result_files import write_tensors


def features_of(name, num_images, num_features=12, labels=10):
    """Features that a network or region of this name has: classes that all share, and a part of its own."""
    shared, own = np.random.default_rng(0), np.random.default_rng(zlib.crc32(name.encode()))
    classes = shared.normal(size=(labels, num_features))[np.arange(num_images) % labels]
    return classes + own.normal(size=(num_images, num_features))


def finish_rdms(plan, folder, num_images=20, features=None):
    """Put dissimilarities where the study's stages of kind "rsa" would.

    Args:
        plan: The plan.
        folder: A :class:`~tests.study.finished.FakeFolder`.
        num_images: Number of images.
        features: From the name of a network's or predictor's stage, and a layer, to features (stimulus, feature).
    """
    features = features or (lambda name, layer: features_of(f"{name} {layer}", num_images))
    for run in plan.networks:
        stage = run.evaluations["rsa"]
        put_rdms(folder, stage, {layer: features(run.stage.name, layer) for layer in layers_of(stage)})
    for run in plan.predictors:
        for stage in run.rsa.values():
            put_rdms(folder, stage, {"features": features(run.stage.name, "features")})


def layers_of(stage):
    return ["features", *stage.settings["layers"]]


def put_rdms(folder, stage, features, stimulus=None):
    """Write the dissimilarities of features (stimulus, feature) by layer."""
    folder.put(stage, {})
    rdms = {f"rdm {layer}": torch.from_numpy(pdist(each, "correlation")).float() for layer, each in features.items()}
    stimulus = torch.arange(len(next(iter(features.values())))) if stimulus is None else stimulus
    write_tensors(folder.root / stage.key / "rdm.safetensors", {"stimulus": stimulus, **rdms})
