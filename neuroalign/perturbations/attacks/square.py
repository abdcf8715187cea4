"""The Square attack: random search with squares, without gradients."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from neuroalign.functional.checks import check_whole
from neuroalign.functional.draws import image_keys, uniform
from neuroalign.functional.logits import margin
from neuroalign.functional.norms import Norm, length
from neuroalign.perturbations.attacks.base import Attack
from neuroalign.perturbations.attacks.budget import project
from neuroalign.perturbations.base import repr_of
from neuroalign.perturbations.classifier import Classifier

__all__ = ["SquareAttack"]

# After these shares of 10,000 queries the share of pixels that a square covers is halved (the paper's schedule).
_HALVINGS = (0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8)


class SquareAttack(Attack):
    """Square attack (Andriushchenko et al. 2020, arXiv 1912.00049): a black box, so the control for masked gradients.

    A network that attacks along gradients don't fool, but this one does, has masked gradients, not robustness. Random
    numbers depend on the image's index and the seed alone.

    In L2, a square moves its share of the length to a new place with random signs, without the shaped bumps of the paper.

    Args:
        norm: "linf" or "l2".
        num_queries: Forward passes per image.
        share: Share of the pixels that the first squares cover.
        seed: Seed of the search.

    Example:
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(48, 5)).eval()
        >>> images, labels = torch.rand(5, 3, 4, 4), torch.tensor([0, 1, 2, 3, 4])
        >>> SquareAttack(num_queries=20)(model, images, labels, eps=8 / 255).shape
        torch.Size([5, 3, 4, 4])
    """

    def __init__(self, norm: Norm = "linf", *, num_queries: int = 5000, share: float = 0.8, seed: int = 0) -> None:
        super().__init__(norm)
        check_whole(num_queries=num_queries)
        if num_queries < 1 or not 0 < share <= 1:
            raise ValueError(f"num_queries must be at least 1 and share in (0, 1]; got {num_queries} and {share}")
        self.num_queries, self.share, self.seed = num_queries, share, seed

    @property
    def name(self) -> str:
        """Short name for logs and tables."""
        return f"square-{self.norm}"

    def search(
        self, classifier: Classifier, images: Tensor, labels: Tensor, eps: Tensor, index: Tensor, start: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """Random search: random numbers are drawn per image, queries are made for all images together."""
        _, channels, height, width = images.shape
        index = index.to(images.device)
        draws = _Draws(index, self.seed, 4 + channels)
        x = project(self._stripes(index, images) * eps, images, eps, self.norm)
        result = x.clone()
        logits = classifier.logits(x)
        best, wrong = margin(logits, labels), logits.argmax(1) != labels
        fooled = wrong.clone()
        active = (~wrong).nonzero()[:, 0]
        for t in range(1, self.num_queries):
            if not len(active):
                break
            side = self._side(t, height, width)
            numbers = draws.next(active)
            proposed = self._propose(images[active], result[active], eps[active], numbers, side)
            logits = classifier.logits(proposed)
            value, wrong = margin(logits, labels[active]), logits.argmax(1) != labels[active]
            better = ((value > best[active]) | wrong).nonzero()[:, 0]
            rows = active[better]
            result[rows], best[rows] = proposed[better], value[better]
            fooled[active] = wrong
            active = active[(~wrong).nonzero()[:, 0]]
        return result, fooled

    def _side(self, t: int, height: int, width: int) -> int:
        halvings = sum(t / self.num_queries > h for h in _HALVINGS)
        pixels = self.share * 0.5**halvings * height * width
        return max(1, min(round(math.sqrt(pixels)), min(height, width) - 1 or 1))

    def _stripes(self, index: Tensor, images: Tensor) -> Tensor:
        signs = uniform(image_keys(index, self.seed), images.shape[1], 1, images.shape[3], low=-1.0)
        signs = torch.where(signs < 0, -1.0, 1.0).to(images).expand_as(images)
        return signs if self.norm == "linf" else signs / length(signs, "l2")

    def _propose(self, images: Tensor, x: Tensor, eps: Tensor, numbers: Tensor, side: int) -> Tensor:
        _, channels, height, width = images.shape
        window = _window(numbers[:, 0], numbers[:, 1], side, height, width)
        signs = torch.where(numbers[:, 2 : 2 + channels] < 0.5, -1.0, 1.0).to(images)[:, :, None, None]
        delta = x - images
        if self.norm == "linf":
            return project(torch.where(window, eps * signs, delta), images, eps, "linf")
        elsewhere = _window(numbers[:, 2 + channels], numbers[:, 3 + channels], side, height, width)
        kept = torch.where(window | elsewhere, 0.0, delta)
        # The budget that is left when both windows are cleared goes into the first window.
        left = (eps.square() - length(kept, "l2").square()).clamp_min(0).sqrt()
        old = torch.where(window, delta, 0.0)
        bump = torch.where(window, signs, 0.0)
        bump = bump / length(bump, "l2") + old / length(old, "l2").clamp_min(1e-12)
        return project(kept + left * bump / length(bump, "l2").clamp_min(1e-12), images, eps, "l2")

    def __repr__(self) -> str:
        return repr_of(self, norm=self.norm, num_queries=self.num_queries, share=self.share, seed=self.seed)


class _Draws:
    """Uniform numbers for every image and query, in blocks: those of all queries at once would not fit into memory."""

    def __init__(self, index: Tensor, seed: int, width: int, block: int = 256) -> None:
        self.index, self.seed, self.width, self.block = index, seed, width, block
        self.query = 0
        self.numbers = torch.empty(len(index), block, width, dtype=torch.float32, device=index.device)

    def next(self, rows: Tensor) -> Tensor:
        """Numbers (row, width) for the next query."""
        number, place = divmod(self.query, self.block)
        if not place:
            keys = image_keys(self.index[rows], self.seed, 1 + number)
            self.numbers[rows] = uniform(keys, self.block, self.width)
        self.query += 1
        return self.numbers[rows, place]


def _window(top: Tensor, left: Tensor, side: int, height: int, width: int) -> Tensor:
    """(stimulus, 1, height, width) bool: a square at a random place that lies inside the image."""
    top = (top * (height - side + 1)).long().clamp_max(height - side)[:, None]
    left = (left * (width - side + 1)).long().clamp_max(width - side)[:, None]
    y, x = torch.arange(height, device=top.device)[None], torch.arange(width, device=top.device)[None]
    rows, columns = (y >= top) & (y < top + side), (x >= left) & (x < left + side)
    return (rows[:, :, None] & columns[:, None, :])[:, None]
