"""Programs of torch.export: equal outputs, files that need nothing of ours, and networks that can't be exported."""

import json
import subprocess
import sys

import pytest
import torch
from torch import nn

from neuroalign import GuidedNetwork, NeuralPredictor, RidgePredictor, StandardizedPredictor, export_program
from neuroalign.models import VisualFeatures

SHAPE = (3, 8, 8)


def small(**options):
    return GuidedNetwork("small_resnet", 5, {"V4": ("layer2", 7)}, image_shape=SHAPE, **options).eval()


@pytest.mark.parametrize(
    "make",
    [
        small,
        lambda: NeuralPredictor("small_resnet", 6, layer="layer2", image_shape=SHAPE).eval(),
        lambda: GuidedNetwork("resnet18", 5, {"V4": ("layer2", 7)}, image_shape=(3, 32, 32)).eval(),
        lambda: small(mean=None, std=None).double(),
    ],
    ids=["small", "predictor", "resnet18", "double"],
)
def test_outputs_are_equal(make):
    network = make()
    program = export_program(network).module()
    for size in (1, 3):
        images = torch.rand(size, *network.trunk.image_shape)
        assert torch.equal(program(images), network(images))


def test_a_transformer_of_timm():
    pytest.importorskip("timm", reason="timm is not installed (extra: timm)")
    network = GuidedNetwork("timm:vit_tiny_patch16_224", 5, {"V4": ("blocks.3", 7)}, image_shape=(3, 32, 32),
                            options={"img_size": 32, "depth": 4}).eval()  # fmt: skip
    images = torch.rand(3, 3, 32, 32)
    assert torch.equal(export_program(network).module()(images), network(images))


def test_training_goes_on_as_if_nothing_had_happened():
    torch.manual_seed(0)
    network = small().train()
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    export_program(network)
    assert torch.equal(torch.rand(1), expected)  # the global random numbers were not used
    assert network.training and len(network.trunk.backbone.layer2._forward_hooks) == 1
    logits, responses = network(torch.rand(4, *SHAPE), with_responses=True)
    (logits.sum() + responses["V4"].sum()).backward()
    assert all(p.grad is not None for p in network.parameters())


def test_a_file_gives_the_program_back(tmp_path):
    network, images = small(), torch.rand(2, *SHAPE)
    export_program(network, tmp_path / "network.pt2", class_names="abcde")
    texts = {"neuroalign.json": ""}
    program = torch.export.load(tmp_path / "network.pt2", extra_files=texts)
    assert torch.equal(program.module()(images), network(images))
    assert [p.name for p in tmp_path.iterdir()] == ["network.pt2"]
    facts = json.loads(texts["neuroalign.json"])
    assert facts["class_names"] == list("abcde") and facts["image_shape"] == list(SHAPE)
    assert facts["mean"] == pytest.approx([0.485, 0.456, 0.406])


@pytest.mark.slow
def test_a_file_runs_without_this_package(tmp_path):
    network = small()
    export_program(network, tmp_path / "network.pt2")
    torch.save(torch.rand(2, *SHAPE), tmp_path / "images.pt")
    code = (
        "import sys, torch\n"
        "program = torch.export.load('network.pt2')\n"
        "torch.save(program.module()(torch.load('images.pt')), 'logits.pt')\n"
        "assert not [m for m in sys.modules if m.startswith('neuroalign')]"
    )
    done = subprocess.run([sys.executable, "-W", "ignore", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert torch.equal(torch.load(tmp_path / "logits.pt"), network(torch.load(tmp_path / "images.pt")))


class DependsOnPixels(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(192, 4)

    def forward(self, images):
        x = images.flatten(1)
        return self.linear(x * 2 if x.sum() > 3 else x)


class OfTwoImages(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(192, 4)

    def forward(self, images):
        return self.linear(images.reshape(2, 192))


def test_a_network_that_depends_on_pixels_is_refused_in_one_sentence(tmp_path, capfd):
    network = GuidedNetwork(DependsOnPixels(), 3, image_shape=SHAPE)
    with pytest.raises(
        ValueError, match="can't export this network: what it computes depends on values of pixels"
    ) as told:
        export_program(network, tmp_path / "network.pt2")
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")  # pages of the exporter's own


def test_one_batch_size():
    network = GuidedNetwork(OfTwoImages(), 3, image_shape=SHAPE).eval()
    images = torch.rand(2, *SHAPE)
    assert torch.equal(export_program(network, batch_size=2).module()(images), network(images))
    with pytest.raises(ValueError, match="it takes batches of one size only: give batch_size="):
        export_program(network)
    with pytest.raises(ValueError, match="batch_size must be at least 1; got 0"):
        export_program(network, batch_size=0)


def test_a_program_that_differs_is_not_written(tmp_path, monkeypatch):
    from neuroalign.export import programs

    def other(module, images, any_batch):
        return torch.export.export(small(), (images,), dynamic_shapes=({0: torch.export.Dim("batch")},))

    monkeypatch.setattr(programs, "traced", other)
    with pytest.raises(ValueError, match=r"the program of torch.export gives other outputs than the network"):
        export_program(small(), tmp_path / "network.pt2")
    assert not list(tmp_path.iterdir())


def test_names_and_images_are_checked_first(tmp_path):
    with pytest.raises(ValueError, match=r"must end in .pt2; got 'network.onnx'"):
        export_program(small(), tmp_path / "network.onnx")
    with pytest.raises(ValueError, match=r"must be pixels in \[0, 1\]"):
        export_program(small(), images=torch.randn(2, *SHAPE))
    network = small()
    network.trunk.backbone.kept = network.classifier.weight * 2  # a result of the graph, as a careless hook keeps it
    with pytest.raises(ValueError, match="can't be copied"):
        export_program(network)


def test_a_predictor_in_closed_form():
    images, responses = torch.rand(30, 3, 16, 16), torch.randn(30, 4)
    predictor = RidgePredictor(VisualFeatures(16, wavelengths=(4,), grid=2), num_voxels=4).fit(images, responses).eval()
    found = export_program(predictor, image_shape=(3, 16, 16)).module()(images[:3])
    torch.testing.assert_close(found, predictor(images[:3]))


def test_a_predictor_in_training_mode_is_exported_in_eval_mode():
    predictor = NeuralPredictor("small_resnet", 4, image_shape=SHAPE)
    predictor(torch.rand(16, *SHAPE))  # batch statistics of its own
    images = torch.rand(3, *SHAPE)
    found = export_program(predictor).module()(images)
    assert predictor.training
    assert torch.equal(found, predictor.eval()(images))


def test_a_predictor_keeps_the_scale_of_its_responses():
    inner = NeuralPredictor("small_resnet", 4, image_shape=SHAPE)
    predictor = StandardizedPredictor(inner).fit(torch.rand(20, *SHAPE)).eval()
    images = torch.rand(3, *SHAPE)
    assert torch.equal(export_program(predictor).module()(images), predictor(images))
    assert not torch.allclose(predictor(images), inner.eval()(images))
