"""Regions of interest: every atlas of NSD by name and label, their unions and intersections, and masks of one's own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from neuroalign.data.nsd.layout import HEMISPHERES, NSDError, NSDPaths, readable
from neuroalign.data.nsd.tree import Tree
from neuroalign.types import unknown

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
    # TO2 before TO1, LO2 before LO1, V3B before V3A: as the files have it
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
"""Labels of NSD's atlases; a colour table in the tree comes before these."""

Roi = str | os.PathLike[str] | np.ndarray
"""A region: a name or expression, the path of a mask, or a mask."""


@dataclass(frozen=True)
class Voxels:
    """Which voxels are wanted, and where they lie.

    Attributes:
        index: (voxel, 3) places x, y, z in a volume, or (voxel, 2) hemisphere (0 left, 1 right) and vertex of a surface.
        roi: (voxel,) name of the region that each was chosen for.
        shape: The volume's (x, y, z), or the (left, right) numbers of vertices.
        affine: (4, 4) from places to millimetres, or None for a surface.
    """

    index: np.ndarray
    roi: np.ndarray
    shape: tuple[int, ...]
    affine: np.ndarray | None

    def of(self, values: np.ndarray) -> np.ndarray:
        """The wanted voxels of a map, a volume or both hemispheres' vertices one after the other."""
        if self.affine is None:
            return values[self.index[:, 1] + self.index[:, 0] * self.shape[0]]
        return values[tuple(self.index.T)]


class _Term(NamedTuple):
    atlas: str
    labels: tuple[str, ...]  # none: every label of the atlas


def parse(expression: str) -> list[list[_Term]]:
    """An expression as an intersection of unions: ``"streams:ventral & nsdgeneral"`` -> [[streams:ventral], [nsdgeneral]].

    Raises:
        ValueError: If it can't be read; the message lists near matches where a name is unknown.
    """
    result = []
    for factor in expression.split("&"):
        union: list[_Term] = []
        for item in (text.strip() for text in factor.split("|")):
            if not item:
                raise ValueError(
                    f"roi {expression!r} has an empty part; write regions as 'V1', 'atlas', 'atlas:label|label', and "
                    "intersections with '&'"
                )
            atlas, colon, label = (text.strip() for text in item.partition(":"))
            if colon and not (atlas and label):
                raise ValueError(f"roi {expression!r}: {item!r} must be atlas:label")
            if colon:
                union.append(_Term(atlas, (label,)))
            elif union and union[-1].labels and item not in REGIONS and item not in ATLASES:
                union[-1] = _Term(union[-1].atlas, (*union[-1].labels, item))  # one more label of the same atlas
            else:
                union.append(_bare(item))
        result.append(union)
    return result


def _bare(name: str) -> _Term:
    """A name without an atlas: a named region, an atlas, or a label that a single atlas has."""
    if name in REGIONS or name in ATLASES:
        return _Term(name, ())
    homes = [atlas for atlas, labels in ATLASES.items() if name in labels]
    if len(homes) == 1:
        return _Term(homes[0], (name,))
    if homes:
        raise ValueError(f"roi {name!r} stands in several atlases: say {' or '.join(f'{a}:{name}' for a in homes)}")
    labels = [label for labels in ATLASES.values() for label in labels]
    raise ValueError(unknown("roi", name, [*REGIONS, *ATLASES, *labels]))


def named(roi: Roi | Sequence[str] | Mapping[str, Roi]) -> dict[str, Roi]:
    """What was asked for, by name: an expression names itself, a mask's file its stem, an array "mask".

    Raises:
        ValueError: If an expression can't be read.
    """
    if isinstance(roi, Mapping):
        wanted = dict(roi)
    elif isinstance(roi, np.ndarray):
        wanted = {"mask": roi}
    elif isinstance(roi, (str, os.PathLike)):
        wanted = {_name(roi): roi}
    else:
        wanted = {_name(one): one for one in roi}
    if not wanted:
        raise ValueError("roi is empty: name at least one region")
    for value in wanted.values():
        if isinstance(value, str) and not _is_file(value):
            parse(value)
    return wanted


def atlases_of(wanted: Mapping[str, Roi]) -> list[str]:
    """The atlases whose files the regions need."""
    need: dict[str, None] = {}
    for value in wanted.values():
        if isinstance(value, str) and not _is_file(value):
            for term in (term for union in parse(value) for term in union):
                need.update(dict.fromkeys(("Kastner2015", "nsdgeneral") if term.atlas in REGIONS else (term.atlas,)))
    return list(need)


def find_voxels(tree: Tree, paths: NSDPaths, roi: Roi | Sequence[str] | Mapping[str, Roi]) -> Voxels:
    """The voxels of the regions, each region's in the order of the volume (x slowest), one region after the other.

    A voxel of two regions comes twice, once under each name.

    Raises:
        FileNotFoundError: If an atlas's file is missing; the message lists what is there.
        NSDError: If a region has no voxel in this subject, or files differ in shape.
        ValueError: If a region, atlas or label is unknown; the message lists near matches.
    """
    wanted = named(roi)
    atlases = {name: Atlas.load(tree, paths, name) for name in atlases_of(wanted)}
    shape, affine = _geometry(tree, paths, atlases)
    for name, atlas in atlases.items():
        if atlas.shape != shape:
            raise NSDError(f"{name} has shape {atlas.shape}, {next(iter(atlases))} {shape} in {paths.anatomy / 'roi'}")
    places, names = [], []
    for name, value in wanted.items():
        if isinstance(value, str) and not _is_file(value):
            inside = evaluate(parse(value), atlases)
            if not inside.any():
                raise NSDError(_empty(paths, value, atlases))
        else:
            inside = _own_mask(value, shape, affine, paths.is_surface)
        place = np.argwhere(inside)
        if paths.is_surface:
            right = place[:, 0] >= shape[0]
            place = np.column_stack([right.astype(np.int64), place[:, 0] - right * shape[0]])
        places.append(place)
        names += [name] * len(place)
    return Voxels(np.concatenate(places), np.array(names), shape, affine)


class Atlas(NamedTuple):
    """Labels of a volume, or of both hemispheres' vertices one after the other; its geometry; and the labels' names."""

    labels: np.ndarray
    shape: tuple[int, ...]
    affine: np.ndarray | None
    names: Mapping[str, int]

    @classmethod
    def load(cls, tree: Tree, paths: NSDPaths, name: str) -> Atlas:
        """Read an atlas of a tree."""
        files = paths.label_files(name)
        if any(not tree.exists(file) for file in files):
            have = sorted({_stem(n) for n in tree.names(files[0].parent)} - {""}) or "none"
            near = "" if name in ATLASES else " " + unknown("atlas", name, have if have != "none" else ATLASES)
            raise FileNotFoundError(f"no file {files[0]}; atlases there: {have}.{near}")
        tree.fetch(files)
        if paths.is_surface:
            parts = [load_map(file).ravel() for file in files]
            labels, shape, affine = np.concatenate(parts), tuple(len(p) for p in parts), None
        else:
            labels, affine = load_map(files[0]), affine_of(files[0])
            shape = labels.shape
        return cls(np.rint(labels).astype(np.int64), shape, affine, _names(tree, paths, name))

    def number(self, atlas: str, label: str) -> int:
        """The number of a label, given by name or number."""
        if label.lstrip("-").isdigit() and label not in self.names:
            if int(label) < 1:
                raise ValueError(
                    f"roi '{atlas}:{label}': labels count from 1; 0 is cortex without a label, -1 no cortex"
                )
            return int(label)
        if label in self.names:
            return self.names[label]
        if not self.names:
            raise ValueError(f"the names of {atlas}'s labels stand in {atlas}.mgz.ctab, which this tree lacks: fetch it, "
                             f"or give numbers, such as '{atlas}:1|2'")  # fmt: skip
        raise ValueError(unknown(f"label of {atlas}", label, list(self.names)))


def _names(tree: Tree, paths: NSDPaths, atlas: str) -> Mapping[str, int]:
    for path in paths.colour_tables(atlas):
        if tree.exists(path):
            tree.fetch([path])
            with readable(path):
                return read_colour_table(path.read_text())
    return ATLASES.get(atlas, {})


def read_colour_table(text: str) -> dict[str, int]:
    """Names and numbers of a colour table: lines of a number and a name; 0, "Unknown", is left out."""
    pairs = [line.split()[:2] for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    return {pair[1]: int(pair[0]) for pair in pairs if len(pair) == 2 and pair[0].isdigit() and int(pair[0]) > 0}


def evaluate(factors: Iterable[Iterable[_Term]], atlases: Mapping[str, Atlas]) -> np.ndarray:
    """Which voxels an expression takes in."""
    inside: Any = True
    for union in factors:
        either: Any = False
        for term in union:
            if term.atlas in REGIONS:
                kastner, general = atlases["Kastner2015"], atlases["nsdgeneral"]
                if kastner.shape != general.shape:
                    raise NSDError(f"Kastner2015 has shape {kastner.shape}, nsdgeneral {general.shape}")
                either = either | np.isin(kastner.labels, REGIONS[term.atlas]) & (general.labels > 0)
            else:
                atlas = atlases[term.atlas]
                numbers = [atlas.number(term.atlas, label) for label in term.labels]
                either = either | (np.isin(atlas.labels, numbers) if numbers else atlas.labels > 0)
        inside = inside & either
    return inside


def _empty(paths: NSDPaths, expression: str, atlases: Mapping[str, Atlas]) -> str:
    text = f"subject {paths.subject} has no voxel of {expression} in {paths.space}"
    if expression in REGIONS:
        found = set(atlases["Kastner2015"].labels[atlases["nsdgeneral"].labels > 0].tolist())
        have = [name for name, numbers in REGIONS.items() if found & set(numbers)]
        return f"{text}: no voxel of {expression} inside nsdgeneral; it has {', '.join(have)}"
    counts = {
        term.atlas: [n for n, i in atlases[term.atlas].names.items() if (atlases[term.atlas].labels == i).any()]
        for union in parse(expression)
        for term in union
        if term.atlas not in REGIONS
    }
    return text + "".join(f"; {atlas} has voxels of {', '.join(names) or 'nothing'}" for atlas, names in counts.items())


def _own_mask(mask: Roi, shape: tuple[int, ...] | None, affine: np.ndarray | None, is_surface: bool) -> np.ndarray:
    where = "the mask"
    if isinstance(mask, (str, os.PathLike)):
        path = Path(mask)
        where = str(path)
        values = np.load(path) if path.suffix == ".npy" else load_map(path)
        if path.suffix != ".npy" and affine is not None and not np.allclose(affine_of(path), affine, atol=1e-3):
            raise NSDError(f"{path} lies elsewhere than this subject's volume (another affine): resample it first")
    else:
        values = np.asarray(mask)
    expected: tuple[int, ...] | None = (sum(shape),) if is_surface and shape else shape
    if is_surface and values.ndim > 1:
        values = values.ravel()
    if expected and values.shape != expected:
        raise NSDError(f"{where} has shape {values.shape}; in this subject and space it must be {expected}")
    inside = np.nan_to_num(values.astype(np.float64)) > 0
    if not inside.any():
        raise NSDError(f"{where} has no voxel above 0")
    return inside


def _geometry(tree: Tree, paths: NSDPaths, atlases: Mapping[str, Atlas]) -> tuple[tuple[int, ...], np.ndarray | None]:
    """Shape and affine of the space: of the atlases in use, or of whichever other file of the space there is."""
    for atlas in atlases.values():
        return atlas.shape, atlas.affine
    others = [*(paths.label_files(a) for a in ("nsdgeneral", "Kastner2015", "streams")), paths.map_files("ncsnr")]
    others += [] if paths.is_surface else [paths.map_files("brainmask")]
    for files in others:
        if all(tree.exists(f) for f in files):
            tree.fetch(files)
            if paths.is_surface:
                return tuple(load_map(f).size for f in files), None
            return load_map(files[0]).shape, affine_of(files[0])
    raise FileNotFoundError(f"no region file, brainmask or ncsnr of {paths.space} under {paths.root}, so the shape that a "
                            "mask must have is unknown")  # fmt: skip


def load_map(path: str | os.PathLike[str]) -> np.ndarray:
    """A volume or surface map as it is stored."""
    import nibabel

    path = Path(path)
    with readable(path):
        return np.asanyarray(nibabel.load(path).dataobj)


def affine_of(path: str | os.PathLike[str]) -> np.ndarray:
    """(4, 4) from voxels to millimetres."""
    import nibabel

    with readable(Path(path)):
        return np.asarray(nibabel.load(path).affine)


def _name(roi: Roi) -> str:
    text = os.fspath(roi)  # type: ignore[arg-type]
    return _stem(Path(text).name) if _is_file(text) else text


def _is_file(text: str) -> bool:
    return text.endswith((".nii", ".nii.gz", ".mgz", ".mgh", ".npy"))


def _stem(name: str) -> str:
    """An atlas's name from its file's: V1 of lh.V1.mgz or V1.nii.gz; "" of other files."""
    for suffix in (".nii.gz", ".nii", ".mgz", ".mgh", ".npy"):
        if name.endswith(suffix):
            stem = name.removesuffix(suffix)
            for hemisphere in HEMISPHERES:
                stem = stem.removeprefix(f"{hemisphere}.")
            return stem
    return ""
