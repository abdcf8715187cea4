"""Image files of any usual format as upright 8-bit RGB; an error names the file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from neuroalign.data.fields import as_identities

if TYPE_CHECKING:
    from PIL import Image

__all__ = ["ImageFiles"]

EXTENSIONS = (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
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
        files: A mapping from each image's number to its file; or files in the order of their numbers 0, 1, 2, ... All images
            must have the same size. They are read by ``neuroalign.data.image_files.read_image``.

    Raises:
        ValueError: If there are no files, or a number is not whole; when images are read, if one is damaged or sizes differ.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> path = Path(tempfile.mkdtemp()) / "cat.png"
        >>> Image.new("RGB", (6, 4)).save(path)
        >>> ImageFiles({13: path})[[13, 13]].shape
        (2, 4, 6, 3)
    """

    def __init__(self, files: Mapping[int, str | Path] | Sequence[str | Path]) -> None:
        if not len(files):
            raise ValueError("files is empty: give at least one image")
        given = files if isinstance(files, Mapping) else dict(enumerate(files))
        numbers = as_identities(list(given), "numbers of images").tolist()
        self.files = {number: Path(file) for number, file in zip(numbers, given.values())}

    def __len__(self) -> int:
        return max(self.files) + 1

    def __getitem__(self, numbers: Sequence[int] | np.ndarray) -> np.ndarray:
        images = []
        for number in np.asarray(numbers).tolist():
            if number not in self.files:
                raise IndexError(f"image {number} is not among the {len(self.files)} files")
            images.append(np.asarray(read_image(self.files[number])))
            if images[-1].shape != images[0].shape:
                first = self.files[np.asarray(numbers).tolist()[0]]
                raise ValueError(f"images differ in size: {first} has {images[0].shape[:2]}, {self.files[number]} has "
                                 f"{images[-1].shape[:2]} (height, width)")  # fmt: skip
        return np.stack(images)
