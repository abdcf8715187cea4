"""Checksums of bytes and of HDF5 files: every changed byte and cut file is an error that names the file."""

import h5py
import numpy as np
import pytest

from neuroalign.checksums import USERBLOCK, DamagedFileError, check_hdf5, crc32, read_checked, stamp_hdf5


def reference(data):
    """CRC-32 bit by bit, from the polynomial."""
    total = 0xFFFFFFFF
    for byte in data:
        total ^= byte
        for _ in range(8):
            total = (total >> 1) ^ (0xEDB88320 if total & 1 else 0)
    return total ^ 0xFFFFFFFF


def test_crc32_is_the_polynomials():
    data = np.random.default_rng(0).bytes(3000)
    assert crc32(data) == reference(data) and crc32(data[7:], crc32(data[:7])) == crc32(data)
    assert crc32(b"123456789") == 0xCBF43926  # the check value that the standard gives


def stamped(path):
    values = np.random.default_rng(0).normal(size=(300, 400)).astype("f4")  # more than a block of sums
    with h5py.File(path, "w", userblock_size=USERBLOCK) as file:
        file["values"] = values
        offset = file["values"].id.get_offset()
    stamp_hdf5(path)
    return values, offset


def test_hdf5_is_checked_with_and_without_keeping_the_values(tmp_path):
    values, offset = stamped(tmp_path / "a.h5")
    assert check_hdf5(tmp_path / "a.h5")
    checked, begin, kept = read_checked(tmp_path / "a.h5")
    assert checked and begin == offset and bytes(kept) == values.tobytes()
    content = (tmp_path / "a.h5").read_bytes()
    assert content[USERBLOCK - 400 : USERBLOCK] == bytes(400)  # the stamp ends before
    assert int(content[17:25], 16) == crc32(content[USERBLOCK:])
    for place in (USERBLOCK, offset, offset + 1000, len(content) - 1, 20):
        changed = bytearray(content)
        changed[place] ^= 1
        (tmp_path / "a.h5").write_bytes(changed)
        for read in (check_hdf5, read_checked):
            with pytest.raises(DamagedFileError, match=r"a.h5 is damaged: its bytes .*; make or fetch it again"):
                read(tmp_path / "a.h5")
    (tmp_path / "a.h5").write_bytes(content[: offset + 10])
    for read in (check_hdf5, read_checked):
        with pytest.raises(DamagedFileError, match="is damaged"):
            read(tmp_path / "a.h5")


@pytest.mark.parametrize("numbers", [b"0 0", b"99999999999 8", b"600 99999999999999", b"8 8", b"x y", b""])
def test_where_the_values_lie_is_no_more_than_a_hint(tmp_path, numbers):
    stamped(tmp_path / "a.h5")
    content = (tmp_path / "a.h5").read_bytes()
    (tmp_path / "a.h5").write_bytes(content[:25] + b" " + numbers.ljust(80, b"\n") + content[106:])
    checked, _, kept = read_checked(tmp_path / "a.h5")
    assert checked and kept is None


def test_hdf5_without_a_checksum_is_left_alone(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["values"] = [1.0]
    assert read_checked(tmp_path / "a.h5") == (False, 0, None)
