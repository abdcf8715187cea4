"""Replications here, in processes and on Ray give the same results in the same order."""

import io

import pytest
import torch
from rich.console import Console

from neuroalign.study import run_replications


def replicate(seed, settings, progress):
    progress("working", 1)
    generator = torch.Generator().manual_seed(seed)
    progress("done", 1)
    return seed, float(torch.rand((), generator=generator)) * settings


def failing(seed, settings, progress):
    if seed == 1:
        raise ValueError("replication 1 went wrong")
    return seed


def quiet():
    return Console(file=io.StringIO())


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_processes(workers):
    results = run_replications(replicate, [3, 1, 2], 10.0, work=2, num_workers=workers, console=quiet())
    assert [seed for seed, _ in results] == [3, 1, 2]
    assert results == run_replications(replicate, [3, 1, 2], 10.0, work=2, console=quiet())


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_error_comes_through(workers):
    with pytest.raises(ValueError, match="replication 1 went wrong"):
        run_replications(failing, [0, 1], None, work=1, num_workers=workers, console=quiet())


@pytest.mark.slow
def test_ray():
    ray = pytest.importorskip("ray", reason="ray is an optional extra")
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, ignore_reinit_error=True)
    try:
        results = run_replications(replicate, [3, 1], 10.0, work=2, use_ray=True, console=quiet())
    finally:
        ray.shutdown()
    assert results == run_replications(replicate, [3, 1], 10.0, work=2, console=quiet())


def test_ray_absent_names_the_extra(monkeypatch):
    import sys

    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ImportError, match=r"neuroalign\[ray\]"):
        run_replications(replicate, [1], None, work=1, use_ray=True, console=quiet())


def test_progress_is_shown():
    console = Console(file=io.StringIO(), force_terminal=True, width=120)
    run_replications(replicate, [1], 1.0, work=2, console=console)
    assert "done" in console.file.getvalue()
