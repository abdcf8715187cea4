"""An extracted file that is there: used if it is whole and its tree has not changed, else made again or refused."""

import json
import os
import shutil
import signal
import subprocess
import sys

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest

from neuroalign.data import Responses, extract_nsd, read_nsd
from neuroalign.data.nsd import NSDPaths, extraction
from neuroalign.data.nsd.extracted import load_part, save_part
from tests.data.nsd.test_extraction import left_behind, same
from tests.data.nsd.test_trials import rewrite


def change_betas(tree, paths):
    with h5py.File(paths.session(2, "hdf5"), "r+") as file:
        data = file["betas"][:]
        data[:200] = np.where(data[:200] == 0, 0, 3000)
        file["betas"][:] = data  # of the same size


def change_ncsnr(tree, paths):
    path = paths.map_files("ncsnr")[0]
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image((image.get_fdata() * 1.001).astype(np.float32), image.affine), path)


def change_labels(tree, paths):
    path = paths.roi("Kastner2015")
    image = nibabel.load(path)
    labels = image.get_fdata()
    labels[labels == 3] = 1
    nibabel.save(nibabel.Nifti1Image(labels, image.affine), path)


def change_design(tree, paths):
    order = tree.masterordering[None].copy()
    order[0, :2] = order[0, 1::-1]
    rewrite(paths.expdesign, masterordering=order)


def change_behaviour(tree, paths):
    table = pd.read_csv(paths.behaviour, sep="\t")
    table.assign(RT=table["RT"] + 1).to_csv(paths.behaviour, sep="\t", index=False, na_rep="NaN")


CHANGES = {
    "a session of the same size": (change_betas, r"betas_session02\.hdf5 differ", {}),
    "ncsnr": (change_ncsnr, r"ncsnr\.nii\.gz differ", {}),
    "labels": (change_labels, r"(shape|voxels)", {}),
    "labels of no wanted voxel": (change_labels, r"Kastner2015\.nii\.gz differ", {"roi": "V4"}),
    "the design": (change_design, r"stimulus|nsd_expdesign\.mat", {"behaviour": False}),
    "behaviour": (change_behaviour, r"responses\.tsv differ", {}),
}


@pytest.mark.filterwarnings("ignore:the stored ncsnr")
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_source_is_never_passed_over(small, tmp_path, change):
    changing, message, options = CHANGES[change]
    options = {"roi": "V1", **options}
    paths = NSDPaths(small.root, 2)
    out = extract_nsd(small.root, tmp_path / "x.h5", 2, **options)
    before = Responses.load(out)
    changing(small, paths)
    with pytest.raises(FileExistsError, match=message):
        extract_nsd(small.root, out, 2, **options)
    same(Responses.load(out), before)
    extract_nsd(small.root, out, 2, overwrite=True, **options)
    same(Responses.load(out), read_nsd(small.root, 2, **options))
    extract_nsd(small.root, out, 2, **options)


@pytest.mark.parametrize(
    ("first", "second", "message"),
    [
        ({"behaviour": False}, {"behaviour": True}, r"\(behaviour differ\)"),
        ({"maps": []}, {"maps": None}, r"\(maps differ\)"),
        ({"sessions": [1, 2]}, {"sessions": None}, r"\(sessions differ\)"),
    ],
)
def test_other_options(small, tmp_path, first, second, message):
    out = extract_nsd(small.root, tmp_path / "x.h5", 2, roi="V1", **first)
    with pytest.raises(FileExistsError, match=message):
        extract_nsd(small.root, out, 2, roi="V1", **second)


def test_a_copied_or_touched_tree_is_the_same(small, tmp_path, monkeypatch):
    out = extract_nsd(small.root, tmp_path / "x.h5", 2, roi="V1")
    written = out.stat().st_mtime_ns
    copy = tmp_path / "copy"
    shutil.copytree(small.root, copy, copy_function=shutil.copy)  # with new times
    for path in small.root.rglob("*.*"):
        os.utime(path)
    for root in (small.root, copy):
        extract_nsd(root, out, 2, roi="V1")
    assert out.stat().st_mtime_ns == written


def test_a_change_between_the_samples_is_found_by_its_values(small, tmp_path, monkeypatch):
    """In a large file, samples of its bytes can miss a change; another time makes the reader compare values."""
    monkeypatch.setattr("neuroalign.data.nsd.tree.crc32_of_samples", lambda path: 0)
    out = extract_nsd(small.root, tmp_path / "x.h5", 2, roi="V1")
    change_betas(small, NSDPaths(small.root, 2))
    with pytest.raises(FileExistsError, match=r"betas_session02\.hdf5 differ"):
        extract_nsd(small.root, out, 2, roi="V1")


def test_responses_that_were_changed_and_saved_there(small, tmp_path):
    """Provenance survives averaging: a file of averages is not taken for what was extracted."""
    out = extract_nsd(small.root, tmp_path / "x.h5", 2, roi="V1")
    trials = Responses.load(out)
    for changed in (trials.zscore_sessions(), trials.average_repeats(), trials.select(voxels=np.arange(3))):
        changed.save(out)
        with pytest.raises(FileExistsError, match=r"holds something else"):
            extract_nsd(small.root, out, 2, roi="V1")


def damage_middle(data):
    return data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :]


@pytest.mark.parametrize("damage", [damage_middle, lambda data: data[:-300], lambda data: data[:700]])
def test_a_damaged_file_is_not_used(small, tmp_path, damage):
    out = extract_nsd(small.root, tmp_path / "x.h5", 2, roi="V1")
    out.write_bytes(damage(out.read_bytes()))
    with pytest.raises(
        FileExistsError, match=r"x\.h5 is damaged: .* say overwrite=True \(--overwrite\) to extract it again"
    ):
        extract_nsd(small.root, out, 2, roi="V1")
    extract_nsd(small.root, out, 2, roi="V1", overwrite=True)
    same(Responses.load(out), read_nsd(small.root, 2, roi="V1"))


@pytest.mark.parametrize("content", [b"", bytes(5000), b"somebody's notes"])
def test_a_file_of_somebody_else_is_never_replaced(small, tmp_path, content):
    out = tmp_path / "x.h5"
    out.write_bytes(content)
    with pytest.raises(
        FileExistsError, match=r"is not a file of extracted responses, or damaged .*: write elsewhere, or remove it"
    ):
        extract_nsd(small.root, out, 2, roi="V1", overwrite=True)
    assert out.read_bytes() == content


def test_a_file_of_an_older_version(small, tmp_path):
    out = extract_nsd(small.root, tmp_path / "x.h5", 2, roi="V1")
    older = Responses.load(out)
    info = {k: v for k, v in older.info.items() if k not in ("side_files", "behaviour", "maps")}
    older.save(out)
    with h5py.File(out, "r+") as file:
        file.attrs["info"] = json.dumps(info)
        del file.attrs["checksum"]
    out.write_bytes(bytes(20) + out.read_bytes()[20:])
    with pytest.raises(FileExistsError, match="the version of neuroalign, which kept no checksums of NSD's files"):
        extract_nsd(small.root, out, 2, roi="V1")


def interrupted(small, out, monkeypatch):
    """The parts of a run that ended before its third session."""
    read = extraction.Request.read

    def fails_at_three(self, session):
        if session == 3:
            raise KeyboardInterrupt
        return read(self, session)

    with monkeypatch.context() as patch:
        patch.setattr(extraction.Request, "read", fails_at_three)
        with pytest.raises(KeyboardInterrupt):
            extract_nsd(small.root, out, 2, roi="V1")
    return sorted(out.with_name(f".{out.name}.parts").iterdir())


PART_DAMAGE = {
    "zeroed": lambda data: bytes(len(data)),
    "cut": lambda data: data[:-1000],
    "emptied": lambda data: b"",
    "a bit": damage_middle,
    "without its checksum": lambda data: data[:-8],
    "a header of terabytes": lambda data: data.replace(b"(750, ", b"(75000000000, ")[: len(data)],
}


@pytest.mark.parametrize("damage", PART_DAMAGE)
def test_a_damaged_part_of_a_killed_run_is_read_again(small, tmp_path, monkeypatch, damage):
    out = tmp_path / "x.h5"
    parts = interrupted(small, out, monkeypatch)
    parts[0].write_bytes(PART_DAMAGE[damage](parts[0].read_bytes()))
    sessions, read = [], extraction.Request.read
    monkeypatch.setattr(extraction.Request, "read", lambda self, s: sessions.append(s) or read(self, s))
    extract_nsd(small.root, out, 2, roi="V1")
    assert sorted(sessions) == [1, 3]
    same(Responses.load(out), read_nsd(small.root, 2, roi="V1"))
    assert left_behind(tmp_path) <= {"x.h5", ".x.h5.lock"}


def test_parts(tmp_path):
    values = np.random.default_rng(0).standard_normal((750, 7)).astype(np.float32)
    values[:, 2] = np.nan
    save_part(tmp_path / "a.npy", values)
    np.testing.assert_array_equal(load_part(tmp_path / "a.npy", 7), values)
    assert load_part(tmp_path / "a.npy", 8) is None
    assert load_part(tmp_path / "absent.npy", 7) is None


def test_a_folder_of_parts_that_is_a_link_is_refused(small, tmp_path):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("mine")
    (tmp_path / ".x.h5.parts").symlink_to(precious)
    with pytest.raises(OSError, match=r"\.x\.h5\.parts is a link"):
        extract_nsd(small.root, tmp_path / "x.h5", 2, roi="V1")
    assert (precious / "thesis.txt").read_text() == "mine"


_KILLED = """
import os, signal, sys
from neuroalign.data.nsd import extraction
def killed(*args):
    print("assembling", flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
setattr(extraction, sys.argv[3], killed)
extraction.extract_nsd(sys.argv[1], sys.argv[2], 2, roi="V1")
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL")
def test_kills_in_the_assembly_leave_nothing_for_good(small, tmp_path, monkeypatch):
    out = tmp_path / "x.h5"
    for where in ("write_fields", "stamp_hdf5", "_check_ncsnr"):
        result = subprocess.run([sys.executable, "-c", _KILLED, small.root, out, where], capture_output=True)
        assert result.returncode == -signal.SIGKILL and b"assembling" in result.stdout
        assert not out.exists() and [p for p in tmp_path.iterdir() if ".part." in p.name], "it was killed in the middle"
    sessions, read = [], extraction.Request.read
    monkeypatch.setattr(extraction.Request, "read", lambda self, s: sessions.append(s) or read(self, s))
    monkeypatch.setattr("neuroalign.files._swept", set())
    extract_nsd(small.root, out, 2, roi="V1")
    assert sessions == [], "all sessions had been read"
    same(Responses.load(out), read_nsd(small.root, 2, roi="V1"))
    assert left_behind(tmp_path) <= {"x.h5", ".x.h5.lock"}


def test_what_a_kill_after_the_last_step_leaves(small, tmp_path, monkeypatch):
    """Killed between renaming the file and removing its parts."""
    out = tmp_path / "x.h5"
    with monkeypatch.context() as patch:
        patch.setattr(extraction.shutil, "rmtree", lambda folder: None)
        extract_nsd(small.root, out, 2, roi="V1")
    assert (tmp_path / ".x.h5.parts").is_dir()
    extract_nsd(small.root, out, 2, roi="V1")
    assert left_behind(tmp_path) <= {"x.h5", ".x.h5.lock"}
