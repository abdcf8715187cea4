"""Columns are the same whether a chunk's bytes are copied or h5py selects them, and nothing odd is copied."""

import struct

import h5py
import numpy as np
import pytest

from neuroalign.data.nsd.columns import read_columns

SHAPE = (6, 4, 3, 5)
PLACES = np.array([[3, 2, 4], [0, 0, 0], [1, 2, 3], [3, 2, 4], [2, 0, 1]])
BETAS = np.random.default_rng(0).integers(-32768, 32768, SHAPE)


class Watched:
    """A dataset that counts the selections it is asked for."""

    def __init__(self, dataset):
        self.dataset, self.selections = dataset, 0

    def __getattr__(self, name):
        return getattr(self.dataset, name)

    def __getitem__(self, where):
        self.selections += 1
        return self.dataset[where]


def read(path, **layout):
    with h5py.File(path, "w") as file:
        file.create_dataset("betas", data=BETAS.astype(layout.pop("dtype", "<i2")), **layout)
    with h5py.File(path) as file:
        dataset = Watched(file["betas"])
        return read_columns(dataset, PLACES), dataset.selections


@pytest.mark.parametrize("dtype", ["<i2", ">i2", "<f4", "u1"])
def test_a_chunk_for_each_column_is_copied(tmp_path, dtype):
    values, selections = read(tmp_path / "a.h5", dtype=dtype, chunks=(6, 1, 1, 1))
    assert selections == 0
    assert values.dtype == dtype
    np.testing.assert_array_equal(values, BETAS.astype(dtype)[(slice(None), *PLACES.T)])


@pytest.mark.parametrize(
    "layout",
    [
        {},
        {"chunks": (3, 1, 1, 1)},
        {"chunks": (6, 2, 1, 1)},
        {"chunks": (6, 1, 1, 1), "compression": "gzip"},
        {"chunks": (6, 1, 1, 1), "shuffle": True},
        {"chunks": (6, 1, 1, 1), "fletcher32": True},
    ],
)
def test_other_layouts_are_selected(tmp_path, layout):
    values, selections = read(tmp_path / "a.h5", **layout)
    assert selections == len(PLACES)
    np.testing.assert_array_equal(values, BETAS.astype("<i2")[(slice(None), *PLACES.T)])


def test_a_chunk_that_was_never_written_holds_the_fill_value(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file.create_dataset("betas", SHAPE, "<i2", chunks=(6, 1, 1, 1), fillvalue=-7)[:, 1, 2, 3] = 9
    with h5py.File(tmp_path / "a.h5") as file:
        values = read_columns(file["betas"], PLACES)
    np.testing.assert_array_equal(values, np.where((PLACES == [1, 2, 3]).all(1), 9, -7)[None].repeat(6, 0))


def test_a_chunk_cut_off_by_the_end_of_the_file_is_an_error(tmp_path):
    path = tmp_path / "a.h5"
    read(path, chunks=(6, 1, 1, 1))
    with h5py.File(path) as file:
        last = max(file["betas"].id.get_chunk_info(i).byte_offset for i in range(60))
    content = bytearray(path.read_bytes())
    where = content.index(last.to_bytes(8, "little"))  # the chunk's address in the file's index
    content[where : where + 8] = (len(content) - 4).to_bytes(8, "little")
    path.write_bytes(content)
    with h5py.File(path) as file, pytest.raises((OSError, RuntimeError)):
        read_columns(file["betas"], np.argwhere(np.ones(SHAPE[1:])))


def test_a_chunk_that_the_index_calls_shorter_ends_in_zeros(tmp_path):
    """HDF5 reports no error; memory of something else must not pass for responses."""
    path, column = tmp_path / "a.h5", tuple(PLACES[0])
    with h5py.File(path, "w") as file:
        chunks = file.create_dataset("betas", data=BETAS.astype("<i2"), chunks=(6, 1, 1, 1)).id
        address = chunks.get_chunk_info_by_coord((0, *column)).byte_offset
    content = path.read_bytes()
    # The entry of version 1 of the index: size, filters, the chunk's place and the element's, and the address.
    key = struct.pack("<II5Q", 12, 0, 0, *map(int, column), 0) + struct.pack("<Q", address)
    assert content.count(key) == 1
    path.write_bytes(content.replace(key, struct.pack("<I", 4) + key[4:]))
    with h5py.File(path) as file:
        values = read_columns(file["betas"], PLACES[:1])[:, 0]
    assert values.tolist() == [*BETAS[(slice(2), *column)], 0, 0, 0, 0]
