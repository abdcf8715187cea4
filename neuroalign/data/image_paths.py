"""Which files below a folder are images: hidden files and other kinds are passed over, links are followed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

__all__: list[str] = []

EXTENSIONS = (".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pbm", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")


def images_below(folder: str, root: str | Path) -> Iterator[tuple[str, list[str]]]:
    """A folder and all folders below it, each with the sorted paths of its images.

    Links are followed, but not in circles.

    Args:
        folder: Where to begin.
        root: A folder above, to which no link may lead back.

    Raises:
        ValueError: If a link leads to nothing or into a circle, or an image is no regular file.

    Example:
        >>> import tempfile
        >>> place = tempfile.mkdtemp()
        >>> Path(place, "a.png").touch(), Path(place, ".hidden.png").touch()
        (None, None)
        >>> [
        ...     [Path(path).name for path in files]
        ...     for _, files in images_below(place, Path(place).parent)
        ... ]
        [['a.png']]
    """
    open_folders: list[tuple[str, tuple[str, ...]]] = [(folder, (os.path.realpath(root),))]
    while open_folders:
        place, above = open_folders.pop()
        real = os.path.realpath(place)
        if real in above:
            raise ValueError(f"{place} is a link to a folder that holds it: its images would be taken again and again")
        files = []
        for entry in visible(place):
            refuse_broken(entry)
            if entry.is_dir():
                open_folders.append((entry.path, (*above, real)))
            elif entry.name.lower().endswith(EXTENSIONS):
                if not entry.is_file():
                    raise ValueError(f"{entry.path} is no regular file (a pipe, or a device): remove it")
                files.append(entry.path)
        yield place, sorted(files)


def files_in(folder: Path) -> list[str]:
    """The paths of all images in a folder and in the folders inside it, sorted.

    Raises:
        FileNotFoundError: If it is not there, or holds no image.
        ValueError: As in :func:`images_below`.
    """
    if not folder.is_dir():
        say = "is a file: give the folder, or a list of files" if folder.exists() else "is not there"
        raise FileNotFoundError(f"the folder of images {folder} {say}")
    files = [path for _, paths in images_below(str(folder), folder.parent) for path in paths]
    if not files:
        raise FileNotFoundError(f"{folder} holds no image ({', '.join(EXTENSIONS)})")
    return sorted(files)


def visible(folder: str | Path) -> list[os.DirEntry[str]]:
    """The entries of a folder that are not hidden."""
    with os.scandir(folder) as entries:
        return [entry for entry in entries if not entry.name.startswith(".")]


def refuse_broken(entry: os.DirEntry[str]) -> None:
    """Refuse a link to nothing: it may have led to a folder of images."""
    if entry.is_symlink() and not Path(entry.path).exists():
        raise ValueError(f"{entry.path} is a link to nothing, or to itself: remove it")
