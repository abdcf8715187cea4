"""Every space, version and container of an independently written tree is read right."""

import h5py
import nibabel
import numpy as np
import pytest

from neuroalign.data import NSDError, NSDImages, read_nsd
from neuroalign.data.nsd import NSDPaths
from neuroalign.data.nsd.reader import read_map
from neuroalign.data.nsd.reliability import compare_ncsnr, ncsnr_of
from neuroalign.data.nsd.tree import Tree
from tests.data.nsd.conftest import B2, B3, SPACES, signal_correlation, weights_of
from tests.data.nsd.tree_writer import image_features

ROIS = ["V1", "prf-visualrois:V1v|V1d", "streams:ventral & nsdgeneral", "nsdgeneral"]


@pytest.mark.parametrize("betas", [B2, B3])
@pytest.mark.parametrize("space", SPACES)
@pytest.mark.parametrize("subject", [1, 2])
def test_the_planted_encoding_is_recovered(planted, subject, space, betas):
    for roi in ROIS:
        r = read_nsd(planted.root, subject, roi=roi, space=space, betas=betas)
        weights = weights_of(planted, subject, space, r)
        assert signal_correlation(planted, r, weights) > (0.5 if betas == B3 else 0.38)
        # The direction of the weights, by regression on the features of the images that were shown.
        z = r.zscore_sessions().values
        kept = np.isfinite(z).all(0) & np.isfinite(weights).all(1)
        found = np.linalg.lstsq(planted.features[r.stimulus], z[:, kept], rcond=None)[0].T
        cosine = (found * weights[kept]).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(weights[kept], axis=1)
        assert np.median(cosine) > 0.98


@pytest.mark.parametrize("space", SPACES)
def test_ncsnr_from_the_betas_is_the_stored_one(planted, space):
    for betas in (B2, B3):
        r = read_nsd(planted.root, 2, roi="nsdgeneral", space=space, betas=betas)
        computed, stored = ncsnr_of(r.values, r.stimulus, r.session), r.maps["ncsnr"]
        np.testing.assert_allclose(computed, stored, atol=1e-4)  # NaN in the same voxels, too
        assert np.isfinite(stored).mean() > 0.95
        np.testing.assert_allclose(r.noise_ceiling, stored**2 / (stored**2 + 1), rtol=1e-5)
    other = read_nsd(planted.root, 2, roi="nsdgeneral", space=space, betas=B2)
    difference, count = compare_ncsnr(stored, other.values, other.stimulus, other.session)
    assert difference > 0.1 and count > 100, "the other version's ncsnr would be noticed"


def test_ncsnr_without_three_repeats():
    with pytest.raises(ValueError, match="no image was shown three times"):
        ncsnr_of(np.random.randn(4, 2), np.array([0, 0, 1, 1]), np.ones(4))
    assert compare_ncsnr(np.ones(2), np.random.randn(4, 2), np.array([0, 0, 1, 1]), np.ones(4)) is None
    assert compare_ncsnr(np.full(2, np.nan), np.random.randn(3, 2), np.zeros(3), np.ones(3)) is None


def test_hdf5_comes_first_and_nifti_holds_the_same(planted, tmp_path, monkeypatch):
    paths = NSDPaths(planted.root, 1)
    tree = Tree(planted.root)
    assert tree.session_files(paths, 1)[0].suffix == ".hdf5"
    from_hdf5 = read_nsd(tree, 1, roi="nsdgeneral")
    monkeypatch.setattr(
        NSDPaths,
        "session_files",
        lambda self, number: [[self.session(number, "nii.gz")]] if not self.is_surface else [],
    )
    assert tree.session_files(paths, 1)[0].suffix == ".gz"
    from_nifti = read_nsd(tree, 1, roi="nsdgeneral")
    np.testing.assert_array_equal(from_hdf5.values, from_nifti.values)


def test_short_names_of_versions(planted):
    a, b = (read_nsd(planted.root, 1, roi="V4", betas=name) for name in ("b2", B2))
    np.testing.assert_array_equal(a.values, b.values)
    assert a.info["betas"] == B2


@pytest.mark.parametrize("space", SPACES)
def test_invalid_voxels_are_nan_in_their_sessions_only(planted, space):
    r = read_nsd(planted.root, 1, roi="nsdgeneral", space=space)
    valid = planted.valid[1, space]
    index = tuple(r.voxel_index.T) if r.voxel_index is not None else (
        r.vertex_index[:, 1] + r.vertex_index[:, 0] * planted.num_vertices[0],)  # fmt: skip
    seen = 0
    for session in (1, 2, 3):
        expected = valid[session - 1][index]
        rows = r.values[r.session == session]
        np.testing.assert_array_equal(np.isnan(rows).all(0), ~expected)
        assert np.isfinite(rows[:, expected]).all()
        seen += (~expected).sum()
    assert seen >= 4, "the tree should hold invalid voxels in this region"


def test_units(planted):
    """Volumes and nativesurface are divided by 300, fsaverage is not; meanbeta is, R2 and ncsnr are not."""
    for space, stored in (("func1pt8mm", None), ("nativesurface", None), ("fsaverage", None)):
        r = read_nsd(planted.root, 1, roi="V4", space=space, sessions=[1])
        paths = NSDPaths(planted.root, 1, space=space)
        if space == "func1pt8mm":
            x, y, z = r.voxel_index[0]
            with h5py.File(paths.session(1, "hdf5")) as f:
                stored = f["betas"][:, z, y, x] / np.float32(300)
        elif space == "nativesurface":
            with h5py.File(paths.session(1, "hdf5", "lh")) as f:
                stored = f["betas"][:, r.vertex_index[0, 1]] / np.float32(300)
        else:
            stored = nibabel.load(paths.session(1, "mgh", "lh")).get_fdata()[r.vertex_index[0, 1], 0, 0]
        np.testing.assert_allclose(r.values[:, 0], stored, rtol=1e-6)
        assert 0.5 < np.nanstd(r.values) < 20, "percent signal change"
    r = read_nsd(planted.root, 1, roi="V4")
    # The file averages the sessions' means, zeros of invalid sessions included.
    means = np.stack([np.nan_to_num(r.values[r.session == s]).mean(0) for s in (1, 2, 3)]).mean(0)
    np.testing.assert_allclose(r.maps["meanbeta"], means, atol=1e-3)
    stored = nibabel.load(NSDPaths(planted.root, 1).beta_folder / "R2.nii.gz").get_fdata()
    np.testing.assert_allclose(r.maps["R2"], stored[tuple(r.voxel_index.T)], rtol=1e-6)
    assert set(np.unique(r.maps["valid"])) <= {0.0, 1.0}


def test_saturated_values_are_kept(planted):
    r = read_nsd(planted.root, 1, roi="nsdgeneral")
    saturated = planted.saturated[1, "func1pt8mm"][tuple(r.voxel_index.T)]
    assert saturated.any()
    assert np.abs(r.values[:, saturated]).max() == pytest.approx(32767 / 300)


def test_maps_on_request(planted):
    r = read_nsd(planted.root, 1, roi="V4", maps=["meanbeta_session02"])
    np.testing.assert_allclose(r.maps["meanbeta_session02"], np.nan_to_num(r.values[r.session == 2]).mean(0), atol=1e-3)
    assert r.noise_ceiling is None
    with pytest.raises(FileNotFoundError, match=r"unknown map 'R3'; did you mean 'R2'"):
        read_nsd(planted.root, 1, roi="V4", maps=["R3"])
    both = read_map(Tree(planted.root), NSDPaths(planted.root, 1, space="fsaverage"), "ncsnr")
    assert both.shape == (sum(planted.num_vertices),)


def test_the_images_of_the_trials(planted):
    for subject in (1, 2):
        r = read_nsd(planted.root, subject, roi="V4", sessions=[2])
        np.testing.assert_array_equal(r.stimulus, planted.rows(subject)[750:1500])
        shown = NSDImages(planted.root)[r.stimulus[:60]]
        np.testing.assert_allclose(image_features(shown), planted.features[r.stimulus[:60]])


def test_a_map_of_another_shape_is_refused(small):
    paths = NSDPaths(small.root, 2)
    nibabel.save(nibabel.Nifti1Image(np.ones((3, 4, 5), np.float32), np.eye(4)), paths.beta_folder / "ncsnr.nii.gz")
    with pytest.raises(NSDError, match=r"ncsnr.nii.gz has shape \(3, 4, 5\), the region files \(11, 10, 9\)"):
        read_nsd(small.root, 2, roi="V1")


def test_provenance(planted):
    info = read_nsd(planted.root, 1, roi="V4", sessions=[1, 3]).info
    assert info["dataset"] == "Natural Scenes Dataset" and not info["simulated"]
    assert [s["file"].rpartition("_")[2] for s in info["sources"]] == ["session01.hdf5", "session03.hdf5"]
    assert all(s["bytes"] == (planted.root / s["file"]).stat().st_size for s in info["sources"])
    assert info["shape"] == [11, 10, 9] and np.array(info["affine"]).shape == (4, 4)
