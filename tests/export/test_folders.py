"""Folders that are whole or absent."""

import pytest

from neuroalign.export.folders import check_absent, whole_folder


def test_a_folder_appears_when_it_is_complete(tmp_path):
    target = tmp_path / "new" / "plugin"
    with whole_folder(target) as temporary:
        (temporary / "a.txt").write_text("a")
        assert not target.exists() and temporary.parent == target.parent
    assert [p.name for p in target.parent.iterdir()] == ["plugin"]
    assert (target / "a.txt").read_text() == "a"


def test_nothing_is_left_of_a_failure(tmp_path):
    def fail():
        with whole_folder(tmp_path / "plugin") as temporary:
            (temporary / "a.txt").write_text("a")
            raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        fail()
    assert not list(tmp_path.iterdir())


def test_an_empty_folder_is_filled_and_others_stay(tmp_path):
    (tmp_path / "empty").mkdir()
    with whole_folder(tmp_path / "empty") as temporary:
        (temporary / "a.txt").write_text("a")
    assert (tmp_path / "empty" / "a.txt").exists()
    with pytest.raises(FileExistsError, match="empty exists and is not empty: name another folder"):
        check_absent(tmp_path / "empty")
    with pytest.raises(NotADirectoryError, match="is a file, where a folder is wanted"):
        check_absent(tmp_path / "empty" / "a.txt")


def test_content_that_came_meanwhile_is_kept(tmp_path):
    target = tmp_path / "plugin"

    def interrupted():
        with whole_folder(target):
            target.mkdir()
            (target / "theirs.txt").write_text("theirs")

    with pytest.raises(OSError, match="not empty"):
        interrupted()
    assert [p.name for p in tmp_path.rglob("*")] == ["plugin", "theirs.txt"]
