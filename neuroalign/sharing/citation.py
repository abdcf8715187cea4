"""BibTeX of what a model card cites."""

from __future__ import annotations

from contextlib import suppress

from neuroalign.citations import bibtex
from neuroalign.sharing.card_facts import NSD, CardFacts

__all__: list[str] = []

_DATA_SETS = {NSD: "nsd", "Algonauts 2023": "algonauts"}


def cited(facts: CardFacts) -> str:
    """BibTeX of the software, the method, the data set and the attacks that a card names, as far as they are known.

    Args:
        facts: What the card says.

    Example:
        >>> cited(CardFacts()) == bibtex().rstrip()
        True
        >>> "allen2022" in cited(CardFacts(dataset="Natural Scenes Dataset"))
        True
    """
    known = [_DATA_SETS[facts.dataset]] if facts.dataset in _DATA_SETS and not facts.simulated else []
    # A perturbation may be the user's own, or have the user's name: its settings begin with its class.
    classes = [(row["settings"] or "").partition("(")[0] for row in facts.robustness or ()]
    for name in dict.fromkeys(classes):
        with suppress(ValueError):
            bibtex(name)
            known.append(name)
    return bibtex("neuroalign", "shao2024", *known).rstrip()
