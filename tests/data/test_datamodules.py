"""DataModules: the right rows, pixels in [0, 1], the same order after a resume."""

import numpy as np
import pytest
import torch
from PIL import Image

from neuroalign import GuidanceDataModule, NSDDataModule, Responses, ResponsesDataModule
from neuroalign.data import ResumableLoader
from neuroalign.data.images import ArrayDataset, ShiftFlip, as_pixels, load_named, resize
from neuroalign.data.nsd import NSDImages, read_nsd
from neuroalign.types import as_batch


def test_nsd_batches_join_images_and_responses(subject):
    data = NSDDataModule(subject.root, roi="V4", batch_size=64)
    batch = next(iter(data.train_dataloader()))
    stimulus = batch["stimulus"].numpy()
    images = NSDImages(subject.root)[stimulus].transpose(0, 3, 1, 2) / np.float32(255)
    np.testing.assert_allclose(batch["image"], images, atol=1e-6)
    rows = [np.flatnonzero(data.train_responses.stimulus == s)[0] for s in stimulus]
    np.testing.assert_array_equal(batch["response"], data.train_responses.values[rows])
    assert data.num_voxels == 20


def test_nsd_preprocessing_is_the_stated_one(subject):
    data = NSDDataModule(subject.root, roi="V4")
    data.setup()
    trials = read_nsd(subject.root, 1, roi="V4")
    shared = np.unique(trials.stimulus[trials.shared])
    train, val = trials.zscore_sessions(without=shared).average_repeats().split_shared()
    np.testing.assert_allclose(data.train_responses.values, train.standardize(train).values, rtol=2e-7, atol=2e-7)
    np.testing.assert_allclose(data.val_responses.values, val.standardize(train).values, rtol=2e-7, atol=2e-7)
    assert not set(data.train_responses.stimulus) & set(data.val_responses.stimulus)
    assert data.val_responses.shared.all()


def test_nsd_options(subject):
    reduced = NSDDataModule(subject.root, roi=["V1", "V4"], pca_variance=0.5, sessions=[1, 2], zscore_sessions=False)
    assert 0 < reduced.num_voxels < 40
    np.testing.assert_allclose(reduced.train_responses.values.std(0), 1, atol=1e-3)
    resized = NSDDataModule(subject.root, roi="V1", image_size=16)
    assert next(iter(resized.val_dataloader()))["image"].shape[-1] == 16


def test_nsd_shuffled_fit_is_wrong_in_training_only(subject):
    right, wrong = (NSDDataModule(subject.root, roi="V1", shuffle_seed=s) for s in (None, 3))
    for data in (right, wrong):
        data.setup()
    np.testing.assert_array_equal(right.val_responses.values, wrong.val_responses.values)
    np.testing.assert_array_equal(right.train_responses.stimulus, wrong.train_responses.stimulus)
    assert not (right.train_responses.values == wrong.train_responses.values).all(1).any()


def test_responses_of_any_kind():
    images, responses = torch.rand(50, 3, 8, 8), np.random.randn(50, 4) * 3 + 1
    data = ResponsesDataModule(images, responses, val_fraction=0.2, batch_size=100)
    train, val = next(iter(data.train_dataloader())), next(iter(data.val_dataloader()))
    assert len(val["stimulus"]) == 10
    assert sorted(torch.cat([train["stimulus"], val["stimulus"]]).tolist()) == list(range(50))
    torch.testing.assert_close(train["response"].mean(0), torch.zeros(4), atol=1e-5, rtol=0)
    mean, std = (f(responses[train["stimulus"]], 0) for f in (np.mean, np.std))
    np.testing.assert_allclose(val["response"], (responses[val["stimulus"]] - mean) / std, atol=1e-4)
    for batch in (train, val):
        torch.testing.assert_close(batch["image"], images[batch["stimulus"]])


def test_responses_with_shared_images():
    r = Responses.from_arrays(np.random.randn(6, 2), shared=[True, False] * 3)
    data = ResponsesDataModule(torch.rand(6, 3, 4, 4), r)
    assert next(iter(data.val_dataloader()))["stimulus"].tolist() == [0, 2, 4]


def test_responses_refuse():
    images = torch.rand(6, 3, 4, 4)
    with pytest.raises(ValueError, match="6 images but responses to 5"):
        ResponsesDataModule(images, np.zeros((5, 2)))
    repeated = Responses.from_arrays(np.zeros((6, 2)), stimulus=[0, 0, 1, 2, 3, 4])
    with pytest.raises(ValueError, match="call average_repeats first"):
        ResponsesDataModule(images, repeated)
    far = Responses.from_arrays(np.zeros((2, 2)), stimulus=[0, 9])
    with pytest.raises(ValueError, match="name stimulus 9, but there are 6 images"):
        ResponsesDataModule(images, far, val=[0])
    with pytest.raises(ValueError, match="val_fraction must be between"):
        ResponsesDataModule(images, np.zeros((6, 2)), val_fraction=1.0)
    with pytest.raises(ValueError, match="training needs some"):
        ResponsesDataModule(images, np.zeros((6, 2)), val=range(6))
    with pytest.raises(ValueError, match="normalised"):
        ResponsesDataModule(4 * images - 2, np.zeros((6, 2)))


def test_guidance_batches():
    images, labels = (255 * torch.rand(20, 8, 8, 3)).byte().numpy(), np.arange(20) % 4
    responses = torch.randn(20, 3)
    responses[5:] = torch.nan
    data = GuidanceDataModule((images, labels), val=(images, labels), responses=responses, batch_size=7)
    batch = next(iter(data.train_dataloader()))
    i = batch["stimulus"]
    torch.testing.assert_close(batch["image"], torch.from_numpy(images).permute(0, 3, 1, 2)[i].float() / 255)
    assert torch.equal(batch["label"], torch.from_numpy(labels)[i])
    torch.testing.assert_close(batch["response"], responses[i], equal_nan=True)
    assert "response" not in next(iter(data.val_dataloader()))
    with pytest.raises(ValueError, match="there is no test set"):
        data._loader("test")


def test_guidance_refuses():
    with pytest.raises(ValueError, match="either images and labels"):
        GuidanceDataModule()
    with pytest.raises(ValueError, match="train: 5 images but 4 labels"):
        GuidanceDataModule((torch.rand(5, 3, 4, 4), torch.zeros(4))).setup()
    with pytest.raises(ValueError, match="normalised"):
        GuidanceDataModule((torch.randn(5, 3, 4, 4), torch.zeros(5))).setup()
    with pytest.raises(ValueError, match="batch_size must be"):
        GuidanceDataModule(dataset="digits", batch_size=0)
    with pytest.raises(ValueError, match="5 images but 4 rows of 'response'"):
        GuidanceDataModule((torch.rand(5, 3, 4, 4), torch.zeros(5)), responses=torch.zeros(4, 2)).setup()


def test_the_order_depends_on_seed_and_epoch_alone():
    images, labels = torch.rand(30, 3, 4, 4), torch.zeros(30)

    def order(seed, epoch):
        loader = GuidanceDataModule((images, labels), batch_size=8, seed=seed).train_dataloader()
        loader.sampler.set_epoch(epoch)
        return torch.cat([b["stimulus"] for b in loader]).tolist()

    torch.manual_seed(1)
    first = order(0, 3)
    torch.manual_seed(2)
    assert order(0, 3) == first
    assert order(0, 4) != first
    assert order(1, 3) != first
    assert sorted(first) == list(range(30))


def test_named_datasets(tmp_path):
    digits = load_named("digits")
    assert {k: len(v) for k, v in digits.items()} == {"train": 1000, "val": 297, "test": 500}
    stimuli = torch.cat([d.columns["stimulus"] for d in digits.values()])
    assert sorted(stimuli.tolist()) == list(range(1797))
    for split in ("train", "val"):
        for label in ("cat", "dog"):
            (tmp_path / split / label).mkdir(parents=True)
            Image.fromarray(np.full((20, 30, 3), 128, np.uint8)).save(tmp_path / split / label / "a.png")
    data = GuidanceDataModule(dataset="folder", root=tmp_path, image_size=16, batch_size=2)
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (2, 3, 16, 16)
    torch.testing.assert_close(batch["image"], torch.full((2, 3, 16, 16), 128 / 255))
    with pytest.raises(ValueError, match="unknown dataset 'cifar1000'; did you mean"):
        load_named("cifar1000")
    with pytest.raises(ValueError, match="needs root"):
        load_named("cifar10")
    with pytest.raises(ValueError, match="needs image_size"):
        load_named("folder", tmp_path)
    with pytest.raises(FileNotFoundError, match="must hold the folders"):
        load_named("folder", tmp_path / "train", 8)
    with pytest.raises(FileNotFoundError, match=r"CIFAR100\(root, download=True\)"):
        load_named("cifar100", tmp_path)


def test_shifts_and_flips_are_drawn_for_each_image():
    images = torch.rand(1, 3, 8, 8).expand(64, -1, -1, -1)
    out = ShiftFlip(2)(images)
    assert len({tuple(o.flatten().tolist()) for o in out}) > 20
    flipped = ShiftFlip(0)(images)
    kinds = {tuple(o.flatten().tolist()) for o in flipped}
    assert kinds == {tuple(images[0].flatten().tolist()), tuple(images[0].flip(-1).flatten().tolist())}
    torch.testing.assert_close(ShiftFlip(0, flip=False)(images), images)
    shifted = ShiftFlip(1, flip=False)(images)
    padded = torch.nn.functional.pad(images[:1], [1] * 4, mode="replicate")[0]
    crops = [padded[:, i : i + 8, j : j + 8] for i in range(3) for j in range(3)]
    assert all(any(torch.equal(s, c) for c in crops) for s in shifted)
    with pytest.raises(ValueError, match="must not be negative"):
        ShiftFlip(-1)


def test_pixels():
    assert as_pixels(np.zeros((2, 8, 8, 3), np.uint8)).shape == (2, 3, 8, 8)
    assert as_pixels(np.zeros((2, 3, 8, 8), np.uint8)).shape == (2, 3, 8, 8)
    with pytest.raises(ValueError, match="four axes"):
        as_pixels(np.zeros((8, 8, 3), np.uint8))
    out = resize(torch.randint(2, (2, 3, 16, 16)).float(), 7)
    assert out.min() >= 0
    assert out.max() <= 1


def test_a_single_item_and_columns():
    data = ArrayDataset(torch.rand(5, 3, 4, 4), label=torch.arange(5))
    assert data[3]["label"] == 3
    with pytest.raises(ValueError, match="5 images but 4 rows of 'label'"):
        ArrayDataset(torch.rand(5, 3, 4, 4), label=torch.arange(4))


@pytest.mark.parametrize("kind", ["pairs", "dicts", "part"])
def test_any_dataset_of_single_items(kind):
    from torch.utils.data import Subset, TensorDataset

    images, labels = torch.rand(10, 3, 8, 8), torch.arange(10)
    pairs = TensorDataset(images, labels)

    class Dicts(torch.utils.data.Dataset):
        def __len__(self):
            return 10

        def __getitem__(self, i):
            return {"image": images[i], "label": labels[i], "stimulus": i}

    dataset = {"pairs": pairs, "dicts": Dicts(), "part": Subset(pairs, range(6))}[kind]
    batch = as_batch(next(iter(GuidanceDataModule(val=dataset, batch_size=4).val_dataloader())))
    assert torch.equal(batch["image"], images[:4]) and torch.equal(batch["label"], labels[:4])


@pytest.mark.parametrize(
    ("labels", "error", "message"),
    [
        ([0.7, 1, 2], ValueError, r"train: labels must be whole numbers; that of row 0 \(from 0\) is 0.7"),
        ([0, np.nan, 2], ValueError, r"row 1 \(from 0\) is missing"),
        (
            ["cat", "dog", "cat"],
            TypeError,
            r"train: labels must be whole numbers; got text, such as 'cat' \(number them",
        ),
        (np.eye(3), ValueError, r"one whole number per row; got shape \(3, 3\)"),
        ([0, -1, 2], ValueError, "train: labels count classes from 0; found -1"),
        ([True, False, True], TypeError, "got true and false"),
    ],
)
def test_labels_that_are_no_classes(labels, error, message):
    with pytest.raises(error, match=message):
        GuidanceDataModule((torch.rand(3, 3, 4, 4), labels)).setup()


def test_labels_that_are_whole_floats():
    data = GuidanceDataModule((torch.rand(3, 3, 4, 4), np.array([2.0, 0.0, 1.0])), batch_size=3)
    batch = next(iter(data.train_dataloader()))
    assert batch["label"].dtype == torch.int64 and sorted(batch["label"].tolist()) == [0, 1, 2]


@pytest.mark.parametrize(
    ("responses", "error", "message"),
    [
        (np.ones((3, 2)) * 1j, TypeError, "responses must be real numbers, NaN where missing; got complex"),
        (np.full((3, 2), 1e300), ValueError, "responses has infinite values"),
        (np.ones(3), ValueError, r"responses must be \(image, voxel\); got shape \(3,\)"),
        (Responses.from_arrays(np.ones((3, 2))), TypeError, r"values\[r.stimulus\] = r.values"),
    ],
)
def test_responses_that_are_no_matrix(responses, error, message):
    with pytest.raises(error, match=message):
        GuidanceDataModule((torch.rand(3, 3, 4, 4), [0, 1, 2]), responses=responses)


@pytest.mark.parametrize(
    ("stimulus", "message"),
    [
        ([1, 2, 3, 4, 5, 6], r"name stimulus 6, but there are 6 images, counted from 0 \(do they count from 1\?"),
        ([0, 1, 2, 3, 4, 9], "name stimulus 9, but there are 6 images, counted from 0$"),
        ([-1, 1, 2, 3, 4, 5], "name stimulus -1, but there are 6 images"),
    ],
)
def test_stimuli_that_are_no_rows_of_the_images(stimulus, message):
    responses = Responses.from_arrays(np.random.default_rng(0).standard_normal((6, 2)), stimulus=stimulus)
    with pytest.raises(ValueError, match=message):
        ResponsesDataModule(torch.rand(6, 3, 4, 4), responses, val=[0])


@pytest.mark.parametrize(
    ("val", "message"),
    [
        ([0, 6], r"val names rows of the responses, 0 to 5; got 0 to 6"),
        ([0.5], r"val must be whole numbers; that of row 0"),
        ([True, False], r"val is true or false for \(2,\) rows, and there are 6"),
    ],
)
def test_validation_rows_that_are_none(val, message):
    with pytest.raises(ValueError, match=message):
        ResponsesDataModule(torch.rand(6, 3, 4, 4), np.random.default_rng(0).standard_normal((6, 2)), val=val)


def test_images_named_in_a_table_come_with_their_responses(tmp_path):
    """From the names in a table to batches: an image's grey level is its first voxel."""
    from PIL import Image

    from neuroalign.data import ImageFiles, read_recording

    greys = {"b.png": 20, "a.png": 60, "d.png": 100, "c.png": 140}
    for name, grey in greys.items():
        Image.new("RGB", (6, 6), (grey,) * 3).save(tmp_path / name)
    rows = [f"{name},{grey + noise},{noise}" for noise in (-1, 1) for name, grey in greys.items()]
    (tmp_path / "t.csv").write_text("\n".join(["stimulus,v1,v2", *rows]))
    averages = read_recording(tmp_path / "t.csv").average_repeats()
    images = ImageFiles([tmp_path / name for name in averages.info["stimulus_id"]])
    data = ResponsesDataModule(images, averages, val=[0], standardize=False, batch_size=4)
    for loader in (data.train_dataloader(), data.val_dataloader()):
        for batch in loader:
            torch.testing.assert_close(255 * batch["image"][:, 0, 0, 0], batch["response"][:, 0])
    with pytest.raises(TypeError, match=r"images must be an array, .*neuroalign.data.ImageFiles\(paths\) reads files"):
        ResponsesDataModule([str(tmp_path / "a.png")] * 4, averages)


def test_every_data_module_can_leave_the_last_batch_out(digits, subject):
    images, labels = digits
    modules = {
        "guidance": lambda **kw: GuidanceDataModule((images[:41], labels[:41]), **kw),
        "responses": lambda **kw: ResponsesDataModule(images[:45], torch.randn(45, 3), val=range(41, 45), **kw),
        "nsd": lambda **kw: NSDDataModule(subject.root, 1, "V4", **kw),
    }
    for name, make in modules.items():
        whole, short = (make(batch_size=20, drop_last=drop).train_dataloader() for drop in (False, True))
        sizes = [len(batch["image"]) for batch in short]
        assert set(sizes) == {20} and len(short) == len(whole) - 1, name
        with pytest.raises(ValueError, match="drop_last=True leaves no training batch"):
            make(batch_size=5000, drop_last=True).train_dataloader()


def test_a_loader_that_resumes_loads_nothing_that_is_done():
    asked = []

    class Watching(torch.utils.data.Dataset):
        def __len__(self):
            return 50

        def __getitem__(self, index):
            asked.append(index)
            return index

    loader = ResumableLoader(Watching(), batch_size=8)
    loader.load_state_dict({"batches": 4})
    assert torch.cat(list(loader)).tolist() == asked == list(range(32, 50))
    assert torch.cat(list(loader)).tolist() == list(range(50)), "the next epoch is whole"
    loader.load_state_dict({"batches": 7})
    assert torch.cat(list(loader)).tolist() == list(range(50)), "the epoch was complete"
