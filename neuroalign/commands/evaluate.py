"""``neuroalign evaluate``: a robustness suite on a checkpoint, with tables, figures and a record."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from neuroalign.commands.attack_names import explained
from neuroalign.commands.inputs import IMAGE_SIZE, check_fit, open_images
from neuroalign.commands.networks import CKPT_HELP, open_device, open_network
from neuroalign.commands.own_classes import add_allow
from neuroalign.commands.parser import at_least, examples
from neuroalign.files import check_output_folder, write_png

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console

    from neuroalign.evaluation import SuiteResult

__all__: list[str] = []


def add_parser(commands: Any) -> None:
    """Add the command."""
    text = "robustness of a network: attacks, corruptions, filters, smoothness, and a check for masked gradients"
    parser = commands.add_parser(
        "evaluate",
        help="robustness of a network: attacks, corruptions, filters, smoothness",
        description=f"{text[0].upper()}{text[1:]}. A run that was stopped goes on by the same command.",
        epilog=examples(
            "neuroalign evaluate --ckpt guided.ckpt --data digits",
            "neuroalign evaluate --ckpt resnet18@DEFAULT --data val --num-images 500",
            "neuroalign evaluate --ckpt guided.ckpt --data val.npz --suite paper",
            "neuroalign evaluate --ckpt mine.safetensors --allow mynet --data val",
        ),
    )
    parser.add_argument("--ckpt", required=True, help=CKPT_HELP)
    add_allow(parser)
    parser.add_argument(
        "--data", required=True, help="digits, a folder with one folder per class, or .npz with images and labels"
    )
    parser.add_argument("--suite", choices=("fast", "standard", "paper"), default="fast",
                        help="what to measure; standard and paper take hours on large sets without a GPU")  # fmt: skip
    parser.add_argument("--stronger", action="store_true", help="with --suite paper: our stronger attacks at its budgets, "
                        "in place of the settings of the released script")  # fmt: skip
    parser.add_argument("--num-images", type=at_least(1), help="number of images to draw at random (default: all)")
    parser.add_argument("--image-size", type=at_least(1), help="height and width of images from folders "
                        f"(default: those that the network was built for, else {IMAGE_SIZE})")  # fmt: skip
    parser.add_argument("--batch-size", type=at_least(1), default=128, help="images that are computed at once")
    parser.add_argument("--device", default="auto", help="cpu, cuda, ... ; auto takes a GPU if there is one")
    parser.add_argument("--seed", type=at_least(0), default=0, help="seed of the choice of images and of every attack")
    parser.add_argument("--out", type=Path, default=Path("robustness"), help="folder for tables, figures and "
                        "record.json; a run that was stopped goes on from what is there")  # fmt: skip


def goes_on(args: argparse.Namespace) -> str:
    """How to go on after Ctrl-C."""
    return f"the same command goes on from what is in {args.out}"


def run(args: argparse.Namespace) -> None:
    """Run the command."""
    from rich.console import Console

    console = Console(quiet=args.quiet)
    check_output_folder(args.out)
    result, title = _evaluate(args, console)
    _draw(result, title, args.out)
    _print(result, console)
    Console().print(f"Tables, figures and record.json are in {args.out}", highlight=False, soft_wrap=True)


def _evaluate(args: argparse.Namespace, console: Console) -> tuple[SuiteResult, str]:
    import torch
    from torch.utils.data import DataLoader, Subset

    from neuroalign.data.images import collate
    from neuroalign.evaluation import evaluate_suite, robustness_suite

    device = open_device(args.device)
    model, name, own_size = open_network(args.ckpt, classifier="evaluate", allow=args.allow)
    dataset = open_images(args.data, args.image_size or own_size)
    check_fit(model, dataset, args.data)  # of all images, not of those drawn
    if args.num_images is not None and args.num_images < len(dataset):
        order = torch.randperm(len(dataset), generator=torch.Generator().manual_seed(args.seed))
        dataset = Subset(dataset, order[: args.num_images].tolist())
    loader = DataLoader(dataset, batch_size=args.batch_size, collate_fn=collate)
    suite = robustness_suite(args.suite, tuple(dataset[0]["image"].shape), seed=args.seed, stronger=args.stronger)
    if not suite.corruptions and args.suite != "paper":
        text = "Corruptions are left out: no strengths were published for images below 32 pixels per side."
        console.print(text, highlight=False)
    result = evaluate_suite(
        model.to(device), loader, suite, out=args.out, seed=args.seed, device=device,
        progress=not args.quiet,
        report=lambda line: console.print(line, highlight=False, soft_wrap=True),
        about={"ckpt": args.ckpt, "data": args.data},
    )  # fmt: skip
    return result, f"{name}, {result.record['num_images']} images of {args.data}"


def _draw(result: SuiteResult, title: str, out: Path) -> None:
    from neuroalign.plot import plot_accuracy, plot_corruptions, plot_transforms

    figures = {}
    for norm in ("linf", "l2"):
        of_norm = result.attacks[result.attacks["norm"] == norm]
        if len(of_norm):
            ax = plot_accuracy(of_norm, by="perturbation", norm=norm, title=title)
            figures[f"attacks-{norm}.png"] = cast("Figure", ax.figure)
    if len(result.corruptions):
        figures["corruptions.png"] = cast("Figure", plot_corruptions(result.corruptions, title=title).figure)
    if len(result.transforms):
        figures["transforms.png"] = plot_transforms(result.transforms, title=title)
    for name, figure in figures.items():
        write_png(figure, out / name)


def _print(result: SuiteResult, console: Console) -> None:
    from rich.table import Table

    from neuroalign.budgets import eps_text
    from neuroalign.functional.intervals import wilson

    grid = Table(title=f"Accuracy of {result.record['num_images']} images (95 % Wilson interval)")
    grid.add_column("perturbation", justify="left")
    for column in ("eps", "accuracy", "interval"):
        grid.add_column(column, justify="right")
    clean = result.attacks.iloc[0]
    low, high = wilson(round(clean["clean_accuracy"] * clean["num_images"]), int(clean["num_images"]))
    grid.add_row("none", "0", f"{clean['clean_accuracy']:.3f}", f"{low:.3f} to {high:.3f}")
    rows: Iterable[Any] = result.attacks.itertuples()
    for row in rows:
        grid.add_row(
            row.perturbation,
            eps_text(row.eps, row.norm),
            f"{row.accuracy:.3f}",
            f"{row.ci_low:.3f} to {row.ci_high:.3f}",
        )
    console.print(grid)
    console.print("In the names:")
    for line in explained(result.attacks["perturbation"].unique()):
        console.print(f"  {line}", highlight=False)
    if len(result.corruptions):
        from neuroalign.evaluation import corruption_errors

        errors = corruption_errors(result.corruptions)
        console.print(
            f"Mean error under {len(errors.by_corruption)} corruptions: {errors.mean_error:.3f} (strengths: "
            f"{result.corruptions['strengths'].iloc[0]}; frost has a texture of our own; the published mCE divides by the "
            "errors of a reference network, which isn't done here)",
            highlight=False,
        )  # fmt: skip
    s = result.smoothness
    console.print(
        f"Input smoothness: {s.clean:.4g} at the images (their loss is {s.clean_loss:.3g}), {s.adversarial:.4g} at "
        f"adversarial points (loss {s.adversarial_loss:.3g}). Lower is smoother; it is 400 x the mean squared gradient of "
        "each image's loss by its pixels.", highlight=False,
    )  # fmt: skip
    console.print(str(result.masking), highlight=False)
    if not result.masking.passed:
        console.print(
            "Some checks for masked gradients failed: don't trust the accuracies above until you know why.",
            style="bold",
        )
