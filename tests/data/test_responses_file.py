"""Files of Responses that somebody changed or damaged: right, or one error that names the file and what to do."""

import dataclasses

import h5py
import numpy as np
import pytest

from neuroalign.checksums import USERBLOCK, DamagedFileError, stamp_hdf5
from neuroalign.data import Responses

VALUES = np.random.default_rng(0).normal(size=(6, 4)).astype("f4")


def responses(values=VALUES):
    made = Responses.from_arrays(values, stimulus=[0, 0, 1, 1, 2, 2], roi=["V1", "V1", "V4", "VÖ"])
    maps = {"behaviour": {"time": np.arange(6.0)}, "maps": {"R2": np.arange(4.0)}}
    return dataclasses.replace(made, **maps, info={"subject": 3})


@pytest.fixture
def path(tmp_path):
    responses().save(tmp_path / "r.h5")
    return tmp_path / "r.h5"


def same(found, expected=VALUES):
    assert found.values.dtype == np.float32 and found.values.dtype.isnative
    np.testing.assert_array_equal(found.values, expected)
    assert found.info == {"subject": 3} and found.roi.tolist() == ["V1", "V1", "V4", "VÖ"]
    np.testing.assert_array_equal(found.behaviour["time"], np.arange(6))
    np.testing.assert_array_equal(found.maps["R2"], np.arange(4))
    return True


def changed(path, change):
    """The file with something else in it, and with a checksum of that."""
    with h5py.File(path, "a") as file:
        change(file)
    stamp_hdf5(path)


def replace(name, value):
    def change(file):
        if name in file:
            del file[name]
        file[name] = value

    return change


def virtual(source):
    def change(file):
        layout = h5py.VirtualLayout(VALUES.shape, "f4")
        layout[:] = h5py.VirtualSource(source, "values", VALUES.shape)
        del file["values"]
        file.create_virtual_dataset("values", layout)

    return change


def raw(name):
    def change(file):
        del file["values"]
        file.create_dataset("values", (6, 4), "f4", external=[(name, 0, 96)])

    return change


def huge(file):
    del file["values"]
    file.create_dataset("values", (10**6, 10**6), "f4")


def without(name):
    def change(file):
        del file[name]

    return change


def attribute(name, value):
    def change(file):
        file.attrs[name] = value

    return change


MADE = {  # by kind: the change, and what the message says after the file's name
    "external link": (replace("values", h5py.ExternalLink("other.h5", "values")), "is a link to another file"),
    "soft link to one": (lambda f: (replace("there", h5py.ExternalLink("other.h5", "values"))(f),
                                    replace("values", h5py.SoftLink("there"))(f)), "is a link to another file"),
    "external link of an optional field": (replace("shared", h5py.ExternalLink("other.h5", "shared")), "is a link to"),
    "external link of a group": (replace("maps", h5py.ExternalLink("other.h5", "maps")), "is a link to another file"),
    "external link in a group": (replace("maps/R2", h5py.ExternalLink("other.h5", "maps/R2")), "is a link to another file"),
    "dangling link of an optional field": (replace("valid_repeats", h5py.SoftLink("/gone")), "is damaged: .*no '?"),
    "circle": (replace("values", h5py.SoftLink("values")), "is a link that leads in a circle"),
    "external storage": (raw("other.raw"), "takes its values from other files"),
    "virtual": (virtual("other.h5"), "takes its values from other files"),
    "virtual, source missing": (virtual("gone.h5"), "takes its values from other files"),
    "4 TB": (huge, "promises 4e.03 GB but holds 0 GB"),
    "text as values": (replace("values", np.array([[b"a", b"b"]])), "is damaged: values have shape"),
    "complex values": (replace("values", VALUES.astype(complex)), "is damaged: values have shape"),
    "values in one axis": (replace("values", VALUES[0]), "is damaged: values have shape"),
    "values in three axes": (replace("values", VALUES[None]), "is damaged: values have shape"),
    "compound values": (replace("values", np.zeros((6, 4), [("a", "f4")])), "is damaged: values have shape"),
    "a group as values": (replace("values/x", 1.0), "is not a data set"),
    "no values at all": (replace("values", h5py.Empty("f4")), "holds no value"),
    "values missing": (without("values"), "is damaged: .*no 'values'"),
    "stimulus missing": (without("stimulus"), "is damaged: a field can't be read"),
    "session missing": (without("session"), "is damaged: a field can't be read"),
    "roi missing": (without("roi"), "is damaged: a field can't be read"),
    "too few stimuli": (replace("stimulus", np.arange(5)), "is damaged: a field can't be read .*stimulus must be"),
    "a map of another length": (replace("maps/R2", np.zeros(5)), "is damaged: a field can't be read .*4 voxels, 'R2'"),
    "a group in a group": (replace("maps/R2/x", 1.0), "is not a data set"),
    "info no JSON": (attribute("info", "{"), "is damaged: a field can't be read"),
    "info deep": (attribute("info", "[" * 20_000), "can't be read"),
    "history a number": (attribute("history", "3"), "is damaged: a field can't be read"),
    "another format": (attribute("format", "other"), "is an HDF5 file, but not one of Responses.save"),
}  # fmt: skip


@pytest.mark.parametrize("kind", MADE)
@pytest.mark.parametrize("mapped", [False, True], ids=["loaded", "mapped"])
def test_files_made_by_hand(path, kind, mapped):
    responses(VALUES + 1).save(path.with_name("other.h5"))
    path.with_name("other.raw").write_bytes(VALUES.tobytes())
    change, message = MADE[kind]
    if kind == "a group as values":
        changed(path, without("values"))
    elif kind == "a group in a group":
        changed(path, without("maps/R2"))
    changed(path, change)
    with pytest.raises(ValueError, match=rf"r\.h5.* {message}"):
        Responses.load(path, mapped=mapped)


@pytest.mark.parametrize("mapped", [False, True], ids=["loaded", "mapped"])
@pytest.mark.parametrize("dtype", [">f4", "f8", "f2", "i2", ">i4", "u1"])
def test_numbers_of_other_types_become_float32(path, dtype, mapped):
    values = (VALUES * 20).clip(0 if dtype == "u1" else None).astype(dtype)
    changed(path, replace("values", values))
    assert same(Responses.load(path, mapped=mapped), values.astype("f4"))


def test_links_inside_the_file_are_followed(path):
    changed(path, lambda f: (f.move("values", "kept"), replace("values", h5py.SoftLink("/kept"))(f)))
    assert same(Responses.load(path))


def flip(path, place):
    content = bytearray(path.read_bytes())
    content[place] ^= 16
    path.write_bytes(content)


@pytest.mark.parametrize("mapped", [False, True], ids=["loaded", "mapped"])
@pytest.mark.parametrize("where", ["in the values", "in the checksum", "at the end", "in the HDF5 header"])
def test_a_flipped_bit_is_an_error_with_a_remedy(path, where, mapped):
    with h5py.File(path) as file:
        offset = file["values"].id.get_offset()
    size = path.stat().st_size
    places = {
        "in the values": offset + 50,
        "in the checksum": 20,
        "at the end": size - 1,
        "in the HDF5 header": USERBLOCK + 9,
    }
    flip(path, places[where])
    with pytest.raises(ValueError, match=r"r\.h5"):
        Responses.load(path, mapped=mapped)
    if where == "in the values":
        with pytest.raises(DamagedFileError, match=r"is damaged: .* in Python: Responses\.load\(path, verify=False\)"):
            Responses.load(path, mapped=mapped)
        with h5py.File(path) as file:
            expected = file["values"][()]
        assert (expected != VALUES).sum() == 1
        assert same(Responses.load(path, mapped=mapped, verify=False), expected)


def test_a_file_changed_on_purpose_is_read_with_verify_false(path):
    with h5py.File(path, "a") as file:
        file["values"][0, 0] = 7
    with pytest.raises(DamagedFileError, match="checksum"):
        Responses.load(path)
    assert Responses.load(path, verify=False).values[0, 0] == 7


def test_a_checksum_that_is_gone_is_missed(path):
    content = path.read_bytes()
    path.write_bytes(bytes(USERBLOCK) + content[USERBLOCK:])
    for mapped in (False, True):
        with pytest.raises(DamagedFileError, match=r"r\.h5 is damaged: its checksum is gone"):
            Responses.load(path, mapped=mapped)
        assert same(Responses.load(path, mapped=mapped, verify=False))


@pytest.mark.parametrize("mapped", [False, True], ids=["loaded", "mapped"])
def test_a_file_of_an_older_version_has_no_checksum(path, tmp_path, mapped):
    with h5py.File(path) as new, h5py.File(tmp_path / "old.h5", "w") as old:
        for name in new:
            new.copy(name, old)
        for name in set(new.attrs) - {"checksum"}:
            old.attrs[name] = new.attrs[name]
    assert same(Responses.load(tmp_path / "old.h5", mapped=mapped))


def test_mapped_values_stay_on_disk(path):
    found = Responses.load(path, mapped=True)
    assert same(found) and isinstance(found.values, np.memmap)
    found.values[0, 0] = 9  # in this process only
    assert same(Responses.load(path))


def test_a_folder_and_an_absent_file(tmp_path):
    with pytest.raises(OSError, match="is a folder"):
        Responses.load(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"no responses at .*r\.h5"):
        Responses.load(tmp_path / "r.h5")


def test_damage_is_seen_before_hdf5_opens_the_file(path, monkeypatch):
    """Which may never come back from it."""
    flip(path, USERBLOCK + 100)
    monkeypatch.setattr(h5py, "File", lambda *_, **__: pytest.fail("HDF5 opened a damaged file"))
    for mapped in (False, True):
        with pytest.raises(DamagedFileError, match="checksum"):
            Responses.load(path, mapped=mapped)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda f: f.create_dataset("maps/none", (250_000_000,), "u1", chunks=(10**6,)),
            "'maps/none' has 250000000 values",
        ),
        (replace("session", np.zeros(10**6, dtype=np.int64)), "'session' has 1000000 values, too many for 6 rows"),
        (replace("roi", ["V1", "V1", "V4", "x" * 10**6]), "the name of a region has more than 200 characters"),
    ],
)
def test_fields_of_another_size_are_refused_before_they_are_read(path, change, message):
    changed(path, change)
    with pytest.raises(DamagedFileError, match=message):
        Responses.load(path)


@pytest.mark.parametrize("info", ["null", "3", "[1]", '"text"'])
def test_where_responses_come_from_is_told_by_name(path, info):
    changed(path, lambda file: file.attrs.__setitem__("info", info))
    with pytest.raises(DamagedFileError, match="not names and values"):
        Responses.load(path)
