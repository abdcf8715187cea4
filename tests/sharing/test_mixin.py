"""Models as folders: what is written, what comes back, and what is refused."""

import inspect
import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import neuroalign
from neuroalign import CardFacts, CategoryManifolds, GuidedNetwork, NeuralPredictor, RidgePredictor, register
from neuroalign.checksums import DamagedFileError
from neuroalign.config import DescriptionError
from neuroalign.losses import RandomFourierFeatures
from neuroalign.models import VisualFeatures

SHAPE = (3, 8, 8)


def predictor():
    return NeuralPredictor("small_resnet", 5, layer="layer2", size=2, image_shape=SHAPE)


def network():
    return GuidedNetwork("small_resnet", 4, {"V1": ("layer1", 6), "V4": ("layer3", 7)}, image_shape=SHAPE)


def manifolds():
    return CategoryManifolds.from_features(torch.randn(40, 6), torch.arange(40) % 3)


def mapped_manifolds():
    features, labels = torch.randn(60, 4), torch.arange(60) % 3
    return CategoryManifolds.from_features(features, labels, feature_map=RandomFourierFeatures(4, 12, bandwidth=1.0))


def ridge():
    fitted = RidgePredictor(VisualFeatures(8, wavelengths=(4,), grid=2), num_voxels=5)
    return fitted.fit(torch.rand(30, *SHAPE), torch.randn(30, 5))


def outputs(model, images):
    if isinstance(model, GuidedNetwork):
        logits, responses = model(images, with_responses=True)
        return [logits, *responses.values()]
    return list(model.state_dict().values()) if isinstance(model, CategoryManifolds) else [model(images)]


@pytest.mark.parametrize("make", [predictor, network, manifolds, mapped_manifolds, ridge])
def test_a_folder_gives_the_same_model(make, tmp_path):
    model = make()
    if not isinstance(model, CategoryManifolds):
        with torch.no_grad():
            model(torch.rand(8, *SHAPE))  # moves the running statistics of BatchNorm
    assert model.save_pretrained(tmp_path / "nsd-subj01-V4") is None
    assert sorted(p.name for p in (tmp_path / "nsd-subj01-V4").iterdir()) == [
        "README.md", "config.json", "model.safetensors"
    ]  # fmt: skip
    loaded = type(model).from_pretrained(str(tmp_path / "nsd-subj01-V4"))
    assert type(loaded) is type(model) and not loaded.training
    images = torch.rand(4, *SHAPE)
    for ours, theirs in zip(outputs(model.eval(), images), outputs(loaded, images), strict=True):
        assert torch.equal(ours, theirs)


@pytest.mark.parametrize("make", [predictor, network, manifolds])
def test_the_weights_are_what_save_writes(make, tmp_path):
    model = make()
    model.save_pretrained(tmp_path / "folder")
    model.save(tmp_path / "alone.safetensors")
    found = []
    for path in (tmp_path / "folder/model.safetensors", tmp_path / "alone.safetensors"):
        with safe_open(path, "pt") as file:
            found.append((file.metadata(), {name: file.get_tensor(name) for name in file.keys()}))  # noqa: SIM118
    assert found[0][0] == found[1][0] and set(found[0][1]) == set(found[1][1])
    assert all(torch.equal(found[0][1][name], found[1][1][name]) for name in found[0][1])


def test_the_configuration_can_be_read_by_people(tmp_path):
    model = network()
    model.save_pretrained(tmp_path, card=CardFacts(subject=1, accuracy=(7, 10)))
    config = json.loads((tmp_path / "config.json").read_text())
    with safe_open(tmp_path / "model.safetensors", "pt") as file:
        assert config["description"] == json.loads(file.metadata()["neuroalign"]) == model.config
    assert config["library_name"] == "neuroalign" and config["class"] == "GuidedNetwork"
    assert config["neuroalign_version"] == neuroalign.__version__
    assert config["card"] == {"subject": 1, "accuracy": {"num_correct": 7, "num_images": 10}}


def test_the_configuration_is_not_needed_and_not_trusted(tmp_path):
    model = predictor()
    model.save_pretrained(tmp_path)
    hostile = {"class_path": "os.system", "init_args": {"command": f"touch {tmp_path / 'canary'}"}}
    (tmp_path / "config.json").write_text(json.dumps({"class": "os.system", "description": hostile}))
    assert torch.equal(NeuralPredictor.from_pretrained(tmp_path).head.linear.weight, model.head.linear.weight)
    (tmp_path / "config.json").unlink()
    NeuralPredictor.from_pretrained(tmp_path)
    assert not (tmp_path / "canary").exists()


def test_a_description_that_names_something_else_is_refused(tmp_path):
    hostile = {"class_path": "os.system", "init_args": {"command": f"touch {tmp_path / 'canary'}"}}
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors", metadata={"neuroalign": json.dumps(hostile)})
    for cls in (NeuralPredictor, GuidedNetwork, RidgePredictor):
        with pytest.raises(DescriptionError, match=r"'os\.system' is no class of neuroalign's") as refused:
            cls.from_pretrained(tmp_path)
        assert "\n" not in str(refused.value)
    with pytest.raises(ValueError, match="not a file of category manifolds"):
        CategoryManifolds.from_pretrained(tmp_path)
    assert not (tmp_path / "canary").exists()


def test_a_damaged_file_is_refused(tmp_path):
    predictor().save_pretrained(tmp_path)
    weights = tmp_path / "model.safetensors"
    content = bytearray(weights.read_bytes())
    content[-5] ^= 1
    weights.write_bytes(content)
    with pytest.raises(DamagedFileError, match="checksum"):
        NeuralPredictor.from_pretrained(tmp_path)


@pytest.mark.skipif(os.name != "posix", reason="pipes and links are POSIX's")
def test_what_is_no_file_is_refused_and_links_are_followed(tmp_path):
    (tmp_path / "there").mkdir()
    predictor().save_pretrained(tmp_path / "there")
    (tmp_path / "linked").mkdir()  # as in the Hub's cache
    (tmp_path / "linked/model.safetensors").symlink_to(tmp_path / "there/model.safetensors")
    NeuralPredictor.from_pretrained(tmp_path / "linked")
    (tmp_path / "pipe").mkdir()
    os.mkfifo(tmp_path / "pipe/model.safetensors")
    with pytest.raises(OSError, match="device or a pipe"):
        NeuralPredictor.from_pretrained(tmp_path / "pipe")
    with pytest.raises(OSError, match="outside its folder"):
        predictor().save_pretrained(tmp_path / "linked")
    assert [p.name for p in (tmp_path / "linked").iterdir()] == ["model.safetensors"]


@pytest.mark.parametrize(
    ("make", "cls"),
    [(network, NeuralPredictor), (manifolds, GuidedNetwork), (ridge, CategoryManifolds), (predictor, RidgePredictor)],
)
def test_the_wrong_class_is_named(make, cls, tmp_path):
    model = make()
    model.save_pretrained(tmp_path)
    name = type(model).__name__
    with pytest.raises(ValueError, match=rf"holds a {name}, no {cls.__name__}: load it with {name}\.from_pretrained"):
        cls.from_pretrained(tmp_path)


@pytest.mark.parametrize(
    ("place", "error", "says"),
    [
        ("no/such/place", FileNotFoundError, "no folder no/such/place; a model on the Hub is named owner/name"),
        ("V4", FileNotFoundError, "no folder V4; a model"),
        ("file", NotADirectoryError, "file is a file, where a folder is wanted: NeuralPredictor.load reads files"),
        ("empty", FileNotFoundError, "empty holds no model.safetensors"),
    ],
)
def test_places_without_a_model(place, error, says, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "file").write_text("")
    (tmp_path / "empty").mkdir()
    with pytest.raises(error, match=says):
        NeuralPredictor.from_pretrained(place)


def test_another_version_is_named_where_its_file_cannot_be_read(tmp_path):
    predictor().save_pretrained(tmp_path)
    description = {"class_path": "neuroalign.models.NeuralPredictor", "init_args": {"backbone": "small_resnet",
                   "num_voxels": 5, "later_argument": 1}}  # fmt: skip
    save_file({"x": torch.zeros(1)}, tmp_path / "model.safetensors", metadata={"neuroalign": json.dumps(description)})
    with pytest.raises(DescriptionError, match=r"no argument 'later_argument'[^(]*$"):
        NeuralPredictor.from_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**config, "neuroalign_version": "9.1"}))
    with pytest.raises(DescriptionError, match=r"no argument 'later_argument'.*neuroalign 9\.1 wrote it, this is"):
        NeuralPredictor.from_pretrained(tmp_path)
    for version in ("9.1\x1b[31m", 9.1, "x" * 100):
        (tmp_path / "config.json").write_text(json.dumps({**config, "neuroalign_version": version}))
        with pytest.raises(DescriptionError, match=r"no argument 'later_argument'[^(]*$"):
            NeuralPredictor.from_pretrained(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**config, "neuroalign_version": "9.1", "more": "x" * 2**21}))
    with pytest.raises(DescriptionError, match=r"no argument 'later_argument'[^(]*$"):  # too large to be looked at
        NeuralPredictor.from_pretrained(tmp_path)


def test_saving_again_replaces_the_files_and_leaves_others(tmp_path):
    predictor().save_pretrained(tmp_path, card=CardFacts(name="first"))
    (tmp_path / "notes.txt").write_text("mine")
    second = predictor()
    second.save_pretrained(tmp_path, card=CardFacts(name="second"))
    assert torch.equal(NeuralPredictor.from_pretrained(tmp_path).head.linear.bias, second.head.linear.bias)
    assert "# second" in (tmp_path / "README.md").read_text() and "first" not in (tmp_path / "README.md").read_text()
    assert sorted(p.name for p in tmp_path.iterdir()) == ["README.md", "config.json", "model.safetensors", "notes.txt"]


def test_a_card_that_was_edited_stays(tmp_path):
    predictor().save_pretrained(tmp_path, card=CardFacts(name="first"))
    card = tmp_path / "README.md"
    edited = card.read_text().replace("not given", "by hand")
    card.write_text(edited)
    with pytest.warns(UserWarning, match=r"README\.md was edited by hand and is kept"):
        predictor().save_pretrained(tmp_path, card=CardFacts(name="second"))
    assert card.read_text() == edited


def test_nothing_is_left_where_saving_fails(tmp_path):
    class Unsaved(NeuralPredictor):
        def save(self, path):
            raise OSError("the disk is gone")

    with pytest.raises(OSError, match="the disk is gone"):
        Unsaved("small_resnet", 5, image_shape=SHAPE).save_pretrained(tmp_path / "new")
    assert not (tmp_path / "new").exists()
    predictor().save_pretrained(tmp_path / "there")
    before = {p.name: p.read_bytes() for p in (tmp_path / "there").iterdir()}
    with pytest.raises(OSError, match="the disk is gone"):
        Unsaved("small_resnet", 5, image_shape=SHAPE).save_pretrained(tmp_path / "there")
    assert {p.name: p.read_bytes() for p in (tmp_path / "there").iterdir()} == before
    (tmp_path / "file").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file, where a folder is wanted"):
        predictor().save_pretrained(tmp_path / "file")


class MyNet(torch.nn.Sequential):
    def __init__(self):
        super().__init__(torch.nn.Flatten(), torch.nn.Linear(192, 4))


@pytest.mark.parametrize("given", [{"backbone": MyNet}, {"allow": [MyNet.__module__]}])
@pytest.mark.parametrize("cls", [NeuralPredictor, GuidedNetwork])
def test_a_backbone_of_the_users_own(cls, given, tmp_path):
    model = cls(MyNet(), 5, image_shape=SHAPE).eval()
    model.save_pretrained(tmp_path)
    assert (
        f'{cls.__name__}.from_pretrained("path/to/this/folder", backbone=MyNet())'
        in (tmp_path / "README.md").read_text()
    )
    images = torch.rand(2, *SHAPE)
    assert torch.equal(cls.from_pretrained(tmp_path, **given)(images), model(images))
    assert "MyNet" in json.dumps(json.loads((tmp_path / "config.json").read_text())["description"])
    with pytest.raises(DescriptionError, match=r"MyNet.*backbone=MyNet\(\)"):
        cls.from_pretrained(tmp_path)


@pytest.mark.parametrize("with_config", [True, False])
def test_the_wrong_class_is_named_before_its_backbone_is_asked_for(with_config, tmp_path):
    GuidedNetwork(MyNet(), 5, image_shape=SHAPE).save_pretrained(tmp_path)
    if not with_config:
        (tmp_path / "config.json").unlink()
    with pytest.raises(ValueError, match=r"holds a GuidedNetwork, no NeuralPredictor: load it with GuidedNetwork\."):
        NeuralPredictor.from_pretrained(tmp_path)


def test_arguments_of_load_are_passed_on(tmp_path, monkeypatch):
    predictor().save_pretrained(tmp_path)
    given = {}
    load = NeuralPredictor.load

    def recording(path, **kwargs):
        given.update(kwargs)
        return load(path)

    monkeypatch.setattr(NeuralPredictor, "load", staticmethod(recording))
    NeuralPredictor.from_pretrained(tmp_path, backbone="mine", map_location="meta")
    assert given == {"backbone": "mine"}


def test_the_device(tmp_path):
    predictor().save_pretrained(tmp_path)
    assert NeuralPredictor.from_pretrained(tmp_path, map_location="meta").head.linear.weight.device.type == "meta"


@pytest.mark.slow
def test_a_compiled_network_is_saved_as_the_network_inside(tmp_path):
    model = network()
    torch.compile(model, backend="eager").save_pretrained(tmp_path)
    assert torch.equal(GuidedNetwork.from_pretrained(tmp_path).classifier.weight, model.classifier.weight)


def test_arguments_of_an_upload_need_one(tmp_path):
    with pytest.raises(TypeError, match="private is an argument of the upload: push_to_hub=True is missing"):
        predictor().save_pretrained(tmp_path / "new", private=True)
    with pytest.raises(TypeError, match="card must be CardFacts; got dict"):
        predictor().save_pretrained(tmp_path / "new", card={"subject": 1})
    assert not (tmp_path / "new").exists()


# ------------------------------------------------------------------------------------------------ huggingface_hub's own mixin


@pytest.fixture
def theirs():
    reason = "huggingface_hub is not installed (extra: hub)"
    return pytest.importorskip("huggingface_hub", reason=reason).ModelHubMixin


@pytest.mark.parametrize("cls", [NeuralPredictor, GuidedNetwork, CategoryManifolds, RidgePredictor])
@pytest.mark.parametrize("method", ["save_pretrained", "from_pretrained", "push_to_hub"])
def test_the_calls_are_those_of_the_hub(cls, method, theirs):
    ours, documented = (inspect.signature(getattr(owner, method)).parameters for owner in (cls, theirs))
    left_out = {
        "config",
        "proxies",
        "resume_download",
    }  # the description can't be given; the others went in later versions
    assert set(documented) - set(ours) <= {*left_out, "push_to_hub_kwargs", "model_kwargs"}
    for name in set(documented) & set(ours):
        assert ours[name].kind == documented[name].kind, name
        if name != "commit_message":
            assert ours[name].default == documented[name].default, name


def test_a_class_with_both_mixins(theirs, tmp_path):
    @register(name="my_lab.WithBothMixins")
    class Both(NeuralPredictor, theirs):
        def __init__(self, num_voxels):
            super().__init__("small_resnet", num_voxels, image_shape=SHAPE)

    model = Both(5).eval()
    assert isinstance(model, theirs)
    model.save_pretrained(tmp_path / "both", model_card_kwargs={"summary": "Both."})
    loaded = Both.from_pretrained(tmp_path / "both", local_files_only=True)
    images = torch.rand(2, *SHAPE)
    assert isinstance(loaded, theirs) and torch.equal(loaded(images), model(images))


def test_the_missing_package_is_named_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    model = predictor()
    for call in (
        lambda: NeuralPredictor.from_pretrained("lab/V4"),
        lambda: model.push_to_hub("lab/V4"),
        lambda: model.save_pretrained(tmp_path / "new", push_to_hub=True),
    ):
        with pytest.raises(ImportError, match=r"the Hub needs the extra 'hub': pip install 'neuroalign\[hub\]'"):
            call()
    assert not (tmp_path / "new").exists()


@pytest.mark.slow
def test_neither_classes_nor_folders_need_the_hub(tmp_path):
    code = (
        "import sys; sys.modules['huggingface_hub'] = None\n"  # any import of it fails
        "from neuroalign import NeuralPredictor\n"
        f"p = NeuralPredictor('small_resnet', 5, image_shape=(3, 8, 8)); p.save_pretrained({str(tmp_path / 'f')!r})\n"
        f"NeuralPredictor.from_pretrained({str(tmp_path / 'f')!r})\n"
        "for call in (lambda: NeuralPredictor.from_pretrained('lab/V4'), lambda: p.push_to_hub('lab/V4'),\n"
        f"             lambda: p.save_pretrained({str(tmp_path / 'g')!r}, push_to_hub=True)):\n"
        "    try:\n"
        "        call()\n"
        "    except ImportError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    said = "the Hub needs the extra 'hub': pip install 'neuroalign[hub]'; folders need nothing"
    assert done.stdout.splitlines() == [said] * 3
    assert not (tmp_path / "g").exists()
