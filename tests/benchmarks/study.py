"""What a study costs beside its work: ``python -m tests.benchmarks.study``.

Stages that do nothing are planned (the graph, its keys, what is done), run in this process, and looked at again when all are
done; and stages that compute for a second run in two processes and in one. Limits: 10,000 stages planned and looked at again
in under 5 s each, 20 ms for each stage, two processes 1.8 times as fast as one.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt

from neuroalign.files import write_png
from neuroalign.study.engines import engine
from neuroalign.study.folder import StudyFolder
from neuroalign.study.graph import Stage, all_stages
from neuroalign.study.running import run_stages
from neuroalign.study.work import Work

PLAN_S, OVERHEAD_MS, SPEEDUP = 5.0, 20.0, 1.8


def nothing(work: Work) -> None:
    """Do nothing."""


def compute(work: Work) -> None:
    """Occupy one core for some seconds of processor time."""
    end = time.process_time() + work.settings["seconds"]
    while time.process_time() < end:
        sum(range(1000))


def study(num_stages: int) -> list[Stage]:
    """The shape of a study: a predictor for each ten networks and evaluations of them."""
    stages: list[Stage] = []
    while len(stages) < num_stages:
        group = len(stages)
        predictor = Stage("predictor", f"predictor {group}", nothing, {"seed": group, "network": {"layer": "layer3"}})
        networks = [
            Stage("network", f"network {group} {i}", nothing, {"seed": i}, {"predictor": predictor}) for i in range(5)
        ]
        tests = [
            Stage("evaluation", f"evaluation {n.name}", nothing, {"eps": 0.1}, {"network": n}) for n in networks[:4]
        ]
        stages += [predictor, *networks, *tests]
    return stages[:num_stages]


def verdict(value: float, limit: float, *, least: bool = False) -> str:
    fine = value >= limit if least else value <= limit
    return f"limit {limit:g}: {'ok' if fine else 'MISSED'}"


class Spent:
    """Seconds that passed, and seconds of processor time: on a busy machine they differ."""

    def __enter__(self) -> Spent:
        self.wall, self.cpu = -time.perf_counter(), -time.process_time()
        return self

    def __exit__(self, *error: object) -> None:
        self.wall += time.perf_counter()
        self.cpu += time.process_time()


def scheduling(num_stages: int, out: Path) -> tuple[Spent, Spent, Spent]:
    """What it takes to plan stages, to run them in this process, and to look at them again."""
    folder = StudyFolder(out / str(num_stages))
    with Spent() as plan:
        folder.done(all_stages(study(num_stages)))
    with Spent() as run:
        run_stages(study(num_stages), folder, engine("serial"))
    with Spent() as look:
        again = run_stages(study(num_stages), folder, engine("serial"))
    assert not again.done and len(again.found) == num_stages
    return plan, run, look


def speedup(num_stages: int, seconds: float, out: Path) -> float:
    """How much faster two processes are than one, started beforehand."""
    spent = []
    for workers in (1, 2):
        with engine("local", workers=workers) as local:
            warm = [Stage("warm", f"warm {i}", compute, {"seconds": 0.5, "i": i}) for i in range(workers)]
            run_stages(warm, StudyFolder(out / f"warm {workers}"), local)
            stages = [Stage("work", f"work {i}", compute, {"seconds": seconds, "i": i}) for i in range(num_stages)]
            spent.append(run_stages(stages, StudyFolder(out / f"work {workers}"), local).seconds)
    print(f"  {num_stages} stages of {seconds:g} s of one core: one process {spent[0]:.2f} s, two {spent[1]:.2f} s")
    if spent[0] > 1.3 * num_stages * seconds:
        print("  other programs keep this machine busy: repeat this when they have ended")
    return spent[0] / spent[1]


def draw(rows: dict[int, tuple[Spent, Spent, Spent]], path: Path) -> None:
    figure, axes = plt.subplots(figsize=(6, 4.6), layout="constrained")
    counts = sorted(rows)
    for i, label in enumerate(("planned", "run in this process (no work)", "looked at again when done")):
        axes.loglog(counts, [rows[n][i].cpu for n in counts], "o-", label=label)
    axes.loglog(
        counts, [n * OVERHEAD_MS / 1000 for n in counts], "k--", label=f"limit of a run, {OVERHEAD_MS:g} ms a stage"
    )
    axes.plot([10_000], [PLAN_S], "k_", markersize=18, label=f"limit of planning and looking, {PLAN_S:g} s")
    axes.set(xlabel="number of stages", ylabel="processor time in seconds", title="Cost of scheduling")
    figure.legend(fontsize="small", loc="outside lower center", ncols=2)
    write_png(figure, path)
    print(f"figure: {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1,000 stages at most, and short computations")
    parser.add_argument("--out", type=Path, help="a PNG file to draw the cost of scheduling to")
    args = parser.parse_args()
    counts = (100, 300, 1_000) if args.quick else (100, 300, 1_000, 3_000, 10_000)
    rows = {}
    with tempfile.TemporaryDirectory() as name:
        out = Path(name)
        scheduling(10, out)  # warm up
        print("stages that do nothing, s (processor time): planned; run in this process; looked at again when done")
        for n in counts:
            plan, run, look = rows[n] = scheduling(n, out)
            print(f"  {n:7,}" + "".join(f"  {spent.wall:7.2f} ({spent.cpu:6.2f})" for spent in rows[n]))
        each = 1000 * run.wall / n
        print(f"  planned {verdict(plan.wall, PLAN_S)}; looked at again {verdict(look.wall, PLAN_S)}")
        print(f"  {each:.1f} ms a stage ({1000 * run.cpu / n:.1f}), {verdict(each, OVERHEAD_MS)}")
        print("processes")
        factor = speedup(4, 0.5, out) if args.quick else speedup(8, 1.0, out)
        print(f"  {factor:.2f} times as fast ({verdict(factor, SPEEDUP, least=True)})")
    if args.out:
        draw(rows, args.out)


if __name__ == "__main__":
    main()
