"""A plan in words: how many stages of each kind are in which state, what is missing, how long the rest takes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from neuroalign.files import readable_size
from neuroalign.study.graph import Stage
from neuroalign.study.states import STATES, count_states
from neuroalign.study.timing import readable_time

if TYPE_CHECKING:
    from neuroalign.study.estimates import Estimate
    from neuroalign.study.runs import Plan

__all__: list[str] = []


def states_table(stages: list[Stage], states: Mapping[str, str]) -> Table:
    """A row for each kind of stage: how many there are, and how many of them are done, new, stale, ..."""
    counts = count_states(stages, states)
    shown = [state for state in STATES if any(state in of_kind for of_kind in counts.values())]
    table = Table(box=None, pad_edge=False, header_style="")
    for column in ("kind", "stages", *shown):
        table.add_column(column, justify="left" if column == "kind" else "right")
    for kind, of_kind in counts.items():
        table.add_row(kind, str(sum(of_kind.values())), *(str(of_kind.get(state, 0)) for state in shown))
    totals = [str(sum(of_kind.get(state, 0) for of_kind in counts.values())) for state in shown]
    table.add_row("all", str(len(stages)), *totals)
    return table


def stages_table(stages: Iterable[Stage], states: Mapping[str, str], estimate: Estimate | None) -> Table:
    """A row for each stage: its name, its state, the seconds that it takes by the estimate, the folder of its result."""
    table = Table(box=None, pad_edge=False, header_style="")
    for column in ("stage", "state", *(("estimate",) if estimate else ()), "result"):
        table.add_column(column, overflow="fold")
    for stage in stages:
        took = [readable_time(estimate.seconds[stage.key])] if estimate and stage.key in estimate.seconds else [""]
        table.add_row(*(Text(c) for c in (stage.name, states[stage.key], *(took if estimate else []), stage.key)))
    return table


def counts_text(plan: Plan) -> str:
    """How many networks, predictors and evaluations there are."""
    evaluations = sum(len(run.evaluations) for run in plan.networks) + len(plan.transfers)
    evaluations += sum((run.geometry is not None) + len(run.rsa) for run in plan.predictors)
    parts = ((len(plan.networks), "network"), (len(plan.predictors), "predictor"), (evaluations, "evaluation"))
    return ", ".join(f"{count} {word}{'' if count == 1 else 's'}" for count, word in parts)


def estimate_lines(estimate: Estimate, left: list[Stage], workers: int) -> list[str]:
    """What the rest takes by the estimate, and what the estimate rests on; a sentence a line.

    Args:
        estimate: The estimate of all stages.
        left: The stages that are not done, in the order of what they need.
        workers: How many run at once.
    """
    from neuroalign.study.estimates import GPU_RATE

    measured = sorted({"GPU" if probe.device == "cuda" else "CPU" for probe in estimate.probes.values()})
    lines = [
        f"Estimate for what is left, from short measurements on this machine's {' and '.join(measured) or 'CPU'}: "
        f"{readable_time(estimate.total(left))} of computing, {readable_time(estimate.wall(left, workers))} with {workers} "
        f"stage{'' if workers == 1 else 's'} at once."
    ]
    by_kind = {kind: estimate.total(s for s in left if s.kind == kind) for kind in dict.fromkeys(s.kind for s in left)}
    longest = sorted(by_kind.items(), key=lambda item: -item[1])[:4]
    lines.append("Most of it: " + ", ".join(f"{kind} {readable_time(seconds)}" for kind, seconds in longest) + ".")
    largest = max(left, key=lambda stage: estimate.memory.get(stage.key, 0))
    size = estimate.memory.get(largest.key, 0)
    where = "memory, main and GPU together" if largest.resources.gpus else "memory"
    lines.append(f"Largest stage: {largest.name}, about {readable_size(size)} of {where}.")
    for place, probe in estimate.probes.items():
        lines.append(
            f"  {place}: {_milliseconds(probe.step)} a training step and {_milliseconds(probe.forward)} a forward pass, per "
            f"image (batch of {probe.batch}); {readable_size(probe.parameters)} of parameters, "
            f"{readable_size(probe.activations)} an image for the backward pass"
        )
    on_gpu = [stage for stage in left if stage.key in estimate.on_gpu]
    if on_gpu:
        lines.append(
            f"{len(on_gpu)} of these stages ask for a GPU, and this machine has none: their "
            f"{readable_time(estimate.total(on_gpu))} rest on counted operations at {GPU_RATE / 1e12:g} TFLOP/s."
        )
    if estimate.scaled:
        kinds = ", ".join(f"{kind} ({count})" for kind, count in estimate.scaled.items())
        lines.append(f"Scaled to the time that finished stages took: {kinds}.")
    if estimate.assumed:
        lines.append(f"Assumed, as the files can't be read here: {'; '.join(estimate.assumed)}.")
    lines.append("Attacks count every image at every budget, an upper bound; reading of data is not counted.")
    return lines


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:.2g} ms" if seconds < 1 else f"{seconds:.2g} s"
