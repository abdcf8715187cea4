"""The class of all common corruptions: images in, corrupted images out."""

from __future__ import annotations

import warnings
from collections.abc import Callable

import torch
from torch import Tensor

from neuroalign.functional.draws import image_keys, image_seed
from neuroalign.perturbations.corruptions import blur, digital, noise, severities, weather
from neuroalign.perturbations.corruptions.draws import Draws
from neuroalign.perturbations.corruptions.spatter import spatter
from neuroalign.perturbations.transforms import ImageTransform

__all__ = ["Corruption"]

FIXED: dict[str, Callable[..., Tensor]] = {
    "defocus_blur": blur.defocus_blur,
    "zoom_blur": blur.zoom_blur,
    "brightness": digital.brightness,
    "contrast": digital.contrast,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
    "gaussian_blur": blur.gaussian_blur,
    "saturate": digital.saturate,
}
RANDOM: dict[str, Callable[..., Tensor]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "elastic_transform": digital.elastic_transform,
    "speckle_noise": noise.speckle_noise,
    "spatter": spatter,
}
COLOURED = ("frost", "spatter", "saturate")  # not defined for an image of one channel


class Corruption(ImageTransform):
    """One of the 19 common corruptions at one of the five published severities (Hendrycks & Dietterich 2019).

    Call it as ``corruption(images)``: images (stimulus, channel, height, width) in [0, 1] of one or three channels give
    images of the same shape, dtype and device, in [0, 1]. The whole batch is processed at once, on its device, in
    float32; no gradient passes.

    Random numbers are computed from (seed, index, corruption, severity): they don't depend on batch size, order, process or
    device, and the global generator is not used.

    Images of one channel are corrupted as they are, except by frost, spatter and saturate, which need colour: these repeat
    the channel three times and return the luma of the result.

    Strengths were published for squares of 32, 64 and 224 pixels; images of these sizes use them. Images of any other size
    of at least 32 pixels per side use strengths for their shorter side, which are ours: interpolated between the tables, or
    above 224 pixels scaled up (``neuroalign.perturbations.corruptions.interpolation``). A warning says so, once per
    size. Results with such strengths compare networks at that size, not with published results.

    Not as published: frost (a drawn texture instead of photographs), the outlines of water drops (no Canny edges) and the
    motion kernel of motion_blur and snow (ours, after ImageMagick's). Between steps nothing is rounded to 8 bits, except
    for JPEG. The rest follows the published definitions; see each function.

    Args:
        name: One of ``COMMON_CORRUPTIONS``, over which the mean corruption error is taken, or ``EXTRA_CORRUPTIONS``.
        severity: 1 to 5. In the published tables a higher severity is not always a larger change of the image.
        table: Side in pixels, at least 32, whose strengths are used for images of any size. None means the images' own
            shorter side.
        seed: Seed of all random numbers.
        quantize: Round the result down to multiples of 1/255, as the published images are.

    Attributes:
        corruption: Name of the corruption, without its severity.

    Raises:
        ValueError: For an unknown name, severity or table; when called, if images are not in [0, 1], don't have one or
            three channels, or are below 32 pixels per side without a ``table``.

    Example:
        >>> images = torch.rand(4, 3, 32, 32)
        >>> fog = Corruption("fog", severity=3)
        >>> foggy = fog(images, index=torch.tensor([10, 11, 12, 13]))
        >>> fog.name, foggy.shape
        ('fog-3', torch.Size([4, 3, 32, 32]))
        >>> torch.equal(fog(images[2:], index=torch.tensor([12, 13])), foggy[2:])
        True
        >>> jpeg = Corruption("jpeg_compression", severity=5)
        >>> jpeg.parameters(96, 128), fog.strengths(96, 128)
        ((17.0,), 'interpolated')
    """

    _clips = True

    def __init__(
        self, name: str, severity: int = 3, *, table: int | None = None, seed: int = 0, quantize: bool = False
    ) -> None:
        self.corruption = self.kind = severities.check_corruption(name)
        self.severity = self.strength = severities.check_severity(severity)
        self.table = severities.check_table(table)
        self.seed, self.quantize = seed, quantize

    @property
    def is_random(self) -> bool:
        """Whether two seeds give different images."""
        return self.corruption in RANDOM

    def parameters(self, height: int, width: int) -> tuple[float, ...]:
        """The numbers used for images of this size; ``severities.json`` explains their order."""
        return severities.parameters(self.corruption, self.severity, self._table_of(height, width))

    def strengths(self, height: int, width: int) -> str:
        """The origin of these numbers: "published", "published for another size", "interpolated" or "scaled up"."""
        return severities.strengths_origin(self._table_of(height, width), height, width)

    def _table_of(self, height: int, width: int) -> int:
        return severities.table_of(height, width) if self.table is None else self.table

    def change(self, images: Tensor, index: Tensor) -> Tensor:
        """Corrupted images; see the class."""
        num, channels, height, width = images.shape
        if channels not in (1, 3):
            raise ValueError(f"corruptions are defined for images of 1 or 3 channels; got {channels}")
        if index.shape != (num,):
            raise ValueError(f"{num} images need an index of shape ({num},); got {tuple(index.shape)}")
        parameters = self.parameters(height, width)
        if self.table is None and (origin := self.strengths(height, width)) != "published":
            warnings.warn(
                f"strengths of corruptions were published for 32 x 32, 64 x 64 and 224 x 224 pixels; those for {height} x "
                f"{width}, shorter side {min(height, width)}, are {origin}: compare with other networks at this size, "
                "not with published numbers",
                stacklevel=3,
            )
        with torch.inference_mode(False), torch.no_grad():
            clean = images.detach()
            if channels == 1 and self.corruption in COLOURED:
                clean = clean.expand(-1, 3, -1, -1)
            if self.is_random:
                seed = image_seed(self.seed, self.corruption, self.severity)
                draws = Draws(image_keys(index.to(images.device), seed))
                result = RANDOM[self.corruption](clean, *parameters, draws=draws)
            else:
                result = FIXED[self.corruption](clean, *parameters)
            # In place, unless nothing was changed and the result is the images themselves.
            result = result.clamp(0, 1) if result is clean else result.clamp_(0, 1)
            if channels == 1:
                result = digital.luma(result)
            if self.quantize:
                # add a thousandth of a level, so that float32 rounding can't lower an unchanged pixel by a level
                result = (result * 255 + 1e-3).floor() / 255
            return result

    def __repr__(self) -> str:
        table = "" if self.table is None else f", table={self.table}"
        quantize = ", quantize=True" if self.quantize else ""
        return f"Corruption({self.corruption!r}, severity={self.severity}{table}, seed={self.seed}{quantize})"
