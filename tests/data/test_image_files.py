"""Images as they come: read as a person sees them, or refused by the file's name."""

import os
import threading

import numpy as np
import pytest
from PIL import Image

from neuroalign.data import ImageFiles
from neuroalign.data.image_files import read_image
from neuroalign.data.image_folders import ClassFolders
from neuroalign.data.images import as_pixels, load_named

RAMP = np.linspace(0, 1, 32 * 48).reshape(32, 48)
GREY = np.round(255 * RAMP).astype(np.uint8)
COLOUR = np.stack([GREY, GREY[::-1], GREY[:, ::-1]], -1)
PICTURE = Image.fromarray(COLOUR)


def pixels(path):
    return np.asarray(read_image(path))


def save(image, path, **options):
    image.save(path, **options)
    return path


def test_ordinary_images_are_what_pillow_reads(tmp_path):
    for name in ("a.png", "a.bmp", "a.ppm", "a.tif", "a.webp", "a.jpg", "A.JPEG"):
        path = save(PICTURE, tmp_path / name, **({"lossless": True} if name == "a.webp" else {}))
        with Image.open(path) as image:
            np.testing.assert_array_equal(pixels(path), np.asarray(image.convert("RGB")), err_msg=name)
    np.testing.assert_array_equal(pixels(tmp_path / "a.png"), COLOUR)
    np.testing.assert_array_equal(pixels(tmp_path / "a.webp"), COLOUR)


@pytest.mark.parametrize("name", ["a.png", "a.tif", "a.pgm"])
def test_a_ramp_of_16_bits_stays_a_ramp(tmp_path, name):
    deep = np.round(65535 * RAMP).astype(np.uint16)
    got = pixels(save(Image.fromarray(deep), tmp_path / name))
    assert got.shape == (32, 48, 3) and (got[..., 0] == got[..., 2]).all()
    assert np.abs(got[..., 0] / 255 - RAMP).max() < 0.51 / 255
    assert (np.diff(got[..., 0].ravel().astype(int)) >= 0).all()


def test_a_big_endian_tiff(tmp_path):
    deep = np.round(65535 * RAMP).astype(np.uint16)
    path = tmp_path / "a.tif"
    path.write_bytes(_tiff(deep.astype(">u2")))
    assert np.abs(pixels(path)[..., 0] / 255 - RAMP).max() < 0.51 / 255


def _tiff(values):
    """The smallest TIFF, big-endian, by its specification."""
    height, width = values.shape
    tags = [(256, 3, width), (257, 3, height), (258, 3, 16), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1),
            (278, 3, height), (279, 4, values.nbytes)]  # fmt: skip
    offset = 8 + values.nbytes
    entries = b"".join(
        t.to_bytes(2, "big") + k.to_bytes(2, "big") + (1).to_bytes(4, "big")
        + (v.to_bytes(2, "big") + b"\0\0" if k == 3 else v.to_bytes(4, "big"))
        for t, k, v in tags
    )  # fmt: skip
    directory = len(tags).to_bytes(2, "big") + entries + bytes(4)
    return b"MM\x00*" + offset.to_bytes(4, "big") + values.tobytes() + directory


def test_grey_palette_and_one_bit(tmp_path):
    np.testing.assert_array_equal(pixels(save(Image.fromarray(GREY), tmp_path / "l.png"))[..., 1], GREY)
    palette = PICTURE.quantize(200)
    np.testing.assert_array_equal(pixels(save(palette, tmp_path / "p.png")), np.asarray(palette.convert("RGB")))
    bits = pixels(save(Image.fromarray(GREY > 100), tmp_path / "1.png"))
    np.testing.assert_array_equal(bits[..., 0], np.where(GREY > 100, 255, 0))


def test_what_is_transparent_lies_over_white(tmp_path):
    alpha = np.zeros((32, 48), np.uint8)
    alpha[:, :24], alpha[:, 24:30] = 255, 128
    expected = np.round(COLOUR * (alpha / 255)[..., None] + 255 * (1 - alpha / 255)[..., None])
    rgba = Image.fromarray(np.dstack([COLOUR, alpha]))
    assert np.abs(pixels(save(rgba, tmp_path / "rgba.png")) - expected).max() <= 1
    grey = Image.merge("LA", [Image.fromarray(GREY), Image.fromarray(alpha)])
    expected_grey = np.round(GREY * (alpha / 255) + 255 * (1 - alpha / 255))
    assert np.abs(pixels(save(grey, tmp_path / "la.png"))[..., 0] - expected_grey).max() <= 1
    opaque = Image.fromarray(np.dstack([COLOUR, np.full_like(alpha, 255)]))
    np.testing.assert_array_equal(pixels(save(opaque, tmp_path / "opaque.png")), COLOUR)
    palette = Image.fromarray(np.uint8(GREY > 100), "P")
    palette.putpalette([255, 0, 0, 0, 0, 255])
    got = pixels(save(palette, tmp_path / "p.png", transparency=0))
    np.testing.assert_array_equal(got, np.where((GREY > 100)[..., None], [0, 0, 255], [255, 255, 255]))
    two = Image.fromarray(np.where((GREY > 100)[..., None], [0, 0, 255], [255, 0, 0]).astype(np.uint8))
    np.testing.assert_array_equal(pixels(save(two, tmp_path / "key.png", transparency=(255, 0, 0))), got)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif"])
def test_pictures_are_upright(tmp_path, orientation, name):
    """By EXIF's own words: which side of the stored rows and columns is the picture's."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(PICTURE, tmp_path / name, exif=exif, **({"quality": 100, "subsampling": 0} if name == "a.jpg" else {}))
    rows, columns = COLOUR[::-1], COLOUR[:, ::-1]
    both, turned = COLOUR[::-1, ::-1], COLOUR.swapaxes(0, 1)
    expected = {1: COLOUR, 2: columns, 3: both, 4: rows, 5: turned, 6: turned[:, ::-1], 7: turned[::-1, ::-1],
                8: turned[::-1]}[orientation]  # fmt: skip
    got = pixels(path)
    assert got.shape == expected.shape
    assert np.abs(got.astype(int) - expected).mean() < (2 if name == "a.jpg" else 1e-9)


def test_cmyk(tmp_path):
    path = save(PICTURE.convert("CMYK"), tmp_path / "a.jpg", quality=100, subsampling=0)
    assert np.abs(pixels(path).astype(int) - COLOUR).mean() < 4


@pytest.mark.parametrize("name", ["a.gif", "a.tif", "a.webp", "a.png"])
def test_the_first_of_several_frames_is_taken_and_said(tmp_path, name):
    red, blue = (Image.new("RGB", (8, 6), colour) for colour in ("red", "blue"))
    red.save(tmp_path / name, save_all=True, append_images=[blue], **({"lossless": True} if name == "a.webp" else {}))
    with pytest.warns(UserWarning, match=rf"{name} has several frames: the first is taken") as caught:
        got = pixels(tmp_path / name)
    assert caught[0].filename == __file__
    np.testing.assert_array_equal(got, np.broadcast_to([255, 0, 0], (6, 8, 3)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.write_bytes(b""), "can't be read as an image"),
        (lambda p: p.write_text("not a picture\n" * 9), "can't be read as an image"),
        (lambda p: p.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n"), "can't be read as an image"),
        (lambda p: save(Image.fromarray(RAMP.astype(np.float32)), p, format="TIFF"), "and which of them is white"),
        (lambda p: save(Image.fromarray(GREY.astype(np.int32)), p, format="TIFF"), "and which of them is white"),
        (lambda p: p.symlink_to("gone.png"), "is no regular file"),
        (lambda p: p.mkdir(), "is no regular file"),
        (os.mkfifo, "is no regular file"),
        (lambda p: None, "is not there"),
    ],
    ids=["empty", "text", "EPS", "float", "int32", "broken link", "folder", "pipe", "absent"],
)  # fmt: skip
def test_refused_by_name(tmp_path, make, message):
    path = tmp_path / "a.png"
    make(path)
    found = []
    # In a thread, so that waiting for a pipe would fail the test rather than hang it.
    thread = threading.Thread(target=lambda: found.append(_outcome(path)), daemon=True)
    thread.start()
    thread.join(20)
    assert found and isinstance(found[0], (ValueError, FileNotFoundError))
    assert str(path) in str(found[0]) and message in str(found[0])


def _outcome(path):
    try:
        return read_image(path)
    except Exception as error:
        return error


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.gif", "a.tif", "a.bmp", "a.webp", "a.ppm"])
def test_a_cut_image_is_refused(tmp_path, name):
    path = save(PICTURE, tmp_path / name)
    content = path.read_bytes()
    for length in (1, 10, len(content) // 2, len(content) * 9 // 10):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="can't be read as an image: cut short") as caught:
            read_image(path)
        assert str(path) in str(caught.value)


def test_every_flipped_bit_of_a_png_is_told_or_harmless(tmp_path):
    noise = np.random.default_rng(0).integers(0, 256, (24, 24, 3), np.uint8)
    path = save(Image.fromarray(noise), tmp_path / "a.png")
    content, rng, told = path.read_bytes(), np.random.default_rng(1), 0
    for place in rng.integers(0, len(content), 150):
        changed = bytearray(content)
        changed[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(changed)
        got = _outcome(path)
        if isinstance(got, ValueError):
            told += str(path) in str(got)
        else:  # behind the picture
            np.testing.assert_array_equal(np.asarray(got), noise)
    assert told > 140


def test_an_image_larger_than_pillow_takes_for_safe(tmp_path, monkeypatch):
    path = save(PICTURE, tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 700)
    with pytest.raises(
        ValueError, match=r"a\.png is larger than Pillow takes for safe .*raise PIL.Image.MAX_IMAGE_PIXELS"
    ):
        read_image(path)


# Folders


@pytest.fixture
def folders(tmp_path):
    """Images whose grey level is their class: 10 for cats, 200 for dogs."""
    for name, grey in (("cat", 10), ("dog", 200)):
        (tmp_path / "data" / name / "more").mkdir(parents=True)
        for place in ("1.png", "2.PNG", "more/3.jpg"):
            Image.new("RGB", (8, 8), (grey,) * 3).save(tmp_path / "data" / name / place)
    return tmp_path / "data"


def labels_and_greys(root, **options):
    data = ClassFolders(root, **options)
    return [(label, int(np.asarray(image)[0, 0, 0])) for image, label in data]


RIGHT = [(0, 10)] * 3 + [(1, 200)] * 3


def test_folders_are_read_as_torchvision_reads_them(folders):
    from torchvision.datasets import ImageFolder

    ours, theirs = ClassFolders(folders), ImageFolder(folders)
    assert ours.samples == theirs.samples and ours.classes == theirs.classes
    assert labels_and_greys(folders) == RIGHT


def test_what_a_person_would_not_take_for_an_image_is_passed_over(folders):
    (folders / "cat/._1.png").write_bytes(b"left behind by macOS")
    (folders / "cat/.DS_Store").write_bytes(b"x")
    (folders / "dog/notes.txt").write_text("notes")
    (folders / ".ipynb_checkpoints").mkdir()
    (folders / "cat/.ipynb_checkpoints").mkdir()
    (folders / "cat/.ipynb_checkpoints/1-checkpoint.png").write_bytes(b"x")
    (folders / "readme.md").write_text("notes")
    assert labels_and_greys(folders) == RIGHT


def test_links_to_files_and_folders_are_followed(folders, tmp_path):
    (tmp_path / "elsewhere").mkdir()
    Image.new("RGB", (8, 8), (10, 10, 10)).save(tmp_path / "elsewhere/4.png")
    (folders / "cat/linked").symlink_to(tmp_path / "elsewhere")
    (folders / "cat/5.png").symlink_to(tmp_path / "elsewhere/4.png")
    assert sorted(labels_and_greys(folders)) == [(0, 10)] * 5 + [(1, 200)] * 3


@pytest.mark.parametrize(
    ("place", "target"), [("cat/loop", "."), ("cat/loop", ".."), ("cat/more/loop", ".."), ("cat/loop", "../.."), ("x", ".")]
)  # fmt: skip
def test_a_link_that_leads_round_is_refused(folders, place, target):
    (folders / place).symlink_to(target)
    with pytest.raises(ValueError, match="is a link to a folder that holds it") as caught:
        ClassFolders(folders)
    assert str(folders) in str(caught.value)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda root: (root / "cat/9.png").symlink_to("gone.png"), ValueError, r"cat/9\.png is a link to nothing"),
        (
            lambda root: (root / "cat/8.png").symlink_to("8.png"),
            ValueError,
            r"cat/8\.png is a link to nothing, or to itself",
        ),
        (lambda root: (root / "cat/gone").symlink_to("nowhere"), ValueError, "cat/gone is a link to nothing"),
        (lambda root: (root / "ant").symlink_to("nowhere"), ValueError, "ant is a link to nothing"),
        (lambda root: os.mkfifo(root / "dog/9.png"), ValueError, r"dog/9\.png is no regular file"),
        (lambda root: (root / "eel").mkdir(), FileNotFoundError, r"the class folder .*eel holds no image \(\.bmp"),
        (lambda root: (root / "eel/deep").mkdir(parents=True), FileNotFoundError, "eel holds no image"),
    ],
)
def test_folders_that_are_refused(folders, make, error, message):
    make(folders)
    with pytest.raises(error, match=message):
        ClassFolders(folders)


def test_parts_of_a_data_set_are_no_classes(folders, tmp_path):
    for part in ("train", "val"):
        (tmp_path / "parts" / part).mkdir(parents=True)
        (tmp_path / "parts" / part / "cat").symlink_to(folders / "cat")
    with pytest.raises(
        ValueError, match=r"holds \['train', 'val'\], parts of a data set and no classes: give .*parts/val"
    ):
        ClassFolders(tmp_path / "parts")
    (tmp_path / "none").mkdir()
    with pytest.raises(FileNotFoundError, match="none holds no folders"):
        ClassFolders(tmp_path / "none")
    with pytest.raises(FileNotFoundError, match="there is no folder"):
        ClassFolders(tmp_path / "absent")


def test_labels_of_all_parts_are_those_of_the_training_classes(folders, tmp_path):
    root = tmp_path / "parts"
    root.mkdir()
    (root / "train").symlink_to(folders)
    (root / "val").mkdir()
    (root / "val/dog").symlink_to(folders / "dog")  # the cats were forgotten
    sets = load_named("folder", root, image_size=8)
    for part in ("train", "val"):
        batch = sets[part].__getitems__(range(len(sets[part])))
        assert {(int(label), round(float(x[0, 0, 0] * 255))) for label, x in zip(batch["label"], batch["image"])} <= {
            (0, 10), (1, 200)
        }  # fmt: skip
    (root / "val/cow").symlink_to(folders / "cat")
    with pytest.raises(ValueError, match=r"unknown class 'cow'; .*\(classes of the training images\)"):
        load_named("folder", root, image_size=8)


def test_image_files(folders, tmp_path):
    names = ["cat/1.png", "dog/1.png"]
    images = ImageFiles([folders / name for name in names])
    assert images[[1, 0]][:, 0, 0, 0].tolist() == [200, 10] and len(images) == 2
    np.testing.assert_array_equal(ImageFiles({np.int64(4): folders / names[1]})[[4]], images[[1]])
    (folders / "dog/1.png").write_bytes(b"x")
    with pytest.raises(ValueError, match=r"dog/1\.png can't be read as an image"):
        images[[1]]
    Image.new("RGB", (9, 8)).save(folders / "dog/1.png")
    with pytest.raises(ValueError, match=r"differ in size: .*cat/1\.png has \(8, 8\), .*dog/1\.png has \(8, 9\)"):
        images[[0, 1]]
    with pytest.raises(ValueError, match=r"numbers of images must be whole numbers; that of row 0 \(from 0\) is 1.5"):
        ImageFiles({1.5: "a.png"})
    with pytest.raises(TypeError, match="numbers of images must be whole numbers; got text"):
        ImageFiles({"a.png": "a.png"})


@pytest.mark.parametrize(
    ("images", "error", "message"),
    [
        (
            np.zeros((2, 4, 5, 3), np.float32),
            ValueError,
            r"must be \(stimulus, channel, height, width\), channels first",
        ),
        (np.zeros((2, 3, 4, 5), np.complex64), TypeError, "images must be numbers"),
        (np.zeros((2, 3, 4, 5)).astype(str), TypeError, "images must be numbers"),
        (np.zeros((2, 3, 4, 5), object), TypeError, "images must be numbers"),
        (np.zeros((2, 3, 4, 5), np.uint16), ValueError, "must be floating point"),
        (np.zeros((2, 3, 4, 5), bool), ValueError, "must be floating point"),
        (np.full((2, 3, 4, 5), np.nan), ValueError, r"must be pixels in \[0, 1\]"),
        (np.full((2, 3, 4, 5), 1.5), ValueError, r"must be pixels in \[0, 1\]"),
        (np.zeros((2, 3, 4)), ValueError, "must have four axes"),
    ],
)
def test_pixels_that_are_refused(images, error, message):
    with pytest.raises(error, match=message):
        as_pixels(images)


def test_pixels_of_another_byte_order():
    np.testing.assert_array_equal(as_pixels(np.full((2, 3, 4, 5), 0.5, dtype=">f4")), np.full((2, 3, 4, 5), 0.5))


def test_a_transparent_grey_of_16_bits_lies_over_white(tmp_path):
    grey = np.array([[0, 257, 65535]], dtype=np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.png", transparency=0)
    assert np.asarray(read_image(tmp_path / "a.png"))[0, :, 0].tolist() == [255, 1, 255]
    Image.fromarray(grey).save(tmp_path / "b.png")
    assert np.asarray(read_image(tmp_path / "b.png"))[0, :, 0].tolist() == [0, 1, 255]


def test_what_images_are_asked_by(tmp_path):
    """One or several, by number, slice, mask or name; a loop gives one after the other, by number."""
    greys = {"a.png": 0, "b.png": 10, "c/ü.png": 20}
    (tmp_path / "c").mkdir()
    for name, grey in greys.items():
        Image.new("RGB", (5, 4), (grey,) * 3).save(tmp_path / name)
    images = ImageFiles(tmp_path)

    def level(image):
        assert image.shape == (4, 5, 3) and image.dtype == np.uint8
        return int(image[0, 0, 0])

    assert [level(image) for image in images] == [level(images[i]) for i in range(3)] == [0, 10, 20]
    assert level(images[np.int64(1)]) == level(images["b.png"]) == 10
    assert level(images["ü.png"]) == level(images["c/u\u0308.png"]) == 20
    for several, expected in [(slice(1, None), [10, 20]), (slice(None, None, -1), [20, 10, 0]), ([2.0, 0.0], [20, 0]),
                              (np.array([True, False, True]), [0, 20]), (["b.png", "a.png"], [10, 0])]:  # fmt: skip
        assert [level(image) for image in images[several]] == expected
    assert [[level(image) for image in batch] for batch in images.batches(2)] == [[0, 10], [20]]
    sparse = ImageFiles({13: tmp_path / "b.png", 7: tmp_path / "a.png"})
    assert [level(image) for image in sparse] == [0, 10]
    assert [level(image) for image in sparse[8:]] == [level(sparse["b.png"])] == [10]


def test_images_that_are_not_there(tmp_path):
    for name in ("cat.png", "dog.png"):
        Image.new("RGB", (5, 4)).save(tmp_path / name)
    images = ImageFiles(tmp_path)
    for number in (2, -1):
        with pytest.raises(IndexError, match=f"image {number} is not among the 2 files"):
            images[number]
    with pytest.raises(ValueError, match=r"unknown image 'cot\.png'; did you mean 'cat\.png'"):
        images["cot.png"]
    with pytest.raises(IndexError, match=r"true or false for \(3,\) images, and there are 2"):
        images[np.ones(3, dtype=bool)]
    with pytest.raises(ValueError, match="no image was asked for"):
        images[5:]
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        images.batches(0)
    (tmp_path / "more").mkdir()
    (tmp_path / "cat.png").rename(tmp_path / "more/dog.png")
    with pytest.raises(ValueError, match=r"the name 'dog\.png' is that of .*dog\.png and .*dog\.png"):
        ImageFiles([tmp_path / "dog.png", tmp_path / "more/dog.png"])["dog.png"]
