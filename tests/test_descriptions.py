"""Every public class that has a description: rebuilt by it, its subclasses too, and no one else's taken for it."""

import copy
import dataclasses
import inspect
import json
import pickle
from abc import ABC
from pathlib import Path

import pytest
import torch
from torch import nn

import neuroalign
from neuroalign import PGD, NeuralPredictor, register
from neuroalign.config import Described, DescriptionError, build, description_of, reason_undescribed
from neuroalign.config.records import REGISTERED, path_of
from neuroalign.losses import CategoryManifolds, MMCRLoss, NeuralAlignmentLoss
from neuroalign.models import Frozen, SmallResNet
from tests.description_cases import CASES, NEW_CASES, NOT_DESCRIBED, SHAPE, manifolds, predictor

ALL_CASES = {**CASES, **NEW_CASES}
BEFORE = json.loads((Path(__file__).parent / "descriptions.json").read_text())
MADE_OF_DATA = {
    "RDMAlignmentLoss": "an RDM is data",
    "RDMGuidance": "RDMs are data",
    "OddOneOutGuidance": "triplets are data",
}
PUBLIC = sorted(name for name in neuroalign.__all__ if inspect.isclass(getattr(neuroalign, name)))
# One object of each class.
ONE_OF_EACH = sorted(name for name in ALL_CASES if " " not in name and name not in MADE_OF_DATA)


@pytest.fixture(autouse=True)
def registry():
    """The registered classes, put back afterwards."""
    before = dict(REGISTERED)
    yield REGISTERED
    REGISTERED.clear()
    REGISTERED.update(before)


def same(a, b):
    """Whether two objects hold the same: modules by their state, others by what they keep."""
    assert type(a) is type(b)
    if isinstance(a, nn.Module):
        assert a.state_dict().keys() == b.state_dict().keys()
        torch.testing.assert_close(dict(a.state_dict()), dict(b.state_dict()), rtol=0, atol=0, equal_nan=True)
        assert repr(a) == repr(b)
    else:
        assert {k: repr(v) for k, v in vars(a).items()} == {k: repr(v) for k, v in vars(b).items()}


def rebuilt(made, description):
    """An object built from a description that went through a file, with the weights of the first."""
    again = build(json.loads(json.dumps(description)))
    if isinstance(made, nn.Module):
        again.load_state_dict(made.state_dict())
    return again


@pytest.mark.parametrize("name", PUBLIC)
def test_every_public_class_is_in_the_table_or_has_a_reason(name):
    cls = getattr(neuroalign, name)
    room = cls.__module__.split(".")[1]
    assert (name in ALL_CASES) != (name in NOT_DESCRIBED or room in NOT_DESCRIBED), f"{name}: give a case, or a reason"
    assert issubclass(cls, Described) == (name in ALL_CASES)


@pytest.mark.parametrize("name", CASES)
def test_descriptions_are_what_files_hold_already(name):
    assert description_of(CASES[name]()) == BEFORE[name]


@pytest.mark.parametrize("name", [name for name in BEFORE if BEFORE[name] is not None])
def test_descriptions_of_old_files_are_built(name):
    assert description_of(build(BEFORE[name])) == BEFORE[name]


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_rebuilt_from_its_description(name):
    made = ALL_CASES[name]()
    assert made.config == description_of(made) and made.config["class_path"].split(".")[2] == type(made).__name__
    again = rebuilt(made, made.config)
    same(made, again)
    assert again.config == made.config


@pytest.mark.parametrize("name", ["NeuralPredictor of a SmallResNet", "GuidedNetwork", "RidgePredictor", "Frozen"])
def test_gives_what_it_gave(name):
    made = CASES[name]().eval()
    images = torch.rand(2, *SHAPE)
    torch.testing.assert_close(rebuilt(made, made.config).eval()(images), made(images), rtol=0, atol=0)


@pytest.mark.parametrize("name", ONE_OF_EACH)
def test_a_subclass_is_rebuilt_as_itself_or_not_at_all(name):
    made = ALL_CASES[name]()
    mine = type("Mine", (type(made),), {"__module__": __name__})
    arguments = made.config["init_args"]
    maker = mine.zeros if name == "CategoryManifolds" else mine
    unregistered = maker(**build(arguments))
    assert description_of(unregistered) is None and unregistered.config is None
    assert "neuroalign.register" in reason_undescribed(unregistered)
    register(name="my_lab.Mine")(mine)
    ours = maker(**build(arguments))
    assert ours.config["class_path"] in ("my_lab.Mine", "my_lab.Mine.zeros")
    again = rebuilt(ours, ours.config)
    assert type(again) is mine
    same(ours, again)
    assert again.config["init_args"] == arguments
    del REGISTERED["my_lab.Mine"]
    with pytest.raises(DescriptionError, match=r"neuroalign\.register"):
        build({"class_path": "my_lab.Mine", "init_args": arguments})


class Foreign(nn.Module):
    """Somebody's module with a ``.config`` of its own."""

    num_features = num_voxels = 3

    def __init__(self, config):
        super().__init__()
        self.config = config

    def forward(self, images):
        return images.flatten(1)[:, :3]


@pytest.mark.parametrize("config", [{"width": 3}, SmallResNet().config, {"class_path": "my_lab.Mine", "init_args": {}}])
@pytest.mark.parametrize(
    "holder",
    [
        Frozen,
        lambda m: NeuralPredictor(m, 3, image_shape=SHAPE),
        lambda m: neuroalign.GuidedNetwork(m, 3, image_shape=SHAPE),
        lambda m: neuroalign.RidgePredictor(m, 3),
        neuroalign.StandardizedPredictor,
        lambda m: neuroalign.PredictedGuidance({"V4": m}),
        lambda m: neuroalign.MeasuredGuidance("V4", m),
        lambda m: neuroalign.WeightedGuidance([m]),
        lambda m: neuroalign.ManifoldGuidance({"V4": m}),
        lambda m: neuroalign.PixelClassifier(m),
        NeuralAlignmentLoss,
    ],
)
def test_a_config_of_anothers_is_not_taken_for_ours(config, holder):
    foreign = Foreign(config)
    assert description_of(foreign) is None and holder(foreign).config is None


def test_a_config_set_by_hand_is_only_an_attribute(tmp_path):
    harmful = {"class_path": "os.system", "init_args": {"command": "true"}}
    made = predictor()
    described = made.config
    made.config = harmful
    assert made.config == harmful and description_of(made) == described
    made.config["init_args"]["x"] = 1
    made.save(tmp_path / "p.safetensors")
    assert description_of(NeuralPredictor.load(tmp_path / "p.safetensors")) == described
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(192, 4))
    mine = NeuralPredictor(backbone, 3, image_shape=SHAPE)
    mine.config = described
    assert description_of(mine) is None
    mine.save(tmp_path / "q.safetensors")
    with pytest.raises(DescriptionError, match=r"the file names torch\.nn\.modules\.container\.Sequential"):
        NeuralPredictor.load(tmp_path / "q.safetensors")


def test_what_a_description_says_can_be_changed_without_changing_the_object():
    loss = MMCRLoss()
    loss.config["init_args"]["local_weight"] = 7
    assert loss.config["init_args"]["local_weight"] == 0.0


class OfMine(NeuralPredictor):
    """A subclass with other arguments, which it hands on."""

    def __init__(self, width, *, sizes=(1, 2)):
        super().__init__("small_resnet", width, image_shape=SHAPE)
        sizes.clear() if isinstance(sizes, list) else None


def test_the_outermost_arguments_count(tmp_path):
    with pytest.raises(ValueError, match=r"OfMine is no class of neuroalign.*neuroalign\.register"):
        OfMine(4).save(tmp_path / "p.safetensors")
    register(name="my_lab.OfMine")(OfMine)
    made = OfMine(4, sizes=[3])
    assert made.config == {"class_path": "my_lab.OfMine", "init_args": {"width": 4, "sizes": [3]}}
    made.save(tmp_path / "p.safetensors")
    again = NeuralPredictor.load(tmp_path / "p.safetensors")
    assert type(again) is OfMine
    same(made.eval(), again.eval())


def test_a_subclass_of_a_registered_one_is_not_its_parent():
    register(name="my_lab.OfMine")(OfMine)

    class Child(OfMine):
        def __init__(self):
            super().__init__(3)

    assert Child().config is None
    register(name="my_lab.Child")(Child)
    assert Child().config == {"class_path": "my_lab.Child", "init_args": {}}


def test_a_subclass_may_say_its_arguments_itself():
    @register(name="my_lab.Said")
    class Said(NeuralPredictor):
        def __init__(self, **options):
            super().__init__("small_resnet", image_shape=SHAPE, **options)

        def _described(self, arguments):
            return {"num_voxels": self.num_voxels, "mean": self.trunk.mean, "std": self.trunk.std}

    made = Said(num_voxels=2, weights=None)
    assert set(made.config["init_args"]) == {"num_voxels", "mean", "std"}
    same(made, rebuilt(made, made.config))


def test_a_class_that_looks_like_ours_is_none():
    lookalike = type("MMCRLoss", (MMCRLoss,), {"__module__": MMCRLoss.__module__})
    assert path_of(lookalike) is None and lookalike().config is None


def test_a_failed_constructor_leaves_nothing_and_one_called_again_counts():
    loss = MMCRLoss(local_weight=0.5)
    with pytest.raises(TypeError):
        loss.__init__(nothing=3)
    assert loss.config is None
    loss.__init__(local_weight=2)
    assert loss.config["init_args"]["local_weight"] == 2


def test_arguments_that_are_no_plain_values():
    @register(name="my_lab.Many")
    class Many(MMCRLoss):
        def __init__(self, *weights, **options):
            super().__init__(**options)

    assert Many(local_weight=1.0).config["init_args"] == {"local_weight": 1.0}
    assert Many(1.0).config is None and "not given by name" in reason_undescribed(Many(1.0))
    assert "Linear is no class of neuroalign" in reason_undescribed(Frozen(nn.Linear(1, 1)))
    numpy = pytest.importorskip("numpy")
    arguments = MMCRLoss(local_weight=numpy.float32(0.5)).config["init_args"]
    assert arguments["local_weight"] == 0.5 and type(arguments["local_weight"]) is float


@pytest.mark.parametrize(
    "again",
    [copy.deepcopy, copy.copy, lambda x: pickle.loads(pickle.dumps(x))],
    ids=["deepcopy", "copy", "pickle"],
)
@pytest.mark.parametrize("make", [predictor, manifolds, lambda: PGD(steps=3)], ids=["predictor", "manifolds", "attack"])
def test_copies_keep_it(again, make):
    made = make()
    assert description_of(again(made)) == description_of(made)


def test_saved_whole_and_compiled(tmp_path):
    made = predictor()
    torch.save(made, tmp_path / "p.pt")
    assert torch.load(tmp_path / "p.pt", weights_only=False).config == made.config
    compiled = torch.compile(made, backend="eager")
    assert description_of(compiled) == description_of(made) == compiled.config
    assert Frozen(compiled).config["init_args"]["module"] == made.config
    assert not any("record" in name for name in made.state_dict())


def test_dataclasses_and_abstract_classes():
    @register(name="my_lab.Noise")
    @dataclasses.dataclass
    class Noise(neuroalign.tasks.RobustTraining):
        std: float
        sizes: list = dataclasses.field(default_factory=list)

    noise = Noise(0.1)
    assert noise.config["init_args"] == {"std": 0.1} and build(noise.config) == noise  # the factory stays the default

    class Base(Described, ABC):
        def __init__(self, width=1):
            self.width = width

    assert register(name="my_lab.Base")(Base)(3).config["init_args"] == {"width": 3}
    with pytest.raises(TypeError, match="abstract"):
        neuroalign.guidance.TargetGuidance()


def test_signatures_and_docstrings_stay():
    assert list(inspect.signature(NeuralPredictor).parameters)[:3] == ["backbone", "num_voxels", "layer"]
    assert inspect.signature(MMCRLoss).parameters["local_weight"].default == 0.0
    assert MMCRLoss.__init__.__name__ == "__init__" and MMCRLoss.__init__.__module__ == MMCRLoss.__module__
    assert "noise_ceiling" in inspect.signature(NeuralAlignmentLoss).parameters


def test_a_parser_sees_the_arguments_of_our_classes():
    jsonargparse = pytest.importorskip("jsonargparse")
    parser = jsonargparse.ArgumentParser()
    parser.add_class_arguments(NeuralPredictor, "predictor")
    parser.add_subclass_arguments(neuroalign.tasks.RobustTraining, "robust")
    text = parser.format_help()
    assert "--predictor.num_voxels" in text and "--predictor.image_shape" in text
    assert "Number of voxels" in text or "num_voxels NUM_VOXELS" in text
    robust = {"class_path": "neuroalign.tasks.TRADES", "init_args": {"eps": 0.1}}
    found = parser.parse_object({"predictor": {"backbone": "small_resnet", "num_voxels": 3}, "robust": robust})
    assert found.robust.init_args.steps == 10 and found.predictor.size == 1


def test_manifolds_are_rebuilt_by_their_shape_alone():
    made = manifolds()
    assert made.config["class_path"].endswith("CategoryManifolds.zeros")

    @register(name="my_lab.FromFile")
    class FromFile(CategoryManifolds):
        def __init__(self, width):
            super().__init__(torch.zeros(2, width), torch.zeros(2), torch.zeros(2, width, 1), torch.ones(2))

    assert FromFile(3).config == {"class_path": "my_lab.FromFile", "init_args": {"width": 3}}
