"""The median of numbers that may be NaN."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

__all__: list[str] = []


def nanmedian(values: Float[Tensor, ...]) -> Float[Tensor, ""]:
    """Median of the numbers that are not NaN; of an even number of them the mean of the middle two, as in numpy and pandas.

    ``torch.nanmedian`` takes the lower of the two, which is too low (for two voxels, the worse correlation), and
    ``torch.nanquantile`` takes at most 16 million numbers.

    Args:
        values: Any shape; the median is over all entries.

    Returns:
        Scalar of the same dtype, NaN if all entries are NaN, or there are none.

    Example:
        >>> nanmedian(torch.tensor([1.0, 2.0, torch.nan, 4.0, 8.0]))
        tensor(3.)
    """
    ordered = values[~values.isnan()].sort().values
    size = len(ordered)
    if not size:
        return values.new_tensor(torch.nan)
    return (ordered[(size - 1) // 2] + ordered[size // 2]) / 2
