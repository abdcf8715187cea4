"""A drawn picture of frost on a window, instead of the published photographs, which we don't ship.

The design is ours: six-armed crystals with side branches grow from random seeds, on a haze of ice.
"""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor

from neuroalign.perturbations.corruptions.draws import Draws
from neuroalign.perturbations.corruptions.filters import separable
from neuroalign.perturbations.corruptions.plasma import plasma

__all__: list[str] = []

DARK, WHITE = (0.16, 0.26, 0.38), (0.93, 0.97, 1.0)  # glass between crystals, and ice


def crystals(y: Tensor, x: Tensor, seeds: Tensor, turn: Tensor, length: Tensor) -> Tensor:
    """Amount of ice at each point, 0 to 1.

    A crystal grows until it meets the next, so that each point belongs to its nearest seed. It has six arms 60 degrees
    apart, and side branches that leave an arm at 60 degrees at equal distances, shorter toward its tip. Each point is
    rotated into the sector around its nearest arm, so that one arm is computed for all six.

    Args:
        y: (stimulus, height, width), in units of the image's shorter side.
        x: The same for x.
        seeds: (stimulus, crystal, 2) points from which the crystals grow, y before x.
        turn: (stimulus, crystal) angle of an arm, in radians.
        length: (stimulus, crystal) length of the arms, in the same units.

    Returns:
        (stimulus, height, width).

    Example:
        >>> y, x = (torch.rand(1, 8, 8) for _ in "yx")
        >>> crystals(y, x, torch.rand(1, 5, 2), torch.rand(1, 5), torch.full((1, 5), 0.4)).shape
        torch.Size([1, 8, 8])
    """
    points = torch.stack([y, x], dim=-1).flatten(1, 2)
    # squared distances to all seeds without |p|^2, which they share; crystals last, since min is slow along other axes
    distance = torch.baddbmm(seeds.square().sum(2)[:, None], points, seeds.mT, alpha=-2)
    nearest = distance.min(-1).indices
    own = torch.cat([seeds, turn.cos()[..., None], turn.sin()[..., None], length[..., None]], dim=2)
    own = own.mT.gather(2, nearest[:, None].expand(-1, 5, -1)).view(-1, 5, *y.shape[1:])
    seed_y, seed_x, cos, sin, length = own.unbind(1)
    dy, dx = (y - seed_y).div_(length), (x - seed_x).div_(length)
    along, across = (cos * dx).add_(sin * dy).abs_(), (cos * dy).sub_(sin * dx).abs_()
    sector = across * math.sqrt(3) > along  # more than 30 degrees from the arm: rotate back by 60
    along, across = (
        torch.where(sector, along / 2 + across * math.sqrt(3) / 2, along),
        torch.where(sector, (along * math.sqrt(3) / 2 - across / 2).abs(), across),
    )
    root = along - across / math.sqrt(3)  # how far out on its arm the branch through a point begins, 1 at the tip
    taper = (1 - root).clamp_(0, 1)
    root *= 12
    branch = 1 - (root - root.round()).abs_().mul_(3)
    reached = (2.2 * taper).sub_(across, alpha=4).clamp_(0, 1)
    arm = 1 - across / (taper + 0.3).mul_(0.03)
    return torch.maximum(arm, branch.mul_(reached), out=arm).clamp_(0, 1).mul_(taper.mul_(0.6).add_(0.4))


def frost_texture(draws: Draws, height: int, width: int, num: int = 14) -> Tensor:
    """Frost: (stimulus, 3, height, width) in [0, 1], bluish white.

    Args:
        draws: Random numbers of the images.
        height: Height in pixels.
        width: Width in pixels.
        num: Number of crystals in a square image; a longer image has more, so that they keep their size and shape.

    Example:
        >>> frost_texture(Draws([0, 1]), 32, 32).shape
        torch.Size([2, 3, 32, 32])
    """
    haze = plasma(draws, height, width, decay=1.4)[:, None]
    bend = draws.uniform(2, 9, 9, low=-0.03, high=0.03)  # bends the lines, so that no two branches are parallel
    bend = separable(bend, _cubic_matrix(9, height), _cubic_matrix(9, width))
    sides = [n / min(height, width) for n in (height, width)]
    y, x = (torch.linspace(0, side, n).to(bend) for side, n in zip(sides, (height, width)))
    y, x = y[:, None] + bend[:, 0], x + bend[:, 1]
    num = round(num * min(max(sides), 10.0))  # limited, because each pixel is compared with every crystal
    seeds = draws.uniform(num, 2, low=-0.1, high=1.1) * torch.tensor(sides).to(bend)
    turn, length = draws.uniform(num, high=math.pi / 3), draws.uniform(num, low=0.25, high=0.6)
    ice = crystals(y, x, seeds, turn, length)[:, None].mul_(0.55).add_(haze, alpha=1.2).sub_(0.35).clamp_(0, 1)
    dark, white = (torch.tensor(c).to(bend)[:, None, None] for c in (DARK, WHITE))
    return (ice * (white - dark)).add_(dark)


@lru_cache(maxsize=64)
def _cubic_matrix(size: int, new: int) -> Tensor:
    """The matrix (new, size) that enlarges a row of points by cubic convolution, the first and last point kept in place."""
    rows = torch.eye(size)[None, :, :, None]
    return F.interpolate(rows, size=(new, 1), mode="bicubic", align_corners=True)[0, :, :, 0].T.contiguous()
