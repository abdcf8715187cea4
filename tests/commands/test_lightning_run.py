"""What fit, test and predict do with a configuration, and what a person sees at the end."""

from pathlib import Path
from types import SimpleNamespace

import h5py
import lightning  # noqa: F401 - its log keeps the stderr of its first import, which a test must not replace
import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from neuroalign import GuidanceDataModule, Responses, ResponsesDataModule
from neuroalign.__main__ import main
from neuroalign.commands.lightning_links import noise_ceiling_of, open_heads, open_places, wants_noise_ceiling
from neuroalign.commands.lightning_noise import OnlyNeededWarnings
from neuroalign.commands.lightning_results import command_of, table_of, without_test_set
from neuroalign.commands.lightning_summary import parts_of

CONFIGS = Path(__file__).parents[2] / "examples/configs"
FAST = ["--trainer.accelerator=cpu", "--trainer.max_epochs=1", "--trainer.limit_train_batches=2",
        "--trainer.enable_progress_bar=false", "--trainer.log_every_n_steps=1"]  # fmt: skip
OWN = """
from torch import nn
from neuroalign import NeuralPredictionTask


class MyTask(NeuralPredictionTask):
    pass


class MyNetwork(nn.Module):
    def __init__(self, num_voxels: int, width: int = 8):
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(192, width), nn.Linear(width, num_voxels))

    def forward(self, images):
        return self.layers(images)
"""


def run(*arguments):
    main(list(arguments))


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["neuroalign"])
    monkeypatch.setattr("sys.path", list(__import__("sys").path))
    return tmp_path


@pytest.fixture
def folder(place):
    from neuroalign.data import write_simulated_nsd

    rng = np.random.default_rng(0)
    write_simulated_nsd("nsd", rng.random((500, 3, 8, 8)), np.arange(500) % 10)
    return place


@pytest.mark.slow
def test_from_data_to_predictions(folder, capsys):
    """The examples, which leave numbers of voxels open: what is said at the end is where the files are."""
    run("fit", "--config", str(CONFIGS / "predict_v4.yaml"), *FAST)
    out, err = capsys.readouterr()
    said = dict(line.split(":", 1) for line in out.splitlines() if ":" in line)
    checkpoint = said["best checkpoint"].split()[0]
    assert checkpoint == "runs/predict_v4/predictor.ckpt" and Path(checkpoint).exists()
    assert Path(said["log"].strip()).exists()
    saved = said["configuration"].strip()
    predictor = yaml.safe_load(Path(saved).read_text())["model"]["init_args"]["predictor"]
    assert predictor["init_args"]["num_voxels"] == 80
    assert said["next"].strip() == f"neuroalign test --config {saved} --ckpt_path {checkpoint}"
    assert "predictor  NeuralPredictor" in out
    for void in ("Tip:", "LeafSpec", "GPU available", "FLOPs", "is not empty", "eval mode"):
        assert void not in out + err

    run(*said["next"].split()[1:], *FAST[3:4])
    out, _ = capsys.readouterr()
    assert out.startswith("test/correlation") and "test/pattern_correlation" in out

    run("predict", "--config", saved, "--ckpt_path", checkpoint, "--out", "v4.h5", *FAST[3:4])
    assert capsys.readouterr().out == "predictions: v4.h5\n"
    predicted = Responses.load("v4.h5")
    assert predicted.num_voxels == 80 and set(predicted.roi) == {"V4"}
    assert torch.load(checkpoint, weights_only=True)["hyper_parameters"]["predictor"]["init_args"]["num_voxels"] == 80

    run("fit", "--config", str(CONFIGS / "guide_v4.yaml"), *FAST)
    out, err = capsys.readouterr()
    assert "guidance  PredictedGuidance" in out and "frozen" in out and "eval mode" not in err
    guided = "runs/guide_v4/guided.ckpt"
    network = torch.load(guided, weights_only=True)["hyper_parameters"]["network"]["init_args"]
    assert network["heads"]["V4"]["num_outputs"] == 80
    guide = str(CONFIGS / "guide_v4.yaml")
    run("predict", "--config", guide, "--ckpt_path", guided, "--out", "logits.h5", *FAST[3:4])
    with h5py.File("logits.h5") as file:
        batches = GuidanceDataModule(dataset="digits", batch_size=500).test_dataloader()
        assert file["logits"].shape == (500, 10)
        assert file["stimulus"][:].tolist() == next(iter(batches))["stimulus"].tolist()
    capsys.readouterr()
    with pytest.raises(SystemExit) as stop:
        run("test", "--config", guide, "--ckpt_path", checkpoint, *FAST[3:4])
    assert stop.value.code == 2
    sentence = "this is a checkpoint of NeuralPredictionTask, not of GuidedClassificationTask"
    assert sentence in capsys.readouterr().err
    wider = "--model.init_args.network.init_args.num_classes=11"
    with pytest.raises(SystemExit):
        run("test", "--config", guide, "--ckpt_path", guided, wider, *FAST[3:4])
    assert "network.classifier.weight is (10, " in capsys.readouterr().err


@pytest.mark.slow
def test_own_classes_optimizers_and_schedulers(folder, capsys):
    Path("mine.py").write_text(OWN)
    config = {
        "trainer": {"logger": False, "callbacks": [{"class_path": "ModelCheckpoint", "init_args": {"dirpath": "own"}}]},
        "model": {
            "class_path": "mine.MyTask",
            "init_args": {
                "predictor": {"class_path": "mine.MyNetwork"},
                "optimizer": {"class_path": "torch.optim.AdamW", "init_args": {"lr": 0.01}},
                "scheduler": {
                    "class_path": "torch.optim.lr_scheduler.StepLR",
                    "init_args": {"step_size": 1, "gamma": 0.5},
                },
            },
        },
        "data": {"class_path": "NSDDataModule", "init_args": {"root": "nsd", "roi": "V4"}},
    }
    Path("own.yaml").write_text(yaml.safe_dump(config))
    run("fit", "--config", "own.yaml", *FAST)
    (checkpoint,) = Path("own").glob("*.ckpt")
    stored = torch.load(checkpoint, weights_only=True)
    assert stored["state_dict"]["predictor.layers.2.weight"].shape == (80, 8)
    (group,) = stored["optimizer_states"][0]["param_groups"]
    assert group["initial_lr"] == 0.01 and group["lr"] == 0.005
    assert stored["lr_schedulers"][0]["step_size"] == 1
    told = capsys.readouterr().out
    assert f"last checkpoint: {checkpoint}" in told and "log:" not in told

    run("fit", "--config", "own.yaml", *FAST, "--model.init_args.scheduler=null", "--optimizer=SGD", "--optimizer.lr=0.3",
        "--lr_scheduler=CosineAnnealingLR", "--lr_scheduler.T_max=2")  # fmt: skip
    newest = max(Path("own").glob("*.ckpt"), key=lambda path: path.stat().st_mtime_ns)
    stored = torch.load(newest, weights_only=True)
    assert stored["optimizer_states"][0]["param_groups"][0]["initial_lr"] == 0.3
    assert stored["lr_schedulers"][0]["T_max"] == 2


@pytest.mark.slow
def test_the_page_keeps_the_best_and_the_last(folder, capsys):
    """With a learning rate of zero the first epoch stays the best; the last is another, and test says what it measures."""
    page = (Path(__file__).parents[2] / "docs/commands.md").read_text(encoding="utf-8")
    (example,) = [
        block.split("```")[0] for block in page.split("```yaml\n") if "filename: last" in block.split("```")[0]
    ]
    Path("mine.py").write_text(OWN)
    task = {"predictor": {"class_path": "mine.MyNetwork"}, "optimizer": {"class_path": "SGD", "init_args": {"lr": 0.0}}}
    config = {
        **yaml.safe_load(example),
        "model": {"class_path": "mine.MyTask", "init_args": task},
        "data": {"class_path": "NSDDataModule", "init_args": {"root": "nsd", "roi": "V4"}},
    }
    config["trainer"] |= {"logger": False, "enable_model_summary": False}
    Path("own.yaml").write_text(yaml.safe_dump(config))
    run("fit", "--config", "own.yaml", *FAST, "--trainer.max_epochs=2")
    out, err = capsys.readouterr()
    best, last = out.splitlines()[:2]
    assert best.startswith("best checkpoint: runs/predict_v4/predictor.ckpt (val/correlation ")
    assert best.endswith(", after 1 of 2 epochs)")
    assert last == "last checkpoint: runs/predict_v4/last.ckpt (after 2 of 2 epochs)"
    for void in ("Seed set", "tensorboardX", "stopped: `max_epochs"):
        assert void not in out + err
    run("test", "--config", "own.yaml", "--ckpt_path", "runs/predict_v4/last.ckpt", *FAST[:1], *FAST[3:4])
    out, err = capsys.readouterr()
    assert "These are the validation images: NSDDataModule has no test set here." in out
    assert "Restoring" not in err and "Loaded" not in err
    for said in ("predictions: v4.h5\n", "predictions: v4.h5 (in place of an earlier file)\n"):
        run("predict", "--config", "own.yaml", "--ckpt_path", "runs/predict_v4/last.ckpt", "--out", "v4.h5", *FAST[3:4])
        assert capsys.readouterr().out == said


def test_images_of_another_shape_than_the_networks():
    task = SimpleNamespace(network=SimpleNamespace(trunk=SimpleNamespace(image_shape=(3, 16, 16))))
    trainer = SimpleNamespace(is_global_zero=True)
    images = [{"image": torch.zeros(2, 3, size, size)} for size in (16, 8)]
    OnlyNeededWarnings().on_train_batch_start(trainer, task, images[0], 0)
    callback = OnlyNeededWarnings()
    told = r"images of image_shape \[3, 16, 16\], and the data have \[3, 8, 8\]"
    with pytest.warns(UserWarning, match=told):
        callback.on_train_batch_start(trainer, task, images[1], 0)
    callback.on_train_batch_start(trainer, task, images[1], 1)  # says it once


def test_a_test_set_of_its_own_is_no_news():
    assert without_test_set(GuidanceDataModule(dataset="digits")) is None  # nothing is known of it yet


def test_help_is_one_page_and_loads_nothing(capsys):
    for command in ("fit", "validate", "test", "predict"):
        main([command, "--help"])
        out = capsys.readouterr().out
        assert out.startswith(f"usage: neuroalign {command} --config FILE")
        assert len(out.splitlines()) < 80 and max(map(len, out.splitlines())) <= 80
        for name in ("NeuralPredictionTask", "GuidanceDataModule", "examples:", "--ckpt_path"):
            assert name in out
    assert "--out FILE" in out


def test_help_of_a_class(capsys):
    main(["fit", "--model.help", "NeuralPredictionTask"])
    out = capsys.readouterr().out
    assert "predictor: A NeuralPredictor or any module" in out and ":class:" not in out
    with pytest.raises(SystemExit):
        main(["fit", "--data.help=NSDDataModul"])
    assert "did you mean 'NSDDataModule'" in capsys.readouterr().err


def test_names_are_whole_in_80_columns():
    name = "geometry/network.trunk.backbone.layer3/participation_ratio"
    long = "test/alignment/" + "x" * 70 + "/correlation"
    text = table_of({name: 6.5, "test/task_loss": 1.25, "test/accuracy": 0.5, long: 1e6}, width=80)
    assert text.splitlines()[0].split() == ["test/accuracy", "0.5000"]
    assert name in text and max(map(len, text.splitlines())) <= 80
    assert "".join(text.split()).count("x" * 70) == 1


def test_attacks_in_the_table_are_explained():
    name = "test/robust_accuracy/pgd10-linf-margin-cosine/eps=0.00784314"
    legend = table_of({name: 0.5, "test/accuracy": 0.6}, width=80).partition("In the names:\n")[2].splitlines()
    assert [line.split(":")[0] for line in legend] == ["  pgd10", "  linf", "  margin", "  cosine"]
    assert "In the names" not in table_of({"test/accuracy": 0.6, "test/alignment/l2/correlation": 0.1}, width=80)


def test_the_command_that_goes_on():
    argv = ["fit", "--config=my file.yaml", "--ckpt_path", "old.ckpt", "--trainer.max_epochs", "3"]
    wanted = "neuroalign fit '--config=my file.yaml' --trainer.max_epochs 3 --ckpt_path new.ckpt"
    assert command_of(argv, "new.ckpt") == wanted


def test_open_places():
    inner = {"class_path": "neuroalign.models.NeuralPredictor", "init_args": {"backbone": "resnet18"}}
    given = {"class_path": "neuroalign.models.NeuralPredictor", "init_args": {"num_voxels": 3}}
    model = {"class_path": "x.Y", "init_args": {"predictor": inner, "others": [given, "text", None]}}
    assert list(open_places(model)) == ["model.init_args.predictor.init_args"]
    heads = {"V1": {"layer": "layer1", "num_outputs": 3}, "V4": {"layer": "layer3"}, "TO": {"head": "identity"}}
    heads["PHC"] = "layer4"
    network = {"init_args": {"heads": heads}}
    assert list(open_heads({"init_args": {"network": network}})) == ["V4", "PHC"]
    assert open_heads({"init_args": {"network": None}}) == {} and open_heads("GuidedClassificationTask") == {}


def test_the_summary_counts_parameters():
    module = torch.nn.ModuleDict({"a": torch.nn.Linear(9, 100), "b": torch.nn.LazyLinear(3), "c": torch.nn.ReLU()})
    module["d"] = torch.nn.Linear(1, 1).requires_grad_(False)
    counts = [line.split()[2:] for line in parts_of(module).splitlines()]
    assert counts == [
        ["1.0", "K", "parameters,", "trained"],
        ["0", "parameters,", "trained"],
        ["2", "parameters,", "frozen"],
    ]


def test_the_noise_ceiling_comes_from_the_data(place, capsys):
    """The saved configuration leaves it open, so that it comes from the data again."""
    signal = np.random.default_rng(0).normal(size=(30, 2))
    trials = signal + 0.5 * np.random.default_rng(1).normal(size=(3, 30, 2))
    rows = [f"{i:02d}.png,{a},{b}" for trial in trials for i, (a, b) in enumerate(trial)]
    Path("t.csv").write_text("\n".join(["stimulus,v1,v2", *rows]))
    Path("pictures").mkdir()
    for i in range(30):
        Image.new("RGB", (8, 8), (8 * i, 0, 0)).save(f"pictures/{i:02d}.png")
    predictor = {"class_path": "NeuralPredictor", "init_args": {"backbone": "small_resnet", "image_shape": [3, 8, 8]}}
    config = {
        "trainer": {"callbacks": [{"class_path": "ModelCheckpoint", "init_args": {"filename": "a"}}],
                    "logger": {"class_path": "CSVLogger", "init_args": {"save_dir": "log", "name": ""}}},
        "model": {"class_path": "NeuralPredictionTask", "init_args": {"predictor": predictor}},
        "data": {"class_path": "ResponsesDataModule", "init_args": {"images": "pictures", "responses": "t.csv"}},
    }  # fmt: skip
    for log in (Path("log/version_0"), Path("log/version_1")):
        Path("own.yaml").write_text(yaml.safe_dump(config))
        run("fit", "--config", "own.yaml", *FAST, "--model.init_args.lr=0")
        stored = torch.load(log / "checkpoints/a.ckpt", weights_only=True)["hyper_parameters"]["noise_ceiling"]
        expected = ResponsesDataModule("pictures", "t.csv").noise_ceiling
        np.testing.assert_allclose(stored, expected, rtol=1e-6)
        saved = yaml.safe_load((log / "config.yaml").read_text())
        assert saved["model"]["init_args"]["noise_ceiling"] is None
        assert "val/normalized_correlation" in (log / "metrics.csv").read_text().splitlines()[0]
        predictor["init_args"]["num_voxels"] = 2  # then the noise ceiling alone is open


def test_a_noise_ceiling_that_is_given_unknown_or_zero():
    data = {"class_path": "neuroalign.data.ResponsesDataModule"}
    task = "neuroalign.tasks.NeuralPredictionTask"
    assert not wants_noise_ceiling({"class_path": task, "init_args": {"noise_ceiling": [0.5]}}, data)
    assert not wants_noise_ceiling({"class_path": task, "init_args": {}}, data)
    assert not wants_noise_ceiling({"class_path": task, "init_args": {"noise_ceiling": None}}, None)
    values = np.ones((20, 2), dtype=np.float32)
    assert noise_ceiling_of(ResponsesDataModule(np.zeros((20, 3, 4, 4)), values, standardize=False)) is None
    none = Responses.from_arrays(values, noise_ceiling=[0.0, 0.0])
    with pytest.warns(UserWarning, match="the correlation isn't divided by the noise ceiling: "):
        assert noise_ceiling_of(ResponsesDataModule(np.zeros((20, 3, 4, 4)), none, standardize=False)) is None
