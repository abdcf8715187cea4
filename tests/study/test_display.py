"""The display of a run: what it shows in a terminal, and its lines elsewhere."""

import io

import pytest
from rich.console import Console

from neuroalign.study.display import Display, running_table
from neuroalign.study.folder import StudyFolder
from neuroalign.study.graph import Stage
from neuroalign.study.progress_files import NAME, ProgressFile
from neuroalign.study.running import Event, run_stages
from tests.study.tiny_stages import fail, write

STAGES = [Stage("network", f"network {i}", write, {"value": float(i)}) for i in range(4)]


@pytest.fixture
def folder(tmp_path):
    return StudyFolder(tmp_path / "out")


def console(terminal):
    return Console(file=io.StringIO(), force_terminal=terminal, width=100)


def shown(display):
    out = console(False)
    out.print(display.view())
    return out.file.getvalue()


def test_lines_without_a_terminal(folder):
    out = console(False)
    with Display(STAGES, folder, out) as display:
        display.on_event(Event("submitted", STAGES[0]))
        display.on_event(Event("done", STAGES[0], seconds=12))
        display.on_event(Event("found", STAGES[1]))
        display.on_event(Event("failed", STAGES[2], "ValueError: the loss is [NaN]"))
        display.on_event(Event("skipped", STAGES[3], "needs network 2"))
    assert out.file.getvalue().splitlines() == [
        "[1/4] done: network 0 (12 s)",
        "[2/4] done: network 1 (made by another run)",
        "[3/4] failed: network 2: ValueError: the loss is [NaN]",
        "[4/4] skipped: network 3 needs network 2",
    ]


def test_quiet_says_failures_only(folder):
    out = console(False)
    with Display(STAGES, folder, out, quiet=True) as display:
        display.on_event(Event("done", STAGES[0], seconds=1))
        display.on_event(Event("failed", STAGES[1], "OSError: gone"))
    assert out.file.getvalue().splitlines() == ["[2/4] failed: network 1: OSError: gone"]


def test_view_counts_and_names_what_runs(folder):
    folder.prepare()
    display = Display(STAGES, folder, console(False))
    assert "0 of 4 stages done, 0 running" in shown(display) and "left" not in shown(display)
    display.on_event(Event("done", STAGES[0], seconds=100))
    key = STAGES[1].key
    area = folder.work_area(key)[0]
    with folder.lock(key, "network 1", wait=False), ProgressFile(area / NAME, "network 1", interval=0) as report:
        report("epoch 3 of 6", 0.5)
        display._looked = float("-inf")
        text = shown(display)
        assert "1 of 4 stages done, 1 running, about 4 min left" in text  # 2.5 stages of 100 s
        assert "network 1" in text and "epoch 3 of 6" in text and "50 %" in text


def test_live_view_in_a_terminal_keeps_failures(folder):
    out = console(True)
    with Display(STAGES, folder, out) as display:
        display.on_event(Event("done", STAGES[0], seconds=1))
        display.on_event(Event("failed", STAGES[1], "ValueError: the loss is NaN"))
    text = out.file.getvalue()
    assert "failed: network 1: ValueError: the loss is NaN" in text and "[1/4] done" not in text
    assert "1 of 4 stages done, 1 failed" in text


def test_time_left_knows_earlier_runs(folder, tmp_path):
    from neuroalign.study.engines import engine

    stages = [*STAGES[:2], Stage("predictor", "failing", fail, {"step": 1})]
    run_stages(stages, folder, engine("serial"))
    again = Display([*stages, STAGES[2]], folder, console(False))
    assert again.counts == "2 of 4 stages done"
    assert again.time_left() is not None


def test_many_running_stages_are_cut():
    from neuroalign.study.progress_files import StageProgress

    running = [StageProgress(str(i), f"network {i}", "", 0.0, i, i, "host", 1) for i in range(20)]
    out = console(False)
    out.print(running_table(running, limit=3))
    lines = out.file.getvalue().splitlines()
    assert len(lines) == 4 and "and 17 more" in lines[-1]


def test_a_log_says_once_a_minute_how_far_the_run_is(folder, minutes):
    out = console(False)
    with Display(STAGES, folder, out) as display:
        minutes[0]()
        display.on_event(Event("failed", STAGES[0], "no data"))
        minutes[0]()
    lines = out.file.getvalue().splitlines()
    assert lines[0] == f"0 of {len(STAGES)} stages done, 0 running"
    assert lines[-1].startswith(f"0 of {len(STAGES)} stages done, 1 failed, 0 running")
    for terminal, quiet in ((True, False), (False, True)):
        Display(STAGES, folder, console(terminal), quiet=quiet)
    assert len(minutes) == 1
