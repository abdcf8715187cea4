"""The median of numbers some of which are missing."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor


def nanmedian(values: Float[Tensor, ...]) -> Float[Tensor, ""]:
    """Median of the numbers that are not NaN; of an even number the mean of the middle two, as numpy's and pandas'.

    torch's own takes the lower of the two, which reads low (a correlation of two voxels as the worse one), and
    ``torch.nanquantile`` takes no more than 16 million numbers.

    Args:
        values: Any shape; the median is over all entries.

    Returns:
        Scalar of the same dtype, NaN where there are no numbers.

    Example:
        >>> nanmedian(torch.tensor([1.0, 2.0, torch.nan, 4.0, 8.0]))
        tensor(3.)
    """
    ordered = values[~values.isnan()].sort().values
    size = len(ordered)
    if not size:
        return values.new_tensor(torch.nan)
    return (ordered[(size - 1) // 2] + ordered[size // 2]) / 2
