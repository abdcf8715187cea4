"""A damaged file anywhere in a tree: one error that names it, or the right values; and a check that goes on and says so."""

import gzip
import os
import shutil

import h5py
import nibabel
import numpy as np
import pytest

from neuroalign.data import NSDError, NSDImages, check_nsd, read_nsd
from neuroalign.data.nsd import NSDPaths
from tests.data.nsd.tree_writer import write_tree

READING = {"roi": ["V1", "streams:ventral"], "maps": ["ncsnr", "R2"]}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A tree of gzip files, and one of surfaces, with what is read from them."""
    root = tmp_path_factory.mktemp("whole")
    found = {}
    for space in ("func1pt8mm", "fsaverage"):
        tree = write_tree(root / space, subjects=(2,), spaces=(space,), containers=("nii.gz",), sessions=2)
        paths = NSDPaths(tree.root, 2, space=space)
        for ncsnr in paths.map_files("ncsnr"):
            image = nibabel.load(ncsnr)
            r2 = type(image)(np.nan_to_num(np.asanyarray(image.dataobj)) * 9, image.affine)
            nibabel.save(r2, ncsnr.with_name(ncsnr.name.replace("ncsnr", "R2")))
        found[space] = (tree.root, read_nsd(tree.root, 2, space=space, **READING))
    return found


def files_of(root, space):
    """Everything that reading looks at, by a name for the test."""
    paths = NSDPaths(root, 2, space=space)
    surface = paths.is_surface
    return {
        "design": paths.expdesign,
        "behaviour": paths.behaviour,
        "Kastner2015": paths.label_files("Kastner2015")[0],
        "nsdgeneral": paths.label_files("nsdgeneral")[-1],
        "streams": paths.label_files("streams")[0],
        "colour table": paths.colour_tables("streams")[0],
        "ncsnr": paths.map_files("ncsnr")[0],
        "R2": paths.map_files("R2")[-1],
        "betas": paths.session(2, "mgh", "rh") if surface else paths.session(2, "nii.gz"),
    }


FILES = ("design", "behaviour", "Kastner2015", "nsdgeneral", "streams", "colour table", "ncsnr", "R2", "betas")


def flipped(data, place):
    return data[:place] + bytes([data[place] ^ 4]) + data[place + 1 :]


DAMAGE = {
    "empty": lambda data: b"",
    "zeroed": lambda data: bytes(len(data)),
    "half": lambda data: data[: len(data) // 2],
    "other format": lambda data: os.urandom(64) + data,
    "a text": lambda data: b"<html>404 Not Found</html>",
}
GZIP_DAMAGE = {
    "a bit in the middle": lambda data: flipped(data, len(data) // 2),
    "a bit of the checksum": lambda data: flipped(data, len(data) - 6),
    "a bit of the length": lambda data: flipped(data, len(data) - 2),
    "bytes in the middle zeroed": lambda data: data[: len(data) // 2] + bytes(50) + data[len(data) // 2 + 50 :],
    "followed by other bytes": lambda data: data + b"other bytes",
    "without its last byte": lambda data: data[:-1],
}
# Half a colour table is one that names fewer labels.
CASES = [("func1pt8mm", f, d) for f in FILES for d in DAMAGE if (f, d) != ("colour table", "half")]
CASES += [("func1pt8mm", file, damage) for file in FILES if file not in ("design", "behaviour", "colour table")
          for damage in GZIP_DAMAGE]  # fmt: skip
CASES += [("fsaverage", file, damage) for file in ("Kastner2015", "nsdgeneral", "ncsnr", "betas") for damage in DAMAGE]
CASES += [("fsaverage", "nsdgeneral", damage) for damage in GZIP_DAMAGE]
CASES += [("func1pt8mm", "design", damage) for damage in ("a bit in the middle", "bytes in the middle zeroed")]


@pytest.mark.parametrize(("space", "name", "damage"), CASES)
def test_one_error_that_names_the_file(whole, tmp_path, space, name, damage):
    root = tmp_path / "tree"
    shutil.copytree(whole[space][0], root)
    path = files_of(root, space)[name]
    path.write_bytes((DAMAGE | GZIP_DAMAGE)[damage](path.read_bytes()))
    with pytest.raises(NSDError, match=rf"{path.name}.*(can't be read|is not NSD's|Fetch it again)"):
        read_nsd(root, 2, space=space, **READING)
    report = check_nsd(root)
    assert not report.usable
    assert any(path.name in f.what + f.message for f in report.of("error")), "and the check names it"
    assert any(f.what == ("behaviour" if name != "behaviour" and name != "design" else "func1pt8mm: regions")
               for f in report.of("ok")), "and goes on"  # fmt: skip


@pytest.mark.slow
def test_random_damage(whole, tmp_path):
    """Bits, blocks and ends of files that have a checksum: an error that names the file, or the values of the whole tree."""
    source, expected = whole["func1pt8mm"]
    root = tmp_path / "tree"
    shutil.copytree(source, root)
    files = files_of(root, "func1pt8mm")
    rng, said = np.random.default_rng(0), []
    for _ in range(120):
        name = rng.choice(["design", "Kastner2015", "nsdgeneral", "streams", "ncsnr", "R2", "betas"])
        path = files[str(name)]
        data = path.read_bytes()
        place, kind = int(rng.integers(128 if name == "design" else 0, len(data))), rng.integers(4)
        changed = [
            flipped(data, place),
            data[:place],
            data[:place] + bytes(64) + data[place + 64 :],
            data[:place] + data[place // 2 : place // 2 + 64] + data[place + 64 :],
        ][kind]
        path.write_bytes(changed)
        try:
            read = read_nsd(root, 2, **READING)
        except NSDError as error:
            said.append((path.name, str(error)))
        else:
            np.testing.assert_array_equal(read.values, expected.values)
            np.testing.assert_array_equal(read.roi, expected.roi)
            np.testing.assert_array_equal(read.noise_ceiling, expected.noise_ceiling)
            np.testing.assert_array_equal(read.stimulus, expected.stimulus)
            np.testing.assert_array_equal(read.maps["R2"], expected.maps["R2"])
        path.write_bytes(data)
    assert len(said) > 100 and all(name in message for name, message in said)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (("\t48", "\t4x"), r"responses\.tsv, line \d+: 73KID is '4x\d*', not a whole number"),
        (("73KID", "74KID"), r"responses\.tsv is not NSD's behaviour table: it has no columns \['73KID'\]"),
        (("\n2\t1\t", "\n2\tone\t"), r"responses\.tsv, line \d+: SESSION is 'one', not a whole number"),
        (("\n2\t1\t", "\n2\t1.5\t"), r"responses\.tsv, line \d+: SESSION is 1\.5, not a whole number"),
        (("\n2\t1\t", "\n2\t\t"), r"responses\.tsv, line \d+: SESSION is nan, not a whole number"),
    ],
)
def test_letters_in_the_behaviour_table(small, changed, message):
    path = NSDPaths(small.root, 2).behaviour
    text = path.read_text()
    old, new = changed
    if new == "\t4x":
        head, _, rest = text.partition("\n")
        columns, row = head.split("\t"), rest.partition("\n")[0].split("\t")
        row[columns.index("73KID")] = "4x7"
        path.write_text("\n".join([head, "\t".join(row), rest.partition("\n")[2]]))
    else:
        assert old in text
        path.write_text(text.replace(old, new, 1))
    with pytest.raises(NSDError, match=message):
        read_nsd(small.root, 2, roi="V1")
    report = check_nsd(small.root)
    assert any(f.what == "behaviour" for f in report.of("error"))
    assert any("sessions" in f.message for f in report.of("ok")), "the rest is reported"


def hostile(path, name, how):
    """Values that lie elsewhere, or nowhere."""
    with h5py.File(path, "r+") as file:
        shape, kind = file[name].shape, file[name].dtype
        other = path.with_name("other.hdf5")
        with h5py.File(other, "w") as elsewhere:
            elsewhere["there"] = file[name][:2]
        del file[name]
        if how == "external link":
            file[name] = h5py.ExternalLink(str(other), "there")
        elif how == "external storage":
            file.create_dataset(name, shape, kind, external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)])
        elif how == "virtual":
            layout = h5py.VirtualLayout(shape, kind)
            layout[:2] = h5py.VirtualSource(str(other), "there", (2, *shape[1:]))
            file.create_virtual_dataset(name, layout)
        elif how == "promises":
            file.create_dataset(name, (750, 4000, 4000, 400), kind, chunks=(750, 1, 1, 1))
        elif how == "a group":
            file.create_group(name)
        else:
            file[name] = h5py.SoftLink("/" + name)


@pytest.mark.parametrize("how", ["external link", "external storage", "virtual", "promises", "a group", "a circle"])
def test_values_that_lie_elsewhere_are_refused(tmp_path, how):
    tree = write_tree(tmp_path / "tree", subjects=(2,), sessions=1)
    paths = NSDPaths(tree.root, 2)
    hostile(paths.session(1, "hdf5"), "betas", how)
    with pytest.raises(NSDError, match=r"betas_session01\.hdf5 can't be used"):
        read_nsd(tree.root, 2, roi="V1")
    assert any("betas_session01.hdf5" in f.what for f in check_nsd(tree.root).of("error"))
    if how not in ("promises", "virtual"):
        hostile(paths.stimuli, "imgBrick", how)
        with pytest.raises(NSDError, match=r"nsd_stimuli\.hdf5 can't be used"):
            NSDImages(tree.root)


def test_a_brick_of_another_type(small):
    with h5py.File(NSDPaths(small.root, 2).stimuli, "r+") as file:
        del file["imgBrick"]
        file["imgBrick"] = np.zeros((5, 8, 8, 3), np.float32)
    with pytest.raises(NSDError, match="holds float32; NSD's holds uint8"):
        NSDImages(small.root)


def test_a_mask_that_is_no_mask(small, tmp_path):
    for content in (b"", b"no array"):
        (tmp_path / "mask.npy").write_bytes(content)
        with pytest.raises(NSDError, match=r"mask\.npy can't be read"):
            read_nsd(small.root, 2, roi=str(tmp_path / "mask.npy"))
    np.save(tmp_path / "mask.npy", np.full((11, 10, 9), "yes"))
    with pytest.raises(NSDError, match="not one number per voxel"):
        read_nsd(small.root, 2, roi=str(tmp_path / "mask.npy"))
    data = gzip.compress(b"no image")
    (tmp_path / "mask.nii.gz").write_bytes(data)
    with pytest.raises(NSDError, match=r"mask\.nii\.gz can't be read"):
        read_nsd(small.root, 2, roi=str(tmp_path / "mask.nii.gz"))
