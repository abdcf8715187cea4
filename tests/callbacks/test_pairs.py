"""Images that come as pairs, without identities, are told apart by their place, on one process and on several."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from neuroalign import FGSM, evaluate_robustness
from tests.callbacks.ddp_script import Classifier, N, data


@pytest.mark.slow
def test_every_image_counts_once_on_two_processes(tmp_path):
    script = [sys.executable, "-W", "ignore", "-m", "tests.callbacks.ddp_script", str(tmp_path / "found.json")]
    done = subprocess.run(script, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-3000:]
    one, two = json.loads((tmp_path / "found.json").read_text())
    assert one["counts"] == two["counts"] == [N, N]
    assert two["logged"] == pytest.approx(one["logged"], rel=1e-3)
    truth = evaluate_robustness(Classifier(), [data()], FGSM(), [0.0, 0.02])
    logged = [one["logged"][f"robust_accuracy/fgsm-linf/eps={e}"] for e in ("0", "0.02")]
    assert logged == pytest.approx(truth["accuracy"].tolist())
    assert 0 < logged[1] < logged[0] < 1
