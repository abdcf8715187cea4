"""The command line, as a user types it."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pandas as pd
import pytest
import torch

from neuroalign.__main__ import main

CONFIGS = Path(__file__).parents[1] / "examples/configs"


def test_help_answers_without_loading_torch():
    code = "import sys; sys.argv = ['neuroalign', '--help']\nfrom neuroalign.__main__ import main\ntry: main()\n"
    code += "except SystemExit: print('torch' in sys.modules, 'lightning' in sys.modules)"
    start = time.perf_counter()
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert time.perf_counter() - start < 5  # half a second on an idle machine: the benchmarks measure it
    assert "demo" in out
    assert out.rstrip().endswith("False False")


def test_wrong_commands(capsys):
    for argv in (["dmeo"], ["demo", "--replications", "0"]):
        with pytest.raises(SystemExit) as stop:
            main(argv)
        assert stop.value.code == 2
    command, number = capsys.readouterr().err.splitlines()
    assert command.startswith("neuroalign: unknown command 'dmeo'; did you mean 'demo'")
    assert number == "neuroalign demo: --replications: must be a whole number of at least 1; got 0"


@pytest.mark.parametrize("words", [[], ["nsd", "extract"]], ids=" ".join)
def test_help_as_a_command(words, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["help", *words])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: {' '.join(['neuroalign', *words])} ")


@pytest.mark.parametrize("option", ["--debug", None])
def test_debug_shows_where_a_mistake_was_found(option, tmp_path):
    (tmp_path / "file").touch()
    arguments = ["simulate", "--out", str(tmp_path / "file"), *([option] if option else [])]
    with pytest.raises(NotADirectoryError if option else SystemExit):
        main(arguments)


@pytest.mark.parametrize("argv", [[], ["nsd"], ["study"]], ids=" ".join)
def test_without_a_command_the_help_is_shown(argv, capsys):
    main(argv)
    said = capsys.readouterr()
    assert (
        said.out.startswith(f"usage: {' '.join(['neuroalign', *argv])} ") and "examples:" in said.out and not said.err
    )


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="signals are sent to a process group")
@pytest.mark.parametrize("whole_group", [True, False], ids=["from a terminal", "to the command alone"])
def test_ctrl_c_ends_the_demo_with_one_line(tmp_path, whole_group):
    command = [
        sys.executable,
        "-u",
        "-m",
        "neuroalign",
        "demo",
        "--fast",
        "--workers",
        "2",
        "--out",
        str(tmp_path / "demo"),
    ]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # pytest-xdist's processes ignore it
    )  # fmt: skip
    try:
        assert "done: images, seed" in running.stderr.readline()  # the processes are at work
        (os.killpg if whole_group else os.kill)(running.pid, signal.SIGINT)
        _, said = running.communicate(timeout=60)  # which also waits for whoever else holds the pipes
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(running.pid, signal.SIGKILL)
    assert running.returncode == 130
    assert said.rstrip().endswith(
        f"neuroalign demo: stopped; the same command goes on from what is in {tmp_path / 'demo'}"
    )
    assert "Traceback" not in said


@pytest.fixture(scope="module")
def demo(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo")
    command = [sys.executable, "-m", "neuroalign", "demo", "--fast", "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return out, done.stdout


CONDITIONS = {"none", "label only", "random predictor", "shuffled in a batch", "shuffled fit", "neural guidance",
              "manifold guidance", "random geometry", "no brain"}  # fmt: skip


@pytest.mark.slow
class TestDemo:
    def test_files(self, demo):
        names = {p.name for p in demo[0].iterdir()}
        assert names >= {"report.html", "study.json", "study.yaml", "stages"}
        assert names >= {f"{n}.csv" for n in ("results", "comparisons", "prediction", "geometry", "factors")}
        for name in ("robustness", "advantage", "geometry", "prediction"):
            assert (demo[0] / f"{name}.png").read_bytes().startswith(b"\x89PNG")

    def test_nothing_of_it_is_pickled(self, demo):
        kinds = {p.suffix for p in (demo[0] / "stages").rglob("*") if p.is_file()}
        nsd = {".hdf5", ".gz", ".mat", ".tsv", ""}  # the simulated subject, in NSD's layout
        assert kinds <= {".json", ".csv", ".safetensors", ".h5"} | nsd, kinds

    def test_results(self, demo):
        table = pd.read_csv(demo[0] / "results.csv", keep_default_na=False)
        assert list(table) == ["subject", "region", "condition", "seed", "measure", "eps", "value", "n"]
        assert set(table["condition"]) - {""} == CONDITIONS
        assert set(table["seed"]) == {0, 1}
        accuracy = table[table["measure"] == "pgd accuracy"]
        assert len(accuracy) == 2 * 11 * 2  # budgets, networks, seeds
        assert (accuracy["n"] == 350).all() and accuracy["value"].astype(float).between(0, 1).all()
        of_none = accuracy["condition"] == "none"
        assert (accuracy["subject"][of_none] == "").all() and (accuracy["subject"][~of_none] == "simulated").all()
        assert {"capacity", "radius", "dimension"} < set(table["measure"])

    def test_comparisons(self, demo):
        table = pd.read_csv(demo[0] / "comparisons.csv", keep_default_na=False)
        columns = ["treatment", "control", "difference", "low", "high", "unit", "n", "p", "p_holm"]
        assert list(table)[:9] == columns and len(table) == 9
        assert (table["unit"] == "replication").all() and (table["n"] == 2).all()
        p, p_holm = table["p"].astype(float), table["p_holm"].astype(float)
        assert (p > 0).all() and (p <= p_holm).all() and (p_holm <= 1).all()
        assert (table["low"] <= table["difference"]).all() and (table["difference"] <= table["high"]).all()
        results = pd.read_csv(demo[0] / "results.csv", keep_default_na=False)
        of = results[(results["measure"] == "pgd accuracy") & (results["eps"].astype(str) == "0.02")]
        mean = of.groupby(["condition", "region"])["value"].mean()
        wanted = mean["neural guidance", "TO"] - mean["none", ""]
        assert table["difference"][0] == pytest.approx(wanted)

    def test_other_tables(self, demo):
        factors = pd.read_csv(demo[0] / "factors.csv").groupby("condition")["factor"]
        assert set(factors.groups) == CONDITIONS - {"none", "neural guidance", "manifold guidance"}
        assert factors.mean().between(0.2, 5).all()  # every control, at the scale of its treatment
        prediction = pd.read_csv(demo[0] / "prediction.csv")
        assert prediction.groupby(["region", "fit", "seed"]).size().eq(80).all()

    def test_the_page_needs_no_other_file(self, demo):
        page = (demo[0] / "report.html").read_text()
        for name in ("robustness", "advantage", "trend", "plane", "geometry", "prediction", "similarity", "mds"):
            assert f'aria-label="Figure: {name}"' in page
        assert page.count("data:image/png;base64,") == len(list(demo[0].glob("*.png")))
        assert 'src="http' not in page
        assert "simulated" in page

    def test_what_the_terminal_says(self, demo):
        text = " ".join(demo[1].split())
        assert "simulated subject" in text
        assert "of 2 seeds" in text
        assert "Verdict." in text
        assert "trains too little" in text
        assert "neural guidance (TO) - shuffled fit (TO)" in text
        assert "the effect planted" in text

    def test_the_same_command_again_does_nothing(self, demo):
        out = demo[0]
        before = {p: p.stat().st_mtime_ns for p in (out / "stages").glob("*/stage.json")}
        done = subprocess.run(
            [sys.executable, "-m", "neuroalign", "demo", "--fast", "--out", str(out)],
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0 and "Nothing to do" in done.stdout
        assert {p: p.stat().st_mtime_ns for p in (out / "stages").glob("*/stage.json")} == before

    def test_other_settings_run_what_depends_on_them(self, demo, tmp_path):
        """A stage that another budget doesn't change is found, whatever command asks for it."""
        out = tmp_path / "copy"
        shutil.copytree(demo[0], out)
        file = Path(__file__).parents[1] / "examples/studies/simulated.yaml"
        command = [sys.executable, "-m", "neuroalign", "study", "plan", file, "--fast", "--out", out, "--no-probe", "--all",
                   "--set", "seeds=[0, 1]", "--set", "evaluations.robustness.pgd.eps=[0.03]"]  # fmt: skip
        done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        stale = [line for line in done.stdout.splitlines() if "stale" in line and "of network" in line]
        assert len(stale) == 22 and all("pgd of network" in line for line in stale)


def test_simulate(tmp_path, capsys):
    main(["simulate", "--out", str(tmp_path / "nsd")])
    assert "simulated subject" in capsys.readouterr().out
    with pytest.raises(SystemExit) as stop:
        main(["simulate", "--out", str(tmp_path / "nsd")])
    assert stop.value.code == 2
    assert capsys.readouterr().err == f"neuroalign simulate: {tmp_path / 'nsd'} is not empty\n"


@pytest.mark.slow
def test_configurations_run_one_after_the_other(tmp_path, monkeypatch, capsys):
    """The README's way by configuration: simulate, predict, guide, test."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["neuroalign"])
    main(["simulate", "--out", "nsd"])
    fast = ["--trainer.accelerator=cpu", "--trainer.max_epochs=1", "--trainer.limit_train_batches=2",
            "--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]  # fmt: skip
    main(["fit", "--config", str(CONFIGS / "predict_v4.yaml"), *fast])
    checkpoint = tmp_path / "runs/predict_v4/predictor.ckpt"
    assert torch.load(checkpoint, weights_only=True)["hyper_parameters"]["predictor"]
    main(["fit", "--config", str(CONFIGS / "guide_v4.yaml"), *fast])
    guided = tmp_path / "runs/guide_v4/guided.ckpt"
    main(["test", "--config", str(CONFIGS / "guide_v4.yaml"), "--ckpt_path", str(guided), *fast])
    text = capsys.readouterr().out
    assert "test/accuracy" in text
    name = "robust_accuracy/pgd10-linf-margin-cosine/eps=0.08"
    assert any(
        name.startswith(word) for word in re.findall(r"robust_accuracy/pgd10[a-z0-9=./-]*", text)
    )  # in a narrow terminal, cut
    for command in ("validate", "predict"):
        main([command, "--config", str(CONFIGS / "guide_v4.yaml"), "--ckpt_path", str(guided), *fast])
    from neuroalign import GuidedClassificationTask

    again = GuidedClassificationTask.load_from_checkpoint(guided)
    assert again(torch.rand(2, 3, 8, 8)).shape == (2, 10)
    assert again.guidance is not None
    for command in ("test", "validate", "predict"):
        with pytest.raises(SystemExit):
            main([command, "--config", str(CONFIGS / "guide_v4.yaml"), *fast])
        assert "needs --ckpt_path FILE" in capsys.readouterr().err
