"""``neuroalign geometry``: capacity, radius and dimension of category manifolds in a network's layers or in recordings."""

from __future__ import annotations

import argparse
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from neuroalign.commands.inputs import IMAGE_SIZE, open_images
from neuroalign.commands.networks import CKPT_HELP, open_device, open_network
from neuroalign.commands.own_classes import add_allow
from neuroalign.commands.parser import at_least, examples
from neuroalign.files import check_output_folder, write_csv, write_png

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure
    from torch import Tensor, nn

    from neuroalign.data import Responses

__all__: list[str] = []


_NUM_PER_CLASS = 50
_FOR_IMAGES = ("ckpt", "layers", "image_size", "num_per_class", "num_classes", "num_components")
_FOR_RESPONSES = ("labels", "regions")


def add_parser(commands: Any) -> None:
    """Add the command."""
    text = "capacity, radius and dimension of category manifolds in a network's layers or in recorded responses"
    parser = commands.add_parser(
        "geometry",
        help="capacity, radius and dimension of category manifolds",
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=examples(
            "neuroalign geometry --ckpt guided.ckpt --data digits --layers list",
            "neuroalign geometry --ckpt guided.ckpt --data digits --layers layer1 layer3",
            "neuroalign geometry --data subj01.h5 --labels categories.csv",
        ),
    )
    parser.add_argument("--ckpt", help=CKPT_HELP)
    add_allow(parser)
    parser.add_argument(
        "--data",
        required=True,
        help="digits, a folder with one folder per class, .npz with images and labels, or responses as .h5",
    )
    parser.add_argument(
        "--layers",
        nargs="+",
        default=[],
        help="names in order of depth; the last parts of a name are enough, such as "
        "layer3; 'list' prints all, with the shapes of their outputs",
    )
    parser.add_argument("--labels", type=Path, help="for responses: CSV with the columns stimulus and label")
    parser.add_argument("--regions", nargs="+", help="for responses: regions in order (default: all)")
    parser.add_argument("--image-size", type=at_least(1), help="height and width of images from folders "
                        f"(default: those that the network was built for, else {IMAGE_SIZE})")  # fmt: skip
    parser.add_argument(
        "--num-per-class",
        type=at_least(2),
        help=f"images per class; fewer if the smallest class has fewer (default: {_NUM_PER_CLASS})",
    )
    parser.add_argument("--num-classes", type=at_least(2), help="number of classes (default: all)")
    parser.add_argument("--num-samples", type=at_least(1), default=200, help="number of Gaussian draws per manifold")
    parser.add_argument(
        "--num-components",
        type=at_least(1),
        help="components that wider layers are projected to at random (default: no projection)",
    )
    parser.add_argument(
        "--keep-center-correlations",
        action="store_true",
        help="don't remove the directions that the class centres share",
    )
    parser.add_argument("--batch-size", type=at_least(1), default=64, help="images that are computed at once")
    parser.add_argument("--device", default="auto", help="cpu, cuda, ... ; auto takes a GPU if there is one")
    parser.add_argument("--seed", type=at_least(0), default=0, help="seed of the choice of images and of the draws")
    parser.add_argument("--out", type=Path, default=Path("geometry"), help="folder for geometry.csv and geometry.png")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    check_output_folder(args.out)
    of_responses = _is_responses(args.data)
    given, other = ("responses", "images") if of_responses else ("images", "responses")
    for option in _FOR_IMAGES if of_responses else _FOR_RESPONSES:
        if getattr(args, option):
            raise ValueError(
                f"--{option.replace('_', '-')} is for {other}, and {args.data} holds {given}: leave it out"
            )
    table, title = _responses(args) if of_responses else _network(args)
    if table is not None:
        _write(table, title, args.out, quiet=args.quiet)


def _is_responses(data: str) -> bool:
    return Path(data).suffix in (".h5", ".hdf5")


def _network(args: argparse.Namespace) -> tuple[pd.DataFrame | None, str]:
    from torch.utils.data import DataLoader

    from neuroalign.data.images import collate
    from neuroalign.evaluation import layer_geometry
    from neuroalign.models import network_layers, resolve_layer

    if args.ckpt is None:
        raise ValueError("images need --ckpt, the checkpoint or model that sees them")
    device = open_device(args.device)
    model, name, own_size = open_network(args.ckpt, allow=args.allow)
    if not args.layers:
        count = len(network_layers(model))
        raise ValueError(f"--layers is missing: '--layers list' prints the {count} layers of {name}")
    dataset = open_images(args.data, args.image_size or own_size)
    if args.layers == ["list"]:
        print("\n".join(_listed(model, dataset[0]["image"])))
        return None, ""
    for layer in args.layers:  # before images are read
        resolve_layer(model, layer)
    loader = DataLoader(dataset, batch_size=args.batch_size, collate_fn=collate)
    table = layer_geometry(
        model.to(device),
        loader,
        args.layers,
        num_per_class=args.num_per_class or _NUM_PER_CLASS,
        num_classes=args.num_classes,
        num_samples=args.num_samples,
        center_correlation="keep" if args.keep_center_correlations else "remove",
        num_components=args.num_components,
        seed=args.seed,
        progress=not args.quiet,
    )
    images, classes = int(table["num_images"].iloc[0]), int(table["num_classes"].iloc[0])
    return (
        table,
        f"Category manifolds of {name}: {images} images of {classes} classes",
    )


def _listed(model: nn.Module, image: Tensor) -> list[str]:
    """The network's layers, a line each: name, class, and shape of the output for one image if it can be found."""
    import torch

    from neuroalign.models import network_layers
    from neuroalign.state import evaluating

    names, shapes = network_layers(model), dict[str, str]()

    def record(name: str, _module: nn.Module, _inputs: Any, output: Any) -> None:
        if isinstance(output, torch.Tensor):
            shapes[name] = " x ".join(map(str, output.shape[1:]))

    handles = [model.get_submodule(name).register_forward_hook(partial(record, name)) for name in names]
    try:
        with evaluating(model), torch.no_grad(), suppress(ValueError, TypeError, RuntimeError):  # names are enough
            model(image[None])
    finally:
        for handle in handles:
            handle.remove()
    kinds = [type(model.get_submodule(name)).__name__ for name in names]
    width, kind_width = (max(map(len, texts), default=0) for texts in (names, kinds))
    return [f"{n:{width}}  {k:{kind_width}}  {shapes.get(n, '')}".rstrip() for n, k in zip(names, kinds)]


def _responses(args: argparse.Namespace) -> tuple[pd.DataFrame, str]:
    from neuroalign.data import Responses
    from neuroalign.evaluation import response_geometry

    if args.labels is None:
        raise ValueError("responses need --labels, a CSV with the columns stimulus and label")
    responses = Responses.load(args.data)
    found = response_geometry(
        responses,
        _categories(args.labels, responses),
        regions=args.regions,
        num_samples=args.num_samples,
        seed=args.seed,
    )
    write_csv(found.contrasts, args.out / "contrasts.csv")
    row = found.table.iloc[0]
    noise = "noise removed by repeats" if row["repeats"] == "cross-validated" else "no repeats: noise included"
    return found.table, (
        f"Category manifolds of responses: {row['num_stimuli']} stimuli of {row['num_classes']} categories, "
        f"{row['num_voxels']} voxels per region\n({noise}; bars: 95 % intervals over categories)"
    )


def _categories(path: Path, responses: Responses) -> dict[int, int]:
    """Category number of each stimulus, from a table of stimulus and label; numbers follow the order of the labels."""
    import numpy as np
    import pandas as pd

    from neuroalign.data.fields import has_names
    from neuroalign.data.tables import read_table

    table = read_table(path)
    if not {"stimulus", "label"} <= set(table):
        raise ValueError(f"{path} has the columns {', '.join(map(str, table))}; stimulus and label are needed")
    missing = table[["stimulus", "label"]].isna().any(axis=1).to_numpy()
    if missing.any():
        raise ValueError(f"{path}: stimulus or label of row {missing.argmax()} (from 0) is missing")
    names = table["stimulus"].to_numpy()
    named = has_names(names) and "stimulus_id" in responses.info
    known = responses.info["stimulus_id"] if named else np.unique(responses.stimulus)
    if named:  # images that were not shown may have a label as well
        table = table[table["stimulus"].isin(known)]
    try:
        stimulus = responses.numbers_of(table["stimulus"].to_numpy())
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    if not np.isin(stimulus, responses.stimulus).any():
        given, there = (", ".join(str(each)[:40] for each in list(some)[:3]) for some in (names, known))
        raise ValueError(
            f"{path}: no label is for a stimulus of the responses: it names {given} ...; the responses hold {there} ..."
        )
    category, _ = pd.factorize(table["label"], sort=True)
    categories = dict(zip(stimulus.tolist(), category.tolist()))
    for number, label in zip(stimulus.tolist(), category.tolist()):
        if categories[number] != label:
            raise ValueError(f"{path}: stimulus {number} has two labels")
    return categories


def _write(table: pd.DataFrame, title: str, out: Path, *, quiet: bool) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from neuroalign.plot import plot_geometry
    from neuroalign.plot.geometry import without_common_prefix

    write_csv(table, out / "geometry.csv")
    figure = cast("Figure", plot_geometry(table, title=title)[0].figure)
    write_png(figure, out / "geometry.png")
    place = "layer" if "layer" in table else "region"
    names, prefix = without_common_prefix(list(map(str, table[place])))
    if "capacity_error" in table:
        what = "±: Monte-Carlo standard error"
    else:
        what = "[ ]: 95 % interval over categories"
    grid = Table(title=title.split("\n")[0], caption=escape(what))
    grid.add_column(f"{place} of {prefix}" if prefix else place, overflow="fold")
    for name in ("capacity", "radius", "dimension"):
        grid.add_column(name, justify="right")
    for shown, (_, row) in zip(names, table.iterrows()):
        cells = []
        for name, digits in (("capacity", 3), ("radius", 3), ("dimension", 1)):
            if f"{name}_error" in row:
                cells.append(f"{row[name]:.{digits}f} ± {row[f'{name}_error']:.{digits}f}")
            else:
                cells.append(
                    f"{row[name]:.{digits}f} [{row[f'{name}_low']:.{digits}f}, {row[f'{name}_high']:.{digits}f}]"
                )
        grid.add_row(shown, *cells)
    console = Console()
    if not quiet:
        console.print(grid)
    console.print(f"Table and figure are in {out}", highlight=False, soft_wrap=True)
