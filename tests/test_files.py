"""Files that are whole or absent."""

import errno
import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from neuroalign.files import (
    check_folder,
    check_source,
    check_space,
    is_full,
    readable_size,
    whole,
    write_csv,
    write_png,
)


def test_renamed_at_the_end(tmp_path):
    with whole(tmp_path / "new/a.txt") as temporary:
        temporary.write_text("text")
        assert not (tmp_path / "new/a.txt").exists()
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["a.txt"]


def test_nothing_is_left_of_a_failure(tmp_path):
    (tmp_path / "a.txt").write_text("old")

    def fails():
        with whole(tmp_path / "a.txt") as temporary:
            temporary.write_text("half")
            raise RuntimeError("stop")

    with pytest.raises(RuntimeError, match="stop"):
        fails()
    assert (tmp_path / "a.txt").read_text() == "old" and len(list(tmp_path.iterdir())) == 1


def test_two_writers_dont_meet(tmp_path):
    with whole(tmp_path / "a.txt") as first, whole(tmp_path / "a.txt") as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert (tmp_path / "a.txt").read_text() == "first"


def test_the_suffix_stays(tmp_path):
    with whole(tmp_path / "a.nii.gz") as temporary:
        assert temporary.name.endswith(".nii.gz")
        temporary.write_text("")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no space"), OSError("write failed, errno = 28"),
                                   OSError("100 requested and 3 written")])  # fmt: skip
def test_a_full_disk_is_named(tmp_path, error):
    assert is_full(error)

    def fails():
        with whole(tmp_path / "a.txt"):
            raise error

    with pytest.raises(OSError, match=r"no space left while writing .*a.txt; nothing was left behind"):
        fails()
    assert not is_full(OSError(errno.ENOENT, "absent"))


def test_too_little_space_is_told_first(tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**6))
    with pytest.raises(OSError, match=r"2 GB are needed in .*, but 1 MB are free"):
        check_space(tmp_path / "not/yet/there", 2 * 10**9)
    check_space(tmp_path, 10**6)


def test_permissions_are_those_of_any_file(tmp_path):
    with whole(tmp_path / "a.txt") as temporary:
        temporary.write_text("")
    (tmp_path / "b.txt").write_text("")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


@pytest.mark.parametrize(("size", "text"), [(12, "12 B"), (1500, "1.5 kB"), (37_000_000_000, "37 GB"), (2e13, "20 TB")])
def test_sizes(size, text):
    assert readable_size(size) == text


def targets(folder):
    """What a file can't replace, by kind."""
    (folder / "other").mkdir()
    (folder / "in").mkdir()
    (folder / "other/secret.txt").write_text("theirs")
    os.mkfifo(folder / "in/pipe")
    (folder / "in/out.txt").symlink_to("../other/secret.txt")
    (folder / "in/new.txt").symlink_to("../other/absent.txt")
    (folder / "in/a").symlink_to("b")
    (folder / "in/b").symlink_to("a")
    (folder / "in/self").symlink_to("self")
    (folder / "file").write_text("")
    return {
        "a folder": (folder / "in", "in is a folder: give the name of a file"),
        "a device": (Path(os.devnull), "/dev/null is a device or a pipe, which a file can't replace"),
        "a pipe": (folder / "in/pipe", "pipe is a device or a pipe"),
        "a link out": (folder / "in/out.txt", r"out.txt is a link to .*secret.txt, outside its folder"),
        "a dangling link out": (folder / "in/new.txt", r"new.txt is a link to .*absent.txt, outside its folder"),
        "a circle": (folder / "in/a", "a is a link that leads in a circle: remove it"),
        "a link to itself": (folder / "in/self", "self is a link that leads in a circle"),
        "below a file": (folder / "file/x/a.txt", "file is a file, where a folder is wanted"),
        "below a device": (Path(os.devnull) / "a.txt", "/dev/null is a file, where a folder is wanted"),
        "below a dangling link": (folder / "in/gone/a.txt", "gone is a link that leads nowhere: remove it"),
    }


KINDS = ["a folder", "a device", "a pipe", "a link out", "a dangling link out", "a circle", "a link to itself",
         "below a file", "below a device", "below a dangling link"]  # fmt: skip


@pytest.mark.skipif(os.name != "posix", reason="devices, pipes and links of POSIX")
@pytest.mark.parametrize("kind", KINDS)
def test_what_a_file_cant_replace(tmp_path, kind):
    path, message = targets(tmp_path)[kind]
    (tmp_path / "in/gone").symlink_to("nowhere")

    def writes():
        with whole(path) as temporary:
            temporary.write_text("mine")

    before = sorted(p.name for p in (tmp_path / "in").iterdir())
    with pytest.raises(OSError, match=message):
        writes()
    assert (tmp_path / "other/secret.txt").read_text() == "theirs" and Path(os.devnull).is_char_device()
    assert sorted(p.name for p in (tmp_path / "in").iterdir()) == before
    assert not (tmp_path / "other/absent.txt").exists()


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
@pytest.mark.parametrize("exists", [True, False])
def test_a_link_within_its_folder_stays_one(tmp_path, exists):
    if exists:
        (tmp_path / "run-3.txt").write_text("old")
    (tmp_path / "last.txt").symlink_to("run-3.txt")
    with whole(tmp_path / "last.txt") as temporary:
        temporary.write_text("new")
    assert (tmp_path / "last.txt").is_symlink() and (tmp_path / "run-3.txt").read_text() == "new"
    assert len(list(tmp_path.iterdir())) == 2


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


@pytest.mark.skipif(os.name != "posix", reason="whether a process lives is asked on POSIX")
def test_leftovers_of_dead_processes_go_and_others_stay(tmp_path):
    with whole(tmp_path / "b.txt") as temporary:  # how a temporary file is called
        machine = temporary.name[1:9]
        temporary.write_text("")
    week = 7 * 24 * 3600
    dead, elsewhere = dead_process(), "0" * 8 if machine != "0" * 8 else "1" * 8
    names = {
        "dead": (f".{machine}-{dead}-00000000.part.a.txt", 0, False),
        "living": (f".{machine}-{os.getpid()}-00000000.part.a.txt", week - 100, True),
        "living, a week old": (f".{machine}-{os.getpid()}-00000001.part.a.txt", week + 100, False),
        "of another machine": (f".{elsewhere}-{dead}-00000000.part.a.txt", week - 100, True),
        "of another machine, a week old": (f".{elsewhere}-{dead}-00000001.part.a.txt", week + 100, False),
        "of an older version": (f".{dead}-00000000.part.a.txt", week - 100, True),
        "of an older version, a week old": (f".{dead}-00000001.part.a.txt", week + 100, False),
        "of another file": (f".{machine}-{dead}-00000000.part.aa.txt", week + 100, True),
        "somebody's": (".part.a.txt", week + 100, True),
    }
    for name, age, _ in names.values():
        (tmp_path / name).write_text("half")
        os.utime(tmp_path / name, (time.time() - age,) * 2)
    (tmp_path / f".{machine}-{dead}-00000002.part.a.txt").mkdir()  # nothing of ours: left alone
    with whole(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert {kind: (tmp_path / name).exists() for kind, (name, _, _) in names.items()} == {
        kind: stays for kind, (_, _, stays) in names.items()
    }


@pytest.mark.skipif(os.name != "posix", reason="SIGKILL")
def test_what_a_killed_writer_left_goes_with_the_next_write(tmp_path):
    code = (
        "import os, signal, sys; from neuroalign.files import whole\n"
        "with whole(sys.argv[1]) as temporary:\n"
        "    temporary.write_text('half'); os.kill(os.getpid(), signal.SIGKILL)"
    )
    process = subprocess.run([sys.executable, "-c", code, str(tmp_path / "a.txt")], check=False)
    assert process.returncode == -9 and not (tmp_path / "a.txt").exists() and len(list(tmp_path.iterdir())) == 1
    with whole(tmp_path / "a.txt") as temporary:
        temporary.write_text("new")
    assert [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_threads_that_write_one_file_leave_a_whole_one(tmp_path):
    texts = [str(i) * 50_000 for i in range(8)]

    def write(text):
        for _ in range(20):
            with whole(tmp_path / "a.txt") as temporary:
                temporary.write_text(text)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(write, texts))
    assert (tmp_path / "a.txt").read_text() in texts and len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(os.name != "posix", reason="devices, pipes and links of POSIX")
def test_what_cant_be_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "gone").symlink_to("nowhere")
    (tmp_path / "a.txt").write_text("")
    (tmp_path / "link").symlink_to("a.txt")
    assert check_source(tmp_path / "link") == tmp_path / "link"
    for name, message in [("pipe", "is a device or a pipe"), ("gone", "no notes at"), (".", "is a folder")]:
        with pytest.raises(OSError, match=message):
            check_source(tmp_path / name, "notes")


@pytest.mark.skipif(os.name != "posix", reason="links of POSIX")
def test_a_folder_of_ours_is_no_link(tmp_path):
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").write_text("")
    assert check_folder(tmp_path) == tmp_path and check_folder(tmp_path / "new") == tmp_path / "new"
    for name in ("link", "file"):
        with pytest.raises(NotADirectoryError, match=f"{name} is a link or a file where a folder of ours should be"):
            check_folder(tmp_path / name)


def test_tables_and_figures_are_written_whole(tmp_path):
    pandas, figure = pytest.importorskip("pandas"), pytest.importorskip("matplotlib.figure").Figure(figsize=(1, 1))
    write_csv(pandas.DataFrame({"a": [1, 2]}), tmp_path / "a.csv")
    write_png(figure, tmp_path / "a.png", dpi=50)
    assert (tmp_path / "a.csv").read_text().split() == ["a", "1", "2"]
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"


def test_a_figure_that_fails_leaves_the_old_one(tmp_path):
    class Broken:
        def savefig(self, path, **_):
            path.write_bytes(b"half")
            raise RuntimeError("no font")

    (tmp_path / "a.png").write_bytes(b"old")
    with pytest.raises(RuntimeError, match="no font"):
        write_png(Broken(), tmp_path / "a.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert (tmp_path / "a.png").read_bytes() == b"old"
