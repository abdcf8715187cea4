"""Each misreading of NSD that gives plausible numbers, done on purpose: it loses the planted signal that we keep."""

import h5py
import nibabel
import numpy as np
import pytest

from neuroalign.data import Responses, read_nsd
from neuroalign.data.nsd import NSDPaths
from neuroalign.data.nsd.reliability import ncsnr_of
from tests.data.nsd.conftest import signal_correlation, weights_of


@pytest.fixture(scope="module")
def right(planted):
    r = read_nsd(planted.root, 1, roi="nsdgeneral")
    weights = weights_of(planted, 1, "func1pt8mm", r)
    assert signal_correlation(planted, r, weights) > 0.5
    return r, weights


def test_trials_off_by_one(planted, right):
    r, weights = right
    assert abs(signal_correlation(planted, r, weights, np.roll(r.stimulus, 1))) < 0.05


def test_brick_rows_off_by_one(planted, right):
    r, _ = right
    assert np.isnan(planted.features[r.stimulus + 1]).all(1).mean() > 0.9, "the next row shows another image or none"


def test_10k_ids_taken_as_73k_ids(planted, right):
    r, _ = right
    rows = planted.masterordering[: len(r)] - 1
    assert np.isnan(planted.features[rows]).all(1).mean() > 0.9


def test_another_subjects_row(planted, right):
    r, weights = right
    other = planted.rows(2)
    same = other == r.stimulus
    assert same.mean() < 0.5, "only shared images agree"
    assert abs(signal_correlation(planted, r, weights, np.where(same, np.roll(other, 1), other))) < 0.05


def test_hdf5_not_transposed(planted, right):
    r, weights = right
    paths = NSDPaths(planted.root, 1)
    inside = (r.voxel_index < np.array([9, 10, 11])).all(1)
    with h5py.File(paths.session(1, "hdf5")) as f:
        wrong = np.stack([f["betas"][:, x, y, z] for x, y, z in r.voxel_index[inside]], 1).astype(np.float32)
    misread = Responses.from_arrays(wrong, stimulus=r.stimulus[:750])
    assert abs(signal_correlation(planted, misread, weights[inside])) < 0.1


def test_sessions_swapped(planted, right):
    r, weights = right
    swapped = np.concatenate([r.stimulus[750:1500], r.stimulus[:750], r.stimulus[1500:]])
    two = r.rows(r.session < 3)
    assert abs(signal_correlation(planted, two, weights, swapped[:1500])) < 0.05


def test_a_missing_session_passed_over(planted, right):
    """What a reader does that concatenates whatever files exist."""
    r, weights = right
    later = r.rows(r.session > 1)
    assert abs(signal_correlation(planted, later, weights, r.stimulus[:1500])) < 0.05


def test_hemispheres_added(planted):
    paths = NSDPaths(planted.root, 1)
    both = sum(nibabel.load(paths.anatomy / f"roi/{h}.Kastner2015.nii.gz").get_fdata() for h in ("lh", "rh"))
    combined = nibabel.load(paths.roi("Kastner2015")).get_fdata()
    labelled = combined > 0
    assert (both[labelled] == combined[labelled]).mean() == 0, "the other hemisphere's -1 shifts every label"
    # Taken for V1: what is V1v and V1d by the sum is V1d and V2v.
    read = read_nsd(planted.root, 1, roi={"wrong": np.isin(both, (1, 2))})
    assert set(combined[tuple(read.voxel_index.T)]) == {2, 3}


def test_not_divided_by_300(planted, right):
    r, _ = right
    with h5py.File(NSDPaths(planted.root, 1).session(1, "hdf5")) as f:
        x, y, z = r.voxel_index[0]
        raw = f["betas"][:, z, y, x]
    assert np.std(raw) > 250 * np.std(r.values[:750, 0])
    surface = read_nsd(planted.root, 1, roi="nsdgeneral", space="fsaverage")
    ratio = np.nanmedian(surface.values.std(0)) / np.nanmedian(r.values.std(0))
    assert 0.5 < ratio < 2, "read rightly, a volume and fsaverage have one unit"


def test_no_z_score_within_sessions(planted, right):
    r, weights = right
    raw = Responses.from_arrays(r.values, stimulus=r.stimulus, session=np.ones(len(r), int))
    assert signal_correlation(planted, raw, weights) < 0.75 * signal_correlation(planted, r, weights)
    with_sessions = ncsnr_of(r.values, r.stimulus, r.session)
    without = ncsnr_of(r.values, r.stimulus, raw.session)
    assert np.nanmedian(without) < 0.85 * np.nanmedian(with_sessions)


def test_invalid_voxels_kept(planted, right):
    r, _ = right
    zeros = np.nan_to_num(r.values)
    invalid = np.isnan(r.values).any(0)
    assert invalid.any()
    with np.errstate(invalid="ignore"):
        z = zeros[:750] / zeros[:750].std(0)
    assert np.isnan(z).any(), "a voxel of zeros has no z-score"
    kept_as_zeros = ncsnr_of(zeros, r.stimulus, np.ones(len(r)))
    rightly = ncsnr_of(r.values, r.stimulus, r.session)
    assert np.isnan(rightly[invalid]).all() and np.isfinite(kept_as_zeros[invalid]).any()


def test_unsigned_ids_wrap_around(planted):
    stored = planted.masterordering.astype(np.uint16)
    assert (stored[stored == 1] - np.uint16(2)).max() == 65535, "why ids are cast before anything is subtracted"


def test_another_atlas_with_the_same_numbers(planted):
    """prf-visualrois and Kastner2015 number V1v alike, but they are other voxels."""
    ours = read_nsd(planted.root, 1, roi="Kastner2015:V1v")
    theirs = read_nsd(planted.root, 1, roi="prf-visualrois:V1v")
    assert not {tuple(v) for v in ours.voxel_index} & {tuple(v) for v in theirs.voxel_index}
