"""Published RDMs and odd-one-out choices as metrics."""

import io
import zipfile

import numpy as np
import pytest
import torch
from PIL import Image

from neuroalign import OddOneOutAccuracy, RDMSimilarity
from neuroalign.functional import compare_rdms, odd_one_out_correct, rdm, rdm_noise_ceiling
from neuroalign.models import VisualFeatures


def subjects(n=12, count=4):
    g = torch.Generator().manual_seed(0)
    signal = torch.randn(n, 6, generator=g)
    return signal, torch.stack([rdm(signal + 0.5 * torch.randn(n, 6, generator=g)) for _ in range(count)])


@pytest.mark.filterwarnings("ignore:comparison=.cosine. takes the noise")
@pytest.mark.parametrize("comparison", ["pearson", "cosine", "spearman", "whitened_cosine"])
def test_similarity_and_its_ceiling(comparison):
    x, rdms = subjects()
    metric = RDMSimilarity(rdms, comparison=comparison)
    for part in torch.randperm(12).split(5):
        metric.update(x[part], part)
    metric.update(x[:2], torch.tensor([0, 1]))
    value = metric.compute()
    lower, upper = rdm_noise_ceiling(rdms, comparison=comparison)
    torch.testing.assert_close(value["similarity"], compare_rdms(rdms, rdm(x), comparison=comparison).mean())
    torch.testing.assert_close((value["lower"], value["upper"]), (lower, upper))
    assert metric.num_stimuli == 12


def test_only_the_stimuli_that_were_seen():
    x, rdms = subjects()
    metric = RDMSimilarity(rdms[0], stimuli=range(100, 112))
    metric.update(x[:5], torch.arange(100, 105))
    metric.update(torch.randn(2, 6), torch.tensor([5, 500]))  # the RDM doesn't know these
    pairs = [i * 12 - i * (i + 1) // 2 + j - i - 1 for i in range(5) for j in range(i + 1, 5)]
    value = metric.compute()
    torch.testing.assert_close(value["similarity"], compare_rdms(rdm(x[:5]), rdms[0][pairs]))
    assert sorted(value) == ["similarity"]


def test_a_subject_whose_dissimilarities_are_constant_is_left_out():
    x, rdms = subjects(count=2)
    metric = RDMSimilarity(torch.cat([rdms, torch.ones_like(rdms[:1])]))
    metric.update(x, torch.arange(12))
    expected = (compare_rdms(rdm(x), rdms[0]) + compare_rdms(rdm(x), rdms[1])) / 2
    torch.testing.assert_close(metric.compute()["similarity"], expected)


def test_odd_one_out_accuracy():
    g = torch.Generator().manual_seed(0)
    z = torch.randn(9, 3, generator=g)
    triplets = torch.stack([torch.randperm(9, generator=g)[:3] for _ in range(30)])
    metric = OddOneOutAccuracy("cosine")
    for part in triplets.split(11):
        metric.update(z, part)
    torch.testing.assert_close(metric.compute(), odd_one_out_correct(z, triplets, similarity="cosine").mean())


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: RDMSimilarity(subjects()[1], comparison="soft_spearman"), ValueError, "measure with 'spearman'"),
        (lambda: RDMSimilarity(subjects()[1], stimuli=[1, 2]), ValueError, "each of the RDM's 12 rows once; got 2"),
        (lambda: RDMSimilarity(torch.ones(3).long()), TypeError, "floating-point tensor"),
        (
            lambda: RDMSimilarity(torch.rand(3)).update(torch.rand(2, 2), torch.arange(3)),
            ValueError,
            "2 rows of features",
        ),
        (
            lambda: RDMSimilarity(torch.rand(3)).update(np.ones((3, 2)), torch.arange(3)),
            TypeError,
            "features and stimulus must be tensors",
        ),
        (
            lambda: RDMSimilarity(torch.rand(3)).update(torch.ones(3, 2), [0, 1, 2]),
            TypeError,
            "features and stimulus must be tensors",
        ),
        (lambda: OddOneOutAccuracy("dots"), ValueError, "unknown similarity 'dots'"),
    ],
)
def test_errors(call, error, message):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric")
def test_nothing_seen():
    with pytest.raises(ValueError, match="has seen no stimuli"):
        RDMSimilarity(torch.rand(3)).compute()
    with pytest.raises(ValueError, match="Several go first: swap them"):
        compare_rdms(torch.rand(3), torch.rand(2, 3))


def test_too_few_stimuli():
    metric = RDMSimilarity(torch.rand(3))
    metric.update(torch.rand(2, 2), torch.arange(2))
    with pytest.raises(ValueError, match=r"at least 3 stimuli.*; 2 were seen"):
        metric.compute()


def test_real_regions(data_path):
    """92 objects (Kriegeskorte et al. 2008): Gabor energies resemble early visual cortex more than IT, within the ceiling."""
    with zipfile.ZipFile(data_path / "objects92/images.zip") as archive:
        names = sorted(archive.namelist())
        images = [np.asarray(Image.open(io.BytesIO(archive.read(name))).convert("RGB")) for name in names]
    x = torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).float() / 255
    features = VisualFeatures()(torch.nn.functional.interpolate(x, (64, 64), mode="area"))
    rdms = np.load(data_path / "objects92/rdms.npz")
    ours = rdm(features, dissimilarity="correlation")
    mean = {region: torch.as_tensor(rdms[region]).float().mean(0) for region in ("human_evc", "human_it")}
    r = {region: float(compare_rdms(ours, d, comparison="spearman")) for region, d in mean.items()}
    assert r["human_evc"] == pytest.approx(0.43, abs=0.02)
    assert r["human_it"] == pytest.approx(0.23, abs=0.02)
    metric = RDMSimilarity(
        torch.as_tensor(rdms["human_evc"]).float(), dissimilarity="correlation", comparison="spearman"
    )
    for part in torch.arange(92).split(30):
        metric.update(features[part], part)
    value = metric.compute()
    assert 0 < value["similarity"] < value["lower"] < value["upper"]
    shuffled = RDMSimilarity(metric.rdms, dissimilarity="correlation", comparison="spearman")
    shuffled.update(features, torch.randperm(92))
    assert abs(float(shuffled.compute()["similarity"])) < 0.1
