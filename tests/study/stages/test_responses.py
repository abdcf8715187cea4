import json
import os
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from neuroalign.data import NSDDataModule, Responses, resize
from neuroalign.functional import noise_ceiling
from neuroalign.study.settings.responses import (
    DissimilarityResponses,
    NSDResponses,
    RecordedResponses,
    SimulatedResponses,
)
from neuroalign.study.stages import images, responses
from neuroalign.study.stages.responses import read_rdm, read_responses, read_stimuli
from tests.study.stages.work import image_settings, run

DATA = os.environ.get("NEUROALIGN_DATA")
real = pytest.mark.skipif(DATA is None, reason="needs NEUROALIGN_DATA")


@pytest.fixture(scope="module")
def subject(tmp_path_factory):
    """A simulated subject that saw 100 digits twice, and 20 for validation."""
    folder = tmp_path_factory.mktemp("subject")
    shown = run(images.make, folder / "images", image_settings(source="digits", num_neural=(100, 20), num_train=50))
    given = SimulatedResponses(source="simulated", num_voxels=12, copies=2, val_copies=2)
    settings = {**given.model_dump(mode="json"), "seed": 4}
    settings["teacher"] = {**settings["teacher"], "epochs": 2}
    return run(responses.make_subject, folder / "made", settings, inputs={"images": shown})


def test_the_stimuli_and_responses_of_a_simulated_subject_are_those_of_its_files(subject, tmp_path):
    settings = {"source": "simulated", "subject": "simulated", "region": "V4"}
    made = run(responses.make_responses, tmp_path / "r", settings, inputs={"subject": subject})
    seen = read_stimuli(run(responses.make_stimuli, tmp_path / "s", settings, inputs={"subject": subject}))
    found = read_responses(made)
    data = NSDDataModule(subject / "nsd", roi="V4")
    data.setup()
    train, val = found.split_shared()
    for part, ours in ((data.train_responses, train), (data.val_responses, val)):
        assert ours.stimulus.tolist() == part.stimulus.tolist()
        assert np.allclose(ours.standardize(train).values, part.values, atol=1e-4)
        assert np.allclose(ours.noise_ceiling, part.noise_ceiling, atol=1e-5)
    assert len(train) == 200 and len(val) == 40
    batch = data.datasets["val"].__getitems__([3, 1])
    assert torch.equal(seen.of(val.stimulus[[3, 1]]).float() / 255, batch["image"])
    assert seen.images.dtype == torch.uint8 and seen.images.shape == (240, 3, 8, 8)
    assert json.loads((made / "responses.json").read_text()) == {
        "subject": "simulated", "region": "V4", "num_voxels": 12, "num_stimuli": 240, "num_val": 40,
        "noise_ceiling_from": "NSD's ncsnr",
    }  # fmt: skip
    assert (subject / "teacher.csv").read_text().count("\n") == 3


def test_nsd_with_principal_components_and_smaller_images(subject, tmp_path):
    given = NSDResponses(source="nsd", root="x", regions=["V1"], pca_variance=0.8, image_size=6)
    settings = {**given.model_dump(mode="json", exclude={"root", "subjects"}), "subject": "subj01", "region": "V1"}
    sources = {"root": subject / "nsd"}
    found = read_responses(run(responses.make_responses, tmp_path / "r", settings, sources=sources))
    assert found.num_voxels < 12 and found.noise_ceiling is None
    seen = read_stimuli(run(responses.make_stimuli, tmp_path / "s", settings, sources=sources))
    assert seen.images.shape == (240, 3, 6, 6) and set(seen.stimulus.tolist()) == set(found.stimulus.tolist())


def test_a_simulated_subject_needs_images_and_known_regions(tmp_path):
    shown = run(images.make, tmp_path / "images", image_settings(source="digits"))
    settings = {**SimulatedResponses(source="simulated").model_dump(mode="json"), "seed": 0}
    with pytest.raises(ValueError, match=r"set images.num_neural"):
        run(responses.make_subject, tmp_path / "a", settings, inputs={"images": shown})
    shown = run(images.make, tmp_path / "some", image_settings(source="digits", num_neural=(20, 10)))
    with pytest.raises(ValueError, match=r"no region 'V5'.*it has V1, V2"):
        run(responses.make_subject, tmp_path / "b", {**settings, "regions": ["V5"]}, inputs={"images": shown})
    with pytest.raises(ValueError, match=r"9,000 images and 1,000 for validation"):
        run(responses.make_subject, tmp_path / "c", {**settings, "copies": 500}, inputs={"images": shown})


# -------------------------------------------------------------------------------- recordings


def zip_of(path, names, size=(8, 8)):
    with zipfile.ZipFile(path, "w") as archive:
        for i, name in enumerate(names):
            Image.new("RGB", size, (i, 0, 0)).save(path.parent / "one.png")
            archive.write(path.parent / "one.png", name)
    return path


def recorded(folder, sources, **given):
    given = {"region": "V4", "held_out": {"number": 3}, **given}
    complete = RecordedResponses(source="recording", file="x", images="x", **given)
    settings = complete.model_dump(mode="json", exclude={"file", "images"})
    made = run(responses.make_responses, folder / "r", settings, sources=sources)
    seen = read_stimuli(run(responses.make_stimuli, folder / "s", settings, sources=sources))
    return read_responses(made), seen, json.loads((made / "responses.json").read_text())


def counts_file(path, missing=True):
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 20, (5, 12, 4)).astype(np.uint8)
    if missing:
        counts[:, 7, 3] = 255
        counts[2, 4, 1] = 255
    names = np.array([f"zoom{i % 2}-movie{i % 3}-{i:02}.png" for i in range(12)][::-1])
    np.savez(path, cells=counts, other=counts, names=names)
    return counts, names


def test_a_recording_with_missing_repeats_and_named_images(tmp_path):
    counts, names = counts_file(tmp_path / "counts.npz")
    pictures = zip_of(tmp_path / "images.zip", [*sorted(names), "zoom9-movie9-99.png"], size=(10, 9))
    found, seen, about = recorded(
        tmp_path, {"file": tmp_path / "counts.npz", "images": pictures}, key="cells", axes="voxel stimulus repeat",
        missing=255, names="names", crop=8, image_size=4, held_out={"number": 1, "pattern": "-(movie[0-9]+)-"},
    )  # fmt: skip
    with_nan = np.where(counts == 255, np.nan, counts).transpose(1, 2, 0).astype(np.float32)
    assert np.allclose(found.values, np.nanmean(with_nan, 1), atol=1e-5)
    ceiling = noise_ceiling(torch.from_numpy(with_nan)).numpy()
    assert np.allclose(found.noise_ceiling, ceiling, atol=0.02)
    assert about["noise_ceiling_from"] == "repeats of these responses"
    assert [bool("movie0" in name) for name in names] == found.shared.tolist()
    # Images in the order of the names in the file, which is not the alphabetical one.
    assert seen.images[:, 0, 0, 0].tolist() == [sorted(names).index(n) for n in names]
    assert seen.images.shape == (12, 3, 4, 4)


def test_averages_and_a_ceiling_from_elsewhere(tmp_path):
    values = np.random.default_rng(1).normal(size=(6, 10)).astype(np.float32)
    np.save(tmp_path / "a.npy", values)
    images_file = tmp_path / "images.npy"
    np.save(images_file, np.random.default_rng(2).integers(0, 255, (10, 8, 8), dtype=np.uint8))
    found, seen, about = recorded(
        tmp_path, {"file": tmp_path / "a.npy", "images": images_file}, axes="voxel stimulus", averaged=True,
        image_size=8, noise_ceiling=0.5, noise_ceiling_from="another session",
    )  # fmt: skip
    assert np.array_equal(found.values, values.T)
    assert found.noise_ceiling.tolist() == [0.5] * 6 and about["noise_ceiling_from"] == "another session"
    assert np.flatnonzero(found.shared).tolist() == sorted(np.random.default_rng(0).permutation(10)[:3].tolist())
    assert torch.equal(seen.images[:, 0], seen.images[:, 1]) and seen.images.shape == (10, 3, 8, 8)


def test_extracted_responses(tmp_path):
    rng = np.random.default_rng(0)
    trials = Responses.from_arrays(
        rng.normal(size=(24, 6)), stimulus=np.tile(np.arange(8), 3), roi=["V1"] * 2 + ["V4"] * 4
    )
    trials.save(tmp_path / "trials.h5")
    pictures = zip_of(tmp_path / "images.zip", [f"{i:02}.png" for i in range(10)])
    found, *_ = recorded(tmp_path, {"file": tmp_path / "trials.h5", "images": pictures})
    assert found.num_voxels == 4 and len(found) == 8 and found.shared.sum() == 3
    assert np.allclose(found.values, trials.select(roi="V4").average_repeats().values)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"held_out": {"number": 12}}, "12 of 12 stimuli leave none to fit"),
        ({"held_out": {"number": 1, "pattern": "movie"}}, "has no group"),
        ({"held_out": {"number": 1, "pattern": "(movie"}}, "is no regular expression"),
        ({"held_out": {"number": 1, "pattern": "film(.)"}}, "doesn't fit the image name"),
        ({"names": "name"}, "has no array 'name'; it has cells, other, names"),
        ({"names": "cells"}, "holds no names"),
        ({"key": "cell"}, "there is no 'cell'"),
        ({"crop": 9}, "has 8 x 8 pixels, less than crop: 9"),
    ],
)
def test_what_is_wrong_with_a_recording_is_said(tmp_path, given, message):
    _, names = counts_file(tmp_path / "counts.npz")
    pictures = zip_of(tmp_path / "images.zip", sorted(names))
    given = {"key": "cells", "axes": "voxel stimulus repeat", "missing": 255, "image_size": 8, **given}
    with pytest.raises(ValueError, match=message):
        recorded(tmp_path, {"file": tmp_path / "counts.npz", "images": pictures}, **given)


def test_images_must_be_those_of_the_stimuli(tmp_path):
    _, names = counts_file(tmp_path / "counts.npz")
    pictures = zip_of(tmp_path / "images.zip", sorted(names)[:-1])
    sources = {"file": tmp_path / "counts.npz", "images": pictures}
    given = {"key": "cells", "axes": "voxel stimulus repeat", "image_size": 8}
    with pytest.raises(ValueError, match=r"responses to 12 stimuli, but there are 11 images"):
        recorded(tmp_path / "a", sources, **given)
    with pytest.raises(ValueError, match=r"holds no image 'zoom1-movie2-11.png'"):
        recorded(tmp_path / "b", sources, **given, names="names")
    with pytest.raises(FileNotFoundError, match="no responses of V4 at"):
        recorded(tmp_path / "c", {**sources, "file": tmp_path / "none.npz"}, **given)


# -------------------------------------------------------------------------------- dissimilarities


def rdm_of(folder, values, num_images, region="IT", arrays=None):
    np.savez(folder / "rdms.npz", human_it=values)
    sources = {
        "file": folder / "rdms.npz",
        "images": zip_of(folder / "images.zip", [f"{i:02}.png" for i in range(num_images)]),
    }
    given = DissimilarityResponses(source="rdms", file="x", images="x", arrays=arrays or {"IT": "human_it"})
    settings = {**given.model_dump(mode="json", exclude={"file", "images"}), "region": region}
    return read_rdm(run(responses.make_responses, folder / "r", settings, sources=sources))


def test_dissimilarities_are_averaged_over_subjects(tmp_path):
    vectors = np.random.default_rng(0).random((3, 10))
    found = rdm_of(tmp_path, vectors, 5)
    upper = np.triu_indices(5, 1)
    assert np.allclose(found.numpy()[upper], vectors.mean(0)) and torch.equal(found, found.T)
    squares = np.zeros((3, 5, 5))
    for square, vector in zip(squares, vectors):
        square[upper] = vector
        square += square.T
    (tmp_path / "b").mkdir()
    assert torch.equal(rdm_of(tmp_path / "b", squares, 5), found)


@pytest.mark.parametrize(
    ("values", "num_images", "arrays", "message"),
    [
        (np.ones((2, 10)), 6, None, r"dissimilarities of 5 stimuli, but .* holds 6 images"),
        (np.ones((2, 11)), 5, None, "holds neither"),
        (np.arange(25.0).reshape(5, 5), 5, None, "is not symmetric"),
        (np.full((1, 10), np.nan), 5, None, "missing or infinite"),
        (np.ones((2, 10)), 5, {"IT": "human_itt"}, "no array 'human_itt'; did you mean 'human_it'"),
    ],
)
def test_what_is_wrong_with_dissimilarities_is_said(tmp_path, values, num_images, arrays, message):
    with pytest.raises(ValueError, match=message):
        rdm_of(tmp_path, values, num_images, arrays=arrays)


# -------------------------------------------------------------------------------- real data


def pictures(path, names=None):
    """Images of a zip file (image, height, width, channel), read one by one."""
    with zipfile.ZipFile(path) as archive:
        names = names or sorted(n for n in archive.namelist() if not n.endswith("/"))
        return np.stack([np.asarray(Image.open(archive.open(n)).convert("RGB")) for n in names])


def small(images):
    """The same as float, 32 pixels wide."""
    return torch.cat(
        [resize(part.float() / 255, 32) for part in torch.from_numpy(images).permute(0, 3, 1, 2).split(50)]
    )


@real
@pytest.mark.slow
def test_macaque_v4_read_by_hand(tmp_path):
    folder = Path(DATA) / "v4_cowley2023"
    sources = {"file": folder / "avg_201025.npy", "images": folder / "images_201025.zip"}
    found, seen, _ = recorded(
        tmp_path, sources, axes="voxel stimulus", averaged=True, image_size=32, held_out={"number": 200}
    )
    held_out = np.zeros(1200, dtype=bool)
    held_out[np.random.default_rng(0).permutation(1200)[:200]] = True
    assert np.array_equal(found.values, np.load(sources["file"]).T.astype(np.float32))
    assert np.array_equal(found.shared, held_out)
    assert (seen.images / 255 - small(pictures(sources["images"]))).abs().max() <= 0.5 / 255 + 1e-6


@real
@pytest.mark.slow
def test_macaque_v1_read_by_hand(tmp_path):
    folder = Path(DATA) / "v1_henaff2021"
    sources = {"file": folder / "counts.npz", "images": folder / "images.zip"}
    found, seen, _ = recorded(
        tmp_path, sources, region="V1", key="ay3_u002", missing=255, axes="voxel stimulus repeat", names="names", crop=128,
        held_out={"number": 2, "pattern": "-(movie[0-9]+)-"},
    )  # fmt: skip
    stored = np.load(sources["file"])
    names = [str(name) for name in stored["names"]]
    counts = np.where(stored["ay3_u002"] == 255, np.nan, stored["ay3_u002"]).transpose(1, 2, 0)
    movies = sorted({name.split("-")[1] for name in names})
    assert np.allclose(found.values, np.nanmean(counts, 1), atol=1e-5)
    assert found.shared.tolist() == [name.split("-")[1] in movies[:2] for name in names]
    shown = small(pictures(sources["images"], names)[:, 192:320, 192:320])
    assert (seen.images / 255 - shown).abs().max() <= 0.5 / 255 + 1e-6
    ceiling = noise_ceiling(torch.from_numpy(counts).float())
    assert np.allclose(found.noise_ceiling, ceiling.numpy(), atol=0.02)


@real
def test_dissimilarities_of_92_objects(tmp_path):
    given = DissimilarityResponses(source="rdms", file="x", images="x", arrays={"EVC": "human_evc"})
    settings = {**given.model_dump(mode="json", exclude={"file", "images"}), "region": "EVC"}
    sources = {"file": f"{DATA}/objects92/rdms.npz", "images": f"{DATA}/objects92/images.zip"}
    rdm = read_rdm(run(responses.make_responses, tmp_path / "r", settings, sources=sources))
    assert rdm.shape == (92, 92) and float(rdm.diagonal().abs().max()) == 0
    seen = read_stimuli(run(responses.make_stimuli, tmp_path / "s", settings, sources=sources))
    assert seen.images.shape == (92, 3, 32, 32)
