"""When values may be looked at."""

import copy

import pytest
import torch

from neuroalign.functional.host import FirstBatch, readable, spoil


def test_the_cpu_is_readable_and_others_are_not():
    assert readable(torch.zeros(1))
    assert not readable(torch.zeros(1, device="meta"))


def test_a_compiled_graph_reads_nothing():
    def choose(x):
        return x + 1 if readable(x) else x - 1

    assert torch.compile(choose, backend="eager", fullgraph=True)(torch.zeros(1)).item() == -1


def test_only_the_first_batch_elsewhere():
    looks, away = FirstBatch(), torch.zeros(1, device="meta")
    assert [looks(away), looks(away), looks(torch.zeros(1)), copy.deepcopy(looks)(away)] == [True, False, True, False]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_what_is_wrong_becomes_nan_with_its_gradient(dtype):
    x = torch.tensor(3.0, dtype=dtype, requires_grad=True)
    for wrong in (False, True):
        value = spoil(2 * x, torch.tensor(wrong))
        (gradient,) = torch.autograd.grad(value, x)
        assert value.dtype == dtype and bool(value.isnan()) == bool(gradient.isnan()) == wrong
