"""Extraction: the same as reading; whole or absent, whatever happens on the way."""

import multiprocessing
import shutil
import signal
import subprocess
import sys
import time
from contextlib import nullcontext

import h5py
import numpy as np
import pytest

from neuroalign.data import NSDError, Responses, extract_nsd, read_nsd
from neuroalign.data.nsd import NSDPaths, betas, extraction
from tests.data.nsd.conftest import B2, SPACES


def same(a, b):
    for name in (
        "values",
        "stimulus",
        "session",
        "roi",
        "noise_ceiling",
        "shared",
        "voxel_index",
        "vertex_index",
        "repeats",
    ):
        x, y = getattr(a, name), getattr(b, name)
        assert (x is None) == (y is None)
        if x is not None:
            np.testing.assert_array_equal(x, y)
    for name in ("maps", "behaviour"):
        x, y = getattr(a, name), getattr(b, name)
        assert set(x) == set(y)
        for key in x:
            np.testing.assert_array_equal(x[key], y[key])
    assert a.history == b.history


def left_behind(folder):
    return {p.name for p in folder.iterdir()} - {"tree"}


@pytest.mark.parametrize("space", SPACES)
def test_the_file_holds_what_is_read(planted, tmp_path, space):
    out = extract_nsd(planted.root, tmp_path / "x.h5", 1, roi=["V1", "V4"], space=space)
    read = read_nsd(planted.root, 1, roi=["V1", "V4"], space=space)
    extracted = Responses.load(out)
    same(extracted, read)
    info = dict(extracted.info)
    assert info.pop("ncsnr_difference") < 1e-4 and info.pop("ncsnr_voxels") > 10
    assert info == read.info
    assert left_behind(tmp_path) <= {"x.h5", ".x.h5.lock"}


def test_a_second_run_uses_the_file_and_other_options_are_refused(small, tmp_path, monkeypatch):
    out = extract_nsd(small.root, tmp_path / "x.h5", 2, roi="V1")
    changed = out.stat().st_mtime_ns
    with monkeypatch.context() as patch:
        patch.setattr(extraction.Request, "read", lambda *_: pytest.fail("read again"))
        extract_nsd(small.root, out, 2, roi="V1")
    assert out.stat().st_mtime_ns == changed
    with pytest.raises(
        FileExistsError, match=r"holds something else than what would be extracted \(roi, voxels differ\)"
    ):
        extract_nsd(small.root, out, 2, roi="V2")
    extract_nsd(small.root, out, 2, roi="V2", overwrite=True)
    assert set(Responses.load(out).roi) == {"V2"}
    out.write_text("not HDF5")
    with pytest.raises(FileExistsError, match="is not a file of extracted responses, or damaged"):
        extract_nsd(small.root, out, 2, roi="V2")


@pytest.mark.parametrize("progress", [True, False])
@pytest.mark.parametrize("terminal", [True, False])
def test_progress_is_a_bar_at_a_terminal_and_lines_elsewhere_if_wanted(
    planted, tmp_path, monkeypatch, progress, terminal
):
    shown = []
    monkeypatch.setattr("rich.progress.track", lambda items, *_, **__: shown.append("a bar") or items)
    monkeypatch.setattr("neuroalign.progress.EveryMinute", lambda *_: shown.append("lines") or nullcontext())
    monkeypatch.setattr("neuroalign.progress.draws_bars", lambda: terminal)
    extract_nsd(planted.root, tmp_path / "x.h5", 2, roi="V1", sessions=[1], progress=progress)
    assert shown == ([] if not progress else ["a bar"] if terminal else ["lines"])


def test_another_mask_of_the_same_name_is_another_file(small, tmp_path):
    masks = [small.labels[2, "func1pt8mm", "streams"] == number for number in (1, 5)]
    out = extract_nsd(small.root, tmp_path / "x.h5", 2, roi=masks[0])
    with pytest.raises(FileExistsError, match=r"\(voxels differ\)"):
        extract_nsd(small.root, out, 2, roi=masks[1])


_KILLED = """
import sys, time
from neuroalign.data.nsd import extraction
read = extraction.Request.read
def slow(self, session):
    if session == 3:
        print("third", flush=True)
        time.sleep(60)
    return read(self, session)
extraction.Request.read = slow
extraction.extract_nsd(sys.argv[1], sys.argv[2], 2, roi="V1")
"""


def test_killed_on_the_way(small, tmp_path, monkeypatch):
    out = tmp_path / "x.h5"
    process = subprocess.Popen([sys.executable, "-c", _KILLED, small.root, out], stdout=subprocess.PIPE)
    assert process.stdout.readline() == b"third\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    assert not out.exists(), "nothing half-written"
    sessions = []
    read = extraction.Request.read
    monkeypatch.setattr(extraction.Request, "read", lambda self, s: sessions.append(s) or read(self, s))
    extract_nsd(small.root, out, 2, roi="V1")
    assert sessions == [3], "the second run goes on where the first was"
    same(Responses.load(out), read_nsd(small.root, 2, roi="V1"))
    assert left_behind(tmp_path) <= {"x.h5", ".x.h5.lock"}


def test_a_source_replaced_between_two_runs_is_read_again(small, tmp_path, monkeypatch):
    out, path = tmp_path / "x.h5", NSDPaths(small.root, 2).session(1, "hdf5")
    read = extraction.Request.read

    def fails_at_three(self, session):
        if session == 3:
            raise KeyboardInterrupt
        return read(self, session)

    monkeypatch.setattr(extraction.Request, "read", fails_at_three)
    with pytest.raises(KeyboardInterrupt):
        extract_nsd(small.root, out, 2, roi="V1")
    sessions = []
    monkeypatch.setattr(extraction.Request, "read", lambda self, s: sessions.append(s) or read(self, s))
    small_change(path)
    with pytest.warns(UserWarning, match=r"the stored ncsnr .* differs"):
        extract_nsd(small.root, out, 2, roi="V1")
    assert sessions == [1, 3]
    same(Responses.load(out), read_nsd(small.root, 2, roi="V1"))


def small_change(path):
    """One trial of every voxel gets another value: enough to change ncsnr."""
    with h5py.File(path, "r+") as f:
        f["betas"][:200] = np.where(f["betas"][:200] == 0, 0, 3000)


def test_a_file_replaced_while_it_is_read(small, monkeypatch, tmp_path):
    path = NSDPaths(small.root, 2).session(2, "hdf5")
    from neuroalign.data.nsd import tree

    original = tree.read_columns

    def replaced(dataset, places):
        values = original(dataset, places)
        if dataset.file.filename == str(path):
            shutil.copy(path, path.with_suffix(".new"))
            path.with_suffix(".new").replace(path)
        return values

    monkeypatch.setattr(tree, "read_columns", replaced)
    with pytest.raises(NSDError, match=r"betas_session02.hdf5 was replaced while it was read"):
        read_nsd(small.root, 2, roi="V1")
    with pytest.raises(NSDError, match="was replaced while it was read"):
        extract_nsd(small.root, tmp_path / "x.h5", 2, roi="V1")
    assert not (tmp_path / "x.h5").exists()


def _extract(root, out, delay):
    time.sleep(delay)
    extract_nsd(root, out, 2, roi="nsdgeneral")


def test_two_processes_and_one_file(small, tmp_path):
    context = multiprocessing.get_context("spawn")
    out = tmp_path / "x.h5"
    processes = [context.Process(target=_extract, args=(small.root, out, d)) for d in (0, 0.05)]
    for p in processes:
        p.start()
    for p in processes:
        p.join(120)
    assert [p.exitcode for p in processes] == [0, 0]
    same(Responses.load(out), read_nsd(small.root, 2, roi="nsdgeneral"))


def test_a_full_disk_is_told_before_anything_is_written(small, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    with pytest.raises(OSError, match=r"kB are needed in .*, but 1 kB are free"):
        extract_nsd(small.root, tmp_path / "x.h5", 2, roi="V1")
    assert left_behind(tmp_path) <= {".x.h5.lock"}


_FULL = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
from neuroalign.data import extract_nsd
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    extract_nsd(sys.argv[1], sys.argv[2], 2, roi="nsdgeneral")
except OSError as error:
    print(error)
"""


def test_a_disk_that_fills_up_on_the_way(small, tmp_path):
    """A limit on the size of files makes writes fail as a full disk does."""
    out = tmp_path / "x.h5"
    result = subprocess.run([sys.executable, "-c", _FULL, small.root, out], capture_output=True, text=True, check=True)
    assert "no space left while writing" in result.stdout and "nothing was left behind" in result.stdout
    assert not out.exists()
    assert not [p for p in tmp_path.rglob("*.part.*") if "tree" not in p.parts]
    extract_nsd(small.root, out, 2, roi="nsdgeneral")
    same(Responses.load(out), read_nsd(small.root, 2, roi="nsdgeneral"))


def test_nothing_is_written_in_the_tree(small, tmp_path):
    def state():
        return sorted((p.as_posix(), p.stat().st_mtime_ns) for p in small.root.rglob("*"))

    before = state()
    folders = [small.root, *(p for p in small.root.rglob("*") if p.is_dir())]
    for folder in folders:
        folder.chmod(0o555)
    try:
        extract_nsd(small.root, tmp_path / "out/x.h5", 2, roi="V1")
        assert state() == before
    finally:
        for folder in folders:
            folder.chmod(0o755)


def test_an_ncsnr_of_another_version(planted, tmp_path):
    root = tmp_path / "tree"
    shutil.copytree(
        planted.root, root, ignore=shutil.ignore_patterns("*.nii.gz.none", "func1mm", "fsaverage", "subj02")
    )
    wrong = NSDPaths(root, 1)
    shutil.copy(NSDPaths(root, 1, B2).beta_folder / "ncsnr.nii.gz", wrong.beta_folder / "ncsnr.nii.gz")
    with pytest.warns(
        UserWarning, match=r"the stored ncsnr of .*betas_fithrf_GLMdenoise_RR differs .* another version"
    ):
        extract_nsd(root, tmp_path / "x.h5", 1, roi="nsdgeneral")
    assert Responses.load(tmp_path / "x.h5").info["ncsnr_difference"] > 0.1


def test_damage_stops_it_and_names_the_file(small, tmp_path):
    path = NSDPaths(small.root, 2).session(2, "hdf5")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(NSDError, match=r"betas_session02.hdf5 can't be read: truncated"):
        extract_nsd(small.root, tmp_path / "x.h5", 2, roi="V1")
    assert not (tmp_path / "x.h5").exists()
    path.unlink()
    with pytest.raises(NSDError, match="session 2 is missing"):
        extract_nsd(small.root, tmp_path / "x.h5", 2, roi="V1")
    with pytest.raises(NSDError, match=r"session 41 is missing .*subject 2 had 40 sessions"):
        extract_nsd(small.root, tmp_path / "x.h5", 2, roi="V1", sessions=[1, 41])


def test_constant_voxels_and_nan(small):
    """A voxel that is constant, but not 0, is a value; z-scoring makes it NaN and the ceiling leaves it out."""
    reference = read_nsd(small.root, 2, roi="V4")
    x, y, z = reference.voxel_index[0]
    with h5py.File(NSDPaths(small.root, 2).session(1, "hdf5"), "r+") as f:
        f["betas"][:, z, y, x] = 250
    r = read_nsd(small.root, 2, roi="V4")
    np.testing.assert_allclose(r.values[:750, 0], 250 / 300)
    zscored = r.zscore_sessions()
    assert np.isnan(zscored.values[:750, 0]).all() and np.isfinite(zscored.values[750:]).all()
    averaged = zscored.average_repeats()
    assert np.isfinite(averaged.values[:, 1:]).all() and 0 < np.isnan(averaged.values[:, 0]).mean() < 1


def test_only_one_session_is_in_memory(small, tmp_path, monkeypatch):
    """The values of a session are gone before the next one is read."""
    import gc
    import weakref

    alive, most, asked = weakref.WeakSet(), [], []

    class Tracked(np.ndarray):
        pass

    read = betas.read_session

    def tracked(*args):
        gc.collect()
        most.append(len(alive))
        asked.append(args)
        values = read(*args).view(Tracked)
        alive.add(values)
        return values

    Tracked.__hash__ = lambda self: id(self)
    monkeypatch.setattr("neuroalign.data.nsd.reader.read_session", tracked)
    extract_nsd(small.root, tmp_path / "x.h5", 2, roi="V1")
    assert most == [0, 0, 0]
    held = [tracked(*asked[0]) for _ in range(2)]
    assert most[3:] == [0, 1] and len(held) == 2, "what is held would be seen"
