"""Small stages, whose work other processes can import."""

import os
import signal
import sys
import time
from pathlib import Path

from neuroalign.study.graph import Resources, Stage


def write(work):
    """A number into a table: that of the settings, plus those of the results that are needed."""
    total = work.settings["value"] + sum(float((p / "value.csv").read_text()) for p in work.inputs.values())
    time.sleep(work.settings.get("seconds", 0.0))
    (work.out / "value.csv").write_text(f"{total}\n")


def count_up(work):
    """Steps of a training: each is kept in the scratch folder, so that a killed one goes on."""
    kept = work.scratch / "steps"
    for step in range(len(kept.read_text()) if kept.exists() else 0, work.settings["steps"]):
        time.sleep(work.settings["seconds"])
        with kept.open("a") as file:
            file.write("x")
        work.report(f"step {step}", step / work.settings["steps"])
    (work.out / "value.csv").write_text(f"{len(kept.read_text())}\n")


def die_once(work):
    """Kill the own process, at the first attempt only, in the middle of writing."""
    (work.out / "value.csv").write_text("half")
    if not (work.scratch / "tried").exists():
        (work.scratch / "tried").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    (work.out / "value.csv").write_text("1.0\n")


def die(work):
    os.kill(os.getpid(), signal.SIGKILL)


def fail(work):
    (work.out / "value.csv").write_text("half")
    raise ValueError(f"the loss is NaN at step {work.settings['step']}\nsecond line")


def fill_disk(work):
    raise OSError(28, "No space left on device")


def stopped(work):
    """As Lightning ends a training whose process gets SIGTERM; with ``always`` at every attempt, else once."""
    from lightning.pytorch.utilities.exceptions import SIGTERMException

    if work.settings["always"] or not (work.scratch / "tried").exists():
        (work.scratch / "tried").touch()
        raise SIGTERMException
    (work.out / "value.csv").write_text("1.0\n")


def draw(work):
    """Random numbers under the stage's seed, slowly."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(work.settings["seed"])
        values = []
        for _ in range(5):
            values.append(float(torch.rand(())))
            time.sleep(0.01)
    (work.out / "value.csv").write_text(f"{values}\n")


def leave(work):
    sys.exit(3)


def threads(work):
    import torch

    (work.out / "value.csv").write_text(f"{torch.get_num_threads()} {os.environ.get('CUDA_VISIBLE_DEVICES')}\n")


def environment(work):
    """What Lightning looks at to tell whether it was launched by SLURM."""
    (work.out / "value.csv").write_text(os.environ.get("SLURM_JOB_NAME", "none"))


def compute(work):
    """Work of one core for some seconds of processor time."""
    end = time.process_time() + work.settings["seconds"]
    while time.process_time() < end:
        sum(range(1000))
    (work.out / "value.csv").write_text("1.0\n")


def tree(width=4, **settings):
    """A stage that all others need, ``width`` in the middle, and one that needs those."""
    first = Stage("first", "first", write, {"value": 1.0})
    middle = [
        Stage("middle", f"middle {i}", write, {"value": float(i), **settings}, {"first": first}) for i in range(width)
    ]
    return [Stage("last", "last", write, {"value": 0.0}, {str(i): stage for i, stage in enumerate(middle)})]


def values(folder, stages):
    """The number in each result, by the stage's name."""
    return {stage.name: (folder.path(stage) / "value.csv").read_text() for stage in stages}


def everything_below(path):
    return sorted(str(p.relative_to(path)) for p in Path(path).rglob("*"))


def with_resources(stage, **resources):
    return Stage(stage.kind, stage.name, stage.work, stage.settings, stage.needs, resources=Resources(**resources))
