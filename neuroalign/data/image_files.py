"""Image files of any usual format as upright 8-bit RGB; an error names the file."""

from __future__ import annotations

import operator
import os
import unicodedata
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from neuroalign.data.fields import as_identities, has_names
from neuroalign.data.image_paths import files_in
from neuroalign.functional.pixels import whole_size
from neuroalign.types import unknown

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ImageFiles"]

_ORIENTED = {"exif", "xmp", "XML:com.adobe.xmp", "Raw profile type exif"}  # entries that may hold an orientation
# Pillow's other formats need programs of their own (EPS runs Ghostscript) or are no pictures.
_FORMATS = ("JPEG", "PNG", "GIF", "BMP", "DIB", "PPM", "TIFF", "WEBP", "MPO")


def read_image(path: str | os.PathLike[str]) -> Image.Image:
    """Read a picture as 8-bit RGB, turned upright by its EXIF orientation.

    16-bit grey is scaled to 8 bits, transparent pixels are laid over white, and the first of several frames is taken, with a
    warning. PNG has checksums; a wrong byte in a JPEG changes the picture, and no reader can detect it.

    Raises:
        FileNotFoundError: If there is no such file, or it is no regular one (a broken link, a pipe).
        ValueError: If it is cut short, damaged, no image of a usual format, larger than Pillow considers safe, or holds
            32-bit numbers, whose value for white is unknown.

    Warns:
        UserWarning: If it has several frames.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> path = Path(tempfile.mkdtemp()) / "ramp.png"
        >>> Image.fromarray(np.array([[0, 32768, 65535]], dtype=np.uint16)).save(path)
        >>> np.asarray(read_image(path))[0, :, 0].tolist()
        [0, 128, 255]
    """
    from PIL import Image, ImageOps

    if not Path(path).is_file():
        what = "is no regular file (a link to nothing, a folder or a pipe)" if os.path.lexists(path) else "is not there"
        raise FileNotFoundError(f"the image {os.fspath(path)} {what}")
    try:
        with Image.open(path, formats=_FORMATS) as image:
            # A telephone's JPEG may hold a preview as a second frame.
            several = image.format not in ("JPEG", "MPO") and getattr(image, "is_animated", False)
            image.load()  # a PNG may store its orientation after the pixels
            if image.format == "TIFF" or not _ORIENTED.isdisjoint(image.info):
                ImageOps.exif_transpose(image, in_place=True)
            picture = _as_rgb(image)
    except Image.DecompressionBombError as error:
        raise ValueError(
            f"{os.fspath(path)} is larger than Pillow takes for safe ({error}): make it smaller, or raise "
            "PIL.Image.MAX_IMAGE_PIXELS if you trust it"
        ) from error
    except Exception as error:  # on damage Pillow raises errors of many kinds
        # Pillow looks up plugins by name; a format that it has not loaded is a KeyError.
        reason = (
            "no image format that Pillow reads" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
        )
        reason = reason or type(error).__name__
        raise ValueError(
            f"{os.fspath(path)} can't be read as an image: cut short, damaged, or something else ({reason})"
        ) from error
    if several:
        warnings.warn(f"{os.fspath(path)} has several frames: the first is taken", stacklevel=2)
    return picture


def _as_rgb(image: Image.Image) -> Image.Image:
    from PIL import Image

    if image.mode == "RGB" and "transparency" not in image.info:
        return image  # loaded already; converting would copy it
    if image.mode.startswith("I;16") or (image.mode == "I" and image.format in ("PNG", "PPM")):
        grey = np.asarray(image)
        levels = np.round(grey / 257).astype(np.uint8)
        if isinstance(clear := image.info.get("transparency"), int):
            levels[grey == clear] = 255
        return Image.fromarray(levels).convert("RGB")
    if image.mode in ("I", "F"):
        raise ValueError(
            "it holds 32-bit numbers, and which of them is white is not defined: save it with 8 or 16 bits"
        )
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    return image.convert("RGB")


class ImageFiles:
    """Image files that are read when they are needed: ``images[numbers]`` is uint8 (stimulus, height, width, channel).

    Several images are asked for by a list or an array of numbers, by a slice of numbers, or by a list of names; one, (height,
    width, channel), by its number or its name. A loop over them gives one after the other.

    Args:
        files: A folder, whose images (those in folders inside it, too) are numbered 0, 1, 2, ... in the order of their paths
            within it, character by character: capitals come before small letters, and ``10.png`` before ``2.png``. Hidden
            files and files of other kinds are passed over. Or files in the order of their numbers 0, 1, 2, ...; or a mapping
            from each image's number to its file. They are read by ``neuroalign.data.image_files.read_image``.
        image_size: Height and width in pixels: the shorter side is resized to it with antialiasing, and the central square
            is cut out, as in folders of labelled images. None leaves images as they are; they must then have the same size.

    Attributes:
        folder: The folder, if one was given.
        files: Path of each image, by its number.

    Raises:
        FileNotFoundError: If the folder isn't there, or holds no image.
        TypeError: If ``image_size`` is no whole number.
        ValueError: If there are no files, a number is not whole, or a link in the folder leads to nothing or into a circle;
            when images are read, if one is damaged, sizes differ, or a name is unknown or that of two files.
        IndexError: When images are read, if there is none of that number.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name, width in (("cat.png", 6), ("dog.png", 9)):
        ...     Image.new("RGB", (width, 4)).save(folder / name)
        >>> images = ImageFiles(folder, image_size=4)
        >>> images.names, images[[1, 0]].shape
        (['cat.png', 'dog.png'], (2, 4, 4, 3))
        >>> images["dog.png"].shape, images[:1].shape, sum(1 for image in images)
        ((4, 4, 3), (1, 4, 4, 3), 2)
        >>> ImageFiles({13: folder / "cat.png"})[[13, 13]].shape
        (2, 4, 6, 3)
    """

    def __init__(
        self,
        files: Mapping[int, str | Path] | Sequence[str | Path] | str | os.PathLike[str],
        *,
        image_size: int | None = None,
    ) -> None:
        self.image_size = None if image_size is None else whole_size(image_size)
        self.folder = Path(files) if isinstance(files, (str, os.PathLike)) else None
        if isinstance(files, (str, os.PathLike)):
            files = files_in(Path(files))
        if not len(files):
            raise ValueError("files is empty: give at least one image")
        given = files if isinstance(files, Mapping) else dict(enumerate(files))
        numbers = as_identities(list(given), "numbers of images").tolist()
        self.files = {number: Path(file) for number, file in zip(numbers, given.values())}

    @property
    def names(self) -> list[str]:
        """Names of the files in the order of their numbers; those in folders inside the given one with the way there."""
        folder = self.folder
        return [
            file.name if folder is None else file.relative_to(folder).as_posix()
            for _, file in sorted(self.files.items())
        ]

    def __len__(self) -> int:
        return max(self.files) + 1

    def __repr__(self) -> str:
        where = "" if self.folder is None else f"{str(self.folder)!r}, "
        return f"ImageFiles({where}{len(self.files)} images, image_size={self.image_size})"

    def __getitem__(self, numbers: int | str | slice | Sequence[int] | Sequence[str] | np.ndarray) -> np.ndarray:
        if not isinstance(numbers, slice) and np.ndim(numbers) == 0:
            return self._read(self._number(numbers))
        chosen = self._numbers(numbers)
        if not chosen:
            raise ValueError("no image was asked for")
        images: list[np.ndarray] = []
        for number in chosen:
            images.append(self._read(number))
            if images[-1].shape != images[0].shape:
                first, other = (self.files[n] for n in (chosen[0], number))
                raise ValueError(_differing(first, images[0].shape[:2], other, images[-1].shape[:2]))
        return np.stack(images)

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self._read(number) for number in sorted(self.files))

    def batches(self, batch_size: int = 256) -> Iterator[np.ndarray]:
        """All images in the order of their numbers, uint8 (stimulus, height, width, channel).

        Args:
            batch_size: Number of images at a time; the last batch may hold fewer.

        Raises:
            ValueError: If it is below 1, or images differ in size.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1; got {batch_size}")
        numbers = sorted(self.files)
        return (self[numbers[start : start + batch_size]] for start in range(0, len(numbers), batch_size))

    def _read(self, number: int) -> np.ndarray:
        if number not in self.files:
            raise IndexError(f"image {number} is not among the {len(self.files)} files")
        return np.asarray(_square(read_image(self.files[number]), self.image_size))

    def _numbers(self, several: Any) -> list[int]:
        if isinstance(several, slice):
            return [number for number in range(*several.indices(len(self))) if number in self.files]
        array = np.asarray(several)
        if array.dtype.kind == "b":
            if array.shape != (len(self),):
                raise IndexError(f"true or false for {array.shape} images, and there are {len(self)}")
            return np.flatnonzero(array).tolist()
        if has_names(array):
            return [self._number(each) for each in array.tolist()]
        return as_identities(array, "numbers of images").tolist()

    def _number(self, image: Any) -> int:
        """The number of an image that is given by it, by the name in ``names``, or by the file's name alone."""
        if not isinstance(image, str):
            return operator.index(image)
        name, names = _normal(image), self.names
        by_name = [number for number, known in zip(sorted(self.files), names) if _normal(known) == name]
        found = by_name or [number for number, file in self.files.items() if _normal(file.name) == name]
        if len(found) > 1:
            raise ValueError(f"the name {image!r} is that of {' and '.join(str(self.files[n]) for n in found[:2])}")
        if not found:
            raise ValueError(unknown("image", image, names))
        return found[0]

    def check_sizes(self, at_most: int = 2000) -> tuple[int, int]:
        """Height and width of the images, from the files' heads.

        Args:
            at_most: Largest number of files to look at; they are spread evenly over all.

        Raises:
            ValueError: If two differ and there is no ``image_size``.
        """
        if self.image_size is not None:
            return self.image_size, self.image_size
        files = [self.files[number] for number in sorted(self.files)]
        places = np.unique(np.linspace(0, len(files) - 1, min(at_most, len(files))).astype(int))
        first = _size(files[0])
        for file in (files[place] for place in places):
            if (size := _size(file)) != first:
                raise ValueError(_differing(files[0], first, file, size))
        return first


def _normal(name: str) -> str:
    return unicodedata.normalize("NFC", name)  # macOS stores an umlaut as two characters


def _differing(first: Path, size: tuple[int, ...], other: Path, other_size: tuple[int, ...]) -> str:
    return (
        f"images differ in size: {first} has {size}, {other} has {other_size} (height, width); image_size=N, "
        "given with the folder or the files, brings all to N by N pixels"
    )


def _size(path: Path) -> tuple[int, int]:
    """Height and width of an upright picture, of a file that Pillow can open; else by reading it, which tells why not."""
    from PIL import Image

    try:
        with Image.open(path, formats=_FORMATS) as image:
            if image.format != "TIFF" and _ORIENTED.isdisjoint(image.info):
                return image.height, image.width
    except Exception:  # the reader below tells what is wrong
        pass
    picture = read_image(path)
    return picture.height, picture.width


def _square(picture: Image.Image, size: int | None) -> Image.Image | np.ndarray:
    if size is None:
        return picture
    from torchvision.transforms import v2

    # On a tensor, as for labelled images: Pillow's own resizing rounds differently.
    steps = v2.Compose([v2.ToImage(), v2.Resize(size, antialias=True), v2.CenterCrop(size)])
    return steps(picture).permute(1, 2, 0).numpy()
