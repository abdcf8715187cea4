"""Finding stimuli by identity: the row of a published matrix, or of a batch, that belongs to an image."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Int
from torch import Tensor

__all__: list[str] = []

NAMES_REMEDY = "number them first: names, numbers = numpy.unique(names, return_inverse=True)"


def as_identities(values: Sequence[int] | Tensor, what: str) -> Tensor:
    """Identities of stimuli as int64, from a tensor, an array or a sequence; floats are allowed if they are whole numbers.

    Args:
        values: Integers, of any shape.
        what: Name of the values, for the error.

    Raises:
        TypeError: If the values are names, booleans, or anything else but numbers.
        ValueError: If a value is a fraction, missing, or too large.

    Example:
        >>> as_identities([3.0, 7.0], "stimuli")
        tensor([3, 7])
    """
    try:
        identities = torch.as_tensor(values)
    except (TypeError, ValueError, RuntimeError) as error:
        named = "names" if any(isinstance(v, str) for v in values) else f"{type(values).__name__}, {error}"
        raise TypeError(f"{what} must be integer identities; got {named} ({NAMES_REMEDY})") from None
    if identities.dtype == torch.bool or identities.is_complex():
        raise TypeError(f"{what} must be integer identities; got {identities.dtype}")
    if not identities.is_floating_point():
        return identities.long()
    wrong = (identities != identities.round()) | ~(identities.abs() < 2**53)
    if bool(wrong.any()):
        first = float(identities[wrong][0])
        raise ValueError(f"{what} must be integer identities; {first:.10g} is none, at {wrong.nonzero()[0].tolist()}")
    return identities.long()


def row_identities(stimuli: Sequence[int] | Tensor | None, num_rows: int) -> Int[Tensor, " {num_rows}"]:
    """The identity of each row, (row,) int64; without ``stimuli`` 0, 1, 2, ...

    Raises:
        TypeError: If the identities are no numbers.
        ValueError: If the identities are not one for each row, all different.

    Example:
        >>> row_identities(None, 3)
        tensor([0, 1, 2])
    """
    identities = torch.arange(num_rows) if stimuli is None else as_identities(stimuli, "stimuli")
    if identities.ndim != 1:
        raise ValueError(f"stimuli must be (stimulus,); got shape {tuple(identities.shape)}")
    if len(identities) != num_rows or len(identities.unique()) != num_rows:
        raise ValueError(f"stimuli must name each of the RDM's {num_rows} rows once; got {len(identities)}")
    return identities


def refuse_unnamed(stimulus: Tensor, num_rows: int) -> None:
    """Refuse stimuli that are not among the rows of an RDM without named rows, which are 0, 1, 2, ...

    Raises:
        ValueError: Naming the first such stimulus, and how to name the rows.

    Example:
        >>> refuse_unnamed(torch.tensor([0, 2]), 3)
    """
    outside = (stimulus < 0) | (stimulus >= num_rows)
    if bool(outside.any()):
        raise ValueError(
            f"stimulus {int(stimulus[outside][0])} is no row of the RDM: without stimuli its rows are 0 to {num_rows - 1} "
            "(published lists often count from 1). Name the rows by stimuli, such as stimuli=range(1, "
            f"{num_rows + 1}); others have no target then"
        )


def first_of_each(identities: Int[Tensor, " row"]) -> Int[Tensor, " stimulus"]:
    """Position of the first occurrence of each identity, in rising order of identity (distributed samplers repeat images).

    Args:
        identities: (row,) int64.

    Returns:
        (distinct identity,) int64.

    Example:
        >>> first_of_each(torch.tensor([7, 5, 7, 6]))
        tensor([1, 3, 0])
    """
    distinct, inverse = identities.unique(return_inverse=True)
    first = torch.full((len(distinct),), len(identities), dtype=torch.long, device=identities.device)
    positions = torch.arange(len(identities), device=identities.device)
    return first.scatter_reduce(0, inverse, positions, "amin")


def find_rows(
    wanted: Int[Tensor, " wanted"], identities: Int[Tensor, " row"]
) -> tuple[Int[Tensor, " wanted"], Bool[Tensor, " wanted"]]:
    """The row of each wanted identity, and whether there is one (if not, the row has no meaning).

    Args:
        wanted: Wanted identities, any shape.
        identities: (row,), identities of the rows, at least one.

    Returns:
        Rows, int64, and whether each was found, bool; both of the shape of ``wanted``.

    Example:
        >>> find_rows(torch.tensor([7, 5, 6]), torch.tensor([5, 7]))
        (tensor([1, 0, 1]), tensor([ True,  True, False]))
    """
    wanted = wanted.long()  # which may be int32, and searchsorted takes one type
    order = identities.argsort()
    row = order[torch.searchsorted(identities[order], wanted).clamp_max(len(order) - 1)]
    return row, identities[row] == wanted
