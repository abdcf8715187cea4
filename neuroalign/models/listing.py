"""Which response heads can be given by name."""

from __future__ import annotations

from fnmatch import fnmatchcase

from neuroalign.models.heads import HEADS

__all__ = ["list_heads"]


def list_heads(filter: str = "*") -> list[str]:
    """Names that ``ResponseHead(head=)`` takes, in alphabetical order.

    Args:
        filter: Pattern that a name must match, with the wildcards of a shell, in upper or lower case: ``"*linear"``.

    Example:
        >>> list_heads("*linear")
        ['linear', 'pooled_linear']
    """
    return sorted(name for name in HEADS if fnmatchcase(name.lower(), filter.lower()))
