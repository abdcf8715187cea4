"""A mistake in a configuration or on the command line of fit, test and predict is answered in one sentence."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import lightning  # noqa: F401 - its log keeps the stderr of its first import, which a test must not replace
import numpy as np
import pytest
import torch

from neuroalign.__main__ import main
from neuroalign.commands.configuration_classes import arguments_of, classes_of, required_by, why_not_found
from neuroalign.commands.configuration_mistakes import merged, short
from neuroalign.commands.lightning import DATA, MODELS
from neuroalign.commands.lightning_mistakes import in_plain_words

CONFIGS = Path(__file__).parents[2] / "examples/configs"
FAST = ["--trainer.accelerator=cpu", "--trainer.max_epochs=1", "--trainer.logger=false", "--trainer.callbacks=null",
        "--trainer.enable_checkpointing=false", "--trainer.enable_progress_bar=false"]  # fmt: skip


@pytest.fixture(scope="module")
def nsd(tmp_path_factory):
    from neuroalign.data import write_simulated_nsd

    root = tmp_path_factory.mktemp("nsd")
    rng = np.random.default_rng(0)
    write_simulated_nsd(root, rng.random((500, 3, 8, 8)), np.arange(500) % 10)
    return root


@pytest.fixture
def said(tmp_path, capsys, monkeypatch, nsd):
    """Run a command in an empty folder, and return the line that it ends with."""
    monkeypatch.chdir(tmp_path)

    def run(arguments, name="predict", change=None):
        text = (CONFIGS / f"{name}_v4.yaml").read_text().replace("root: nsd", f"root: {nsd}")
        for old, new in change or []:
            assert old in text
            text = text.replace(old, new)
        Path("c.yaml").write_text(text)
        arguments = [each if each != "CONFIG" else "--config=c.yaml" for each in arguments]
        monkeypatch.setattr("sys.argv", ["neuroalign", *arguments])
        with pytest.raises(SystemExit) as stop:
            main(arguments)
        assert stop.value.code == 2
        said = capsys.readouterr().err
        for junk in ("Namespace", "NestedArg", "Parser key", "usage:", "Traceback", "<class"):
            assert junk not in said
        return said.strip().splitlines()[-1].removeprefix(f"neuroalign {arguments[0]}: ")

    return run


UNGUIDED = (
    "      class_path: neuroalign.guidance.PredictedGuidance\n      init_args:\n"
    "        predictors: {V4: runs/predict_v4/predictor.ckpt}",
    "      null",
)
HEAD = ("V4: {layer: layer3, size: 2}", "V4: {layer: layer3, num_outputs: 80}")
PREDICTOR = "--model.init_args.predictor.init_args"
CHANGED = {
    "a key of a DataModule": (
        ("    roi: V4", "    rio: V4"),
        "c.yaml: data: unknown argument 'rio' of NSDDataModule; did you mean 'roi'",
    ),
    "a key at the top": (
        ("seed_everything: 0", "sed_everything: 0"),
        "c.yaml: unknown key 'sed_everything'; did you mean 'seed_everything'?",
    ),
    "a key of the trainer": (
        ("max_epochs: 12", "max_epoch: 12"),
        "c.yaml: trainer: unknown argument 'max_epoch' of Trainer; did you mean 'max_epochs'",
    ),
    "a key of the predictor": (
        ("size: 2", "sise: 2"),
        "c.yaml: model.init_args.predictor: unknown argument 'sise' of NeuralPredictor; did you mean 'size'",
    ),
    "a key of the task": (
        ("    predictor:", "    predictr:"),
        "c.yaml: model: unknown argument 'predictr' of NeuralPredictionTask; did you mean 'predictor'",
    ),
    "a key of a callback": (
        ("mode: max", "mod: max"),
        "c.yaml: trainer.callbacks[0]: unknown argument 'mod' of ModelCheckpoint; did you mean 'mode'",
    ),
    "a DataModule": (
        ("data.NSDDataModule", "data.NSDDataModul"),
        "c.yaml: data: unknown class 'NSDDataModul' of neuroalign.data; did you mean 'NSDDataModule'",
    ),
    "a DataModule by its short name": (
        ("neuroalign.data.NSDDataModule", "NSDDataModul"),
        "c.yaml: data: unknown class 'NSDDataModul'; did you mean 'NSDDataModule'",
    ),
    "a task": (
        ("NeuralPredictionTask", "NeuralPredictonTask"),
        "c.yaml: model: unknown class 'NeuralPredictonTask' of neuroalign.tasks; did you mean 'NeuralPredictionTask'",
    ),
    "a callback of Lightning": (
        ("callbacks.ModelCheckpoint", "callbacks.ModelCheckpont"),
        "c.yaml: trainer.callbacks[0]: unknown class 'ModelCheckpont' of lightning.pytorch.callbacks; did you mean",
    ),
    "a predictor": (
        ("models.NeuralPredictor", "models.NeuralPredicter"),
        "c.yaml: model.init_args.predictor: unknown class 'NeuralPredicter' of neuroalign.models; did you mean 'Neural",
    ),
    "a class in another module": (
        ("neuroalign.data.NSDDataModule", "neuroalign.models.NSDDataModule"),
        "c.yaml: data: there is no 'neuroalign.models.NSDDataModule'; did you mean 'neuroalign.data.NSDDataModule'?",
    ),
    "a module of one's own": (
        ("neuroalign.tasks.NeuralPredictionTask", "nowhere_at_all.MyTask"),
        "c.yaml: model: there is no module 'nowhere_at_all' for the class 'nowhere_at_all.MyTask'",
    ),
    "a class of another kind": (
        ("neuroalign.tasks.NeuralPredictionTask", "neuroalign.data.NSDDataModule"),
        "c.yaml: model: neuroalign.data.NSDDataModule is no LightningModule, as `model` needs",
    ),
    "an optimizer": (
        ("    predictor:", "    optimizer: {class_path: torch.optim.AdamX}\n    predictor:"),
        "c.yaml: model.init_args.optimizer: unknown class 'AdamX' of torch.optim; did you mean 'Adamax' or 'Adam'",
    ),
    "a missing argument": (("    root: ", "    cache: "), "c.yaml: data: NSDDataModule needs 'root'"),
    "a list for the trainer": (
        ("trainer:", "trainer: [1, 2]\nunused:"),
        "c.yaml: trainer must be a mapping of Lightning's Trainer's arguments",
    ),
    "a key twice": (
        ("  max_epochs: 12", "  max_epochs: 12\n  max_epochs: 3"),
        "c.yaml line 11, column 3: the key 'max_epochs' stands there twice",
    ),
    "a scheduler without its argument": (
        ("    predictor:", "    scheduler: {class_path: torch.optim.lr_scheduler.StepLR}\n    predictor:"),
        "c.yaml: model.init_args.scheduler: StepLR needs 'step_size'",
    ),
    "an interval": (
        ("    predictor:", "    scheduler_interval: epok\n    predictor:"),
        "c.yaml: model: unknown scheduler_interval 'epok'",
    ),
    "YAML": (("trainer:", "trainer: ["), "c.yaml is no YAML: line 10, column 13"),
    "a tab": (("  accelerator:", "\taccelerator:"), "c.yaml is no YAML: line 9, column 1: a tab stands where"),
    "a key that no file has": (("seed_everything:", "hepl:"), "c.yaml: unknown key 'hepl'; did you mean 'model'?"),
    "a misspelt class_path": (("model:\n  class_path", "model:\n  clas_path"), "c.yaml: model: unknown key 'clas_path'; did"),
    "a shape": (
        ("image_shape: [3, 8, 8]", "image_shape: 8"),
        "c.yaml: model.init_args.predictor.init_args.image_shape: must be a list or null; got '8'",
    ),
    "a count by which the trainer divides": (
        ("  max_epochs: 12", "  check_val_every_n_epoch: 0"),
        "c.yaml: trainer.check_val_every_n_epoch must be at least 1; got 0",
    ),
    "an interval of no batches": (("  max_epochs: 12", "  val_check_interval: 0"), "c.yaml: trainer.val_check_interval must"),
    "a number of the trainer": (("  log_every_n_steps: 10", "  min_epochs: 1\n  num_nodes: 0"), "c.yaml: trainer: "),
    "workers": (("batch_size: 64", "num_workers: -1"), "c.yaml: data: num_workers must be at least 0"),
    "a rate": (("    predictor:", "    lr: -1\n    predictor:"), "c.yaml: model: lr must be a finite number of"),
    "a seed": (("seed_everything: 0", "seed_everything: -4"), "seed_everything must be from 0 to 4294967295"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", CHANGED)
def test_a_mistake_in_a_file(said, mistake):
    change, sentence = CHANGED[mistake]
    assert said(["fit", "CONFIG", *FAST[:2]], change=[change]).startswith(sentence)


OF_PREDICTOR = "c.yaml: model.init_args.predictor: "
TYPED = {
    "a layer": ([f"{PREDICTOR}.layer=layer9"], f"{OF_PREDICTOR}unknown layer 'layer9'; did you mean 'layer"),
    "a backbone": (
        [f"{PREDICTOR}.backbone=resnet81"],
        f"{OF_PREDICTOR}unknown torchvision model 'resnet81'; did you mean 'resnet18'",
    ),
    "an argument": (["--data.init_args.rio=V4"], "data: unknown argument 'rio' of NSDDataModule; did you mean 'roi'"),
    "an argument, in short": (["--data.rio=V4"], "data: unknown argument 'rio' of NSDDataModule; did you mean 'roi'"),
    "an option": (["--modle=x"], "unknown option '--modle'; did you mean '--model'"),
    "an option of the trainer": (
        ["--trainer.max_apochs=2"],
        "--trainer.max_apochs: unknown argument 'max_apochs' of Trainer; did you mean 'max_epochs'",
    ),
    "a number": (["--trainer.max_epochs=many"], "trainer.max_epochs: must be a whole number or null; got 'many'"),
    "a number of the task": (["--model.init_args.lr=high"], "model.init_args.lr: must be a number; got 'high'"),
    "a region": (["--data.init_args.roi=V7"], "c.yaml: data: unknown roi 'V7'; did you mean"),
    "a folder": (["--data.init_args.root=nowhere"], "c.yaml: data: no folder nowhere"),
    "a size": (["--data.init_args.batch_size=0"], "c.yaml: data: batch_size must be at least 1; got 0"),
    "a number of voxels": (
        [f"{PREDICTOR}.num_voxels=81"],
        "c.yaml: model: the predictor has num_voxels=81, and the data have 80 voxels",
    ),
    "an accelerator": (["--trainer.accelerator=cpuu"], "unknown trainer.accelerator 'cpuu'; did you mean"),
    "devices": (["--trainer.devices=0"], "trainer.devices '0' doesn't go with the accelerator cpu"),
    "a checkpoint": (["--ckpt_path=nowhere.ckpt"], "there is no checkpoint nowhere.ckpt"),
    "a strategy": (["--trainer.strategy=dpp"], "unknown trainer.strategy 'dpp'; did you mean 'ddp'"),
    "an optimizer": (["--optimizer=Adamm"], "optimizer: unknown class 'Adamm'; did you mean 'Adam'"),
    "a scheduler": (["--lr_scheduler=StepLR"], "lr_scheduler: StepLR needs 'step_size'"),
    "a callback": (["--trainer.callbacks=EarlyStoping"], "trainer.callbacks: unknown class 'EarlyStoping'; did you mean"),
    "one callback more": (["--trainer.callbacks+=EarlyStopping"], "trainer.callbacks[0]: EarlyStopping needs 'monitor'"),
    "a list": ([f"{PREDICTOR}.layer=[features]"], "model.init_args.predictor.init_args.layer: must be text or null; got"),
    "a scheduler of the task": (
        ["--model.scheduler.class_path=torch.optim.lr_scheduler.StepLR"],
        "model.init_args.scheduler: StepLR needs 'step_size'",
    ),
    "a file without its option": (["other.yaml"], "unexpected argument 'other.yaml'; a configuration is given by --config"),
    "a short option": (["-x"], "there is no option -x"),
    "a URL": (["--config=http://localhost:1/x.yaml"], "config: Path does not exist"),
    "steps to be counted together": (["--trainer.accumulate_grad_batches=0"], "trainer.accumulate_grad_batches must be at"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", TYPED)
def test_a_mistake_on_the_command_line(said, mistake):
    typed, sentence = TYPED[mistake]
    assert said(["fit", "CONFIG", *FAST, *typed]).startswith(sentence)


def test_an_abbreviation_names_a_configuration_too(said):
    assert said(["fit", "--conf=c.yaml", *FAST, "--data.roi=V7"]).startswith("c.yaml: data: unknown roi 'V7'")


@pytest.mark.slow
def test_classes_alone_need_no_file():
    """A process of its own: here, the classes were imported before."""
    code = "import sys; from neuroalign.__main__ import main; main(sys.argv[1:])"
    typed = ["fit", "--model", "NeuralPredictionTask", "--data", "NSDDataModule"]
    for more, sentence in (
        ([], "data: NSDDataModule needs 'root'"),
        (["--data.root", "nowhere", "--data.roi", "V4"], "model: give a predictor"),
    ):
        done = subprocess.run([sys.executable, "-c", code, *typed, *more], capture_output=True, text=True, timeout=240)
        assert done.returncode == 2 and done.stderr.startswith(f"neuroalign fit: {sentence}"), done.stderr


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ({"a": 1}, "--ckpt_path is no checkpoint of a training"),
        (None, "x.safetensors is a saved network: --ckpt_path takes a checkpoint of a training"),
    ],
)
def test_a_checkpoint_of_no_training(said, content, sentence):
    name = "x.ckpt" if content else "x.safetensors"
    torch.save(content, name)
    assert said(["fit", "CONFIG", *FAST, f"--ckpt_path={name}"]).startswith(sentence)


@pytest.mark.parametrize(
    ("out", "sentence"),
    [
        ("c.yaml/v4.h5", "c.yaml is a file, where a folder is wanted"),
        (".", ". is a folder: give the name of a file"),
        ("v4.csv", "v4.csv would be an HDF5 file: give a name that ends in .h5"),
    ],
)
def test_where_predictions_go_is_checked_first(said, out, sentence):
    """Before the checkpoint is looked for."""
    typed = ["predict", "CONFIG", *FAST, "--ckpt_path=nowhere.ckpt", f"--out={out}"]
    assert said(typed).startswith(sentence)


def test_the_place_of_what_is_wrong_in_training(said, capsys):
    """A callback, the data of a classifier, and a folder for checkpoints that is a file: before anything is trained."""
    network = [UNGUIDED, HEAD]
    layer = ("network.trunk.backbone.layer3", "layer9")
    told = said(["fit", "CONFIG", *FAST[:3]], "guide", [*network, layer])
    assert told.startswith("c.yaml: trainer.callbacks[2]: unknown layer 'layer9'")
    classes = [("num_classes: 10", "num_classes: 5")]
    told = said(["fit", "CONFIG", *FAST], "guide", [*network, *classes])
    assert told == "c.yaml: model: labels run from 0 to 9, but there are 5 classes (0 to 4)"
    folder = ("dirpath: runs/guide_v4", "dirpath: c.yaml")
    told = said(["fit", "CONFIG", *FAST[:3], "--trainer.max_epochs=0"], "guide", [*network, folder])
    assert "c.yaml is a file, where a folder is wanted" in told
    capsys.readouterr()


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("dataset: digits", "dataset: digit"), "c.yaml: data: unknown dataset 'digit'; did you mean 'digits'?"),
        (("dataset: digits", "dataset: cifar10"), "c.yaml: data: dataset 'cifar10' needs root"),
        (
            ("layers: network.trunk.backbone.layer3", "layers: []"),
            "c.yaml: trainer.callbacks[2]: give at least one layer",
        ),
        (
            ("    weight: 0.9", "    weight: 0.9\n    step_size: 0"),
            "c.yaml: model: step_size is a whole number of epochs, at least 1",
        ),
        (
            ("predictors: {V4: runs/predict_v4/predictor.ckpt}", "predictors: x.ckpt"),
            "c.yaml: model.init_args.guidance: neuroalign.guidance.PredictedGuidance can't be built from its description: "
            "predictors are given by the name of the head that each guides, {'V4': 'predictor.ckpt'}; got x.ckpt",
        ),
    ],
)
def test_a_mistake_in_the_file_of_a_classifier(said, change, sentence):
    changes = [change, HEAD] if "predictors" in change[0] else [change, UNGUIDED, HEAD]
    assert said(["fit", "CONFIG", *FAST[:3]], "guide", changes).startswith(sentence)


def test_a_warning_of_earlier_checkpoints_comes_with_training_alone(said, recwarn):
    Path("runs/predict_v4").mkdir(parents=True)
    Path("runs/predict_v4/old.ckpt").touch()
    told = said(["fit", "CONFIG", "--trainer.accelerator=cpu", f"{PREDICTOR}.num_voxels=81"])
    assert "num_voxels=81" in told and not [each for each in recwarn if "earlier run" in str(each.message)]


def test_a_missing_configuration(said):
    assert said(["fit", "--config", "nowhere.yaml"]) == "there is no configuration nowhere.yaml"
    assert said(["fit"]).startswith("model and data missing: give --model CLASS and --data CLASS, or --config FILE")
    assert said(["fit", "--model", "NeuralPredictionTask"]).startswith("data missing: give --data CLASS")
    assert "needs --ckpt_path FILE" in said(["test", "CONFIG"])


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("# trainer:\n", "d.yaml is empty"),
        ("name: x\nimages: {source: digits}\nconditions: {none: }\n", "d.yaml is a study: neuroalign study run d.yaml"),
    ],
)
def test_a_file_of_another_kind(said, content, sentence):
    Path("d.yaml").write_text(content)
    assert said(["fit", "--config", "d.yaml"]).startswith(sentence)


def test_an_argument_of_a_network_of_ones_own(said, monkeypatch):
    monkeypatch.setattr("sys.path", [*sys.path, str(Path.cwd())])
    Path("narrow.py").write_text(
        "from torch import nn\n\n\nclass Narrow(nn.Module):\n    def __init__(self, width: int = 8):\n        ...\n"
    )
    Path("own.yaml").write_text(
        "model:\n  class_path: NeuralPredictionTask\n  init_args:\n"
        "    predictor: {class_path: narrow.Narrow, init_args: {widht: 4}}\n"
        "data: {class_path: NSDDataModule, init_args: {root: nowhere, roi: V4}}\n"
    )
    sentence = "own.yaml: model.init_args.predictor: unknown argument 'widht' of Narrow; did you mean 'width'?"
    assert said(["fit", "--config", "own.yaml", "--trainer.accelerator=cpu"]) == sentence


@pytest.mark.parametrize(
    ("told", "plain"),
    [
        ("`CUDAAccelerator` can not run on your system since the accelerator is not available.", "there is no GPU"),
        (
            "ReduceLROnPlateau conditioned on metric val/acuracy which is not available. Available metrics are: "
            "['val/accuracy', 'lr']. Condition can be set using `monitor` key in lr scheduler dict",
            "scheduler_monitor: unknown value to monitor 'val/acuracy'; did you mean 'val/accuracy'",
        ),
        (
            "a.ckpt: this is a checkpoint of ATask, not of BTask",
            "a.ckpt: this is a checkpoint of ATask, not of BTask: give",
        ),
    ],
)
def test_words_of_others(told, plain):
    assert (in_plain_words(ValueError(told)) or "").startswith(plain)


def test_guidance(said):
    """A predictor that isn't there, a budget in the wrong unit, and a head's field and width."""
    assert said(["fit", "CONFIG", *FAST], name="guide").startswith(
        "c.yaml: model.init_args.guidance: no predictor at runs/predict_v4/predictor.ckpt"
    )
    unguided = ("      class_path: neuroalign.guidance.PredictedGuidance\n      init_args:\n        predictors: {V4: "
                "runs/predict_v4/predictor.ckpt}", "      null")  # fmt: skip
    assert "head 'V4' of the network has no num_outputs" in said(["fit", "CONFIG", *FAST], "guide", [unguided])
    head = ("V4: {layer: layer3, size: 2}", "V4: {layer: layer3, num_outputs: 80, sise: 2}")
    sentence = "c.yaml: model.init_args.network: unknown field of a head: 'sise'; did you mean 'size'"
    assert said(["fit", "CONFIG", *FAST], "guide", [unguided, head]).startswith(sentence)
    right, eps = (head[0], "V4: {layer: layer3, num_outputs: 80}"), ("eps: [0.04, 0.08]", "eps: [4, 8]")
    told = said(["fit", "CONFIG", *FAST[:2]], "guide", [unguided, right, eps])
    assert told.startswith("c.yaml: trainer.callbacks[1]: eps is in pixel units") and "divide by 255" in told


@pytest.mark.parametrize("missing", ["tensorboard", "wandb"])
def test_a_logger_whose_package_is_missing(said, missing):
    if importlib.util.find_spec(missing):
        pytest.skip(f"{missing} is installed")
    name = {"tensorboard": "TensorBoardLogger", "wandb": "WandbLogger"}[missing]
    typed = [f"--trainer.logger={name}", "--trainer.logger.save_dir=x", *FAST[:2]]
    assert f"a package that is not installed: pip install '{missing}" in said(["fit", "CONFIG", *typed])


def test_debug_shows_the_traceback(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no configuration nowhere\.yaml"):
        main(["fit", "--config", "nowhere.yaml", "--debug"])


def test_classes_that_help_lists_are_those_that_can_be_given():
    assert set(MODELS) == {name.rpartition(".")[2] for name in classes_of("model")}
    assert set(DATA) == {name.rpartition(".")[2] for name in classes_of("data")} - {"BatchDataModule"}


class _Any:
    """Takes anything."""

    def __init__(self, width, **kwargs):
        self.kwargs = kwargs


def test_what_a_class_takes():
    from neuroalign import NeuralPredictor

    assert required_by(NeuralPredictor) == ["backbone", "num_voxels"]
    assert {"backbone", "layer", "weights"} <= set(arguments_of(NeuralPredictor))
    assert arguments_of(_Any) is None and required_by(_Any) == ["width"]
    assert why_not_found("neuroalign.tasks.NeuralPredictionTask", "model") is None
    assert why_not_found("CSVLogger", "logger") is None
    assert why_not_found("torch.optim.Adam", "optimizer") is None


def test_a_module_that_fails_to_import_is_told(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "half_written.py").write_text("class MyTask(\n")
    assert why_not_found("half_written.MyTask", "model").startswith("importing half_written failed: SyntaxError")


def test_merged_as_the_command_line_does():
    tree = merged(
        [{"data": {"class_path": "A", "init_args": {"x": 1}}}], ["fit", "--data.y", "2", "--model=B", "--model.z=3"]
    )
    assert tree["data"]["init_args"] == {"x": 1, "y": 2}
    assert tree["model"] == {"class_path": "B", "init_args": {"z": 3}}


def test_reports_in_plain_words():
    report = RuntimeError('Error(s) in loading state_dict for MyTask:\n\tMissing key(s) in state_dict: "a", "b". \n'
                          '\tUnexpected key(s) in state_dict: "c". ')  # fmt: skip
    assert in_plain_words(report) == (
        "the checkpoint is of another network than the configured MyTask: it lacks a and it holds c "
        "(3 names of weights differ)"
    )
    report = RuntimeError("Error(s) in loading state_dict for MyTask:\n\tsize mismatch for a: copying a param with shape "
                          "torch.Size([80]) from checkpoint, the shape in current model is torch.Size([81]).")  # fmt: skip
    assert in_plain_words(report).endswith("a is (80) in the file and (81) here")
    assert in_plain_words(ValueError("anything else")) is None
    report = RuntimeError("`ModelCheckpoint(monitor='val/los')` could not find the monitored key in the returned metrics: "
                          "['val/loss', 'epoch', 'step']")  # fmt: skip
    assert in_plain_words(report).startswith("unknown value to monitor 'val/los'; did you mean 'val/loss'")
    assert short("what nobody foresaw\nin two lines") == "what nobody foresaw"
