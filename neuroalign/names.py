"""Near matches for a name that is not known. Only the standard library: the command line answers a misspelling at once."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__: list[str] = []


def unknown(kind: str, name: object, known: Iterable[str]) -> str:
    """An error message for a name that is not known, with the nearest names that are.

    Example:
        >>> unknown("command", "fitt", ["fit", "study", "nsd"])
        "unknown command 'fitt'; did you mean 'fit'?"
        >>> unknown("network", "vit_tiny", ["davit_tiny", "vit_tiny_patch16_224"])
        "unknown network 'vit_tiny'; did you mean 'vit_tiny_patch16_224' or 'davit_tiny'?"
    """
    # The name may come from a file, and be long.
    known, name = sorted(map(str, known)), name[:100] if isinstance(name, str) else name
    lower = {k.lower(): k for k in known}
    asked = str(name).lower()
    longer = sorted(
        (k for k in lower if len(asked) > 3 and k.startswith(asked)), key=len
    )  # its start, as of "vit_tiny"
    close = difflib.get_close_matches(asked, lower, n=3, cutoff=0.4)
    near = [lower[k] for k in dict.fromkeys([*longer, *close])][:3]
    hint = f"did you mean {' or '.join(map(repr, near))}?" if near else f"known: {', '.join(known[:20])}"
    return f"unknown {kind} {name!r}; {hint}"
