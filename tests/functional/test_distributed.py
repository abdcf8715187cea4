"""Communication that a context switches off, for the thread that opened it only."""

import threading

import pytest
import torch.distributed as dist

from neuroalign.functional import distributed


@pytest.fixture
def two_processes(monkeypatch):
    for name, value in (("is_available", True), ("is_initialized", True), ("get_world_size", 2)):
        monkeypatch.setattr(dist, name, lambda value=value: value)


def test_alone_holds_within_its_context(two_processes):
    assert distributed.world_size() == 2
    with distributed.alone():
        with distributed.alone():
            assert distributed.world_size() == 1
        assert distributed.world_size() == 1
    assert distributed.world_size() == 2
    with pytest.raises(KeyError), distributed.alone():
        raise KeyError
    assert distributed.world_size() == 2


def test_other_threads_are_not_alone(two_processes):
    seen, opened, looked = [], threading.Event(), threading.Event()

    def other():
        with distributed.alone():
            seen.append(distributed.world_size())
            opened.set()
            looked.wait(60)

    thread = threading.Thread(target=other)
    thread.start()
    assert opened.wait(60)
    assert distributed.world_size() == 2
    looked.set()
    thread.join(60)
    assert seen == [1] and distributed.world_size() == 2
