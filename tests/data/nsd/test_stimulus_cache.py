"""The cache of resized images: right pixels, resumable, checksummed, read by many processes."""

import json
import pickle

import numpy as np
import pytest
import torch

from neuroalign.data import CachedImages, NSDError, NSDImages, cache_stimuli
from neuroalign.data.images import ArrayDataset, collate, resize
from neuroalign.data.nsd import stimulus_cache


@pytest.fixture
def rows(planted):
    return np.unique(planted.rows(1))[:700]


def test_pixels_are_those_of_the_brick_resized(planted, rows, tmp_path):
    cache = cache_stimuli(planted.root, tmp_path / "c", image_size=5, rows=rows[::-1])
    assert cache.shape == (700, 5, 5, 3) and len(cache) == 700
    asked = rows[[3, 699, 3, 0]]
    pixels = torch.from_numpy(NSDImages(planted.root)[asked]).permute(0, 3, 1, 2).float() / 255
    expected = (resize(pixels, 5) * 255).round().byte().permute(0, 2, 3, 1)
    np.testing.assert_array_equal(cache[asked], expected)
    full = cache_stimuli(planted.root, tmp_path / "full", rows=rows[:10])
    np.testing.assert_array_equal(full[rows[:10]], NSDImages(planted.root)[rows[:10]])
    cache.verify()
    again = pickle.loads(pickle.dumps(cache))
    assert again._mapped is None
    np.testing.assert_array_equal(again[asked], cache[asked])


@pytest.mark.slow
def test_processes_write_what_one_does(planted, rows, tmp_path):
    one = cache_stimuli(planted.root, tmp_path / "one", image_size=5, rows=rows)
    two = cache_stimuli(planted.root, tmp_path / "two", image_size=5, rows=rows, workers=2)
    np.testing.assert_array_equal(one[rows], two[rows])
    assert one.index == two.index


def test_workers_of_a_loader_read_a_shuffled_epoch(planted, rows, tmp_path):
    cache = cache_stimuli(planted.root, tmp_path / "c", image_size=5, rows=rows)
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
        cache_stimuli(planted.root, tmp_path / "c", image_size=5, rows=rows)
    with pytest.raises(FileNotFoundError, match="no complete cache"):
        CachedImages(tmp_path / "c")
    monkeypatch.setattr(stimulus_cache, "_write_block", lambda *a: done.append(a[3]) or write(*a))
    cache = cache_stimuli(planted.root, tmp_path / "c", image_size=5, rows=rows)
    assert done == [0, 1, 2]
    cache.verify()
    assert not (tmp_path / "c/progress.json").exists()
    monkeypatch.setattr(stimulus_cache, "_write_block", lambda *a: pytest.fail("written again"))
    cache_stimuli(planted.root, tmp_path / "c", image_size=5, rows=rows)


def test_an_interrupted_run_of_other_settings_is_begun_anew(planted, rows, tmp_path, monkeypatch):
    write = stimulus_cache._write_block

    def breaks(images, file, rows, block):
        if block == 2:
            raise KeyboardInterrupt
        return write(images, file, rows, block)

    with monkeypatch.context() as patch:
        patch.setattr(stimulus_cache, "_write_block", breaks)
        with pytest.raises(KeyboardInterrupt):
            cache_stimuli(planted.root, tmp_path / "c", image_size=5, rows=rows)
    cache = cache_stimuli(planted.root, tmp_path / "c", image_size=6, rows=rows[1:])
    expected = cache_stimuli(planted.root, tmp_path / "fresh", image_size=6, rows=rows[1:])
    assert cache.shape == (699, 6, 6, 3)
    np.testing.assert_array_equal(cache[rows[1:]], expected[rows[1:]])
    cache.verify()


def test_a_cache_of_other_images_is_refused(planted, rows, tmp_path):
    cache_stimuli(planted.root, tmp_path / "c", image_size=5, rows=rows)
    for other in ({"image_size": 6, "rows": rows}, {"image_size": 5, "rows": rows[1:]}):
        with pytest.raises(FileExistsError, match="is a cache of other images"):
            cache_stimuli(planted.root, tmp_path / "c", **other)


def test_damage_is_found(planted, rows, tmp_path):
    cache_stimuli(planted.root, tmp_path / "c", image_size=5, rows=rows)
    images = np.load(tmp_path / "c/images.npy", mmap_mode="r+")
    images[300, 0, 0, 0] ^= 255
    images.flush()
    with pytest.raises(NSDError, match="images 256 to 511 are damaged"):
        CachedImages(tmp_path / "c").verify()
    path = tmp_path / "c/images.npy"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(NSDError, match="cut short"):
        CachedImages(tmp_path / "c")


def test_rows_that_are_not_there(planted, rows, tmp_path, monkeypatch):
    cache = cache_stimuli(planted.root, tmp_path / "c", image_size=5, rows=rows)
    with pytest.raises(IndexError, match=r"image 72999 \(and 1 more\) is not among the 700 cached"):
        cache[[rows[0], 72_999, 72_999]]
    with pytest.raises(IndexError, match="images are 0 to 72999"):
        cache_stimuli(planted.root, tmp_path / "d", rows=[73_000])
    index = json.loads((tmp_path / "c/index.json").read_text())
    assert index["image_shape"] == [5, 5, 3] and len(index["sha256"]) == 3
