"""The cache of resized images: right pixels, resumable, checksummed, read by many processes."""

import hashlib
import json
import os
import pickle

import h5py
import numpy as np
import pytest
import torch

from neuroalign.data import CachedImages, NSDError, NSDImages, cache_nsd_stimuli
from neuroalign.data.images import ArrayDataset, collate, resize
from neuroalign.data.nsd import stimulus_cache


@pytest.fixture
def rows(planted):
    return np.unique(planted.rows(1))[:700]


def test_pixels_are_those_of_the_brick_resized(planted, rows, tmp_path):
    cache = cache_nsd_stimuli(planted.root, tmp_path / "c", image_size=5, rows=rows[::-1])
    assert cache.shape == (700, 5, 5, 3) and len(cache) == 700
    asked = rows[[3, 699, 3, 0]]
    pixels = torch.from_numpy(NSDImages(planted.root)[asked]).permute(0, 3, 1, 2).float() / 255
    expected = (resize(pixels, 5) * 255).round().byte().permute(0, 2, 3, 1)
    np.testing.assert_array_equal(cache[asked], expected)
    full = cache_nsd_stimuli(planted.root, tmp_path / "full", rows=rows[:10])
    np.testing.assert_array_equal(full[rows[:10]], NSDImages(planted.root)[rows[:10]])
    cache.verify()
    again = pickle.loads(pickle.dumps(cache))
    assert again._mapped is None
    np.testing.assert_array_equal(again[asked], cache[asked])


@pytest.mark.slow
def test_processes_write_what_one_does(planted, rows, tmp_path):
    one = cache_nsd_stimuli(planted.root, tmp_path / "one", image_size=5, rows=rows)
    two = cache_nsd_stimuli(planted.root, tmp_path / "two", image_size=5, rows=rows, workers=2)
    np.testing.assert_array_equal(one[rows], two[rows])
    assert one.index == two.index


def test_workers_of_a_loader_read_a_shuffled_epoch(planted, rows, tmp_path):
    cache = cache_nsd_stimuli(planted.root, tmp_path / "c", image_size=5, rows=rows)
    data = ArrayDataset(cache, image_rows=rows, stimulus=torch.from_numpy(rows))
    loader = torch.utils.data.DataLoader(data, batch_size=64, shuffle=True, num_workers=2, collate_fn=collate)
    seen = []
    for batch in loader:
        np.testing.assert_allclose(
            batch["image"] * 255, cache[batch["stimulus"].numpy()].transpose(0, 3, 1, 2), atol=1e-3
        )
        seen += batch["stimulus"].tolist()
    assert sorted(seen) == rows.tolist()


def test_an_interrupted_run_goes_on(planted, rows, tmp_path, monkeypatch):
    write, done = stimulus_cache._write_block, []

    def breaks(images, file, rows, block):
        if block == 2:
            raise KeyboardInterrupt
        done.append(block)
        return write(images, file, rows, block)

    monkeypatch.setattr(stimulus_cache, "_write_block", breaks)
    with pytest.raises(KeyboardInterrupt):
        cache_nsd_stimuli(planted.root, tmp_path / "c", image_size=5, rows=rows)
    with pytest.raises(FileNotFoundError, match="no complete cache"):
        CachedImages(tmp_path / "c")
    monkeypatch.setattr(stimulus_cache, "_write_block", lambda *a: done.append(a[3]) or write(*a))
    cache = cache_nsd_stimuli(planted.root, tmp_path / "c", image_size=5, rows=rows)
    assert done == [0, 1, 2]
    cache.verify()
    assert not (tmp_path / "c/progress.json").exists()
    monkeypatch.setattr(stimulus_cache, "_write_block", lambda *a: pytest.fail("written again"))
    cache_nsd_stimuli(planted.root, tmp_path / "c", image_size=5, rows=rows)


def interrupted(planted, rows, path, monkeypatch):
    write = stimulus_cache._write_block

    def breaks(images, file, rows, block):
        if block == 2:
            raise KeyboardInterrupt
        return write(images, file, rows, block)

    with monkeypatch.context() as patch:
        patch.setattr(stimulus_cache, "_write_block", breaks)
        with pytest.raises(KeyboardInterrupt):
            cache_nsd_stimuli(planted.root, path, image_size=5, rows=rows)


def test_an_interrupted_run_of_other_settings_is_begun_anew(planted, rows, tmp_path, monkeypatch):
    interrupted(planted, rows, tmp_path / "c", monkeypatch)
    cache = cache_nsd_stimuli(planted.root, tmp_path / "c", image_size=6, rows=rows[1:])
    expected = cache_nsd_stimuli(planted.root, tmp_path / "fresh", image_size=6, rows=rows[1:])
    assert cache.shape == (699, 6, 6, 3)
    np.testing.assert_array_equal(cache[rows[1:]], expected[rows[1:]])
    cache.verify()


def test_a_cache_of_other_images_is_refused(planted, rows, tmp_path):
    cache_nsd_stimuli(planted.root, tmp_path / "c", image_size=5, rows=rows)
    for other in ({"image_size": 6, "rows": rows}, {"image_size": 5, "rows": rows[1:]}):
        with pytest.raises(FileExistsError, match="is a cache of other images"):
            cache_nsd_stimuli(planted.root, tmp_path / "c", **other)


def test_damage_is_found(planted, rows, tmp_path):
    cache_nsd_stimuli(planted.root, tmp_path / "c", image_size=5, rows=rows)
    images = np.load(tmp_path / "c/images.npy", mmap_mode="r+")
    images[300, 0, 0, 0] ^= 255
    images.flush()
    with pytest.raises(NSDError, match="images 256 to 511 are damaged"):
        CachedImages(tmp_path / "c")
    CachedImages(tmp_path / "c", verify=False)


DAMAGE = {
    "emptied": lambda data: b"",
    "zeroed": lambda data: bytes(len(data)),
    "cut": lambda data: data[:-7],
    "half": lambda data: data[: len(data) // 2],
    "other": lambda data: b"no such thing",
    "without the last": None,
    "other type": None,
}


def damage_file(path, damage):
    if DAMAGE[damage] is not None:
        path.write_bytes(DAMAGE[damage](path.read_bytes()))
    elif path.suffix == ".json":
        index = json.loads(path.read_text())
        path.write_text(json.dumps(list(index) if damage == "other type" else {**index, "crc32": index["crc32"][:-1]}))
    else:
        values = np.load(path)
        np.save(path, values[:-1] if damage == "without the last" else values.astype(np.int16))


@pytest.mark.parametrize("name", ["index.json", "rows.npy", "images.npy"])
@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_file_is_named_and_made_again(planted, rows, tmp_path, name, damage):
    path = tmp_path / "c"
    expected = cache_nsd_stimuli(planted.root, path, image_size=5, rows=rows)[rows].copy()
    damage_file(path / name, damage)
    with pytest.raises(NSDError, match=rf"{name} is (missing|damaged).*Call cache_nsd_stimuli .* again"):
        CachedImages(path)
    cache = cache_nsd_stimuli(planted.root, path, image_size=5, rows=rows)
    np.testing.assert_array_equal(cache[rows], expected)
    np.testing.assert_array_equal(CachedImages(path)[rows], expected)


def test_only_damaged_blocks_are_made_again(planted, rows, tmp_path, monkeypatch):
    path = tmp_path / "c"
    expected = cache_nsd_stimuli(planted.root, path, image_size=5, rows=rows)[rows].copy()
    images = np.load(path / "images.npy", mmap_mode="r+")
    images[256:300] = 0
    images.flush()
    write, done = stimulus_cache._write_block, []
    monkeypatch.setattr(stimulus_cache, "_write_block", lambda *a: done.append(a[3]) or write(*a))
    np.testing.assert_array_equal(cache_nsd_stimuli(planted.root, path, image_size=5, rows=rows)[rows], expected)
    assert done == [1]


@pytest.mark.parametrize("name", ["images.npy", "progress.json", "rows.npy"])
@pytest.mark.parametrize("damage", ["emptied", "zeroed", "half"])
def test_damage_in_what_an_interrupted_run_left(planted, rows, tmp_path, monkeypatch, name, damage):
    expected = cache_nsd_stimuli(planted.root, tmp_path / "whole", image_size=5, rows=rows)[rows]
    path = tmp_path / "c"
    interrupted(planted, rows, path, monkeypatch)
    damage_file(path / name, damage)
    np.testing.assert_array_equal(cache_nsd_stimuli(planted.root, path, image_size=5, rows=rows)[rows], expected)


def test_one_damaged_block_of_an_interrupted_run(planted, rows, tmp_path, monkeypatch):
    path = tmp_path / "c"
    interrupted(planted, rows, path, monkeypatch)
    images = np.load(path / "images.npy", mmap_mode="r+")
    images[3] ^= 1
    images.flush()
    write, done = stimulus_cache._write_block, []
    monkeypatch.setattr(stimulus_cache, "_write_block", lambda *a: done.append(a[3]) or write(*a))
    cache_nsd_stimuli(planted.root, path, image_size=5, rows=rows).verify()
    assert done == [0, 2]


def test_a_changed_brick_is_another_source(small, tmp_path):
    rows = np.unique(small.rows(2))[:300]
    cache_nsd_stimuli(small.root, tmp_path / "c", image_size=5, rows=rows)
    brick = NSDImages(small.root).path
    os.utime(brick)
    cache_nsd_stimuli(small.root, tmp_path / "c", image_size=5, rows=rows)  # a new time alone is no change
    with h5py.File(brick, "r+") as file:
        file["imgBrick"][int(rows[0])] = 7  # of the same size
    with pytest.raises(FileExistsError, match=r"of another stimulus set \(source differ\)"):
        cache_nsd_stimuli(small.root, tmp_path / "c", image_size=5, rows=rows)


def test_a_folder_of_somebody_else(planted, rows, tmp_path):
    (tmp_path / "c").mkdir()
    (tmp_path / "c/index.json").write_text('{"mine": 1}')
    (tmp_path / "c/thesis.txt").write_text("mine")
    with pytest.raises(FileExistsError, match=r"holds other files, such as thesis\.txt: choose another folder"):
        cache_nsd_stimuli(planted.root, tmp_path / "c", image_size=5, rows=rows)
    assert json.loads((tmp_path / "c/index.json").read_text()) == {"mine": 1}
    (tmp_path / "d").mkdir()
    (tmp_path / "d/images.npy").symlink_to(tmp_path / "c/thesis.txt")
    with pytest.raises(OSError, match=r"images\.npy is a link"):
        cache_nsd_stimuli(planted.root, tmp_path / "d", image_size=5, rows=rows)
    assert (tmp_path / "c/thesis.txt").read_text() == "mine"


def test_a_cache_of_an_older_version_is_read(planted, rows, tmp_path):
    path = tmp_path / "c"
    cache = cache_nsd_stimuli(planted.root, path, image_size=5, rows=rows)
    index = {k: v for k, v in cache.index.items() if k not in ("crc32", "source")}
    blocks = [hashlib.sha256(cache[rows[i : i + 256]].tobytes()).hexdigest() for i in range(0, 700, 256)]
    (path / "index.json").write_text(json.dumps({**index, "sha256": blocks}))
    np.testing.assert_array_equal(CachedImages(path)[rows], cache[rows])
    (path / "index.json").write_text(json.dumps({**index, "sha256": blocks[::-1]}))
    with pytest.raises(NSDError, match="images 0 to 255 are damaged"):
        CachedImages(path)


def test_rows_that_are_not_there(planted, rows, tmp_path, monkeypatch):
    cache = cache_nsd_stimuli(planted.root, tmp_path / "c", image_size=5, rows=rows)
    with pytest.raises(IndexError, match=r"image 72999 \(and 1 more\) is not among the 700 cached"):
        cache[[rows[0], 72_999, 72_999]]
    with pytest.raises(IndexError, match="images are 0 to 72999"):
        cache_nsd_stimuli(planted.root, tmp_path / "d", rows=[73_000])
    index = json.loads((tmp_path / "c/index.json").read_text())
    assert index["image_shape"] == [5, 5, 3] and len(index["crc32"]) == 3
