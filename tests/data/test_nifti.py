"""A folder of NIfTI files and a mask, simulated and real."""

from dataclasses import replace

import nibabel
import numpy as np
import pytest
import torch

from neuroalign.data import read_nifti, to_volume
from neuroalign.functional import pearson

AFFINE = np.diag([3.0, 3, 3, 1])


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(0)
    volumes = rng.standard_normal((6, 4, 5, 3)).astype(np.float32)
    volumes[2, 1, 1, 1] = np.nan
    for i, volume in enumerate(volumes):
        nibabel.save(nibabel.Nifti1Image(volume, AFFINE), tmp_path / f"beta_{i:02d}.nii.gz")
    (tmp_path / "notes.txt").write_text("not an image")
    labels = rng.integers(0, 3, (4, 5, 3))
    labels[1, 1, 1] = 1
    return tmp_path, volumes, labels


def mask_of(labels):
    return nibabel.Nifti1Image(labels.astype(np.int16), AFFINE)


def test_rows_and_voxels(folder):
    path, volumes, labels = folder
    r = read_nifti(path, mask_of(labels), labels={1: "V1", 2: "V2"}, stimulus=[5, 5, 6, 6, 7, 7])
    for place, name in ((r.voxel_index[r.roi == n], n) for n in ("V1", "V2")):
        assert {tuple(p) for p in place} == {tuple(p) for p in np.argwhere(labels == {"V1": 1, "V2": 2}[name])}
    np.testing.assert_array_equal(r.values, volumes[(slice(None), *r.voxel_index.T)])
    assert np.isnan(r.values).sum() == 1, "NaN stays NaN, it doesn't become a response of 0"
    back = to_volume(r, r.values[0])
    np.testing.assert_array_equal(back.get_fdata()[labels > 0], volumes[0][labels > 0])
    np.testing.assert_array_equal(back.affine, AFFINE)


def test_numbers_in_names_are_sorted_by_value(folder, tmp_path):
    _, volumes, labels = folder
    (tmp_path / "runs").mkdir()
    for number in (10, 2, 1):
        volume = np.full_like(volumes[0], number)
        nibabel.save(nibabel.Nifti1Image(volume, AFFINE), tmp_path / f"runs/beta_{number}.nii.gz")
    assert read_nifti(tmp_path / "runs", mask_of(labels)).values[:, 0].tolist() == [1, 2, 10]


def test_files_of_many_volumes_are_sessions(folder, tmp_path):
    _, volumes, labels = folder
    for run in (0, 1):
        part = np.moveaxis(volumes[3 * run : 3 * run + 3], 0, -1)
        nibabel.save(nibabel.Nifti1Image(part, AFFINE), tmp_path / f"run{run}.nii")
    files = [tmp_path / "run0.nii", tmp_path / "run1.nii"]
    r = read_nifti(files, mask_of(labels))
    assert r.session.tolist() == [1, 1, 1, 2, 2, 2]
    np.testing.assert_array_equal(r.values, volumes[(slice(None), *r.voxel_index.T)])


def test_what_does_not_fit(folder, tmp_path):
    path, _, labels = folder
    with pytest.raises(ValueError, match="another affine than the mask, so another place"):
        read_nifti(path, nibabel.Nifti1Image(labels.astype(np.int16), np.eye(4)))
    with pytest.raises(ValueError, match=r"has shape \(4, 5, 3\), the mask \(4, 5, 2\)"):
        read_nifti(path, nibabel.Nifti1Image(labels[:, :, :2].astype(np.int16), AFFINE))
    with pytest.raises(TypeError, match=r"nibabel.Nifti1Image\(mask, affine\)"):
        read_nifti(path, labels)
    with pytest.raises(ValueError, match="the mask has no voxel above 0"):
        read_nifti(path, mask_of(labels * 0))
    with pytest.raises(ValueError, match="6 volumes but 2 values of stimulus"):
        read_nifti(path, mask_of(labels), stimulus=[1, 2])
    (tmp_path / "empty").mkdir()
    for images in (tmp_path / "empty", [tmp_path / "absent.nii"]):
        with pytest.raises(FileNotFoundError, match="no NIfTI file"):
            read_nifti(images, mask_of(labels))


def test_faces_and_houses_in_a_real_slice(data_path):
    """Haxby et al. 2001: patterns of a category agree between runs more than with other categories'."""
    folder = data_path / "haxby_slice"
    label, run = np.array([line.split() for line in (folder / "attributes.txt").read_text().splitlines()]).T.astype(int)
    r = read_nifti(folder / "bold.nii.gz", folder / "mask.nii.gz", stimulus=label, session=run + 1)
    assert len(r) == 1452 and r.num_voxels == 530

    def agreement(label):
        """Mean correlation of patterns in odd and even runs, of the same category and of different ones."""
        halves = []
        for odd in (0, 1):
            rows = (run % 2 == odd) & (label > 0)
            part = replace(r, stimulus=label).rows(rows).zscore_sessions().average_repeats()
            halves.append(torch.from_numpy(part.values - part.values.mean(0)))
        table = torch.stack([pearson(halves[0].T, halves[1][[k]].expand(8, -1).T) for k in range(8)])
        return float(table.diagonal().mean()), float((table.sum() - table.diagonal().sum()) / 56)

    same, other = agreement(label)
    assert same > 0.2 and other < 0
    rng = np.random.default_rng(0)
    wrong = label.copy()
    for number in np.unique(run):  # within runs, categories change places, block by block
        mine = run == number
        wrong[mine] = np.r_[0, rng.permutation(8) + 1][label[mine]]
    assert abs(agreement(wrong)[0]) < 0.1, "shuffled categories don't agree with themselves"
