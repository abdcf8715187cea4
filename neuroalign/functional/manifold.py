"""Size, dimension and separability of category manifolds: the clouds that the images of one class form."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuroalign.functional.checks import check_choice, check_features
from neuroalign.functional.classes import class_centers
from neuroalign.functional.missing import center
from neuroalign.functional.variation import power_of_two, unit_range

__all__ = [
    "effective_rank",
    "manifold_radius",
    "nearest_center_signal",
    "participation_ratio",
    "separability",
    "variance_ratio",
]


def _compact(labels: Tensor) -> tuple[Tensor, int]:
    present, inverse = labels.unique(return_inverse=True)
    return inverse, len(present)


def manifold_radius(
    features: Float[Tensor, "stimulus feature"], labels: Int[Tensor, " stimulus"], *, relative: bool = True
) -> Float[Tensor, " class"]:
    r"""RMS distance of the members of a class from its centre, one value per class that is present, in label order.

    .. math:: R_c = \sqrt{\tfrac1{n_c}\sum_{i \in c} |x_i-\mu_c|^2} \Big/ \sqrt{\tfrac1C \sum_k |\mu_k-\bar\mu|^2}

    Invariant to rotation and translation; with ``relative=True`` also to scale.

    Args:
        features: (stimulus, feature).
        labels: (stimulus,), integers.
        relative: Whether to divide by the RMS distance of the class centres from their mean (needs two classes).

    Returns:
        (class,).

    Raises:
        ValueError: If shapes don't match, or ``relative`` with fewer than two classes.

    Example:
        >>> x = torch.tensor([[-1.0], [1.0], [9.0], [11.0]])
        >>> manifold_radius(x, torch.tensor([0, 0, 1, 1]))
        tensor([0.2000, 0.2000])
    """
    check_features(features, labels)
    labels, num = _compact(labels)
    if relative:
        features = unit_range(features, whole=True)[0]
    centers, counts = class_centers(features, labels, num)
    squared = features.new_zeros(num).index_add(0, labels, (features - centers[labels]).square().sum(1))
    radius = (squared / counts).sqrt()
    if not relative:
        ordinary = squared.detach()
        if bool(((ordinary > torch.finfo(squared.dtype).tiny * 1e6) & ordinary.isfinite()).all()):
            return radius
        unit = power_of_two(features)
        if float(unit) == 1 or not bool(features.isfinite().all()):
            return radius
        return unit * manifold_radius(features / unit, labels, relative=False)
    if num < 2:
        raise ValueError("a relative radius needs at least two classes; use relative=False for one")
    return radius / (centers - centers.mean(0)).square().sum(1).mean().sqrt()


def _clouds(features: Tensor, labels: Tensor | None) -> Sequence[Tensor]:
    """The points of each class about their centre, in label order; with ``labels=None`` all rows are one cloud."""
    if labels is None:
        labels = torch.zeros(len(features), dtype=torch.long, device=features.device)
    check_features(features, labels)
    labels, num = _compact(labels)
    groups = features[labels.argsort(stable=True)].split(labels.bincount(minlength=num).tolist())
    # Everything computed from clouds is invariant to the shift and scale of each.
    return [center(unit_range(group, whole=True)[0]) for group in groups]


def participation_ratio(
    features: Float[Tensor, "stimulus feature"],
    labels: Int[Tensor, " stimulus"] | None = None,
    *,
    corrected: bool = False,
) -> Float[Tensor, " class"] | Float[Tensor, ""]:
    r"""Effective number of dimensions of a cloud: :math:`(\sum\lambda)^2/\sum\lambda^2` of its covariance eigenvalues.

    k equal directions give k; invariant to rotation, translation and scale. A cloud without variance gives NaN.

    It is at most the number of points M minus one, and about :math:`1/(1/k + 1/(M-1))` where the true value is k: compare
    only clouds of equal size, or take the corrected value. This is the ratio of the unbiased estimates of
    :math:`(\sum\lambda)^2` and :math:`\sum\lambda^2` for points of a normal distribution, which is :math:`(MP-2)/(M-1-P)`
    with P the plain value. It scatters more, is itself too large where points are few (simulated: 16 % for 20 points of 21
    effective dimensions, where the plain value is 51 % too small), is infinite where all points are equally far from each
    other, and needs three points.

    Args:
        features: (stimulus, feature).
        labels: (stimulus,), integers: one value for each class that is present; None treats all rows as one cloud.
        corrected: Whether to correct for the number of points.

    Returns:
        (class,), or a scalar without labels.

    Raises:
        ValueError: If shapes don't match, or a class has fewer than three points for the corrected value.

    Example:
        >>> points = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> participation_ratio(points)
        tensor(2.)
    """
    values = []
    for group in _clouds(features, labels):
        # trace(C^2) is the sum of squared inner products within the class: no feature-by-feature matrix is formed.
        gram = group @ group.T if len(group) <= group.shape[1] else group.T @ group
        ratio = gram.diagonal().sum() ** 2 / gram.square().sum()
        if corrected and len(group) < 3:
            raise ValueError(
                f"the corrected participation ratio needs three points of every class; one has {len(group)}"
            )
        if corrected:
            ratio = (len(group) * ratio - 2) / (len(group) - 1 - ratio).clamp_min(0)
        values.append(ratio)
    return torch.stack(values) if labels is not None else values[0]


def effective_rank(
    features: Float[Tensor, "stimulus feature"],
    labels: Int[Tensor, " stimulus"] | None = None,
    *,
    spectrum: Literal["singular", "variance"] = "singular",
) -> Float[Tensor, " class"] | Float[Tensor, ""]:
    r"""Effective number of dimensions of a cloud by the entropy of its spectrum: :math:`\exp(-\sum_i p_i\log p_i)`.

    k equal directions give k; invariant to rotation, translation and scale. Directions of small variance count
    more than in :func:`participation_ratio`. A cloud without variance gives NaN.

    Args:
        features: (stimulus, feature).
        labels: (stimulus,), integers: one value for each class that is present; None treats all rows as one cloud.
        spectrum: Spectrum to which p is proportional: the ``"singular"`` values of the centred cloud, as in the original
            definition, or their squares, the ``"variance"`` along each direction.

    Returns:
        (class,), or a scalar without labels.

    Raises:
        ValueError: If shapes don't match or ``spectrum`` is unknown.

    Example:
        >>> effective_rank(torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]))
        tensor(2.)

    Source:
        Roy and Vetterli 2007, *EUSIPCO*.
    """
    check_choice("spectrum", spectrum, ("singular", "variance"))
    values = []
    for group in _clouds(features, labels):
        s = torch.linalg.svdvals(group)
        p = s if spectrum == "singular" else s.square()
        p = p / p.sum()
        values.append(torch.special.entr(p).sum().exp())
    return torch.stack(values) if labels is not None else values[0]


def nearest_center_signal(
    features: Float[Tensor, "stimulus feature"], labels: Int[Tensor, " stimulus"]
) -> Float[Tensor, " class"]:
    r"""Distance to the nearest other class, in units of the class's own radius: :math:`\min_k |\mu_c-\mu_k| / R_c`.

    :math:`R_c` is the RMS distance of the members from their centre. Invariant to rotation, translation and scale; infinite
    for a class whose members are all equal.

    Args:
        features: (stimulus, feature).
        labels: (stimulus,), integers.

    Returns:
        (class,), in label order.

    Raises:
        ValueError: If shapes don't match, or there are fewer than two classes.

    Example:
        >>> x = torch.tensor([[-1.0], [1.0], [9.0], [11.0]])
        >>> nearest_center_signal(x, torch.tensor([0, 0, 1, 1])).round(decimals=3)
        tensor([10., 10.])
    """
    check_features(features, labels)
    features = unit_range(features, whole=True)[0]
    radius = manifold_radius(features, labels, relative=False)
    if len(radius) < 2:
        raise ValueError(f"a nearest other centre needs at least two classes; got {len(radius)}")
    compact, num = _compact(labels)
    centers, _ = class_centers(features, compact, num)
    gram = (centers - centers.mean(0)) @ (centers - centers.mean(0)).T
    squared = gram.diagonal()[:, None] + gram.diagonal() - 2 * gram
    squared.fill_diagonal_(torch.inf)
    return squared.amin(1).clamp_min(0).sqrt() / radius


def variance_ratio(features: Float[Tensor, "stimulus feature"], labels: Int[Tensor, " stimulus"]) -> Float[Tensor, ""]:
    r"""Variance within classes over variance between them: :math:`\mathrm{tr} S_W / \mathrm{tr} S_B`.

    0 where the members of every class are equal; :func:`separability` is 1 / (1 + this). Every sample has the same weight.

    Args:
        features: (stimulus, feature).
        labels: (stimulus,), integers.

    Returns:
        Scalar; infinite where the class centres coincide.

    Raises:
        ValueError: If shapes don't match, or there are fewer than two classes.

    Example:
        >>> features = torch.tensor([[-1.0], [1.0], [3.0], [5.0]])
        >>> variance_ratio(features, torch.tensor([0, 0, 1, 1]))
        tensor(0.2500)
    """
    within, between, num = _variances(features, labels)
    if num < 2:
        raise ValueError(f"variance between classes needs at least two; got {num}")
    return within / between


def separability(features: Float[Tensor, "stimulus feature"], labels: Int[Tensor, " stimulus"]) -> Float[Tensor, ""]:
    r"""Share of the variance that lies between classes: :math:`\mathrm{tr} S_B / \mathrm{tr} S_T`, in [0, 1].

    1 where the members of every class are equal, about :math:`(C-1)/(n-1)` for random labels. Invariant to rotation,
    translation and scale.

    Args:
        features: (stimulus, feature).
        labels: (stimulus,), integers.

    Returns:
        Scalar; NaN where the features are constant.

    Raises:
        ValueError: If shapes don't match.

    Example:
        >>> separability(torch.tensor([[0.0], [0.0], [2.0], [2.0]]), torch.tensor([0, 0, 1, 1]))
        tensor(1.)
    """
    within, between, _ = _variances(features, labels)
    return between / (within + between)


def _variances(features: Tensor, labels: Tensor) -> tuple[Tensor, Tensor, int]:
    """Sums of squares within and between classes, up to a common factor, and the number of classes."""
    check_features(features, labels)
    labels, num = _compact(labels)
    features = unit_range(features, whole=True)[0]  # only ratios of the sums are used
    centers, counts = class_centers(features, labels, num)
    between = (counts * (centers - features.mean(0)).square().sum(1)).sum()
    return (features - centers[labels]).square().sum(), between, num
