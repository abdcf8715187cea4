"""Perturbations without model and budget: their base class, and the filters and contrast of psychophysics."""

from __future__ import annotations

import math
from abc import abstractmethod

import torch
from torch import Tensor

from neuroalign.config import Described
from neuroalign.perturbations.base import Perturbation, repr_of
from neuroalign.perturbations.classifier import Classifier
from neuroalign.types import check_images

__all__ = ["Contrast", "HighPass", "ImageTransform", "LowPass"]


class ImageTransform(Described, Perturbation):
    """A change of images without a model, of fixed strength. Called as ``transform(images, index=...)``.

    :func:`evaluate_robustness` and :class:`RobustnessCallback` accept it beside attacks; it has one row, without a budget.

    Attributes:
        kind: Kind of change, such as "low-pass".
        strength: Strength of the change, on the scale of its kind.
    """

    kind: str
    strength: float

    has_budget = False
    needs_model = False
    _clips = False  # whether `change` keeps to [0, 1] by itself

    @property
    def name(self) -> str:
        """Short name for logs and tables."""
        return f"{self.kind}-{self.strength:g}"

    @abstractmethod
    def change(self, images: Tensor, index: Tensor) -> Tensor:
        """Changed images, which may leave [0, 1], from float32 images in [0, 1]."""

    def apply(self, classifier: Classifier, images: Tensor, labels: Tensor, eps: float, *, index: Tensor) -> Tensor:
        """The changed images; classifier, labels and eps are not used."""
        return self(images, index=index)

    def __call__(self, images: Tensor, *, index: Tensor | None = None) -> Tensor:
        """Changed images of the same shape and dtype, in [0, 1].

        Args:
            images: (stimulus, channel, height, width) in [0, 1].
            index: (stimulus,) identity of each image, which seeds the random numbers; None means its place in the batch.

        Raises:
            ValueError: If images are not in [0, 1].
        """
        low, high = check_images(images)
        index = torch.arange(len(images)) if index is None else index.cpu()
        with torch.autocast(images.device.type, enabled=False):
            pixels = images.float() if low >= 0 and high <= 1 else images.float().clamp(0, 1)
            changed = self.change(pixels, index)
        return (changed if self._clips else changed.clamp(0, 1)).to(images.dtype)


class _Filter(ImageTransform):
    """A Gaussian filter of spatial frequencies."""

    def __init__(self, cutoff: float) -> None:
        if not cutoff > 0:
            raise ValueError(f"cutoff must be a positive number of cycles per image; got {cutoff}")
        self.cutoff = self.strength = cutoff

    def _low_pass(self, images: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        # The Fourier transform joins opposite borders; mirroring the image avoids an edge, and ringing, there.
        doubled = torch.cat([images, images.flip(-1)], -1)
        doubled = torch.cat([doubled, doubled.flip(-2)], -2)
        fy = torch.fft.fftfreq(2 * height, device=images.device) * height
        fx = torch.fft.rfftfreq(2 * width, device=images.device) * width
        gain = torch.exp(-math.log(2) * (fy[:, None].square() + fx[None].square()) / self.cutoff**2)
        filtered = torch.fft.irfft2(torch.fft.rfft2(doubled) * gain, s=doubled.shape[-2:])
        return filtered[..., :height, :width]

    def __repr__(self) -> str:
        return repr_of(self, cutoff=self.cutoff)


class LowPass(_Filter):
    """Keep coarse structure: a Gaussian filter whose gain is a half at the cutoff.

    Args:
        cutoff: Cycles per image at which the gain is 0.5.

    Example:
        >>> LowPass(cutoff=4)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 3, 32, 32])
    """

    kind = "low-pass"

    def change(self, images: Tensor, index: Tensor) -> Tensor:
        """The coarse structure."""
        return self._low_pass(images)


class HighPass(_Filter):
    """Keep fine structure: what a :class:`LowPass` removes, added to the mean of each channel.

    Args:
        cutoff: Cycles per image at which the gain is 0.5.

    Example:
        >>> HighPass(cutoff=4)(torch.rand(2, 3, 32, 32)).shape
        torch.Size([2, 3, 32, 32])
    """

    kind = "high-pass"

    def change(self, images: Tensor, index: Tensor) -> Tensor:
        """The fine structure, added to the mean of each channel."""
        return images - self._low_pass(images) + images.mean((-2, -1), keepdim=True)


class Contrast(ImageTransform):
    """Scale differences from mid-grey, as in experiments with human observers (Geirhos et al. 2018).

    Not the corruption of that name, which scales about each image's own mean.

    Args:
        level: Share of the contrast that is kept, in [0, 1].

    Example:
        >>> Contrast(0.1)(torch.ones(1, 3, 2, 2)).unique()
        tensor([0.5500])
    """

    kind = "contrast-level"

    def __init__(self, level: float) -> None:
        if not 0 <= level <= 1:
            raise ValueError(f"level must be the share of contrast that is kept, in [0, 1]; got {level}")
        self.level = self.strength = level

    def change(self, images: Tensor, index: Tensor) -> Tensor:
        """The images with their differences from mid-grey scaled by ``level``."""
        return 0.5 + self.level * (images - 0.5)

    def __repr__(self) -> str:
        return repr_of(self, level=self.level)
