"""What ``--data`` and the tables of commands are read from."""

import numpy as np
import pandas as pd
import pytest
import torch

from neuroalign.commands.geometry import _categories
from neuroalign.commands.inputs import open_images
from neuroalign.commands.nsd_plot import _values
from neuroalign.data import Responses

IMAGES, LABELS = np.random.default_rng(0).random((4, 3, 5, 6)).astype(np.float32), np.array([0, 1, 2, 1])


def save(path, **arrays):
    np.savez(path, **{"images": IMAGES, "labels": LABELS, **arrays})
    return str(path)


@pytest.mark.parametrize("labels", [LABELS, LABELS.astype(np.float64), LABELS.astype(np.uint8), LABELS.astype(">i4")])
def test_an_archive(tmp_path, labels):
    data = open_images(save(tmp_path / "a.npz", labels=labels), 8)
    batch = data.__getitems__([0, 3])
    assert batch["label"].tolist() == [0, 1]
    np.testing.assert_array_equal(batch["image"], IMAGES[[0, 3]])
    pixels = np.round(255 * IMAGES).astype(np.uint8)
    for images in (pixels, pixels.transpose(0, 2, 3, 1)):
        batch = open_images(save(tmp_path / "b.npz", images=images), 8).__getitems__([2])
        np.testing.assert_allclose(batch["image"], pixels[[2]] / 255, rtol=1e-6)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"labels": [0.7, 1, 2, 1]}, r"labels must be whole numbers; that of row 0 \(from 0\) is 0.7"),
        ({"labels": [0, np.nan, 2, 1]}, r"that of row 1 \(from 0\) is missing"),
        ({"labels": ["0", "1", "2", "1"]}, "labels must be whole numbers; got text, such as '0'"),
        ({"labels": LABELS[:, None]}, r"one whole number per row; got shape \(4, 1\)"),
        ({"labels": np.eye(4)}, r"one whole number per row; got shape \(4, 4\)"),
        ({"labels": LABELS - 1}, "labels count classes from 0; found -1"),
        ({"labels": LABELS[:3]}, "4 images but 3 rows of 'label'"),
        ({"labels": np.array([0, None, 1, 1], dtype=object)}, "array 'labels' can't be read .*not unpickled"),
        ({"images": 2 * IMAGES}, r"images must be pixels in \[0, 1\]"),
        ({"images": np.full_like(IMAGES, np.nan)}, r"images must be pixels in \[0, 1\]"),
        ({"images": IMAGES.transpose(0, 2, 3, 1)}, "channels first"),
        ({"images": IMAGES[0]}, "images must have four axes"),
        ({"images": IMAGES + 0j}, "images must be numbers"),
        ({"images": IMAGES.astype(str)}, "images must be numbers"),
        ({"images": np.zeros((0, 3, 5, 6), np.float32), "labels": LABELS[:0]}, "images are empty"),
    ],
)
def test_archives_that_are_refused(tmp_path, arrays, message):
    path = save(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message) as caught:
        open_images(path, 8)
    assert path in str(caught.value)


def test_archives_with_other_names_or_damage(tmp_path):
    path = tmp_path / "a.npz"
    np.savez(path, x=IMAGES, y=LABELS)
    with pytest.raises(ValueError, match=r"a\.npz has no array images or labels; it has x, y"):
        open_images(str(path), 8)
    content = path.read_bytes()
    for damaged in (content[: len(content) // 2], b"", b"text", bytes(300)):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"a\.npz can't be read as a file of NumPy"):
            open_images(str(path), 8)
    with path.open("wb") as file:
        np.save(file, IMAGES)
    with pytest.raises(ValueError, match=r"a\.npz holds one array without a name"):
        open_images(str(path), 8)


@pytest.fixture
def responses():
    return Responses.from_arrays(
        np.zeros((3, 2)), stimulus=[0, 1, 2], info={"stimulus_id": ["a.png", "b.png", "c.png"]}
    )


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("stimulus,label\n0,house\n1,face\n2,house\n", {0: 1, 1: 0, 2: 1}),
        ("stimulus;label\n0;house\n1;face\n2;house\n", {0: 1, 1: 0, 2: 1}),
        ("stimulus,label\na.png,house\nc.png,house\nb.png,face\nother.png,car\n", {0: 1, 1: 0, 2: 1}),
        ("stimulus,label\n0,3\n0,3\n1,2\n", {0: 1, 1: 0}),
    ],
)
def test_labels_of_responses(tmp_path, responses, content, expected):
    (tmp_path / "labels.csv").write_text(content)
    assert _categories(tmp_path / "labels.csv", responses) == expected


def test_labels_written_with_an_index(tmp_path, responses):
    pd.DataFrame({"stimulus": [0, 1], "label": ["b", "a"]}).to_csv(tmp_path / "labels.csv")
    with pytest.warns(UserWarning, match="counts the rows"):
        assert _categories(tmp_path / "labels.csv", responses) == {0: 1, 1: 0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("stimulus,label\n0,a\n0.5,b\n", r"that of row 1 \(from 0\) is 0.5"),
        ("stimulus,label\n0,a\n,b\n", "stimulus or label of row 1 .from 0. is missing"),
        ("stimulus,label\n0,a\n1,\n", "stimulus or label of row 1 .from 0. is missing"),
        ("stimulus,label\n0,a\n0,b\n", "stimulus 0 has two labels"),
        ("stimulus,label\n7,a\n8,b\n", r"no label is for a stimulus .*: it names 7, 8 ...; the responses hold 0, 1, 2"),
        ("stimulus,label\nx,a\ny,b\n", r"no label is for .*: it names x, y ...; the responses hold a\.png, b\.png"),
        ("stimulus,category\n0,a\n", "has the columns stimulus, category; stimulus and label are needed"),
        ("0,a\n1,b\n", "has the columns 0, a; stimulus and label are needed"),
        ("", "is empty"),
    ],
)
def test_labels_that_are_refused(tmp_path, responses, content, message):
    (tmp_path / "labels.csv").write_text(content)
    with pytest.raises(ValueError, match=message) as caught:
        _categories(tmp_path / "labels.csv", responses)
    assert "labels.csv" in str(caught.value)


def test_names_of_stimuli_that_nobody_knows(tmp_path):
    (tmp_path / "labels.csv").write_text("stimulus,label\na.png,a\nb.png,b\n")
    with pytest.raises(ValueError, match=r"labels\.csv: stimuli must be whole numbers; got text, such as 'a\.png'"):
        _categories(tmp_path / "labels.csv", Responses.from_arrays(np.zeros((3, 2))))


@pytest.mark.filterwarnings("ignore:.*counts the rows")
def test_a_value_a_voxel(tmp_path):
    values = np.float32([0.5, -1, 2])
    np.save(tmp_path / "a.npy", values[:, None])
    torch.save(torch.from_numpy(values), tmp_path / "a.pt")
    pd.Series(values, name="r").to_csv(tmp_path / "a.csv")
    (tmp_path / "b.csv").write_text("r;voxel\n0,5;x\n-1;y\n2;z\n")
    for name in ("a.npy", "a.pt", "a.csv", "b.csv"):
        np.testing.assert_array_equal(_values(tmp_path / name), values, err_msg=name)


@pytest.mark.parametrize(
    ("name", "write", "message"),
    [
        ("a.npy", lambda p: np.save(p, np.zeros((2, 3))), r"one value per voxel; it has shape \(2, 3\)"),
        ("a.npy", lambda p: np.save(p, np.ones(3) * 1j), "must be real numbers"),
        ("a.npy", lambda p: np.save(p, np.array([1, None])), "not unpickled"),
        ("a.npy", lambda p: p.write_bytes(b"x"), "can't be read as a file of NumPy"),
        (
            "a.pt",
            lambda p: torch.save({"r": torch.ones(3)}, p),
            "must hold a tensor with one value per voxel; it holds dict",
        ),
        ("a.pt", lambda p: p.write_bytes(b"x"), "is damaged, or holds more than a tensor"),
        ("a.csv", lambda p: p.write_text("0.5\n0.25\n"), "should name the columns, but holds numbers"),
        ("a.csv", lambda p: p.write_text("a,b\n1,2\n"), "must hold one column of numbers"),
        ("a.csv", lambda p: p.write_text("a\n1e300\n1\n"), "has infinite values"),
    ],
)
def test_values_that_are_refused(tmp_path, name, write, message):
    write(tmp_path / name)
    with pytest.raises(ValueError, match=message) as caught:
        _values(tmp_path / name)
    assert name in str(caught.value)


@pytest.mark.parametrize("size", [(40, 30), (20, 20), (9, 33)])
def test_commands_and_datamodules_see_the_same_pixels_of_a_folder(tmp_path, size):
    from PIL import Image

    from neuroalign.data.images import load_named

    for part in ("train", "val"):
        for name in ("cat", "dog"):
            (tmp_path / part / name).mkdir(parents=True)
            pixels = np.random.default_rng(len(name + part)).integers(0, 256, (*size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / part / name / "0.png")
    commands = open_images(str(tmp_path / "val"), 12).__getitems__([0, 1])
    trained = load_named("folder", tmp_path, 12)["val"].__getitems__([0, 1])
    assert commands["image"].shape == (2, 3, 12, 12)
    assert all(torch.equal(commands[name], trained[name]) for name in ("image", "label", "stimulus"))
