"""A folder of images and responses to them: matched by name, by number or by order, or refused in words."""

import unicodedata
import warnings

import numpy as np
import pytest
import torch
from PIL import Image

from neuroalign import Responses, ResponsesDataModule, read_recording
from neuroalign.data import ImageFiles
from neuroalign.data.image_names import files_of


@pytest.fixture
def folder(tmp_path):
    """Six grey images, each ten levels lighter than the one before, beside files that are no images."""
    place = tmp_path / "pictures"
    place.mkdir()
    for i, name in enumerate(("a.png", "b c.png", "d.JPG", "e.png", "ü.png", "z.1.png")):
        Image.new("RGB", (8, 8), (10 * i,) * 3).save(place / name)
    (place / ".hidden.png").write_bytes(b"no image")
    (place / "notes.txt").write_text("no image")
    return place


def greys(images, numbers):
    return images[numbers][:, 0, 0, 0].tolist()


def named(ids, **fields):
    values = np.arange(2.0 * len(ids)).reshape(-1, 2)
    return Responses.from_arrays(values, info={"stimulus_id": list(ids)}, **fields)


def test_a_folder_is_read_in_the_order_of_names(folder):
    images = ImageFiles(folder)
    assert images.names == ["a.png", "b c.png", "d.JPG", "e.png", "z.1.png", "ü.png"] and len(images) == 6
    (folder / "more").mkdir()
    Image.new("RGB", (8, 8)).save(folder / "more/x.png")
    assert "more/x.png" in ImageFiles(str(folder)).names
    with pytest.raises(FileNotFoundError, match=r"the folder of images .*nowhere is not there"):
        ImageFiles(folder / "nowhere")
    with pytest.raises(FileNotFoundError, match=r"a\.png is a file: give the folder, or a list of files"):
        ImageFiles(folder / "a.png")
    (folder / "more/x.png").unlink()
    with pytest.raises(FileNotFoundError, match="more holds no image"):
        ImageFiles(folder / "more")


def test_image_size_is_that_of_labelled_folders(tmp_path):
    """The same pixels as the same picture in a class folder: a predictor and a classifier see the same."""
    from neuroalign.data.images import class_folders

    (tmp_path / "cat").mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (20, 31, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "cat/1.png")
    Image.fromarray(pixels[:12]).save(tmp_path / "cat/2.png")
    ours = torch.from_numpy(ImageFiles(tmp_path / "cat", image_size=9)[[0, 1]]).permute(0, 3, 1, 2) / 255
    torch.testing.assert_close(ours, class_folders(tmp_path, 9).__getitems__([0, 1])["image"], rtol=0, atol=0)
    with pytest.raises(
        ValueError, match=r"1\.png has \(20, 31\), .*2\.png has \(12, 31\) .*; image_size=N, given with the folder"
    ):
        ImageFiles(tmp_path / "cat").check_sizes()
    with pytest.raises(ValueError, match="image_size must be at least 1; got 0"):
        ImageFiles(tmp_path, image_size=0)
    for wrong in ((9, 12), "9", True, 9.0):
        for read in (
            lambda size: ImageFiles(tmp_path / "cat", image_size=size),
            lambda size: class_folders(tmp_path, size),
        ):
            with pytest.raises(
                TypeError, match="image_size must be one whole number, the side in pixels of square images; got "
            ):
                read(wrong)


def test_sizes_are_those_of_upright_pictures(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.new("RGB", (6, 4)).save(tmp_path / "a.jpg", exif=exif)
    Image.new("RGB", (4, 6)).save(tmp_path / "b.jpg")
    assert ImageFiles(tmp_path).check_sizes() == ImageFiles(tmp_path)[[0, 1]].shape[1:3] == (6, 4)


@pytest.mark.parametrize(
    ("ids", "expected"),
    [
        (["ü.png", "a.png"], [40, 0]),
        ([unicodedata.normalize("NFD", "ü"), "b c"], [40, 10]),
        (["some/where/e.png", "C\\d.JPG"], [30, 20]),
        (["z.1", "d"], [50, 20]),
    ],
)
def test_names_find_their_images(folder, ids, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        images = files_of(ImageFiles(folder), named(ids))
    assert greys(images, [0, 1]) == expected


def test_images_without_responses_are_told(folder):
    with pytest.warns(UserWarning, match=r"4 of 6 images have no responses, such as 'd\.JPG'; they are left out"):
        files_of(ImageFiles(folder), named(["a", "b c"]))


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (
            ["a", "b_c"],
            r"1 of 2 stimuli of the responses have no image in .*: unknown image 'b_c'; did you mean 'b c\.png'",
        ),
        (["d.png", "a"], "unknown image 'd.png'; did you mean"),
        (["a", "a.png"], r"the stimuli 'a' and 'a\.png' both fit the image .*a\.png"),
        (["x", "y"], "2 of 2 stimuli of the responses have no image"),
    ],
)
def test_names_that_find_no_image_of_their_own(folder, ids, message):
    with pytest.raises(ValueError, match=message):
        files_of(ImageFiles(folder), named(ids))


def test_a_name_of_two_images(folder):
    Image.new("RGB", (8, 8)).save(folder / "a.bmp")
    with pytest.raises(ValueError, match=r"the stimulus 'a' fits .*a\.bmp and .*a\.png: name it with its extension"):
        files_of(ImageFiles(folder), named(["a"]))


def test_a_list_of_files_keeps_its_order_unless_it_has_the_names(folder):
    files = [folder / "e.png", folder / "a.png"]
    assert greys(files_of(ImageFiles(files), named(["p", "q"])), [0, 1]) == [30, 0]
    assert greys(files_of(ImageFiles(files), named(["a", "e"])), [0, 1]) == [0, 30]
    with pytest.raises(
        ValueError, match="1 of 2 stimuli of the responses have no image in the files: unknown image 'q'"
    ):
        files_of(ImageFiles(files), named(["a", "q"]))


@pytest.fixture
def numbered(tmp_path):
    """Eleven images 1.png to 11.png, whose grey level is their number."""
    for i in range(1, 12):
        Image.new("RGB", (8, 8), (i,) * 3).save(tmp_path / f"{i}.png")
    return tmp_path


def numbers(stimulus):
    return Responses.from_arrays(np.ones((len(stimulus), 2)), stimulus=stimulus)


def test_files_named_by_the_stimuli_numbers(numbered):
    assert greys(files_of(ImageFiles(numbered), numbers(range(1, 12))), [1, 2, 10, 11]) == [1, 2, 10, 11]
    with pytest.raises(ValueError, match=r"stimulus 1 may be the image '1\.png' by its name, or '2\.png' by its place"):
        files_of(ImageFiles(numbered), numbers(range(1, 9)))


def test_an_order_that_nothing_decides_is_refused(numbered):
    message = r"image 1 \(from 0\) is '10\.png' in the order of the names and '2\.png' in that of the numbers"
    with pytest.raises(ValueError, match=message):
        ResponsesDataModule(numbered, np.random.rand(11, 2))
    with pytest.raises(ValueError, match=message):
        ResponsesDataModule(numbered, numbers(range(11)))
    ordered = ImageFiles([numbered / f"{i}.png" for i in range(1, 12)])
    assert len(ResponsesDataModule(ordered, np.random.rand(11, 2)).images) == 11
    for i in range(1, 12):
        (numbered / f"{i}.png").rename(numbered / f"{i:02d}.png")
    data = ResponsesDataModule(numbered, np.random.rand(11, 2))
    assert greys(data.images, [0, 9]) == [1, 10]


@pytest.mark.parametrize(
    ("names", "place", "ours", "other", "order"),
    [
        (["b.png", "a/x.png"], 0, "a/x.png", "b.png", "the files' names without their folders"),
        (["x/1.png", "x/2.png", "y/1.png"], 1, "x/2.png", "y/1.png", "the files' names without their folders"),
        (["a b/1.png", "a/2.png"], 0, "a b/1.png", "a/2.png", "the folders, one after the other"),
        (["B.png", "a.png"], 0, "B.png", "a.png", "the letters without regard to case"),
        (["x/B.png", "y/a.png"], 0, "x/B.png", "y/a.png", "the names without folders and without regard to case"),
        (["a/10.png", "b/2.png"], 0, "a/10.png", "b/2.png", "the numbers in them without folders"),
        (["A10.png", "a2.png"], 0, "A10.png", "a2.png", "the numbers in them,"),
    ],
)
def test_orders_that_a_person_may_have_meant(tmp_path, names, place, ours, other, order):
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    message = rf"image {place} \(from 0\) is '{ours}' in the order of the names and '{other}' in that of {order}"
    for responses in (np.random.rand(len(names), 2), numbers(range(len(names)))):
        with pytest.raises(ValueError, match=message):
            ResponsesDataModule(tmp_path, responses)
    ResponsesDataModule(ImageFiles([tmp_path / name for name in names]), np.random.rand(len(names), 2))


def test_folders_in_which_all_orders_agree(tmp_path):
    names = ["A/01.png", "A/02.PNG", "b/03.png", "c.png"]
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        Image.new("RGB", (8, 8)).save(tmp_path / name)
    assert ResponsesDataModule(tmp_path, np.random.rand(4, 2)).images.names == names


@pytest.mark.parametrize("ids", [None, ["a", "b c"]])
def test_fewer_responses_than_images_are_told_at_the_users_line(folder, ids):
    responses = numbers(range(2)) if ids is None else named(ids)
    with pytest.warns(UserWarning, match=r"4 of 6 images have no responses, such as 'd\.JPG'; they") as caught:
        data = ResponsesDataModule(folder, responses, val=[0])
    assert caught[0].filename == __file__ and greys(data.images, [0, 1]) == [0, 10]


def test_too_many_numbers_are_refused(folder):
    with pytest.raises(IndexError, match="image 6 is not among the 6 files"):
        ResponsesDataModule(folder, numbers(range(1, 7)))


def test_validation_by_name(folder):
    data = ResponsesDataModule(folder, named(["ü", "a", "b c", "d", "e", "z.1"]), val=["d", "a"])
    assert data.val_responses.stimulus.tolist() == [1, 3] and len(data.train_responses) == 4
    with pytest.raises(ValueError, match="unknown stimulus 'f'"):
        ResponsesDataModule(folder, named(["ü", "a", "b c", "d", "e", "z.1"]), val=["f"])
    with pytest.raises(TypeError, match="val must be whole numbers; got text, such as 'a'"):
        ResponsesDataModule(folder, np.random.rand(6, 2), val=["a"])


def test_a_file_of_three_axes_says_which_call_names_them(folder, tmp_path):
    np.save(tmp_path / "v1.npy", np.random.rand(6, 3, 2))
    with pytest.raises(
        ValueError, match=r"v1\.npy: the array has three axes, \(6, 3, 2\): .* read_recording\(path, axes="
    ):
        ResponsesDataModule(folder, tmp_path / "v1.npy")


def test_from_folder_and_table_to_batches(folder, tmp_path):
    """The first voxel is the grey level of the image that the row names; repeats are averaged, and give a noise ceiling."""
    place = {"ü": 40, "a": 0, "b c": 10, "d": 20, "e": 30, "z.1": 50}
    rows = [f"{name},{grey + noise},{noise}" for noise in (-1, 1) for name, grey in place.items()]
    (tmp_path / "t.csv").write_text("\n".join(["stimulus,v1,v2", *rows]), encoding="utf-8")
    data = ResponsesDataModule(folder, tmp_path / "t.csv", val=[0, 3], standardize=False, batch_size=4, image_size=4)
    for loader in (data.train_dataloader(), data.val_dataloader()):
        for batch in loader:
            expected = batch["response"][:, 0].round()
            got = 255 * batch["image"][:, 0, 0, 0]
            assert (got - expected).abs().max() <= 2, (got, expected)  # one image is a JPEG
    assert data.image_shape == (3, 4, 4) and data.num_voxels == 2 and data.noise_ceiling[0] > 0.9
    responses = read_recording(tmp_path / "t.csv").average_repeats()
    responses.save(tmp_path / "r.h5")
    again = ResponsesDataModule(str(folder), str(tmp_path / "r.h5"), val=[0, 3], standardize=False)
    np.testing.assert_array_equal(again.train_responses.values, data.train_responses.values)


def test_sizes_that_differ_are_told_at_once(folder):
    Image.new("RGB", (9, 8)).save(folder / "e.png")
    with pytest.raises(ValueError, match=r"differ in size: .*a\.png has \(8, 8\), .*e\.png has \(8, 9\)"):
        ResponsesDataModule(folder, np.random.rand(6, 2))
    with pytest.raises(ValueError, match="6 images but responses to 5 stimuli"):
        ResponsesDataModule(folder, np.random.rand(5, 2))
    with pytest.raises(FileNotFoundError, match=r"no file .*nothing\.csv"):
        ResponsesDataModule(folder, folder / "nothing.csv")
    with pytest.raises(ValueError, match=r"three axes, \(6, 2, 3\): neuroalign\.data\.from_axes\(responses"):
        ResponsesDataModule(ImageFiles(folder, image_size=8), np.random.rand(6, 2, 3))
