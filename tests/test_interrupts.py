"""Ctrl-C ends a command at once, by one line and exit status 130, and what was written stays."""

import contextlib
import os
import signal
import subprocess
import sys
import time

import pytest
import torch

from neuroalign import GuidedNetwork

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(sys.platform == "win32", reason="signals are sent to a process group"),
]
FIT = """
seed_everything: 0
trainer:
  accelerator: cpu
  max_epochs: 1000
  logger: false
  enable_model_summary: false
  enable_progress_bar: false
  callbacks:
    - class_path: lightning.pytorch.callbacks.ModelCheckpoint
      init_args: {dirpath: runs, filename: last, every_n_epochs: 1, enable_version_counter: false}
model:
  class_path: neuroalign.tasks.GuidedClassificationTask
  init_args:
    network:
      class_path: neuroalign.models.GuidedNetwork
      init_args: {backbone: small_resnet, num_classes: 10, image_shape: [3, 8, 8]}
data:
  class_path: neuroalign.data.GuidanceDataModule
  init_args: {dataset: digits, batch_size: 100, num_workers: WORKERS}
"""


@contextlib.contextmanager
def running(arguments, folder):
    command = subprocess.Popen(
        [sys.executable, "-u", "-m", "neuroalign", *arguments], cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # pytest-xdist's processes ignore it
    )  # fmt: skip
    try:
        yield command
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(command.pid, signal.SIGKILL)


def wait_for(condition, command):
    end = time.monotonic() + 120
    while not condition():
        assert command.poll() is None, command.communicate()[1][-2000:]
        assert time.monotonic() < end
        time.sleep(0.02)


def stopped(command, name, whole_group=True):
    before = time.monotonic()
    (os.killpg if whole_group else os.kill)(command.pid, signal.SIGINT)
    _, said = command.communicate(timeout=60)
    took = time.monotonic() - before
    assert command.returncode == 130, said[-2000:]
    assert said.rstrip().splitlines()[-1].startswith(f"neuroalign {name}: stopped")
    assert "Traceback" not in said and "Detected KeyboardInterrupt" not in said
    assert took < 20  # a second or two on an idle machine
    return said


@pytest.mark.parametrize("workers", [0, 1])
def test_fit_in_the_middle(tmp_path, workers):
    (tmp_path / "fit.yaml").write_text(FIT.replace("WORKERS", str(workers)))
    checkpoint = tmp_path / "runs/last.ckpt"
    with running(["fit", "--config", "fit.yaml"], tmp_path) as command:
        wait_for(checkpoint.exists, command)
        stopped(command, "fit", whole_group=not workers)
    assert torch.load(checkpoint, weights_only=True)["epoch"] >= 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["fit", "--config", "fit.yaml"],
        ["test", "--config", "fit.yaml"],
        ["evaluate", "--ckpt", "resnet18", "--data", "digits"],
        ["geometry", "--data", "a.csv"],
        ["simulate", "--out", "tree"],
    ],
    ids=lambda arguments: arguments[0],
)
def test_while_a_command_starts(tmp_path, arguments):
    """In the imports, which take longer than this: Python has been started by then."""
    code = (
        "import sys, builtins, os, signal\n"
        f"sys.argv = ['neuroalign', *{arguments!r}]\n"
        "original = builtins.__import__\n"
        "def interrupted(name, *more, **named):\n"
        "    if name == 'torch':\n"
        "        builtins.__import__ = original\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "    return original(name, *more, **named)\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "from neuroalign.__main__ import main\n"
        "builtins.__import__ = interrupted\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 130, done.stderr[-2000:]
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"neuroalign {arguments[0]}: stopped")


@pytest.mark.parametrize("whole_group", [True, False], ids=["from a terminal", "to the command alone"])
def test_evaluate_in_the_middle(tmp_path, whole_group):
    torch.manual_seed(0)
    GuidedNetwork("resnet18", 10, image_shape=(3, 8, 8)).save(tmp_path / "chance.safetensors")  # a tenth is right
    arguments = ["evaluate", "--ckpt", "chance.safetensors", "--data", "digits", "--out", "out"]
    with running(arguments, tmp_path) as command:
        wait_for(lambda: any(tmp_path.glob("out/*")), command)
        stopped(command, "evaluate", whole_group)
    assert not list(tmp_path.glob("out/.*")), "a half-written file was left"


def test_simulate_in_the_middle(tmp_path):
    with running(["simulate", "--out", "tree"], tmp_path) as command:
        wait_for((tmp_path / "tree").exists, command)
        assert "Wrote a simulated subject" not in stopped(command, "simulate")
