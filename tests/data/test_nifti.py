"""A folder of NIfTI files and a mask, simulated and real."""

import os
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
    with pytest.raises(TypeError, match=r"got ndarray: nibabel.Nifti1Image\(mask, affine\)"):
        read_nifti(path, labels)
    with pytest.raises(ValueError, match="the mask has no voxel above 0"):
        read_nifti(path, mask_of(labels * 0))
    with pytest.raises(ValueError, match="6 volumes but 2 values of stimulus"):
        read_nifti(path, mask_of(labels), stimulus=[1, 2])
    (tmp_path / "empty").mkdir()
    for images in (tmp_path / "empty", [tmp_path / "absent.nii"]):
        with pytest.raises(FileNotFoundError, match="no NIfTI file"):
            read_nifti(images, mask_of(labels))


@pytest.mark.parametrize("kind", ["float32", "scaled"])
def test_every_voxel_above_0_of_a_fractional_mask_is_kept(folder, tmp_path, kind):
    path, volumes, _ = folder
    share = np.random.default_rng(1).random((4, 5, 3)).astype(np.float32)
    share[share < 0.3] = 0
    share[0, 0, 0], share[0, 0, 1] = 0.004, np.nan
    image = nibabel.Nifti1Image(share, AFFINE)
    if kind == "scaled":  # 8-bit integers with a slope, as tools store probabilities
        image = nibabel.Nifti1Image(np.nan_to_num(share), AFFINE)
        image.set_data_dtype(np.uint8)
        (tmp_path / "masks").mkdir()
        nibabel.save(image, tmp_path / "masks/share.nii.gz")
        image = tmp_path / "masks/share.nii.gz"
        share = np.asarray(nibabel.load(image).dataobj)
    r = read_nifti(path, image)
    kept = np.argwhere(share > 0)
    assert ((share > 0) & (share < 0.5)).sum() > 5
    np.testing.assert_array_equal(r.voxel_index, kept)
    np.testing.assert_array_equal(r.values, volumes[(slice(None), *kept.T)])
    with pytest.raises(ValueError, match=r"holds fractions, .*but labels name whole numbers"):
        read_nifti(path, image, labels={1: "V1"})


def test_masks_of_one_volume_and_of_several(folder):
    path, _, labels = folder
    one = nibabel.Nifti1Image(labels[..., None].astype(np.int16), AFFINE)
    np.testing.assert_array_equal(read_nifti(path, one).values, read_nifti(path, mask_of(labels)).values)
    with pytest.raises(ValueError, match=r"the mask has shape \(4, 5, 3, 2\): it must be one volume"):
        read_nifti(path, nibabel.Nifti1Image(np.stack([labels] * 2, -1).astype(np.int16), AFFINE))


def test_names_of_stimuli(folder):
    path, _, labels = folder
    r = read_nifti(path, mask_of(labels), stimulus=["b", "b", "a", "a", "c", "c"])
    assert r.stimulus.tolist() == [1, 1, 0, 0, 2, 2] and r.info["stimulus_id"] == ["a", "b", "c"]
    with pytest.raises(ValueError, match=r"stimulus must be whole numbers; that of row 1 \(from 0\) is 0.5"):
        read_nifti(path, mask_of(labels), stimulus=[0, 0.5, 1, 2, 3, 4])


@pytest.mark.parametrize(
    "make",
    [
        lambda v: nibabel.Nifti1Image(v, AFFINE),
        lambda v: nibabel.Nifti2Image(v, AFFINE),
        lambda v: nibabel.Nifti1Image(v, AFFINE, nibabel.Nifti1Header(endianness=">")),
        lambda v: nibabel.Nifti2Image(v, AFFINE, nibabel.Nifti2Header(endianness=">")),
    ],
    ids=["1", "2", "1, big-endian", "2, big-endian"],
)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_kinds_of_nifti(folder, tmp_path, make, suffix):
    _, volumes, labels = folder
    path = tmp_path / f"volume{suffix}"
    nibabel.save(make(volumes[0]), path)
    r = read_nifti(path, mask_of(labels))
    np.testing.assert_array_equal(r.values[0], volumes[0][labels > 0])
    if suffix == ".nii.gz":  # packed, or not, against its name
        plain = tmp_path / "other.nii"
        plain.write_bytes(path.read_bytes())
        np.testing.assert_array_equal(read_nifti([plain], mask_of(labels)).values, r.values)


def _damaged(path, how):
    content = path.read_bytes()
    middle = len(content) * 2 // 3
    path.write_bytes({
        "cut": content[:middle], "cut in the trailer": content[:-3], "empty": b"", "text": b"not a volume\n" * 40,
        "zeros": bytes(len(content)), "one bit": content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :],
        "checksum": content[:-8] + bytes([content[-8] ^ 1]) + content[-7:],
    }[how])  # fmt: skip


@pytest.mark.parametrize("how", ["cut", "cut in the trailer", "empty", "text", "zeros", "one bit", "checksum"])
@pytest.mark.parametrize("which", ["volume", "mask"])
def test_damage_is_told_by_the_files_name(folder, tmp_path, how, which):
    path, _, labels = folder
    nibabel.save(mask_of(labels), tmp_path / "mask.nii.gz")
    volume = path / "beta_02.nii.gz"
    wrong = volume if which == "volume" else tmp_path / "mask.nii.gz"
    _damaged(wrong, how)
    with pytest.raises(ValueError, match="is damaged: cut short, changed, or of another format") as caught:
        read_nifti([volume], tmp_path / "mask.nii.gz")
    assert wrong.name in str(caught.value)


def test_every_flipped_bit_of_a_packed_volume_is_told_or_harmless(folder):
    """Deflate's end and gzip's header hold bits that mean nothing; in all others gzip's checksum tells."""
    path, _, labels = folder
    volume, mask = path / "beta_02.nii.gz", mask_of(labels)
    content, expected = volume.read_bytes(), read_nifti([path / "beta_02.nii.gz"], mask_of(labels)).values
    rng = np.random.default_rng(0)
    told = 0
    for place in rng.integers(0, len(content), 150):
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        volume.write_bytes(changed)
        try:
            np.testing.assert_array_equal(read_nifti([volume], mask).values, expected)
        except ValueError as error:
            told += volume.name in str(error)
    assert told > 130
    volume.write_bytes(content)


def test_numbers_that_are_no_responses(folder, tmp_path):
    _, volumes, labels = folder
    nibabel.save(nibabel.Nifti1Image(volumes[0] + 1j, AFFINE), tmp_path / "complex.nii")
    with pytest.raises(TypeError, match=r"complex\.nii, in the mask, must be real numbers.*complex"):
        read_nifti(tmp_path / "complex.nii", mask_of(labels))
    nibabel.save(nibabel.Nifti1Image(1e300 * volumes[0].astype(np.float64), AFFINE), tmp_path / "large.nii")
    with pytest.raises(
        ValueError, match=r"large\.nii, in the mask, has infinite values .* or such that float32 can't hold"
    ):
        read_nifti(tmp_path / "large.nii", mask_of(labels))
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 5, 3, 1, 2), np.float32), AFFINE), tmp_path / "five.nii")
    with pytest.raises(ValueError, match=r"five\.nii has shape \(4, 5, 3, 1, 2\): a volume has three axes"):
        read_nifti(tmp_path / "five.nii", mask_of(labels))


def test_hidden_files_of_a_folder_are_passed_over(folder):
    path, _, labels = folder
    (path / "._beta_00.nii.gz").write_bytes(b"what macOS leaves behind")
    assert len(read_nifti(path, mask_of(labels))) == 6


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
def test_a_pipe_is_not_waited_for(folder):
    path, _, labels = folder
    os.mkfifo(path / "beta_99.nii.gz")
    with pytest.raises(FileNotFoundError, match=r"no NIfTI file .*beta_99"):
        read_nifti(path, mask_of(labels))
