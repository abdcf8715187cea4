"""What other installed packages publish for neuroalign, and which of it can't be used."""

from __future__ import annotations

import warnings
from dataclasses import dataclass, field

from neuroalign import plugins

__all__: list[str] = []

_KINDS: tuple[plugins.Kind, ...] = ("measures", "perturbations", "readers")


@dataclass
class Published:
    """What was found.

    Args:
        packages: By kind and name, the packages that publish it.
        broken: A sentence for each name that can't be used: its package can't be imported, or two packages publish it.
        hidden: A sentence for each name that is neuroalign's own, which is used.
    """

    packages: dict[str, dict[str, list[str]]] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    hidden: list[str] = field(default_factory=list)


def published() -> Published:
    """Look at every published name; the packages that publish them are imported."""
    found = Published()
    for kind in _KINDS:
        names = plugins.installed(kind)
        found.packages[kind] = {name: plugins.packages_of(kind, name) for name in names}
        ours = _ours(kind) if names else set()
        for name in names:
            if name.lower() in ours:
                found.hidden.append(plugins.hidden(kind, name))
            elif (why := _why_broken(kind, name)) is not None:
                found.broken.append(why)
    return found


def _ours(kind: plugins.Kind) -> set[str]:
    """Names of neuroalign's own, in lower case; none where torch can't be imported, which is told elsewhere."""
    try:
        if kind == "measures":
            from neuroalign.losses.registry import MEASURES, is_ours

            return {name for name in MEASURES if is_ours(name)}
        if kind == "perturbations":
            from neuroalign.perturbations.listing import ATTACKS

            return {attack.__name__.lower() for attack in ATTACKS}
        from neuroalign.data.readers import EXTENSIONS

        return {extension[1:] for extension in EXTENSIONS}
    except Exception:
        return set()


def _why_broken(kind: plugins.Kind, name: str) -> str | None:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if kind == "measures":
                from neuroalign.losses.registry import known_measure

                known_measure(name)
            else:
                plugins.load(kind, name)
    except SystemExit:  # a module that ends Python when it is imported must not end this command
        return str(plugins.broken(kind, name, RuntimeError("its module calls sys.exit")))
    except Exception as error:
        return str(error if isinstance(error, plugins.PluginError) else plugins.broken(kind, name, error))
    return None
