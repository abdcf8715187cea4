"""One writer at a time, and no waiting for ever."""

import logging
import subprocess
import sys
import time

import pytest

from neuroalign.data import extract_nsd
from neuroalign.processes import locked
from tests.data.nsd.tree_writer import write_tree

HOLDER = """
import pathlib, sys, time, filelock
folder, seconds, writes = pathlib.Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "writes"
with filelock.FileLock(folder / ".lock"):
    (folder / "held").touch()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if writes:
            with (folder / "growing").open("a") as file:
                file.write("x")
        time.sleep(0.05)
"""


@pytest.fixture
def holder(tmp_path):
    """Another process that holds the lock for some seconds."""
    started = []

    def hold(seconds, how):
        started.append(subprocess.Popen([sys.executable, "-c", HOLDER, str(tmp_path), str(seconds), how]))
        while not (tmp_path / "held").exists():
            time.sleep(0.02)

    yield hold
    for process in started:
        process.terminate()
        process.wait()


def test_a_process_that_writes_nothing_is_given_up(holder, tmp_path, caplog):
    holder(60, "is silent")
    start = time.monotonic()
    with (
        caplog.at_level(logging.WARNING, "neuroalign"),
        pytest.raises(
            TimeoutError, match=r"makes it, and has written nothing for 0\.0167 minutes: if it hangs, end it"
        ),
        locked(tmp_path / ".lock", "it", watch="growing", patience=1.0),
    ):
        raise AssertionError
    assert time.monotonic() - start < 30
    assert "another process makes it: waiting for it" in caplog.text


def test_a_process_that_goes_on_is_waited_for(holder, tmp_path):
    holder(3, "writes")
    with locked(tmp_path / ".lock", "it", watch="growing", patience=1.0):
        size = (tmp_path / "growing").stat().st_size
    assert size > 5


@pytest.mark.parametrize("kind", ["no folder", "a folder", "a link", "proc"])
def test_where_nothing_can_be_locked(kind, tmp_path):
    lock = tmp_path / ".lock"
    if kind == "no folder":
        lock = tmp_path / "nothing/.lock"
    elif kind == "a folder":
        lock.mkdir()
    elif kind == "a link":
        lock.symlink_to(tmp_path / "elsewhere")
    else:
        lock = type(lock)("/proc/.x.lock")
    start = time.monotonic()
    with (
        pytest.raises(OSError, match=r"it can't be made: no lock file can be written at"),
        locked(lock, "it", watch="*"),
    ):
        raise AssertionError
    assert time.monotonic() - start < 5 and not (tmp_path / "elsewhere").exists()


def test_the_lock_is_released_after_an_error(tmp_path):
    for _ in range(2):
        with pytest.raises(KeyError), locked(tmp_path / ".lock", "it", watch="*"):
            raise KeyError


def test_extraction_where_nothing_can_be_written(tmp_path):
    tree = write_tree(tmp_path / "tree", subjects=(2,))
    with pytest.raises(OSError, match=r"/proc/x\.h5 can't be made: no lock file can be written"):
        extract_nsd(tree.root, "/proc/x.h5", 2, roi="V1")
