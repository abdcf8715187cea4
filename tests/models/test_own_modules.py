"""Networks with backbones of a user's own class: saved, given again or allowed, and never made by a stranger's file."""

import gc
import json
import sys
import textwrap

import lightning as L
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from neuroalign import (
    GuidedClassificationTask,
    GuidedNetwork,
    NeuralPredictionTask,
    NeuralPredictor,
    PredictedGuidance,
    register,
)
from neuroalign.config import DescriptionError, build
from neuroalign.config.records import REGISTERED
from neuroalign.models import RidgePredictor, StandardizedPredictor
from neuroalign.tensor_files import load_tensors

SHAPE = (3, 8, 8)


class MyNet(nn.Module):
    """A network as a user writes it."""

    num_features = 6

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 3)

    def forward(self, images):
        return self.conv(images).mean((2, 3))


class Wide(nn.Module):
    """One that needs an argument."""

    def __init__(self, width):
        super().__init__()
        self.linear = nn.Linear(192, width)

    def forward(self, images):
        return self.linear(images.flatten(1))


class Outer:
    class Inner(MyNet):
        """A class inside another."""


class NoModule:
    """Not a network; says so if it is made."""

    made = False

    def __init__(self):
        type(self).made = True


def make_net():
    NoModule.made = True
    return MyNet()


@pytest.fixture(autouse=True)
def registry():
    """The registered classes, put back afterwards; nothing that should not be made was made."""
    before = dict(REGISTERED)
    NoModule.made = False
    yield REGISTERED
    REGISTERED.clear()
    REGISTERED.update(before)
    assert not NoModule.made


def predictor(backbone=None, **more):
    return NeuralPredictor(MyNet() if backbone is None else backbone, 5, image_shape=SHAPE, **more).eval()


def saved(module, tmp_path, name="saved.safetensors"):
    module.save(tmp_path / name)
    return tmp_path / name


def description(path):
    return json.loads(load_tensors(path, "a predictor")[1]["neuroalign"])


def same(read, made):
    images = torch.rand(3, *SHAPE)
    assert type(read) is type(made)
    torch.testing.assert_close(read.eval()(images), made.eval()(images), rtol=0, atol=0)


@pytest.mark.parametrize("given", [MyNet(), MyNet, lambda: MyNet()], ids=["module", "class", "function"])
@pytest.mark.parametrize("kind", ["predictor", "layer", "network", "standardized", "ridge"])
def test_given_again(kind, given, tmp_path):
    made, reader = {
        "predictor": lambda: (predictor(), NeuralPredictor),
        "layer": lambda: (predictor(layer="conv", head="factorized"), NeuralPredictor),
        "network": lambda: (GuidedNetwork(MyNet(), 4, {"V4": ("conv", 7)}, image_shape=SHAPE), GuidedNetwork),
        "standardized": lambda: (StandardizedPredictor(predictor()).fit(torch.rand(9, *SHAPE)), StandardizedPredictor),
        "ridge": lambda: (RidgePredictor(MyNet(), 5).fit(torch.rand(20, *SHAPE), torch.randn(20, 5)), RidgePredictor),
    }[kind]()
    read = reader.load(saved(made, tmp_path), backbone=given)
    same(read, made)
    if isinstance(given, nn.Module):
        assert any(module is given for module in read.modules())  # it is part of the network, and has its weights


def test_the_file_holds_names_only_in_place_of_the_module(tmp_path):
    path = saved(predictor(), tmp_path)
    assert description(path)["init_args"]["backbone"] == {"own_module": {"module": __name__, "class": "MyNet"}}
    assert predictor().config is None  # no description that could be built


@pytest.mark.parametrize("allow", [[__name__], ["tests.models"], ("elsewhere", "tests")])
def test_allowed_modules(allow, tmp_path):
    made = predictor()
    same(NeuralPredictor.load(saved(made, tmp_path), allow=allow), made)
    inside = predictor(Outer.Inner())
    same(NeuralPredictor.load(saved(inside, tmp_path), allow=allow), inside)


@pytest.mark.parametrize(
    "allow",
    [
        (),
        ["test"],
        ["tests.models.test_own"],
        ["tests.models.test_own_modules.MyNet"],
        ["mylab"],
        ["tests.models."],
        ["."],
        ["*"],
    ],
    ids=str,
)
def test_a_class_of_no_allowed_module_is_refused_with_the_three_ways(allow, tmp_path):
    path = saved(predictor(), tmp_path)
    ways = rf"backbone=MyNet\(\) or allow=\['{__name__}'\], or call neuroalign\.register\(MyNet\) before"
    with pytest.raises(DescriptionError, match=rf"saved\.safetensors: the file names {__name__}\.MyNet.*{ways}"):
        NeuralPredictor.load(path, allow=allow)


def test_registered_later(tmp_path):
    made = predictor()
    path = saved(made, tmp_path)
    register(MyNet)
    same(NeuralPredictor.load(path), made)


def test_registered_before_it_was_made_needs_nothing(tmp_path):
    register(Wide)
    made = predictor(Wide(4))
    path = saved(made, tmp_path)
    assert description(path)["init_args"]["backbone"]["init_args"] == {"width": 4}
    same(NeuralPredictor.load(path), made)
    with pytest.raises(DescriptionError, match=r"leave out backbone="):
        NeuralPredictor.load(path, backbone=Wide(4))


def test_a_registered_module_that_holds_one_of_an_own_class(tmp_path):
    @register(name="my_lab.Both")
    class Both(nn.Module):
        def __init__(self, first, second):
            super().__init__()
            self.first, self.second = first, second

        def forward(self, images):
            return torch.cat([self.first(images), self.second(images)], 1)

    made = predictor(Both(MyNet(), MyNet()))
    path = saved(made, tmp_path)
    same(NeuralPredictor.load(path, backbone=MyNet), made)
    same(NeuralPredictor.load(path, allow=[__name__]), made)
    with pytest.raises(DescriptionError, match=r"names 2 modules \(.*MyNet, .*MyNet\), and one was given for all"):
        NeuralPredictor.load(path, backbone=MyNet())


def test_a_class_that_needs_arguments_is_given_as_a_module(tmp_path):
    made = predictor(Wide(4))
    path = saved(made, tmp_path)
    with pytest.raises(
        DescriptionError, match=r"Wide needs arguments \(width\).*backbone=lambda: Wide\(width=\.\.\.\)"
    ):
        NeuralPredictor.load(path, allow=[__name__])
    with pytest.raises(DescriptionError, match=r"unasked: load it with backbone=lambda: Wide\(width=\.\.\.\)$"):
        NeuralPredictor.load(path)
    same(NeuralPredictor.load(path, backbone=Wide(4)), made)


class Narrow(Wide):
    """One whose argument has a default."""

    def __init__(self, width=3):
        super().__init__(width)


def test_weights_that_need_an_argument_say_how_to_give_it(tmp_path):
    path = saved(predictor(Narrow(4)), tmp_path)
    with pytest.raises(
        ValueError, match=r"Narrow was made without arguments, .*backbone=lambda: Narrow\(width=\.\.\.\)"
    ) as told:
        NeuralPredictor.load(path, allow=[__name__])
    reason = str(told.value).partition("describes (")[2].partition("). Narrow")[0]
    assert reason.endswith("...") and reason.split()[-2] in str(told.value.__cause__).split()  # no word is cut
    with pytest.raises(ValueError, match="the weights are not those") as told:
        NeuralPredictor.load(path, backbone=Narrow)
    assert "without arguments" not in str(told.value)
    same(NeuralPredictor.load(path, backbone=lambda: Narrow(width=4)), predictor_of(path))


def predictor_of(path):
    return NeuralPredictor.load(path, backbone=Narrow(4))


def test_weights_that_do_not_fit_leave_the_given_module_as_it_was(tmp_path):
    path = saved(predictor(nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.Linear(6, 5))), tmp_path)
    given = nn.Sequential(nn.Flatten(), nn.Linear(192, 6), nn.Linear(6, 4))
    before = {key: value.clone() for key, value in given.state_dict().items()}
    with pytest.raises(ValueError, match=r"saved\.safetensors: the weights are not those of the network"):
        NeuralPredictor.load(path, backbone=given)
    assert all(torch.equal(value, before[key]) for key, value in given.state_dict().items())


def test_a_class_of_another_name_gives_a_warning(tmp_path):
    made = predictor()
    path = saved(made, tmp_path)
    with pytest.warns(
        UserWarning, match=r"weights of a tests\.models\.test_own_modules\.MyNet; they are loaded into a Outer"
    ) as told:
        same(NeuralPredictor.load(path, backbone=Outer.Inner()), made)
    assert told[0].filename == __file__  # the line that gave the backbone, none of ours


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"backbone": 3}, TypeError, "a module, or a class or function that makes one; got 3"),
        ({"backbone": "resnet18"}, TypeError, "got 'resnet18'"),
        ({"backbone": lambda: 3}, TypeError, "must make a torch.nn.Module; it made int"),
        ({"backbone": lambda: 1 / 0}, DescriptionError, r"MyNet can't be made: division by zero"),
        ({"allow": "tests"}, TypeError, r"allow takes a list of names .*got 'tests'"),
        ({"allow": [3]}, TypeError, "allow takes a list of names"),
        ({"allow": [""]}, TypeError, "allow takes a list of names"),
    ],
)
def test_wrong_arguments(options, error, message, tmp_path):
    path = saved(predictor(), tmp_path)
    with pytest.raises(error, match=message):
        NeuralPredictor.load(path, **options)


def test_what_can_not_be_saved_names_the_reason(tmp_path):
    head = (None, 5, lambda feature_shape, num_outputs: nn.Linear(feature_shape[0], num_outputs))
    network = GuidedNetwork(MyNet(), 4, {"V4": head}, image_shape=SHAPE)
    with pytest.raises(
        ValueError, match=r"no description to save: .*<lambda> is a function or class, which no file can hold"
    ):
        network.save(tmp_path / "network.safetensors")
    assert not list(tmp_path.iterdir())


def test_files_of_the_other_network(tmp_path):
    guided = saved(GuidedNetwork("small_resnet", 4, image_shape=SHAPE), tmp_path, "guided.safetensors")
    other = saved(NeuralPredictor("small_resnet", 4, image_shape=SHAPE), tmp_path, "predictor.safetensors")
    with pytest.raises(ValueError, match=r"guided\.safetensors holds a GuidedNetwork, no predictor"):
        NeuralPredictor.load(guided)
    with pytest.raises(ValueError, match=r"predictor\.safetensors holds a NeuralPredictor, no GuidedNetwork"):
        GuidedNetwork.load(other)


def checkpoint(task, path):
    trainer = L.Trainer(max_epochs=0, logger=False, enable_checkpointing=False, accelerator="cpu")
    trainer.strategy.connect(task)
    trainer.save_checkpoint(path)
    return path


@pytest.fixture
def checkpoints(tmp_path):
    """Checkpoints of both tasks, of networks by name and with an own backbone."""
    network = GuidedNetwork(MyNet(), 4, {"V4": (None, 5)}, image_shape=SHAPE)
    tasks = {
        "predictor": NeuralPredictionTask(predictor("small_resnet")),
        "own predictor": NeuralPredictionTask(predictor()),
        "network": GuidedClassificationTask(GuidedNetwork("small_resnet", 4, image_shape=SHAPE)),
        "own network": GuidedClassificationTask(network, PredictedGuidance({"V4": predictor()})),
    }
    return {name: checkpoint(task, tmp_path / f"{name}.ckpt") for name, task in tasks.items()}, tasks


def test_networks_of_checkpoints(checkpoints):
    paths, tasks = checkpoints
    same(NeuralPredictor.load(paths["own predictor"], backbone=MyNet), tasks["own predictor"].predictor)
    same(GuidedNetwork.load(paths["own network"], allow=[__name__]), tasks["own network"].network)
    same(GuidedNetwork.load(paths["network"]), tasks["network"].network)
    with pytest.raises(
        ValueError, match="is a checkpoint of GuidedClassificationTask: it holds a network, no predictor"
    ):
        NeuralPredictor.load(paths["network"])
    with pytest.raises(ValueError, match="is a checkpoint of NeuralPredictionTask: it holds a predictor, no network"):
        GuidedNetwork.load(paths["predictor"])


def test_a_task_with_an_own_network_asks_for_it(checkpoints):
    paths, tasks = checkpoints
    with pytest.raises(ValueError, match=r"own predictor\.ckpt: the predictor has a module of your own class .*MyNet: .*"
                       r"load_from_checkpoint\(path, predictor=\.\.\.\)"):  # fmt: skip
        NeuralPredictionTask.load_from_checkpoint(paths["own predictor"])
    read = NeuralPredictionTask.load_from_checkpoint(paths["own predictor"], predictor=predictor())
    same(read.predictor, tasks["own predictor"].predictor)
    with pytest.raises(ValueError, match=r"load_from_checkpoint\(path, network=\.\.\.\)"):
        GuidedClassificationTask.load_from_checkpoint(paths["own network"])


def test_a_checkpoint_of_another_task_is_named(checkpoints):
    paths, tasks = checkpoints
    network = GuidedNetwork("small_resnet", 4, image_shape=SHAPE)
    for options in ({}, {"network": network}):
        for name in ("predictor", "own predictor"):
            with pytest.raises(
                ValueError, match=rf"{name}\.ckpt: this is a checkpoint of NeuralPredictionTask, not of Guided"
            ):
                GuidedClassificationTask.load_from_checkpoint(paths[name], **options)
    with pytest.raises(
        ValueError, match="this is a checkpoint of GuidedClassificationTask, not of NeuralPredictionTask"
    ):
        NeuralPredictionTask.load_from_checkpoint(paths["network"])
    trainer = L.Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", enable_progress_bar=False)
    loader = torch.utils.data.DataLoader([{"image": torch.rand(SHAPE), "label": 0}])
    with pytest.raises(
        ValueError, match="this is a checkpoint of NeuralPredictionTask, not of GuidedClassificationTask"
    ):
        trainer.test(tasks["network"], loader, ckpt_path=paths["predictor"], verbose=False)


def test_guidance_allows_the_class_of_a_predictors_file(tmp_path):
    made = predictor()
    path = saved(made, tmp_path)
    with pytest.raises(
        DescriptionError, match=rf"MyNet, which is imported only if .*allow: \[{__name__}\] beside predictors"
    ):
        PredictedGuidance({"V4": path})
    guidance = PredictedGuidance({"V4": path}, allow=[__name__])
    same(guidance.predictors["V4"].module, made)
    with pytest.raises(
        ValueError, match=r"the Python module mylab_none can't be imported: No module named 'mylab_none'"
    ):
        PredictedGuidance({"V4": path}, allow=["mylab_none"])
    with pytest.raises(ValueError, match=r"named as where it is imported, such as nets; got 'lab/nets\.py'"):
        PredictedGuidance({"V4": path}, allow=["lab/nets.py"])


def test_no_description_holds_what_guidance_allows():
    guidance = PredictedGuidance({"V4": predictor("small_resnet")}, allow=[__name__])
    assert guidance.config["init_args"].keys() == {"predictors", "loss"}
    told = {**guidance.config, "init_args": {**guidance.config["init_args"], "allow": ["mylab_evil"]}}
    with pytest.raises(DescriptionError, match="importing Python modules, which no description may"):
        build(told)


# Files of strangers


@pytest.fixture
def lab(tmp_path, monkeypatch):
    """Packages of a user, some of which leave a trace if they are imported."""
    touch = f"import pathlib\npathlib.Path({str(tmp_path / 'trace')!r}).touch()\n"
    net = textwrap.dedent(
        """
        import os, pathlib
        from torch import nn
        from torch.nn import Flatten
        class Net(nn.Flatten): pass
        class Base: pass
        class Holder:
            Net = Net
            Flatten = Flatten
        def make(): raise SystemExit
        instance = Net()
        """
    )
    files = {"mylab/__init__.py": "", "mylab/nets.py": net, "mylab/broken.py": "raise RuntimeError('two\\nlines')",
             "mylab_evil.py": touch + net, "mylab_evil_nets.py": touch + net}  # fmt: skip
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield tmp_path
    assert not (tmp_path / "trace").exists()
    for name in [name for name in sys.modules if name.partition(".")[0].startswith("mylab")]:
        del sys.modules[name]
    gc.collect()  # else other tests find the classes as subclasses of torch's


def hostile(path, module, name, wrap=lambda marker: marker):
    """The file of a predictor whose backbone is said to be of this class."""
    path.unlink(missing_ok=True)
    saved(predictor(nn.Flatten()), path.parent, path.name)
    told = description(path)
    told["init_args"]["backbone"] = wrap({"own_module": {"module": module, "class": name}})
    save_file(load_file(path), path, metadata={"neuroalign": json.dumps(told)})
    return path


def test_what_an_allowed_package_defines_is_made(lab):
    for allow in (["mylab"], ["mylab.nets"]):
        read = NeuralPredictor.load(hostile(lab / "p.safetensors", "mylab.nets", "Net"), allow=allow)
        assert type(read.trunk.backbone).__module__ == "mylab.nets"


@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("mylab_evil", "Net"),
        ("mylab_evil_nets", "Net"),
        ("mylabs.nets", "Net"),
        ("torch.nn", "Flatten"),
        ("os", "system"),
        ("builtins", "exec"),
        ("neuroalign.models", "SmallResNet"),
        (".mylab.nets", "Net"),
        ("..mylab", "Net"),
        ("mylab_evil.mylab", "Net"),
        ("/etc/mylab", "Net"),
    ],
)
def test_no_other_module_is_imported(lab, module, name):
    before = set(sys.modules)
    with pytest.raises(DescriptionError, match="not made from a file unasked") as refused:
        NeuralPredictor.load(hostile(lab / "p.safetensors", module, name), allow=["mylab"])
    assert "\n" not in str(refused.value) and not {m for m in set(sys.modules) - before if m.startswith("mylab")}


@pytest.mark.parametrize(
    ("module", "name", "message"),
    [
        ("mylab.nets", "Missing", "has no such class"),
        ("mylab.nets", "make", "has no such class"),
        ("mylab.nets", "instance", "has no such class"),
        ("mylab.nets", "os", "has no such class"),
        ("mylab.nets", "os.system", "has no such class"),
        ("mylab.nets", "Net.__init__", "has no such class"),
        ("mylab.nets", "Net.__class__", "has no such class"),
        ("mylab.nets", "__builtins__", "has no such class"),
        ("mylab.nets", "Net.forward", "has no such class"),
        ("mylab.nets", "make.<locals>.Net", "has no such class"),
        ("mylab.nets", "Net()", "has no such class"),
        ("mylab.nets", "Base", "is no torch.nn.Module that was defined in mylab"),
        ("mylab.nets", "Flatten", "is no torch.nn.Module that was defined in mylab"),
        ("mylab.nets", "Holder.Flatten", "is no torch.nn.Module that was defined in mylab"),
        ("mylab.nets", "pathlib.Path", "has no such class"),
        ("mylab.missing", "Net", "can't be imported"),
        ("mylab.nets.os", "system", "can't be imported"),
        ("mylab.broken", "Net", "can't be imported: two lines"),
        ("mylab.__init__", "Net", "no Python module can have that name"),
        ("mylab.__main__", "Net", "no Python module can have that name"),
        ("mylab..nets", "Net", "no Python module can have that name"),
        ("mylab./etc/x", "Net", "no Python module can have that name"),
        ("mylab. nets", "Net", "no Python module can have that name"),
    ],
)
def test_an_allowed_package_gives_its_own_networks_only(lab, module, name, message):
    with pytest.raises(DescriptionError, match=message) as refused:
        NeuralPredictor.load(hostile(lab / "p.safetensors", module, name), allow=["mylab"])
    assert "\n" not in str(refused.value)


def test_classes_that_are_no_networks_and_functions_are_not_made(tmp_path):
    for name in ("NoModule", "make_net"):
        with pytest.raises(DescriptionError, match=r"no such class|is no torch\.nn\.Module"):
            NeuralPredictor.load(hostile(tmp_path / "p.safetensors", __name__, name), allow=[__name__])


@pytest.mark.parametrize(
    "marker",
    [
        {"own_module": "tests.models.test_own_modules.MyNet"},
        {"own_module": {"module": __name__, "class": "MyNet", "args": [1]}},
        {"own_module": {"module": __name__, "class": ["MyNet"]}},
        {"own_module": {"module": __name__, "class": ""}},
        {"own_module": {"module": __name__, "class": "My\nNet"}},
        {"own_module": {"module": __name__, "class": "M" * 1000}},
        {"own_module": {"module": __name__, "class": "MyNet"}, "init_args": {}},
    ],
)
def test_markers_of_another_form_are_nothing(marker, tmp_path):
    path = hostile(tmp_path / "p.safetensors", __name__, "MyNet", lambda _: marker)
    with pytest.raises(DescriptionError, match="a Module, or the description of one, is needed"):
        NeuralPredictor.load(path, allow=[__name__])


@pytest.mark.parametrize("levels", [1, 50, 300])
def test_nested_markers(levels, tmp_path):
    def deep(marker):
        for _ in range(levels):
            marker = {"class_path": "neuroalign.models.Frozen", "init_args": {"module": marker}}
        return marker

    path = hostile(tmp_path / "p.safetensors", __name__, "MyNet", deep)
    with pytest.raises(DescriptionError, match="not made from a file unasked" if levels < 100 else "nested more than"):
        NeuralPredictor.load(path)


def test_nothing_is_made_before_all_names_were_checked(tmp_path):
    def wrap(marker):
        return {
            "class_path": "neuroalign.models.Frozen",
            "init_args": {"module": [marker, {"class_path": "os.system"}]},
        }

    path = hostile(tmp_path / "p.safetensors", __name__, "MyNet", wrap)
    with pytest.raises(DescriptionError, match=r"'os\.system' is no class of neuroalign's"):
        NeuralPredictor.load(path, backbone=NoModule)  # the fixture sees whether it was made


def test_a_file_can_not_ask_for_very_many_modules(tmp_path):
    path = hostile(tmp_path / "p.safetensors", __name__, "MyNet", lambda marker: [marker] * 101)
    with pytest.raises(DescriptionError, match="asks for 101 modules"):
        NeuralPredictor.load(path, backbone=NoModule)


def test_a_marker_is_not_built():
    marker = {"own_module": {"module": __name__, "class": "MyNet"}}
    for value in (marker, [marker], {"class_path": "neuroalign.models.Frozen", "init_args": {"module": marker}}):
        with pytest.raises(DescriptionError, match="not made from a file unasked"):
            build(value)


def test_names_that_look_like_a_marker_stay_data(tmp_path):
    made = GuidedNetwork("small_resnet", 4, {"own_module": ("layer3", 5)}, image_shape=SHAPE)
    read = GuidedNetwork.load(saved(made, tmp_path))
    same(read, made)
    assert read.head_layers == {"own_module": "layer3"}
    assert build({"own_module": "mse"}) == {"own_module": "mse"}
