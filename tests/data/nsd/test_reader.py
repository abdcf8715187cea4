"""The NSD reader: every index right in both containers, each known misreading shown to fail, damage named."""

import gzip
import pickle
import shutil

import h5py
import nibabel
import numpy as np
import pytest
import torch
from scipy.io import loadmat

from neuroalign import read_nsd, write_simulated_nsd
from neuroalign.data import NSDError, NSDImages
from neuroalign.data.nsd import NSDPaths
from tests import references as ref


@pytest.fixture(scope="module")
def nifti_subject(tmp_path_factory, digits):
    images, labels = digits
    root = tmp_path_factory.mktemp("nsd") / "nifti"
    return write_simulated_nsd(root, images[:750], labels[:750], num_voxels=20, container="nii.gz")


@pytest.fixture
def copied(subject, tmp_path):
    """A tree to damage."""
    shutil.copytree(subject.root, tmp_path / "tree")
    return NSDPaths(tmp_path / "tree", 1)


def signal_correlation(responses, subject, region, shift=0):
    """Mean correlation over voxels between what was read and the true signal of the images that it names."""
    truth = subject.signals[region][subject.index_of(responses.stimulus)]
    truth = np.roll(truth, shift, 0)
    values = responses.zscore_sessions().values
    return np.mean([np.corrcoef(values[:, v], truth[:, v])[0, 1] for v in range(values.shape[1])])


@pytest.mark.parametrize("region", ["V1", "V4", "TO"])
def test_every_trial_has_its_image_and_every_voxel_its_place(subject, region):
    r = read_nsd(subject.root, 1, roi=region)
    ncsnr = subject.ncsnr[region]
    assert signal_correlation(r, subject, region) == pytest.approx(np.mean(ncsnr / np.sqrt(ncsnr**2 + 1)), abs=0.03)
    np.testing.assert_allclose(r.noise_ceiling, ncsnr**2 / (ncsnr**2 + 1), rtol=1e-5)


def test_both_containers_hold_the_same(subject, nifti_subject):
    a = read_nsd(subject.root, 1, roi=["V1", "V4"])
    b = read_nsd(nifti_subject.root, 1, roi=["V1", "V4"])
    for name in ("values", "stimulus", "session", "roi", "shared", "voxel_index", "noise_ceiling"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name))


def test_indices_against_the_reference(subject):
    r = read_nsd(subject.root, 1, roi="V1")
    design = loadmat(NSDPaths(subject.root, 1).expdesign)
    for session in (1, 2, 3):
        stimulus, shared = ref.nsd_trials(
            design["masterordering"].ravel().astype(int), design["subjectim"].astype(int), 1, session
        )
        np.testing.assert_array_equal(r.stimulus[r.session == session], stimulus)
        np.testing.assert_array_equal(r.shared[r.session == session], shared)


def test_the_stimulus_is_the_row_of_the_brick(subject, digits):
    r = read_nsd(subject.root, 1, roi="V1", sessions=[2])
    shown = NSDImages(subject.root)[r.stimulus[:50]]
    original = digits[0][:750][subject.index_of(r.stimulus[:50])]
    np.testing.assert_array_equal(shown, np.rint(original.numpy() * 255).astype(np.uint8).transpose(0, 2, 3, 1))


def test_units_are_percent_signal_change(subject):
    paths = NSDPaths(subject.root, 1)
    r = read_nsd(subject.root, 1, roi="V1", sessions=[1])
    with h5py.File(paths.session(1, "hdf5")) as f:
        x, y, z = r.voxel_index[4]
        stored = f["betas"][:, z, y, x]
    np.testing.assert_array_equal(r.values[:, 4], stored.astype(np.float32) / 300)
    assert np.abs(r.values).max() < 32767 / 300


def test_some_sessions_in_any_order(subject):
    everything = read_nsd(subject.root, 1, roi="V4")
    some = read_nsd(subject.root, 1, roi="V4", sessions=[3, 1])
    rows = np.r_[np.flatnonzero(everything.session == 3), np.flatnonzero(everything.session == 1)]
    np.testing.assert_array_equal(some.values, everything.values[rows])
    np.testing.assert_array_equal(some.stimulus, everything.stimulus[rows])


def test_labels_and_mask(subject):
    paths = NSDPaths(subject.root, 1)
    labels, general = (nibabel.load(paths.roi(n)).get_fdata() for n in ("Kastner2015", "nsdgeneral"))
    r = read_nsd(subject.root, 1, roi=["TO", "V1"])
    assert r.roi.tolist() == ["TO"] * 20 + ["V1"] * 20
    for index, roi in zip(r.voxel_index, r.roi, strict=True):
        assert labels[tuple(index)] in {"TO": (12, 13), "V1": (1, 2)}[roi]
        assert general[tuple(index)] == 1
    assert np.isin(labels, (1, 2)).sum() == 25, "the tree should hold voxels of V1 outside nsdgeneral"


class TestMisreadingsThatGivePlausibleNumbers:
    """Each is done on purpose, and seen to destroy the signal or the order that the right reading keeps."""

    def test_10k_ids_taken_as_rows_of_the_brick(self, subject):
        ordering = loadmat(NSDPaths(subject.root, 1).expdesign)["masterordering"].ravel().astype(int)
        r = read_nsd(subject.root, 1, roi="V1")
        assert not (ordering[: len(r)] - 1 == r.stimulus).any()

    def test_73k_ids_not_made_zero_based(self, subject):
        r = read_nsd(subject.root, 1, roi="V1")
        shown = NSDImages(subject.root)[np.clip(r.stimulus[:200] + 1, 0, 72_999)]
        assert (shown == 0).all((1, 2, 3)).mean() > 0.9, "the next row of the brick holds another image or none"

    def test_trials_counted_within_the_session(self, subject):
        r = read_nsd(subject.root, 1, roi="V1", sessions=[2])
        wrong = read_nsd(subject.root, 1, roi="V1", sessions=[1]).stimulus
        assert (wrong == r.stimulus).mean() < 0.02

    def test_a_shift_by_one_trial(self, subject):
        r = read_nsd(subject.root, 1, roi="V1")
        assert abs(signal_correlation(r, subject, "V1", shift=1)) < 0.05

    def test_hdf5_axes_not_reversed(self, subject):
        r = read_nsd(subject.root, 1, roi="V1", sessions=[1])
        with h5py.File(NSDPaths(subject.root, 1).session(1, "hdf5")) as f:
            inside = (r.voxel_index < np.array(f["betas"].shape[1:])).all(1)
            wrong = np.stack([f["betas"][:, x, y, z] for x, y, z in r.voxel_index[inside]], 1)
        same = [np.array_equal(a, b * 300) for a, b in zip(wrong.T, r.values[:, inside].T, strict=True)]
        assert np.mean(same) < 0.2

    def test_hemispheres_added(self, subject):
        labels = np.rint(nibabel.load(NSDPaths(subject.root, 1).roi("Kastner2015")).get_fdata())
        left = np.where(np.arange(labels.shape[0])[:, None, None] < labels.shape[0] // 2, labels, -1)
        right = np.where(np.arange(labels.shape[0])[:, None, None] >= labels.shape[0] // 2, labels, -1)
        assert not ((left + right)[labels > 0] == labels[labels > 0]).any()

    def test_unsigned_ids_wrap(self):
        assert (np.zeros(1, np.uint8) - np.ones(1, np.uint8))[0] == 255, (
            "why ids are cast before anything is subtracted"
        )

    def test_int16_times_int16_wraps(self):
        with np.errstate(over="ignore"):
            assert np.int16(200) * np.int16(300) != 60_000, "why betas become float before they are scaled"

    def test_no_z_score_within_sessions(self, subject):
        """Drifts of baseline and gain enter the average: the ceiling that is estimated falls."""
        r = read_nsd(subject.root, 1, roi="V1")
        right = r.zscore_sessions().estimate_noise_ceiling().noise_ceiling
        wrong = r.estimate_noise_ceiling().noise_ceiling
        truth = subject.ncsnr["V1"] ** 2 / (subject.ncsnr["V1"] ** 2 + 1)
        np.testing.assert_allclose(right, truth, atol=0.1)
        assert np.mean(truth - wrong) > 0.05


def test_an_invalid_voxel_is_nan_in_its_session_only(copied):
    r = read_nsd(copied.root, 1, roi="V1")
    x, y, z = r.voxel_index[3]
    with h5py.File(copied.session(2, "hdf5"), "r+") as f:
        f["betas"][:, z, y, x] = 0
        f["betas"][5, z, y, r.voxel_index[4][0]] = 0  # a single zero is a value
    again = read_nsd(copied.root, 1, roi="V1")
    assert np.isnan(again.values[again.session == 2, 3]).all()
    assert np.isfinite(again.values[again.session != 2]).all()
    assert np.isfinite(np.delete(again.values, 3, 1)).all()
    averaged = again.zscore_sessions().average_repeats()
    assert np.isfinite(averaged.values).mean() > 0.98


def test_a_missing_session_in_the_middle_is_named(copied):
    copied.session(2, "hdf5").unlink()
    with pytest.raises(NSDError, match="session 2 is missing"):
        read_nsd(copied.root, 1, roi="V1")
    with pytest.raises(NSDError, match="session 2 is missing"):
        read_nsd(copied.root, 1, roi="V1", sessions=range(1, 4))
    r = read_nsd(copied.root, 1, roi="V1", sessions=[1, 3])
    full = read_nsd(copied.root, 1, roi="V1", sessions=[3])
    np.testing.assert_array_equal(r.stimulus[750:], full.stimulus)


def test_a_truncated_hdf5_is_named(copied):
    path = copied.session(2, "hdf5")
    path.write_bytes(path.read_bytes()[:10_000])
    with pytest.raises(NSDError, match=r"betas_session02.hdf5 can't be read: truncated"):
        read_nsd(copied.root, 1, roi="V1")


def test_a_truncated_gz_is_named(nifti_subject, tmp_path):
    shutil.copytree(nifti_subject.root, tmp_path / "tree")
    path = NSDPaths(tmp_path / "tree", 1).session(1, "nii.gz")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(NSDError, match=r"betas_session01.nii.gz can't be read: truncated"):
        read_nsd(tmp_path / "tree", 1, roi="V1")
    path.write_bytes(b"not gzip at all")
    with pytest.raises(NSDError, match="can't be read"):
        read_nsd(tmp_path / "tree", 1, roi="V1")
    path.write_bytes(gzip.compress(gzip.decompress(whole)[:200_000]))
    with pytest.raises(NSDError, match="can't be read"):
        read_nsd(tmp_path / "tree", 1, roi="V1")


def test_volumes_of_other_shape_type_or_scale(copied, tmp_path):
    path = copied.session(1, "hdf5")
    with h5py.File(path, "r+") as f:
        betas = f["betas"][:]
        del f["betas"]
        f["betas"] = betas.transpose(3, 2, 1, 0)
    with pytest.raises(NSDError, match="with this subject's region files it must be"):
        read_nsd(copied.root, 1, roi="V1")
    with h5py.File(path, "r+") as f:
        del f["betas"]
        f["betas"] = betas.astype(np.float32)
    with pytest.raises(NSDError, match="holds float32"):
        read_nsd(copied.root, 1, roi="V1")
    with h5py.File(path, "r+") as f:
        del f["betas"]
    with pytest.raises(NSDError, match="no dataset 'betas'"):
        read_nsd(copied.root, 1, roi="V1")


def test_a_scaled_nifti_is_refused(nifti_subject, tmp_path):
    shutil.copytree(nifti_subject.root, tmp_path / "tree")
    path = NSDPaths(tmp_path / "tree", 1).session(1, "nii.gz")
    image = nibabel.load(path)
    scaled = nibabel.Nifti1Image(np.asanyarray(image.dataobj), image.affine)
    scaled.header.set_slope_inter(1 / 300, 0)
    nibabel.save(scaled, path)
    with pytest.raises(NSDError, match="its units are unknown"):
        read_nsd(tmp_path / "tree", 1, roi="V1")


def test_wrong_roots_and_names(subject, tmp_path):
    with pytest.raises(FileNotFoundError, match="no folder"):
        read_nsd(tmp_path / "absent", 1, roi="V1")
    with pytest.raises(FileNotFoundError, match="is not an NSD folder"):
        read_nsd(tmp_path, 1, roi="V1")
    with pytest.raises(FileNotFoundError, match=r"subj02.*versions there: none; subjects there: \['subj01'\]"):
        read_nsd(subject.root, 2, roi="V1")
    with pytest.raises(FileNotFoundError, match=r"did you mean 'betas_fithrf_GLMdenoise_RR'"):
        read_nsd(subject.root, 1, roi="V1", betas="betas_fithrf_GLMdenoise")
    with pytest.raises(TypeError, match=r"such as range\(1, 11\); got '1-2'"):
        read_nsd(subject.root, 1, roi="V1", sessions="1-2")
    with pytest.raises(FileNotFoundError, match=r"versions there: \['betas_fithrf_GLMdenoise_RR'\]"):
        read_nsd(subject.root, 1, roi="V1", betas="betas_assumehrf")
    with pytest.raises(ValueError, match="unknown roi 'v1'; did you mean 'V1'"):
        read_nsd(subject.root, 1, roi="v1")
    with pytest.raises(NSDError, match="no voxel of PHC inside nsdgeneral; it has V1, V4, TO"):
        read_nsd(subject.root, 1, roi="PHC")
    with pytest.raises(ValueError, match="from 1 to 8; got 9"):
        read_nsd(subject.root, 9, roi="V1")
    with pytest.raises(ValueError, match="unknown space 'fsaverag'; did you mean 'fsaverage'"):
        read_nsd(subject.root, 1, roi="V1", space="fsaverag")
    with pytest.raises(TypeError, match=r"range\(1, 4\) for the first 3"):
        read_nsd(subject.root, 1, roi="V1", sessions=3)
    with pytest.raises(ValueError, match="1-based and different"):
        read_nsd(subject.root, 1, roi="V1", sessions=[0, 1])
    with pytest.raises(NSDError, match=r"session 4 is missing .*\(and \[5\]\)"):
        read_nsd(subject.root, 1, roi="V1", sessions=[4, 5])


def test_missing_and_damaged_side_files(copied):
    (copied.beta_folder / "ncsnr.nii.gz").unlink()
    assert read_nsd(copied.root, 1, roi="V1").noise_ceiling is None
    design = copied.expdesign.read_bytes()
    copied.expdesign.write_bytes(design[:500])
    with pytest.raises(NSDError, match=r"nsd_expdesign.mat can't be read: truncated"):
        read_nsd(copied.root, 1, roi="V1")
    copied.expdesign.unlink()
    with pytest.raises(FileNotFoundError, match=r"no file .*nsd_expdesign.mat"):
        read_nsd(copied.root, 1, roi="V1")
    copied.roi("nsdgeneral").unlink()
    with pytest.raises(FileNotFoundError, match=r"no file .*nsdgeneral"):
        read_nsd(copied.root, 1, roi="V1")


def test_the_brick_travels_between_processes(subject):
    images = NSDImages(subject.root)
    rows = subject.stimulus[[5, 2, 5]]
    first = images[rows]
    again = pickle.loads(pickle.dumps(images))
    assert again._open is None
    np.testing.assert_array_equal(again[rows], first)
    np.testing.assert_array_equal(first[0], first[2])
    with pytest.raises(IndexError, match="images are 0 to 72999"):
        images[[73_000]]
    loader = torch.utils.data.DataLoader([int(r) for r in rows], num_workers=2, collate_fn=lambda i: images[i])
    np.testing.assert_array_equal(np.concatenate(list(loader)), first)
