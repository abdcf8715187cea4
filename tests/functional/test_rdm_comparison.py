"""RDMs and their comparison, against the reference and rsatoolbox."""

import numpy as np
import pytest
import torch
from scipy import stats
from scipy.spatial.distance import pdist

from neuroalign.functional import compare_rdms, rdm, rdm_noise_ceiling, square_rdm
from tests import similarity_references as ref

DISSIMILARITIES = ("sqeuclidean", "correlation", "cosine")


def responses(seed=0, n=12, v=7, missing=0.0):
    g = torch.Generator().manual_seed(seed)
    y = torch.randn(n, v, generator=g, dtype=torch.float64)
    y[torch.rand(n, v, generator=g) < missing] = torch.nan
    return y


@pytest.mark.parametrize("dissimilarity", DISSIMILARITIES)
@pytest.mark.parametrize("missing", [0.0, 0.2, 0.6])
@pytest.mark.parametrize("weighted", [False, True])
def test_rdm_against_the_reference(dissimilarity, missing, weighted):
    y = responses(1, missing=missing)
    w = torch.linspace(0.1, 1, 7).double() if weighted else None
    expected = ref.rdm(y.numpy(), None if w is None else w.numpy(), dissimilarity)
    value = rdm(y, dissimilarity=dissimilarity, weight=w)
    np.testing.assert_allclose(value.numpy(), expected, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dissimilarity", DISSIMILARITIES)
def test_rdm_against_scipy(dissimilarity):
    y = responses()
    expected = pdist(y.numpy(), dissimilarity) / (7 if dissimilarity == "sqeuclidean" else 1)
    np.testing.assert_allclose(rdm(y, dissimilarity=dissimilarity).numpy(), expected, rtol=1e-10)


@pytest.mark.parametrize("dissimilarity", DISSIMILARITIES)
def test_near_duplicates_are_right_in_float32(dissimilarity):
    """Patterns that differ by a thousandth of their mean: in float32 one minus their cosine would be noise."""
    y = (responses(n=40, v=100) + 1000).float()
    expected = pdist(y.double().numpy(), dissimilarity) / (100 if dissimilarity == "sqeuclidean" else 1)
    np.testing.assert_allclose(rdm(y, dissimilarity=dissimilarity).numpy(), expected, rtol=2e-3)


def test_undefined_pairs_are_nan():
    y = torch.tensor([[1.0, torch.nan], [torch.nan, 2.0], [1.0, 3.0]])
    assert rdm(y).isnan().tolist() == [True, False, False]
    constant = torch.tensor([[1.0, 1.0], [0.0, 2.0], [1.0, 3.0]])
    assert rdm(constant, dissimilarity="correlation").isnan().tolist() == [True, True, False]


@pytest.mark.parametrize("comparison", ["pearson", "cosine", "spearman", "soft_spearman", "whitened_cosine"])
def test_comparisons_against_the_reference(comparison):
    a, b = rdm(responses(0)), rdm(responses(1) + responses(0))
    expected = ref.compare_rdms(a.numpy(), b.numpy(), comparison)
    assert float(compare_rdms(a, b, comparison=comparison)) == pytest.approx(expected, rel=1e-9)
    if comparison != "whitened_cosine":
        b[3] = torch.nan
        expected = ref.compare_rdms(a.numpy(), b.numpy(), comparison)
        assert float(compare_rdms(a, b, comparison=comparison)) == pytest.approx(expected, rel=1e-9)


def test_ranks_with_ties():
    a, b = torch.tensor([1.0, 2.0, 2.0, 3.0, 0.0, 2.0]), torch.tensor([1.0, 1.0, 2.0, 5.0, 1.0, 0.0])
    expected = ref.compare_rdms(a.numpy(), b.numpy(), "spearman")
    assert float(compare_rdms(a, b, comparison="spearman")) == pytest.approx(expected, rel=1e-6)


def test_soft_ranks_become_ranks_and_values():
    a, b = rdm(responses(0)), rdm(responses(1) + responses(0))
    hard = compare_rdms(a, b, comparison="spearman")
    torch.testing.assert_close(compare_rdms(a, b, comparison="soft_spearman", temperature=1e-5), hard)
    linear = compare_rdms(a, b, comparison="pearson")
    soft = compare_rdms(a, b, comparison="soft_spearman", temperature=1e3)
    torch.testing.assert_close(soft, linear, rtol=1e-3, atol=0)


@pytest.mark.parametrize("comparison", ["pearson", "cosine", "spearman"])
def test_noise_ceiling(comparison):
    signal = responses(0)
    rdms = torch.stack([rdm(signal + 0.5 * responses(s)) for s in range(1, 5)])
    lower, upper = rdm_noise_ceiling(rdms, comparison=comparison)
    assert lower < upper
    if comparison != "spearman":
        assert (float(lower), float(upper)) == pytest.approx(ref.rdm_noise_ceiling(rdms.numpy(), comparison), rel=1e-9)
    rsatoolbox = pytest.importorskip("rsatoolbox", reason="rsatoolbox is not installed (extra: peers)")
    from rsatoolbox.inference.noise_ceiling import boot_noise_ceiling

    names = {"pearson": "corr", "cosine": "cosine", "spearman": "spearman"}
    peer = boot_noise_ceiling(rsatoolbox.rdm.RDMs(rdms.numpy()), method=names[comparison])
    assert (float(lower), float(upper)) == pytest.approx([float(np.squeeze(p)) for p in peer], rel=1e-6)


def test_real_rdms(data_path):
    """92 objects (Kriegeskorte et al. 2008): human IT is like monkey IT, early visual cortex isn't."""
    d = np.load(data_path / "objects92/rdms.npz")
    human, evc, monkey = (torch.as_tensor(d[k]).double().mean(0) for k in ("human_it", "human_evc", "monkey_it"))
    it = float(compare_rdms(human, monkey, comparison="spearman"))
    assert it == pytest.approx(stats.spearmanr(human, monkey)[0], rel=1e-9)
    assert it == pytest.approx(0.49, abs=0.01)
    assert float(compare_rdms(evc, monkey, comparison="spearman")) < it / 2
    subjects = torch.as_tensor(d["human_it"]).double()
    lower, upper = rdm_noise_ceiling(subjects, comparison="spearman")
    assert float(lower) == pytest.approx(0.45, abs=0.01)  # a subject and the mean of the others
    assert compare_rdms(subjects, monkey, comparison="spearman").mean() < lower < upper


def test_square_form():
    d = rdm(responses())
    square = square_rdm(d)
    assert torch.equal(square, square.T)
    np.testing.assert_array_equal(square.numpy()[np.triu_indices(12, 1)], d.numpy())
    assert square_rdm(torch.stack([d, d])).shape == (2, 12, 12)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: rdm(responses(), dissimilarity="euclidean"),
            "unknown dissimilarity 'euclidean': it must be 'sqeuclidean', 'correlation' or 'cosine'",
        ),
        (lambda: rdm(responses()[:1]), "at least 2 stimuli; got 1"),
        (lambda: compare_rdms(torch.rand(3), torch.rand(6)), "RDMs of 3 and 6 pairs"),
        (lambda: square_rdm(torch.rand(5)), r"5 is not a number of pairs n\(n-1\)/2"),
        (lambda: rdm_noise_ceiling(torch.rand(1, 3)), "at least 2 subjects"),
        (lambda: rdm_noise_ceiling(torch.rand(2, 3), comparison="soft_spearman"), "use spearman"),
        (
            lambda: compare_rdms(torch.tensor([1.0, torch.nan, 2.0]), torch.rand(3), comparison="whitened_cosine"),
            "needs every pair of stimuli, and 1 are missing",
        ),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
