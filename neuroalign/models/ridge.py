"""A predictor in closed form: ridge regression on fixed features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from neuroalign.config import Described, build
from neuroalign.functional.cross_validation import ridge_loo
from neuroalign.models.card_rows import ridge_rows
from neuroalign.models.frozen import FITTED_ON_PIXELS
from neuroalign.models.network_files import PredictorFile
from neuroalign.moved import former_keywords
from neuroalign.sharing import HubMixin
from neuroalign.sharing.kinds import RIDGE_PREDICTOR
from neuroalign.types import check_images

__all__ = ["RidgePredictor"]


class RidgePredictor(HubMixin, PredictorFile, Described, nn.Module):
    """Ridge regression from fixed image features to voxels, as a module.

    With few recorded images it often beats a trained network. :meth:`fit` chooses one penalty per voxel by leaving out one
    image at a time, on standardised features.

    Args:
        features: Module from images to (stimulus, feature), with ``num_features``; it is not trained.
        num_voxels: Number of voxels.

    Attributes:
        alphas: (voxel,) penalties that :meth:`fit` chose.

    Shapes:
        images (stimulus, channel, height, width) in [0, 1] -> responses (stimulus, voxel).

    Example:
        >>> from neuroalign.models import VisualFeatures
        >>> images, responses = torch.rand(40, 3, 16, 16), torch.randn(40, 7)
        >>> features = VisualFeatures(16, wavelengths=(4,), grid=2)
        >>> predictor = RidgePredictor(features, num_voxels=7)
        >>> predictor.fit(images, responses)(images).shape
        torch.Size([40, 7])
    """

    _model_kind = RIDGE_PREDICTOR

    feature_mean: Tensor
    feature_std: Tensor
    alphas: Tensor

    def __init__(self, features: nn.Module | dict[str, Any], num_voxels: int) -> None:
        super().__init__()
        self.features: nn.Module = build(features, nn.Module)
        self.num_voxels = num_voxels
        num_features = self.features.num_features
        self.register_buffer("feature_mean", torch.zeros(num_features))
        self.register_buffer("feature_std", torch.ones(num_features))
        self.register_buffer("alphas", torch.zeros(num_voxels))
        self.linear = nn.Linear(num_features, num_voxels)

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {**arguments, "features": self.features}

    def _card_rows(self) -> dict[str, Any]:
        return ridge_rows(self)

    @former_keywords(alphas="penalties")
    @torch.no_grad()
    def fit(
        self,
        images: Tensor,
        responses: Tensor,
        *,
        penalties: Sequence[float] | None = None,
        batch_size: int = 256,
    ) -> RidgePredictor:
        """Fit the linear map.

        Args:
            images: (stimulus, channel, height, width) in [0, 1].
            responses: (stimulus, voxel), NaN where missing: a voxel is fitted to its valid stimuli.
            penalties: Penalties to choose from, for standardised features; None means 11 from 10 to 10^6.
            batch_size: Images per batch when features are computed.

        Raises:
            ValueError: If images are not in [0, 1] (normalised, perhaps), stimuli don't match, responses are infinite
                somewhere, or a voxel has fewer than two valid stimuli.
        """
        check_images(images, if_normalized=FITTED_ON_PIXELS)
        if len(images) != len(responses):
            raise ValueError(f"{len(images)} images but responses to {len(responses)} stimuli")
        if responses.shape[1] != self.num_voxels:
            raise ValueError(f"responses have {responses.shape[1]} voxels, this predictor {self.num_voxels}")
        device = self.linear.weight.device
        wide = torch.device("cpu") if device.type == "mps" else device  # which has no float64
        x = torch.cat([self.features(batch.to(device)).to(wide) for batch in images.split(batch_size)]).double()
        mean, std = x.mean(0), x.std(0, correction=0)
        # A constant feature carries no information, and neither does one whose spread is only rounding error: an infinite
        # standard deviation sets both to 0.
        std = torch.where(
            (std > 1e-6 * x.abs().amax(0)) & (std > torch.finfo(self.feature_std.dtype).tiny), std, torch.inf
        )
        grid = torch.logspace(1, 6, 11, dtype=torch.float64) if penalties is None else penalties
        fit = ridge_loo((x - mean) / std, responses.to(wide).double(), grid)
        self.feature_mean.copy_(mean)
        self.feature_std.copy_(std)
        self.alphas.copy_(fit.penalty)
        self.linear.weight.copy_(fit.coefficients.T)
        self.linear.bias.copy_(fit.intercept)
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Predicted responses (stimulus, voxel)."""
        return self.linear((self.features(images) - self.feature_mean) / self.feature_std)
