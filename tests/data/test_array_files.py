"""Arrays from files of other programs: what can be damaged in them or is no recording is refused by the file's name."""

import h5py
import numpy as np
import pytest
import scipy.sparse
from scipy.io import savemat

from neuroalign.data import read_recording

VALUES = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
RECORD = np.zeros((7, 5), dtype=[("real", "f4"), ("imag", "f4")])


def write(path, values):
    if path.suffix == ".npy":
        np.save(path, values)
    elif path.suffix == ".npz":
        np.savez(path, values=values)
    elif path.suffix == ".mat":
        savemat(path, {"values": values})
    else:
        with h5py.File(path, "w") as file:
            file["values"] = values.astype(h5py.string_dtype()) if values.dtype.kind in "UO" else values
    return path


KINDS = ["a.npy", "a.npz", "a.mat", "a.h5"]


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    "values",
    [VALUES.astype(">f4"), VALUES.astype(np.float64), (100 * VALUES).astype(np.int16), VALUES > 0, np.asfortranarray(VALUES)],
    ids=["big-endian", "float64", "int16", "bool", "fortran"],
)  # fmt: skip
def test_types_that_are_taken(tmp_path, name, values):
    r = read_recording(write(tmp_path / name, values))
    np.testing.assert_array_equal(r.values, values.astype(np.float32))
    assert r.values.dtype == np.float32 and r.values.dtype.isnative


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize(
    ("values", "message"),
    [
        (VALUES + 1j, "must be real numbers, NaN where missing; got (complex|records)"),
        (VALUES.astype(str), "must be real numbers|holds .*: name one with key"),
        (VALUES.astype(object), "objects|must be real numbers"),
        (RECORD, "got records|got objects|holds .*: name one with key"),
        (np.full((7, 5), np.nan), "every value is NaN: nothing was recorded"),
        (
            np.where(VALUES > 2, np.inf, VALUES) if (VALUES > 2).any() else np.full((7, 5), np.inf),
            "has infinite values",
        ),
        (np.full((7, 5), 1e300), "has infinite values .* or such that float32 can't hold"),
        (
            VALUES[0],
            r"axes name the 1 axes of an array of shape|name one with key|axes name the 2 axes|nothing was rec",
        ),
        (np.zeros((0, 5)), "nothing was recorded|name one with key"),
        (np.zeros((2, 3, 4)), r"the array has three axes, \(2, 3, 4\): say what they are"),
    ],
    ids=["complex", "text", "objects", "records", "nan", "inf", "1e300", "one axis", "empty", "three axes"],
)
def test_what_is_no_recording(tmp_path, name, values, message):
    if name == "a.mat" and values.ndim == 1:
        pytest.skip("MATLAB has no arrays of one axis: it is one row")
    if values.dtype == object and name in ("a.h5", "a.mat"):
        pytest.skip("stored as text or cells")
    path = write(tmp_path / name, values)
    with pytest.raises(ValueError, match=message) as caught:
        read_recording(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("damage", ["empty", "cut", "zeros", "text", "one byte"])
def test_damage_is_told_by_the_files_name(tmp_path, name, damage):
    path = write(tmp_path / name, VALUES)
    content = path.read_bytes()
    path.write_bytes({
        "empty": b"", "cut": content[: len(content) * 2 // 3], "zeros": bytes(len(content)), "text": b"v1,v2\n1,2\n" * 30,
        "one byte": b"\xff" + content[1:],
    }[damage])  # fmt: skip
    if name == "a.mat" and damage == "one byte":
        pytest.skip("the first 116 bytes of a .mat are a comment")
    with pytest.raises(ValueError, match=r"cut short|damaged|is empty|can't be read|holds \{\}") as caught:
        read_recording(path)
    assert str(path) in str(caught.value)


def test_every_cut_of_every_kind_is_refused_or_whole(tmp_path):
    rng = np.random.default_rng(0)
    outcomes = {"refused": 0, "whole": 0}
    for name in KINDS:
        path = write(tmp_path / name, VALUES)
        content = path.read_bytes()
        for length in rng.integers(0, len(content), 25):
            path.write_bytes(content[:length])
            try:
                r = read_recording(path)
            except ValueError as error:
                outcomes["refused"] += str(path) in str(error)
            else:
                np.testing.assert_array_equal(r.values, VALUES)
                outcomes["whole"] += 1
    assert outcomes["refused"] + outcomes["whole"] == 100 and outcomes["refused"] > 90


def test_a_header_that_promises_more_than_memory_holds(tmp_path):
    path = tmp_path / "a.npy"
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (10**11, 9999)}
        np.lib.format.write_array_header_1_0(file, header)
    with pytest.raises(ValueError, match=r"a\.npy can't be read"):
        read_recording(path)


def test_nothing_is_unpickled(tmp_path):
    for name in ("a.npy", "a.npz"):
        path = write(tmp_path / name, np.array([[{}, 1], [2, 3]], dtype=object))
        with pytest.raises(ValueError, match="objects are not unpickled, as that can run code"):
            read_recording(path)


def test_an_archive_of_objects_and_a_recording(tmp_path):
    np.savez(tmp_path / "a.npz", values=VALUES, notes=np.array(["a", None], dtype=object))
    np.testing.assert_array_equal(read_recording(tmp_path / "a.npz").values, VALUES)


def test_matlab_sparse_and_names(tmp_path):
    savemat(tmp_path / "a.mat", {"spikes": scipy.sparse.csc_array(np.float64(VALUES > 1))})
    np.testing.assert_array_equal(read_recording(tmp_path / "a.mat").values, VALUES > 1)
    savemat(tmp_path / "b.mat", {"first": VALUES, "second": VALUES})
    with pytest.raises(ValueError, match=r"b\.mat holds \{'first': \(7, 5\), 'second': \(7, 5\)\}: name one with key"):
        read_recording(tmp_path / "b.mat")


def test_hdf5_reads_nothing_that_it_points_to(tmp_path):
    write(tmp_path / "other.h5", VALUES)
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["values"] = h5py.ExternalLink("other.h5", "values")
    with pytest.raises(ValueError, match=r"a\.h5 holds \{\}"):
        read_recording(tmp_path / "a.h5")
    with h5py.File(tmp_path / "b.h5", "w") as file:
        layout = h5py.VirtualLayout((7, 5), "f4")
        layout[:] = h5py.VirtualSource("gone.h5", "values", (7, 5))
        file.create_virtual_dataset("values", layout)
    with pytest.raises(ValueError, match="takes its values from other files, which is not followed"):
        read_recording(tmp_path / "b.h5")


def test_empty_data_sets_and_matlabs_own_are_passed_over(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["values"], file["nothing"] = VALUES, h5py.Empty("f4")
        file["#refs#/a"] = np.zeros((3, 4))
    np.testing.assert_array_equal(read_recording(tmp_path / "a.h5").values, VALUES)


def test_a_sparse_matrix_with_a_damaged_row_is_refused(tmp_path):
    """Filling it up would write outside of its memory, which ends Python without a word."""
    matrix = scipy.sparse.csc_array(np.eye(12)[[3, 1, 0, 2, 7, 6, 5, 4, 11, 10, 9, 8]])
    savemat(tmp_path / "a.mat", {"x": matrix}, do_compression=False)
    whole, rows = (tmp_path / "a.mat").read_bytes(), matrix.indices.astype("<i4").tobytes()
    assert whole.count(rows) == 1
    damaged = np.array([2**30, *matrix.indices[1:]], "<i4").tobytes()
    (tmp_path / "b.mat").write_bytes(whole.replace(rows, damaged))
    np.testing.assert_array_equal(read_recording(tmp_path / "a.mat").values, matrix.toarray())
    with pytest.raises(ValueError, match=r"b\.mat can't be read as a file of MATLAB: cut short, damaged"):
        read_recording(tmp_path / "b.mat")


def test_a_sparse_matrix_too_large_to_fill_up(tmp_path):
    savemat(tmp_path / "a.mat", {"spikes": scipy.sparse.csc_matrix((60_000, 60_000))})
    with pytest.raises(ValueError, match=r"a\.mat: the sparse matrix of shape \(60000, 60000\) takes 28.8 GB"):
        read_recording(tmp_path / "a.mat")
