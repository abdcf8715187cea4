"""HSIC against the reference, and what it refuses."""

import pytest
import torch

from neuroalign.functional import hsic
from tests import similarity_references as ref


def test_hsic_against_the_reference():
    g = torch.Generator().manual_seed(0)
    x, y = (torch.randn(9, columns, generator=g, dtype=torch.float64) for columns in (4, 3))
    k, l = x @ x.T, (y @ y.T).exp()  # noqa: E741
    for debiased in (True, False):
        expected = ref.hsic(k.numpy(), l.numpy(), debiased)
        assert float(hsic(k, l, debiased=debiased)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: hsic(torch.eye(3), torch.eye(3)), "debiased HSIC needs at least 4"),
        (
            lambda: hsic(torch.rand(5, 2), torch.rand(5, 2)),
            r"two kernel matrices \(stimulus, stimulus\), such as x @ x.T",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
