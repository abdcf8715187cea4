"""``neuroalign study``: a whole experiment from one file: plan it, run it, look at it while it runs, write its report."""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from neuroalign.addresses import redacted
from neuroalign.commands import study_power
from neuroalign.commands.parser import at_least, examples
from neuroalign.files import check_output_folder

if TYPE_CHECKING:
    from rich.console import Console

    from neuroalign.study.opening import OpenedStudy
    from neuroalign.study.session import StudyResult

__all__: list[str] = []

_FILE = "the study's YAML file"
_OUT = "folder of the results (or a URL); what is done there is not done again"


def add_parser(commands: Any) -> None:
    """Add the command and its actions."""
    parser = commands.add_parser(
        "study",
        help="a whole experiment from one file: plan, run, status, report, power",
        description="A whole experiment from one file: plan it, run it on a laptop or a cluster, look at it while it runs.",
        epilog=examples(
            "neuroalign study plan study.yaml --out results",
            "neuroalign study run study.yaml --out results --fast",
            "neuroalign study status results",
            "neuroalign study report results",
            "neuroalign study power results --difference .02",
        ),
    )
    actions = parser.add_subparsers(dest="action", metavar="ACTION", title="actions", prog=parser.prog)
    _add_plan(actions)
    _add_run(actions)
    text = "what is done, running, failed, and how much time is left; also from another terminal or machine"
    _add_place(_action(actions, "status", text, "neuroalign study status results"))
    text = "write tables, figures and report from the stages that are done"
    _add_place(_action(actions, "report", text, "neuroalign study report results"))
    study_power.add_parser(actions)


def _action(actions: Any, name: str, text: str, *commands: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = actions.add_parser(
        name, help=text, description=f"{text[0].upper()}{text[1:]}.", epilog=examples(*commands)
    )
    return parser


def _add_plan(actions: Any) -> None:
    text = (
        "check the file, and say which stages are new, done or stale, which data are missing, how long the rest takes"
    )
    plan = _action(
        actions,
        "plan",
        text,
        "neuroalign study plan study.yaml --out results",
        "neuroalign study plan study.yaml --out results --set training.epochs=2 --all",
    )
    _add_study(plan)
    plan.add_argument("--all", action="store_true", help="name every stage")
    plan.add_argument("--no-probe", action="store_true", help="measure nothing: no estimate of time and memory")
    plan.add_argument(
        "--workers", type=at_least(1), help="stages at once, for the estimate (default: the number of cores)"
    )


def _add_run(actions: Any) -> None:
    text = "run what is not done, then write tables and report; the same command goes on after a stop"
    run = _action(
        actions,
        "run",
        text,
        "neuroalign study run study.yaml --out results --fast",
        "neuroalign study run study.yaml --out results --set 'seeds=[0, 1, 2]'",
        "neuroalign study run study.yaml --out s3://bucket/results --engine slurm \\",
        "    --engine-option partition=gpu",
    )
    _add_study(run)
    run.add_argument("--engine", choices=("local", "ray", "slurm", "serial"), default="local",
                     help="local: processes of this machine; ray, slurm: a cluster (extras ray, slurm); serial: this "
                     "process, for debuggers (default: local)")  # fmt: skip
    run.add_argument("--workers", type=at_least(1), help="most stages at once (default: as many as there is room for)")
    run.add_argument("--engine-option", action="append", default=[], type=_setting, metavar="NAME=VALUE",
                     help="an option of the engine, such as partition=gpu (slurm) or address=auto (ray)")  # fmt: skip


def _add_study(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("file", metavar="FILE", help=_FILE)
    parser.add_argument("--out", required=True, help=_OUT)
    parser.add_argument("--fast", action="store_true", help="take the file's 'fast' settings, to see that everything runs; "
                        "its numbers mean nothing")  # fmt: skip
    parser.add_argument("--set", action="append", default=[], type=_setting, metavar="KEY=VALUE", dest="settings",
                        help="a setting in place of the file's, such as training.epochs=2 or 'seeds=[0, 1]'")  # fmt: skip


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("place", metavar="DIR", help="folder of the results, or the study's file with --out")
    parser.add_argument("--out", help="folder of the results, if the file is given")


def _setting(text: str) -> tuple[list[str], Any]:
    """A key's path and its value, which is read as YAML."""
    key, equals, value = text.partition("=")
    if not equals or not all(key.split(".")):
        raise argparse.ArgumentTypeError(f"should be KEY=VALUE, such as training.epochs=2; got {text!r}")
    import yaml

    try:
        return key.split("."), yaml.safe_load(value)
    except yaml.YAMLError:
        raise argparse.ArgumentTypeError(f"the value is no YAML; got {text!r}") from None


def _nested(settings: list[tuple[list[str], Any]]) -> dict[str, Any]:
    """Values by nested keys."""
    found: dict[str, Any] = {}
    for path, value in settings:
        place = found
        for part in path[:-1]:
            place = place.setdefault(part, {})
        place[path[-1]] = value
    return found


def goes_on(args: argparse.Namespace) -> str | None:
    """How to go on after Ctrl-C."""
    return f"the same command goes on from what is in {redacted(str(args.out))}" if args.action == "run" else None


def run(args: argparse.Namespace) -> None:
    """Run an action.

    Raises:
        OSError: If the store behind a URL can't be reached.
        SystemExit: With the action's exit code, if it is not 0.
    """
    from rich.console import Console

    action = {"plan": _plan, "run": _run, "status": _status, "report": _report, "power": study_power.run}[args.action]
    try:
        code = action(args, Console())
    except (ValueError, OSError, ImportError):
        raise
    except Exception as error:  # a store behind a URL has errors of its own
        place = str(args.out or getattr(args, "place", ""))
        if "://" not in place:
            raise
        raise OSError(f"{redacted(place)}: {' '.join(str(error).split()) or type(error).__name__}") from error
    if code:
        raise SystemExit(code)


def _opened(args: argparse.Namespace, console: Console) -> OpenedStudy:
    if "://" not in args.out:
        check_output_folder(args.out)
    with console.status("reading the study and its data") if console.is_terminal else _nothing():
        from neuroalign.study.opening import open_study

        opened = open_study(args.file, args.out, fast=args.fast, changes=_nested(args.settings))
    if opened.other_study:
        _say(console, f"Note: {args.out} also holds results of another study, {opened.other_study!r}. They stay.")
    return opened


def _nothing() -> Any:
    from contextlib import nullcontext

    return nullcontext()


def _say(console: Console, text: str, style: str | None = None) -> None:
    console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)


def _plan(args: argparse.Namespace, console: Console) -> int:
    from neuroalign.study.checks import check_names
    from neuroalign.study.plan_text import counts_text, estimate_lines, stages_table, states_table
    from neuroalign.study.session import missing_lines
    from neuroalign.study.states import states_of

    opened = _opened(args, console)
    stages = opened.plan.stages
    states = states_of(stages, opened.folder, opened.before.get("stages"), opened.absent)
    left = [stage for stage in stages if states[stage.key] != "done"]
    if left:
        check_names(opened.study)
    estimate = None if args.no_probe or not left else _estimate(opened, console)
    _say(console, f"{opened.study.name}: {counts_text(opened.plan)}, in {len(stages)} stages\n")
    console.print(states_table(stages, states), highlight=False)
    if args.all:
        console.print()
        console.print(stages_table(stages, states, estimate), highlight=False)
    lines = missing_lines(opened)
    if lines:
        _say(console, "\nData that are missing here:\n  " + "\n  ".join(lines))
    if not left:
        _say(console, f"\nNothing to do: all {len(stages)} stages are done.")
    elif estimate is not None:
        _say(console, "\n" + "\n".join(estimate_lines(estimate, left, args.workers or os.cpu_count() or 1)))
    return 0


def _estimate(opened: OpenedStudy, console: Console) -> Any:
    with console.status("measuring") if console.is_terminal else _nothing() as status:
        from neuroalign.study.estimates import estimate_stages
        from neuroalign.study.timing import seconds_of_finished

        tell = (lambda what: status.update(f"measuring {what}")) if status is not None else None
        stages = opened.plan.stages
        estimate = estimate_stages(stages, on_probe=tell)
        estimate.scale(stages, seconds_of_finished(stages, opened.folder, opened.folder.done(stages)))
    return estimate


def _run(args: argparse.Namespace, console: Console) -> int:
    from rich.console import Console

    opened = _opened(args, console)
    from neuroalign.study.session import run_opened

    options = {"_".join(path): value for path, value in args.engine_option}
    result = run_opened(
        opened,
        engine=args.engine,
        workers=args.workers,
        progress=not args.quiet,
        console=Console(stderr=True),
        **options,
    )
    return _told(result, args, console)


def _told(result: StudyResult, args: argparse.Namespace, console: Console) -> int:
    """Say what became of a run, and give its exit code."""
    if not result.made and result.complete:
        _say(console, f"Nothing to do: all {result.num_stages} stages are done.")
    elif not args.quiet:
        from neuroalign.study.timing import readable_time

        _say(console, f"{len(result.made)} stages were made in {readable_time(result.seconds)}.")
    if result.tables is not None and not args.quiet:
        from neuroalign.study.summary import print_summary

        print_summary(result.tables, console)
    for name, error in result.failed.items():
        _say(console, f"failed: {name}: {error}", style="red")
    if result.skipped:
        _say(console, f"{len(result.skipped)} stages that need them were skipped.")
    if result.failed:
        _say(console, f"The tracebacks are in {result.out / 'stages' / '.failed'}; the same command tries again.")
    _say(console, f"Tables, figures and report.html are in {result.out}")
    return 0 if result.complete else 1


def _place_of(args: argparse.Namespace) -> str:
    """The folder of results that is meant."""
    if args.out:
        return str(args.out)
    if Path(args.place).is_file():
        raise ValueError(f"{args.place} is a file: name the folder of its results by --out")
    return str(args.place)


def _status(args: argparse.Namespace, console: Console) -> int:
    from neuroalign.study.status import print_status

    print_status(_place_of(args), console)
    return 0


def _report(args: argparse.Namespace, console: Console) -> int:
    from neuroalign.study.opening import reopen_study
    from neuroalign.study.session import write_results

    opened = reopen_study(_place_of(args))
    done = len(opened.folder.done(opened.plan.stages))
    if not done:
        raise ValueError(f"no stage of {opened.study.name!r} is done in {_place_of(args)}: run the study first")
    write_results(opened)
    _say(console, f"{done} of {len(opened.plan.stages)} stages are done. Tables, figures and report.html are in "
                  f"{opened.folder.root}")  # fmt: skip
    return 0
