"""Networks and images as the command line names them."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

CKPT_HELP = (
    "checkpoint of a task, or the name of a torchvision model (random weights; with @DEFAULT pretrained ones, such as "
    "resnet18@DEFAULT)"
)


def open_model(ckpt: str) -> tuple[nn.Module, str]:
    """A task from its checkpoint, or a torchvision model; with what to call it.

    Raises:
        FileNotFoundError: If there is no such checkpoint.
        ValueError: If the file is no task's checkpoint, or torchvision has no such model.
    """
    path = Path(ckpt)
    if path.suffix == ".ckpt" or path.exists():
        from neuroalign.tasks import GuidedClassificationTask

        if not path.exists():
            raise FileNotFoundError(f"there is no checkpoint {path}")
        try:
            return GuidedClassificationTask.load_from_checkpoint(path, map_location="cpu"), path.name
        except (TypeError, KeyError, RuntimeError, AttributeError) as error:
            reason = str(error).split("\n")[0]
            raise ValueError(f"{path} is no checkpoint of GuidedClassificationTask ({reason})") from error
    import torch
    from torchvision.models import get_model

    from neuroalign.models import Normalize

    name, _, weights = ckpt.partition("@")
    torch.manual_seed(0)
    network = get_model(name, weights=weights or None)
    normalize = Normalize()
    # A hook rather than a wrapper: the layers keep torchvision's names.
    network.register_forward_pre_hook(lambda _, inputs: (normalize(inputs[0]),))
    return network, name if weights else f"{name} with random weights"


def open_images(data: str, image_size: int) -> Any:
    """A data set of images with labels: digits by name, a folder of class folders, or an .npz.

    Raises:
        FileNotFoundError: If there is no such folder.
        ValueError: If the .npz lacks an array, or one is damaged or of another kind.
    """
    import numpy as np
    import torch

    from neuroalign.array_headers import array_headers
    from neuroalign.data.images import ArrayDataset, LabelledDataset, as_pixels, load_named

    path = Path(data)
    if data == "digits":
        return load_named("digits")["test"]
    if path.suffix == ".npz":
        held = array_headers(path)
        missing = {"images", "labels"} - held.keys()
        if missing:
            raise ValueError(f"{path} has no array {' or '.join(sorted(missing))}; it has {', '.join(held) or 'none'}")
        try:
            with np.load(path, allow_pickle=False) as file:
                images, labels = as_pixels(file["images"]), torch.from_numpy(_whole_numbers(file["labels"], path))
        except (zipfile.BadZipFile, zlib.error, EOFError, MemoryError) as error:
            raise ValueError(f"{path} can't be read: {str(error) or 'it is damaged'}") from error
        if len(labels) != len(images):
            raise ValueError(f"{path} holds {len(images)} images and {len(labels)} labels")
        if images.ndim == 4 and images.shape[1] not in (1, 3) and images.shape[3] in (1, 3):
            raise ValueError(
                f"images of {path} are {tuple(images.shape)}: they must be (stimulus, channel, height, width), channels first"
            )
        return ArrayDataset(images, label=labels)
    if not path.is_dir():
        raise FileNotFoundError(
            f"there is no folder {path}; --data is digits, a folder with a folder a class, .npz or .h5"
        )
    from torchvision import transforms
    from torchvision.datasets import ImageFolder

    steps = [transforms.Resize(image_size), transforms.CenterCrop(image_size), transforms.ToTensor()]
    return LabelledDataset(ImageFolder(path, transforms.Compose(steps)))


def _whole_numbers(labels: np.ndarray, path: Path) -> np.ndarray:
    """Labels (stimulus,) as int64; what would be changed by that is refused."""
    import numpy as np

    if labels.ndim != 1:
        raise ValueError(f"labels of {path} must be (stimulus,), the number of each image's class; got {labels.shape}")
    if labels.dtype.kind not in "iubf" or (labels.dtype.kind == "f" and (labels != np.rint(labels)).any()):
        raise ValueError(
            f"labels of {path} must be whole numbers, from 0; got {labels.dtype} such as {labels[:3].tolist()}"
        )
    if labels.dtype.kind == "f" and not (np.abs(labels) < 2**53).all():
        raise ValueError(f"labels of {path} must be whole numbers, from 0; some are infinite or too large")
    return labels.astype(np.int64)
