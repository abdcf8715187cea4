"""The networks and devices that --ckpt and --device name."""

import gc
import re
import sys

import pytest
import torch

from neuroalign.__main__ import main
from neuroalign.commands.networks import open_device, open_network
from neuroalign.models import GuidedNetwork, NeuralPredictor
from neuroalign.models.network_files import save_module
from neuroalign.tasks import GuidedClassificationTask, NeuralPredictionTask

IMAGES = torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(0))


def make_classifier():
    torch.manual_seed(1)
    return GuidedNetwork("small_resnet", 10, image_shape=(3, 16, 16)).eval()


def make_predictor():
    return NeuralPredictor("small_resnet", 7, image_shape=(3, 16, 16)).eval()


def logits(network):
    with torch.no_grad():
        return network.eval()(IMAGES)


def checkpoint(task, path, quiet_trainer):
    trainer = quiet_trainer(max_epochs=0)
    trainer.strategy.connect(task)
    trainer.save_checkpoint(path)
    return path


def test_files_and_folders_of_saved_networks(tmp_path, quiet_trainer):
    network = make_classifier()
    save_module(network, tmp_path / "net.safetensors")
    network.save_pretrained(tmp_path / "folder")
    checkpoint(GuidedClassificationTask(network), tmp_path / "net.ckpt", quiet_trainer)
    for name in ("net.safetensors", "folder", "net.ckpt"):
        opened = open_network(str(tmp_path / name), classifier="evaluate")
        torch.testing.assert_close(logits(opened.network), logits(network), rtol=0, atol=0)
        assert opened.name == name and opened.image_size == 16


def test_a_predictor_is_opened_where_any_network_serves(tmp_path, quiet_trainer):
    save_module(make_predictor(), tmp_path / "p.safetensors")
    checkpoint(NeuralPredictionTask(make_predictor()), tmp_path / "p.ckpt", quiet_trainer)
    for name, kind in (("p.safetensors", NeuralPredictor), ("p.ckpt", NeuralPredictionTask)):
        opened = open_network(str(tmp_path / name))
        assert isinstance(opened.network, kind) and opened.image_size == 16
    with pytest.raises(ValueError, match=r"p\.safetensors holds a NeuralPredictor, .*: evaluate needs a classifier"):
        open_network(str(tmp_path / "p.safetensors"), classifier="evaluate")
    message = r"p\.ckpt is a checkpoint of NeuralPredictionTask, .*: evaluate needs a classifier"
    with pytest.raises(ValueError, match=message):
        open_network(str(tmp_path / "p.ckpt"), classifier="evaluate")


def test_networks_of_torchvision_and_timm_normalise_by_themselves():
    timm = pytest.importorskip("timm", reason="timm is an extra")
    for named in ("squeezenet1_1", "timm:resnet10t"):
        opened = open_network(named)
        assert opened.name == f"{named} with random weights"
        assert opened.image_size == (None if named == "squeezenet1_1" else 176)
    told = timm.create_model("resnet10t").pretrained_cfg
    seen = []
    opened.network.conv1.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    logits(opened.network)
    mean, std = (torch.tensor(told[name])[:, None, None] for name in ("mean", "std"))
    torch.testing.assert_close(seen[0], (IMAGES - mean) / std)
    torch.testing.assert_close(logits(opened.network), logits(open_network("timm:resnet10t").network))


def test_pretrained_weights_of_timm_by_their_name(monkeypatch):
    timm = pytest.importorskip("timm", reason="timm is an extra")
    made, make = [], timm.create_model

    def without_download(name, pretrained):
        made.append((name, pretrained))
        return make(name.partition(".")[0])

    monkeypatch.setattr(timm, "create_model", without_download)
    for weights in ("DEFAULT", "pretrained", "a1_in1k"):
        assert open_network(f"timm:resnet18@{weights}").name == f"timm:resnet18@{weights}"
    assert made == [("resnet18", True), ("resnet18", True), ("resnet18.a1_in1k", True)]


@pytest.mark.parametrize(
    ("named", "kind", "message"),
    [
        ("resnet81", ValueError, "unknown torchvision model 'resnet81'; did you mean 'resnet18'"),
        ("fcn_resnet50", ValueError, "unknown torchvision model 'fcn_resnet50'"),
        ("@@", ValueError, "networks of timm are written timm:NAME, and files end in .ckpt or .safetensors"),
        ("resnet18@IMAGENET", ValueError, "unknown weights of resnet18: 'IMAGENET'; did you mean 'IMAGENET1K_V1'"),
        ("missing.safetensors", FileNotFoundError, "there is no file missing.safetensors"),
        ("runs/best", FileNotFoundError, "there is no file or folder runs/best"),
        ("timm:resnet81", ValueError, "unknown timm model 'resnet81'; did you mean"),
        ("timm:resnet18@a1_in2k", ValueError, "unknown weights of timm:resnet18: 'a1_in2k'; did you mean 'a1_in1k'"),
    ],
)
def test_names_of_no_network(named, kind, message):
    if named.startswith("timm:"):
        pytest.importorskip("timm", reason="timm is an extra")
    with pytest.raises(kind, match=re.escape(message)):
        open_network(named)


def test_a_folder_of_something_else(tmp_path):
    with pytest.raises(ValueError, match=r"is a folder without model\.safetensors, which save_pretrained writes"):
        open_network(str(tmp_path))


def test_timm_that_is_missing(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "timm", None)
    with pytest.raises(ImportError, match=r"needs timm: pip install 'neuroalign\[timm\]'"):
        open_network("timm:resnet18")


@pytest.mark.parametrize("gpu", [True, False])
def test_devices(gpu, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2 * gpu)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert open_device("auto").type == ("cuda" if gpu else "cpu")
    assert open_device("cpu").type == "cpu"
    wrong = {"gpu": "give auto, cpu", "mps": "no GPU of Apple"}
    wrong |= {"cuda:2": "there are 2 GPUs here, counted from 0"} if gpu else {"cuda": "torch finds no GPU here"}
    for name, message in wrong.items():
        with pytest.raises(ValueError, match=f"--device {name}: .*{message}"):
            open_device(name)


@pytest.mark.parametrize("command", ["evaluate", "geometry"])
def test_the_commands_take_devices_and_tell_of_checkpoints_of_predictors(command, tmp_path, quiet_trainer, capsys):
    path = checkpoint(NeuralPredictionTask(make_predictor()), tmp_path / "p.ckpt", quiet_trainer)
    layers = ["--layers", "layer9"] if command == "geometry" else []
    out = ["--out", str(tmp_path / "out")]
    for wrong, message in (
        (["--ckpt", str(path)], "evaluate needs a classifier" if command == "evaluate" else "unknown layer 'layer9'"),
        (["--ckpt", "resnet18", "--device", "gpu"], "--device gpu"),
    ):
        with pytest.raises(SystemExit, match="2"):
            main([command, "--data", "digits", *wrong, *layers, *out])
        said = capsys.readouterr().err
        assert message in said and said.count("\n") == 1


def test_images_of_a_folder_have_the_size_that_the_network_was_built_for(tmp_path, capsys):
    from torchvision.utils import save_image

    save_module(make_classifier(), tmp_path / "net.safetensors")
    for c in range(2):
        (tmp_path / "images" / str(c)).mkdir(parents=True)
        save_image(torch.rand(3, 40, 30), tmp_path / "images" / str(c) / "0.png")
    listed = [
        "geometry",
        "--ckpt",
        str(tmp_path / "net.safetensors"),
        "--data",
        str(tmp_path / "images"),
        "--layers",
        "list",
    ]
    main(listed)
    lines = capsys.readouterr().out.splitlines()
    conv = next(line for line in lines if "Conv2d" in line).split()
    assert conv[0].startswith("trunk.backbone.") and conv[-3:] == ["16", "x", "16"]
    main([*listed, "--image-size", "32"])
    assert next(line for line in capsys.readouterr().out.splitlines() if "Conv2d" in line).split()[-1] == "32"
    assert not any("guidance" in line or "loss" in line for line in lines)


def test_the_normalisation_of_a_named_network_is_on_its_device():
    network = open_network("squeezenet1_1").network.to("meta").eval()
    assert network(torch.empty(1, 3, 64, 64, device="meta")).shape == (1, 1000)


OWN = """
from torch import nn
from neuroalign import register
class Plain(nn.Sequential):
    def __init__(self):
        super().__init__(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
@register
class Known(nn.Sequential):
    def __init__(self, width):
        super().__init__(nn.Conv2d(3, width, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A module of the user's own in the working directory; ``forget`` makes it as if it had never been imported."""
    from neuroalign.config.records import REGISTERED

    before, path = dict(REGISTERED), list(sys.path)
    (tmp_path / "own_nets_of_cli.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in path if each])

    def forget():
        sys.modules.pop("own_nets_of_cli", None)
        REGISTERED.clear()
        REGISTERED.update(before)

    yield forget
    forget()
    gc.collect()


@pytest.mark.parametrize("name", ["Plain", "Known"])
def test_networks_of_an_own_class_open_if_their_module_is_allowed(name, own, quiet_trainer, tmp_path, capsys):
    sys.path.append(str(tmp_path))
    import own_nets_of_cli as nets

    network = GuidedNetwork(nets.Plain() if name == "Plain" else nets.Known(5), 3, image_shape=(3, 16, 16)).eval()
    network.save("net.safetensors")
    network.save_pretrained("folder")
    checkpoint(GuidedClassificationTask(network), "net.ckpt", quiet_trainer)
    predictor = NeuralPredictor(network.trunk.backbone, 7, image_shape=(3, 16, 16))
    checkpoint(NeuralPredictionTask(predictor), "p.ckpt", quiet_trainer)
    sys.path.remove(str(tmp_path))
    for file in ("net.safetensors", "folder", "net.ckpt"):
        own()
        with pytest.raises(
            ValueError, match=rf"^{file}: .*class own_nets_of_cli\.{name}, .*--allow own_nets_of_cli, if you"
        ):
            open_network(file, classifier="evaluate")
        opened = open_network(file, classifier="evaluate", allow=["own_nets_of_cli"])
        torch.testing.assert_close(logits(opened.network), logits(network), rtol=0, atol=0)
        assert opened.image_size == 16
    own()
    for command in (
        ["evaluate", "--data", "x.npz"],
        ["geometry", "--data", "x.npz"],
        ["export", "--to", "torch", "--out", "o.pt2"],
    ):
        with pytest.raises(SystemExit):
            main([*command, "--ckpt", "net.ckpt"])
        assert "--allow own_nets_of_cli, if you trust it" in capsys.readouterr().err
    with pytest.raises(
        ValueError, match=r"p\.ckpt is a checkpoint of NeuralPredictionTask, .*: evaluate needs a classifier"
    ):
        open_network("p.ckpt", classifier="evaluate", allow=["own_nets_of_cli"])
    assert open_network("p.ckpt", allow=["own_nets_of_cli"]).image_size == 16


def test_modules_that_can_not_be_allowed(own, tmp_path):
    save_module(make_classifier(), tmp_path / "net.safetensors")
    for allow, message in (
        ("own_nets_of_cli.py", "such as own_nets_of_cli; got"),
        ("absent", "absent can't be imported"),
    ):
        with pytest.raises(ValueError, match=rf"^--allow: .*{message}"):
            open_network("net.safetensors", allow=[allow])
