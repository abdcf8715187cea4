"""The loss of manifold capacity: its minimum has classes that random hyperplanes separate easily."""

from __future__ import annotations

import math
import warnings
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuroalign.functional.checks import check_choice
from neuroalign.functional.classes import class_means, group_by_class
from neuroalign.functional.cone import cone_projection, fills_span
from neuroalign.functional.variation import unit_range
from neuroalign.losses.labelled import LabelledLoss

__all__ = ["CapacityLoss"]


class CapacityLoss(LabelledLoss):
    r"""Inverse manifold capacity of a labelled batch, to be minimised.

    ``"joint"``, the capacity of all manifolds together (GLUE): the classes present are split at random into two halves with
    signs y, t is Gaussian, and p is the projection of t on the cone of all points (about the batch mean), each times the sign
    of its class,

    .. math:: \text{capacity} = \tfrac1P \langle |p|^2 \rangle = 1/\alpha

    ``"per_manifold"``, the mean-field form: the mean over classes of :math:`1/\alpha_i` of
    :func:`neuroalign.functional.manifold_capacity`, for points in units of the length of their centre, plus

    .. math:: \text{center\_correlation} = \mathrm{mean}_{i\ne j}\cos^2(c_i-\bar c, c_j-\bar c)

    The mean-field capacity does not depend on how centres are placed relative to each other: centres on one line, which no
    linear classifier separates, give the same value as those of a simplex. Minimising it alone may end there. Keep the second
    term's weight above 0, or use the joint form.

    Where no hyperplane separates a half from the other, the cone is the whole span of the points, and
    :math:`\langle|p|^2\rangle` would be their rank k: a value of k/P, which is 0 for a constant embedding and lower than that
    of any separable one. But such a half has no capacity. Its draws count as min(points - 1, features), which
    :math:`\langle|p|^2\rangle` never reaches where halves are separable, so that a lower value never means worse
    separability; and they have no gradient. So the joint form has no gradient for features of far fewer dimensions than a
    batch has points, and leaves a constant embedding constant.

    The gradient is that of the projection with its coefficients held fixed, :math:`\partial|p|^2/\partial z_i = 2\,y_i a_i (t
    - p)` (envelope theorem), for the part of t that lies in the points' span: the part outside would only add noise of mean
    0. Computed in float32 or wider, the projection in float64; in distributed training over the global batch, with the same
    draws in every process. The projections are computed on the host, whose small systems are faster there than on a GPU.

    Args:
        form: ``"joint"`` or ``"per_manifold"``.
        num_samples: Number of draws per step (per step and class for ``"per_manifold"``).
        kappa: Margin in units of the centres' lengths, for ``"per_manifold"``.
        capacity_weight: Weight of the inverse capacity.
        center_correlation_weight: Weight of the centre-correlation term, for ``"per_manifold"``.
        seed: Seed of the draws. Each call in training uses new draws; a buffer counts the calls, so that a resumed training
            continues with the same draws. Evaluation always uses the same draws.
        resample: Whether each call in training uses new draws; False uses the same draws in training too.
        distributed: Whether to compute the loss of the global batch in distributed training.

    Shapes:
        embedding (stimulus, feature), labels (stimulus,) -> scalar; 0 for a batch with fewer than two classes.

    Raises:
        ValueError: If an argument is out of range, or shapes don't match.

    Warns:
        UserWarning: Once, if fewer than half of a batch's random halves can be separated; only these give the joint form a
            gradient.

    Example:
        >>> z, labels = torch.randn(40, 64, requires_grad=True), torch.arange(40) % 4
        >>> loss = CapacityLoss(num_samples=64)
        >>> loss(z, labels).backward()
        >>> bool(z.grad.abs().sum() > 0)
        True

    Source:
        Chung, Lee and Sompolinsky 2018, *Physical Review X* 8:031003; the joint cone: arXiv 2503.18114.
    """

    calls: Tensor

    def __init__(
        self,
        form: Literal["joint", "per_manifold"] = "joint",
        *,
        num_samples: int = 64,
        kappa: float = 0.0,
        capacity_weight: float = 1.0,
        center_correlation_weight: float = 1.0,
        seed: int = 0,
        resample: bool = True,
        distributed: bool = True,
    ) -> None:
        check_choice("form", form, ("joint", "per_manifold"))
        if num_samples < 1:
            raise ValueError(f"num_samples must be at least 1; got {num_samples}")
        if not (math.isfinite(kappa) and kappa >= 0):
            raise ValueError(f"kappa must be a finite margin of at least 0; got {kappa}")
        if form == "joint" and kappa:
            raise ValueError('kappa is in units of each centre\'s length: use form="per_manifold", or kappa=0')
        weights = {"capacity": float(capacity_weight)}
        if form == "per_manifold":
            weights["center_correlation"] = float(center_correlation_weight)
        super().__init__(None, None, distributed, **weights)
        self.form, self.num_samples, self.kappa, self.seed, self.resample = form, num_samples, kappa, seed, resample
        self._warned, self._expects_separable = False, True
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))

    def _generator(self) -> torch.Generator:
        draw = 0
        if self.training and self.resample:
            self.calls += 1
            draw = int(self.calls)
        return torch.Generator().manual_seed((self.seed * 1_000_003 + draw) % 2**63)

    def _terms(self, z: Float[Tensor, "stimulus feature"], labels: Int[Tensor, " stimulus"]) -> dict[str, Tensor]:
        generator = self._generator()
        present, labels = labels.cpu().unique(return_inverse=True)
        if len(present) < 2:
            return dict.fromkeys(self.weights, 0 * z.sum())
        form = self._joint if self.form == "joint" else self._per_manifold
        return form(z, labels, len(present), generator)

    def _joint(self, z: Tensor, labels: Tensor, num: int, generator: torch.Generator) -> dict[str, Tensor]:
        # The measure doesn't change with shift and scale, so both are removed; a constant embedding becomes exactly 0.
        x, _, unit = unit_range(z, whole=True)
        x = x - x.mean(0)
        t = torch.randn(self.num_samples, x.shape[1], generator=generator, dtype=torch.float64)
        order = torch.rand(self.num_samples, num, generator=generator).argsort(1)
        signs = torch.where(order < num // 2, 1.0, -1.0).double()[:, labels]
        fixed = x.detach().cpu().double()
        # Rounding error of the features relative to their lengths: they lie this far outside their exact span.
        size = fixed.square().mean().sqrt().clamp_min(torch.finfo(x.dtype).tiny)
        magnitude = float(z.detach().abs().amax() / unit)
        rounding = 16 * torch.finfo(z.dtype).eps * min(magnitude / float(size), 1e100)  # its square must be a number
        tolerance = max(1e-5, rounding)
        # The part of t outside the span changes no projection, and its part of the gradient is noise of mean 0.
        basis = _span(fixed, tolerance)
        if basis is not None:
            fixed, inside = fixed @ basis, t @ basis
            t = inside @ basis.T
        a, separable = self._project(fixed, t if basis is None else inside, signs, tolerance)
        weights, t = _like(x, a * signs, t)
        p = weights @ x
        value = 2 * (t * p).sum(1) - p.square().sum(1)
        share = 1 - float(separable.double().mean())
        if not self._warned and share > 0.5:
            self._warned = True
            halves = "no half" if share == 1 else f"{1 - share:.0%} of the halves"
            warnings.warn(
                f"{halves} of the {num} classes can be separated: {len(x)} points in {x.shape[1]} features fill the space "
                f"that they span. Those halves count as no capacity, the loss's upper limit, and CapacityLoss has no "
                "gradient from them; use features of more dimensions, or a smaller batch",
                stacklevel=5,
            )
        limit = min(len(x) - 1, x.shape[1])  # of <|p|^2> where halves are separable
        separable = separable.to(x.device, non_blocking=True)
        return {"capacity": torch.where(separable, value, limit).mean() / num}

    def _project(self, x: Tensor, t: Tensor, signs: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
        """Coefficients (draw, point) of the projections, 0 where no hyperplane separates, and whether one separates (draw,).

        A projection that leaves a residual of t within the points' span proves that the half is separable. Where few halves
        are separable it is cheaper to test separability before projecting. The share in the last call decides the order; the
        result is the same.
        """
        gram, inner = x @ x.T, t @ x.T
        draws = torch.arange(len(t))
        length = gram.diagonal().clamp_min(0).sqrt()
        a = torch.zeros_like(inner)
        separable = torch.ones(len(t), dtype=torch.bool)
        if not self._expects_separable:
            separable = ~fills_span(gram, signs, tolerance=tolerance)
            draws = separable.nonzero()[:, 0]
        if len(draws):
            sign = signs[draws]
            a[draws] = cone_projection(gram[None], inner[None, draws], signs=sign).coefficients[0]
            if self._expects_separable:
                left = (inner - (a * signs) @ gram).abs() <= tolerance * length
                doubtful = left.all(1).nonzero()[:, 0]
                if len(doubtful):
                    separable[doubtful] = ~fills_span(gram, signs[doubtful], tolerance=tolerance)
                    a[~separable] = 0
        self._expects_separable = bool(separable.double().mean() > 0.75)
        return a, separable

    def _per_manifold(self, z: Tensor, labels: Tensor, num: int, generator: torch.Generator) -> dict[str, Tensor]:
        z = unit_range(z, whole=True)[0]  # the measure doesn't change with shift and scale
        position, width = group_by_class(labels, num)
        exists = torch.zeros(num, width, dtype=torch.bool)
        exists[labels, position] = True
        labels, position = (index.to(z.device, non_blocking=True) for index in (labels, position))
        centers, _ = class_means(z, labels, num)
        about = centers - z.mean(0)
        length2 = about.square().sum(1).clamp_min(torch.finfo(z.dtype).tiny)
        shape = (z - centers[labels]) / length2.sqrt()[labels, None]
        grid = z.new_zeros(num, width, z.shape[1]).index_put((labels, position), shape)

        t = torch.randn(num, self.num_samples, z.shape[1], generator=generator, dtype=torch.float64)
        height = torch.randn(num, self.num_samples, generator=generator, dtype=torch.float64) + self.kappa
        fixed = grid.detach().cpu().double()
        gram = torch.where(exists[:, :, None] & exists[:, None], fixed @ fixed.mT + 1, 0)
        inner = torch.where(exists[:, None], t @ fixed.mT + height[:, :, None], 0)
        a = cone_projection(gram, inner).coefficients
        a, p_last, t, height = _like(z, a, a.sum(2), t, height)
        p = a @ grid
        product = (t * p).sum(2) + height * p_last
        value = 2 * product - p.square().sum(2) - p_last.square()

        direction = centers - centers.mean(0)
        squared = direction.square().sum(1)
        cosine2 = (direction @ direction.T).square() / (squared[:, None] * squared).clamp_min(torch.finfo(z.dtype).tiny)
        correlation = (cosine2.sum() - cosine2.diagonal().sum()) / (num * (num - 1))
        return {"capacity": value.mean(), "center_correlation": correlation}


def _like(x: Tensor, *tensors: Tensor) -> tuple[Tensor, ...]:
    """Tensors of the host in the dtype and on the device of ``x``, sent without waiting for it."""
    return tuple(tensor.to(x.dtype).to(x.device, non_blocking=True) for tensor in tensors)


def _span(x: Tensor, tolerance: float) -> Tensor | None:
    """Orthonormal basis (feature, dimension) of the span of points (point, feature) about their mean.

    Directions of rounding are left out. None where the span is the whole space.
    """
    tall = len(x) > x.shape[1]
    gram = x.T @ x if tall else x @ x.T
    # Points about their mean sum to 0; that direction is filled in. The rest is mostly independent; Cholesky shows it fast.
    filled = gram if tall else gram + gram.diagonal().mean() / len(x)
    factor, info = torch.linalg.cholesky_ex(filled)
    pivots = factor.diagonal().square()
    if not int(info) and bool(pivots.amin() > 1e-6 * pivots.amax()):
        if tall:
            return None
        basis: Tensor = torch.linalg.solve_triangular(factor, x, upper=False).T
        return basis
    values, vectors = torch.linalg.eigh(gram)
    kept = values > tolerance**2 * values[-1].clamp_min(torch.finfo(x.dtype).tiny)
    leading: Tensor = vectors[:, kept] if tall else x.T @ (vectors[:, kept] / values[kept].sqrt())
    return leading
