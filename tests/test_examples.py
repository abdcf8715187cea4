"""The examples run."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(tmp_path, *arguments, **environment):
    command = [sys.executable, "-W", "ignore", *map(str, arguments)]
    return subprocess.run(
        command, cwd=tmp_path, capture_output=True, text=True, env={**os.environ, **environment}, timeout=500
    )


@pytest.mark.slow
def test_quickstart(tmp_path):
    done = run(tmp_path, EXAMPLES / "quickstart.py", "--fast")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "simulated subject" in done.stdout


@pytest.mark.slow
def test_own_data(tmp_path):
    done = run(tmp_path, EXAMPLES / "own_data.py", "--fast")
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.startswith("MADE-UP data") and done.stderr == ""
    assert re.search(r"^val/correlation \S+, val/normalized_correlation \S+$", done.stdout, re.MULTILINE)
    assert re.findall(r"^(no guidance|guided)  ", done.stdout, re.MULTILINE) == ["no guidance", "guided"]


def test_own_data_needs_under_twenty_lines_of_the_user():
    page = (EXAMPLES.parent / "docs/own_data.md").read_text()
    way = page.split("The whole way:")[1].split("```python\n")[1].split("```")[0]
    assert len([line for line in way.splitlines() if line.strip()]) < 20 and "ResponsesDataModule" in way


@pytest.mark.slow
def test_recordings(tmp_path, data_path):
    done = run(tmp_path, EXAMPLES / "recordings.py", "--data", data_path, "--out", "out")
    assert done.returncode == 0, done.stderr[-2000:]
    line = r"^(.*?): median r (\S+) over \d+ \(best tenth (\S+)\); fitted to shuffled responses (\S+)$"
    found = {name: tuple(map(float, numbers)) for name, *numbers in re.findall(line, done.stdout, re.MULTILINE)}
    r, best, shuffled = found["macaque V4"]
    assert r > 0.45 and abs(shuffled) < 0.1
    r, best, shuffled = found["human early visual cortex"]
    assert best > 0.45 and r > shuffled + 0.1
    assert (tmp_path / "out/haxby_reliability.png").exists() and (tmp_path / "out/haxby_reliability.nii.gz").exists()


def run_study(tmp_path, name, data_path):
    """The fast form of a study on real recordings, by the command line."""
    file = EXAMPLES / f"studies/{name}.yaml"
    done = run(
        tmp_path, "-m", "neuroalign", "study", "run", file, "--fast", "--out", "out", NEUROALIGN_DATA=str(data_path)
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-3000:]
    assert "Verdict" not in done.stdout or "trains too little" in " ".join(done.stdout.split())
    return pd.read_csv(tmp_path / "out/results.csv", keep_default_na=False)


@pytest.mark.slow
def test_macaque_v1_and_v4(tmp_path, data_path):
    results = run_study(tmp_path, "v1_v4", data_path)
    assert {"none", "neural guidance", "shuffled fit", "label only", "adversarial + shuffled fit"} <= set(
        results["condition"]
    )
    prediction = pd.read_csv(tmp_path / "out/prediction.csv", keep_default_na=False)
    r = prediction[prediction["correlation"] != ""].astype({"correlation": float})
    r = r.groupby(["region", "fit"])["correlation"].mean()
    # A fit on real recordings, not a stand-in: far above its own shuffled control.
    assert r["V4", "right"] > 0.4 and r["V1", "right"] > 0.3
    assert abs(r["V4", "shuffled"]) < 0.15 and abs(r["V1", "shuffled"]) < 0.2


@pytest.mark.slow
@pytest.mark.parametrize("name", ["robustness", "shape_bias", "evc_it"])
def test_the_other_studies_on_real_data(tmp_path, data_path, name):
    results = run_study(tmp_path, name, data_path)
    measures = set(results["measure"])
    assert any(measure.endswith(" accuracy") for measure in measures)
    if name == "shape_bias":
        assert "shape bias" in measures
    if name == "robustness":
        assert any("corruption" in measure for measure in measures) and (tmp_path / "out/transfer.csv").exists()


@pytest.mark.slow
@pytest.mark.parametrize("config", sorted((EXAMPLES / "configs").glob("*.yaml")), ids=lambda config: config.stem)
def test_configurations_are_those_of_the_command_line(config, tmp_path):
    done = run(tmp_path, "-m", "neuroalign", "fit", "--config", config, "--print_config")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "class_path: neuroalign.tasks." in done.stdout
