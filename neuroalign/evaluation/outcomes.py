"""Which images a perturbation fools at which of several budgets, by no more attack runs than that takes.

Balls are nested: what fools at a budget fools at every larger one. So an attack that searches its ball starts at the
largest budget; where it fails, the image resists the whole grid after one run. Where it succeeds, the length of what it
found, and what is left of it after shortening (forward passes only), tell how many budgets need no run at all; the next
run starts from there. So what is measured is the attack *with these warm starts*: of one that converges the same as
``exhaustive=True``, which attacks at every budget from scratch; of a weak one a stronger attack. That an image which
resisted at one budget resists at smaller ones is a statement about the attack, not a theorem.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from neuroalign.functional.norms import length
from neuroalign.perturbations.attacks.base import Attack, Classifier
from neuroalign.perturbations.attacks.budget import project
from neuroalign.perturbations.attacks.minimal import MinimalNormAttack
from neuroalign.perturbations.base import Perturbation


class Outcomes:
    """What became of a batch of images.

    Attributes:
        correct: (stimulus, eps) bool, still classified right.
        distance: (stimulus,) length of the shortest perturbation that fooled; 0 for a clean error, inf if none did.
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
        perturbation: An attack, or another; callables are wrapped by :func:`neuroalign.evaluation.requests.named`.
        classifier: The model, in eval mode.
        images: (stimulus, channel, height, width) in [0, 1], float32.
        labels: (stimulus,).
        index: (stimulus,) identity of each image.
        eps: (eps,) increasing budgets.
        right: (stimulus,) bool, classified right without any perturbation. To an attack the others are errors already,
            and cost nothing; under a corruption they may turn right.
        exhaustive: Attack at every budget from scratch.
    """
    if not perturbation.needs_model:  # no adversary: an image that the change puts right is right
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
    found, fooled = attack.minimize(classifier, images, labels, index)
    size = torch.where(fooled, length(found - images, attack.norm)[:, 0, 0, 0], torch.inf)
    return Outcomes(size[:, None] > eps[None] + _slack(eps), size)


def _slack(eps: Tensor) -> Tensor:
    # x + d rounds, so that a perturbation of exactly eps may measure a little more.
    return (1e-4 * eps).clamp_max(1e-6)


def _step_down(
    attack: Attack, classifier: Classifier, images: Tensor, labels: Tensor, index: Tensor, eps: Tensor
) -> Outcomes:
    grid = eps[eps > 0]
    num_zero = len(eps) - len(grid)
    n, device = len(images), images.device
    first = torch.full((n,), len(grid), device=device)  # smallest budget, by its place in the grid, known to fool
    delta = torch.zeros_like(images)  # what fools there
    distance = torch.full((n,), torch.inf, dtype=images.dtype, device=device)
    reach = grid + _slack(grid)

    def accept(rows: Tensor, perturbed: Tensor) -> None:
        delta[rows] = perturbed - images[rows]
        distance[rows] = length(delta[rows], attack.norm)[:, 0, 0, 0]
        first[rows] = torch.minimum(first[rows], torch.searchsorted(reach, distance[rows]))

    active = torch.arange(n, device=device)
    start: Tensor | None = None  # the first round begins where the attack wants to, at a random point perhaps
    while len(active) and len(grid):
        below = first[active] - 1
        radius = grid[below][:, None, None, None]
        perturbed, fooled = attack.search(
            classifier, images[active], labels[active], radius, index[active.cpu()], start=start
        )
        active, below = active[fooled], below[fooled]
        accept(active, perturbed[fooled])
        # Whatever rounding makes of its length: it was found within that ball, and the search must go down.
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
    """Bisect along each perturbation for the smallest budget of the grid at which a shorter one still fools."""
    low = torch.zeros_like(first)
    while len(active := active[low[active] < first[active]]):
        middle = (low[active] + first[active]) // 2
        share = (grid[middle] / distance[active])[:, None, None, None]
        radius = grid[middle][:, None, None, None]
        perturbed = project(delta[active] * share, images[active], radius, attack.norm)
        fooled = classifier.fooled(perturbed, labels[active])
        accept(active[fooled], perturbed[fooled])
        low[active[~fooled]] = middle[~fooled] + 1
