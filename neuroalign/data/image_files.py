"""Image files of any usual format as upright 8-bit RGB; an error names the file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neuroalign.data.fields import as_identities
from neuroalign.data.image_paths import EXTENSIONS, images_below

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
        reason = "no image that Pillow knows" if isinstance(error, KeyError) else " ".join(str(error).split())[:200]
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
        raise ValueError("it holds 32-bit numbers, of which nobody knows what is white: save it with 8 or 16 bits")
    if image.has_transparency_data:
        white = Image.new("RGBA", image.size, "white")
        white.alpha_composite(image.convert("RGBA"))
        return white.convert("RGB")
    return image.convert("RGB")


class ImageFiles:
    """Image files that are read when they are needed: ``images[numbers]`` is uint8 (stimulus, height, width, channel).

    Args:
        files: A folder, whose images (those in folders inside it, too) are numbered 0, 1, 2, ... in the order of their names,
            character by character; hidden files and files of other kinds are passed over. Or files in the order of their
            numbers 0, 1, 2, ...; or a mapping from each image's number to its file. They are read by
            ``neuroalign.data.image_files.read_image``.
        image_size: Height and width in pixels: the shorter side is resized to it with antialiasing, and the central square
            is cut out, as in folders of labelled images. None leaves images as they are; they must then have the same size.

    Attributes:
        folder: The folder, if one was given.
        files: Path of each image, by its number.

    Raises:
        FileNotFoundError: If the folder isn't there, or holds no image.
        ValueError: If there are no files, a number is not whole, or a link in the folder leads to nothing or into a circle;
            when images are read, if one is damaged or sizes differ.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp())
        >>> for name, width in (("cat.png", 6), ("dog.png", 9)):
        ...     Image.new("RGB", (width, 4)).save(folder / name)
        >>> images = ImageFiles(folder, image_size=4)
        >>> images.names, images[[1, 0]].shape
        (['cat.png', 'dog.png'], (2, 4, 4, 3))
        >>> ImageFiles({13: folder / "cat.png"})[[13, 13]].shape
        (2, 4, 6, 3)
    """

    def __init__(
        self,
        files: Mapping[int, str | Path] | Sequence[str | Path] | str | os.PathLike[str],
        *,
        image_size: int | None = None,
    ) -> None:
        if image_size is not None and image_size < 1:
            raise ValueError(f"image_size must be at least 1; got {image_size}")
        self.image_size = image_size
        self.folder = Path(files) if isinstance(files, (str, os.PathLike)) else None
        if isinstance(files, (str, os.PathLike)):
            files = _files_in(Path(files))
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

    def __getitem__(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        images = []
        for number in np.asarray(numbers).tolist():
            if number not in self.files:
                raise IndexError(f"image {number} is not among the {len(self.files)} files")
            images.append(np.asarray(_square(read_image(self.files[number]), self.image_size)))
            if images[-1].shape != images[0].shape:
                first = self.files[np.asarray(numbers).tolist()[0]]
                raise ValueError(_differing(first, images[0].shape[:2], self.files[number], images[-1].shape[:2]))
        return np.stack(images)

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


def _differing(first: Path, size: tuple[int, ...], other: Path, other_size: tuple[int, ...]) -> str:
    return (
        f"images differ in size: {first} has {size}, {other} has {other_size} (height, width); ImageFiles(..., "
        "image_size=N) brings all to N by N pixels"
    )


def _files_in(folder: Path) -> list[str]:
    if not folder.is_dir():
        say = "is a file: give the folder, or a list of files" if folder.exists() else "is not there"
        raise FileNotFoundError(f"the folder of images {folder} {say}")
    files = [path for _, paths in images_below(str(folder), folder.parent) for path in paths]
    if not files:
        raise FileNotFoundError(f"{folder} holds no image ({', '.join(EXTENSIONS)})")
    return sorted(files)


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
