"""The Algonauts 2023 layout: two numbers of different base in each name, and data that are finished already."""

import numpy as np
import pytest
from PIL import Image

from neuroalign import ResponsesDataModule
from neuroalign.data import read_algonauts

NUMBERS = [13, 27, 4, 72_999, 500]  # of NSD, 0-based, in the order of rows


@pytest.fixture
def release(tmp_path):
    """Row i answers to the grey level of its image."""
    folder = tmp_path / "subj01"
    images, fmri, masks = (folder / n for n in ("training_split/training_images", "training_split/training_fmri",
                                                "roi_masks"))  # fmt: skip
    for path in (images, fmri, masks):
        path.mkdir(parents=True)
    for row, number in enumerate(NUMBERS, 1):
        Image.new("RGB", (6, 6), (20 * row,) * 3).save(images / f"train-{row:04d}_nsd-{number:05d}.png")
    grey = 20 * np.arange(1, 6)[:, None]
    np.save(fmri / "lh_training_fmri.npy", (grey * np.ones(4)).astype(np.float32))
    np.save(fmri / "rh_training_fmri.npy", (-grey * np.ones(3)).astype(np.float32))
    np.save(masks / "lh.prf-visualrois_challenge_space.npy", np.array([1, 2, 0, 7]))
    np.save(masks / "rh.prf-visualrois_challenge_space.npy", np.array([0, 1, 3]))
    np.save(masks / "lh.streams_challenge_space.npy", np.array([1, 1, 5, 5]))
    np.save(masks / "rh.streams_challenge_space.npy", np.array([5, 1, 1]))
    return tmp_path


def test_rows_images_and_numbers_belong_together(release):
    r, images = read_algonauts(release, 1)
    assert r.stimulus.tolist() == NUMBERS
    grey = images[r.stimulus][:, 0, 0, 0]
    np.testing.assert_array_equal(r.values[:, 0], grey)
    np.testing.assert_array_equal(r.values[:, -1], -grey.astype(np.float32))
    assert r.vertex_index.tolist() == [[0, 0], [0, 1], [0, 2], [0, 3], [1, 0], [1, 1], [1, 2]]


def test_the_second_number_taken_as_1_based_would_name_other_images(release):
    _, images = read_algonauts(release, 1)
    with pytest.raises(IndexError, match="image 12 is not among the 5 files"):
        images[[NUMBERS[0] - 1]]


def test_regions(release):
    r, _ = read_algonauts(release, 1, roi=["prf-visualrois:V1v|V1d", "streams:ventral"])
    assert r.vertex_index.tolist() == [[0, 0], [0, 1], [1, 1], [0, 2], [0, 3], [1, 0]]
    assert r.roi.tolist() == ["prf-visualrois:V1v|V1d"] * 3 + ["streams:ventral"] * 3
    r, _ = read_algonauts(release, 1, roi="prf-visualrois:hV4 & streams:ventral")
    assert r.vertex_index.tolist() == [[0, 3]]


def test_z_scoring_and_averaging_again_are_refused(release):
    r, _ = read_algonauts(release, 1)
    with pytest.raises(ValueError, match="z-scored within sessions already"):
        r.zscore_sessions()
    with pytest.raises(ValueError, match="averaged over repeats already"):
        r.average_repeats()


def test_batches(release):
    r, images = read_algonauts(release, 1)
    from dataclasses import replace

    rows = replace(r, stimulus=np.arange(5))
    data = ResponsesDataModule(images[r.stimulus], rows, val=[0], batch_size=4)
    assert next(iter(data.train_dataloader()))["image"].shape == (4, 3, 6, 6)


def test_what_is_missing(release):
    with pytest.raises(FileNotFoundError, match=r"no folder .*subj02: root is the folder that holds subj01"):
        read_algonauts(release, 2)
    with pytest.raises(ValueError, match="defined by Kastner2015, which the challenge lacks"):
        read_algonauts(release, 1, roi="V1")
    with pytest.raises(FileNotFoundError, match=r"atlases there: \['prf-visualrois', 'streams'\]"):
        read_algonauts(release, 1, roi="floc-faces")
    with pytest.raises(ValueError, match="has no vertex of streams:parietal"):
        read_algonauts(release, 1, roi="streams:parietal")
    folder = release / "subj01/training_split/training_images"
    (folder / "train-0002_nsd-00027.png").unlink()
    with pytest.raises(ValueError, match=r"images of rows \[2\] are missing among 4"):
        read_algonauts(release, 1)
    (folder / "train-0005_nsd-00500.png").rename(folder / "train-0002_nsd-00500.png")
    with pytest.raises(ValueError, match="5 rows of responses but 4 training images"):
        read_algonauts(release, 1)
    for path in folder.iterdir():
        path.unlink()
    with pytest.raises(FileNotFoundError, match="no images named like"):
        read_algonauts(release, 1)


def test_what_is_damaged(release):
    folder = release / "subj01"
    path = folder / "training_split/training_fmri/lh_training_fmri.npy"
    whole = path.read_bytes()
    for content in (whole[:-4], b"", b"text", np.zeros(8).tobytes()):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"lh_training_fmri\.npy can't be read as a file of NumPy"):
            read_algonauts(release, 1)
    for values in (np.zeros(5), np.zeros((5, 4)) + 1j, np.zeros((5, 4), dtype="U1")):
        np.save(path, values)
        with pytest.raises(ValueError, match=r"subj01: responses must be numbers \(image, vertex\)"):
            read_algonauts(release, 1)
    path.write_bytes(whole)
    np.save(folder / "roi_masks/lh.streams_challenge_space.npy", np.array([1, 1, 5, 4.5]))
    with pytest.raises(ValueError, match=r"lh\.streams_challenge_space\.npy must be whole numbers; that of row 3"):
        read_algonauts(release, 1, roi="streams:ventral")


def test_numbers_that_come_twice(release):
    folder = release / "subj01/training_split/training_images"
    (folder / "train-0002_nsd-00027.png").rename(folder / "train-0002_nsd-00013.png")
    with pytest.raises(ValueError, match="several images show one NSD image"):
        read_algonauts(release, 1)
    (folder / "train-0002_nsd-00013.png").rename(folder / "train-0001_nsd-00027.png")
    (folder / "train-0005_nsd-00500.png").rename(folder / "train-0002_nsd-00500.png")
    with pytest.raises(ValueError, match="several images have one row number"):
        read_algonauts(release, 1)
