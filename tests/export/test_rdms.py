"""RDMs and responses to and from rsatoolbox, against what rsatoolbox computes itself."""

import sys

import numpy as np
import pytest
import torch

from neuroalign import Responses, from_rsatoolbox, to_rsatoolbox
from neuroalign.export import RDMSet
from neuroalign.functional import rdm


@pytest.fixture
def rsatoolbox():
    return pytest.importorskip("rsatoolbox", reason="rsatoolbox is not installed (extra: peers)")


NAMES = [f"image{i}" for i in range(5)]


@pytest.mark.parametrize(("ours", "method"), [("sqeuclidean", "euclidean"), ("correlation", "correlation")])
def test_the_values_and_the_order_of_pairs_are_theirs(rsatoolbox, ours, method):
    x = torch.randn(5, 30, dtype=torch.float64)
    theirs = rsatoolbox.rdm.calc_rdm(rsatoolbox.data.Dataset(x.numpy()), method)
    made = to_rsatoolbox(rdm(x, dissimilarity=ours), NAMES, dissimilarity=ours)
    np.testing.assert_allclose(made.dissimilarities, theirs.dissimilarities, rtol=1e-12)
    np.testing.assert_allclose(made.get_matrices(), theirs.get_matrices(), rtol=1e-12)
    assert made.dissimilarity_measure == theirs.dissimilarity_measure
    assert from_rsatoolbox(theirs).dissimilarity == ours
    torch.testing.assert_close(from_rsatoolbox(theirs).rdms[0], rdm(x, dissimilarity=ours))
    assert float(rsatoolbox.rdm.compare(made, theirs, "corr").squeeze()) == pytest.approx(1)


def test_every_stimulus_has_a_name_of_its_own(rsatoolbox):
    with pytest.raises(ValueError, match="two stimuli are called 'a': an RDM has each of its stimuli once"):
        to_rsatoolbox(torch.rand(3), ["b", "a", "a"])


def test_our_scale_is_divided_by_channels_and_kept(rsatoolbox):
    x = torch.tensor([[0.0, 0.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0]])  # squared distance 16 over 4 channels
    assert to_rsatoolbox(rdm(x), dissimilarity="sqeuclidean").dissimilarities.tolist() == [[4.0]]


def test_several_rdms_come_back_with_their_descriptors(rsatoolbox):
    rdms = torch.rand(2, 10)
    rdms[1, 3] = torch.nan
    made = to_rsatoolbox(
        rdms, NAMES, dissimilarity="cosine",
        rdm_descriptors={"region": ["V1", "V4"], "subject": np.array([1, 2])},
        stimulus_descriptors={"animate": [0, 1, 0, 1, 0]},
    )  # fmt: skip
    assert made.n_rdm == 2 and made.n_cond == 5 and np.isnan(made.dissimilarities[1, 3])
    assert made.subset("region", "V4").dissimilarities.shape == (1, 10)
    assert made.subset_pattern("stimulus", ["image0", "image2"]).dissimilarities[0] == pytest.approx(
        [float(rdms[0, 1])]
    )
    back = from_rsatoolbox(made)
    torch.testing.assert_close(back.rdms, rdms.double(), equal_nan=True)
    assert back.stimuli == tuple(NAMES) and back.dissimilarity == "cosine"
    assert back.rdm_descriptors == {"region": ["V1", "V4"], "subject": [1, 2]}
    assert back.stimulus_descriptors == {"animate": [0, 1, 0, 1, 0]}
    again = to_rsatoolbox(back)
    np.testing.assert_array_equal(again.dissimilarities, made.dissimilarities)
    assert again.rdm_descriptors == made.rdm_descriptors and again.pattern_descriptors == made.pattern_descriptors


def test_an_order_of_theirs_is_kept(rsatoolbox):
    made = to_rsatoolbox(torch.rand(1, 10), NAMES).subset_pattern("stimulus", ["image1", "image4", "image3"])
    back = from_rsatoolbox(made)
    assert back.stimuli == ("image1", "image3", "image4") and back.stimulus_descriptors == {"index": [1, 3, 4]}
    assert from_rsatoolbox(rsatoolbox.rdm.RDMs(np.ones((1, 3))))[1:] == (None, None, {}, {})


def test_their_file_keeps_it(rsatoolbox, tmp_path):
    made = to_rsatoolbox(
        torch.rand(2, 10), NAMES, dissimilarity="sqeuclidean", rdm_descriptors={"region": ["V1", "V4"]}
    )
    made.save(tmp_path / "rdms.h5", file_type="hdf5")
    back = from_rsatoolbox(rsatoolbox.rdm.load_rdm(str(tmp_path / "rdms.h5"), file_type="hdf5"))
    assert back.stimuli == tuple(NAMES) and back.rdm_descriptors["region"] == ["V1", "V4"]


@pytest.mark.parametrize(
    ("rdms", "options", "message"),
    [
        (torch.rand(4), {}, r"4 pairs are those of no number of stimuli: n have n\(n-1\)/2, such as 3 or 6"),
        (torch.rand(2, 2, 2), {}, r"RDMs are \(pair,\) or \(rdm, pair\), floating point; got \(2, 2, 2\)"),
        (torch.ones(3, dtype=torch.int64), {}, "floating point; got .* torch.int64"),
        (torch.rand(3), {"stimuli": ["a", "b"]}, "descriptor 'stimulus' needs one value for each of 3 stimuli"),
        (torch.rand(3), {"rdm_descriptors": {"region": "V"}}, "descriptor 'region' needs one value for each of 1 RDMs"),
    ],
)
def test_what_does_not_fit_is_refused(rsatoolbox, rdms, options, message):
    with pytest.raises(ValueError, match=message):
        to_rsatoolbox(rdms, **options)


def test_arguments_are_not_changed(rsatoolbox):
    descriptors = {"region": ("V1",)}
    to_rsatoolbox(RDMSet(torch.rand(1, 3)), rdm_descriptors=descriptors)
    assert descriptors == {"region": ("V1",)}


def test_responses_as_a_data_set_and_back(rsatoolbox):
    values = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
    values[0, 1] = np.nan
    responses = Responses.from_arrays(
        values, stimulus=[1, 0, 1, 2], session=[1, 1, 2, 2], roi=["V1", "V1", "V4"], noise_ceiling=[0.1, 0.2, 0.3],
        shared=[True, False, True, False], info={"stimulus_id": ["cat", "car", "dog"]}, history=["zscore_sessions"],
    )  # fmt: skip
    made = to_rsatoolbox(responses)
    assert made.obs_descriptors["stimulus"] == ["car", "cat", "car", "dog"]
    assert made.subset_channel("roi", "V4").measurements.shape == (4, 1)
    np.testing.assert_array_equal(made.measurements, values)
    back = from_rsatoolbox(made)
    np.testing.assert_array_equal(back.values, values)
    names = np.array(back.info["stimulus_id"])[back.stimulus]
    assert names.tolist() == ["car", "cat", "car", "dog"]
    for name in ("session", "roi", "noise_ceiling", "shared", "repeats"):
        np.testing.assert_array_equal(getattr(back, name), getattr(responses, name))
    assert back.history == ("zscore_sessions",)


def test_a_data_set_of_theirs(rsatoolbox):
    theirs = rsatoolbox.data.Dataset(np.ones((2, 3)), obs_descriptors={"speed": [1.5, 2.5], "who": ["a", "b"]},
                                     channel_descriptors={"depth": [1, 2, 3]})  # fmt: skip
    found = from_rsatoolbox(theirs)
    assert found.stimulus.tolist() == [0, 1] and set(found.roi) == {"unknown"}
    assert list(found.behaviour) == ["speed"] and found.maps["depth"].tolist() == [1, 2, 3]


def test_mistakes(monkeypatch, rsatoolbox):
    with pytest.raises(TypeError, match="takes RDMs or a Dataset of rsatoolbox; got a Tensor"):
        from_rsatoolbox(torch.rand(3))
    with pytest.raises(ValueError, match="responses bring their descriptors"):
        to_rsatoolbox(Responses.from_arrays(np.ones((2, 2))), ["a", "b"])


def test_without_rsatoolbox(monkeypatch):
    monkeypatch.setitem(sys.modules, "rsatoolbox", None)
    with pytest.raises(ImportError, match=r"pip install 'neuroalign\[peers\]'"):
        to_rsatoolbox(torch.rand(3))
