"""Finding stimuli by their identity: which row of a published matrix or of a batch belongs to which image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


def row_identities(stimuli: Sequence[int] | Tensor | None, num_rows: int) -> Tensor:
    """The identity of each row, (row,) int64; 0, 1, 2, ... where none are given.

    Raises:
        ValueError: If the identities are not one for each row, all different.

    Example:
        >>> row_identities(None, 3)
        tensor([0, 1, 2])
    """
    identities = torch.arange(num_rows) if stimuli is None else torch.as_tensor(stimuli).long()
    if len(identities) != num_rows or len(identities.unique()) != num_rows:
        raise ValueError(f"stimuli must name each of the RDM's {num_rows} rows once; got {len(identities)}")
    return identities


def find_rows(wanted: Tensor, identities: Tensor) -> tuple[Tensor, Tensor]:
    """The row of each wanted identity, and whether there is one (where not, the row is some other).

    Args:
        wanted: Identities, any shape.
        identities: (row,), at least one.

    Returns:
        Two tensors of the shape of ``wanted``.

    Example:
        >>> find_rows(torch.tensor([7, 5, 6]), torch.tensor([5, 7]))
        (tensor([1, 0, 1]), tensor([ True,  True, False]))
    """
    order = identities.argsort()
    row = order[torch.searchsorted(identities[order], wanted).clamp_max(len(order) - 1)]
    return row, identities[row] == wanted
