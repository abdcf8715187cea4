"""The loop: what is ready is submitted, what fails ends nothing else, what was done is kept."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from neuroalign.study.engines import engine
from neuroalign.study.folder import StudyFolder
from neuroalign.study.graph import Stage, all_stages
from neuroalign.study.running import run_stages
from tests.study.tiny_stages import count_up, draw, fail, fill_disk, stopped, tree, values, with_resources, write


@pytest.fixture
def folder(tmp_path):
    return StudyFolder(tmp_path / "study")


def run(stages, folder, **kwargs):
    with engine("serial") as here:
        return run_stages(stages, folder, here, **kwargs)


def test_stages_are_made_after_what_they_need_and_once(folder):
    events = []
    outcome = run(tree(2), folder, on_event=lambda e: events.append((e.kind, e.stage.name)))
    assert outcome.complete and sorted(outcome.done) == ["first", "last", "middle 0", "middle 1"] and not outcome.found
    assert events[:2] == [("submitted", "first"), ("done", "first")] and events[-1] == ("done", "last")
    assert values(folder, tree(2))["last"] == "3.0\n"
    events.clear()
    again = run(tree(2), folder, on_event=events.append)
    assert again.done == [] and len(again.found) == 4 and not events


def test_a_changed_setting_makes_what_depends_on_it_and_nothing_else(folder):
    run(tree(2), folder)
    outcome = run(tree(2, more=1), folder)
    assert sorted(outcome.done) == ["last", "middle 0", "middle 1"] and outcome.found == ["first"]


def test_a_failed_stage_ends_only_those_that_need_it(folder):
    failing = Stage("network", "network, seed 0", fail, {"step": 7})
    after = Stage("evaluation", "evaluation, seed 0", write, {"value": 1.0}, {"network": failing})
    later = Stage("table", "table", write, {"value": 1.0}, {"evaluation": after, "network": failing})
    events = []
    outcome = run([later, *tree(1)], folder, on_event=lambda e: events.append((e.kind, e.stage.name, e.error)))
    assert outcome.failed == {"network, seed 0": "ValueError: the loss is NaN at step 7"} and not outcome.complete
    assert outcome.skipped.keys() == {"evaluation, seed 0", "table"}
    assert outcome.skipped["evaluation, seed 0"] == "needs network, seed 0"
    assert sorted(outcome.done) == ["first", "last", "middle 0"]
    assert ("failed", "network, seed 0", "ValueError: the loss is NaN at step 7") in events
    assert [e for e in events if e[0] == "skipped"] != []


def test_a_failed_stage_is_tried_again_by_the_next_run(folder):
    failing = Stage("network", "network", fail, {"step": 7})
    for attempts in (1, 2):
        run([failing], folder)
        assert folder.failures()[failing.key]["attempts"] == attempts


def test_a_full_disk_ends_the_run_with_a_sentence_and_keeps_what_was_done(folder):
    (last,) = tree(1)
    full = Stage("network", "network, seed 0", fill_disk, needs={"last": last})
    more = [Stage("network", f"network, seed {i}", fill_disk, {"seed": i}, {"last": last}) for i in range(1, 4)]
    submitted = []
    with pytest.raises(OSError, match=r"no space is left for the result of network, seed .* free some, and run again"):
        run([full, *more], folder, on_event=lambda e: submitted.append(e.stage.name) if e.kind == "submitted" else None)
    assert len(submitted) == 4
    assert len(folder.done(all_stages([full, *more]))) == 3


LIMITED = """
import resource, signal, sys
from neuroalign.study.engines import engine
from neuroalign.study.folder import StudyFolder
from neuroalign.study.graph import Stage
from neuroalign.study.running import run_stages
def work(work):
    (work.out / "weights").write_bytes(bytes(10**6))
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (10**5, 10**5))
run_stages([Stage("network", "network", work)], StudyFolder(sys.argv[1]), engine("serial"))
"""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limit")
def test_a_file_that_may_not_grow_leaves_no_result(tmp_path):
    done = subprocess.run([sys.executable, "-c", LIMITED, str(tmp_path)], capture_output=True, text=True)
    assert "OSError: [Errno 28] no space is left for the result of network" in done.stderr
    assert [p.name for p in (tmp_path / "stages").iterdir() if not p.name.startswith(".")] == []


def test_a_folder_that_cannot_be_written_to_is_an_error_before_anything_runs(tmp_path):
    (tmp_path / "file").touch()
    events = []
    with pytest.raises(NotADirectoryError, match="a file, where a folder is wanted"):
        run(tree(), StudyFolder(tmp_path / "file"), on_event=events.append)
    assert events == []


def test_a_stage_that_no_machine_can_make_is_an_error_before_anything_runs(folder):
    from neuroalign.study.engines.shares import Shares

    (last,) = tree(1)
    events = []
    with (
        engine("local", shares=Shares()) as local,
        pytest.raises(ValueError, match=r"takes 2 GPUs, but this machine has 0"),
    ):
        run_stages([with_resources(last, gpus=2)], folder, local, on_event=events.append)
    assert events == []


def test_two_runs_at_once_make_each_stage_once(folder):
    with ThreadPoolExecutor(2) as threads, ThreadPoolExecutor(4) as pool:
        runs = [threads.submit(run_stages, tree(6, seconds=0.2), folder, engine(pool)) for _ in range(2)]
        outcomes = [each.result() for each in runs]
    names = sorted(stage.name for stage in all_stages(tree(6)))
    assert sorted(outcomes[0].done + outcomes[1].done) == names
    assert all(sorted(o.done + o.found) == names for o in outcomes)


DRIVER = """
import sys
from neuroalign.study.engines import engine
from neuroalign.study.folder import StudyFolder
from neuroalign.study.running import run_stages
from tests.study.test_running import trainings
if __name__ == "__main__":
    with engine("local", workers=2) as local:
        print(run_stages(trainings(), StudyFolder(sys.argv[1]), local).complete)
"""


def trainings():
    """Two trainings of some seconds, and a table of both."""
    both = [
        Stage("network", f"network, seed {i}", count_up, {"seed": i, "steps": 30, "seconds": 0.1}) for i in range(2)
    ]
    return [Stage("table", "table", write, {"value": 0.0}, {str(i): stage for i, stage in enumerate(both)})]


@pytest.fixture
def driver(tmp_path):
    """Starts a driver in a process of its own, from a script."""
    script, started = tmp_path / "driver.py", []
    script.write_text(DRIVER)
    root = Path(__file__).parents[2]

    def start(out):
        started.append(
            subprocess.Popen(
                [sys.executable, str(script), str(out)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                start_new_session=True, env={**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"},
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))  # processes in the background ignore it
        )  # fmt: skip
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()


def wait_for(condition, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.05)
    return condition()


def session_of(pid):
    """Processes of the session that a process leads, from /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[3]) == pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def in_the_middle(folder):
    return len([p for p in folder.running() if p.done > 0.1]) == 2


linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are counted in /proc")


@linux
@pytest.mark.slow
def test_a_killed_driver_leaves_no_orphan_and_the_next_run_goes_on(folder, driver):
    first = driver(folder.root)
    wait_for(lambda: in_the_middle(folder))
    first.kill()
    first.wait()
    wait_for(lambda: not session_of(first.pid), 30)
    assert {(p.runs, p.done > 0.1) for p in folder.running()} == {(False, True)}
    steps = [len(p.read_text()) for p in (folder.stages / ".work").glob("*/scratch/steps")]
    assert len(steps) == 2 and min(steps) > 0
    outcome = run(trainings(), folder)
    assert outcome.complete and values(folder, trainings()) == {"table": "60.0\n"}
    assert not list((folder.stages / ".work").iterdir())


@linux
@pytest.mark.slow
def test_ctrl_c_ends_the_workers_and_the_next_run_goes_on(folder, driver):
    first = driver(folder.root)
    wait_for(lambda: in_the_middle(folder))
    os.killpg(first.pid, signal.SIGINT)  # as a terminal does
    _, errors = first.communicate(timeout=30)
    assert "KeyboardInterrupt" in errors and first.returncode != 0
    assert errors.count("Traceback") == 1, errors
    wait_for(lambda: not session_of(first.pid), seconds=10)
    assert run(trainings(), folder).complete and values(folder, trainings()) == {"table": "60.0\n"}


@linux
@pytest.mark.slow
def test_a_worker_killed_in_the_middle_is_replaced(folder, driver):
    first = driver(folder.root)
    wait_for(lambda: in_the_middle(folder))
    os.kill(folder.running()[0].pid, signal.SIGKILL)
    printed, errors = first.communicate(timeout=120)
    assert printed == "True\n", errors
    assert values(folder, trainings()) == {"table": "60.0\n"}
    assert len(folder.done(all_stages(trainings()))) == 3 and not list((folder.stages / ".work").iterdir())


@pytest.mark.slow
def test_two_drivers_share_one_folder(folder, driver):
    both = [driver(folder.root) for _ in range(2)]
    for each in both:
        printed, errors = each.communicate(timeout=200)
        assert printed == "True\n", errors
    assert values(folder, trainings()) == {"table": "60.0\n"} and folder.failures() == {}


def test_a_stage_that_is_told_to_stop_is_tried_again(folder):
    once = Stage("network", "once", stopped, {"always": False})
    always = Stage("network", "always", stopped, {"always": True})
    outcome = run([once, always], folder)
    assert outcome.done == ["once"]
    assert outcome.failed == {"always": "its process was told to stop (SIGTERM)"}
    assert not folder.failures()  # nothing is wrong with the stage


def test_stages_in_threads_of_one_process_work_one_after_the_other(folder):
    """Torch's generator belongs to the process: two stages that draw from it at once would draw from one another."""
    stages = [Stage("draw", f"draw {seed}", draw, {"seed": seed}) for seed in range(4)]
    with ThreadPoolExecutor(4) as threads:
        assert run_stages(stages, folder, engine(threads)).complete
    drawn = {stage.name: (folder.path(stage) / "value.csv").read_text() for stage in stages}
    alone = StudyFolder(folder.root.with_name("alone"))
    run(stages, alone)
    assert drawn == {stage.name: (alone.path(stage) / "value.csv").read_text() for stage in stages}
