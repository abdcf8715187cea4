"""Images are read to the last byte of their file: damage anywhere is seen, whole files of every kind give their values."""

import gzip
import os

import nibabel
import numpy as np
import pytest

from neuroalign.checksums import DamagedFileError
from neuroalign.data.gzip_files import load_image, opened_image

KINDS = {
    ".nii.gz": nibabel.Nifti1Image,
    ".nii": nibabel.Nifti1Image,
    ".mgz": nibabel.MGHImage,
    ".mgh": nibabel.MGHImage,
}


@pytest.fixture
def values():
    return np.random.default_rng(0).standard_normal((9, 8, 7)).astype(np.float32)


def flipped(data, place):
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


DAMAGE = {
    "empty": lambda data: b"",
    "zeroed": lambda data: bytes(len(data)),
    "cut by 30 bytes": lambda data: data[:-30],
    "half": lambda data: data[: len(data) // 2],
    "ten bytes": lambda data: data[:10],
    "other format": lambda data: b"\x89HDF\r\n\x1a\n" + data,
}
GZIP_DAMAGE = {
    "a bit in the middle": lambda data: flipped(data, len(data) // 2),
    "a bit of the checksum": lambda data: flipped(data, len(data) - 6),
    "a bit of the length": lambda data: flipped(data, len(data) - 2),
    "without its end": lambda data: data[:-8],
    "cut by a byte": lambda data: data[:-1],
    "zeroed in the middle": lambda data: data[:500] + bytes(100) + data[600:],
    "followed by other bytes": lambda data: data + b"other bytes",
}
CASES = [(suffix, name) for suffix in KINDS for name in DAMAGE]
CASES += [(suffix, name) for suffix in (".nii.gz", ".mgz") for name in GZIP_DAMAGE]


@pytest.mark.parametrize("suffix", KINDS)
def test_values_places_and_types(tmp_path, values, suffix):
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    path = tmp_path / f"map{suffix}"
    nibabel.save(KINDS[suffix](values, affine), path)
    image = load_image(path)
    np.testing.assert_array_equal(np.asanyarray(image.dataobj), values)
    np.testing.assert_allclose(image.affine, affine)
    assert image.get_data_dtype().newbyteorder("=") == np.float32


def test_nifti_2_and_scaled_values(tmp_path, values):
    nibabel.save(nibabel.Nifti2Image(values, np.eye(4)), tmp_path / "two.nii.gz")
    np.testing.assert_array_equal(load_image(tmp_path / "two.nii.gz").get_fdata(), values)
    image = nibabel.Nifti1Image((values * 100).astype(np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, 3)
    nibabel.save(image, tmp_path / "scaled.nii.gz")
    expected = nibabel.load(tmp_path / "scaled.nii.gz").get_fdata()
    np.testing.assert_allclose(load_image(tmp_path / "scaled.nii.gz").get_fdata(), expected)


@pytest.mark.parametrize(("suffix", "damage"), CASES)
def test_damage_is_an_error_that_names_the_file(tmp_path, values, suffix, damage):
    path = tmp_path / f"map{suffix}"
    nibabel.save(KINDS[suffix](values, np.eye(4)), path)
    data = path.read_bytes()
    path.write_bytes((DAMAGE | GZIP_DAMAGE)[damage](data))
    with pytest.raises(DamagedFileError, match=rf"map{suffix} is damaged: .*; make or fetch it again"):
        load_image(path)


def test_every_bit_of_the_content(tmp_path, values):
    """Any one bit of the compressed content, its checksum and its length: never other values."""
    path = tmp_path / "map.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    data = path.read_bytes()
    unused = 0  # bits of the header (a time, a name) and of paddings, which change nothing
    for place in np.random.default_rng(1).integers(0, len(data), 150).tolist():
        path.write_bytes(flipped(data, place))
        try:
            read = load_image(path).get_fdata()
        except DamagedFileError:
            continue
        np.testing.assert_array_equal(read, values)
        unused += 1
    assert unused < 5


def test_more_than_the_header_says(tmp_path, values):
    path = tmp_path / "map.nii.gz"
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    data = path.read_bytes()
    path.write_bytes(data + gzip.compress(b"another file"))
    with pytest.raises(DamagedFileError, match=r"it holds \d+ bytes or more, its header says"):
        load_image(path)
    # A hundred megabytes of zeros after the values are not unpacked to their end, nor a promise of terabytes believed.
    path.write_bytes(data + gzip.compress(bytes(10**8), 1))
    with pytest.raises(DamagedFileError, match="its header says"):
        load_image(path)
    header = bytearray(gzip.decompress(data))
    header[42:48] = np.array([30_000, 30_000, 30_000], "<i2").tobytes()
    path.write_bytes(gzip.compress(bytes(header)))
    with pytest.raises(DamagedFileError, match="its header promises 108000000000352 bytes, more than it can hold"):
        load_image(path)


def test_what_is_read_forward_is_checked_at_the_end(tmp_path):
    """A reader that takes the values volume by volume meets a checksum that is wrong when it leaves the file."""
    path = tmp_path / "betas.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.random.default_rng(0).integers(0, 9, (5, 5, 5, 20), np.int16), np.eye(4)), path)
    with opened_image(path) as image:
        whole = [np.asanyarray(image.dataobj[..., i]) for i in range(20)]
    np.testing.assert_array_equal(np.stack(whole, -1), load_image(path).get_fdata())
    data = path.read_bytes()
    path.write_bytes(flipped(data, len(data) - 6))
    with pytest.raises(OSError, match="CRC check failed"), opened_image(path) as image:
        np.asanyarray(image.dataobj[..., 0])


def test_files_that_are_no_images(tmp_path):
    with pytest.raises(FileNotFoundError):
        load_image(tmp_path / "absent.nii.gz")
    (tmp_path / "table.csv").write_text("a,b")
    with pytest.raises(DamagedFileError, match=r"is no \.nii, \.nii\.gz, \.mgh or \.mgz"):
        load_image(tmp_path / "table.csv")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="named pipes are POSIX")
@pytest.mark.parametrize("name", ["p.nii", "p.nii.gz", "p.mgz"])
def test_a_pipe_is_not_waited_for(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(DamagedFileError, match="a folder, a device or a pipe"):
        load_image(tmp_path / name)
