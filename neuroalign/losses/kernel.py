"""Random Fourier features: a finite-dimensional approximation of a Gaussian kernel's space."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor, nn

from neuroalign.config import Described

__all__ = ["RandomFourierFeatures"]


class RandomFourierFeatures(Described, nn.Module):
    r"""Map to a space whose inner products approximate a Gaussian kernel.

    .. math:: \phi(x) = \sqrt{2/M}\,\big(\cos Wx, \sin Wx\big), \qquad
        \langle\phi(x),\phi(y)\rangle \approx \exp\!\big(-|x-y|^2/(2\sigma^2)\big)

    with M components and M / 2 rows of W drawn from :math:`N(0, \sigma^{-2})`. The error of an inner product has standard
    deviation at most :math:`1/\sqrt M`, and every mapped vector has length 1 exactly.

    Args:
        num_inputs: Number of features of x.
        num_components: M, the number of components; even.
        bandwidth: Sigma of the kernel, in units of x; see :meth:`from_features` for the median distance.
        seed: Seed of W.

    Attributes:
        weight: W, (component / 2, feature); a buffer, saved with the module that holds this map.

    Shapes:
        x (stimulus, feature) -> (stimulus, component).

    Raises:
        ValueError: If ``num_components`` is not even and positive, or ``bandwidth`` not positive.

    Example:
        >>> features = RandomFourierFeatures(3, 2000, bandwidth=1.0)
        >>> mapped = features(torch.tensor([[0.0, 0, 0], [1.0, 0, 0]]))
        >>> bool((mapped[0] @ mapped[1] - torch.tensor(-0.5).exp()).abs() < 0.05)
        True

    Source:
        Rahimi and Recht 2007, *NeurIPS*.
    """

    weight: Tensor

    def __init__(self, num_inputs: int, num_components: int = 512, *, bandwidth: float = 1.0, seed: int = 0) -> None:
        super().__init__()
        if num_components < 2 or num_components % 2:
            raise ValueError(f"num_components must be even and positive; got {num_components}")
        if not 0 < bandwidth < math.inf:
            raise ValueError(f"bandwidth must be positive and finite; got {bandwidth}")
        generator = torch.Generator().manual_seed(seed)
        weight = torch.randn(num_components // 2, num_inputs, generator=generator, dtype=torch.float64) / bandwidth
        self.register_buffer("weight", weight.float())

    @classmethod
    def from_features(cls, features: Tensor, num_components: int = 512, *, seed: int = 0) -> RandomFourierFeatures:
        """A map whose bandwidth is the median distance between features (stimulus, feature), of at most 1,000 of them.

        Raises:
            ValueError: If fewer than two rows differ.
        """
        x = features.detach().float()
        if len(x) > 1000:
            x = x[torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))[:1000].to(x.device)]
        distances = torch.pdist(x)
        distances = distances[distances > 0]
        if not len(distances):
            raise ValueError("the median distance needs at least two rows that differ")
        return cls(x.shape[1], num_components, bandwidth=float(distances.median()), seed=seed)

    @classmethod
    def from_weight(cls, weight: Tensor) -> RandomFourierFeatures:
        """A map with a given W (component / 2, feature)."""
        new = cls(weight.shape[1], 2 * weight.shape[0])
        new.weight.copy_(weight)
        return new

    @property
    def num_inputs(self) -> int:
        """Number of features of x."""
        return self.weight.shape[1]

    @property
    def num_components(self) -> int:
        """Number of components."""
        return 2 * self.weight.shape[0]

    def forward(self, x: Float[Tensor, "*stimulus feature"]) -> Float[Tensor, "*stimulus component"]:
        """Map (stimulus, feature) to (stimulus, component)."""
        if x.shape[-1] != self.num_inputs:
            raise ValueError(f"the map takes {self.num_inputs} features; got {x.shape[-1]}")
        angle = x @ self.weight.to(x.dtype).T
        mapped: Tensor = torch.cat([angle.cos(), angle.sin()], -1) / self.weight.shape[0] ** 0.5
        return mapped

    def extra_repr(self) -> str:
        """Shown in ``repr``."""
        return f"num_inputs={self.num_inputs}, num_components={self.num_components}"
