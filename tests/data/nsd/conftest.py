"""Trees that an independent writer made, and small ones to damage."""

import dataclasses
import shutil

import numpy as np
import pytest

from tests.data.nsd.tree_writer import write_tree

B2, B3 = "betas_fithrf", "betas_fithrf_GLMdenoise_RR"
SPACES = ("func1pt8mm", "func1mm", "fsaverage", "nativesurface")


@pytest.fixture(scope="session")
def planted(tmp_path_factory):
    """Two subjects, every space, two versions, both containers; nothing may be changed in it."""
    root = tmp_path_factory.mktemp("planted") / "tree"
    return write_tree(
        root, subjects=(1, 2), spaces=SPACES, versions=(B2, B3), containers=("hdf5", "nii.gz"), real_anchors=True
    )


@pytest.fixture(scope="session")
def _small(tmp_path_factory):
    return write_tree(tmp_path_factory.mktemp("small") / "tree", subjects=(2,))


@pytest.fixture
def small(_small, tmp_path):
    """A tree of one subject, to damage: a copy for each test."""
    shutil.copytree(_small.root, tmp_path / "tree")
    return dataclasses.replace(_small, root=tmp_path / "tree")


def weights_of(planted, subject, space, responses):
    """(voxel, 3) planted weights of the voxels that were read, by their index alone."""
    weights = planted.weights[subject, space]
    if responses.voxel_index is not None:
        return weights[tuple(responses.voxel_index.T)]
    hemisphere, vertex = responses.vertex_index.T
    return weights[vertex + hemisphere * planted.num_vertices[0]]


def signal_correlation(planted, responses, weights, stimulus=None):
    """Median over voxels of the correlation of single trials, z-scored by session, with the planted signal."""
    stimulus = responses.stimulus if stimulus is None else stimulus
    z = responses.zscore_sessions().values
    signal = planted.features[stimulus] @ weights.T
    kept = np.isfinite(z).all(0) & np.isfinite(weights).all(1)
    rows = np.isfinite(signal[:, kept]).all(1)
    assert kept.any() and rows.sum() > 100
    z, signal = z[np.ix_(rows, kept)], signal[np.ix_(rows, kept)]
    z, signal = (x - x.mean(0) for x in (z, signal))
    r = (z * signal).sum(0) / np.sqrt((z**2).sum(0) * (signal**2).sum(0))
    return float(np.median(r))
