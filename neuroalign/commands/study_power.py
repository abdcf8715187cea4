"""``neuroalign study power``: how many seeds, subjects and images a difference needs, from a study's measured spreads."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroalign.commands.parser import at_least, examples

if TYPE_CHECKING:
    import pandas as pd
    from rich.console import Console

    from neuroalign.study.spreads import Measured, Wanted

__all__: list[str] = []

_EXPLANATION = (
    "Needed: so that the interval of `compare` excludes 0 in {power:.0%} of such studies{holm}, if the true difference is as "
    "large as said. In brackets: the same at both ends of the 95 % interval of the spread over seeds, which few seeds leave "
    "wide. 'never': with so many images no number of them is enough."
)


def add_parser(actions: Any) -> None:
    """Add the action."""
    text = "how many seeds, subjects and images a difference needs, from the spreads of a finished study or from given ones"
    parser = actions.add_parser(
        "power",
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=examples(
            "neuroalign study power results --difference .02 --power .9",
            "neuroalign study power results --seeds 4 8 16",
            "neuroalign study power --seed-sd .012 --image-sd .3 --images 1000",
        ),
    )
    parser.add_argument("place", metavar="DIR", nargs="?", help="folder of the results; left out with --seed-sd")
    parser.add_argument("--out", help="folder of the results, in place of DIR")
    parser.add_argument("--difference", type=_share, nargs="+", default=[0.01, 0.02, 0.05], metavar="D",
                        help="true differences in accuracy (default: .01 .02 .05)")  # fmt: skip
    parser.add_argument("--images", type=at_least(2), nargs="+", default=[], metavar="N",
                        help="numbers of test images (default: the study's, twice and ten times as many)")  # fmt: skip
    parser.add_argument("--seeds", type=at_least(2), nargs="+", default=[], metavar="N",
                        help="print the power with these numbers of seeds, not the number that is needed")  # fmt: skip
    parser.add_argument("--comparisons", type=at_least(1), default=1, metavar="M",
                        help="comparisons that Holm's method corrects; the strictest counts (default: 1)")  # fmt: skip
    parser.add_argument("--power", type=_share, default=0.8, metavar="P",
                        help="wanted probability of finding the difference (default: .8)")  # fmt: skip
    parser.add_argument("--seed-sd", type=float, metavar="SD", help="without a study: standard deviation over seeds of the "
                        "difference, as measured with as many images as planned")  # fmt: skip
    parser.add_argument("--image-sd", type=float, metavar="SD",
                        help="without a study: standard deviation over images of what all seeds share")  # fmt: skip
    parser.add_argument("--rest-sd", type=float, default=0.0, metavar="SD", help="without a study: standard deviation of "
                        "what one image has in one seed alone; 0 if --seed-sd holds it (default: 0)")  # fmt: skip
    parser.add_argument("--csv", type=Path, metavar="FILE", help="write the table to this file, too")
    parser.add_argument("--markdown", action="store_true", help="print tables as Markdown")


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 < value < 1:
        raise argparse.ArgumentTypeError(f"must be a number between 0 and 1; got {text}")
    return value


def run(args: argparse.Namespace, console: Console) -> int:
    """Print the measured spreads and what they ask for; the exit code.

    Raises:
        ValueError: If nothing is compared, no comparison has two seeds, or numbers are missing.
    """
    from neuroalign.study.spreads import Wanted, needed_table, power_table, spreads_table

    wanted = Wanted(args.difference, args.images, args.seeds, args.comparisons, args.power)
    measured = _measured(args)
    spreads = spreads_table(measured)
    if len(spreads):
        _show(
            console, "Measured spreads: standard deviations of the difference in accuracy", _spread_texts(spreads), args
        )
    table = power_table(measured, wanted) if wanted.seeds else needed_table(measured, wanted)
    for each in measured:
        rows = table[(table["treatment"] == each.treatment) & (table["control"] == each.control)]
        rows = rows[rows["measure"] == each.measure]
        if wanted.seeds:
            _show(console, f"{_title(each)}: power", _power_texts(rows), args)
        else:
            _show(console, f"{_title(each)}: {each.unit} needed", _needed_texts(rows), args)
    console.print(_explained(wanted), highlight=False, markup=False, soft_wrap=True)
    if args.csv is not None:
        from neuroalign.files import write_csv

        write_csv(table, args.csv)
    return 0


def _measured(args: argparse.Namespace) -> list[Measured]:
    from neuroalign.study.spreads import Measured, measured_spreads

    place = args.out or args.place
    given = args.seed_sd is not None or args.image_sd is not None
    if given and place:
        raise ValueError("give the folder of a study, or --seed-sd and --image-sd, and not both")
    if given:
        from neuroalign.evaluation.spread import Spread

        if args.seed_sd is None or args.image_sd is None:
            raise ValueError("both are needed: --seed-sd, such as .012, and --image-sd, such as .3")
        return [Measured("given spreads", "", "", Spread(args.seed_sd, args.image_sd, args.rest_sd))]
    if not place:
        raise ValueError("name the folder of a finished study, or give --seed-sd and --image-sd")
    if Path(place).is_file():
        raise ValueError(f"{place} is a file: name the folder of its results")
    from neuroalign.study.collecting import Finished
    from neuroalign.study.opening import reopen_study

    opened = reopen_study(place)
    return measured_spreads(Finished.of(opened.plan, opened.folder))


def _title(each: Measured) -> str:
    return f"{each.treatment} - {each.control}, {each.measure}" if each.control else each.treatment


def _explained(wanted: Wanted) -> str:
    holm = "" if wanted.comparisons == 1 else f" even as the strictest of {wanted.comparisons} comparisons (Holm)"
    if wanted.seeds:
        return f"Power: the share of such studies in which the interval of `compare` excludes 0{holm}."
    return _EXPLANATION.format(power=wanted.power, holm=holm)


def _spread_texts(spreads: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    several = (spreads["subjects"] > 1).any()
    texts = {
        "comparison": spreads["treatment"] + " - " + spreads["control"],
        "seeds": spreads["seeds"].astype(str),
        "images": spreads["images"].map("{:,}".format),
        "seed sd": [
            f"{row.seed_sd:.4f} ({row.seed_sd_low:.4f} to {row.seed_sd_high:.4f})" for row in spreads.itertuples()
        ],
        "image sd": spreads["image_sd"].map("{:.3f}".format),
        "rest sd": spreads["rest_sd"].map("{:.3f}".format),
    }
    if several:
        texts |= {
            "subjects": spreads["subjects"].astype(str),
            "subject sd": spreads["subject_sd"].map("{:.4f}".format),
            "shared seed sd": spreads["common_sd"].map("{:.4f}".format),
        }
    return pd.DataFrame(texts).set_index("comparison")


def _needed_texts(rows: pd.DataFrame) -> pd.DataFrame:
    texts = rows.assign(
        images=[f"{images:,} images" for images in rows["images"]],
        text=[_needed_text(row) for _, row in rows.iterrows()],
    )
    return _wide(texts)


def _power_texts(rows: pd.DataFrame) -> pd.DataFrame:
    texts = rows.assign(
        images=[f"{images:,} images" for images in rows["images"]],
        difference=[f"{difference:g}, {seeds} seeds" for difference, seeds in zip(rows["difference"], rows["seeds"])],
        text=rows["power"].map(_percent),
    )
    return _wide(texts)


def _wide(texts: pd.DataFrame) -> pd.DataFrame:
    import pandas as pd

    columns, differences = texts["images"].unique(), texts["difference"].unique()
    wide = texts.pivot(index="difference", columns="images", values="text").reindex(index=differences, columns=columns)
    wide.index = pd.Index([each if isinstance(each, str) else f"{each:g}" for each in differences])
    return wide.rename_axis(index="difference", columns=None)


def _needed_text(row: pd.Series) -> str:
    import pandas as pd

    from neuroalign.study.spreads import MOST

    if pd.isna(row["images_needed"]) or row["images"] < row["images_needed"]:
        least = "" if pd.isna(row["images_needed"]) else f": at least {row['images_needed']:,} images"
        return f"never{least}"
    number, low, high = (
        f"> {MOST}" if pd.isna(row[name]) else str(row[name]) for name in ("needed", "needed_low", "needed_high")
    )
    return number if low == high else f"{number} ({low} to {high})"


def _show(console: Console, title: str, table: pd.DataFrame, args: argparse.Namespace) -> None:
    if args.markdown:
        console.print(f"{title}\n\n{_markdown(table)}\n", highlight=False, markup=False, soft_wrap=True)
        return
    from neuroalign.study.report import rich_table

    console.print(rich_table(table, title))


def _markdown(table: pd.DataFrame) -> str:
    lines = [[str(table.index.name or ""), *map(str, table.columns)], ["---"] + ["---:"] * len(table.columns)]
    lines += [[str(name), *map(str, row)] for name, row in zip(table.index, table.to_numpy())]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _percent(power: float) -> str:
    """A power in percent; none is certain.

    Example:
        >>> _percent(0.8), _percent(0.9999)
        ('80%', '> 99%')
    """
    return f"{power:.0%}" if power < 0.995 else "> 99%"
