"""Which response heads can be given by name."""

from __future__ import annotations

from fnmatch import fnmatchcase

from neuroalign.models.heads import HEADS

__all__ = ["list_heads"]


def list_heads(pattern: str = "*") -> list[str]:
    """Names that ``ResponseHead(head=)`` takes, in alphabetical order.

    Args:
        pattern: What the names match, with the wildcards of a shell: ``"*linear"``.

    Example:
        >>> list_heads("*linear")
        ['linear', 'pooled_linear']
    """
    return sorted(name for name in HEADS if fnmatchcase(name, pattern))
