"""``neuroalign export``: every form from a file, and mistakes in one line."""

import json

import pytest
import torch

from neuroalign import GuidedNetwork, NeuralPredictor, PlainClassifier
from neuroalign.__main__ import main
from neuroalign.models.network_files import save_module

SHAPE = (3, 8, 8)


@pytest.fixture
def network(tmp_path):
    torch.manual_seed(0)
    network = GuidedNetwork("small_resnet", 3, {"V4": ("layer2", 5)}, image_shape=SHAPE)
    save_module(network, tmp_path / "guided.safetensors")
    return network


@pytest.fixture
def export(tmp_path, monkeypatch, capsys):
    """Run the command in a folder of its own; exit status, output and errors."""
    monkeypatch.chdir(tmp_path)

    def run(text):
        status = 0
        try:
            main(["export", *text.split()])
        except SystemExit as end:
            status = end.code
        told = capsys.readouterr()
        return status, told.out, told.err

    return run


def test_a_program_with_the_names_of_classes(tmp_path, network, export):
    (tmp_path / "names.txt").write_text("cat\ncar\n\ndog\n")
    status, told, _ = export("--ckpt guided.safetensors --to torch --out guided.pt2 --class-names names.txt")
    assert status == 0 and "torch.export.load('guided.pt2').module() loads it" in told
    texts, images = {"neuroalign.json": ""}, torch.rand(4, *SHAPE)
    program = torch.export.load("guided.pt2", extra_files=texts).module()
    assert torch.equal(program(images), network.eval()(images))
    assert json.loads(texts["neuroalign.json"])["class_names"] == ["cat", "car", "dog"]


@pytest.mark.slow
def test_an_onnx_file(tmp_path, network, export):
    pytest.importorskip("onnxscript", reason="onnxscript is not installed (extra: onnx)")
    runtime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed (extra: onnx)")
    status, told, _ = export("--ckpt guided.safetensors --to onnx --out guided.onnx --batch-size 2")
    assert status == 0 and "ONNX Runtime's outputs differ by at most" in told
    assert runtime.InferenceSession("guided.onnx").get_inputs()[0].shape == [2, *SHAPE]


def test_a_folder_for_timm(tmp_path, export):
    timm = pytest.importorskip("timm", reason="timm is not installed (extra: timm)")
    network = GuidedNetwork("timm:resnet18", 3, image_shape=(3, 96, 96))
    save_module(network, tmp_path / "guided.safetensors")
    status, told, _ = export("--ckpt guided.safetensors --to timm --out for_timm --with-classifier")
    assert status == 0 and "timm.create_model('local-dir:for_timm', pretrained=True)" in told
    images = torch.rand(2, 3, 96, 96)
    model = timm.create_model("local-dir:for_timm", pretrained=True).eval()
    torch.testing.assert_close(model(network.trunk.normalize(images)), network.eval()(images))


def test_a_plugin_of_brain_score(tmp_path, network, export, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    status, told, warned = export(
        "--ckpt guided.safetensors --to brainscore --out plugin --name mine --region-layers V1=layer1 IT=layer3"
    )
    assert status == 0 and "V1: trunk.backbone.layer1 (given by the caller)" in told
    assert "plugin: plugin of the model mine-" in told and "ARE the Natural" not in told
    assert warned.startswith("warning: The benchmarks Allen2022") and "ARE the Natural Scenes" in " ".join(
        warned.split()
    )
    assert all(len(line) <= 80 for line in warned.splitlines())
    images = torch.rand(2, *SHAPE)
    loaded = PlainClassifier.load(tmp_path / "plugin" / "network.safetensors")
    assert torch.equal(loaded(images), network.eval()(images))


@pytest.mark.slow
def test_checkpoints_of_both_tasks_and_names(tmp_path, export, quiet_trainer):
    from torch.utils.data import DataLoader

    from neuroalign import GuidedClassificationTask, NeuralPredictionTask
    from neuroalign.data.images import ArrayDataset, collate

    data = ArrayDataset(
        torch.rand(4, *SHAPE), label=torch.arange(4) % 3, response=torch.rand(4, 6), stimulus=torch.arange(4)
    )
    loader = DataLoader(data, batch_size=4, collate_fn=collate)
    tasks = {
        "guided": GuidedClassificationTask(GuidedNetwork("small_resnet", 3, image_shape=SHAPE)),
        "predictor": NeuralPredictionTask(NeuralPredictor("small_resnet", 6, image_shape=SHAPE)),
    }
    for name, task in tasks.items():
        trainer = quiet_trainer(limit_val_batches=0)
        trainer.fit(task, loader, loader)
        trainer.save_checkpoint(tmp_path / f"{name}.ckpt")
        status, _, error = export(f"--ckpt {name}.ckpt --to torch --out {name}.pt2")
        assert status == 0, error
        images = torch.rand(2, *SHAPE)
        assert torch.equal(_run(f"{name}.pt2", images), task.eval()(images))
    assert export("--ckpt squeezenet1_1 --to torch --out named.pt2 --image-size 64")[0] == 0
    assert _run("named.pt2", torch.rand(1, 3, 64, 64)).shape == (1, 1000)


def _run(path, images):
    return torch.export.load(path).module()(images)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--to onnx --out guided.pt2", "the file's name must end in .onnx; got 'guided.pt2'"),
        ("--to torch --out guided.pt2 --name mine", "--name goes with --to brainscore, not with --to torch"),
        (
            "--to timm --out f --region-layers V1=layer1",
            "--region-layers goes with --to brainscore, not with --to timm",
        ),
        ("--to timm --out f", "timm has no architecture 'small_resnet'"),
        (
            "--to torch --out g.pt2 --image-size 32",
            "--image-size is for networks that don't say which images they take",
        ),
        (
            "--to brainscore --out f --region-layers V1",
            "--region-layers takes REGION=LAYER, such as IT=layer4; got 'V1'",
        ),
        ("--to brainscore --out f --region-layers V1=layr1", "unknown layer 'layr1'; did you mean"),
        ("--to tensorflow --out f", "unknown choice 'tensorflow'"),
        ("--to torch --out g.pt2 --class-names none.txt", "none.txt: No such file or directory"),
        ("--to torch --out g.pt2 --class-names guided.safetensors", "guided.safetensors is no text file"),
    ],
)
def test_mistakes_are_told_in_one_line(tmp_path, network, export, arguments, message):
    if "--to timm" in arguments:
        pytest.importorskip("timm", reason="timm is not installed (extra: timm)")
    status, told, error = export(f"--ckpt guided.safetensors {arguments}")
    assert status == 2 and not told
    assert error.startswith("neuroalign export: ") and message in error and error.count("\n") == 1
    assert [p.name for p in tmp_path.iterdir()] == ["guided.safetensors"]


def test_a_file_that_is_not_there(export):
    assert (
        export("--ckpt none.ckpt --to torch --out g.pt2")[2] == "neuroalign export: there is no checkpoint none.ckpt\n"
    )
    status, _, error = export("--ckpt none.safetensors --to torch --out g.pt2")
    assert status == 2 and error == "neuroalign export: there is no file none.safetensors\n"
