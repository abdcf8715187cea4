"""Random projection to fewer features that nearly keeps inner products."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__ = ["random_projection"]


def random_projection(
    features: Float[Tensor, "stimulus feature"], num_components: int, *, seed: int = 0
) -> Float[Tensor, "stimulus {num_components}"]:
    r"""Project features at random so that inner products are kept on average.

    Every feature is added, with a random sign, to one random component (a count sketch): one pass over the features and no
    matrix. The inner product of two projected vectors has the right mean and a standard deviation of at most
    :math:`\sqrt{2/k}\,|x||y|` with k components: 2 % of the lengths for k = 5,000. Center the features first where their
    mean is large.

    Args:
        features: (stimulus, feature).
        num_components: Number of components, k; at most k features are returned unchanged.
        seed: Seed of the projection, which otherwise depends on the number of features alone.

    Returns:
        (stimulus, component).

    Raises:
        ValueError: If the shape is wrong or ``num_components`` is below 1.

    Example:
        >>> x = torch.randn(2, 100_000, generator=torch.Generator().manual_seed(0))
        >>> y = random_projection(x, 5000)
        >>> bool(((y @ y.T - x @ x.T).abs() < 5 * (2 / 5000) ** 0.5 * 100_000).all()), y.shape
        (True, torch.Size([2, 5000]))

    Source:
        Charikar, Chen and Farach-Colton 2004, *Theoretical Computer Science* 312:3 (count sketch); Weinberger et al. 2009,
        *ICML*, for the variance.
    """
    if features.ndim != 2:
        raise ValueError(f"features must be (stimulus, feature); got shape {tuple(features.shape)}")
    if num_components < 1:
        raise ValueError(f"num_components must be at least 1; got {num_components}")
    width = features.shape[1]
    if width <= num_components:
        return features
    generator = torch.Generator().manual_seed(seed)
    component = torch.randint(num_components, (width,), generator=generator).to(features.device)
    sign = (torch.randint(2, (width,), generator=generator) * 2 - 1).to(features)
    return features.new_zeros(len(features), num_components).index_add(1, component, features * sign)
