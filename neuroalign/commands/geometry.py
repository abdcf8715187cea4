"""``neuroalign geometry``: capacity, radius and dimension of category manifolds in a network's layers or in recordings."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from neuroalign.commands.inputs import CKPT_HELP, open_images, open_model
from neuroalign.commands.parser import examples
from neuroalign.files import check_output_folder, write_csv, write_png

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from neuroalign.data import Responses

__all__: list[str] = []


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
    parser.add_argument(
        "--data",
        required=True,
        help="digits, a folder with one folder per class, .npz with images and labels, or responses as .h5",
    )
    parser.add_argument(
        "--layers", nargs="+", default=[], help="dotted names in order of depth; 'list' prints them all"
    )
    parser.add_argument("--labels", type=Path, help="for responses: CSV with the columns stimulus and label")
    parser.add_argument("--regions", nargs="+", help="for responses: regions in order (default: all)")
    parser.add_argument("--image-size", type=int, default=224, help="height and width of images from folders")
    parser.add_argument(
        "--num-per-class", type=int, default=50, help="images per class; fewer if the smallest class has fewer"
    )
    parser.add_argument("--num-classes", type=int, help="number of classes (default: all)")
    parser.add_argument("--num-samples", type=int, default=200, help="number of Gaussian draws per manifold")
    parser.add_argument(
        "--num-components",
        type=int,
        help="components that wider layers are projected to at random (default: no projection)",
    )
    parser.add_argument(
        "--keep-center-correlations",
        action="store_true",
        help="don't remove the directions that the class centres share",
    )
    parser.add_argument("--batch-size", type=int, default=64, help="images that are computed at once")
    parser.add_argument("--seed", type=int, default=0, help="seed of the choice of images and of the draws")
    parser.add_argument("--out", type=Path, default=Path("geometry"), help="folder for geometry.csv and geometry.png")


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    check_output_folder(args.out)
    table, title = _responses(args) if _is_responses(args.data) else _network(args)
    if table is not None:
        _write(table, title, args.out, quiet=args.quiet)


def _is_responses(data: str) -> bool:
    return Path(data).suffix in (".h5", ".hdf5")


def _network(args: argparse.Namespace) -> tuple[pd.DataFrame | None, str]:
    from torch.utils.data import DataLoader

    from neuroalign.data.images import collate
    from neuroalign.evaluation import layer_geometry

    if args.ckpt is None:
        raise ValueError("images need --ckpt, the checkpoint or model that sees them")
    model, name = open_model(args.ckpt)
    if not args.layers or args.layers == ["list"]:
        names = [n for n, _ in model.named_modules() if n]
        print("\n".join(names))
        if not args.layers:
            raise ValueError(f"--layers is missing; {len(names)} are listed above")
        return None, ""
    loader = DataLoader(open_images(args.data, args.image_size), batch_size=args.batch_size, collate_fn=collate)
    table = layer_geometry(
        model,
        loader,
        args.layers,
        num_per_class=args.num_per_class,
        num_classes=args.num_classes,
        num_samples=args.num_samples,
        center_correlation="keep" if args.keep_center_correlations else "remove",
        num_components=args.num_components,
        seed=args.seed,
    )
    images, classes = int(table["num_images"].iloc[0]), int(table["num_classes"].iloc[0])
    return (
        table,
        f"Category manifolds of {name}: {images} images of {classes} classes (bars: 2 Monte-Carlo standard errors)",
    )


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
    if has_names(names) and "stimulus_id" in responses.info:  # images that were not shown may have a label as well
        table = table[table["stimulus"].isin(responses.info["stimulus_id"])]
    try:
        stimulus = responses.numbers_of(table["stimulus"].to_numpy())
    except (TypeError, ValueError) as error:
        raise ValueError(f"{path}: {error}") from error
    category, _ = pd.factorize(table["label"], sort=True)
    categories = dict(zip(stimulus.tolist(), category.tolist()))
    for number, label in zip(stimulus.tolist(), category.tolist()):
        if categories[number] != label:
            raise ValueError(f"{path}: stimulus {number} has two labels")
    return categories


def _write(table: pd.DataFrame, title: str, out: Path, *, quiet: bool) -> None:
    from rich.console import Console
    from rich.table import Table

    from neuroalign.plot import plot_geometry

    write_csv(table, out / "geometry.csv")
    figure = cast("Figure", plot_geometry(table, title=title)[0].figure)
    write_png(figure, out / "geometry.png")
    place = "layer" if "layer" in table else "region"
    grid = Table(title=title.split("\n")[0])
    for name in (place, "capacity", "radius", "dimension"):
        grid.add_column(name, justify="left" if name == place else "right")
    for _, row in table.iterrows():
        cells = []
        for name, digits in (("capacity", 3), ("radius", 3), ("dimension", 1)):
            if f"{name}_error" in row:
                cells.append(f"{row[name]:.{digits}f} ± {row[f'{name}_error']:.{digits}f}")
            else:
                cells.append(
                    f"{row[name]:.{digits}f} [{row[f'{name}_low']:.{digits}f}, {row[f'{name}_high']:.{digits}f}]"
                )
        grid.add_row(str(row[place]), *cells)
    console = Console()
    if not quiet:
        console.print(grid)
    console.print(f"Table and figure are in {out}", highlight=False)
