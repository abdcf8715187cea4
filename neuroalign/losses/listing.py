"""Which measures can be given by name."""

from __future__ import annotations

from fnmatch import fnmatchcase

from neuroalign.losses import set_measures as _set_measures  # noqa: F401 - registers its measures
from neuroalign.losses import voxel_measures as _voxel_measures  # noqa: F401 - the same
from neuroalign.losses.registry import MEASURES

__all__ = ["list_measures"]


def list_measures(filter: str = "*") -> list[str]:
    """Names that :class:`neuroalign.NeuralAlignmentLoss` takes, in alphabetical order; registered ones of your own included.

    Args:
        filter: Pattern that a name must match, with the wildcards of a shell, in upper or lower case: ``"*cka*"``.

    Example:
        >>> list_measures("*cka")
        ['cka', 'rbf_cka']
    """
    return sorted(name for name in MEASURES if fnmatchcase(name.lower(), filter.lower()))
