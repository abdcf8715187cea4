"""What check_nsd says of trees that are whole, half-downloaded, damaged or contradictory."""

import json
import shutil

import h5py
import nibabel
import numpy as np
import pytest

from neuroalign.data import NSDError, check_nsd, read_nsd
from neuroalign.data.nsd import FACTS, NSDPaths, check, check_betas
from tests.data.nsd.conftest import B2
from tests.data.nsd.tree_writer import write_tree

SMALL_FACTS = {s: f._replace(shape=(11, 10, 9), sessions=3) for s, f in FACTS.items()}


@pytest.fixture
def facts(monkeypatch):
    """Subjects whose published facts are those of the small trees."""
    for module in (check, check_betas):
        monkeypatch.setattr(module, "FACTS", SMALL_FACTS)
    monkeypatch.setattr(check, "NSDImages", lambda tree: type("Brick", (), {"shape": (73_000, 425, 425, 3)}))


def messages(report, level):
    return [f"{f.what}: {f.message}" for f in report.of(level)]


def test_a_whole_tree(planted, facts):
    report = check_nsd(planted.root)
    assert report.usable and not report.of("error") and not report.of("warning") and not report.of("missing")
    ok = messages(report, "ok")
    assert sum("agrees with that of the betas in 20 voxels" in m for m in ok) == 16  # 2 subjects, 4 spaces, 2 versions
    assert sum("names the same images as the design" in m for m in ok) == 2
    assert json.loads(json.dumps(report.to_dict()))["usable"] is True


def test_a_simulated_tree(subject):
    report = check_nsd(subject.root)
    assert report.simulated and report.usable


def test_a_tree_of_other_sizes_is_told_from_nsd(small):
    report = check_nsd(small.root)
    found = messages(report, "warning")
    assert any("imgBrick has images of (8, 8, 3); NSD's are (425, 425, 3)" in m for m in found)
    assert any("in NSD subject 2's is (82, 106, 84)" in m for m in found)
    assert report.usable, "it can be read for all that"


def test_invalid_voxels_are_counted(small, facts):
    """The first and the last voxel with an ncsnr are looked at; here they are 0, that is invalid, in all trials."""
    paths = NSDPaths(small.root, 2)
    places = np.argwhere(np.isfinite(nibabel.load(paths.map_files("ncsnr")[0]).get_fdata()))
    for session in (1, 2, 3):
        with h5py.File(paths.session(session, "hdf5"), "r+") as file:
            for x, y, z in places[[0, -1]]:
                file["betas"][:, z, y, x] = 0
    assert any("3 sessions; 2 of 20 voxels looked at are invalid" in m for m in messages(check_nsd(small.root), "ok"))


def test_half_downloaded(small, facts, monkeypatch):
    paths = NSDPaths(small.root, 2)
    paths.session(3, "hdf5").unlink()
    report = check_nsd(small.root)
    assert report.usable
    assert any("sessions 3 to 3 are not there" in m for m in messages(report, "missing"))
    # ncsnr was computed from all three sessions; from two it comes out otherwise.
    assert any("computed from other sessions than these 2" in m for m in messages(report, "warning"))
    paths.session(1, "hdf5").unlink()
    report = check_nsd(small.root)
    assert not report.usable
    assert any("sessions [1] are missing in the middle" in m for m in messages(report, "error"))
    paths.session(2, "hdf5").unlink()
    assert any("no session is complete" in m for m in messages(check_nsd(small.root), "missing"))


def test_truncated_hdf5(small, facts):
    path = NSDPaths(small.root, 2).session(2, "hdf5")
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    report = check_nsd(small.root)
    assert not report.usable
    assert [f.what for f in report.of("error")] == ["func1pt8mm b3: betas_session02.hdf5"]
    with h5py.File(path, "w") as f:
        f["other"] = np.ones(3)
    assert any("holds no dataset 'betas'" in m for m in messages(check_nsd(small.root), "error"))


@pytest.mark.parametrize("kept", [0.5, 0.999])
def test_truncated_gz(tmp_path, facts, kept):
    tree = write_tree(tmp_path / "tree", subjects=(2,), containers=("nii.gz",))
    assert check_nsd(tree.root).usable
    path = NSDPaths(tree.root, 2).session(3, "nii.gz")
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * kept)])
    report = check_nsd(tree.root)
    assert not report.usable
    assert "betas_session03.nii.gz is truncated" in report.of("error")[0].message


def test_truncated_mgh(tmp_path, facts):
    tree = write_tree(tmp_path / "tree", subjects=(2,), spaces=("fsaverage",))
    assert check_nsd(tree.root).usable
    path = NSDPaths(tree.root, 2, space="fsaverage").session(1, "mgh", "rh")
    path.write_bytes(path.read_bytes()[:-3000])
    assert "rh.betas_session01.mgh" in check_nsd(tree.root).of("error")[0].what


def test_contradictions(small, facts):
    paths = NSDPaths(small.root, 2)
    general = nibabel.load(paths.roi("nsdgeneral"))
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 4, 4)), general.affine), paths.roi("streams"))
    assert any("atlases differ in shape" in m for m in messages(check_nsd(small.root), "error"))
    paths.roi("streams").write_bytes(b"no gzip")
    assert any("streams.nii.gz can't be read" in m for m in messages(check_nsd(small.root), "error"))
    paths.roi("streams").unlink()
    paths.roi("nsdgeneral").unlink()
    assert any("['nsdgeneral'] are not there; the named regions need both" in m
               for m in messages(check_nsd(small.root), "missing"))  # fmt: skip


def test_an_ncsnr_of_another_version(planted, tmp_path, facts):
    root = tmp_path / "tree"
    shutil.copytree(
        planted.root, root, ignore=shutil.ignore_patterns("func1mm", "fsaverage", "nativesurface", "subj02")
    )
    shutil.copy(NSDPaths(root, 1, B2).beta_folder / "ncsnr.nii.gz", NSDPaths(root, 1).beta_folder / "ncsnr.nii.gz")
    report = check_nsd(root)
    assert not report.usable
    assert [f.what for f in report.of("error")] == ["func1pt8mm b3: ncsnr"]
    assert "another version's, or another subject's" in report.of("error")[0].message


def test_damaged_design_and_behaviour(small, facts):
    paths = NSDPaths(small.root, 2)
    table = paths.behaviour.read_text().replace("\t", ";")
    paths.behaviour.write_text(table)
    assert any(m.startswith("behaviour") for m in messages(check_nsd(small.root), "error"))
    paths.behaviour.unlink()
    assert any(m.startswith("behaviour") for m in messages(check_nsd(small.root), "missing"))
    paths.expdesign.unlink()
    report = check_nsd(small.root)
    assert not report.usable and any(m.startswith("design") for m in messages(report, "error"))


def test_no_betas(small):
    shutil.rmtree(small.root / "nsddata_betas")
    report = check_nsd(small.root)
    assert not report.usable and any("no subject has betas" in m for m in messages(report, "error"))
    with pytest.raises(FileNotFoundError, match="no folder"):
        check_nsd(small.root / "absent")


def test_half_a_session_of_a_surface(tmp_path, facts):
    tree = write_tree(tmp_path / "tree", subjects=(2,), spaces=("fsaverage",))
    NSDPaths(tree.root, 2, space="fsaverage").session(3, "mgh", "rh").unlink()
    assert any("rh.betas_session03.mgh missing beside the other hemisphere's" in m
               for m in messages(check_nsd(tree.root), "error"))  # fmt: skip
    with pytest.raises(NSDError, match=r"session 3 is missing .*; rh.betas_session03.mgh missing beside"):
        read_nsd(tree.root, 2, roi="V1", space="fsaverage", sessions=[1, 3])


def test_another_container_that_would_do(tmp_path, facts):
    tree = write_tree(tmp_path / "tree", subjects=(2,), containers=("hdf5", "nii.gz"))
    path = NSDPaths(tree.root, 2).session(2, "hdf5")
    path.write_bytes(path.read_bytes()[:-100])
    (error,) = check_nsd(tree.root).of("error")
    assert "betas_session02.nii.gz is there as well: without the HDF5 file it is read instead" in error.message
    path.unlink()
    assert check_nsd(tree.root).usable


def test_a_subject_without_betas(small, facts):
    report = check_nsd(small.root, subjects=[4])
    assert not report.usable and any("no session of any space and version" in m for m in messages(report, "error"))
