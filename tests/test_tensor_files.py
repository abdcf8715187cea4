"""Files of tensors: every flipped bit, cut and foreign file is an error that names the file; older files still load."""

import struct
import zipfile

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from neuroalign import CategoryManifolds, NeuralPredictor, checksums
from neuroalign.checksums import DamagedFileError
from neuroalign.tensor_files import check_checkpoint, check_tensors, load_tensors, stamp_tensors

STATE = {
    "half": torch.randn(3, 2).bfloat16(), "flags": torch.tensor([True, False]), "one": torch.tensor(2.5),
    "none": torch.zeros(0, 4), "wide": torch.randn(3, 3).T, "complex": torch.randn(2, dtype=torch.complex64),
}  # fmt: skip


def written(path, metadata=None):
    state = {k: v.contiguous() for k, v in STATE.items() if k != "complex"}  # which safetensors can't keep
    save_file(state, path, metadata=stamp_tensors(state, metadata or {}))
    return state


def test_tensors_come_back_with_their_metadata(tmp_path):
    state = written(tmp_path / "a.safetensors", {"neuroalign": "null"})
    found, metadata = load_tensors(tmp_path / "a.safetensors", "tensors")
    assert metadata == {"neuroalign": "null"} and found.keys() == state.keys()
    assert all(torch.equal(found[k], state[k]) and found[k].dtype == state[k].dtype for k in state)


@pytest.mark.parametrize("name", sorted(STATE))
def test_the_checksum_sees_values_names_shapes_types_and_metadata(name):
    stamp = stamp_tensors(STATE, {"neuroalign": "{}"})
    value = STATE[name]
    others = [{**STATE, name: value.reshape(*value.shape, 1)}, {**STATE, f"{name}2": value}]
    others += [{k: v for k, v in STATE.items() if k != name}]
    if value.numel():
        changed = value.clone().reshape(-1)
        changed[-1] = not changed[-1] if value.dtype == torch.bool else changed[-1] * 2
        others.append({**STATE, name: changed.reshape(value.shape)})
    if name == "half":
        others.append({**STATE, name: value.view(torch.float16)})  # the same bytes
    check_tensors("a", STATE, stamp)
    for other in others:
        with pytest.raises(DamagedFileError, match=r"a is damaged: its content is not what was written"):
            check_tensors("a", other, stamp)
    with pytest.raises(DamagedFileError, match=r"not what was written"):
        check_tensors("a", STATE, {**stamp, "neuroalign": "[]"})


def test_a_checksum_whose_name_is_damaged_is_missed():
    stamp = stamp_tensors(STATE, {})
    with pytest.raises(DamagedFileError, match="it has no checksum, but an entry 'crc33'"):
        check_tensors("a", STATE, {"crc33": stamp["crc32"]})


def manifolds():
    labels = torch.arange(60) % 3
    return CategoryManifolds.from_features(torch.randn(60, 4), labels, variance=0.9)


def predictor():
    return NeuralPredictor("small_resnet", 5, image_shape=(3, 8, 8))


KINDS = {"manifolds": (manifolds, CategoryManifolds.load), "predictor": (predictor, NeuralPredictor.load)}


@pytest.fixture(scope="module", params=KINDS)
def saved(request, tmp_path_factory):
    """A file of ours: its bytes, where to put others, and how to load them."""
    make, load = KINDS[request.param]
    path = tmp_path_factory.mktemp(request.param) / "x.safetensors"
    made = make()
    made.save(path)
    return path.read_bytes(), path, load, made.state_dict()


def test_any_flipped_bit_is_seen(saved):
    content, path, load, state = saved
    rng = np.random.default_rng(0)
    length = 8 + struct.unpack("<Q", content[:8])[0]  # of the header, which holds the checksum
    places = np.concatenate([rng.integers(0, 8 * length, 30), rng.integers(8 * length, 8 * len(content), 30)])
    said = []
    for place in places.tolist():
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            found = load(path).state_dict()
        except ValueError as error:
            said.append(str(error))
        else:  # a space in the header
            assert all(torch.equal(found[k], state[k]) for k in state)
    assert len(said) > 50 and all(str(path) in text for text in said)


@pytest.mark.parametrize("change", ["cut", "empty", "text", "folder", "foreign", "other program"])
def test_what_is_no_file_of_ours(saved, tmp_path, change):
    content, _, load, _ = saved
    path = tmp_path / "x.safetensors"
    if change == "folder":
        path.mkdir()
    elif change == "foreign":
        save_file({"x": torch.zeros(1)}, path)
    elif change == "other program":
        save_file({"x": torch.zeros(1)}, path, metadata={"format": "pt"})
    else:
        path.write_bytes({"cut": content[:-1], "empty": b"", "text": b"Voxels, voxels, voxels.\n" * 9}[change])
    with pytest.raises((ValueError, OSError), match=r"x\.safetensors") as caught:
        load(path)
    assert type(caught.value) in (DamagedFileError, ValueError, IsADirectoryError)


def test_absent_files_are_named(tmp_path):
    for _, load in KINDS.values():
        with pytest.raises(FileNotFoundError, match=r"no .* at .*gone\.safetensors"):
            load(tmp_path / "gone.safetensors")


def test_files_without_a_checksum_still_load(saved, tmp_path):
    content, path, load, state = saved
    path.write_bytes(content)
    tensors, metadata = load_tensors(path, "tensors")
    save_file(tensors, tmp_path / "older.safetensors", metadata=metadata or None)
    found = load(tmp_path / "older.safetensors").state_dict()
    assert all(torch.equal(found[k], state[k]) for k in state)


def test_manifolds_whose_shapes_disagree_name_the_file(tmp_path):
    state = {"centers": torch.zeros(2, 3), "radii": torch.zeros(5), "padded_bases": torch.zeros(2, 3, 1)}
    save_file({**state, "ranks": torch.ones(2)}, tmp_path / "m.safetensors")
    with pytest.raises(DamagedFileError, match=r"m.safetensors is damaged: radii and ranks must be"):
        CategoryManifolds.load(tmp_path / "m.safetensors")


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"a": torch.randn(40), "b": torch.zeros(0)}, "epoch": 3}, path)
    return path


def test_a_changed_tensor_of_a_checkpoint_is_seen(checkpoint):
    assert check_checkpoint(checkpoint)
    content = bytearray(checkpoint.read_bytes())
    with zipfile.ZipFile(checkpoint) as archive:
        member = next(m for m in archive.infolist() if m.filename.endswith("data/0"))
    name, extra = struct.unpack("<HH", content[member.header_offset + 26 : member.header_offset + 30])
    content[member.header_offset + 30 + name + extra + 5] ^= 4
    checkpoint.write_bytes(content)
    torch.load(checkpoint, weights_only=True)  # PyTorch itself compares nothing
    with pytest.raises(DamagedFileError, match=r"last.ckpt is damaged: .*data/0 in it is not what was written"):
        check_checkpoint(checkpoint)


def test_any_flipped_bit_of_a_checkpoint_is_seen_or_harmless(checkpoint):
    content, rng = checkpoint.read_bytes(), np.random.default_rng(0)
    right, refused = torch.load(checkpoint, weights_only=True), 0
    for place in rng.integers(0, 8 * len(content), 200).tolist():
        damaged = bytearray(content)
        damaged[place // 8] ^= 1 << place % 8
        checkpoint.write_bytes(damaged)
        try:
            check_checkpoint(checkpoint)
            found = torch.load(checkpoint, weights_only=True)
        except DamagedFileError as error:
            refused += "last.ckpt" in str(error)
        except RuntimeError:  # PyTorch's own: the list of members leads nowhere
            refused += 1
        else:
            assert found["epoch"] == 3 and torch.equal(found["state_dict"]["a"], right["state_dict"]["a"])
    assert refused > 20


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "is damaged: it is empty"), (b"not a checkpoint", "is no checkpoint, or damaged"), (None, "is a folder")],
    ids=["empty", "text", "folder"],
)
def test_what_is_no_checkpoint(tmp_path, content, message):
    path = tmp_path / "x.ckpt"
    path.mkdir() if content is None else path.write_bytes(content)
    with pytest.raises(DamagedFileError, match=f"x.ckpt {message}"):
        check_checkpoint(path)
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*gone.ckpt"):
        check_checkpoint(tmp_path / "gone.ckpt")


def test_a_checkpoint_cut_anywhere_is_refused(checkpoint):
    content = checkpoint.read_bytes()
    for end in np.random.default_rng(0).integers(0, len(content), 40).tolist():
        checkpoint.write_bytes(content[:end])
        with pytest.raises(DamagedFileError, match=r"last\.ckpt"):
            check_checkpoint(checkpoint)


def test_checkpoints_without_checksums_pass(tmp_path):
    torch.save({"a": torch.ones(3)}, tmp_path / "older.ckpt", _use_new_zipfile_serialization=False)
    assert not check_checkpoint(tmp_path / "older.ckpt")
    before = torch.serialization.get_crc32_options()
    torch.serialization.set_crc32_options(False)
    try:
        torch.save({"a": torch.ones(3)}, tmp_path / "none.ckpt")
    finally:
        torch.serialization.set_crc32_options(before)
    assert not check_checkpoint(tmp_path / "none.ckpt")


def test_a_compressed_checkpoint_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "x.ckpt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"0" * 10**6)
    with pytest.raises(DamagedFileError, match="compressed, which PyTorch never does"):
        check_checkpoint(tmp_path / "x.ckpt")


def test_what_stands_in_front_of_a_checkpoint_is_seen(checkpoint):
    """A damaged copy before a whole one: of the two, zipfile looks at the whole one and PyTorch at the damaged."""
    content = checkpoint.read_bytes()
    damaged = bytearray(content)
    damaged[content.find(torch.load(checkpoint)["state_dict"]["a"].numpy().tobytes()) + 3] ^= 64
    for front in (bytes(damaged), b"x", bytes(7)):
        checkpoint.write_bytes(front + content)
        with pytest.raises(DamagedFileError, match=r"last\.ckpt"):
            check_checkpoint(checkpoint)
    for cut in (1, 7, 64, 500):
        checkpoint.write_bytes(content[cut:])
        with pytest.raises(DamagedFileError, match=r"last\.ckpt"):
            check_checkpoint(checkpoint)


def test_the_functions_are_still_found_among_the_checksums():
    assert checksums.check_checkpoint is check_checkpoint and checksums.load_tensors is load_tensors
