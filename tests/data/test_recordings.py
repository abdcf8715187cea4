"""Arrays from files: every format, axes by name, and what doesn't fit."""

import h5py
import numpy as np
import pandas as pd
import pytest
from scipy.io import savemat

from neuroalign.data import from_axes, read_recording


@pytest.fixture
def values():
    return np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)  # stimulus voxel


def test_every_format_holds_the_same(values, tmp_path):
    np.save(tmp_path / "a.npy", values)
    np.savez(tmp_path / "a.npz", responses=values, names=np.array(["x"]))
    savemat(tmp_path / "a.mat", {"responses": values, "rate": 3.0})
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["responses"] = values
    with h5py.File(tmp_path / "b.mat", "w", userblock_size=512) as f:  # MATLAB 7.3 reverses axes
        f["responses"] = values.T
    header = b"MATLAB 7.3 MAT-file".ljust(116) + bytes(8) + b"\x00\x02IM"
    with (tmp_path / "b.mat").open("r+b") as f:
        f.write(header)
    pd.DataFrame(values).to_csv(tmp_path / "a.csv", index=False)
    pd.DataFrame(values).to_csv(tmp_path / "a.tsv", index=False, sep="\t")
    for name in ("a.npy", "a.npz", "a.mat", "b.mat", "a.h5", "a.csv", "a.tsv"):
        r = read_recording(tmp_path / name, roi="V4")
        np.testing.assert_allclose(r.values, values, rtol=1e-6, err_msg=name)
        assert set(r.roi) == {"V4"} and r.info == {"dataset": name}


def test_tables_say_which_rows_are_which(values, tmp_path):
    table = pd.DataFrame(values).assign(stimulus=[3, 3, 4, 4, 5, 5, 6], session=[1, 2, 1, 2, 1, 2, 1])
    table.to_csv(tmp_path / "a.csv", index=False)
    r = read_recording(tmp_path / "a.csv")
    assert r.stimulus.tolist() == [3, 3, 4, 4, 5, 5, 6] and r.session.tolist() == [1, 2, 1, 2, 1, 2, 1]
    assert r.num_voxels == 5
    table.assign(image="cat.png").to_csv(tmp_path / "b.csv", index=False)
    with pytest.raises(ValueError, match=r"columns \['image'\] are not numbers"):
        read_recording(tmp_path / "b.csv")


@pytest.mark.parametrize(
    "axes", ["stimulus voxel repeat", "voxel stimulus repeat", "repeat stimulus voxel", "voxel repeat stimulus"]
)
def test_axes_by_name(axes):
    rng = np.random.default_rng(1)
    grid = rng.standard_normal((4, 3, 2)).astype(np.float32)  # stimulus repeat voxel
    grid[2, 1] = np.nan  # a repeat that wasn't recorded
    order = ["stimulus", "repeat", "voxel"]
    r = from_axes(grid.transpose([order.index(a) for a in axes.split()]), axes, stimulus=[10, 11, 12, 13])
    assert r.stimulus.tolist() == [10, 10, 10, 11, 11, 11, 12, 12, 13, 13, 13]
    np.testing.assert_array_equal(r.values, grid.reshape(-1, 2)[[0, 1, 2, 3, 4, 5, 6, 8, 9, 10, 11]])


def test_nested_hdf5_and_axes_as_a_list(values, tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as f:
        f["group/responses"] = values
    np.testing.assert_array_equal(read_recording(tmp_path / "a.h5").values, values)
    np.testing.assert_array_equal(read_recording(tmp_path / "a.h5", key="group/responses").values, values)
    np.testing.assert_array_equal(from_axes(values.T, ("voxel", "stimulus")).values, values)
    from_axes(values, "stimulus voxel").save(tmp_path / "ours.h5")
    with pytest.raises(ValueError, match=r"Responses.load reads it"):
        read_recording(tmp_path / "ours.h5")


def test_averages_are_not_averaged_again(values, tmp_path):
    np.save(tmp_path / "a.npy", values)
    r = read_recording(tmp_path / "a.npy", averaged=True)
    with pytest.raises(ValueError, match="were averaged over repeats already"):
        r.average_repeats()


def test_what_does_not_fit(values, tmp_path):
    np.savez(tmp_path / "a.npz", first=values, second=values)
    with pytest.raises(ValueError, match=r"holds \{'first': \(7, 5\), 'second': \(7, 5\)\}: name one with key"):
        read_recording(tmp_path / "a.npz")
    assert read_recording(tmp_path / "a.npz", key="second").num_voxels == 5
    with pytest.raises(ValueError, match="there is no 'third'"):
        read_recording(tmp_path / "a.npz", key="third")
    with pytest.raises(FileNotFoundError, match="no file"):
        read_recording(tmp_path / "absent.npy")
    (tmp_path / "a.xlsx").write_text("")
    with pytest.raises(ValueError, match="recordings are read from"):
        read_recording(tmp_path / "a.xlsx")
    for axes in ("stimulus", "stimulus voxel repeat", "stimulus neuron", "voxel voxel"):
        with pytest.raises(ValueError, match="axes name the 2 axes"):
            from_axes(values, axes)
    with pytest.raises(ValueError, match="7 stimuli in the array, 3 named"):
        from_axes(values, "stimulus voxel", stimulus=[1, 2, 3])
