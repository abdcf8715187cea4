"""Which images the networks of a study classify, and which of them are for training, validation and test."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from neuroalign.study.settings.base import Path, Settings

__all__ = ["Images"]


class Images(Settings):
    """Labelled images.

    Args:
        source: ``"digits"`` (scikit-learn's 1,797 of 8x8 pixels), ``"cifar10"`` or ``"cifar100"`` (torchvision's files in
            ``root``), ``"zip"`` (``train`` and ``test`` are zip files of ``CLASS/*.png`` or jpg), ``"folder"`` (``root``
            holds ``train/CLASS/*`` and ``test/CLASS/*``, or ``val`` in place of ``test``; images stay where they are and
            are read while training), or ``"arrays"`` (``train`` and ``test`` are .npz files with ``image``
            (stimulus, height, width, channel) or (stimulus, channel, height, width), and ``label``).
        root: Folder of the files.
        train: File of training images.
        test: File of test images; None sets test images apart from the training images.
        classes: Names of the classes to keep, in the order of their labels (for digits and arrays, the labels as text);
            with a mapping each name stands for several classes of the source. None means all.
        image_size: Height and width in pixels to resize to; None leaves images as they are.
        contrast: Contrast around grey: 1 leaves images as they are.
        num_train: Number of training images in all; None means all that are left.
        num_val: Number of images for validation, set apart from the training images.
        num_test: Number of test images; None means all (or a fifth, where the source has no test images).
        num_neural: Number of images set apart for a simulated subject, (training, validation).
        neural_classes: Classes of the images for a simulated subject; None means the same as ``classes``.
        resplit: Whether every seed draws its own split: then nothing is shared between seeds.
        split_seed: Seed of the split, where it is not drawn for every seed.
    """

    source: Literal["digits", "cifar10", "cifar100", "zip", "folder", "arrays"]
    root: Path | None = None
    train: Path | None = None
    test: Path | None = None
    classes: list[str] | dict[str, list[str]] | None = None
    image_size: int | None = Field(None, ge=4)
    contrast: float = Field(1.0, gt=0, le=1)
    num_train: int | None = Field(None, ge=2)
    num_val: int = Field(0, ge=0)
    num_test: int | None = Field(None, ge=1)
    num_neural: tuple[int, int] | None = None
    neural_classes: list[str] | None = None
    resplit: bool = False
    split_seed: int = 0

    @model_validator(mode="after")
    def _complete(self) -> Images:
        needed = {"cifar10": ["root"], "cifar100": ["root"], "folder": ["root"], "zip": ["train"], "arrays": ["train"]}
        for key in needed.get(self.source, []):
            if getattr(self, key) is None:
                raise ValueError(f"source {self.source!r} needs '{key}'")
        if self.train is not None and self.train == self.test:
            raise ValueError(
                f"'train' and 'test' are the same file, {self.train}: leave 'test' out to set images apart for it"
            )
        if self.classes is not None and len(self.classes) < 2:
            raise ValueError("a classifier needs at least 2 classes")
        if self.neural_classes is not None and self.num_neural is None:
            raise ValueError("'neural_classes' are those of 'num_neural' images, and none are set apart")
        return self
