"""Files that are whole or absent."""

import errno
import shutil

import pytest

from neuroalign.files import check_space, is_full, readable_size, whole


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
