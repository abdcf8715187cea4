"""Files that are whole but hold something else: maps and atlases in another's place, sessions copied over others."""

import shutil
import warnings

import nibabel
import numpy as np
import pytest

from neuroalign.data import NSDError, check_nsd, extract_nsd, read_nsd
from neuroalign.data.nsd import NSDPaths
from neuroalign.data.nsd.plausible import check_labels, check_map, same_sessions, session_sum
from tests.data.nsd.tree_writer import write_tree


def files_of(paths):
    roi = {name: paths.roi(name) for name in ("nsdgeneral", "Kastner2015", "prf-visualrois", "streams", "floc-words")}
    return {**roi, "ncsnr": paths.map_files("ncsnr")[0], "brainmask": paths.map_files("brainmask")[0]}


@pytest.mark.parametrize(
    ("taken", "place", "message"),
    [
        ("ncsnr", "nsdgeneral", r"nsdgeneral\.nii\.gz holds .*, which is no label"),
        ("ncsnr", "Kastner2015", r"Kastner2015\.nii\.gz holds .*, which is no label"),
        ("Kastner2015", "nsdgeneral", r"nsdgeneral\.nii\.gz holds label 25, but nsdgeneral has labels 1 to 1"),
        ("Kastner2015", "streams", r"streams\.nii\.gz holds label 25, but streams has labels 1 to 7"),
        ("nsdgeneral", "Kastner2015", r"(hold the same labels: one was copied over the other)"),
        ("nsdgeneral", "ncsnr", r"ncsnr\.nii\.gz runs from -1 to 1; ncsnr lies between 0 and 30"),
        ("brainmask", "ncsnr", r"ncsnr\.nii\.gz holds whole numbers only"),
    ],
)
def test_a_map_in_anothers_place(small, taken, place, message):
    files = files_of(NSDPaths(small.root, 2))
    if taken == "brainmask":
        image = nibabel.load(files["nsdgeneral"])
        nibabel.save(nibabel.Nifti1Image(np.ones(image.shape, np.int16), image.affine), files["brainmask"])
    shutil.copy(files[taken], files[place])
    with pytest.raises(NSDError, match=message):
        read_nsd(small.root, 2, roi=["V1", "streams:ventral"])
    report = check_nsd(small.root)
    assert not report.usable
    assert any(files[place].name in f.message for f in report.of("error"))


def test_atlases_of_the_same_numbers_are_told_apart_where_both_are_there(small):
    """prf-visualrois fits into Kastner2015's numbers: only its own file, beside it, gives it away."""
    files = files_of(NSDPaths(small.root, 2))
    shutil.copy(files["prf-visualrois"], files["Kastner2015"])
    assert any("hold the same labels" in f.message for f in check_nsd(small.root).of("error"))


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("ncsnr", [0.5, -0.1], "runs from -0.1 to 0.5"),
        ("ncsnr", [0.5, 31.0], "lies between 0 and 30"),
        ("ncsnr", [0.5, np.inf], "lies between 0 and 30"),
        ("R2", [3.0, 700.0], "R2 is at most 100 %"),
    ],
)
def test_values_that_a_map_cannot_have(tmp_path, name, values, message):
    with pytest.raises(NSDError, match=message):
        check_map(np.array(values), name, tmp_path / "map.nii.gz")


def test_values_that_a_map_can_have(tmp_path):
    for name, values in [("ncsnr", [0, 0.3, np.nan]), ("ncsnr", [0, 0, np.nan]), ("ncsnr", [np.nan]), ("R2", [-2, 99.5]),
                         ("meanbeta", [-500, 1e5])]:  # fmt: skip
        check_map(np.array(values, np.float32), name, tmp_path / "map.nii.gz")
    labels = check_labels(np.array([-1.0, 0, 200]), "my own atlas", {}, tmp_path / "map.nii.gz")
    assert labels.tolist() == [-1, 0, 200] and labels.dtype == np.int64


@pytest.mark.parametrize("space", ["func1pt8mm", "fsaverage"])
def test_a_session_copied_over_another(tmp_path, space):
    tree = write_tree(tmp_path / "tree", subjects=(2,), spaces=(space,))
    paths = NSDPaths(tree.root, 2, space=space)
    for first, third in zip(tree_files(paths, 1), tree_files(paths, 3)):
        shutil.copy(first, third)
    report = check_nsd(tree.root)
    assert not report.usable
    assert any("sessions 1 and 3 hold the same responses" in f.message for f in report.of("error"))
    match = "sessions 1 and 3 hold the same responses: one was copied over the other"
    with pytest.warns(UserWarning, match=match):
        read_nsd(tree.root, 2, roi="V1", space=space)
    with warnings.catch_warnings(record=True) as warned:  # ncsnr differs as well
        warnings.simplefilter("always")
        extract_nsd(tree.root, tmp_path / "x.h5", 2, roi="V1", space=space)
    assert any(match in str(w.message) for w in warned)


def tree_files(paths, session):
    return [f for files in paths.session_files(session) for f in files if f.exists()]


def test_a_session_copied_over_another_in_gzip(tmp_path):
    tree = write_tree(tmp_path / "tree", subjects=(2,), containers=("nii.gz",))
    paths = NSDPaths(tree.root, 2)
    shutil.copy(paths.session(2, "nii.gz"), paths.session(1, "nii.gz"))
    assert any("sessions 1 and 2 hold the same responses" in f.message for f in check_nsd(tree.root).of("error"))


def test_invalid_sessions_are_not_the_same():
    """Voxels that are invalid throughout say nothing of a session."""
    nothing, values = np.full((750, 3), np.nan, np.float32), np.random.default_rng(0).standard_normal((750, 300))
    assert session_sum(nothing) is None
    assert same_sessions({1: session_sum(nothing), 2: session_sum(nothing)}) == ""
    other = values.copy()
    other[700, 0] += 1
    assert same_sessions({1: session_sum(values), 2: session_sum(other)}) == ""
    sums = {s: session_sum(v) for s, v in enumerate((values, other, values, other, values), 1)}
    assert same_sessions(sums).startswith("sessions 1 and 3 and 5, 2 and 4 hold the same")
