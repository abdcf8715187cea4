"""Training and validation rows, standardized by one computation of the training statistics."""

from __future__ import annotations

from dataclasses import replace

from neuroalign.data.responses import Responses
from neuroalign.data.responses_checks import check_same_voxels
from neuroalign.data.standardization import in_standard_deviations, moments, zscore

__all__: list[str] = []


def standardize_parts(*parts: Responses, reference: Responses) -> tuple[Responses, ...]:
    """Standardize several sets of rows with the mean and standard deviation (ddof 0) of one reference, computed once.

    Args:
        *parts: Responses of the same voxels, such as training and validation.
        reference: The training rows.

    Raises:
        ValueError: If the reference has other voxels than a part.
    """
    for part in parts:
        check_same_voxels(part.roi, reference.roi)
    mean, std = moments(reference.values)
    return tuple(
        replace(part, values=zscore(part.values, mean, std), info=in_standard_deviations(part.info)) for part in parts
    )
