"""The names of the registered measures."""

from __future__ import annotations

from fnmatch import fnmatchcase

from neuroalign import plugins
from neuroalign.losses import set_measures as _set_measures  # noqa: F401 - registers its measures
from neuroalign.losses import voxel_measures as _voxel_measures  # noqa: F401 - the same
from neuroalign.losses.registry import MEASURES, is_ours

__all__ = ["list_measures"]


def list_measures(filter: str = "*") -> list[str]:
    """Names of measures that :class:`neuroalign.NeuralAlignmentLoss` takes, sorted.

    Those that you registered and those that other installed packages publish are among them; listing imports no package.

    Args:
        filter: Pattern that a name must match, with shell wildcards, in upper or lower case: ``"*cka*"``.

    Warns:
        UserWarning: If a package publishes the name of one of ours, which is used.

    Example:
        >>> list_measures("*cka")
        ['cka', 'rbf_cka']
    """
    plugins.warn_of_hidden("measures", [name for name in MEASURES if is_ours(name)])
    names = {*MEASURES, *plugins.installed("measures")}
    return sorted(name for name in names if fnmatchcase(name.lower(), filter.lower()))
