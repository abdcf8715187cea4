"""Maps of NSD: values of every voxel, such as ncsnr and R2."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from neuroalign.data.nsd.layout import PSC_SCALE, NSDError, NSDPaths
from neuroalign.data.nsd.plausible import check_map
from neuroalign.data.nsd.tree import Tree
from neuroalign.data.nsd.voxels import Voxels, load_map
from neuroalign.types import unknown

__all__: list[str] = []

MAPS = ("ncsnr", "R2", "meanbeta", "valid")
"""Maps that are read where they exist; :func:`read_nsd` can be asked for others, such as "R2_session01"."""


def read_map(tree: Tree, paths: NSDPaths, name: str) -> np.ndarray:
    """A map of the whole space in its unit: a volume, or the left and then the right vertices.

    ``meanbeta`` volumes hold percent signal change times 300, like the betas, and are divided by 300; ncsnr and R2 are not.

    Raises:
        FileNotFoundError: If there is no such map; the message lists those that exist.
    """
    files = paths.map_files(name)
    if not all(tree.exists(file) for file in files):
        here = {n.removeprefix("lh.").removeprefix("rh.").rpartition(".mgh")[0] or n.rpartition(".nii.gz")[0]
                for folder in {paths.beta_folder, paths.anatomy} for n in tree.names(folder)}  # fmt: skip
        have = sorted(n for n in here if n and not n.startswith("betas_"))
        raise FileNotFoundError(f"no file {tree.name(files[0])}. {unknown('map', name, have)}")
    tree.fetch(files)
    values = [load_map(file) for file in files]
    whole = np.concatenate([v.ravel() for v in values]) if paths.is_surface else values[0]
    whole = whole.astype(np.float32)
    return whole / np.float32(PSC_SCALE) if name.startswith("meanbeta") and not paths.is_surface else whole


def map_names(tree: Tree, paths: NSDPaths, maps: Sequence[str] | None) -> list[str]:
    """The maps to read: the given ones, or those of ``MAPS`` that exist (behind a URL only ncsnr)."""
    if maps is not None:
        return list(maps)
    default = MAPS[:1] if tree.is_remote else MAPS
    return [name for name in default if all(tree.exists(file) for file in paths.map_files(name))]


def read_maps(tree: Tree, paths: NSDPaths, voxels: Voxels, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The values (voxel,) of the wanted voxels in each of the named maps.

    Raises:
        FileNotFoundError: If a map is missing.
        NSDError: If a map has another shape than the region files, or impossible values.
    """
    result = {}
    for name in names:
        whole = read_map(tree, paths, name)
        expected = (sum(voxels.shape),) if paths.is_surface else voxels.shape
        if whole.shape != expected:
            raise NSDError(f"{paths.map_files(name)[0]} has shape {whole.shape}, the region files {expected}")
        check_map(whole, name, paths.map_files(name)[0])
        result[name] = voxels.of(whole)
    return result
