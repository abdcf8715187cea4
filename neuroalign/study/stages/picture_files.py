"""Pictures in zip files, folders and arrays, as one tensor: names first, pixels when they are needed."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroalign.study.settings.base import near_match

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

__all__: list[str] = []


class Pictures:
    """Images of one zip file, folder or array.

    Args:
        path: A zip file or folder of image files, or .npy or .npz with (stimulus, height, width[, channel]) or (stimulus,
            channel, height, width).

    Attributes:
        names: Names of the images in alphabetical order, with their folders; of an array their numbers.

    Raises:
        FileNotFoundError: If there is no such file, or no image in it.
        ValueError: If it is no zip file, folder or array of images.
    """

    def __init__(self, path: str | Path) -> None:
        from neuroalign.data.image_paths import EXTENSIONS

        self.path = Path(path)
        if not self.path.exists():
            raise FileNotFoundError(f"no images at {self.path}")
        self._array: Any = None
        if self.path.suffix in (".npy", ".npz"):
            self._array = _image_array(self.path)
            self.names = [str(i) for i in range(len(self._array))]
            return
        if self.path.is_dir():
            found = [p.relative_to(self.path).as_posix() for p in self.path.rglob("*") if p.is_file()]
        else:
            with _zip(self.path) as archive:
                found = [name for name in archive.namelist() if not name.endswith("/")]
        self.names = sorted(n for n in found if n.lower().endswith(EXTENSIONS) and not _hidden(n))
        if not self.names:
            raise FileNotFoundError(f"{self.path} holds no image ({', '.join(EXTENSIONS)})")

    def read(self, names: Sequence[str], size: int | None, crop: int | None = None) -> Tensor:
        """Pixels of some images, uint8 (stimulus, 3, height, width).

        Args:
            names: Their names.
            size: Height and width in pixels to resize to; None leaves images as they are, which must then be of one size.
            crop: Height and width in pixels of the middle that is kept first; None keeps all.

        Raises:
            ValueError: If there is no image of a name, one can't be read or is smaller than ``crop``, or sizes differ.
        """
        import torch

        known = set(self.names)
        missing = [name for name in names if name not in known]
        if missing:
            raise ValueError(
                f"{self.path} holds no image {missing[0]!r}{near_match(missing[0], self.names)} (of {len(names)} wanted, "
                f"{len(missing)} are missing)"
            )
        images = [self._prepared(name, picture, size, crop) for name, picture in self._each(names)]
        for name, image in zip(names, images):
            if image.shape != images[0].shape:
                raise ValueError(
                    f"{self.path}: images differ in size: {names[0]} has {tuple(images[0].shape[1:])}, {name} has "
                    f"{tuple(image.shape[1:])} (height, width): set image_size"
                )
        return torch.stack(images)

    def _each(self, names: Sequence[str]) -> Any:
        if self._array is not None:
            yield from ((name, self._array[int(name)]) for name in names)
        elif self.path.is_dir():
            from neuroalign.data.image_files import read_image

            yield from ((name, read_image(self.path / name)) for name in names)
        else:
            with _zip(self.path) as archive:
                yield from ((name, _unzipped(self.path, archive, name)) for name in names)

    def _prepared(self, name: str, picture: Any, size: int | None, crop: int | None) -> Tensor:
        import numpy as np
        import torch

        image = torch.from_numpy(np.array(picture))  # a copy: pixels of a file are read-only
        image = (image if self._array is not None else image.permute(2, 0, 1)).contiguous()
        height, width = image.shape[1:]
        if crop is not None:
            if min(height, width) < crop:
                raise ValueError(f"{self.path}: {name} has {height} x {width} pixels, less than crop: {crop}")
            top, left = (height - crop) // 2, (width - crop) // 2
            image = image[:, top : top + crop, left : left + crop]
        return image if size is None else resized(image[None], size)[0]


def resized(images: Tensor, size: int | None) -> Tensor:
    """Images (stimulus, channel, height, width) of another size, uint8 where they were so, else float.

    Example:
        >>> import torch
        >>> resized(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), 4).shape
        torch.Size([2, 3, 4, 4])
    """
    import torch

    from neuroalign.data import resize
    from neuroalign.data.images import to_pixels

    if size is None or images.shape[-2:] == (size, size):
        return images
    parts = [resize(to_pixels(part), size) for part in images.split(256)]
    return torch.cat(parts if images.dtype != torch.uint8 else [(part * 255).round().byte() for part in parts])


def _image_array(path: Path) -> np.ndarray:
    """(stimulus, channel, height, width) uint8 with 3 channels."""
    import numpy as np

    from neuroalign.data.array_files import load_member, load_numpy, member_shape
    from neuroalign.data.images import as_pixels

    file = load_numpy(path)
    if not isinstance(file, np.ndarray):
        with file:
            shapes = {name: member_shape(path, file, name) for name in file.files}
            names = [n for n in ("image", "images") if n in shapes] or [n for n, s in shapes.items() if len(s) == 4]
            if len(names) != 1:
                raise ValueError(f"{path} should hold one array of images, called 'image'; it holds {shapes}")
            file = load_member(path, file, names[0])
    try:
        images = as_pixels(file[..., None] if file.ndim == 3 else file).numpy()
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    images = images if images.dtype == np.uint8 else np.rint(images * 255).astype(np.uint8)
    return images if images.shape[1] == 3 else np.repeat(images[:, :1], 3, axis=1)


def _hidden(name: str) -> bool:
    return any(part.startswith((".", "__MACOSX")) for part in name.split("/"))


def _zip(path: Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(path)
    except (zipfile.BadZipFile, OSError) as error:
        raise ValueError(
            f"{path} is no zip file of images, folder, .npy or .npz, or it is damaged ({error})"
        ) from error


def _unzipped(path: Path, archive: zipfile.ZipFile, name: str) -> Any:
    from PIL import Image

    try:
        return Image.open(io.BytesIO(archive.read(name))).convert("RGB")
    except Exception as error:  # on damage Pillow and zipfile raise errors of many kinds
        raise ValueError(f"{path}: {name} can't be read as an image ({' '.join(str(error).split())[:200]})") from error
