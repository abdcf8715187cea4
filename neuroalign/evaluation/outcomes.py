"""The images that a perturbation fools at each of several budgets, with as few attack runs as possible.

Balls are nested: a perturbation that fools at one budget is allowed at every larger one. So an attack that searches its
ball starts at the largest budget. If it fails, the image counts as right at every budget, after one run. If it succeeds, the
perturbation is shortened by forward passes; its length shows which smaller budgets also fool the image, and these are
skipped. The next run starts from the shortened perturbation. What is measured is therefore the attack *with these warm
starts*: an attack that converges gives the same as with ``exhaustive=True``, which attacks at every budget from scratch; a
weak attack becomes stronger. It is assumed, not proved, that an image which the attack doesn't fool at one budget isn't
fooled at smaller budgets either.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neuroalign.functional.norms import length
from neuroalign.perturbations.attacks.base import Attack
from neuroalign.perturbations.attacks.budget import project
from neuroalign.perturbations.attacks.minimal import MinimalNormAttack
from neuroalign.perturbations.base import Perturbation
from neuroalign.perturbations.classifier import Classifier

__all__: list[str] = []


class Outcomes:
    """Outcomes of a batch of images.

    Attributes:
        correct: (stimulus, eps) bool, still classified right at each budget.
        distance: (stimulus,) length of the shortest perturbation that fooled; 0 if it is wrong without one, inf if none did.
    """

    def __init__(self, correct: Tensor, distance: Tensor) -> None:
        self.correct, self.distance = correct, distance


def outcomes(
    perturbation: Perturbation,
    classifier: Classifier,
    images: Tensor,
    labels: Tensor,
    index: Tensor,
    eps: Tensor,
    right: Tensor,
    *,
    exhaustive: bool = False,
) -> Outcomes:
    """Attack a batch at every budget of a grid.

    Args:
        perturbation: An attack or other perturbation; callables are wrapped by :func:`neuroalign.evaluation.requests.named`.
        classifier: The model, in eval mode.
        images: (stimulus, channel, height, width) in [0, 1], float32.
        labels: (stimulus,) class of each image.
        index: (stimulus,) identity of each image.
        eps: (eps,) increasing budgets.
        right: (stimulus,) bool, classified right without any perturbation. For an attack the other images are errors at
            every budget, and aren't attacked; under a corruption they may become right.
        exhaustive: Attack at every budget from scratch.
    """
    if not perturbation.needs_model:  # no adversary, so an image may be wrong without the change and right with it
        return _sweep(perturbation, classifier, images, labels, index.cpu(), eps)
    correct = right[:, None].repeat(1, len(eps))
    distance = torch.where(right, torch.inf, 0.0).to(images.dtype)
    todo = right.nonzero()[:, 0]
    found = Outcomes(correct, distance)
    if not len(todo):
        return found
    batch = images[todo], labels[todo], index.cpu()[todo.cpu()]
    if isinstance(perturbation, MinimalNormAttack) and not exhaustive:
        part = _one_run(perturbation, classifier, *batch, eps)
    elif isinstance(perturbation, Attack) and perturbation.is_nested and not exhaustive:
        part = _step_down(perturbation, classifier, *batch, eps)
    else:
        part = _sweep(perturbation, classifier, *batch, eps)
    correct[todo], distance[todo] = part.correct, part.distance
    return found


def _sweep(
    perturbation: Perturbation, classifier: Classifier, images: Tensor, labels: Tensor, index: Tensor, eps: Tensor
) -> Outcomes:
    """Attack at every budget from scratch; at budget 0 an image stays right."""
    norm = perturbation.norm
    columns, distance = [], torch.full((len(images),), torch.inf, dtype=images.dtype, device=images.device)
    for budget in eps.tolist():
        if budget == 0:
            columns.append(torch.ones_like(labels, dtype=torch.bool))
            continue
        perturbed, wrong = perturbation.attempt(classifier, images, labels, budget, index=index)
        columns.append(~wrong)
        if norm in ("linf", "l2"):
            size = length(perturbed - images, norm)[:, 0, 0, 0]
            distance = torch.where(wrong, torch.minimum(distance, size), distance)
    return Outcomes(torch.stack(columns, 1), distance)


def _one_run(
    attack: MinimalNormAttack, classifier: Classifier, images: Tensor, labels: Tensor, index: Tensor, eps: Tensor
) -> Outcomes:
    """Look for the shortest perturbation once: an image counts as right at every budget below its length."""
    found, fooled = attack.minimize(classifier, images, labels, index)
    size = torch.where(fooled, length(found - images, attack.norm)[:, 0, 0, 0], torch.inf)
    return Outcomes(size[:, None] > eps[None] + _slack(eps), size)


def _slack(eps: Tensor) -> Tensor:
    # x + d is rounded, so a perturbation of exactly eps may have a slightly larger measured length.
    return (1e-4 * eps).clamp_max(1e-6)


def _step_down(
    attack: Attack, classifier: Classifier, images: Tensor, labels: Tensor, index: Tensor, eps: Tensor
) -> Outcomes:
    """Attack each image at the largest budget that isn't known to fool it, until an attack fails or no budget is left.

    ``first`` decreases with every success, so the loop ends after at most as many rounds as there are budgets; an image
    leaves it at its first failure, because it is then assumed to resist all smaller budgets, too.
    """
    grid = eps[eps > 0]
    num_zero = len(eps) - len(grid)
    n, device = len(images), images.device
    first = torch.full((n,), len(grid), device=device)  # index in the grid of the smallest budget known to fool
    delta = torch.zeros_like(images)  # the perturbation that fools at this budget
    distance = torch.full((n,), torch.inf, dtype=images.dtype, device=device)
    reach = grid + _slack(grid)

    def accept(rows: Tensor, perturbed: Tensor) -> None:
        delta[rows] = perturbed - images[rows]
        distance[rows] = length(delta[rows], attack.norm)[:, 0, 0, 0]
        first[rows] = torch.minimum(first[rows], torch.searchsorted(reach, distance[rows]))

    active = torch.arange(n, device=device)
    start: Tensor | None = None  # None: the first run begins where the attack itself does
    while len(active) and len(grid):
        below = first[active] - 1
        radius = grid[below][:, None, None, None]
        perturbed, fooled = attack.search(
            classifier, images[active], labels[active], radius, index[active.cpu()], start=start
        )
        active, below = active[fooled], below[fooled]
        accept(active, perturbed[fooled])
        # Even if the measured length is rounded up, it was found within this ball; and each round must go down.
        first[active] = torch.minimum(first[active], below)
        _shorten(classifier, images, labels, grid, active, first, delta, distance, attack, accept)
        active = active[first[active] > 0]
        if attack.takes_start:
            radius = grid[first[active] - 1][:, None, None, None]
            start = project(delta[active], images[active], radius, attack.norm)
    resists = torch.arange(len(grid), device=device)[None] < first[:, None]
    return Outcomes(torch.cat([resists.new_ones(n, num_zero), resists], 1), distance)


def _shorten(
    classifier: Classifier, images: Tensor, labels: Tensor, grid: Tensor, active: Tensor, first: Tensor, delta: Tensor,
    distance: Tensor, attack: Attack, accept: Any,
) -> None:  # fmt: skip
    """Bisect along each perturbation for the smallest budget of the grid at which the shortened one still fools."""
    low = torch.zeros_like(first)
    while len(active := active[low[active] < first[active]]):
        middle = (low[active] + first[active]) // 2
        share = (grid[middle] / distance[active])[:, None, None, None]
        radius = grid[middle][:, None, None, None]
        perturbed = project(delta[active] * share, images[active], radius, attack.norm)
        fooled = classifier.fooled(perturbed, labels[active])
        accept(active[fooled], perturbed[fooled])
        low[active[~fooled]] = middle[~fooled] + 1
