"""``neuroalign nsd``: check an NSD folder, extract responses, cache stimuli, plot maps."""

from __future__ import annotations

import argparse
import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroalign.commands import nsd_plot
from neuroalign.commands.parser import at_least, examples

if TYPE_CHECKING:
    from rich.console import Console

    from neuroalign.data import Responses

__all__: list[str] = []


def add_parser(commands: Any) -> None:
    """Add the command and its own commands."""
    text = "the Natural Scenes Dataset: check, extract, stimuli, plot"
    nsd = commands.add_parser(
        "nsd",
        help=text,
        description="Check a folder of the Natural Scenes Dataset, extract responses of regions, cache images, plot maps.",
        epilog=examples(
            "neuroalign nsd check /data/nsd",
            "neuroalign nsd extract /data/nsd --subject 1 --roi V4 --out subj01_v4.h5",
            "neuroalign nsd extract --help",
        ),
    )
    actions = nsd.add_subparsers(dest="action", metavar="ACTION", title="actions", prog=nsd.prog)

    def add(name: str, text: str, more: str, *commands: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = actions.add_parser(
            name, help=text, description=f"{text[0].upper()}{text[1:]}{more}.", epilog=examples(*commands)
        )
        return parser

    check = add(
        "check",
        "list what an NSD folder holds, what is missing and what is damaged",
        "; exit code 1 if it is unusable. gzip files (nii.gz, mgz) are read to their end and compared with their checksums, "
        "some seconds per session; HDF5 files have no checksums",
        "neuroalign nsd check /data/nsd",
        "neuroalign nsd check /data/nsd --subject 1 2 --json > check.json",
    )
    check.add_argument("root", metavar="ROOT", type=Path, help="folder with nsddata, nsddata_betas, nsddata_stimuli")
    check.add_argument("--subject", type=int, nargs="+", help="1 to 8 (default: all that have betas)")
    check.add_argument("--json", action="store_true", help="print JSON")

    extract = add(
        "extract",
        "write regions' responses to one HDF5 file with everything needed to train",
        ". After a stop, the same command goes on with the sessions that are missing",
        "neuroalign nsd extract /data/nsd --subject 1 --roi V1 V4 --out subj01.h5",
        "neuroalign nsd extract s3://natural-scenes-dataset --accept-terms \\",
        "    --download-folder nsd --subject 1 --roi V4 --out subj01_v4.h5",
    )
    extract.add_argument("root", metavar="ROOT", help="folder, or URL such as s3://natural-scenes-dataset")
    extract.add_argument("--subject", type=int, required=True, help="1 to 8")
    extract.add_argument(
        "--roi",
        nargs="+",
        required=True,
        help="regions: V1, 'prf-visualrois:V1v|V1d', 'streams:ventral & nsdgeneral', nsdgeneral, mask.nii.gz, ...",
    )
    extract.add_argument("--out", type=Path, required=True, help="the file to write")
    extract.add_argument("--betas", default="betas_fithrf_GLMdenoise_RR", help="version, or b1, b2, b3")
    extract.add_argument("--space", default="func1pt8mm", help="func1pt8mm, func1mm, fsaverage or nativesurface")
    extract.add_argument("--sessions", type=_sessions, help="such as 1-10 or 1,2,5 (default: all that are there)")
    extract.add_argument(
        "--overwrite", action="store_true", help="replace a file that holds something else, or is damaged"
    )
    _add_access(extract)

    stimuli = add(
        "stimuli",
        "resize images of the stimulus set once into a memory-mapped cache",
        ", from which training reads them. After a stop, the same command goes on",
        "neuroalign nsd stimuli /data/nsd --out nsd_images --image-size 224",
        "neuroalign nsd stimuli /data/nsd --out images --responses subj01.h5",
    )
    stimuli.add_argument("root", metavar="ROOT", help="folder or URL")
    stimuli.add_argument("--out", type=Path, required=True, help="folder of the cache")
    stimuli.add_argument("--image-size", type=at_least(1), default=224, help="height and width in pixels")
    stimuli.add_argument(
        "--responses", type=Path, help="cache only the images of this extracted file (default: all images)"
    )
    stimuli.add_argument(
        "--workers", type=at_least(0), default=0, help="number of processes that resize; 0 resizes in this one"
    )
    _add_access(stimuli)
    nsd_plot.add_parser(add)


def _add_access(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--accept-terms", action="store_true",
                        help="for a URL: you accepted NSD's Data Access Agreement (naturalscenesdataset.org)")  # fmt: skip
    parser.add_argument(
        "--download-folder", "--cache", type=Path, help="for a URL: folder for downloaded files (formerly --cache)"
    )
    parser.add_argument("--yes", action="store_true", help="for a URL: don't ask before a transfer")
    parser.add_argument("--transfer", choices=("voxels", "files"), default="voxels",
                        help="for a URL: read only the wanted voxels of HDF5 betas, or download whole files")  # fmt: skip
    parser.add_argument(
        "--retries", type=at_least(0), default=5, help="for a URL: number of times that a failed request is repeated"
    )
    parser.add_argument("--endpoint-url", help="for s3: server to use instead of Amazon's")


def _sessions(text: str) -> list[int]:
    """Read session numbers, such as 1-3,5."""
    result: list[int] = []
    for part in text.split(","):
        first, dash, last = part.partition("-")
        try:
            begin, end = int(first), int(last if dash else first)
        except ValueError:
            raise argparse.ArgumentTypeError(f"sessions are written like 1-10 or 1,2,5; got {text!r}") from None
        if end < begin:
            raise argparse.ArgumentTypeError(f"{part.strip()} runs backwards: write {end}-{begin}")
        result += range(begin, end + 1)
    return result


def goes_on(args: argparse.Namespace) -> str | None:
    """How to go on after Ctrl-C."""
    return "the same command goes on where it was" if args.action in ("extract", "stimuli") else None


def run(args: argparse.Namespace) -> None:
    """Run an action."""
    from rich.console import Console

    actions = {"check": _check, "extract": _extract, "stimuli": _stimuli, "plot": nsd_plot.run}
    actions[args.action](args, Console())


def _access(args: argparse.Namespace) -> dict[str, Any]:
    options: dict[str, Any] = {
        "accept_terms": args.accept_terms,
        "download_folder": args.download_folder,
        "transfer": args.transfer,
        "retries": args.retries,
    }
    if args.yes:
        options["confirm"] = True
    if args.endpoint_url:
        options["storage_options"] = {"anon": True, "client_kwargs": {"endpoint_url": args.endpoint_url}}
    return options


def _check(args: argparse.Namespace, console: Console) -> None:
    from neuroalign.data import check_nsd

    if re.match(r"\w+:/", str(args.root)) and not args.root.exists():
        raise ValueError(f"{args.root} looks like a URL: nsd check reads folders of this machine")
    report = check_nsd(args.root, args.subject)
    if args.json:
        print(json.dumps(report.to_dict(), indent=1))
    else:
        from rich.markup import escape
        from rich.table import Table

        table = Table("", "subject", "what", title=f"{report.root}{' (simulated)' if report.simulated else ''}")
        table.add_column("found", overflow="fold")
        colours = {"ok": "green", "missing": "yellow", "warning": "yellow", "error": "red"}
        for finding in report.of("ok") + report.of("missing"):
            level = f"[{colours[finding.level]}]{finding.level}[/]"
            table.add_row(level, str(finding.subject or "all"), finding.what, escape(finding.message))
        if not args.quiet:
            console.print(table)
        for finding in report.of("warning") + report.of("error"):  # last and in full: readers look there first
            who = f"subject {finding.subject}, " if finding.subject else ""
            line = escape(f" {who}{finding.what}: {finding.message}")
            console.print(f"[{colours[finding.level]}]{finding.level}[/]{line}", soft_wrap=True)
        counts = ", ".join(f"{len(report.of(level))} {level}" for level in colours)
        console.print(f"{'Usable' if report.usable else 'Not usable as it is'}: {counts}.")
    if not report.usable:
        raise SystemExit(1)


def _extract(args: argparse.Namespace, console: Console) -> None:
    from neuroalign.commands.inputs import check_hdf5_name
    from neuroalign.data import extract_nsd
    from neuroalign.files import check_output_folder, check_target, readable_size

    check_hdf5_name(args.out)
    check_output_folder(check_target(args.out).parent)  # before sessions are read
    out = extract_nsd(
        args.root,
        args.out,
        args.subject,
        roi=args.roi,
        betas=args.betas,
        space=args.space,
        sessions=args.sessions,
        overwrite=args.overwrite,
        **_access(args),
    )
    console.print(f"{out}, {readable_size(out.stat().st_size)}: {_load(out)!r}", soft_wrap=True, markup=False)


def _stimuli(args: argparse.Namespace, console: Console) -> None:
    import numpy as np

    from neuroalign.data import cache_nsd_stimuli
    from neuroalign.files import check_output_folder

    check_output_folder(args.out)
    rows = None if args.responses is None else np.unique(_load(args.responses).stimulus)
    cache = cache_nsd_stimuli(
        args.root, args.out, image_size=args.image_size, rows=rows, workers=args.workers, **_access(args)
    )
    console.print(f"{args.out} holds {len(cache)} images of {cache.shape[1]}x{cache.shape[2]}", soft_wrap=True)


def _load(path: Path) -> Responses:
    from neuroalign.data import Responses

    return Responses.load(path)
