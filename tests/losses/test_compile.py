"""Losses as one compiled graph: no value is looked at, and values and gradients are those without compilation."""

import pytest
import torch

from neuroalign import NeuralAlignmentLoss

pytestmark = pytest.mark.one_graph

SETS = [
    ("cka", {}),
    ("rsa", {}),
    ("rsa", {"dissimilarity": "correlation"}),
    ("procrustes", {}),
    *(
        pytest.param(*case, marks=pytest.mark.slow)
        for case in (
            ("cka", {"momentum": 0.9}),
            ("cka", {"voxel_corrected": True}),
            ("rbf_cka", {}),
            ("rsa", {"comparison": "whitened_cosine"}),
            ("rsa", {"comparison": "soft_spearman"}),
            ("procrustes", {"alpha": 0.5}),
        )
    ),
]
VOXELWISE = [
    ("mse", {}),
    ("pearson", {}),
    ("pearson", {"over": "voxels"}),
    ("cosine", {}),
    ("gaussian_nll", {"num_voxels": 9}),
    ("gaussian_nll", {"variance": 0.5}),
    ("poisson_nll", {}),
    ("poisson_nll", {"log_input": False}),
]


@pytest.fixture(autouse=True)
def _fresh_graphs():
    torch.compiler.reset()
    yield
    torch.compiler.reset()


def answers(loss, preds, target):
    preds = preds.clone().requires_grad_()
    value = loss(preds, target)
    return value.detach(), torch.autograd.grad(value, preds)[0]


def agree(make, backend, preds, target):
    loss = make()
    compiled = torch.compile(make(), fullgraph=True, backend=backend)
    for missing in (False, True):
        if missing:
            target = target.clone()
            target[3], target[1, 2], target[:, 1] = torch.nan, torch.nan, torch.nan
        (value, gradient), (expected, reference) = answers(compiled, preds, target), answers(loss, preds, target)
        torch.testing.assert_close(value, expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(gradient, reference, rtol=1e-3, atol=1e-3 * float(reference.abs().max()))


@pytest.mark.parametrize(("name", "options"), SETS, ids=str)
def test_measures_of_sets(name, options):
    agree(lambda: NeuralAlignmentLoss(name, **options), "aot_eager", torch.randn(24, 7), torch.randn(24, 9))


@pytest.mark.parametrize("ceiling", [None, torch.linspace(0, 1, 9)], ids=["", "ceiling"])
@pytest.mark.parametrize(("name", "options"), VOXELWISE, ids=str)
def test_voxel_by_voxel(name, options, ceiling):
    agree(lambda: NeuralAlignmentLoss(name, noise_ceiling=ceiling, **options), "aot_eager", *counts(24, 9))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mse", "pearson", "cosine", "gaussian_nll", "poisson_nll"])
def test_voxel_by_voxel_by_the_default_backend(name):
    if not _has_compiler():
        pytest.skip("no C++ compiler")
    agree(lambda: NeuralAlignmentLoss(name), "inductor", *counts(24, 9))


def counts(*shape):
    """Predictions and targets that are not negative, so that they can be rates and spike counts."""
    return torch.rand(shape) + 0.1, torch.poisson(torch.rand(shape))


def test_a_batch_whose_matrix_is_computed_in_parts():
    """Without compilation, one half of a large Gram matrix is computed and mirrored."""
    agree(lambda: NeuralAlignmentLoss("cka"), "aot_eager", torch.randn(256, 130), torch.randn(256, 150))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "options"), [("cka", {}), ("procrustes", {})], ids=str)
def test_measures_of_sets_by_the_default_backend(name, options):
    if not _has_compiler():
        pytest.skip("no C++ compiler")
    agree(lambda: NeuralAlignmentLoss(name, **options), "inductor", torch.randn(24, 7), torch.randn(24, 9))


def _has_compiler():
    from torch._inductor import cpp_builder, exc

    try:
        return bool(cpp_builder.get_cpp_compiler())
    except exc.InvalidCxxCompiler:
        return False
