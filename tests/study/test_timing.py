"""The time left of a run."""

from neuroalign.study.graph import Stage
from neuroalign.study.timing import StageTimes, readable_time


def stage(kind, i, size=1.0):
    return Stage(kind, f"{kind} {i}", print, {"i": i}, size=size)


def test_each_kind_counts_by_its_own_stages():
    times = StageTimes()
    times.add(stage("network", 0), 100.0)
    times.add(stage("network", 1), 300.0)
    times.add(stage("geometry", 0), 2.0)
    assert times.left([stage("network", 2), stage("geometry", 1)], at_once=1) == 202.0


def test_a_kind_without_finished_stages_counts_by_its_size():
    times = StageTimes()
    assert times.left([stage("network", 0)], at_once=1) is None
    times.add(stage("images", 0), 3.0)
    assert times.left([stage("network", 0, size=10.0)], at_once=2) == 15.0


def test_what_a_running_stage_has_done_is_not_left():
    times, running = StageTimes(), stage("network", 1)
    times.add(stage("network", 0), 100.0)
    assert times.left([running], 1, {running.key: 0.75}) == 25.0


def test_nothing_left_takes_no_time():
    assert StageTimes().left([], at_once=1) == 0.0


def test_words():
    assert [readable_time(s) for s in (0.0, 89.9, 5399, 5400, 260_000, 5e6)] == [
        "0 s", "90 s", "90 min", "1.5 h", "3 days", "58 days"
    ]  # fmt: skip
