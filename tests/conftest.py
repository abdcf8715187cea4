"""Fixtures that many tests share."""

import contextlib
import os
from pathlib import Path

import numpy as np
import pytest
import torch

if "PYTEST_XDIST_WORKER" in os.environ:  # threads of several workers would stand in each other's way
    torch.set_num_threads(1)
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from neuroalign.data import load_digits, write_simulated_nsd

ONE_GRAPH = "2.14"
"""The oldest torch with which every test of one graph was seen to pass; with 2.9, 137 of 140 do, with 2.6 and 2.8 few."""


def pytest_collection_modifyitems(items):
    """The longest files first, so that no process is left with one of them at the end; skip what can't be done here."""
    longest = ("test_examples.py", "test_main.py", "test_docs.py")
    items.sort(key=lambda item: item.path.name not in longest)
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("cuda"):
                item.add_marker(pytest.mark.skip(reason="torch finds no GPU here"))
    if torch.__version__ < ONE_GRAPH:
        for item in items:
            if item.get_closest_marker("one_graph"):
                item.add_marker(pytest.mark.skip(reason=f"torch {torch.__version__} can't compile it as one graph"))


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)
    np.random.seed(0)


@pytest.fixture(scope="session")
def digits():
    return load_digits()


@pytest.fixture(scope="session")
def subject(tmp_path_factory, digits):
    """A simulated subject, hdf5: 750 images, three trials each, in three sessions."""
    images, labels = digits
    return write_simulated_nsd(tmp_path_factory.mktemp("nsd") / "tree", images[:750], labels[:750], num_voxels=20)


@pytest.fixture
def data_path():
    """The folder of real data, from NEUROALIGN_DATA."""
    path = os.environ.get("NEUROALIGN_DATA")
    if not path or not Path(path).is_dir():
        pytest.skip("NEUROALIGN_DATA names no folder: the real recordings are not here")
    return Path(path)


@pytest.fixture
def minutes(monkeypatch):
    """What long work says after each minute: functions to call in place of the thread that waits."""
    says = []

    @contextlib.contextmanager
    def without_thread(say):
        says.append(say)
        yield

    for module in ("neuroalign.progress", "neuroalign.study.display"):
        monkeypatch.setattr(f"{module}.EveryMinute", without_thread)
    return says


@pytest.fixture
def quiet_trainer(tmp_path):
    """A Trainer that leaves nothing behind and says nothing."""

    def make(**kwargs):
        import lightning as L

        options = {
            "accelerator": "cpu",
            "devices": 1,
            "logger": False,
            "enable_checkpointing": False,
            "enable_progress_bar": False,
            "enable_model_summary": False,
            "max_epochs": 1,
            "default_root_dir": tmp_path,
            **kwargs,
        }
        return L.Trainer(**options)

    return make
