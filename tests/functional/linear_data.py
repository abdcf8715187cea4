"""Responses that follow linearly from features, with noise and missing values."""

import torch


def linear_data(n=14, p=5, v=6, missing=0.0, seed=0):
    """Features (n, p), responses (n, v) and other features (4, p), in float64."""
    g = torch.Generator().manual_seed(seed)
    x = torch.randn(n, p, generator=g, dtype=torch.float64) + 2
    y = x @ torch.randn(p, v, generator=g, dtype=torch.float64) + 2 * torch.randn(
        n, v, generator=g, dtype=torch.float64
    )
    query = torch.randn(4, p, generator=g, dtype=torch.float64) + 2
    y[torch.rand(n, v, generator=g) < missing] = torch.nan
    return x, y, query
