"""Fixed image features of early and middle visual areas: Gabor energy, colour, second-order structure."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuroalign.config import Described
from neuroalign.functional.gabor import gabor_energy, gabor_filters

__all__ = ["VisualFeatures"]

_OPPONENT = ((1 / 3, 1 / 3, 1 / 3), (0.5, -0.5, 0.0), (0.25, 0.25, -0.5))  # luminance, red-green, blue-yellow


class VisualFeatures(Described, nn.Module):
    """Gabor energy at several scales, energy of its texture, and opponent colour: a linear basis for V1 to V4.

    Nothing here is learned. Images of any size are resized to ``image_size`` first, so that the filters see images of
    different data sets at the same size.

    Args:
        image_size: Height and width at which the filters work, in pixels.
        wavelengths: Wavelengths of the Gabor filters, in pixels.
        num_orientations: Number of orientations.
        grid: Height and width to which first-order energy and colour are pooled.
        second_order: Add Gabor energy *of* the first-order energy (contrast-defined structure, textures), pooled to half
            the grid.
        color: Add means and local contrast of opponent colours.

    Attributes:
        num_features: Width of the output.

    Shapes:
        images (stimulus, channel, height, width) in [0, 1] -> features (stimulus, feature).

    Example:
        >>> features = VisualFeatures(image_size=16, wavelengths=(4,), grid=4)
        >>> features(torch.rand(2, 3, 20, 20)).shape[1] == features.num_features
        True
    """

    opponent: Tensor
    texture_filters: Tensor

    def __init__(
        self,
        image_size: int = 32,
        wavelengths: Sequence[float] = (3.0, 6.0, 12.0),
        num_orientations: int = 6,
        grid: int = 6,
        *,
        second_order: bool = True,
        color: bool = True,
    ) -> None:
        super().__init__()
        self.image_size, self.grid, self.second_order, self.color = image_size, grid, second_order, color
        self.wavelengths = tuple(float(w) for w in wavelengths)
        # Long waves are filtered in a smaller image: for each octave this takes a quarter of the work.
        self.shrink = [2 ** max(0, int(math.log2(w / 4))) for w in self.wavelengths]
        for i, (wavelength, shrink) in enumerate(zip(self.wavelengths, self.shrink)):
            size = 2 * round(wavelength / shrink) + 1
            filters = gabor_filters(size, wavelength / shrink, num_orientations)
            self.register_buffer(f"filters{i}", filters, persistent=False)
        self.register_buffer("texture_filters", gabor_filters(7, 3.0, num_orientations), persistent=False)
        self.register_buffer("opponent", torch.tensor(_OPPONENT), persistent=False)
        with torch.no_grad():
            self.num_features = self(torch.full((1, 3, image_size, image_size), 0.5)).shape[1]

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {**arguments, "wavelengths": self.wavelengths}

    def forward(self, images: Tensor) -> Tensor:
        """Features (stimulus, feature)."""
        images = images.to(self.opponent.dtype)  # the filters' precision
        images = images.expand(-1, 3, -1, -1) if images.shape[1] == 1 else images
        size = (self.image_size, self.image_size)
        if images.shape[-2:] != size:
            images = F.interpolate(images, size, mode="bilinear", antialias=True, align_corners=False)
        coarse = max(self.grid // 2, 1)
        parts = []
        for i in range(len(self.wavelengths)):
            small = F.avg_pool2d(images, self.shrink[i]) if self.shrink[i] > 1 else images
            energy = gabor_energy(small, getattr(self, f"filters{i}"), normalize=0.3)
            parts.append(F.adaptive_avg_pool2d(energy, self.grid))
            if self.second_order:
                # The second stage treats each orientation map as an image and looks for longer waves in it.
                maps = F.avg_pool2d(energy, 2).flatten(0, 1)[:, None]
                texture = gabor_energy(maps, self.texture_filters)
                texture = F.adaptive_avg_pool2d(texture, coarse).unflatten(0, energy.shape[:2])
                parts.append(texture.flatten(1, 2))
        if self.color:
            opponent = torch.einsum("oc,bchw->bohw", self.opponent, images)
            mean = F.adaptive_avg_pool2d(opponent, self.grid)
            square = F.adaptive_avg_pool2d(opponent.square(), self.grid)
            parts += [mean, (square - mean.square()).clamp_min(1e-8).sqrt()]
        return torch.cat([part.flatten(1) for part in parts], 1)
