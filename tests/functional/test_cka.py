"""CKA: identities, bias, number of voxels, memory."""

import pytest
import torch

from neuroalign.functional import linear_cka, rbf_cka, rsa
from neuroalign.functional.cka import _median, _median_unread
from tests import similarity_references as ref


def independent(n, p, v, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, p, generator=g), torch.randn(n, v, generator=g)


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("missing", [False, True])
def test_voxel_corrected_against_the_reference(weighted, missing):
    x, y = (z.double() for z in independent(30, 4, 6))
    y = y + 2 * x[:, :1]
    if missing:
        y[2, 1], y[:, 4] = torch.nan, torch.nan
    w = torch.tensor([0.3, 0.5, 1.0, 0.2, 0.7, 0.0]).double() if weighted else None
    value = linear_cka(x, y, voxel_corrected=True, weight=w)
    expected = ref.linear_cka_voxel_corrected(x.numpy(), y.numpy(), None if w is None else w.numpy())
    assert float(value) == pytest.approx(expected, rel=1e-8)


def test_biased_cka_is_the_whitened_cosine_of_squared_distances():
    x, y = (z.double() for z in independent(15, 6, 9))
    torch.testing.assert_close(rsa(x, y, comparison="whitened_cosine"), linear_cka(x, y, debiased=False))


def test_against_pytorch_cka():
    peer = pytest.importorskip("cka", reason="pytorch-cka is not installed (extra: peers)")
    x, y = (z.double() for z in independent(40, 6, 9))
    y = y + x[:, :1]
    assert float(linear_cka(x, y)) == pytest.approx(float(peer.cka_from_features(x, y)), rel=1e-6)
    # With a mean of 1000 its uncentred Gram matrices lose everything in float32; ours don't.
    far = linear_cka((x + 1000).float(), (y + 1000).float())
    assert float(far) == pytest.approx(float(linear_cka(x, y)), rel=1e-3)
    assert abs(float(peer.cka_from_features((x + 1000).float(), (y + 1000).float())) - float(far)) > 0.01


def test_independent_sides():
    """Biased CKA of independent data reads .96 at n = 32, p = 512, v = 2000; the debiased one is 0 on average."""
    pairs = [independent(32, 512, 2000, seed) for seed in range(30)]
    biased = torch.stack([linear_cka(x, y, debiased=False) for x, y in pairs])
    debiased = torch.stack([linear_cka(x, y) for x, y in pairs])
    assert float(biased.mean()) == pytest.approx(0.96, abs=0.01)
    assert abs(float(debiased.mean())) < 3 * float(debiased.std()) / 30**0.5
    assert float(debiased.min()) < 0  # not clamped


def test_regions_of_different_size():
    """One signal, noisy voxels: debiased CKA grows with their number, the corrected one doesn't."""
    g = torch.Generator().manual_seed(0)
    signal = torch.randn(300, 5, generator=g)

    def region(voxels):
        return signal @ torch.randn(5, voxels, generator=g) + 4 * torch.randn(300, voxels, generator=g)

    x = region(1000)
    small, large = region(30), region(3000)
    assert float(linear_cka(x, large)) > 1.5 * float(linear_cka(x, small))
    corrected = [float(linear_cka(x, y, voxel_corrected=True)) for y in (small, large)]
    assert corrected[0] == pytest.approx(corrected[1], rel=0.15)


def test_no_scale_is_too_large_or_small_for_float32():
    x, y = independent(64, 32, 48)
    y = y + x[:, :1]
    for a, b in ((1e-15, 1e-15), (1e15, 1e-15), (1e15, 1e15)):
        torch.testing.assert_close(linear_cka(a * x, b * y), linear_cka(x, y), rtol=1e-4, atol=0)


def test_rbf_bandwidth_is_the_median():
    x, y = (z.double() for z in independent(10, 3, 4))
    median = [torch.nn.functional.pdist(z).square().div(z.shape[1]).quantile(0.5) for z in (x, y)]
    given = rbf_cka(x, y, median=(float(median[0]), float(median[1])))
    torch.testing.assert_close(rbf_cka(x, y), given)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: rbf_cka(z, y, median=(1.0, 1.0)), x, atol=1e-7)


@pytest.mark.parametrize("n", [5, 6, 16])  # an odd and an even number of pairs
@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("bandwidth", [0.3, 1.0, 3.0])
def test_rbf_gradient_is_that_of_a_scale_free_function(n, missing, ties, bandwidth):
    """Orthogonal to what it moves, on both sides: otherwise the scale drifts, without end, where the loss can't reach 0."""
    x, y = (z.double() for z in independent(n, 3, 4))
    x, y = (z.round() if ties else z for z in (x, y))
    if missing:
        y[1, 2] = torch.nan
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(rbf_cka(x, y, bandwidth=bandwidth), x)
    assert float(gradient.norm()) > 1e-6
    assert abs(float((gradient * x).sum())) < 1e-12 and float(gradient.sum(0).abs().max()) < 1e-12
    if not missing:
        y.requires_grad_()
        (gradient,) = torch.autograd.grad(rbf_cka(x.detach(), y, bandwidth=bandwidth), y)
        assert abs(float((gradient * y).sum())) < 1e-12
    if not ties:  # where two distances are equal the median has a corner
        # A larger step than usual: the ratio of small debiased terms leaves few digits for a difference.
        assert torch.autograd.gradcheck(lambda z: rbf_cka(z, y, bandwidth=bandwidth), x, eps=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: linear_cka(torch.rand(3, 2), torch.rand(3, 2)),
            "debiased CKA needs at least 4 stimuli; got 3.*drop_last",
        ),
        (
            lambda: rbf_cka(torch.rand(5, 2), torch.rand(5, 2), bandwidth=0),
            "bandwidth must be positive and finite; got 0",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_given_medians_are_in_the_unit_of_the_data():
    """Those of the data, given by hand, change nothing: with missing values and in other units, too."""
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(20, 4, generator=g), torch.randn(20, 6, generator=g)
    for scale in (1.0, 1e3, 1e-9):
        for missing in (False, True):
            a, b = scale * x, scale * y.clone()
            if missing:
                b[3, 2] = b[5, 1] = torch.nan
            medians = []
            for side in (a, b):
                d = (side[:, None] - side).square().nanmean(2)[torch.ones(20, 20).triu(1) > 0].sort().values
                medians.append(float((d[94] + d[95]) / 2))
            torch.testing.assert_close(rbf_cka(a, b, median=tuple(medians)), rbf_cka(a, b), rtol=0, atol=1e-4)
            wide = rbf_cka(a.double(), b.double(), median=tuple(medians))
            torch.testing.assert_close(
                rbf_cka(10 * a.double(), b.double(), median=(100 * medians[0], medians[1])), wide
            )
            assert float((rbf_cka(10 * a.double(), b.double(), median=tuple(medians)) - wide).abs()) > 1e-3


def stable_sort_median(d, inside):
    """The two middle entries by a stable sort, as their places in the matrix."""
    places = inside.flatten().nonzero()[:, 0]
    order = d.flatten()[places].sort(stable=True).indices
    m = len(places)
    return places[order[[(m - 1) // 2, m // 2]]]


@pytest.mark.parametrize("n", [2, 3, 4, 5, 12])
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("complete", [False, True])
def test_the_median_takes_the_entries_of_a_stable_sort(n, ties, complete):
    g = torch.Generator().manual_seed(n)
    for _ in range(20):
        d = torch.randint(4, (n, n), generator=g).double() if ties else torch.rand(n, n, generator=g).double()
        d = (d + d.T).fill_diagonal_(0).requires_grad_()
        known = None if complete else torch.rand(n, n, generator=g) < 0.7
        inside = torch.ones(n, n, dtype=torch.bool).triu(1)
        inside = inside if known is None else inside & known
        every = torch.ones(n, n, dtype=torch.bool) if known is None else known
        for median in (_median(d, known), _median_unread(d, every)):
            if not inside.any():
                assert median == 0
                continue
            places = stable_sort_median(d.detach(), inside)
            assert median == d.detach().flatten()[places].sum() / 2
            (gradient,) = torch.autograd.grad(median, d)
            expected = torch.zeros(n * n, dtype=torch.float64).index_add(0, places, torch.full((2,), 0.5).double())
            torch.testing.assert_close(gradient.flatten(), expected)
