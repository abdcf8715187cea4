"""The examples run."""

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
import torch

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


@pytest.mark.slow
def test_real_v4(tmp_path, data_path):
    done = run(tmp_path, EXAMPLES / "real_v4.py", "--fast", "--data", data_path, "--out", "out")
    assert done.returncode == 0, done.stderr[-2000:]
    assert "there is no verdict" in done.stdout and "accuracy under attack" not in done.stdout
    predictors = pd.read_csv(tmp_path / "out/predictors.csv").set_index(["region", "predictor"])
    ridge = predictors.xs("ridge", level="predictor")
    # A fit on real recordings, not a stand-in: far above its own shuffled control, below the ceiling.
    assert ridge.loc["V4", "r"] > 0.4
    assert ridge.loc["V1", "r"] > 0.3
    assert (ridge["r, shuffled fit"].abs() < 0.15).all()
    assert (ridge["r"] < ridge["sqrt(noise ceiling)"]).all()
    accuracy = pd.read_csv(tmp_path / "out/accuracy.csv")
    assert {"none", "label only", "random", "shuffled images", "V4", "V4 shuffled fit"} <= set(accuracy["condition"])
    assert (tmp_path / "out/robustness.png").exists()


@pytest.fixture(scope="module")
def real_v4():
    """The example as a module."""
    spec = importlib.util.spec_from_file_location("real_v4_under_test", EXAMPLES / "real_v4.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses look their module up by name
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


@pytest.mark.parametrize(
    "condition", ["random", "label only", "V4 shuffled fit", "V1 shuffled fit", "shuffled images", "V4"]
)
def test_real_v4_draws_its_controls_anew_for_every_seed(real_v4, condition):
    images, responses = torch.rand(24, 3, 32, 32), torch.randn(24, 6)
    right = real_v4.fit_ridge(images, responses)
    wrong = real_v4.fit_shuffled(real_v4.fit_ridge, images, responses, [2, 3])
    settings = real_v4.Settings("", "", None, predictors={"V4": (right, wrong), "V1": (right, wrong)})
    batch = {"image": images, "label": torch.arange(24) % 10}

    def target(seed):
        with torch.no_grad():
            return real_v4.make_guidance(condition, settings, images, seed).eval().targets(batch)["brain"]

    assert torch.equal(target(2), target(2))
    if condition == "V4":  # the treatment is fitted once
        assert torch.equal(target(2), target(3))
    else:
        assert (target(2) - target(3)).abs().mean() > 0.1


def test_real_v4_says_what_it_needs(tmp_path):
    done = run(tmp_path, EXAMPLES / "real_v4.py", NEUROALIGN_DATA="")
    assert done.returncode == 2
    assert "--data or NEUROALIGN_DATA" in done.stderr


@pytest.mark.slow
def test_robustness_real(tmp_path, data_path):
    done = run(tmp_path, EXAMPLES / "robustness_real.py", "--fast", "--data", data_path, "--out", "out")
    assert done.returncode == 0, done.stderr[-2000:]
    attacks = pd.read_csv(tmp_path / "out/attacks.csv")
    assert set(attacks["model"]) == {"adversarial", "V4"}
    assert (attacks["num_images"] == 60).all()
    networks = pd.read_csv(tmp_path / "out/networks.csv")
    assert networks["masking"].str.match("passed|failed: ").all()
    bias = pd.read_csv(tmp_path / "out/shape_bias.csv")
    assert (bias["num_images"] > 50).all()
    assert (bias["num_shape"] + bias["num_texture"] <= bias["num_images"]).all()
    assert len(pd.read_csv(tmp_path / "out/transfer.csv")) == 4
    for name in ("attacks-linf.png", "corruptions.png", "paired.csv", "error_consistency.csv"):
        assert (tmp_path / "out" / name).exists()
