"""Train for manifold capacity: few dimensions per class that a hyperplane has to see."""

from __future__ import annotations

import math
import warnings
from typing import Literal

import torch
from torch import Tensor

from neuroalign.config import describe
from neuroalign.functional.cone import cone_projection
from neuroalign.functional.manifold import class_centers, group_by_class
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

    The mean-field capacity cannot see how centres lie to each other: minimised alone, it drives them onto one line, where
    no classifier tells the classes apart. Keep the second term's weight above 0, or use the joint form.

    Where no hyperplane separates a half, as with more points than features, the joint cone is the whole space,
    :math:`|p|^2=|t|^2`, and nothing can be learned from that draw: the joint form needs an embedding about as wide as a batch
    has points.

    The gradient is exact for the draws at hand: at the minimum of the projection the coefficients are held fixed (envelope
    theorem), :math:`\partial|p|^2/\partial z_i = 2\,y_i a_i (t - p)`. Computed in float32 or wider, the projection in
    float64; in distributed training over the global batch, with the same draws in every process.

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
        UserWarning: Once, if no half of a batch can be separated, so that the joint form has no gradient.

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
        if form not in ("joint", "per_manifold"):
            raise ValueError(f'form must be "joint" or "per_manifold"; got {form!r}')
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
        self._warned = False
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.config = describe(
            "neuroalign.losses.CapacityLoss",
            form=form,
            num_samples=num_samples,
            kappa=kappa,
            capacity_weight=capacity_weight,
            center_correlation_weight=center_correlation_weight,
            seed=seed,
            resample=resample,
            distributed=distributed,
        )

    def _generator(self) -> torch.Generator:
        draw = 0
        if self.training and self.resample:
            self.calls += 1
            draw = int(self.calls)
        return torch.Generator().manual_seed((self.seed * 1_000_003 + draw) % 2**63)

    def _terms(self, z: Tensor, labels: Tensor) -> dict[str, Tensor]:
        generator = self._generator()
        present, labels = labels.unique(return_inverse=True)
        if len(present) < 2:
            return dict.fromkeys(self.weights, 0 * z.sum())
        form = self._joint if self.form == "joint" else self._per_manifold
        return form(z, labels, len(present), generator)

    def _joint(self, z: Tensor, labels: Tensor, num: int, generator: torch.Generator) -> dict[str, Tensor]:
        x = z - z.mean(0)
        t = torch.randn(self.num_samples, x.shape[1], generator=generator, dtype=torch.float64).to(x.device)
        order = torch.rand(self.num_samples, num, generator=generator).argsort(1)
        signs = torch.where(order < num // 2, 1.0, -1.0).double().to(x.device)[:, labels]
        fixed = x.detach().double()
        a = cone_projection((fixed @ fixed.T)[None], (t @ fixed.T)[None], signs=signs).coefficients[0]
        p = (a * signs).to(x.dtype) @ x
        value = 2 * (t.to(x.dtype) * p).sum(1) - p.square().sum(1)
        if not self._warned and bool((value.detach() > 0.999 * t.square().sum(1)).all()):
            self._warned = True
            warnings.warn(
                f"no half of the {num} classes can be separated: {len(x)} points in {x.shape[1]} features fill the space, "
                "and CapacityLoss has no gradient; use a wider embedding or a smaller batch",
                stacklevel=5,
            )
        return {"capacity": value.mean() / num}

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
