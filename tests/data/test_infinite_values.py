"""Infinite values are refused wherever responses come in; none becomes finite, and none makes its voxel disappear."""

import nibabel
import numpy as np
import pandas as pd
import pytest
import torch

from neuroalign import GuidanceDataModule, Responses, ResponsesDataModule, read_nifti, read_recording
from neuroalign.data.standardization import constant_columns, moments

MESSAGE = r"infinite values .*the first at \(3, 2\).*mark missing ones by NaN"


def values():
    y = np.random.default_rng(0).standard_normal((30, 5)).astype(np.float32)
    y[3, 2] = np.inf
    return y


def test_arrays():
    with pytest.raises(ValueError, match="values has " + MESSAGE):
        Responses.from_arrays(values())
    with pytest.raises(ValueError, match="noise_ceiling has infinite values"):
        Responses.from_arrays(np.zeros((4, 2)), noise_ceiling=[0.5, np.inf])


def test_numbers_beyond_float32_are_not_made_infinite_in_silence():
    y = np.ones((30, 5))
    y[3, 2] = -1e300
    with pytest.raises(ValueError, match=MESSAGE):
        Responses.from_arrays(y)


def test_data_modules():
    with pytest.raises(ValueError, match=MESSAGE):
        ResponsesDataModule(torch.rand(30, 3, 8, 8), torch.from_numpy(values()))
    with pytest.raises(ValueError, match="responses has " + MESSAGE):
        GuidanceDataModule((torch.rand(30, 3, 8, 8), torch.zeros(30)), responses=values())


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.npy"])
def test_tables_and_arrays_on_disk(tmp_path, name):
    path = tmp_path / name
    if name == "a.npy":
        np.save(path, values())
    else:
        pd.DataFrame(values()).to_csv(path, index=False, sep="," if name == "a.csv" else "\t")
    with pytest.raises(ValueError, match=MESSAGE):
        read_recording(path, axes="stimulus voxel")


def test_files_of_responses(tmp_path):
    import h5py

    Responses.from_arrays(np.nan_to_num(values(), posinf=0)).save(tmp_path / "a.h5")
    with h5py.File(tmp_path / "a.h5", "r+") as file:
        file["values"][3, 2] = np.inf
    with pytest.raises(ValueError, match=r"a\.h5 has " + MESSAGE):
        Responses.load(tmp_path / "a.h5", verify=False)


def test_volumes(tmp_path):
    mask = np.zeros((4, 5, 6), np.uint8)
    mask[1, 1] = 1
    volume = np.random.default_rng(0).standard_normal((4, 5, 6)).astype(np.float32)
    volume[0, 0, 0] = np.inf  # outside the mask, where nobody looks
    paths = [tmp_path / f"b{i}.nii.gz" for i in range(2)]
    for path in paths:
        nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), path)
    mask = nibabel.Nifti1Image(mask, np.eye(4))
    assert np.isfinite(read_nifti(paths, mask).values).all()
    volume[1, 1, 2] = -np.inf
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), paths[1])
    with pytest.raises(ValueError, match=r"b1\.nii\.gz, in the mask, has infinite values"):
        read_nifti(paths, mask)
    wrong = np.ones((4, 5, 6), np.float32)
    wrong[0, 0, 0] = np.inf
    with pytest.raises(ValueError, match="the mask has infinite values"):
        read_nifti(paths, nibabel.Nifti1Image(wrong, np.eye(4)))


def test_images():
    images = torch.rand(4, 3, 8, 8)
    images[1, 0, 2, 2] = torch.inf
    with pytest.raises(ValueError, match=r"pixels in \[0, 1\]"):
        GuidanceDataModule((images, torch.zeros(4))).setup()


@pytest.mark.parametrize("constant", [0.1, 1e20, -3e-20, 1e8])
def test_a_constant_voxel_is_constant_in_any_unit(constant):
    x = np.random.default_rng(0).standard_normal((1448, 3)).astype(np.float32)
    x[:, 1] = constant
    x[:700, 1] = np.nan
    assert constant_columns(x).tolist() == [False, True, False]
    assert np.isnan(moments(x)[1]).tolist() == [False, True, False]
    small = (1e-20 * x[:, :1] + 1e-14).astype(np.float32)  # 80 thousandths of a millionth of its mean, but there
    assert not constant_columns(small)[0]
