"""Leading directions: how many hold a share of the variance, and that rounding adds none."""

import pytest
import torch

from neuroalign.functional.directions import leading_directions, num_leading


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_shares_that_are_exact_up_to_rounding_need_no_further_direction(dtype):
    s = torch.full((10,), 0.1, dtype=dtype)  # whose squares don't sum to 1 exactly
    assert [num_leading(s, share / 10) for share in range(1, 11)] == list(range(1, 11))


def test_float64_tells_small_directions_that_float32_takes_for_rounding():
    s = torch.tensor([1.0, 1e-4], dtype=torch.float64)
    assert num_leading(s, 1.0) == 2
    assert num_leading(s.float(), 1.0) == 1


def test_nothing_varies():
    assert num_leading(torch.zeros(3), 0.5) == 0
    assert num_leading(torch.zeros(0), 0.5) == 0
    assert leading_directions(torch.zeros(4, 3), 0.9).shape == (0, 3)


def test_directions_are_orthonormal_and_span_the_largest_variance():
    basis = torch.linalg.qr(torch.randn(8, 8, dtype=torch.float64)).Q
    x = torch.randn(60, 8, dtype=torch.float64) * torch.tensor([9.0, 7, 5, 1e-3, 1e-3, 0, 0, 0]) @ basis
    found = leading_directions(x, 0.999)
    torch.testing.assert_close(found @ found.T, torch.eye(3, dtype=torch.float64))
    assert float((x - x @ found.T @ found).norm() / x.norm()) < 1e-3


def test_rounding_left_by_centering_is_no_direction():
    x = torch.full((5, 3), 1e3) + torch.tensor([[1e-4], [0.0], [0.0], [0.0], [0.0]])  # one unit in the last place
    assert len(leading_directions(x - x.mean(0), 0.9, size=x.abs().max())) == 0
