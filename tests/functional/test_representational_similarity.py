"""RSA against rsatoolbox, and what it refuses."""

import numpy as np
import pytest
import torch

from neuroalign.functional import linear_cka, procrustes, rsa


def responses(seed=0, n=12, v=7):
    return torch.randn(n, v, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_bures_similarity_is_the_cosine_of_the_procrustes_angle():
    rsatoolbox = pytest.importorskip("rsatoolbox", reason="rsatoolbox is not installed (extra: peers)")
    x, y = responses(0, v=5), responses(1, v=9) + responses(0, v=9)
    rdms = [rsatoolbox.rdm.calc_rdm(rsatoolbox.data.Dataset(z.numpy()), "euclidean") for z in (x, y)]
    peer = rsatoolbox.rdm.compare(*rdms, "bures")
    assert float(procrustes(x, y)) == pytest.approx(float(np.squeeze(peer)), rel=1e-6)
    peer = rsatoolbox.rdm.compare(*rdms, "cosine_cov")
    assert float(linear_cka(x, y, debiased=False)) == pytest.approx(float(np.squeeze(peer)), rel=1e-8)


@pytest.mark.parametrize(("ours", "theirs"), [("sqeuclidean", "euclidean"), ("correlation", "correlation")])
@pytest.mark.parametrize(
    ("comparison", "peer"),
    [("pearson", "corr"), ("cosine", "cosine"), ("spearman", "spearman"), ("whitened_cosine", "cosine_cov")],
)
def test_rsa_against_rsatoolbox(ours, theirs, comparison, peer):
    rsatoolbox = pytest.importorskip("rsatoolbox", reason="rsatoolbox is not installed (extra: peers)")
    x, y = responses(0, v=5), responses(1, v=9) + responses(0, v=9)
    rdms = [rsatoolbox.rdm.calc_rdm(rsatoolbox.data.Dataset(z.numpy()), theirs) for z in (x, y)]
    expected = float(np.squeeze(rsatoolbox.rdm.compare(*rdms, peer)))
    assert float(rsa(x, y, dissimilarity=ours, comparison=comparison)) == pytest.approx(expected, rel=1e-8)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: rsa(responses(), responses(), comparison="kendall"), "unknown comparison 'kendall'"),
        (lambda: rsa(responses()[:2], responses()[:2]), "at least 3 stimuli; got 2"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
