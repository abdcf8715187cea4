"""The state of a study's folder, as another terminal or machine sees it while a run goes on."""

from __future__ import annotations

import os
import time
from typing import TYPE_CHECKING

from rich.text import Text

from neuroalign.study.display import running_table
from neuroalign.study.opening import reopen_study
from neuroalign.study.plan_text import states_table
from neuroalign.study.states import states_of
from neuroalign.study.timing import readable_time, times_of_finished

if TYPE_CHECKING:
    from rich.console import Console

__all__: list[str] = []


def print_status(out: str | os.PathLike[str], console: Console) -> None:
    """Print what is done, what runs and where, what failed and why, and how much time is left. Nothing is changed.

    Args:
        out: Folder or URL of the results.
        console: Where to print.

    Raises:
        FileNotFoundError: If no study was run there.
    """
    opened = reopen_study(out)
    folder, stages = opened.folder, opened.plan.stages
    states = states_of(stages, folder, absent=opened.absent)
    begun = [each for each in folder.running() if each.key in states]
    running = [each for each in begun if each.runs]
    done = {key for key, state in states.items() if state == "done"}
    _say(console, f"{opened.study.name}: {len(done)} of {len(stages)} stages done, {len(running)} running")
    console.print(states_table(stages, states), highlight=False)
    if running:
        console.print()
        console.print(running_table(running, hosts=True), highlight=False)
    for each in begun:
        if not each.runs:
            ago = readable_time(max(0.0, time.time() - each.written))
            _say(console, f"interrupted: {each.name}, {100 * each.done:.0f} % done, {ago} ago on {each.host}")
    for key, facts in folder.failures().items():
        if states.get(key) == "failed":
            _say(console, f"failed: {facts.get('name', key)}: {facts.get('error', '')} ({facts.get('host', '')}, attempt "
                          f"{facts.get('attempts', 1)}; {folder.stages / '.failed' / key}.json)", "red")  # fmt: skip
    if len(done) == len(stages):
        _say(console, "All stages are done.")
    elif running:
        left = [stage for stage in stages if states[stage.key] not in ("done", "failed", "no data")]
        shares = {each.key: each.done for each in running}
        seconds = times_of_finished(stages, folder, done).left(left, len(running), shares)
        _say(console, f"Time left, by the stages that are done: about {readable_time(seconds)}")
    else:
        _say(console, "Nothing is running: 'neuroalign study run' goes on from what is done.")


def _say(console: Console, text: str, style: str = "") -> None:
    console.print(Text(text, style=style), soft_wrap=True)
