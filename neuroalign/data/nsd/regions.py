"""Regions of interest in words: NSD's atlases and labels by name, their unions and intersections."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np

from neuroalign.data.nsd.layout import HEMISPHERES, NSDError
from neuroalign.types import unknown

__all__ = ["ATLASES", "REGIONS"]

REGIONS: dict[str, tuple[int, ...]] = {
    "V1": (1, 2),
    "V2": (3, 4),
    "V3": (5, 6),
    "V4": (7,),
    "VO": (8, 9),
    "PHC": (10, 11),
    "TO": (12, 13),
    "LO": (14, 15),
}
"""Labels of each named region in Kastner2015 (Wang et al. 2015), taken within nsdgeneral. The paper uses all but V3."""


def _numbered(names: str) -> dict[str, int]:
    return {name: number for number, name in enumerate(names.split(), 1)}


ATLASES: dict[str, dict[str, int]] = {
    # the files have TO2 before TO1, LO2 before LO1, V3B before V3A
    "Kastner2015": _numbered(
        "V1v V1d V2v V2d V3v V3d hV4 VO1 VO2 PHC1 PHC2 TO2 TO1 LO2 LO1 V3B V3A IPS0 IPS1 IPS2 IPS3 IPS4 IPS5 SPL1 FEF"
    ),
    "prf-visualrois": _numbered("V1v V1d V2v V2d V3v V3d hV4"),
    "prf-eccrois": _numbered("ecc0pt5 ecc1 ecc2 ecc4 ecc4+"),
    "streams": _numbered("early midventral midlateral midparietal ventral lateral parietal"),
    "floc-faces": _numbered("OFA FFA-1 FFA-2 mTL-faces aTL-faces"),
    "floc-words": _numbered("OWFA VWFA-1 VWFA-2 mfs-words mTL-words"),
    "floc-places": _numbered("OPA PPA RSC"),
    "floc-bodies": _numbered("EBA FBA-1 FBA-2 mTL-bodies"),
    "nsdgeneral": {"nsdgeneral": 1},
    "HCP_MMP1": {},  # 180 names, read from its colour table
}
"""Labels of NSD's atlases; a colour table among NSD's files takes precedence."""

Roi = str | os.PathLike[str] | np.ndarray
"""A region: a name or expression, the path of a mask, or a mask."""


class Term(NamedTuple):
    """Labels of an atlas, or a named region; no labels mean the whole atlas."""

    atlas: str
    labels: tuple[str, ...]


class Combination(NamedTuple):
    """Regions that are united ("|") or intersected ("&")."""

    operator: str
    parts: tuple[Expression, ...]


Expression = Term | Combination
"""A region in words."""


class RegionText(NamedTuple):
    """A region in words: the text, and the expression that was read from it."""

    text: str
    expression: Expression


Region = RegionText | str | os.PathLike[str] | np.ndarray
"""A region after reading: its text and expression, the path of a mask, or a mask."""


def parse(expression: str) -> Expression:
    """Read an expression: ``"streams:ventral & nsdgeneral"``, ``"(V1 | V2) & streams:early"``.

    ``atlas:label|label`` is one region. If "|" and "&" are mixed otherwise, brackets must say which comes first.

    Raises:
        ValueError: If the expression can't be read; the message lists near matches of an unknown name.
    """
    tokens = [token.strip() for token in re.split(r"([()&|])", expression)]
    tokens = [token for token in tokens if token]
    result, rest = _union(tokens, expression)
    if rest:
        raise ValueError(f"roi {expression!r}: {rest[0]!r} is one bracket too many, or in the wrong place")
    return result


def _union(tokens: list[str], whole: str) -> tuple[Expression, list[str]]:
    parts, operators = [], set()
    part, tokens = _operand(tokens, whole)
    parts.append(part)
    while tokens and tokens[0] in "&|":
        operators.add(tokens[0])
        if len(operators) > 1:
            raise ValueError(f"roi {whole!r} mixes '|' and '&': say which comes first with brackets, as in "
                             "'(V1 | V2) & streams:early'")  # fmt: skip
        part, tokens = _operand(tokens[1:], whole)
        parts.append(part)
    return (Combination(operators.pop(), tuple(parts)) if operators else parts[0]), tokens


def _operand(tokens: list[str], whole: str) -> tuple[Expression, list[str]]:
    if not tokens or tokens[0] in ")&|":
        raise ValueError(f"roi {whole!r} has an empty part; write regions as 'V1', 'atlas', 'atlas:label|label', unions with "
                         "'|' and intersections with '&'")  # fmt: skip
    if tokens[0] == "(":
        inner, tokens = _union(tokens[1:], whole)
        if not tokens or tokens[0] != ")":
            raise ValueError(f"roi {whole!r}: a bracket is not closed")
        return inner, tokens[1:]
    item, tokens = tokens[0], tokens[1:]
    if is_file(item):
        raise ValueError(
            f"roi {whole!r}: a mask's file stands alone; to combine it with regions, load it and combine arrays"
        )
    atlas, colon, label = (text.strip() for text in item.partition(":"))
    if not colon:
        return _bare(item), tokens
    if not (atlas and label):
        raise ValueError(f"roi {whole!r}: {item!r} must be atlas:label")
    labels = [label]
    while len(tokens) > 1 and tokens[0] == "|" and _continues(atlas, tokens[1]):
        labels.append(tokens[1])
        tokens = tokens[2:]
    return Term(atlas, tuple(labels)), tokens


def _continues(atlas: str, name: str) -> bool:
    """Whether a name after "|" is one more label of the atlas before it."""
    if name in ("(", ")", "&", "|", *REGIONS, *ATLASES) or ":" in name:
        return False
    elsewhere = any(name in labels for other, labels in ATLASES.items() if other != atlas)
    return not elsewhere or name in ATLASES.get(atlas, {name: 0}) or not ATLASES.get(atlas)


def terms_of(expression: Expression) -> list[Term]:
    """The terms of an expression, in order."""
    if isinstance(expression, Term):
        return [expression]
    return [term for part in expression.parts for term in terms_of(part)]


def _bare(name: str) -> Term:
    """A name without an atlas: a named region, an atlas, or a label that a single atlas has."""
    if name in REGIONS or name in ATLASES:
        return Term(name, ())
    homes = [atlas for atlas, labels in ATLASES.items() if name in labels]
    if len(homes) == 1:
        return Term(homes[0], (name,))
    if homes:
        raise ValueError(f"roi {name!r} stands in several atlases: say {' or '.join(f'{a}:{name}' for a in homes)}")
    labels = [label for labels in ATLASES.values() for label in labels]
    raise ValueError(unknown("roi", name, [*REGIONS, *ATLASES, *labels]))


def named(roi: Roi | Sequence[str] | Mapping[str, Roi]) -> dict[str, Region]:
    """The wanted regions by name, with their expressions read.

    An expression is its own name, the file of a mask has its stem as a name, and an array is called "mask".

    Raises:
        ValueError: If an expression can't be read.
    """
    if isinstance(roi, Mapping):
        wanted: dict[str, Roi] = {str(k): "|".join(v) if isinstance(v, (list, tuple)) else v for k, v in roi.items()}
    elif isinstance(roi, np.ndarray):
        wanted = {"mask": roi}
    elif isinstance(roi, (str, os.PathLike)):
        wanted = {_name(roi): roi}
    elif isinstance(roi, Sequence) and all(isinstance(one, (str, os.PathLike)) for one in roi):
        wanted = {_name(one): one for one in roi}
    else:
        raise TypeError(
            f"roi is a name or expression, the path of a mask, several of these, a mask, or a mapping of names to them "
            f"({{'mine': array}}); got {type(roi).__name__}"
        )
    if not wanted:
        raise ValueError("roi is empty: name at least one region")
    return {name: _read(value) for name, value in wanted.items()}


def _read(roi: Roi) -> Region:
    return RegionText(roi, parse(roi)) if isinstance(roi, str) and not is_file(roi) else roi


def atlases_of(wanted: Mapping[str, Region]) -> list[str]:
    """Names of the atlases that the regions need."""
    need: dict[str, None] = {}
    for value in wanted.values():
        if isinstance(value, RegionText):
            for term in terms_of(value.expression):
                need.update(dict.fromkeys(("Kastner2015", "nsdgeneral") if term.atlas in REGIONS else (term.atlas,)))
    return list(need)


class Atlas(NamedTuple):
    """Labels of a volume, or of the left and then the right vertices, with its geometry and the names of the labels."""

    labels: np.ndarray
    shape: tuple[int, ...]
    affine: np.ndarray | None
    names: Mapping[str, int]

    def number(self, atlas: str, label: str) -> int:
        """The number of a label that is given by name or number."""
        if label.lstrip("-").isdigit() and label not in self.names:
            if int(label) < 1:
                raise ValueError(
                    f"roi '{atlas}:{label}': labels count from 1; 0 is cortex without a label, -1 no cortex"
                )
            return int(label)
        if label in self.names:
            return self.names[label]
        if not self.names:
            raise ValueError(f"the names of {atlas}'s labels are in {atlas}.mgz.ctab, which is missing here: fetch it, "
                             f"or give numbers, such as '{atlas}:1|2'")  # fmt: skip
        raise ValueError(unknown(f"label of {atlas}", label, list(self.names)))


def read_colour_table(text: str) -> dict[str, int]:
    """Numbers by name of a colour table, whose lines hold a number and a name; 0, "Unknown", is left out."""
    pairs = [line.split()[:2] for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return {pair[1]: int(pair[0]) for pair in pairs if len(pair) == 2 and pair[0].isdigit() and int(pair[0]) > 0}


def evaluate(expression: Expression, atlases: Mapping[str, Atlas]) -> np.ndarray:
    """A mask of the voxels of an expression."""
    if isinstance(expression, Combination):
        combine = np.logical_or if expression.operator == "|" else np.logical_and
        return combine.reduce([evaluate(part, atlases) for part in expression.parts])
    if expression.atlas in REGIONS:
        kastner, general = atlases["Kastner2015"], atlases["nsdgeneral"]
        if kastner.shape != general.shape:
            raise NSDError(f"Kastner2015 has shape {kastner.shape}, nsdgeneral {general.shape}")
        return np.isin(kastner.labels, REGIONS[expression.atlas]) & (general.labels > 0)
    atlas = atlases[expression.atlas]
    numbers = [atlas.number(expression.atlas, label) for label in expression.labels]
    return np.isin(atlas.labels, numbers) if numbers else atlas.labels > 0


def _name(roi: Roi) -> str:
    text = os.fspath(cast("str | os.PathLike[str]", roi))
    return stem_of(Path(text).name) if is_file(text) else text


def is_file(text: str) -> bool:
    """Whether the text of a region is the path of a mask."""
    return text.endswith((".nii", ".nii.gz", ".mgz", ".mgh", ".npy"))


def stem_of(name: str) -> str:
    """The atlas's name from a file's name: V1 from lh.V1.mgz or V1.nii.gz, and "" from other files."""
    for suffix in (".nii.gz", ".nii", ".mgz", ".mgh", ".npy"):
        if name.endswith(suffix):
            stem = name.removesuffix(suffix)
            for hemisphere in HEMISPHERES:
                stem = stem.removeprefix(f"{hemisphere}.")
            return stem
    return ""
