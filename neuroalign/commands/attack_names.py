"""What the parts of an attack's name mean, for readers of tables and figures."""

from __future__ import annotations

import re
from collections.abc import Iterable

__all__: list[str] = []

_MEANINGS = (
    (r"fgsm", "one step along the gradient"),
    (r"pgd(\d+)", r"projected gradient descent, \1 steps"),
    (r"apgd", "the same with steps that halve by themselves"),
    (r"square", "random search, without gradients"),
    (r"autoattack", "AutoAttack, four attacks in turn"),
    (r"deepfool|cw|fmn|brendel-bethge", "the shortest perturbation that fools"),
    (r"linf", "eps is the largest change of a value"),
    (r"l2", "eps is the Euclidean length of the change"),
    (r"margin", "loss: largest other logit minus the true one"),
    (r"ce", "loss: cross-entropy"),
    (r"dlr", "loss: difference of logits ratio"),
    (r"dlr-targeted", "the same toward several classes in turn"),
    (r"margin\+ce", "two runs: loss margin of the logits, then cross-entropy"),
    (r"cosine", "steps shrink along a cosine"),
    (r"x(\d+)", r"\1 runs of each image"),
    (r"worst case, (?:linf|l2)", "an image counts as fooled if any of the attacks fools it"),
)


def explained(names: Iterable[str]) -> list[str]:
    """One line for each part of the attacks' names: attacks first, then norms, losses and steps; others are left out.

    Example:
        >>> explained(["pgd20-linf-margin+ce-cosine"])[0]
        'pgd20: projected gradient descent, 20 steps'
    """
    found: dict[str, tuple[int, str]] = {}
    for name in names:
        whole = [name] if name.startswith("worst case") else _parts(name)
        for part in whole:
            for place, (pattern, meaning) in enumerate(_MEANINGS):
                match = re.fullmatch(pattern, part)
                if match is not None:
                    found.setdefault(part, (place, match.expand(meaning)))
                    break
    return [f"{part}: {meaning}" for part, (_, meaning) in sorted(found.items(), key=lambda each: each[1][0])]


def _parts(name: str) -> list[str]:
    joined = name.replace("brendel-bethge", "brendel_bethge").replace("dlr-targeted", "dlr_targeted")
    return [part.replace("_", "-") for part in joined.split("-")]
