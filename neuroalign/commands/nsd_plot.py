"""``neuroalign nsd plot``: the noise ceiling of an extracted file, and a prediction's accuracy, on the brain."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

    from neuroalign.data import Responses

__all__: list[str] = []


def add_parser(add: Callable[..., argparse.ArgumentParser]) -> None:
    """Add the action, by what makes the parser of an action from its name, texts and examples."""
    plot = add(
        "plot",
        "draw the noise ceiling, and a prediction's accuracy, on the brain",
        "",
        "neuroalign nsd plot subj01_v4.h5 --root /data/nsd --out brain-maps",
        "neuroalign nsd plot subj01_v4.h5 --prediction r.npy --map ncsnr",
    )
    plot.add_argument("file", metavar="FILE", type=Path, help="a file written by extract")
    plot.add_argument("--prediction", type=Path, help="one correlation per voxel: .npy, .pt, or .csv with one column")
    plot.add_argument("--map", nargs="*", default=[], help="maps inside FILE to draw as well, such as ncsnr R2")
    plot.add_argument(
        "--root", type=Path, help="NSD folder: anatomy behind slices, or surfaces of fsaverage/nativesurface"
    )
    plot.add_argument("--out", type=Path, default=Path("brain-maps"), help="folder for figures and maps")


def run(args: argparse.Namespace, console: Console) -> None:
    """Draw the maps, and say where they are."""
    from neuroalign.data import Responses, save_map
    from neuroalign.data.nsd.tree import Tree
    from neuroalign.files import check_output_folder, write_png

    check_output_folder(args.out)
    if args.root is not None:
        Tree(args.root)  # refuses what is no folder of NSD
    responses = Responses.load(args.file)
    of = f"subject {responses.info.get('subject', '?')}, {', '.join(dict.fromkeys(map(str, responses.roi)))}"
    of = f"{of} (simulated)" if responses.info.get("simulated") else of
    maps: list[tuple[str, Any, str, str]] = []
    if responses.noise_ceiling is not None:
        row = "averages over repeats" if "average_repeats" in responses.history else "a single trial"
        maps.append(("noise_ceiling", responses.noise_ceiling, f"Noise ceiling of {row}, {of}", "share of variance"))
    for name in args.map:
        if name not in responses.maps:
            raise ValueError(f"{args.file} holds no map {name!r}; it holds {sorted(responses.maps)}")
        units = {"R2": "% of variance", "meanbeta": "% signal change", "ncsnr": "signal / noise (sd)"}
        maps.append((name, responses.maps[name], f"{name}, {of}", units.get(name, name)))
    if args.prediction is not None:
        scores = _values(args.prediction)
        if len(scores) != responses.num_voxels:
            raise ValueError(
                f"{args.file} has {responses.num_voxels} voxels, {args.prediction} {len(scores)} values. A DataModule leaves "
                "out voxels that are constant or missing in training: save its val_responses, and plot that file"
            )
        maps.append(("prediction", scores, f"Prediction of held-out responses, {of}", "correlation r"))
    if not maps:
        also = f", or --map {' or '.join(sorted(responses.maps))}" if responses.maps else ""
        raise ValueError(f"{args.file} holds no noise ceiling to draw: give --prediction{also}")
    for name, values, title, unit in maps:
        written = save_map(
            responses, values, args.out / f"{name}{'.gii' if responses.vertex_index is not None else '.nii.gz'}"
        )
        figure = _figure(args.root, responses, values, written, title, unit)
        if figure is None:
            meshes = _surface(args.root, responses)
            where = f"there is no {meshes[0]}" if meshes else "give --root, and a file that says which subject it is of"
            console.print(f"No surface to draw on: {where} (FreeSurfer's inflated surfaces)", soft_wrap=True)
        else:
            write_png(figure, args.out / f"{name}.png")
            written.append(args.out / f"{name}.png")
        console.print(f"Wrote {', '.join(map(str, written))}", soft_wrap=True)


def _figure(root: Path | None, responses: Responses, values: Any, written: list[Path], title: str, unit: str) -> Any:
    from nibabel.freesurfer import read_geometry, read_morph_data

    from neuroalign.data import to_surface
    from neuroalign.data.gzip_files import load_image
    from neuroalign.data.nsd import NSDPaths
    from neuroalign.data.nsd.layout import readable
    from neuroalign.plot import plot_surface, plot_volume

    info = responses.info
    paths = None
    if root is not None and {"subject", "betas", "space"} <= set(info):
        paths = NSDPaths(root, info["subject"], info["betas"], info["space"])
    if responses.vertex_index is None:
        anatomy = None if paths is None else paths.anatomy / "mean.nii.gz"
        background = load_image(anatomy) if anatomy is not None and anatomy.exists() else None
        return plot_volume(written[0], title=title, unit=unit, background=background)
    meshes = _surface(root, responses)
    if paths is None or meshes is None or not all(mesh.exists() for mesh in meshes):
        return None
    depth = paths.surface("sulc")
    backgrounds = depth if all(d.exists() for d in depth) else None
    for file in (*meshes, *(backgrounds or ())):
        with readable(file):
            (read_geometry if file in meshes else read_morph_data)(file)
    return plot_surface(to_surface(responses, values), meshes, title=title, unit=unit, backgrounds=backgrounds)


def _surface(root: Path | None, responses: Responses) -> tuple[Path, Path] | None:
    from neuroalign.data.nsd import NSDPaths

    info = responses.info
    if root is None or not {"subject", "betas", "space"} <= set(info):
        return None
    return NSDPaths(root, info["subject"], info["betas"], info["space"]).surface("inflated")


def _values(path: Path) -> Any:
    """One value per voxel, from a file."""
    from neuroalign.data.array_files import load_numpy
    from neuroalign.data.fields import as_values
    from neuroalign.data.tables import numbers_of, read_table

    kind = path.suffix.lower()
    if kind == ".npy":
        values = load_numpy(path)
    elif kind == ".pt":
        values = _tensor(path)
    else:
        table = read_table(path)
        numbers = table.select_dtypes("number")
        if numbers.shape[1] != 1:
            raise ValueError(
                f"{path} must hold one column of numbers, one row per voxel; it holds {list(table.columns)}"
            )
        values = numbers_of(path, numbers, "it is one value per voxel")
    try:
        values = as_values(values, str(path))
    except TypeError as error:
        raise ValueError(str(error)) from error
    if max(values.shape, default=0) != values.size:
        raise ValueError(f"{path} must hold one value per voxel; it has shape {values.shape}")
    return values.ravel()


def _tensor(path: Path) -> Any:
    import torch

    if not path.is_file():
        raise FileNotFoundError(f"no file {path}")
    try:
        values = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # on damaged files torch raises errors of many kinds
        raise ValueError(f"{path} is damaged, or holds more than a tensor; nothing in it was run") from error
    if not isinstance(values, torch.Tensor):
        raise ValueError(f"{path} must hold a tensor with one value per voxel; it holds {type(values).__name__}")
    return values
