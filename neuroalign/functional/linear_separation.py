"""Linear separability of classes: by cross-validation, and by simulation with random projections and dichotomies."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuroalign.functional.checks import check_features, check_finite
from neuroalign.functional.manifold_input import result_dtype, stack_manifolds
from neuroalign.moved import former_keywords

__all__ = ["SimulatedCapacity", "linear_separability", "simulated_capacity"]


@former_keywords(penalty="C")
def linear_separability(
    features: Float[Tensor, "stimulus feature"],
    labels: Int[Tensor, " stimulus"],
    *,
    num_folds: int = 5,
    C: float = 1.0,
    seed: int = 0,
) -> Float[Tensor, ""]:
    """Cross-validated accuracy of a linear support vector machine, averaged over folds.

    Features are centred and scaled by one number, so that the value is invariant to rotation, translation and scale. If
    there are more features than points, they are reduced to the span of the points, which does not change the value. Chance
    is the share of the largest class.

    Args:
        features: (stimulus, feature).
        labels: (stimulus,), integers.
        num_folds: Number of stratified folds.
        C: Parameter of scikit-learn's ``LinearSVC``: larger values fit the training points more closely.
        seed: Seed of the folds.

    Returns:
        Scalar in [0, 1].

    Raises:
        ValueError: If shapes don't match, there are fewer than two classes, or a class has fewer than ``num_folds`` members.

    Example:
        >>> x = torch.randn(60, 5, generator=torch.Generator().manual_seed(0))
        >>> linear_separability(x + 9 * (torch.arange(60) % 2)[:, None], torch.arange(60) % 2)
        tensor(1.)

    Source:
        scikit-learn's ``LinearSVC`` and ``StratifiedKFold``.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import StratifiedKFold, cross_val_score
    from sklearn.svm import LinearSVC

    check_features(features, labels)
    present, counts = labels.unique(return_counts=True)
    if len(present) < 2:
        raise ValueError(f"separating classes needs at least two; got {len(present)}")
    if num_folds < 2:
        raise ValueError(f"num_folds must be at least 2; got {num_folds}")
    if int(counts.min()) < num_folds:
        few = int(present[counts.argmin()])
        raise ValueError(
            f"class {few} has {int(counts.min())} members, fewer than the {num_folds} folds; use num_folds=2 or "
            "more images of it"
        )
    x = features.detach().double()
    check_finite(x)
    x = x - x.mean(0)
    if x.shape[1] > len(x):
        values, vectors = torch.linalg.eigh(x @ x.T)
        x = vectors * values.clamp_min(0).sqrt()
    x = x / x.square().sum(1).mean().sqrt().clamp_min(torch.finfo(x.dtype).tiny)
    folds = StratifiedKFold(num_folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # a hyperplane that did not converge is scored too
        machine = LinearSVC(C=C, dual="auto", random_state=seed, max_iter=5000)
        scores = cross_val_score(machine, x.cpu().numpy(), labels.cpu().numpy(), cv=folds)
    return torch.tensor(float(scores.mean()), dtype=result_dtype(features))


class SimulatedCapacity(NamedTuple):
    """Result of :func:`simulated_capacity`.

    Attributes:
        capacity: Number of manifolds P divided by n*.
        num_features: n*, the number of features with which half of the dichotomies are separable.
        bracketed: Whether n* lies within the tried range; otherwise the capacity is a bound: a lower one if n* would be
            below 2 features, an upper one if it would be above all of them.
        fractions: Separable share of the dichotomies, by number of features.
    """

    capacity: float
    num_features: float
    bracketed: bool
    fractions: dict[int, float]


def simulated_capacity(
    manifolds: Sequence[Tensor] | Tensor,
    labels: Int[Tensor, " stimulus"] | None = None,
    *,
    num_projections: int = 10,
    num_dichotomies: int = 10,
    bias: bool = True,
    seed: int = 0,
) -> SimulatedCapacity:
    """Capacity by simulation: from the number of random features with which half of the random dichotomies are separable.

    An independent check of :func:`neuroalign.functional.manifold_capacity` that needs no theory but is slow: it solves a
    linear program for each projection and dichotomy. The number of features n is found by bisection: the points are
    projected on n Gaussian vectors of unit length, a random half of the manifolds is labelled +1, and the separable share is
    interpolated to one half.

    Args:
        manifolds: A list of (point, feature) tensors, or features (stimulus, feature) with ``labels``.
        labels: (stimulus,), integers, beside features.
        num_projections: Number of random projections for each n.
        num_dichotomies: Number of random halves for each projection.
        bias: Whether the hyperplane may miss the origin.
        seed: Seed of the projections and dichotomies.

    Raises:
        ValueError: As :func:`neuroalign.functional.glue`, or if there are fewer than two features.

    Example:
        >>> points = torch.randn(20, 1, 60, generator=torch.Generator().manual_seed(0))
        >>> found = simulated_capacity(list(points), num_projections=4, num_dichotomies=5)
        >>> 1.5 < found.capacity < 3
        True

    Source:
        The procedure of awakhloo/correlated_capacity, with a linear program in place of a support vector machine.
    """
    import numpy as np

    if num_projections < 1 or num_dichotomies < 1:
        raise ValueError("num_projections and num_dichotomies must be at least 1")
    features, owner, num = stack_manifolds(manifolds, labels)
    check_finite(features)
    points, group = features.double().cpu().numpy(), owner.cpu().numpy()
    if points.shape[1] < 2:
        raise ValueError(f"capacity by trial needs at least two features; got {points.shape[1]}")
    points = points - points.mean(0)
    halves = np.where(np.arange(num) < num // 2, 1.0, -1.0)
    fractions: dict[int, float] = {}

    def fraction(n: int) -> float:
        if n not in fractions:
            rng = np.random.default_rng([seed, n])
            hits = 0
            for _ in range(num_projections):
                projection = rng.standard_normal((points.shape[1], n))
                projected = points @ (projection / np.linalg.norm(projection, axis=0))
                for _ in range(num_dichotomies):
                    hits += _is_separable(projected, rng.permutation(halves)[group], bias)
            fractions[n] = hits / (num_projections * num_dichotomies)
        return fractions[n]

    low, high = 2, points.shape[1]
    if fraction(low) >= 0.5:
        return SimulatedCapacity(num / low, low, False, fractions)
    if fraction(high) < 0.5:
        return SimulatedCapacity(num / high, high, False, fractions)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fraction(middle) < 0.5 else (low, middle)
    crossing = low + (0.5 - fraction(low)) / (fraction(high) - fraction(low))
    return SimulatedCapacity(num / crossing, crossing, True, dict(sorted(fractions.items())))


def _is_separable(points: object, signs: object, bias: bool) -> bool:
    """Whether y (w x + b) >= 1 has a solution."""
    import numpy as np
    from scipy.optimize import linprog

    x = np.asarray(points)
    x = x / np.sqrt(np.mean(np.sum(x**2, axis=1)))
    x = np.column_stack([x, np.ones(len(x))]) if bias else x
    signed = -np.asarray(signs)[:, None] * x
    answer = linprog(np.zeros(x.shape[1]), A_ub=signed, b_ub=-np.ones(len(x)), bounds=(None, None), method="highs")
    if answer.status not in (0, 2):
        raise RuntimeError(f"the linear program of a separability test failed: {answer.message}")
    return answer.status == 0
