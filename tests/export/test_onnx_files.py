"""ONNX files: equal outputs in ONNX Runtime for any batch, their metadata, and what is refused."""

import json
import sys

import numpy as np
import pytest
import torch

from neuroalign import GuidedNetwork, NeuralPredictor, export_onnx
from neuroalign.export import onnx_files
from tests.export.test_programs import SHAPE, DependsOnPixels, small

REASON = "is not installed (extra: onnx)"


@pytest.fixture(scope="module")
def onnx():
    pytest.importorskip("onnxscript", reason=f"onnxscript {REASON}")
    pytest.importorskip("onnxruntime", reason=f"onnxruntime {REASON}")
    return pytest.importorskip("onnx", reason=f"onnx {REASON}")


@pytest.fixture(scope="module")
def written(onnx, tmp_path_factory):
    """A network, its file, and the difference that was found; an export takes seconds."""
    path = tmp_path_factory.mktemp("onnx") / "network.onnx"
    network = small(mean=(0.5,) * 3, std=(0.25,) * 3)
    return network, path, export_onnx(network, path, class_names="abcde")


def session_of(path):
    import onnxruntime

    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def check_outputs(network, path, output):
    session = session_of(path)
    assert [i.name for i in session.get_inputs()] == ["images"] and session.get_inputs()[0].shape[0] == "batch"
    assert [o.name for o in session.get_outputs()] == [output] and session.get_outputs()[0].shape[0] == "batch"
    for size in (1, 3):
        images = torch.rand(size, *network.trunk.image_shape)
        expected = network(images).detach().numpy()
        # Sums of some thousand float32 products in another order: a hundred times their rounding of 6e-8.
        found = session.run(None, {"images": images.numpy()})[0]
        np.testing.assert_allclose(found, expected, rtol=0, atol=6e-6 * abs(expected).max())


def test_outputs_are_equal(written):
    network, path, worst = written
    assert 0 <= worst < 1e-5
    check_outputs(network, path, "logits")


def transformer():
    pytest.importorskip("timm", reason="timm is not installed (extra: timm)")
    return GuidedNetwork("timm:vit_tiny_patch16_224", 5, {"V4": ("blocks.1", 7)}, image_shape=(3, 32, 32),
                         options={"img_size": 32, "depth": 2}).eval()  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "output"),
    [
        (lambda: NeuralPredictor("small_resnet", 6, layer="layer2", image_shape=SHAPE).eval(), "responses"),
        (lambda: GuidedNetwork("resnet18", 5, {"V4": ("layer2", 7)}, image_shape=(3, 32, 32)).eval(), "logits"),
        (transformer, "logits"),
    ],
    ids=["predictor", "resnet18", "transformer"],
)
def test_outputs_of_others_are_equal(tmp_path, onnx, make, output):
    network = make()
    assert export_onnx(network, tmp_path / "network.onnx") < 1e-5
    check_outputs(network, tmp_path / "network.onnx", output)


def test_one_file_with_its_facts(written, onnx):
    _, path, _ = written
    assert [p.name for p in path.parent.iterdir()] == ["network.onnx"]  # the weights are inside
    facts = json.loads(next(p.value for p in onnx.load(path).metadata_props if p.key == "neuroalign"))
    assert facts["class_names"] == list("abcde") and facts["output"] == "logits"
    assert facts["mean"] == [0.5] * 3 and facts["std"] == [0.25] * 3 and facts["image_shape"] == list(SHAPE)


@pytest.mark.slow
def test_versions_of_the_operators(tmp_path, onnx):
    export_onnx(small(), tmp_path / "network.onnx", opset=18, batch_size=2)
    model = onnx.load(tmp_path / "network.onnx")
    assert next(o.version for o in model.opset_import if not o.domain) == 18
    assert session_of(tmp_path / "network.onnx").get_inputs()[0].shape == [2, *SHAPE]
    with pytest.raises(ValueError, match=r"the ONNX exporter can't .*this network") as told:
        export_onnx(small(), tmp_path / "other.onnx", opset=900)
    assert "\n" not in str(told.value) and [p.name for p in tmp_path.iterdir()] == ["network.onnx"]


def test_a_file_that_differs_is_not_written(tmp_path, written, onnx, monkeypatch):
    monkeypatch.setattr(onnx_files, "_exported", lambda *_: onnx.load(written[1]))
    with pytest.raises(ValueError, match="the ONNX file gives other outputs than the network"):
        export_onnx(small(), tmp_path / "network.onnx")
    assert not list(tmp_path.iterdir())


def test_what_is_refused(tmp_path, onnx, capfd):
    with pytest.raises(ValueError, match=r"must end in .onnx; got 'network.pt2'"):
        export_onnx(small(), tmp_path / "network.pt2")
    with pytest.raises(ValueError, match="what it computes depends on values of pixels") as told:
        export_onnx(GuidedNetwork(DependsOnPixels(), 3, image_shape=SHAPE), tmp_path / "network.onnx")
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr() == ("", "")


def test_what_the_exporter_says_is_told_in_one_line(tmp_path, onnx, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("a page of advice\nfor developers") from ValueError("\n\nno operator for fft\nat line 3")

    monkeypatch.setattr(torch.onnx, "export", fail)
    with pytest.raises(ValueError, match=r"^the ONNX exporter can't export this network: no operator for fft$"):
        export_onnx(small(), tmp_path / "network.onnx")


def test_more_than_a_file_can_hold(tmp_path, onnx, monkeypatch):
    monkeypatch.setattr(onnx_files, "_LARGEST", 1000)
    with pytest.raises(ValueError, match=r"one ONNX file holds at most 2 GB; .* use export_program"):
        export_onnx(small(), tmp_path / "network.onnx")


@pytest.mark.parametrize("package", ["onnx", "onnxruntime", "onnxscript"])
def test_a_missing_package_names_the_extra(tmp_path, monkeypatch, package):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=r"pip install 'neuroalign\[onnx\]'"):
        export_onnx(small(), tmp_path / "network.onnx")
