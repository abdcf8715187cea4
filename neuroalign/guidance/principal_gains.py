"""Targets with another rank or spectrum: a gain for each of their principal components."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from neuroalign.config import Described
from neuroalign.functional.directions import num_leading
from neuroalign.functional.host import without_autocast

__all__ = ["PrincipalGains"]


class PrincipalGains(Described, nn.Module):
    r"""Multiplies the principal components of targets by gains: :math:`m + (y - m) U \mathrm{diag}(g) U^\top`.

    Components that it doesn't hold are removed. Build it with :meth:`of_rank` or :meth:`of_spectrum`, from the targets of
    the training images; :class:`MatchedGuidance` applies it. An image with a missing response has no target at all (NaN).

    Attributes:
        mean: (voxel,), the mean target m.
        directions: (voxel, component), orthonormal columns U, the strongest first.
        gains: (component,), g.

    Raises:
        ValueError: If shapes don't match; when called, if targets have another number of voxels.

    Example:
        >>> responses = torch.randn(50, 6) * torch.arange(1.0, 7.0)
        >>> first = PrincipalGains.of_rank(responses, 1)
        >>> first.directions.shape, first(responses).shape
        (torch.Size([6, 1]), torch.Size([50, 6]))
    """

    mean: Tensor
    directions: Tensor
    gains: Tensor
    _rebuilt_by = "zeros"  # the state dict holds the values

    def __init__(self, mean: Tensor, directions: Tensor, gains: Tensor) -> None:
        super().__init__()
        if mean.ndim != 1 or gains.ndim != 1 or directions.shape != (len(mean), len(gains)):
            raise ValueError(
                "mean must be (voxel,), gains (component,) and directions (voxel, component); got "
                f"{tuple(mean.shape)}, {tuple(gains.shape)} and {tuple(directions.shape)}"
            )
        self.register_buffer("mean", mean.detach().float())
        self.register_buffer("directions", directions.detach().float().contiguous())
        self.register_buffer("gains", gains.detach().float())

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"num_voxels": len(self.mean), "num_components": len(self.gains)}

    @classmethod
    def zeros(cls, num_voxels: int, num_components: int) -> PrincipalGains:
        """Gains of given shape, to be filled by ``load_state_dict``."""
        return cls(torch.zeros(num_voxels), torch.zeros(num_voxels, num_components), torch.zeros(num_components))

    @classmethod
    def of_rank(
        cls,
        responses: Tensor,
        rank: int | None = None,
        *,
        reference: Tensor | None = None,
        variance: float | None = 0.95,
    ) -> PrincipalGains:
        """The projection on the leading principal components, so that targets have a given number of dimensions.

        It removes what lies in the other components, so the total variance falls. If that changes the size of the loss,
        :func:`neuroalign.match_gradient_scale` gives the control the gradient scale of the treatment.

        Args:
            responses: (stimulus, voxel), the targets of the training images; a stimulus with a NaN is left out.
            rank: Number of components to keep; None takes it from ``reference``.
            reference: (stimulus, voxel), another region's targets of the same images.
            variance: Share of the variance of ``reference`` that its leading components must hold: their number is the rank.
                None takes the participation ratio of ``reference``, rounded and at least 1.

        Raises:
            ValueError: Unless exactly one of ``rank`` and ``reference`` is given, if the targets vary in fewer directions, or
                if they hold infinite values or fewer than two complete stimuli.

        Example:
            >>> wide, narrow = torch.randn(50, 6), torch.randn(50, 2) @ torch.randn(2, 4)
            >>> PrincipalGains.of_rank(wide, reference=narrow, variance=1.0)
            PrincipalGains(voxels=6, components=2)
        """
        if (rank is None) == (reference is None):
            raise ValueError("give either rank, or the reference whose number of dimensions is taken")
        mean, variances, directions = _components(responses, "responses")
        if reference is not None:
            rank = _rank_of(reference, variance)
        assert rank is not None
        if not 1 <= rank <= len(variances):
            raise ValueError(
                f"a rank of {rank} is asked for, and the targets vary in {len(variances)} directions: a projection lowers "
                "the rank, to 1 at least. To compare with a region of higher rank, lower that region's instead"
            )
        return cls(mean, directions[:, :rank], torch.ones(rank))

    @classmethod
    def of_spectrum(cls, responses: Tensor, reference: Tensor) -> PrincipalGains:
        """The gains that give targets the spectrum of a reference, with the same directions and the same total variance.

        The variances of the components are compared by their place: the share of the i-th strongest becomes that of the
        reference's i-th. Components for which the reference has none are removed. What the reference has beyond the number of
        directions in which the targets vary is left out. Weak components may get large gains: see ``gains``.

        Args:
            responses: (stimulus, voxel), the targets of the training images; a stimulus with a NaN is left out.
            reference: (stimulus, voxel), another region's targets of the same images; any number of voxels.

        Raises:
            ValueError: If targets don't vary, or hold infinite values or fewer than two complete stimuli.

        Example:
            >>> responses = torch.randn(50, 6) * torch.arange(1.0, 7.0)
            >>> reference = torch.randn(50, 6)
            >>> matched = PrincipalGains.of_spectrum(responses, reference)(responses)
            >>> ours, theirs = (torch.linalg.eigvalsh(x.T.cov()) for x in (matched, reference))
            >>> (ours / theirs).std() < 1e-3
            tensor(True)
        """
        mean, variances, directions = _components(responses, "responses")
        _, wanted, _ = _components(reference, "reference")
        num = min(len(variances), len(wanted))
        wanted = wanted[:num].to(variances) * (variances.sum() / wanted[:num].sum()).to(variances)
        return cls(mean, directions[:, :num], (wanted / variances[:num]).sqrt())

    @torch.no_grad()
    def forward(self, targets: Tensor, stimulus: Tensor | None = None) -> Tensor:
        """Altered targets (stimulus, voxel); ``stimulus`` is not needed."""
        if targets.shape[-1] != len(self.mean):
            raise ValueError(f"gains for {len(self.mean)} voxels, but targets have {targets.shape[-1]}")
        with without_autocast(targets):
            x = targets if targets.dtype == torch.float64 else targets.float()
            mean, directions, gains = self.mean.to(x), self.directions.to(x), self.gains.to(x)
            return (((x - mean) @ directions * gains) @ directions.T + mean).to(targets.dtype)

    def extra_repr(self) -> str:
        """Shown in ``repr``."""
        return f"voxels={len(self.mean)}, components={len(self.gains)}"


def _rank_of(reference: Tensor, variance: float | None) -> int:
    """Number of dimensions of a reference: components that hold a share of its variance, or its participation ratio."""
    if variance is not None and not 0 < variance <= 1:
        raise ValueError(f"variance must be in (0, 1], or None for the participation ratio; got {variance}")
    _, variances, _ = _components(reference, "reference")
    if variance is None:
        return max(1, round(float(variances.sum().square() / variances.square().sum())))
    return num_leading(variances.sqrt(), variance)


def _components(responses: Tensor, name: str) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (voxel,), variances (component,) and directions (voxel, component), the strongest first, in float64.

    Components at the level of float32's rounding error are left out: a predictor computes in float32.
    """
    x = _complete(responses, name)
    mean, rounding = x.mean(0), torch.finfo(torch.float32).eps
    least = rounding**2 * x.square().sum()  # of values that only rounding tells apart
    x = x - mean
    wide = x.shape[0] < x.shape[1]
    values, vectors = torch.linalg.eigh(x @ x.T if wide else x.T @ x)  # the smaller of the two products
    values, vectors = values.flip(0), vectors.flip(1)
    kept = values > (rounding * values[0]).maximum(least)
    if not bool(kept.any()):
        raise ValueError(f"{name} are the same for all stimuli: they have no principal components")
    values, vectors = values[kept], vectors[:, kept]
    directions = x.T @ vectors / values.sqrt() if wide else vectors
    return mean, values / len(x), directions


@torch.no_grad()
def _complete(responses: Tensor, name: str) -> Tensor:
    """The stimuli without a missing response, in float64."""
    if responses.ndim != 2:
        raise ValueError(f"{name} must be (stimulus, voxel); got {tuple(responses.shape)}")
    if not bool(responses.isfinite().logical_or(responses.isnan()).all()):
        raise ValueError(f"{name} have infinite values; mark missing ones by NaN")
    x = responses.detach().double()
    x = x[~x.isnan().any(1)]
    if len(x) < 2 or not x.shape[1]:
        raise ValueError(
            f"{name} {tuple(responses.shape)} have {len(x)} stimuli without a missing response; two are needed"
        )
    return x
