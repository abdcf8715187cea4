"""Batches of any images with any responses to them."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuroalign.data.datamodules.base import BatchDataModule
from neuroalign.data.datamodules.standardized import standardize_parts
from neuroalign.data.fields import as_identities, has_names
from neuroalign.data.image_files import ImageFiles
from neuroalign.data.image_names import check_order, files_of
from neuroalign.data.images import ArrayDataset, as_pixels
from neuroalign.data.responses import Responses

__all__ = ["ResponsesDataModule"]


class ResponsesDataModule(BatchDataModule):
    """Any images with any responses to them, for a neural predictor.

    Yields batches with ``image``, ``response``, ``stimulus``.

    Args:
        images: (image, channel, height, width), uint8 or float in [0, 1]; or an object that returns uint8 (stimulus, height,
            width, channel) when it is indexed by an array of stimuli, such as :class:`neuroalign.data.CachedImages`,
            :class:`neuroalign.data.NSDImages` or :class:`neuroalign.data.ImageFiles`: these are read when a batch needs them.
            Or a folder of image files, which becomes an :class:`neuroalign.data.ImageFiles` with ``image_size``.
        responses: (image, voxel), one row per image; or a :class:`Responses` that is averaged over repeats, whose
            ``stimulus`` are rows of ``images`` or, where they have names (``info["stimulus_id"]``), are found among the image
            files by these, with or without extension. Or a file: one of :class:`Responses`, or one that
            :func:`neuroalign.read_recording` reads; where stimuli repeat, the noise ceiling is estimated and the repeats are
            averaged.
        val: Rows of the responses for validation, or the names of their stimuli; None means the shared images of a
            :class:`Responses`, if it has any, and otherwise a random ``val_fraction``.
        val_fraction: Share of the stimuli for validation.
        standardize: Whether to z-score every voxel with the mean and standard deviation of the training rows.
        image_size: Height and width in pixels to resize to; None leaves images as they are.
        batch_size: Images per batch; the paper's is 200.
        num_workers: Number of loader processes.
        augment: Augmentation of training batches; None means none.
        seed: Seed of the split, the order and the augmentation.
        drop_last: Whether to leave out an incomplete last training batch.

    Raises:
        TypeError: If images are a list of files (:class:`neuroalign.data.ImageFiles` reads them), or ``val`` holds names and
            the responses have none.
        FileNotFoundError: If a file or folder isn't there, or the folder holds no image.
        ValueError: If images and responses differ in number, a stimulus is no row of the images, has no image of its name, or
            has several rows of responses (average them first); if image files differ in size without ``image_size``; or if
            nothing says in which order the files of a folder belong to the responses.

    Warns:
        UserWarning: If images of a folder have no responses.

    Example:
        >>> images, responses = torch.rand(50, 3, 8, 8), torch.randn(50, 20)
        >>> data = ResponsesDataModule(images, responses, batch_size=10)
        >>> batch = next(iter(data.train_dataloader()))
        >>> batch["image"].shape, batch["response"].shape
        (torch.Size([10, 3, 8, 8]), torch.Size([10, 20]))
    """

    def __init__(
        self,
        images: Any,
        responses: Any,  # a type that names str makes configurations read the file as text
        *,
        val: Sequence[int] | Sequence[str] | np.ndarray | None = None,
        val_fraction: float = 0.1,
        standardize: bool = True,
        image_size: int | None = None,
        batch_size: int = 200,
        num_workers: int = 0,
        augment: nn.Module | Callable[[Tensor], Tensor] | None = None,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        super().__init__(
            batch_size=batch_size, num_workers=num_workers, augment=augment, seed=seed, drop_last=drop_last
        )
        if isinstance(images, (list, tuple)):
            raise TypeError(f"images must be an array, or give images for an array of stimuli; got {type(images).__name__} "
                            "(neuroalign.data.ImageFiles(paths) reads files)")  # fmt: skip
        if isinstance(images, (str, os.PathLike)):
            images = ImageFiles(images, image_size=image_size)
        lazy = not isinstance(images, (np.ndarray, Tensor))
        if isinstance(responses, (str, os.PathLike)):
            responses = _read(responses)
        if not isinstance(responses, Responses):
            if len(responses) != len(images):
                raise ValueError(f"{len(images)} images but responses to {len(responses)} stimuli")
            if np.ndim(responses) == 3:
                raise ValueError(f"responses have three axes, {tuple(responses.shape)}: neuroalign.data.from_axes(responses, "
                                 "'stimulus repeat voxel') with the axes in their order, then estimate_noise_ceiling() and "
                                 "average_repeats(), gives what is needed")  # fmt: skip
            responses = Responses.from_arrays(responses)
            if isinstance(images, ImageFiles):
                check_order(images)
        elif isinstance(images, ImageFiles):
            images = files_of(images, responses)
        self.images, self.image_size = images if lazy else as_pixels(images), image_size
        self.train_responses, self.val_responses = _split(responses, val, val_fraction, seed)
        if isinstance(images, ImageFiles):
            images.check_sizes()
        if lazy:
            images[np.unique(responses.stimulus)[[0, -1]]]  # raise here, not mid-epoch, if an image is missing
        else:
            _check_stimuli(responses.stimulus, len(images))
        if standardize:
            self.train_responses, self.val_responses = standardize_parts(
                self.train_responses, self.val_responses, reference=self.train_responses
            )

    @property
    def num_voxels(self) -> int:
        """Number of voxels."""
        return self.train_responses.num_voxels

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """Channels, height and width of the images of a batch: the ``image_shape`` of networks."""
        self.setup()
        channels, height, width = self.datasets["val"][0]["image"].shape
        return channels, height, width

    @property
    def noise_ceiling(self) -> np.ndarray | None:
        """(voxel,) noise ceiling of the responses, if it is known."""
        return self.val_responses.noise_ceiling

    def setup(self, stage: str | None = None) -> None:
        """Make the datasets, once."""
        if not self.datasets:
            self.datasets = {
                "train": responses_dataset(self.images, self.train_responses, self.image_size),
                "val": responses_dataset(self.images, self.val_responses, self.image_size),
            }


def _read(path: str | os.PathLike[str]) -> Responses:
    from neuroalign.data.recordings import read_recording
    from neuroalign.data.responses_file import is_responses_file

    responses = Responses.load(path) if is_responses_file(path) else read_recording(path)
    if len(np.unique(responses.stimulus)) == len(responses):
        return responses
    return responses.estimate_noise_ceiling().average_repeats()


def _split(
    responses: Responses, val: Sequence[int] | Sequence[str] | np.ndarray | None, val_fraction: float, seed: int
) -> tuple[Responses, Responses]:
    n = len(responses)
    if len(np.unique(responses.stimulus)) != n:
        raise ValueError("some stimulus has several rows: call average_repeats first, or training and validation may "
                         "share an image")  # fmt: skip
    if val is None and responses.shared.any():
        return responses.split_shared()
    if val is None:
        if not 0 < val_fraction < 1:
            raise ValueError(f"val_fraction must be between 0 and 1; got {val_fraction}")
        val = np.random.default_rng(seed).permutation(n)[: max(1, round(val_fraction * n))]
    mask = np.zeros(n, dtype=bool)
    chosen = np.asarray(val)
    if "stimulus_id" in responses.info and has_names(chosen):
        chosen = np.isin(responses.stimulus, responses.numbers_of(chosen))
    if chosen.dtype.kind != "b":
        chosen = as_identities(chosen, "val")
        if len(chosen) and (chosen.max() >= n or chosen.min() < -n):
            raise ValueError(f"val names rows of the responses, 0 to {n - 1}; got {chosen.min()} to {chosen.max()}")
    elif chosen.shape != (n,):
        raise ValueError(f"val is true or false for {chosen.shape} rows, and there are {n}")
    mask[chosen] = True
    if mask.all() or not mask.any():
        raise ValueError(
            f"{int(mask.sum())} of {n} rows are for validation: training needs some, and so does validation"
        )
    return responses.rows(~mask), responses.rows(mask)


def _check_stimuli(stimulus: np.ndarray, num_images: int) -> None:
    low, high = int(stimulus.min()), int(stimulus.max())
    if low < 0 or high >= num_images:
        hint = " (do they count from 1? published lists often do)" if low == 1 and high == num_images else ""
        raise ValueError(f"responses name stimulus {low if low < 0 else high}, but there are {num_images} images, counted "
                         f"from 0{hint}")  # fmt: skip


def responses_dataset(images: Any, responses: Responses, image_size: int | None, **columns: Tensor) -> ArrayDataset:
    """A dataset of images with their responses, read batch by batch."""
    return ArrayDataset(
        images,
        image_rows=responses.stimulus,
        image_size=image_size,
        response=torch.from_numpy(responses.values),
        stimulus=torch.from_numpy(responses.stimulus),
        **columns,
    )
