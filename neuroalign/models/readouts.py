"""Response heads with assumptions on what a voxel reads, and where: factorised, Gaussian, low rank, attention."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from neuroalign.config import Described
from neuroalign.functional.checks import check_choice

__all__ = ["AttentionPool", "FactorizedReadout", "GaussianReadout", "LowRankLinear"]


def check_outputs(num_outputs: int | None) -> int:
    """Return ``num_outputs`` if it is a positive whole number.

    Raises:
        ValueError: If it is not.
    """
    if not isinstance(num_outputs, int) or isinstance(num_outputs, bool) or num_outputs < 1:
        raise ValueError(f"num_outputs must be a positive number of voxels; got {num_outputs!r}")
    return num_outputs


def _spatial(feature_shape: Sequence[int], head: str) -> tuple[int, int, int]:
    if len(feature_shape) != 3:
        raise ValueError(
            f"a {head} head reads positions and needs a layer (channel, height, width); this one is {tuple(feature_shape)}. "
            "Use 'linear', 'low_rank' or 'attention' for it"
        )
    channels, height, width = feature_shape
    return channels, height, width


class FactorizedReadout(Described, nn.Module):
    """A spatial mask and a vector of feature weights per voxel; the voxel's weights are the outer product of the two.

    Args:
        feature_shape: (channel, height, width) of the layer.
        num_outputs: Number of voxels.
        positive_mask: Whether the absolute values of the masks are used, so that they are not negative.

    Raises:
        ValueError: If the layer has no positions.

    Example:
        >>> FactorizedReadout((64, 8, 6), num_outputs=30)(torch.rand(5, 64, 8, 6)).shape
        torch.Size([5, 30])

    Source:
        Klindt et al. 2017, arXiv 1711.02653.
    """

    def __init__(self, feature_shape: Sequence[int], num_outputs: int | None, positive_mask: bool = False) -> None:
        super().__init__()
        channels, height, width = _spatial(feature_shape, "factorized")
        self.num_outputs = check_outputs(num_outputs)
        self.positive_mask = positive_mask
        self.mask = nn.Parameter(torch.empty(self.num_outputs, height * width))
        self.weight = nn.Parameter(torch.empty(self.num_outputs, channels))
        self.bias = nn.Parameter(torch.zeros(self.num_outputs))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw masks near an average over positions, and feature weights as in a linear layer."""
        places, channels = self.mask.shape[1], self.weight.shape[1]
        nn.init.normal_(self.mask, 1 / places, 0.1 / places)
        nn.init.normal_(self.weight, 0, channels**-0.5)
        nn.init.zeros_(self.bias)

    def forward(self, features: Tensor) -> Tensor:
        """Responses (stimulus, voxel) from a layer's output (stimulus, channel, height, width)."""
        mask = self.mask.abs() if self.positive_mask else self.mask
        x = features.flatten(2)
        channels, places = x.shape[1:]
        # Sum over channels or over positions first, whichever makes the smaller intermediate tensor.
        if channels <= places:
            return torch.einsum("bcv,vc->bv", x @ mask.T, self.weight) + self.bias
        return torch.einsum("bvp,vp->bv", self.weight @ x, mask) + self.bias


class GaussianReadout(Described, nn.Module):
    r"""Each voxel reads one position of the layer: in training a draw from the voxel's own Gaussian, in eval mode its mean.

    Positions are in [-1, 1] along width (x) and height (y), from the outer edge of the first pixel to that of the last.
    So a layer of any size, square or not, is read at the same place of the image, with bilinear interpolation. Mean and
    spread of each Gaussian are learned through the samples.

    Args:
        feature_shape: (channel, height, width) of the layer.
        num_outputs: Number of voxels.
        init_sigma: Standard deviation of the Gaussians at the start, in units of half the image.
        init_range: Means start uniformly between minus and plus this value.
        covariance: "isotropic", one spread per voxel; "diagonal", one per voxel and axis; or "full".

    Raises:
        ValueError: If the layer has no positions, or an option is unknown or not positive.

    Example:
        >>> GaussianReadout((64, 8, 6), num_outputs=30).eval()(torch.rand(5, 64, 8, 6)).shape
        torch.Size([5, 30])

    Source:
        Lurz et al. 2021, ICLR (Generalization in data-driven models of primary visual cortex).
    """

    def __init__(
        self,
        feature_shape: Sequence[int],
        num_outputs: int | None,
        init_sigma: float = 0.2,
        init_range: float = 0.3,
        covariance: Literal["isotropic", "diagonal", "full"] = "isotropic",
    ) -> None:
        super().__init__()
        channels, _, _ = _spatial(feature_shape, "gaussian")
        self.num_outputs = check_outputs(num_outputs)
        check_choice("covariance", covariance, ("isotropic", "diagonal", "full"))
        if init_sigma <= 0 or not 0 <= init_range <= 1:
            raise ValueError(f"init_sigma must be positive and init_range in [0, 1]; got {init_sigma} and {init_range}")
        self.init_sigma, self.init_range, self.covariance = init_sigma, init_range, covariance
        self.position = nn.Parameter(torch.empty(self.num_outputs, 2))
        sizes = {"isotropic": (1,), "diagonal": (2,), "full": (2, 2)}
        self.sigma = nn.Parameter(torch.empty(self.num_outputs, *sizes[covariance]))
        self.weight = nn.Parameter(torch.empty(self.num_outputs, channels))
        self.bias = nn.Parameter(torch.zeros(self.num_outputs))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw means near the centre, and feature weights as in a linear layer."""
        nn.init.uniform_(self.position, -self.init_range, self.init_range)
        if self.covariance == "full":
            with torch.no_grad():
                self.sigma.copy_(self.init_sigma * torch.eye(2).expand_as(self.sigma))
        else:
            nn.init.constant_(self.sigma, self.init_sigma)
        nn.init.normal_(self.weight, 0, self.weight.shape[1] ** -0.5)
        nn.init.zeros_(self.bias)

    def sample_positions(self, num_stimuli: int) -> Tensor:
        """Positions (x, y) that the voxels read, (stimulus, voxel, 2): drawn in training, the means in evaluation."""
        mean = self.position.clamp(-1, 1)
        if not self.training:
            return mean.expand(num_stimuli, -1, -1)
        noise = torch.randn(num_stimuli, self.num_outputs, 2, device=mean.device, dtype=mean.dtype)
        if self.covariance == "full":
            return mean + torch.einsum("vij,bvj->bvi", self.sigma, noise)
        return mean + self.sigma * noise

    def forward(self, features: Tensor) -> Tensor:
        """Responses (stimulus, voxel) from a layer's output (stimulus, channel, height, width)."""
        grid = self.sample_positions(len(features)).to(features.dtype)
        # grid_sample's last axis is (x, y): along width, then along height.
        read = F.grid_sample(features, grid[:, :, None], padding_mode="border", align_corners=False)[..., 0]
        return torch.einsum("bcv,vc->bv", read, self.weight.to(read.dtype)) + self.bias


class LowRankLinear(Described, nn.Module):
    """A linear map of all of a layer's features through a few dimensions that the voxels share.

    Args:
        feature_shape: Shape of the layer's output, without the stimulus axis; it is flattened.
        num_outputs: Number of voxels.
        rank: Number of shared dimensions.

    Raises:
        ValueError: If the rank is below 1, or above the number of voxels or features.

    Example:
        >>> LowRankLinear((64, 8, 6), num_outputs=30, rank=4)(torch.rand(5, 64, 8, 6)).shape
        torch.Size([5, 30])
    """

    def __init__(self, feature_shape: Sequence[int], num_outputs: int | None, rank: int = 16) -> None:
        super().__init__()
        self.num_outputs = check_outputs(num_outputs)
        width = math.prod(feature_shape)
        if not 1 <= rank <= min(width, self.num_outputs):
            raise ValueError(f"rank must be from 1 to {min(width, self.num_outputs)} here; got {rank}")
        self.reduce = nn.Linear(width, rank, bias=False)
        self.linear = nn.Linear(rank, self.num_outputs)

    def forward(self, features: Tensor) -> Tensor:
        """Responses (stimulus, voxel) from a layer's output (stimulus, ...)."""
        return self.linear(self.reduce(features.flatten(1)))


class AttentionPool(Described, nn.Module):
    """Attention of learned queries over the positions (or tokens) of a layer, then a linear map.

    Args:
        feature_shape: (channel, height, width), (token, feature), or (feature,) of the layer.
        num_outputs: Number of voxels.
        num_queries: Number of queries, which all voxels share.
        num_heads: Number of attention heads; must divide the number of channels.

    Raises:
        ValueError: If the heads don't divide the channels.

    Example:
        >>> AttentionPool((64, 8, 6), num_outputs=30)(torch.rand(5, 64, 8, 6)).shape
        torch.Size([5, 30])

    Source:
        Pierzchlewicz et al. 2023, NeurIPS (Energy Guided Diffusion; attention readout); Lee et al. 2019, arXiv 1810.00825.
    """

    def __init__(
        self, feature_shape: Sequence[int], num_outputs: int | None, num_queries: int = 1, num_heads: int = 1
    ) -> None:
        super().__init__()
        self.num_outputs = check_outputs(num_outputs)
        if len(feature_shape) not in (1, 2, 3):
            raise ValueError(f"can't read a layer of shape {tuple(feature_shape)}")
        channels = feature_shape[0] if len(feature_shape) == 3 else feature_shape[-1]
        places = math.prod(feature_shape) // channels
        if num_queries < 1 or num_heads < 1 or channels % num_heads:
            raise ValueError(f"num_queries must be positive and num_heads divide {channels} channels; got {num_queries} and "
                             f"{num_heads}")  # fmt: skip
        self.spatial = len(feature_shape) == 3
        self.place = nn.Parameter(torch.zeros(places, channels))
        self.query = nn.Parameter(torch.randn(num_queries, channels) * channels**-0.5)
        self.key = nn.Linear(channels, channels)
        self.value = nn.Linear(channels, channels)
        self.linear = nn.Linear(num_queries * channels, self.num_outputs)
        self.num_heads = num_heads

    def reset_parameters(self) -> None:
        """Draw new queries and set the position weights to 0; the linear maps reset themselves."""
        nn.init.zeros_(self.place)
        nn.init.normal_(self.query, 0, self.query.shape[1] ** -0.5)

    def forward(self, features: Tensor) -> Tensor:
        """Responses (stimulus, voxel) from a layer's output (stimulus, ...)."""
        x = features.flatten(2).mT if self.spatial else features.reshape(len(features), -1, features.shape[-1])
        batch, heads = len(x), self.num_heads

        def split(z: Tensor) -> Tensor:  # (stimulus, head, position, channel of the head)
            return z.unflatten(-1, (heads, -1)).transpose(1, 2)

        query = split(self.query.to(x.dtype).expand(batch, -1, -1))
        seen = F.scaled_dot_product_attention(query, split(self.key(x + self.place.to(x.dtype))), split(self.value(x)))
        return self.linear(seen.transpose(1, 2).reshape(batch, -1))
