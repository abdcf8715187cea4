"""Uploads and downloads by huggingface_hub itself, to and from a server on the loopback."""

import json
import socket

import pytest
import torch

from neuroalign import CardFacts, CategoryManifolds, GuidedNetwork, NeuralPredictor
from neuroalign.sharing.hub import is_name

from .hub_server import serving

pytest.importorskip("huggingface_hub", reason="huggingface_hub is not installed (extra: hub)")
SHAPE = (3, 8, 8)
NSD = CardFacts(dataset="Natural Scenes Dataset", simulated=False, subject=1, region="V4")


def point_to(url, monkeypatch):
    from huggingface_hub import constants, file_download

    monkeypatch.setattr(constants, "ENDPOINT", url)
    for module in (constants, file_download):  # older versions keep a copy there
        template = url + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr(module, "HUGGINGFACE_CO_URL_TEMPLATE", template, raising=False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_TELEMETRY", True)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)


@pytest.fixture
def hub(monkeypatch):
    from huggingface_hub.utils import _http

    with serving() as (url, held):
        point_to(url, monkeypatch)
        yield held
    if hasattr(_http, "reset_sessions"):
        _http.reset_sessions()


def predictor():
    return NeuralPredictor("small_resnet", 5, image_shape=SHAPE).eval()


def network():
    return GuidedNetwork("small_resnet", 4, {"V4": ("layer3", 7)}, image_shape=SHAPE).eval()


def manifolds():
    return CategoryManifolds.from_features(torch.randn(40, 6), torch.arange(40) % 3)


@pytest.mark.parametrize("make", [predictor, network, manifolds])
def test_there_and_back(make, hub, tmp_path):
    model = make()
    url = model.push_to_hub("lab/V4", token="hf_x", commit_message="First")
    assert "/lab/V4/commit/" in url and hub.messages == ["First"]
    assert sorted(hub.files["lab/V4"]) == ["README.md", "config.json", "model.safetensors"]
    card = hub.files["lab/V4"]["README.md"].decode()
    assert f'{type(model).__name__}.from_pretrained("lab/V4")' in card and "# V4" in card
    loaded = type(model).from_pretrained("lab/V4", cache_dir=tmp_path, token=False)
    for ours, theirs in zip(model.state_dict().values(), loaded.state_dict().values(), strict=True):
        assert torch.equal(ours, theirs)
    asked = [path for method, path in hub.requests if "/resolve/" in path]
    assert set(asked) == {"/lab/V4/resolve/main/model.safetensors"}  # no other file


def test_what_was_downloaded_needs_no_network(hub, tmp_path, monkeypatch):
    predictor().push_to_hub("lab/V4", token="hf_x")
    NeuralPredictor.from_pretrained("lab/V4", cache_dir=tmp_path, token=False)
    count = len(hub.requests)
    NeuralPredictor.from_pretrained("lab/V4", cache_dir=tmp_path, local_files_only=True)
    assert len(hub.requests) == count
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors of lab/TO is not in the cache"):
        NeuralPredictor.from_pretrained("lab/TO", cache_dir=tmp_path, local_files_only=True)


def test_a_folder_is_uploaded_without_what_else_is_in_it(hub, tmp_path):
    folder = tmp_path / "V4"
    folder.mkdir()
    (folder / "responses.h5").write_bytes(b"mine")
    predictor().save_pretrained(folder)
    edited = (folder / "README.md").read_text() + "\nMy own words.\n"
    (folder / "README.md").write_text(edited)
    with pytest.warns(UserWarning, match="edited by hand"):
        url = predictor().save_pretrained(folder, push_to_hub=True, repo_id="lab/V4", token="hf_x", private=True)
    assert "/lab/V4/commit/" in url and hub.private == {"lab/V4"}
    assert sorted(hub.files["lab/V4"]) == ["README.md", "config.json", "model.safetensors"]
    assert hub.files["lab/V4"]["README.md"].decode() == edited


def test_the_name_of_the_folder_is_the_default(hub, tmp_path):
    predictor().save_pretrained(tmp_path / "simulated-subj01-V4", push_to_hub=True, token="hf_x")
    assert list(hub.files) == ["me/simulated-subj01-V4"]


def test_a_second_upload_goes_to_the_same_place(hub):
    predictor().push_to_hub("lab/V4", token="hf_x", card=CardFacts(subject=1))
    predictor().push_to_hub("lab/V4", token="hf_x", card=CardFacts(subject=2))
    assert json.loads(hub.files["lab/V4"]["config.json"])["card"] == {"subject": 2}


def test_recorded_responses_of_nsd_need_a_decision(hub, tmp_path):
    for push in (
        lambda **more: predictor().push_to_hub("lab/V4", token="hf_x", card=NSD, **more),
        lambda **more: predictor().save_pretrained(
            tmp_path / "V4", repo_id="lab/V4", card=NSD, push_to_hub=True, token="hf_x", **more
        ),
    ):
        with pytest.raises(ValueError, match=r"say private=True or private=False: .* Natural Scenes Dataset"):
            push()
        assert not hub.requests and not (tmp_path / "V4").exists()
        push(private=True)
        assert hub.private == {"lab/V4"}
        hub.files.clear(), hub.private.clear(), hub.requests.clear()


@pytest.mark.parametrize(
    ("asked", "options", "says"),
    [
        ("lab/none", {}, "the Hub has no model lab/none that you may see: check the name; a private one needs a login"),
        ("lab/gated", {}, "access to lab/gated has to be asked for: do so at https://huggingface.co/lab/gated"),
        ("lab/V4", {"revision": "v9"}, "lab/V4 has no branch, tag or commit 'v9'"),
        ("lab/empty", {}, r"lab/empty holds no model\.safetensors: neuroalign has not saved it"),
    ],
)
def test_what_the_hub_does_not_give(asked, options, says, hub, tmp_path):
    hub.files |= {"lab/V4": {"model.safetensors": b"x"}, "lab/empty": {"x.txt": b""}, "lab/gated": {}}
    hub.gated.add("lab/gated")
    with pytest.raises(OSError, match=says) as refused:
        NeuralPredictor.from_pretrained(asked, cache_dir=tmp_path, token=False, **options)
    assert "\n" not in str(refused.value)


def test_another_version_on_the_hub_is_named(hub, tmp_path):
    from safetensors.torch import save

    later = {"class_path": "neuroalign.models.Later", "init_args": {}}
    weights = save({"x": torch.zeros(1)}, metadata={"neuroalign": json.dumps(later)})
    config = {"library_name": "neuroalign", "neuroalign_version": "9.1"}
    hub.files["lab/V4"] = {"model.safetensors": weights, "config.json": json.dumps(config).encode()}
    with pytest.raises(ValueError, match=r"models\.Later.*neuroalign 9\.1 wrote it"):
        NeuralPredictor.from_pretrained("lab/V4", cache_dir=tmp_path, token=False)
    del hub.files["lab/V4"]["config.json"]
    with pytest.raises(ValueError, match=r"models\.Later[^(]*$"):
        NeuralPredictor.from_pretrained("lab/V4", cache_dir=tmp_path / "other", token=False)


def test_offline_is_said_in_one_line(hub, monkeypatch, tmp_path):
    from huggingface_hub import constants
    from huggingface_hub.utils import _http

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    if hasattr(_http, "reset_sessions"):  # older versions look only when a session is made
        _http.reset_sessions()
    with pytest.raises(OSError, match="is not in the cache, and the Hub can't be reached or was not to be asked"):
        NeuralPredictor.from_pretrained("lab/V4", cache_dir=tmp_path, token=False)
    with pytest.raises(OSError, match="the Hub was not to be asked for lab/V4: HF_HUB_OFFLINE is set"):
        predictor().push_to_hub("lab/V4", token="hf_x")
    assert not hub.requests


@pytest.mark.slow  # huggingface_hub tries several times
def test_no_server_is_said_in_one_line(monkeypatch, tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    point_to(f"http://127.0.0.1:{port}", monkeypatch)
    with pytest.raises(OSError, match="is not in the cache, and the Hub can't be reached"):
        NeuralPredictor.from_pretrained("lab/V4", cache_dir=tmp_path, token=False)


@pytest.mark.parametrize("name", ["../x", "a/b/c", "a--b/c", "a/..", "/a/b", "a/b\n", "a b/c", "V4", ""])
def test_what_is_no_name_on_the_hub(name):
    assert not is_name(name)
    assert is_name("lab/nsd-subj01-V4-resnet18")
