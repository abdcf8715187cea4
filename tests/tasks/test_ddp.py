"""Two gloo processes equal one: weights, metrics and what the callbacks log."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow  # half a minute of starting processes
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def outcome(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ddp")
    script = [sys.executable, "-W", "ignore", "-m", "tests.tasks.ddp_script", str(folder), str(folder / "result.json")]
    done = subprocess.run(script, capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads((folder / "result.json").read_text())


@pytest.mark.parametrize("task", ["guided", "many", "sparse", "predicted"])
def test_weights(outcome, task):
    assert outcome["worst"][task] < 1e-5


@pytest.mark.parametrize("task", ["guided", "predicted"])
def test_metrics(outcome, task):
    one, two = ({k: v for k, v in found.items() if not k.startswith("alignment")} for found in outcome["metrics"][task])
    assert set(one) == set(two)
    for name, value in one.items():
        # A sampler repeats an image to even out: torchmetrics' accuracy and mean losses count it, ours don't.
        repeated = name in ("val/accuracy", "val/task_loss")
        assert two[name] == pytest.approx(value, abs=0.02 if repeated else 1e-4), name


def test_the_share_of_batches_with_nothing_to_compare(outcome):
    """That of the global batches, and the means over the others."""
    one, two = outcome["metrics"]["sparse"]
    assert 0 < one["alignment/3/V4/cka/empty"] < 1
    for name in ("3/V4/cka", "4/TO/mse"):
        for kind in ("mean", "empty"):
            key = f"alignment/{name}/{kind}"
            assert two[key] == pytest.approx(one[key], rel=1e-4), key


def test_callbacks_took_part(outcome):
    names = outcome["metrics"]["guided"][1]
    assert any(n.startswith("robust_accuracy/fgsm-linf/") for n in names)
    assert "geometry/network.trunk.backbone.3/capacity" in names
