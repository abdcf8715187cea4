"""The stage of representational similarity: its dissimilarities, any batch size, and what it refuses."""

import numpy as np
import pytest
import torch
from scipy.spatial.distance import pdist

from neuroalign import GuidedNetwork
from neuroalign.models.network_files import save_module
from neuroalign.study.settings.evaluations import RSA
from neuroalign.study.stages import similarity
from neuroalign.study.stages.similarity import read_rdms
from tests.study.stages.hand_made import PARTS, SHAPE, Results, work_of


@pytest.fixture(scope="module")
def results(tmp_path_factory, digits):
    return Results(tmp_path_factory.mktemp("results"), digits)


def write_network(folder, change=None):
    torch.manual_seed(3)
    network = GuidedNetwork("small_resnet", 4, {"brain": (None, 6)}, image_shape=SHAPE).eval()
    if change is not None:
        change(network)
    folder.mkdir()
    save_module(network, folder / "network.safetensors")
    return network


@pytest.fixture(scope="module")
def network(results):
    return write_network(results.root / "network")


@pytest.fixture(scope="module")
def images(digits):
    """The test images, as they are stored."""
    images, labels = digits
    kept = (labels < 4).nonzero()[:, 0][PARTS["test"][0] : PARTS["test"][1]]
    return (images[kept] * 255).round().to(torch.uint8).float() / 255


@pytest.fixture
def measured(results, tmp_path):
    """A function that runs the stage; its settings are those that a plan gives it."""
    count = iter(range(100))

    def run(folder="network", batch_size=20, role="network", **given):
        settings = RSA(**given).model_dump(mode="json", exclude={"predictors", "comparison"})
        inputs = {role: results.folder(folder) if role == "predictor" else results.root / folder}
        inputs["images"] = results.folder("images")
        name = f"rsa of {role} {folder}"
        work = work_of(
            tmp_path / str(next(count)), {**settings, "batch_size": batch_size}, inputs, name=name, options={}
        )
        similarity.rsa(work)
        return read_rdms(work.out)

    return run


@pytest.mark.parametrize("dissimilarity", ["correlation", "cosine", "sqeuclidean"])
def test_dissimilarities_are_those_of_the_last_features(measured, network, images, dissimilarity):
    stimulus, rdms = measured(dissimilarity=dissimilarity)
    with torch.no_grad():
        features = network.trunk(images).double().numpy()
    expected = pdist(features, dissimilarity)
    if dissimilarity == "sqeuclidean":
        expected /= features.shape[1]
    assert list(rdms) == ["features"] and rdms["features"].dtype == torch.float32
    assert np.allclose(rdms["features"], expected, rtol=1e-4, atol=1e-7)
    assert stimulus.tolist() == list(range(*PARTS["test"])) and stimulus.dtype == torch.int64


def test_layers_stand_beside_the_last_features(measured, network, images):
    _, rdms = measured(layers=["layer1", "layer3"])
    assert list(rdms) == ["features", "layer1", "layer3"]
    seen = []
    handle = network.trunk.backbone.layer1.register_forward_hook(lambda m, i, output: seen.append(output))
    with torch.no_grad():
        network.trunk(images)
    handle.remove()
    assert np.allclose(rdms["layer1"], pdist(seen[0].flatten(1).double().numpy(), "correlation"), rtol=1e-3, atol=1e-6)
    assert torch.equal(rdms["features"], measured()[1]["features"])


def test_of_predicted_responses(measured, results, images):
    from neuroalign.study.stages.predictor import read_predictor

    _, rdms = measured("predictor", role="predictor")
    with torch.no_grad():
        responses = read_predictor(results.folder("predictor"))(images).double().numpy()
    assert np.allclose(rdms["features"], pdist(responses, "correlation"), rtol=1e-3, atol=1e-6)


def test_a_number_of_images_is_a_fixed_choice_whatever_the_batch_size(measured, network):
    stimulus, rdms = measured(num_images=12)
    again, others = measured(num_images=12, batch_size=5)
    assert len(stimulus) == 12 and len(rdms["features"]) == 66 and stimulus.equal(again)
    assert torch.allclose(rdms["features"], others["features"], atol=1e-5)
    all_images, all_rdms = measured(num_images=None)
    assert len(all_images) == 64
    rows = torch.tensor([all_images.tolist().index(s) for s in stimulus.tolist()])
    from neuroalign.functional import square_rdm

    part = square_rdm(all_rdms["features"])[rows][:, rows][torch.ones(12, 12).triu(1).bool()]
    assert torch.allclose(part, rdms["features"], atol=1e-5)


def test_features_without_dissimilarities_are_refused_by_the_name_of_the_network(measured, results):
    def constant(network):
        for parameter in network.trunk.parameters():
            torch.nn.init.zeros_(parameter)

    def diverged(network):
        next(network.trunk.parameters()).data.fill_(torch.nan)

    write_network(results.root / "constant", constant)
    with pytest.raises(
        ValueError, match=r"rsa of network constant: the features of 64 of 64 images are all equal.*corr"
    ):
        measured("constant")
    with pytest.raises(ValueError, match=r"rsa of network constant: .* every pair of images equally different"):
        measured("constant", dissimilarity="sqeuclidean")
    write_network(results.root / "diverged", diverged)
    with pytest.raises(ValueError, match=r"rsa of network diverged: the features of 64 of 64 images .* not finite"):
        measured("diverged")


def test_more_pairs_than_can_be_compared_are_refused(measured, monkeypatch, network):
    monkeypatch.setattr(similarity, "MOST", 50)
    with pytest.raises(ValueError, match=r"rsa.num_images: all 64 test images make 2,016 pairs; .* up to 50"):
        measured(num_images=None)
    assert len(measured(num_images=50)[0]) == 50
