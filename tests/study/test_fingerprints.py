"""Other content is another fingerprint."""

import json
import os

import pytest

from neuroalign.study import fingerprints as module
from neuroalign.study.fingerprints import ABSENT, fingerprint, fingerprints


def age(path, seconds=100):
    """As if the file had been written a while ago."""
    os.utime(path, (path.stat().st_mtime - seconds,) * 2)


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "responses.bin"
    path.write_bytes(bytes(10**6))
    age(path)
    return path


def test_a_changed_byte_in_the_middle_is_seen_though_size_and_time_stay(file):
    before, stat = fingerprint(file), file.stat()
    data = bytearray(file.read_bytes())
    data[500_001] = 1
    file.write_bytes(data)
    os.utime(file, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert fingerprint(file) != before


def test_a_copy_elsewhere_is_the_same(file, tmp_path):
    copy = tmp_path / "copy.bin"
    copy.write_bytes(file.read_bytes())
    assert fingerprint(copy) == fingerprint(file)


def test_a_file_that_was_not_touched_is_not_read_again(file, tmp_path, monkeypatch):
    cache = tmp_path / "cache.json"
    before = fingerprint(file, cache=cache)
    monkeypatch.setattr(module, "_of_content", lambda *args: pytest.fail("it was read again"))
    assert fingerprint(file, cache=cache) == before


def test_a_touched_file_is_read_again(file, tmp_path):
    cache = tmp_path / "cache.json"
    before = fingerprint(file, cache=cache)
    file.write_bytes(bytes(10**6 - 1) + b"1")
    assert fingerprint(file, cache=cache) != before


def test_what_was_written_just_now_is_not_remembered(tmp_path):
    path, cache = tmp_path / "new", tmp_path / "cache.json"
    path.write_text("1")
    before, stat = fingerprint(path, cache=cache), path.stat()
    path.write_text("2")
    os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert fingerprint(path, cache=cache) != before


@pytest.mark.parametrize("content", ["", "[]", '{"a": 1}', "{"])
def test_a_broken_cache_is_made_anew(file, tmp_path, content):
    cache = tmp_path / "cache.json"
    cache.write_text(content)
    fingerprint(file, cache=cache)
    assert len(json.loads(cache.read_text())) == 1


def test_a_large_file_counts_by_samples_size_and_time(file, monkeypatch):
    monkeypatch.setattr(module, "WHOLE", 10**5)
    before = fingerprint(file)
    age(file, 50)
    assert before.startswith("samples-1000000-")
    assert fingerprint(file) != before


def test_names_and_content_of_a_folder_count(tmp_path):
    folder = tmp_path / "images"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "a").write_text("1")
    first = fingerprint(folder)
    (folder / ".hidden").write_text("1")
    assert fingerprint(folder) == first
    (folder / "deep" / "a").rename(folder / "deep" / "b")
    renamed = fingerprint(folder)
    (folder / "deep" / "b").write_text("2")
    assert len({first, renamed, fingerprint(folder)}) == 3


def test_what_is_not_there_is_absent(tmp_path):
    assert fingerprints([tmp_path / "no", "memory://no/such/file"]) == {
        str(tmp_path / "no"): ABSENT,
        "memory://no/such/file": ABSENT,
    }


def test_a_url_counts_by_what_its_server_says():
    import fsspec

    store = fsspec.filesystem("memory")
    store.pipe_file("/fingerprints/a", b"123")
    before = fingerprint("memory://fingerprints/a")
    assert fingerprint("memory://fingerprints/a") == before
    store.pipe_file("/fingerprints/a", b"1234")
    assert fingerprint("memory://fingerprints/a") != before


def test_no_secret_is_kept(file, tmp_path):
    cache = tmp_path / "cache.json"
    with pytest.raises(ImportError) as caught:
        fingerprints([file, "nosuchkind://me:pw12@host/a"], cache=cache)
    assert "pw12" not in str(caught.value) and not cache.exists()
