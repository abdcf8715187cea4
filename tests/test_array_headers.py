"""NumPy's files that promise more than they hold, or hold more than they promise."""

import io
import tracemalloc
import zipfile

import numpy as np
import pytest

from neuroalign.__main__ import main
from neuroalign.array_headers import array_headers
from neuroalign.data import read_recording


def npy(array, **header):
    """An .npy file in memory whose header may lie."""
    out = io.BytesIO()
    np.save(out, array, allow_pickle=True)
    if not header:
        return out.getvalue()
    fields = {
        "descr": np.lib.format.dtype_to_descr(array.dtype),
        "fortran_order": False,
        "shape": array.shape,
        **header,
    }
    out = io.BytesIO()
    np.lib.format.write_array_header_2_0(out, fields)
    return out.getvalue() + array.tobytes()


VALUES = np.arange(12.0).reshape(3, 4)
BOMB = np.zeros(40_000_000, np.uint8)  # 40 MB that deflate packs into 39 kB
WRONG = {
    "a header of 4 TB": npy(VALUES, shape=(10**6, 10**6)),
    "a header beyond 64 bits": npy(VALUES, shape=(2**40, 2**40)),
    "a negative header": npy(VALUES, shape=(-3, 4)),
    "cut short": npy(VALUES)[:-1],
    "cut in the header": npy(VALUES)[:40],
    "empty": b"",
    "text": b"no array at all",
    "objects": npy(np.array([{"a": 1}, 2], dtype=object)),
    "a header that is code": npy(VALUES).replace(b"'shape': (3, 4)", b"'shape': exit()"),
}


def archive(path, members, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as file:
        for name, content in members.items():
            file.writestr(f"{name}.npy", content)
    return path


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_files_that_lie(kind, suffix, tmp_path):
    path = tmp_path / f"r.{suffix}"
    if suffix == "npy":
        path.write_bytes(WRONG[kind])
    else:
        archive(path, {"good": npy(VALUES), "values": WRONG[kind]})
    key = "values" if suffix == "npz" else None
    with pytest.raises(ValueError, match=rf"r\.{suffix}") as refused:
        read_recording(path, key=key)
    assert len(str(refused.value).splitlines()) == 1 and len(str(refused.value)) < 500
    if (kind, suffix) != ("objects", "npz"):
        with pytest.raises(ValueError, match=rf"r\.{suffix} can't be read: "):
            array_headers(path)


def test_more_than_the_header_says_is_not_decompressed(tmp_path):
    path = archive(tmp_path / "r.npz", {"values": npy(VALUES) + BOMB.tobytes()})
    assert path.stat().st_size < 100_000
    tracemalloc.start()
    with pytest.raises(ValueError, match="promises 96 bytes of shape"):
        read_recording(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6


def test_other_arrays_of_an_archive_stay_packed(tmp_path):
    path = archive(tmp_path / "r.npz", {"values": npy(VALUES), "large": npy(BOMB.reshape(-1, 4))})
    tracemalloc.start()
    assert read_recording(path, key="values").values.shape == (3, 4)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2e6


@pytest.mark.parametrize("content", [b"PK", b"no zip"])
def test_no_archive(content, tmp_path):
    (tmp_path / "r.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"r\.npz can't be read as a file of NumPy"):
        read_recording(tmp_path / "r.npz")


def test_what_is_right_is_read(tmp_path):
    for order in ("C", "F"):
        np.save(tmp_path / "a.npy", np.asarray(VALUES, order=order))
        np.testing.assert_array_equal(read_recording(tmp_path / "a.npy").values, VALUES)
        assert array_headers(tmp_path / "a.npy") == {"": ((3, 4), np.dtype(float))}
    for save in (np.savez, np.savez_compressed):
        save(tmp_path / "a.npz", values=VALUES, label=np.array("text"), none=np.zeros((0, 3)), one=np.float32(2))
        np.testing.assert_array_equal(read_recording(tmp_path / "a.npz").values, VALUES)
        assert array_headers(tmp_path / "a.npz")["one"] == ((), np.dtype("float32"))


IMAGES = np.zeros((4, 3, 8, 8), np.float32)


@pytest.mark.parametrize(
    ("images", "labels", "message"),
    [
        (npy(IMAGES), npy(np.array([0, 1, 2, 0.5])), "labels"),
        (npy(IMAGES), npy(np.array([0, 1, 2, np.nan])), "labels"),
        (npy(IMAGES), npy(np.array([0, 1, 2, np.inf])), "labels"),
        (npy(IMAGES), npy(np.array(["0", "1", "2", "0"])), "labels"),
        (npy(IMAGES), npy(np.array([0j, 1, 2, 0])), "labels"),
        (npy(IMAGES), npy(np.zeros((4, 1), int)), "labels"),
        (npy(IMAGES), npy(np.zeros(3, int)), "images.npz"),
        (npy(IMAGES), npy(np.array([{}] * 4, object)), "objects are not unpickled"),
        (npy(IMAGES, shape=(10**6, 3, 10**3, 10**3)), npy(np.zeros(4, int)), "promises 12000000000000 bytes"),
        (npy(IMAGES) + BOMB.tobytes(), npy(np.zeros(4, int)), "the file holds"),
        (npy(IMAGES)[:-1], npy(np.zeros(4, int)), "the file holds"),
    ],
    ids=range(11),
)
def test_images_of_the_command_line(images, labels, message, tmp_path, capsys):
    path = archive(tmp_path / "images.npz", {"images": images, "labels": labels})
    with pytest.raises(SystemExit) as stopped:
        main(["geometry", "--ckpt", "squeezenet1_1", "--data", str(path), "--layers", "features"])
    printed = capsys.readouterr().err
    assert stopped.value.code == 2 and printed.count("\n") == 1
    assert message in printed and "images.npz" in printed


def test_a_packed_entry_that_is_damaged(tmp_path, capsys):
    path = archive(
        tmp_path / "images.npz", {"images": npy(np.random.rand(4, 3, 8, 8)), "labels": npy(np.zeros(4, int))}
    )
    content = bytearray(path.read_bytes())
    content[3000] ^= 255
    path.write_bytes(content)
    with pytest.raises(SystemExit):
        main(["geometry", "--ckpt", "squeezenet1_1", "--data", str(path), "--layers", "features"])
    printed = capsys.readouterr().err
    assert printed.count("\n") == 1 and "images.npz: its array 'images' can't be read" in printed


def test_objects_beside_the_wanted_array_are_left_alone(tmp_path):
    np.savez(tmp_path / "r.npz", values=VALUES, about=np.array([{"a": 1}], dtype=object))
    np.testing.assert_array_equal(read_recording(tmp_path / "r.npz", key="values").values, VALUES)
