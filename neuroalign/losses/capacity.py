"""Train for manifold capacity: few dimensions per class that a hyperplane has to see."""

from __future__ import annotations

import math
import warnings
from typing import Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuroalign.functional.checks import check_choice
from neuroalign.functional.classes import class_centers, group_by_class
from neuroalign.functional.cone import cone_projection, fills_span
from neuroalign.functional.variation import unit_range
from neuroalign.losses.labelled import LabelledLoss


class CapacityLoss(LabelledLoss):
    r"""Inverse manifold capacity of a labelled batch, to be minimised.

    ``"joint"``, of the manifolds together (GLUE): for random halves y of the classes present and Gaussian t, with p the
    projection of t on the cone of all points (about the batch mean) times the sign of their class,

    .. math:: \text{capacity} = \tfrac1P \langle |p|^2 \rangle = 1/\alpha

    ``"per_manifold"``, the mean-field form: the mean over classes of :math:`1/\alpha_i` of
    :func:`neuroalign.functional.manifold_capacity`, on the points in units of their centre, plus

    .. math:: \text{center\_correlation} = \mathrm{mean}_{i\ne j}\cos^2(c_i-\bar c, c_j-\bar c)

    The mean-field capacity cannot see how centres lie to each other: centres on one line, where no classifier tells the
    classes apart, are as good to it as those of a simplex. Minimised alone it need not go there, but it can. Keep the second
    term's weight above 0, or use the joint form.

    Where no hyperplane separates a half, the cone is the whole span of the points, and :math:`\langle|p|^2\rangle` would be
    their rank k: a value of k/P, 0 for a constant embedding, lower than that of any separable one. But such a half has no
    capacity. Its draws count as min(points - 1, features), which :math:`\langle|p|^2\rangle` never reaches where halves are
    separable, so that a lower value never means worse separability; and they have no gradient. So the joint form has nothing
    to say to features of far fewer dimensions than a batch has points, and leaves a constant embedding constant.

    The gradient is that of the projection with its coefficients held fixed, :math:`\partial|p|^2/\partial z_i = 2\,y_i a_i
    (t - p)` (envelope theorem), for the part of t that lies in the points' span: outside of it the draws would add noise of
    mean 0. Computed in float32 or wider, the projection in float64; in distributed training over the global batch, with the
    same draws in every process.

    Args:
        form: ``"joint"`` or ``"per_manifold"``.
        num_samples: Draws of each step (for each class where ``"per_manifold"``).
        kappa: Margin in units of the centres' lengths, for ``"per_manifold"``.
        capacity_weight: Weight of the inverse capacity.
        center_correlation_weight: Weight of the centre-correlation term, for ``"per_manifold"``.
        seed: Of the draws. Training draws anew at each call, counted in a buffer, so that a resumed run goes on where it
            was; evaluation always uses the same draws.
        resample: False uses the same draws in training too.
        distributed: Whether to see the global batch where training is distributed.

    Shapes:
        embedding (stimulus, feature), labels (stimulus,) -> scalar; 0 for a batch with fewer than two classes.

    Raises:
        ValueError: If an argument is out of range, or shapes don't match.

    Warns:
        UserWarning: Once, if fewer than half of a batch's halves can be separated, from which alone the joint form has a
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
        present, labels = labels.unique(return_inverse=True)
        if len(present) < 2:
            return dict.fromkeys(self.weights, 0 * z.sum())
        form = self._joint if self.form == "joint" else self._per_manifold
        return form(z, labels, len(present), generator)

    def _joint(self, z: Tensor, labels: Tensor, num: int, generator: torch.Generator) -> dict[str, Tensor]:
        # The measure is free of shift and scale, and so a constant embedding is exactly 0.
        x, _, unit = unit_range(z, whole=True)
        x = x - x.mean(0)
        t = torch.randn(self.num_samples, x.shape[1], generator=generator, dtype=torch.float64).to(x.device)
        order = torch.rand(self.num_samples, num, generator=generator).argsort(1)
        signs = torch.where(order < num // 2, 1.0, -1.0).double().to(x.device)[:, labels]
        fixed = x.detach().double()
        # What rounding of the features moves them by, relative to their own lengths: that much lies outside of their span.
        size = fixed.square().mean().sqrt().clamp_min(torch.finfo(x.dtype).tiny)
        rounding = 16 * torch.finfo(z.dtype).eps * float(z.detach().abs().amax() / unit / size)
        tolerance = max(1e-5, rounding)
        # What t has outside of the span changes no projection, and its part of the gradient is noise of mean 0.
        basis = _span(fixed, tolerance)
        if basis is not None:
            fixed, inside = fixed @ basis, t @ basis
            t = inside @ basis.T
        a, separable = self._project(fixed, t if basis is None else inside, signs, tolerance)
        p = (a * signs).to(x.dtype) @ x
        value = 2 * (t.to(x.dtype) * p).sum(1) - p.square().sum(1)
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
        return {"capacity": torch.where(separable, value, limit).mean() / num}

    def _project(self, x: Tensor, t: Tensor, signs: Tensor, tolerance: float) -> tuple[Tensor, Tensor]:
        """Coefficients (draw, point) of the projections, 0 where no hyperplane separates, and whether one does (draw,).

        Where it does, a projection mostly leaves something of t in the points' span, and that is proof enough. Where few
        halves are separable it is cheaper to ask that first. The last call tells which to expect; the result is the same.
        """
        gram, inner = x @ x.T, t @ x.T
        draws = torch.arange(len(t), device=x.device)
        length = gram.diagonal().clamp_min(0).sqrt()
        a = torch.zeros_like(inner)
        separable = torch.ones(len(t), dtype=torch.bool, device=x.device)
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
        z = unit_range(z, whole=True)[0]  # the measure is free of shift and scale
        centers, _ = class_centers(z, labels, num)
        about = centers - z.mean(0)
        length2 = about.square().sum(1).clamp_min(torch.finfo(z.dtype).tiny)
        position, width = group_by_class(labels, num)
        shape = (z - centers[labels]) / length2.sqrt()[labels, None]
        grid = z.new_zeros(num, width, z.shape[1]).index_put((labels, position), shape)
        exists = torch.zeros(num, width, dtype=torch.bool, device=z.device)
        exists[labels, position] = True

        t = torch.randn(num, self.num_samples, z.shape[1], generator=generator, dtype=torch.float64).to(z.device)
        height = torch.randn(num, self.num_samples, generator=generator, dtype=torch.float64).to(z.device) + self.kappa
        fixed = grid.detach().double()
        gram = torch.where(exists[:, :, None] & exists[:, None], fixed @ fixed.mT + 1, 0)
        inner = torch.where(exists[:, None], t @ fixed.mT + height[:, :, None], 0)
        a = cone_projection(gram, inner).coefficients
        p, p_last = a.to(z.dtype) @ grid, a.sum(2).to(z.dtype)
        product = (t.to(z.dtype) * p).sum(2) + height.to(z.dtype) * p_last
        value = 2 * product - p.square().sum(2) - p_last.square()

        direction = centers - centers.mean(0)
        squared = direction.square().sum(1)
        cosine2 = (direction @ direction.T).square() / (squared[:, None] * squared).clamp_min(torch.finfo(z.dtype).tiny)
        correlation = (cosine2.sum() - cosine2.diagonal().sum()) / (num * (num - 1))
        return {"capacity": value.mean(), "center_correlation": correlation}


def _span(x: Tensor, tolerance: float) -> Tensor | None:
    """B (feature, dimension) with BB' the projection on the span of points (point, feature) about their mean, directions
    of rounding left out; None where the span is the whole space.
    """
    tall = len(x) > x.shape[1]
    gram = x.T @ x if tall else x @ x.T
    # Of points about their mean one is the others' sum; the rest is mostly independent, and a factor tells so soonest.
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
