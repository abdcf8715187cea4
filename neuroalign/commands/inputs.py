"""Open the images that are named on the command line."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroalign.commands.networks import CKPT_HELP as CKPT_HELP
from neuroalign.commands.networks import open_network

if TYPE_CHECKING:
    from torch import nn

__all__: list[str] = []

_NOT_HDF5 = (".csv", ".tsv", ".txt", ".json", ".yaml", ".npy", ".npz", ".mat", ".pt", ".ckpt", ".safetensors", ".parquet",
             ".nii", ".gz", ".zip")  # fmt: skip

IMAGE_SIZE = 224
"""Height and width in pixels of images from folders, for a network that was built for none."""


def check_hdf5_name(path: str | Path) -> None:
    """Refuse a name of another kind of file for an HDF5 file: whoever gives one expects another content.

    Raises:
        ValueError: If the name ends as those of other files.

    Example:
        >>> check_hdf5_name("v4.h5")
    """
    if Path(path).suffix.lower() in _NOT_HDF5:
        raise ValueError(f"{path} would be an HDF5 file: give a name that ends in .h5")


def open_model(ckpt: str, allow: Sequence[str] = ()) -> tuple[nn.Module, str]:
    """A network by its file, folder or name, and the name to print for it; see :func:`.networks.open_network`."""
    opened = open_network(ckpt, allow=allow)
    return opened.network, opened.name


def open_images(data: str, image_size: int | None) -> Any:
    """A data set of images with labels, each with its identity: "digits", a folder with one folder per class, or an .npz.

    Raises:
        FileNotFoundError: If there is no such file or folder, or a class without images.
        ValueError: If the .npz lacks an array or is damaged, images are not in [0, 1], labels are not whole numbers from 0
            on, or a folder holds links that lead nowhere. The message names the file.
    """
    from neuroalign.data.images import class_folders, load_named

    path = Path(data)
    if data == "digits":
        return load_named("digits")["test"]
    if path.suffix.lower() == ".npz":
        return _archive(path)
    if not path.is_dir():
        kinds = "--data is digits, a folder with one folder per class, or .npz with images and labels"
        if path.exists():
            raise ValueError(f"{path} is no such data; {kinds}")
        near = "did you mean 'digits'? " if get_close_matches(data.lower(), ["digits"]) else ""
        raise FileNotFoundError(f"there is no folder {path}; {near}{kinds}")
    return class_folders(path, image_size or IMAGE_SIZE)


def check_fit(network: nn.Module, dataset: Any, data: str) -> None:
    """Refuse images that a classifier doesn't take, and labels of classes that it doesn't have, in the whole data set.

    Args:
        network: Maps images in [0, 1] to logits.
        dataset: A data set of :func:`open_images`.
        data: What it was opened by, for the message.

    Raises:
        ValueError: Naming the data.
    """
    import torch

    from neuroalign.functional.checks import check_labels
    from neuroalign.perturbations.classifier import Classifier
    from neuroalign.state import evaluating

    labels = dataset.columns["label"] if hasattr(dataset, "columns") else torch.tensor(dataset.dataset.targets)
    with evaluating(network), torch.no_grad():
        try:
            logits = Classifier(network).logits(dataset[0]["image"][None])
            check_labels(labels, logits.shape[1])
        except ValueError as error:
            raise ValueError(f"{data}: {error}") from error


def _archive(path: Path) -> Any:
    import numpy as np
    import torch

    from neuroalign.data.array_files import load_member, load_numpy
    from neuroalign.data.fields import as_identities
    from neuroalign.data.images import ArrayDataset, as_pixels

    file = load_numpy(path)
    if isinstance(file, np.ndarray):
        raise ValueError(f"{path} holds one array without a name: save images and labels by np.savez")
    with file:
        missing = {"images", "labels"} - set(file.files)
        if missing:
            raise ValueError(f"{path} has no array {' or '.join(sorted(missing))}; it has {', '.join(file.files)}")
        images, labels = (load_member(path, file, name) for name in ("images", "labels"))
    try:
        numbers = as_identities(labels, "labels")
        if (numbers < 0).any():
            raise ValueError(f"labels count classes from 0; found {numbers.min()}")
        return ArrayDataset(as_pixels(images), label=torch.from_numpy(numbers), stimulus=torch.arange(len(numbers)))
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
