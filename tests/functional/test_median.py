import numpy as np
import pytest
import torch

from neuroalign.functional.median import nanmedian


@pytest.mark.parametrize("size", [1, 2, 3, 10, 11])
def test_against_numpy(size):
    x = torch.randn(size + 2, dtype=torch.float64)
    x[[0, -1]] = torch.nan
    assert float(nanmedian(x)) == float(np.nanmedian(x.numpy()))
    assert float(nanmedian(x[1:-1])) == float(np.median(x.numpy()[1:-1]))


def test_of_nothing_and_of_infinite_numbers():
    assert nanmedian(torch.full((3,), torch.nan)).isnan()
    assert nanmedian(torch.empty(0)).isnan()
    assert float(nanmedian(torch.tensor([torch.inf, torch.inf, 1.0]))) == torch.inf


def test_of_more_numbers_than_torch_takes_quantiles_of():
    x = torch.zeros(2**24 + 2)
    x[2**23 + 1 :] = 1
    assert float(nanmedian(x)) == 0.5
