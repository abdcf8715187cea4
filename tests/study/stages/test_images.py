import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neuroalign.data import load_digits
from neuroalign.study.stages.images import make, read_images
from tests.study.stages.work import image_settings, run

DATA = os.environ.get("NEUROALIGN_DATA")
real = pytest.mark.skipif(DATA is None, reason="needs NEUROALIGN_DATA")


def made(folder, sources=None, **settings):
    return read_images(run(make, folder, image_settings(**settings), sources=sources))


def picture(path, color, size=(6, 6)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, color).save(path)


def test_the_digits_of_the_demo(tmp_path):
    """The same images in the same order as in the demo: apart for the subject, to train, and to test."""
    found = made(tmp_path, source="digits", contrast=0.5, num_neural=(600, 100), num_train=747, num_test=350, seed=3)
    images, labels = load_digits()
    order = np.random.default_rng(3).permutation(len(images))
    fit, val, train, test = np.split(order, [600, 700, 1447])
    for part, places in {"neural_fit": fit, "neural_val": val, "train": train, "test": test}.items():
        got = getattr(found, part)
        assert torch.equal(got.images, (0.5 + 0.5 * (images - 0.5))[places]) and torch.equal(got.labels, labels[places])
        assert got.stimulus.tolist() == places.tolist()
    assert found.val is None
    assert found.num_classes == 10 and found.image_shape == (3, 8, 8)


def test_other_classes_for_the_subject_than_for_the_networks(tmp_path):
    found = made(
        tmp_path, source="digits", classes=["8", "0"], neural_classes=["1", "2", "3"], num_neural=[200, 50], num_val=20
    )
    digits = load_digits()[1]
    assert found.classes == ["8", "0"]
    assert dict(zip(digits[found.train.stimulus].tolist(), found.train.labels.tolist())) == {8: 0, 0: 1}
    assert (
        set(digits[found.neural_fit.stimulus].tolist())
        == {1, 2, 3}
        == {n + 1 for n in found.neural_fit.labels.tolist()}
    )
    assert len(found.val.labels) == 20
    every = torch.cat([part.stimulus for part in found.parts.values()])
    assert len(every) == len(every.unique())


def zip_of(path, names):
    with zipfile.ZipFile(path, "w") as archive:
        for i, name in enumerate(names):
            file = path.parent / "one.png"
            Image.new("RGB", (6, 6), (i, 0, 0)).save(file)
            archive.write(file, name)
    return path


def test_a_zip_file_with_classes_made_of_several(tmp_path):
    names = [f"{c}/{i}.png" for c in ("cat", "dog", "car", "bus", "cup") for i in range(4)]
    train = zip_of(tmp_path / "train.zip", names)
    test = zip_of(tmp_path / "test.zip", [f"{c}/9.png" for c in ("bus", "cat", "cup")])
    classes = {"vehicle": ["car", "bus"], "animal": ["cat", "dog"]}
    found = made(tmp_path / "r", source="zip", classes=classes, sources={"train": train, "test": test})
    assert found.classes == ["vehicle", "animal"]
    # All images in the order of their names, as nothing is drawn; the red value tells which one it is.
    assert found.train.labels.tolist() == [0] * 8 + [1] * 8
    assert found.train.images[:, 0, 0, 0].tolist() == [12, 13, 14, 15, 8, 9, 10, 11, 0, 1, 2, 3, 4, 5, 6, 7]
    assert found.train.images.dtype == torch.uint8
    assert found.test.labels.tolist() == [0, 1] and found.test.stimulus.tolist() == [20, 21]


def test_images_of_a_folder_stay_in_their_files(tmp_path):
    root = tmp_path / "images"
    for i, (part, name) in enumerate((p, n) for p in ("train", "val") for n in ("a/1", "a/2", "b/1", "b/2")):
        picture(root / part / f"{name}.png", (10 * i, 0, 0), size=(12, 6 + i))
    out = run(make, tmp_path / "r", image_settings(source="folder", image_size=4), sources={"root": root})
    assert sorted(p.name for p in out.iterdir()) == ["folder.json", "images.json"]
    moved = tmp_path / "moved"
    root.rename(moved)
    found = read_images(out, moved)
    batch = found.test.__getitems__([3, 0])
    assert batch["image"].shape == (2, 3, 4, 4)
    assert (batch["image"][:, 0, 0, 0] * 255).round().tolist() == [70, 40]
    assert batch["label"].tolist() == [1, 0] and batch["stimulus"].tolist() == [7, 4]
    assert torch.equal(found.in_memory("test").images[[3, 0]], (batch["image"] * 255).round().byte())
    assert found.dataset("train")[1]["label"] == 0


def test_arrays_and_their_size(tmp_path):
    rng = np.random.default_rng(0)
    path = tmp_path / "train.npz"
    np.savez(path, image=rng.integers(0, 256, (40, 10, 10, 3), dtype=np.uint8), label=np.arange(40) % 4 * 10)
    found = made(tmp_path / "r", source="arrays", sources={"train": path}, image_size=5)
    assert found.classes == ["0", "10", "20", "30"]
    assert found.image_shape == (3, 5, 5) and found.train.images.dtype == torch.uint8
    assert len(found.test.labels) == 8 and len(found.train.labels) == 32


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"classes": ["1", "11"]}, r"images.classes: there is no class '11'.*there are: 0, 1, 2"),
        ({"classes": {"few": ["1", "2"], "more": ["2"]}}, "'2' stands in two classes"),
        ({"num_train": 1700, "num_val": 200}, "images.num_train and num_val: 1900 wanted, but there are only"),
        ({"num_test": 1797}, "images.num_test: 1797 wanted"),
        ({"num_neural": (1700, 200)}, "images.num_neural: 1900 wanted, but there are only 1797"),
    ],
)
def test_what_can_not_be_had_is_said(tmp_path, settings, message):
    with pytest.raises(ValueError, match=message):
        made(tmp_path, source="digits", **settings)


def test_cifar_in_torchvisions_files(tmp_path, monkeypatch):
    class Cifar:
        classes = ["cat", "car", "dog"]

        def __init__(self, root, train):
            self.targets = [2, 0, 1, 2, 1, 0] * (2 if train else 1)
            self.data = np.full((len(self.targets), 32, 32, 3), 7 if train else 9, dtype=np.uint8)

    monkeypatch.setattr("torchvision.datasets.CIFAR100", Cifar)
    found = made(tmp_path, source="cifar100", classes=["dog", "cat"], num_val=2, sources={"root": tmp_path})
    assert found.image_shape == (3, 32, 32) and [len(p.labels) for p in (found.train, found.val, found.test)] == [
        6,
        2,
        4,
    ]
    assert found.test.labels.tolist() == [0, 1, 0, 1] and found.test.stimulus.tolist() == [12, 13, 15, 17]
    assert (found.train.images == 7).all() and (found.test.images == 9).all()


def test_a_missing_file_says_where_it_can_be_had(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no cifar10 under .*download=True"):
        made(tmp_path, source="cifar10", sources={"root": tmp_path})
    with pytest.raises(FileNotFoundError, match=r"no images at .*train.zip"):
        made(tmp_path / "r", source="zip", sources={"train": tmp_path / "train.zip"})


def test_a_zip_file_without_folders_has_no_classes(tmp_path):
    path = zip_of(tmp_path / "train.zip", ["a.png"])
    with pytest.raises(ValueError, match=r"a.png lies in no folder, whose name would be its class"):
        made(tmp_path / "r", source="zip", sources={"train": path})


@real
def test_the_superclasses_of_real_images(tmp_path):
    classes = {"people": ["baby", "boy", "girl", "man", "woman"], "trees": ["maple_tree", "oak_tree", "pine_tree"]}
    sources = {"train": f"{DATA}/cifar100/train.zip", "test": f"{DATA}/cifar100/test.zip"}
    found = made(tmp_path, source="zip", classes=classes, sources=sources, num_train=300, num_val=100)
    assert found.image_shape == (3, 32, 32)
    assert [len(part.labels) for part in (found.train, found.val, found.test)] == [300, 100, 160]
    with zipfile.ZipFile(Path(sources["test"])) as archive:
        first = next(n for n in sorted(archive.namelist()) if n.startswith("baby"))
        pixels = np.asarray(Image.open(archive.open(first)).convert("RGB"))
    assert np.array_equal(found.test.images[0].permute(1, 2, 0).numpy(), pixels)


def test_test_images_of_unknown_classes_are_not_dropped_silently(tmp_path):
    train, test = (
        zip_of(tmp_path / "a.zip", ["a/1.png", "b/1.png"] * 1),
        zip_of(tmp_path / "b.zip", ["a/2.png", "c/2.png"]),
    )
    with pytest.raises(ValueError, match=r"classes that the training images don't have \(c\)"):
        made(tmp_path / "r", source="zip", sources={"train": train, "test": test})


def test_one_class_is_no_task(tmp_path):
    train = zip_of(tmp_path / "a.zip", ["a/1.png", "a/2.png", "a/3.png"])
    with pytest.raises(ValueError, match="at least 2 classes, and the training images have only a"):
        made(tmp_path / "r", source="zip", sources={"train": train})
