"""HDF5 files of strangers: nothing outside the file is read, and every fault names it."""

import os

import h5py
import numpy as np
import pytest

from neuroalign.hdf5 import HDF5Error, dataset, member, open_hdf5

VALUES = np.arange(12, dtype="f4").reshape(3, 4)


def virtual(path, source):
    def make(file):
        layout = h5py.VirtualLayout(VALUES.shape, "f4")
        layout[:] = h5py.VirtualSource(path / source, "x", VALUES.shape)
        file.create_virtual_dataset("x", layout)

    return make


def circle(file):
    file["x"], file["y"] = h5py.SoftLink("y"), h5py.SoftLink("/x")


def fan(file):
    """Links that fan out: as many steps as 20 to the tenth, were each followed anew."""
    file.create_group("g0")
    for i in range(10):
        file[f"g{i + 1}"] = h5py.SoftLink("/".join([f"/g{i}"] + ["."] * 20))
    file["g0/up"] = h5py.SoftLink("/g10")
    file["x"] = h5py.SoftLink("/g10" + "/up" * 20)


def never_filled(file):
    file.create_dataset("x", (10**6, 10**6), "f4", chunks=(1, 10**6))


def far_too_large(file):
    file.create_dataset("x", (10**6, 10**6), "f4")


BAD = {
    "an external link": (lambda p: lambda f: f.__setitem__("x", h5py.ExternalLink(p / "there.h5", "x")),
                         "'x' in .*a.h5 is a link to another file, .*there.h5, which is not followed"),
    "a soft link to one": (
        lambda p: lambda f: (f.__setitem__("y", h5py.ExternalLink("there.h5", "x")),
                             f.__setitem__("x", h5py.SoftLink("/y"))),
        "a.h5 is a link to another file"),
    "external storage": (
        lambda p: lambda f: f.create_dataset("x", (4,), "u1", external=[(str(p / "there.h5"), 0, 4)]),
        "a.h5 takes its values from other files"),
    "a virtual data set": (lambda p: virtual(p, "there.h5"), "a.h5 takes its values from other files"),
    "a virtual data set of nothing": (lambda p: virtual(p, "gone.h5"), "a.h5 takes its values from other files"),
    "a circle": (lambda p: circle, "a.h5 is a link that leads in a circle"),
    "a fan of links": (lambda p: fan, "a.h5 is a link that leads in a circle"),
    "4 TB in chunks": (lambda p: never_filled, "a.h5 promises 4e.03 GB but holds 0 GB"),
    "4 TB": (lambda p: far_too_large, "a.h5 promises 4e.03 GB but holds 0 GB"),
    "a group": (lambda p: lambda f: f.create_group("x"), "a.h5 is not a data set"),
    "a type": (lambda p: lambda f: f.__setitem__("x", np.dtype("f4")), "a.h5 is not a data set"),
    "no value": (lambda p: lambda f: f.__setitem__("x", h5py.Empty("f4")), "a.h5 holds no value"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_what_is_not_read(tmp_path, kind):
    with h5py.File(tmp_path / "there.h5", "w") as file:
        file["x"] = VALUES
    make, message = BAD[kind]
    with h5py.File(tmp_path / "a.h5", "w") as file:
        make(tmp_path)(file)
    with open_hdf5(tmp_path / "a.h5") as file, pytest.raises(HDF5Error, match=message):
        dataset(file, "x")[()]


def test_links_inside_the_file_are_followed(tmp_path):
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["deep/down/x"] = VALUES
        file["link"] = h5py.SoftLink("/deep/./down")
        file["deep/up"] = h5py.SoftLink("down/x")
        file["hard"] = file["deep"]
        file["gone"] = h5py.SoftLink("/nowhere")
    with open_hdf5(tmp_path / "a.h5") as file:
        for name in ("deep/down/x", "/deep/down/x", "link/x", "deep/up", "hard/down/x", "hard/up", "./link//x"):
            np.testing.assert_array_equal(dataset(file, name)[()], VALUES)
        np.testing.assert_array_equal(dataset(file["deep"], "/link/x")[()], VALUES)
        assert isinstance(member(file, "link"), h5py.Group)
        for name in ("gone", "deep/absent", "deep/down/x/y"):
            with pytest.raises(KeyError, match=rf"no '{name}' in .*a.h5"):
                dataset(file, name)


def test_a_compressed_constant_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("neuroalign.hdf5._SMALL", 10**6)
    with h5py.File(tmp_path / "a.h5", "w") as file:  # deflate at its best
        file.create_dataset("x", data=np.full(10**7, 3, "u1"), chunks=(10**7,), compression=9)
    with open_hdf5(tmp_path / "a.h5") as file:
        assert file["x"].id.get_storage_size() < 10**7 / 900 and dataset(file, "x")[-1] == 3


@pytest.mark.skipif(os.name != "posix", reason="pipes of POSIX")
@pytest.mark.parametrize("kind", ["empty", "text", "cut", "folder", "pipe"])
def test_what_is_no_file_of_hdf5(tmp_path, kind):
    path = tmp_path / "a.h5"
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        with h5py.File(tmp_path / "b.h5", "w") as file:
            file["x"] = VALUES
        content = (tmp_path / "b.h5").read_bytes()
        path.write_bytes({"empty": b"", "text": b"no, text" * 200, "cut": content[:-20]}[kind])
    with pytest.raises(HDF5Error, match=r"a.h5 (can't be read|is a folder, a device or a pipe)"), open_hdf5(path):
        pass
    with pytest.raises(FileNotFoundError, match=r"there is no file .*gone"), open_hdf5(tmp_path / "gone"):
        pass


@pytest.mark.parametrize(
    "error",
    [TypeError("no NumPy equivalent"), ValueError("precision"), OSError("read failed"), RuntimeError("ref count"),
     MemoryError(), UnicodeDecodeError("utf8", b"", 0, 1, "")],
)  # fmt: skip
def test_errors_inside_name_the_file_once(tmp_path, error):
    h5py.File(tmp_path / "a.h5", "w").close()
    with pytest.raises(HDF5Error, match=r"a.h5 can't be read"), open_hdf5(tmp_path / "a.h5"):
        raise error
