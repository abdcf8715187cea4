"""The places of the voxels of regions, from NSD's atlases and the user's own masks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuroalign.data.gzip_files import opened_image
from neuroalign.data.nsd.layout import NSDError, NSDPaths, readable
from neuroalign.data.nsd.plausible import check_distinct, check_labels
from neuroalign.data.nsd.regions import (
    ATLASES,
    REGIONS,
    Atlas,
    Region,
    RegionText,
    atlases_of,
    evaluate,
    read_colour_table,
    stem_of,
    terms_of,
)
from neuroalign.data.nsd.tree import Tree
from neuroalign.data.standardization import refuse_infinite
from neuroalign.types import unknown

__all__: list[str] = []


@dataclass(frozen=True)
class Voxels:
    """The wanted voxels and their places.

    Attributes:
        index: (voxel, 3) places x, y, z in a volume, or (voxel, 2) hemisphere (0 left, 1 right) and vertex of a surface.
        roi: (voxel,) the region of each voxel.
        shape: The volume's (x, y, z), or the (left, right) numbers of vertices.
        affine: (4, 4) from places to millimetres, or None on a surface.
    """

    index: np.ndarray
    roi: np.ndarray
    shape: tuple[int, ...]
    affine: np.ndarray | None

    def of(self, values: np.ndarray) -> np.ndarray:
        """Values of the wanted voxels from a map: a volume, or the left and then the right vertices."""
        if self.affine is None:
            return values[self.index[:, 1] + self.index[:, 0] * self.shape[0]]
        return values[tuple(self.index.T)]


def find_voxels(tree: Tree, paths: NSDPaths, wanted: Mapping[str, Region]) -> Voxels:
    """The voxels of the regions, one region after the other, each in the order of the volume (x slowest).

    ``wanted`` holds the regions by name, as :func:`neuroalign.data.nsd.regions.named` returns them. A voxel of two regions
    comes twice, once under each name.

    Raises:
        FileNotFoundError: If an atlas's file is missing; the message lists the atlases that exist.
        NSDError: If a region has no voxel in this subject, or files differ in shape.
        ValueError: If a region, atlas or label is unknown; the message lists near matches.
    """
    atlases = {name: load_atlas(tree, paths, name) for name in atlases_of(wanted)}
    check_distinct({n: a.labels for n, a in atlases.items()}, {n: paths.label_files(n)[0] for n in atlases})
    shape, affine = _geometry(tree, paths, atlases)
    for name, atlas in atlases.items():
        if atlas.shape != shape:
            raise NSDError(f"{name} has shape {atlas.shape}, {next(iter(atlases))} {shape} in {paths.anatomy / 'roi'}")
    places, names = [], []
    for name, value in wanted.items():
        if isinstance(value, RegionText):
            inside = evaluate(value.expression, atlases)
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


def load_atlas(tree: Tree, paths: NSDPaths, name: str) -> Atlas:
    """Read an atlas of NSD."""
    files = paths.label_files(name)
    if any(not tree.exists(file) for file in files):
        have = sorted({stem_of(n) for n in tree.names(files[0].parent)} - {""}) or "none"
        near = "" if name in ATLASES else " " + unknown("atlas", name, have if have != "none" else ATLASES)
        raise FileNotFoundError(f"no file {tree.name(files[0])}; atlases there: {have}.{near}")
    tree.fetch(files)
    if paths.is_surface:
        parts = [load_map(file).ravel() for file in files]
        labels, shape, affine = np.concatenate(parts), tuple(len(p) for p in parts), None
    else:
        labels, affine = load_map(files[0]), affine_of(files[0])
        shape = labels.shape
    names = _names(tree, paths, name)
    return Atlas(check_labels(labels, name, names, files[0]), shape, affine, names)


def _names(tree: Tree, paths: NSDPaths, atlas: str) -> Mapping[str, int]:
    for path in paths.colour_tables(atlas):
        if tree.exists(path):
            tree.fetch([path])
            with readable(path):
                names = read_colour_table(path.read_text(encoding="utf-8"))
                if not names:
                    raise ValueError("it names no label")
                return names
    return ATLASES.get(atlas, {})


def _empty(paths: NSDPaths, region: RegionText, atlases: Mapping[str, Atlas]) -> str:
    text = f"subject {paths.subject} has no voxel of {region.text} in {paths.space}"
    if region.text in REGIONS:
        found = set(atlases["Kastner2015"].labels[atlases["nsdgeneral"].labels > 0].tolist())
        have = [name for name, numbers in REGIONS.items() if found & set(numbers)]
        return f"{text}: no voxel of {region.text} inside nsdgeneral; it has {', '.join(have)}"
    counts = {
        term.atlas: [n for n, i in atlases[term.atlas].names.items() if (atlases[term.atlas].labels == i).any()]
        for term in terms_of(region.expression)
        if term.atlas not in REGIONS
    }
    return text + "".join(f"; {atlas} has voxels of {', '.join(names) or 'nothing'}" for atlas, names in counts.items())


def _own_mask(
    mask: str | os.PathLike[str] | np.ndarray,
    shape: tuple[int, ...] | None,
    affine: np.ndarray | None,
    is_surface: bool,
) -> np.ndarray:
    where = "the mask"
    if isinstance(mask, (str, os.PathLike)):
        path = Path(mask)
        where = str(path)
        values = _load_array(path) if path.suffix == ".npy" else load_map(path)
        if path.suffix != ".npy" and affine is not None and not np.allclose(affine_of(path), affine, atol=1e-3):
            raise NSDError(f"{path} lies elsewhere than this subject's volume (another affine): resample it first")
    else:
        values = np.asarray(mask)
        if is_surface and values.ndim > 1:
            raise ValueError("a surface's mask is one array, the left hemisphere's vertices and then the right's: "
                             f"np.concatenate them; got shape {values.shape}")  # fmt: skip
    expected: tuple[int, ...] | None = (sum(shape),) if is_surface and shape else shape
    if expected and values.shape != expected:
        raise NSDError(f"{where} has shape {values.shape}; in this subject and space it must be {expected}")
    if values.dtype.kind not in "fiub":
        raise NSDError(f"{where} holds {values.dtype}, not one number per voxel")
    values = values.astype(np.float64)
    refuse_infinite(values, where)
    inside = np.nan_to_num(values) > 0
    if not inside.any():
        raise NSDError(f"{where} has no voxel above 0")
    return inside


def _load_array(path: Path) -> np.ndarray:
    with readable(path):
        return np.load(path)


def _geometry(tree: Tree, paths: NSDPaths, atlases: Mapping[str, Atlas]) -> tuple[tuple[int, ...], np.ndarray | None]:
    """Shape and affine of the space, from the atlases in use or from any other file of the space."""
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
    """Read a volume or surface map as it is stored, to the end of its file.

    Raises:
        NSDError: If the file is damaged, or holds no numbers.
    """
    path = Path(path)
    with readable(path), opened_image(path) as image:
        values = np.asanyarray(image.dataobj)
    if values.dtype.kind not in "fiub":
        raise NSDError(f"{path} holds {values.dtype}, not one number per voxel")
    return values


def affine_of(path: str | os.PathLike[str]) -> np.ndarray:
    """(4, 4) from voxels to millimetres."""
    import nibabel

    with readable(Path(path)):
        image: Any = nibabel.load(path)
        return np.asarray(image.affine)
