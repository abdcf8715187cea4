"""The benchmark for GPUs runs to its end at a tiny size, and says what it needs where there is no GPU."""

import pytest
import torch

from tests.benchmarks import gpu


def test_it_runs_small(capsys):
    gpu.main(["--smoke"])
    printed = capsys.readouterr().out
    for row in ("unguided", "1 head, targets stored", "7 heads, one predictor", "robustness curve"):
        assert row in printed
    assert "failed" not in printed and "left out" not in printed


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_it_says_that_it_needs_a_gpu():
    with pytest.raises(SystemExit, match="needs a GPU, and torch finds none"):
        gpu.main([])
