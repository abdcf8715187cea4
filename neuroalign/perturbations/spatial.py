"""Worst-case rotation and translation."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from neuroalign.config import Described
from neuroalign.functional.checks import check_whole
from neuroalign.perturbations.attacks.classes import as_classes
from neuroalign.perturbations.base import Perturbation, repr_of
from neuroalign.perturbations.classifier import Classifier
from neuroalign.types import check_images

__all__ = ["RotationTranslation"]


class RotationTranslation(Described, Perturbation):
    """The worst of a grid of rotations and shifts for each image (Engstrom et al. 2019, arXiv 1712.02779).

    Pixels that come in from outside are black. The grid always holds the unchanged image.

    Args:
        max_rotation: Largest rotation to either side, in degrees.
        max_translation: Largest shift to either side, as a share of height and width.
        num_rotations: Number of rotations in the grid, odd.
        num_translations: Number of shifts in the grid in each direction, odd.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(48, 3)).eval()
        >>> images, labels = torch.rand(5, 3, 4, 4), torch.tensor([0, 1, 2, 0, 1])
        >>> attack = RotationTranslation(num_rotations=3, num_translations=3)
        >>> attack(model, images, labels).shape
        torch.Size([5, 3, 4, 4])
    """

    has_budget = False

    def __init__(
        self,
        max_rotation: float = 30.0,
        max_translation: float = 0.1,
        *,
        num_rotations: int = 31,
        num_translations: int = 5,
    ) -> None:
        if not 0 <= max_rotation <= 180 or not 0 <= max_translation < 1:
            raise ValueError(
                f"max_rotation is in degrees (0 to 180) and max_translation a share below 1; got {max_rotation} and "
                f"{max_translation}"
            )
        check_whole(num_rotations=num_rotations, num_translations=num_translations)
        if num_rotations % 2 == 0 or num_translations % 2 == 0 or min(num_rotations, num_translations) < 1:
            raise ValueError(
                "num_rotations and num_translations must be odd, so that the unchanged image is among them"
            )
        self.max_rotation, self.max_translation = max_rotation, max_translation
        self.num_rotations, self.num_translations = num_rotations, num_translations

    @property
    def name(self) -> str:
        """Short name for logs and tables."""
        return "rotation-translation"

    def grid(self) -> list[tuple[float, float, float]]:
        """All combinations (degrees, share of width, share of height): the unchanged image first, then by size."""
        angles = torch.linspace(-self.max_rotation, self.max_rotation, self.num_rotations).tolist()
        shifts = torch.linspace(-self.max_translation, self.max_translation, self.num_translations).tolist()
        angles, shifts = (v if len(v) > 1 else [0.0] for v in (angles, shifts))
        every = [(a, x, y) for a in angles for x in shifts for y in shifts]
        return sorted(every, key=lambda t: (t[0] / 30) ** 2 + (t[1] / 0.1) ** 2 + (t[2] / 0.1) ** 2)

    @torch.no_grad()
    def __call__(
        self, model: nn.Module, images: Tensor, labels: Tensor, eps: float | str | Tensor = 0.0, *,
        index: Tensor | None = None,
    ) -> Tensor:  # fmt: skip
        """Each image under the first combination that fools the model, or the last one if none does.

        ``eps`` is not used.

        Raises:
            ValueError: If images are not in [0, 1], or labels are not classes of the model, one per image.
        """
        check_images(images)
        labels = as_classes(labels, len(images), images.device)
        return self.apply(
            Classifier(model, classes={"labels": labels}), images, labels, index=torch.arange(len(images))
        )

    @torch.no_grad()
    def apply(
        self, classifier: Classifier, images: Tensor, labels: Tensor, eps: float = 0.0, *, index: Tensor
    ) -> Tensor:
        """Each image under the first combination that fools the model, or the last one if none does."""
        result = images.detach().clone()
        left = torch.arange(len(images), device=images.device)
        for angle, right, down in self.grid():
            if not len(left):
                break
            result[left] = rotate_translate(images[left], angle, right, down)
            left = left[~classifier.fooled(result[left], labels[left])]
        return result

    def __repr__(self) -> str:
        return repr_of(
            self, max_rotation=self.max_rotation, max_translation=self.max_translation, num_rotations=self.num_rotations,
            num_translations=self.num_translations,
        )  # fmt: skip


def rotate_translate(images: Tensor, degrees: float, right: float, down: float) -> Tensor:
    """Rotate counter-clockwise about the centre, then shift, with bilinear sampling and black outside.

    Args:
        images: (stimulus, channel, height, width).
        degrees: Angle of the rotation.
        right: Shift to the right, as a share of the width.
        down: Shift downwards, as a share of the height.
    """
    height, width = images.shape[-2:]
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    # The inverse map, from where a pixel lands to where it comes from, in coordinates of [-1, 1].
    ratio = height / width
    matrix = torch.tensor(
        [
            [cos, -sin * ratio, -2 * right * cos + 2 * down * sin * ratio],
            [sin / ratio, cos, -2 * right * sin / ratio - 2 * down * cos],
        ],
        dtype=images.dtype,
        device=images.device,
    )
    where = F.affine_grid(matrix.expand(len(images), 2, 3), list(images.shape), align_corners=False)
    return F.grid_sample(images, where, mode="bilinear", padding_mode="zeros", align_corners=False).clamp(0, 1)
