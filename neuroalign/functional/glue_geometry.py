"""Geometry of class manifolds from their joint cone (GLUE): one projection per Gaussian draw."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from neuroalign.functional.checks import check_choice, check_finite
from neuroalign.functional.classes import group_by_class
from neuroalign.functional.cone import cone_projection
from neuroalign.functional.control_variates import FEWEST_DRAWS, Estimator
from neuroalign.functional.manifold_input import result_dtype, stack_manifolds

__all__ = ["GlueGeometry", "glue"]

_ELEMENTS = 1 << 24  # entries of a block of anchors in float64: 128 MiB


class GlueGeometry(NamedTuple):
    r"""Result of :func:`glue`; each value is a scalar.

    Attributes:
        capacity: Manifolds that can be separated per dimension, :math:`P/\langle a\rangle`. 2 for points.
        radius: Effective radius, :math:`\sqrt{\langle c\rangle/\langle b-c\rangle}`.
        dimension: Effective dimension, :math:`\langle b\rangle/P`.
        utility: Effective utility, :math:`\Psi=\langle c\rangle/\langle a\rangle`;
            :math:`\alpha=\Psi(1+R^{-2})/D` holds exactly.
        center_alignment: Alignment between the mean anchors of different manifolds.
        axis_alignment: Alignment between the deviations of their anchors from the mean anchors.
        center_axis_alignment: Alignment between the mean anchor of a manifold and the deviations of another one.
        capacity_error: Monte-Carlo standard error of ``capacity``.
        radius_error: The same of ``radius``, including the error of the mean anchors.
        dimension_error: The same of ``dimension``, likewise.
        utility_error: The same of ``utility``, likewise.
        residual: Largest violation of the optimality conditions over all projections; see
            :class:`neuroalign.functional.ConeProjection`.
    """

    capacity: Tensor
    radius: Tensor
    dimension: Tensor
    utility: Tensor
    center_alignment: Tensor
    axis_alignment: Tensor
    center_axis_alignment: Tensor
    capacity_error: Tensor
    radius_error: Tensor
    dimension_error: Tensor
    utility_error: Tensor
    residual: Tensor


def glue(
    manifolds: Sequence[Tensor] | Tensor,
    labels: Int[Tensor, " stimulus"] | None = None,
    *,
    dichotomies: Literal["random", "one_vs_rest", "pairs"] | Tensor = "random",
    num_samples: int = 200,
    alignment: Literal["inner_product", "cosine"] = "inner_product",
    variance_reduction: bool = True,
    seed: int = 0,
) -> GlueGeometry:
    r"""Capacity, radius, dimension, utility and alignments of class manifolds from their joint cone (GLUE).

    The mean of all points is taken out first. For a dichotomy :math:`y\in\{\pm1\}^P` and :math:`t\sim N(0, I_N)`, t is
    projected on the cone of all points times the sign of their manifold. With the coefficients :math:`\lambda`, the anchor
    of manifold :math:`\mu` is :math:`s_\mu = \sum_i\lambda_i z_i/\sum_i\lambda_i` over its points, or 0 if none of them is
    in use. With S the anchors (manifold, feature), :math:`S_0 = \langle S\rangle` and :math:`S_1 = S - S_0`,

    .. math::
        a = |p|^2 = (St)^\top(SS^\top)^+St, \quad b = (S_1t)^\top(S_1S_1^\top)^+S_1t, \quad
        c = (S_1t)^\top(S_0S_0^\top+S_1S_1^\top)^+S_1t

    give the measures of :class:`GlueGeometry`. Unlike :func:`neuroalign.functional.manifold_capacity` this depends on how
    the manifolds are placed relative to each other, and needs no removal of shared directions. The inner products of all
    points are formed, in float64; if there are more features than points, they are reduced to their span first.

    Args:
        manifolds: A list of (point, feature) tensors, or features (stimulus, feature) with ``labels``.
        labels: (stimulus,), integers, beside features.
        dichotomies: Groups of manifolds to separate: ``"random"`` halves, a new one for each draw; ``"one_vs_rest"``, each
            manifold in turn against all others; ``"pairs"``, each pair of manifolds alone, with a, b and c averaged over
            pairs; or a tensor (dichotomy, manifold) of +-1, used in turn.
        num_samples: Number of Gaussian draws; with ``"pairs"``, per pair.
        alignment: ``"inner_product"``, the mean over pairs of manifolds of :math:`|\langle u,v\rangle|`, in squared units of
            the features, which changes with scale; or ``"cosine"``, of :math:`|\cos(u,v)|`, between 0 and 1. The literature
            uses both under the same names.
        variance_reduction: Whether to regress a, b and c on Stein's identity and on :math:`|t|^2`; needs 50 draws.
        seed: Seed of the draws and dichotomies.

    Raises:
        TypeError: If features are not floating point.
        ValueError: If there are fewer than two manifolds, one is empty, values are NaN or infinite, all points are equal, or
            an argument is out of range.

    Example:
        >>> generator = torch.Generator().manual_seed(0)
        >>> centers = torch.randn(10, 1, 80, generator=generator)
        >>> x = centers + 0.3 * torch.randn(10, 20, 80, generator=generator)
        >>> g = glue(list(x))
        >>> torch.allclose(g.capacity, g.utility * (1 + g.radius**-2) / g.dimension)
        True

    Note:
        Where no hyperplane separates a dichotomy, as with many more points than features, its cone is the whole span of the
        points and :math:`\langle a\rangle` is their rank: the capacity is P over the rank, although nothing is separable.
        Check with :func:`neuroalign.functional.linear_separability`.

    Source:
        GLUE: arXiv 2503.18114 (algorithm 2) and arXiv 2603.01879 (appendix B.3).
    """
    if num_samples < 2:
        raise ValueError(f"num_samples must be at least 2; got {num_samples}")
    check_choice("alignment", alignment, ("inner_product", "cosine"))
    if isinstance(dichotomies, str):
        check_choice("dichotomies", dichotomies, ("random", "one_vs_rest", "pairs"), or_else="a tensor")
    features, owner, num = stack_manifolds(manifolds, labels)
    x = features.double()
    check_finite(x)
    if bool((x == x[0]).all()):
        raise ValueError("all points are equal, so there is nothing to separate")
    generator = torch.Generator().manual_seed(seed)
    pairs = isinstance(dichotomies, str) and dichotomies == "pairs"
    signs = _signs(dichotomies if not pairs else "random", 2 if pairs else num, num_samples, generator).to(x)
    groups = list(combinations(range(num), 2)) if pairs else [tuple(range(num))]
    position, size = group_by_class(owner, num)
    grid = x.new_zeros(num, size, x.shape[1]).index_put((owner, position), x)
    exists = torch.zeros(num, size, dtype=torch.bool, device=x.device)
    exists[owner, position] = True
    # One block of pairs at a time; their joint coordinates are small.
    width = min(x.shape[1], len(groups[0]) * grid.shape[1])
    block = max(1, _ELEMENTS // (width * max(num_samples * len(groups[0]), len(groups[0]) * grid.shape[1])))
    parts = []
    for start in range(0, len(groups), block):
        members = torch.tensor(groups[start : start + block], device=x.device)
        points = _coordinates(grid[members], exists[members])
        t = torch.randn(len(members), num_samples, points.shape[3], generator=generator, dtype=torch.float64).to(x)
        parts.append(joint_geometry(points, exists[members], t, signs, alignment, variance_reduction))
    forms, errors, overlaps, residual = (torch.cat(p) for p in zip(*parts))
    return _summary(forms, errors, overlaps, residual, 2 if pairs else num, result_dtype(features))


def _signs(dichotomies: str | Tensor, num: int, num_samples: int, generator: torch.Generator) -> Tensor:
    """Signs (draw, manifold) of +-1."""
    if isinstance(dichotomies, Tensor):
        if dichotomies.ndim != 2 or dichotomies.shape[1] != num or not bool((dichotomies.abs() == 1).all()):
            raise ValueError(f"dichotomies must be (dichotomy, {num}) of +1 and -1; got {tuple(dichotomies.shape)}")
        return dichotomies.double()[torch.arange(num_samples) % len(dichotomies)]
    if dichotomies == "one_vs_rest":
        return (2 * torch.eye(num, dtype=torch.float64) - 1)[torch.arange(num_samples) % num]
    order = torch.rand(num_samples, num, generator=generator).argsort(1)
    return torch.where(order < num // 2, 1.0, -1.0).double()


def _coordinates(points: Tensor, exists: Tensor) -> Tensor:
    """Points (group, manifold, point, feature) about the mean of their group, in at most as many dimensions as points."""
    groups, num, size, width = points.shape
    count = exists.sum((1, 2))[:, None, None, None]
    x = torch.where(exists[..., None], points - points.sum((1, 2), keepdim=True) / count, 0)
    if width <= num * size:
        return x
    flat = x.flatten(1, 2)
    values, vectors = torch.linalg.eigh(flat @ flat.mT)
    # The symmetric root gives the same points up to a rotation, and does not depend on the choice of eigenvectors.
    root = (vectors * values.clamp_min(0).sqrt()[:, None]) @ vectors.mT
    result: Tensor = root.view(groups, num, size, num * size)
    return result


def joint_geometry(
    points: Float[Tensor, "group manifold point feature"],
    exists: Bool[Tensor, "group manifold point"],
    t: Float[Tensor, "group draw feature"],
    signs: Float[Tensor, "draw manifold"],
    alignment: str,
    variance_reduction: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Means of a, b, c, standard errors, alignments and residual of each group.

    Args:
        points: (group, manifold, point, feature), zero where there is no point.
        exists: (group, manifold, point).
        t: (group, draw, feature), Gaussian vectors.
        signs: (draw, manifold) of +-1.
        alignment: See :func:`glue`.
        variance_reduction: Whether to use control variates.

    Returns:
        Means of a, b and c, (group, 3); errors of a, b, radius and utility, (group, 4); center, axis and center-axis
        alignment, (group, 3); residual, (group,).
    """
    groups, num, size, width = points.shape
    draws = t.shape[1]
    flat = points.flatten(1, 2)
    solved = cone_projection(flat @ flat.mT, t @ flat.mT, signs=signs.repeat_interleave(size, 1))
    weights = solved.coefficients.view(groups, draws, num, size)
    total = weights.sum(3, keepdim=True)
    weights = weights / torch.where(total > 0, total, 1)
    a = solved.squared_norm
    controls = []
    if variance_reduction and draws >= FEWEST_DRAWS:
        controls = [a - solved.num_active, t.square().sum(2) - width]
    estimator = Estimator(a, controls)
    mean = torch.einsum("gt,gtpm->gpm", estimator.weights, weights)
    center = torch.einsum("gpm,gpmr->gpr", mean, points)
    center_gram = center @ center.mT

    b, c = torch.empty_like(a), torch.empty_like(a)
    axis, center_axis = a.new_zeros(groups, draws), a.new_zeros(groups, draws)
    slopes = torch.zeros(
        2, groups, num, width, dtype=a.dtype, device=a.device
    )  # of mean b and c along the mean anchors
    # Anchors of all draws, (group, draw, manifold, feature), would fill the memory: block by block they are reduced to a
    # few numbers per draw.
    step = max(1, _ELEMENTS // (groups * num * width))
    for i in range(0, draws, step):
        cut = slice(i, i + step)
        deviation = torch.einsum("gtpm,gpmr->gtpr", weights[:, cut], points) - center[:, None]
        field = (deviation @ t[:, cut, :, None])[..., 0]
        gram = deviation @ deviation.mT
        share = estimator.weights[:, cut, None, None]
        for k, (form, matrix) in enumerate(((b, gram), (c, gram + center_gram[:, None]))):
            form[:, cut], solution = _form(matrix, field)
            # d form = 2 g'dS_1 (t - S_1'g) - 2 g'dS_0 (S_0'g) k with dS_1 = -dS_0
            along = t[:, cut] - (solution[..., None, :] @ deviation)[..., 0, :]
            along = along + k * (solution[..., None, :] @ center[:, None])[..., 0, :]
            slopes[k] -= 2 * (share * solution[..., None] * along[..., None, :]).sum(1)
        cross = center[:, None] @ deviation.mT
        axis[:, cut] = _overlap(gram, gram, gram, alignment)
        center_axis[:, cut] = _overlap(cross, center_gram[:, None].expand_as(gram), gram, alignment)
    forms = torch.stack([estimator.mean(q) for q in (a, b, c)], 1)
    mean_a, mean_b, mean_c = forms.T[:, :, None]
    utility = mean_c / mean_a
    squared = mean_c / (mean_b - mean_c)  # of the radius
    # All draws share the mean anchors, which are estimates too. So a draw changes the means of b and c in two ways: by its
    # own b and c, and by moving the mean anchors. The slopes carry the second part into the standard errors.
    b, c = (
        form + torch.einsum("gtpm,gpm->gt", weights, (points * slope[:, :, None]).sum(3))
        for form, slope in zip((b, c), slopes)
    )
    errors = torch.stack(
        [
            estimator.error(a),
            estimator.error(b),
            estimator.error(((1 + squared) * c - squared * b) / (mean_b - mean_c)) / (2 * squared.sqrt())[:, 0],
            estimator.error((c - utility * a) / mean_a),
        ],
        1,
    )
    overlaps = torch.stack(
        [
            _overlap(center_gram[:, None], center_gram[:, None], center_gram[:, None], alignment)[:, 0],
            estimator.mean(axis),
            estimator.mean(center_axis),
        ],
        1,
    )
    return forms, errors, overlaps, solved.residual.amax(1)


def _form(gram: Tensor, field: Tensor) -> tuple[Tensor, Tensor]:
    """The quadratic form field' gram^+ field, and gram^+ field.

    Args:
        gram: (group, draw, manifold, manifold).
        field: (group, draw, manifold).
    """
    values, vectors = torch.linalg.eigh(gram)
    kept = values > 1e-10 * values[..., -1:]
    along = (vectors.mT @ field[..., None])[..., 0]
    scaled = torch.where(kept, along / torch.where(kept, values, 1), 0)
    return (along * scaled).sum(-1), (vectors @ scaled[..., None])[..., 0]


def _overlap(products: Tensor, left: Tensor, right: Tensor, alignment: str) -> Tensor:
    """Mean of |products| over pairs of different manifolds; with "cosine" divided by the lengths in left and right."""
    num = products.shape[-1]
    if alignment == "cosine":
        length = (left.diagonal(dim1=-2, dim2=-1)[..., :, None] * right.diagonal(dim1=-2, dim2=-1)[..., None, :]).sqrt()
        products = torch.where(length > 0, products / torch.where(length > 0, length, 1), 0)
    size = products.abs()
    return (size.sum((-2, -1)) - size.diagonal(dim1=-2, dim2=-1).sum(-1)) / (num * (num - 1))


def _summary(
    forms: Tensor, errors: Tensor, overlaps: Tensor, residual: Tensor, num: int, dtype: torch.dtype
) -> GlueGeometry:
    """The measures from a, b, c averaged over groups first, so that the identity between the measures holds exactly."""
    groups = len(forms)
    a, b, c = forms.mean(0)
    error = errors.square().sum(0).sqrt() / groups
    values = (
        num / a,
        (c / (b - c)).sqrt(),
        b / num,
        c / a,
        *overlaps.mean(0),
        num * error[0] / a.square(),
        error[2],
        error[1] / num,
        error[3],
        residual.amax(),
    )
    return GlueGeometry(*(v.to(dtype) for v in values))
