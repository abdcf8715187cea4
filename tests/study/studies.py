"""A study of small stages: its file, and a plan that takes little from it."""

from neuroalign.study.graph import Stage
from neuroalign.study.runs import Plan
from neuroalign.study.settings.base import resolved_path
from tests.study.tiny_stages import count_up, fail, write

FILE = """
name: Tiny
images: {source: digits, root: data.txt}
training: {epochs: 2}
conditions: {none: }
seeds: [0, 1]
fast: {training: {epochs: 1}}
"""


def in_folder(folder, monkeypatch):
    """The file of the study in a folder that is the working directory; its plan and tables are those below."""
    monkeypatch.setattr("neuroalign.study.opening.plan_study", plan)
    monkeypatch.setattr("neuroalign.study.tables.write_tables", write_tables)
    monkeypatch.chdir(folder)
    (folder / "study.yaml").write_text(FILE)
    (folder / "data.txt").write_text("data")
    return folder


def plan(study, base, look, keep_unset=False):
    """One stage from data, one for each seed, and one that needs those. A second condition fails for its first seed."""
    path = resolved_path(study.images.root, base, keep_unset=keep_unset)
    first = Stage("images", "images", write, {"value": 1.0}, data={"root": look(path)}, sources={"root": path})
    networks = [
        Stage("network", f"network {s}", write, {"value": study.training.epochs, "seed": s}, {"images": first})
        for s in study.seeds
    ]
    last = {0: Stage("transfer", "transfer", write, {"value": 0.0}, {str(i): n for i, n in enumerate(networks)})}
    if len(study.conditions) > 1:
        failing = Stage("network", "network that fails", fail, {"step": 7}, {"images": first})
        last[1] = Stage("geometry", "geometry of what failed", write, {"value": 0.0}, {"network": failing})
    if study.note:
        last[2] = Stage("slow", "slow", count_up, {"steps": 1000, "seconds": 0.1})
    return Plan(study, [], [], last)


def write_tables(plan, folder, out, *, fast=False, command=""):
    """The two files that a run looks for."""
    done = len(folder.done(plan.stages))
    (out / "results.csv").write_text(f"condition,value\nnone,{done}\n")
    (out / "comparisons.csv").write_text("treatment,control\n")
    (out / "report.html").write_text("<p>fast</p>" if fast else "<p></p>")
