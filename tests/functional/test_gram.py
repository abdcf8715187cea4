"""Gram matrices and their gradients."""

import pytest
import torch

from neuroalign.functional.gram import centered_gram, gram


@pytest.mark.parametrize("n", [7, 300])
def test_gram_and_its_gradients(n):
    x = torch.randn(n, 3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(gram(x), x @ x.T)
    weight = torch.randn(n, n, dtype=torch.float64)
    ours = torch.autograd.grad((gram(x) * weight).sum(), x)[0]
    torch.testing.assert_close(ours, torch.autograd.grad(((x @ x.T) * weight).sum(), x)[0])
    scale = torch.rand(3, dtype=torch.float64)
    centered = (x - x.mean(0)) * scale.sqrt()
    torch.testing.assert_close(centered_gram(x, scale)[0], centered @ centered.T)
    if n < 10:
        assert torch.autograd.gradgradcheck(gram, x)
        assert torch.autograd.gradcheck(lambda z: centered_gram(z, scale)[0], x)
        assert torch.autograd.gradgradcheck(lambda z: centered_gram(z, scale)[0], x)
