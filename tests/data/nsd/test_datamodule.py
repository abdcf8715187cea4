"""NSDDataModule: several subjects and regions, splits without leaks, the cache, two processes, the command line, resume."""

import json
import subprocess
import sys
import weakref

import h5py
import nibabel
import numpy as np
import pandas as pd
import pytest
import torch

from neuroalign import (
    GuidedClassificationTask,
    GuidedNetwork,
    MeasuredGuidance,
    NeuralPredictionTask,
    NeuralPredictor,
    NSDDataModule,
    Responses,
    ResponsesDataModule,
)
from neuroalign.__main__ import main
from neuroalign.data import NSDError, NSDImages, cache_nsd_stimuli, extract_nsd, read_nsd, read_nsd_split
from neuroalign.data.nsd import NSDPaths, regions
from neuroalign.data.nsd.reader import Request
from neuroalign.data.nsd.trials import Design
from tests.data.nsd.conftest import weights_of


def batches(loader):
    parts = list(loader)
    return {key: torch.cat([part[key] for part in parts]) for key in parts[0]}


def test_two_subjects_side_by_side(planted):
    data = NSDDataModule(planted.root, [1, 2], ["V1", "V4"], batch_size=100)
    both = batches(data.val_dataloader()), batches(data.train_dataloader())
    assert list(data.columns) == ["subj01/V1", "subj01/V4", "subj02/V1", "subj02/V4"]
    for batch, place in zip(both, (1, 0), strict=True):
        for subject in (1, 2):
            alone = NSDDataModule(planted.root, subject, ["V1", "V4"])
            alone.setup()
            mine = (alone.train_responses, alone.val_responses)[place]
            columns = data.columns[f"subj{subject:02d}/V1"] + data.columns[f"subj{subject:02d}/V4"]
            block = batch["response"][:, columns].numpy()
            order = {s: i for i, s in enumerate(batch["stimulus"].tolist())}
            rows = [order[s] for s in mine.stimulus.tolist()]
            np.testing.assert_array_equal(block[rows], mine.values)
            assert np.isnan(np.delete(block, rows, 0)).all(), "NaN where the subject didn't see the image"
    shared = set(both[0]["stimulus"].tolist())
    assert shared <= set(planted.subjectim[0, :1000] - 1) and len(shared) == len(both[0]["stimulus"])
    with pytest.raises(ValueError, match=r"there are several subjects: look into responses, which holds \[1, 2\]"):
        _ = data.train_responses


def test_columns_are_what_guidance_takes(planted):
    data = NSDDataModule(planted.root, [1, 2], "V4", batch_size=50)
    batch = next(iter(data.train_dataloader()))
    guidance = MeasuredGuidance(data.columns)
    preds = {head: torch.zeros(50, len(columns)) for head, columns in data.columns.items()}
    terms = guidance(preds, batch)
    assert set(terms) == {"subj01/V4/mse", "subj02/V4/mse"}
    for head, columns in data.columns.items():
        expected = batch["response"][:, columns].square().nanmean()
        torch.testing.assert_close(terms[f"{head}/mse"], expected)


def test_test_images_enter_no_statistic(planted):
    """Other responses to the test images change nothing in training, z-scores of sessions included."""
    trials = read_nsd(planted.root, 1, roi="V4")
    test = read_nsd_split(planted.root, 1)
    changed = trials.values.copy()
    changed[np.isin(trials.stimulus, test)] *= 7
    from dataclasses import replace

    data = NSDDataModule(planted.root, 1, "V4", pca_variance=0.9)
    prepared = []
    for values in (trials.values, changed):
        sessions = (values[trials.session == number] for number in np.unique(trials.session))
        prepared.append(data._prepare(replace(trials, values=values), sessions, test)[0])
    a, b = prepared
    np.testing.assert_array_equal(a.values, b.values)


@pytest.mark.parametrize("cached", [False, True])
def test_one_session_is_in_memory(planted, tmp_path, monkeypatch, cached):
    read, sessions = Request.read, []

    def watched(self, session):
        assert not [one for one in sessions if one() is not None], "an earlier session is still there"
        values = read(self, session)
        sessions.append(weakref.ref(values))
        return values

    monkeypatch.setattr(Request, "read", watched)
    NSDDataModule(planted.root, 1, "V4", cache=tmp_path / "cache" if cached else None).setup()
    assert len(sessions) > 1


@pytest.mark.parametrize("cached", [False, True])
def test_design_and_regions_are_read_once(planted, tmp_path, monkeypatch, cached):
    reads, parses, read, parse = [], [], Design.read, regions.parse
    monkeypatch.setattr(Design, "read", lambda *args: reads.append(args) or read(*args))
    monkeypatch.setattr(regions, "parse", lambda text: parses.append(text) or parse(text))
    data = NSDDataModule(planted.root, [1, 2], ["V1", "V4"], cache=tmp_path / "cache" if cached else None)
    data.setup()
    assert len(reads) == 2, "once per subject"
    assert parses == ["V1", "V4"]


@pytest.mark.parametrize("split", ["shared1000", "shared515", "own"])
def test_splits(planted, split):
    own = np.unique(planted.rows(1))[:100].tolist()
    data = NSDDataModule(planted.root, 1, "V4", split=own if split == "own" else split)
    data.setup()
    expected = own if split == "own" else read_nsd_split(planted.root, 1, split)
    assert set(data.val_responses.stimulus) == set(expected) & set(planted.rows(1))
    assert not set(data.val_responses.stimulus) & set(data.train_responses.stimulus)
    assert len(data.val_responses) + len(data.train_responses) == len(np.unique(planted.rows(1)))


@pytest.mark.parametrize("space", ["func1pt8mm", "fsaverage"])
def test_held_out_prediction_recovers_the_encoding(planted, space):
    """From files to a prediction of held-out images, with regression on the planted features."""
    data = NSDDataModule(planted.root, 1, {"ventral": "streams:ventral & nsdgeneral"}, space=space)
    data.setup()
    train, val = data.train_responses, data.val_responses
    weights = np.linalg.lstsq(planted.features[train.stimulus], train.values, rcond=None)[0]
    predicted = planted.features[val.stimulus] @ weights
    r = [np.corrcoef(predicted[:, v], val.values[:, v])[0, 1] for v in range(val.num_voxels)]
    assert np.nanmedian(r) > 0.6
    truth = weights_of(planted, 1, space, train)
    kept = np.isfinite(truth).all(1) & np.isfinite(train.values).all(0)
    found, truth = weights.T[kept], truth[kept]
    cosine = (found * truth).sum(1) / np.linalg.norm(found, axis=1) / np.linalg.norm(truth, axis=1)
    assert np.median(cosine) > 0.98


def test_the_cache_holds_the_same_and_is_made_once(planted, tmp_path, monkeypatch):
    options = {"roi": "V4", "image_size": 6, "batch_size": 64}
    plain = NSDDataModule(planted.root, [1, 2], **options)
    cached = NSDDataModule(planted.root, [1, 2], cache=tmp_path, num_workers=2, **options)
    for a, b in (
        (plain.train_dataloader(), cached.train_dataloader()),
        (plain.val_dataloader(), cached.val_dataloader()),
    ):
        for x, y in zip(a, b, strict=True):
            torch.testing.assert_close(x["response"], y["response"], equal_nan=True)
            torch.testing.assert_close(x["image"], y["image"], atol=0.51 / 255, rtol=0)
    assert isinstance(cached.responses[1][0].values, np.memmap)
    monkeypatch.setattr("neuroalign.data.nsd.reader.read_session", lambda *_: pytest.fail("read again"))
    again = NSDDataModule(planted.root, [1, 2], cache=tmp_path, **options)
    again.prepare_data()
    again.setup()
    other = NSDDataModule(planted.root, [1, 2], cache=tmp_path, split=planted.rows(1)[:50].tolist(), **options)
    other.setup()  # trials are there already; other options are other files
    assert len(other.responses[1][1]) < len(again.responses[1][1])


def test_labels_for_a_guided_classifier(planted, quiet_trainer):
    data = NSDDataModule(planted.root, [1, 2], "V4", batch_size=100)
    data.setup()
    shown = {int(s) for parts in data.responses.values() for part in parts for s in part.stimulus}
    labelled = NSDDataModule(planted.root, [1, 2], "V4", labels={s: s % 3 for s in shown}, batch_size=100)
    for batch in labelled.train_dataloader():
        assert (batch["label"] == batch["stimulus"] % 3).all()
    heads = {name: (None, len(columns)) for name, columns in data.columns.items()}
    network = GuidedNetwork("small_resnet", 3, heads=heads, image_shape=(3, 8, 8))
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(GuidedClassificationTask(network, MeasuredGuidance(data.columns), weight=0.5), labelled)
    assert "val/accuracy" in trainer.callback_metrics
    with pytest.raises(ValueError, match=r"images have no label, image \d+ for one"):
        NSDDataModule(planted.root, 1, "V4", labels={0: 1}).setup()


def test_components_leave_out_voxels_with_gaps(planted):
    """An invalid voxel in one session makes averages that are missing; components are made of the others."""
    data = NSDDataModule(planted.root, 1, "nsdgeneral", pca_variance=0.9)
    assert 0 < data.num_voxels < 300
    assert np.isfinite(data.train_responses.values).all() and np.isfinite(data.val_responses.values).all()


def test_an_extracted_file_and_cached_images_are_enough(planted, tmp_path):
    responses = Responses.load(extract_nsd(planted.root, tmp_path / "x.h5", 1, roi="V4"))
    pictures = cache_nsd_stimuli(planted.root, tmp_path / "stimuli", image_size=6, rows=responses.stimulus)
    averaged = responses.zscore_sessions().average_repeats()
    for images in (pictures, NSDImages(planted.root)):
        batch = next(iter(ResponsesDataModule(images, averaged, batch_size=50, num_workers=1).train_dataloader()))
        expected = images[batch["stimulus"].numpy()].transpose(0, 3, 1, 2) / np.float32(255)
        np.testing.assert_allclose(batch["image"], expected, atol=1e-6)
    few = cache_nsd_stimuli(planted.root, tmp_path / "few", image_size=6, rows=averaged.stimulus[:10])
    with pytest.raises(IndexError, match="is not among the 10 cached"):
        ResponsesDataModule(few, averaged)


def test_the_cache_tells_masks_apart(planted, tmp_path):
    masks = [planted.labels[1, "func1pt8mm", "streams"] == number for number in (1, 5)]
    widths = set()
    for mask in masks:
        np.save(tmp_path / "mask.npy", mask)
        for roi in ({"mine": mask}, str(tmp_path / "mask.npy")):
            data = NSDDataModule(planted.root, 1, roi, cache=tmp_path / "cache")
            widths.add(data.num_voxels)
            assert data.num_voxels == NSDDataModule(planted.root, 1, roi).num_voxels
    assert len(widths) == 2


def test_changed_sources_are_read_again(small, tmp_path):
    before = NSDDataModule(small.root, 2, "V4", cache=tmp_path / "cache")
    before.setup()
    path = NSDPaths(small.root, 2).session(1, "hdf5")
    with h5py.File(path, "r+") as f:
        f["betas"][:300] = f["betas"][:300][::-1]
    after, plain = NSDDataModule(small.root, 2, "V4", cache=tmp_path / "cache"), NSDDataModule(small.root, 2, "V4")
    with pytest.warns(UserWarning, match="the stored ncsnr"):
        after.setup()
    plain.setup()
    np.testing.assert_allclose(after.train_responses.values, plain.train_responses.values, atol=1e-6)
    assert np.abs(after.train_responses.values - before.train_responses.values).max() > 0.5


def corrected_ncsnr(paths):
    path = paths.map_files("ncsnr")[0]
    image = nibabel.load(path)
    nibabel.save(nibabel.Nifti1Image((image.get_fdata() / 2).astype(np.float32), image.affine), path)


def corrected_labels(paths):
    path = paths.roi("nsdgeneral")
    image = nibabel.load(path)
    general = image.get_fdata()
    general[tuple(np.argwhere(general == 1)[::2].T)] = 0
    nibabel.save(nibabel.Nifti1Image(general, image.affine), path)


def corrected_behaviour(paths):
    table = pd.read_csv(paths.behaviour, sep="\t")
    table.assign(RT=table["RT"] + 500).to_csv(paths.behaviour, sep="\t", index=False, na_rep="NaN")


@pytest.mark.filterwarnings("ignore:the stored ncsnr")
@pytest.mark.parametrize("correct", [corrected_ncsnr, corrected_labels, corrected_behaviour])
def test_corrected_side_files_are_read_again(small, tmp_path, correct):
    before = NSDDataModule(small.root, 2, "V1", cache=tmp_path / "cache")
    before.setup()
    correct(NSDPaths(small.root, 2))
    after, plain = NSDDataModule(small.root, 2, "V1", cache=tmp_path / "cache"), NSDDataModule(small.root, 2, "V1")
    after.setup()
    plain.setup()
    a, b = after.train_responses, plain.train_responses
    np.testing.assert_allclose(a.values, b.values, atol=1e-6)
    np.testing.assert_array_equal(a.noise_ceiling, b.noise_ceiling)
    np.testing.assert_array_equal(a.behaviour["reaction_time"], b.behaviour["reaction_time"])
    old = before.train_responses
    assert old.num_voxels != a.num_voxels or not (
        np.array_equal(old.noise_ceiling, a.noise_ceiling)
        and np.array_equal(old.behaviour["reaction_time"], a.behaviour["reaction_time"], equal_nan=True)
    )


def test_what_is_damaged_in_the_cache_is_made_again(planted, tmp_path):
    """By prepare_data, which makes the cache; what only reads it says so."""
    data = NSDDataModule(planted.root, 1, "V4", cache=tmp_path, image_size=6)
    data.setup()
    trials, train = sorted(p for p in tmp_path.glob("subj01-*.h5") if not p.name.endswith("val.h5"))
    (images,) = tmp_path.glob("stimuli-*/images.npy")
    for path, content in [(p, p.read_bytes()[:-500]) for p in (trials, train)] + [(images, bytes(1000))]:
        path.unlink()  # the first module has mapped it, and must not see it change
        path.write_bytes(content)
    again = NSDDataModule(planted.root, 1, "V4", cache=tmp_path, image_size=6)
    again.prepare_data()
    again.setup()
    np.testing.assert_array_equal(again.train_responses.values, data.train_responses.values)
    batches = [next(iter(d.val_dataloader())) for d in (data, again)]
    torch.testing.assert_close(batches[0]["image"], batches[1]["image"])
    for path in (train, trials):
        path.unlink()
        path.write_bytes(b"")
    NSDDataModule(planted.root, 1, "V4", cache=tmp_path, image_size=6).prepare_data()


def test_a_damaged_cache_says_what_to_do(planted, tmp_path):
    data = NSDDataModule(planted.root, 1, "V4", cache=tmp_path)
    data.setup()
    (path,) = tmp_path.glob("subj01-*-train.h5")
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(NSDError, match=r"the cache is damaged: .* Remove .* and it will be made again"):
        NSDDataModule(planted.root, 1, "V4", cache=tmp_path).setup()


def test_what_it_refuses(planted):
    with pytest.raises(ValueError, match="image_size must be at least 1; got 0"):
        NSDDataModule(planted.root, image_size=0)
    with pytest.raises(ValueError, match="unknown split 'shared'"):
        NSDDataModule(planted.root, split="shared")
    with pytest.raises(ValueError, match="a number or several different ones"):
        NSDDataModule(planted.root, [1, 1])
    with pytest.raises(PermissionError, match="Data Access Agreement"):
        NSDDataModule("s3://natural-scenes-dataset").setup()


@pytest.mark.slow
def test_two_processes_read_each_their_part(planted, tmp_path):
    script = [sys.executable, "-W", "ignore", "-m", "tests.data.nsd.ddp_script", str(planted.root), str(tmp_path)]
    subprocess.run(script, check=True, capture_output=True, timeout=300)
    one, *two = (json.loads((tmp_path / f"rank{r}-of-{n}.json").read_text()) for r, n in ((0, 1), (0, 2), (1, 2)))
    first, second = (set(part["stimuli"]) for part in two)
    assert first | second == set(one["stimuli"])
    assert len(first & second) <= 1, "but for one that evens out an odd number"
    assert two[0]["loss"] == pytest.approx(one["loss"], rel=1e-4)
    assert len(list((tmp_path / "cache").glob("subj*-train.h5"))) == 2


def test_from_the_command_line_and_resumed(planted, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["neuroalign"])
    probe = NSDDataModule(planted.root, [1, 2], "V4")
    config = tmp_path / "config.yaml"
    config.write_text(f"""
seed_everything: 0
trainer: {{max_epochs: 2, accelerator: cpu, logger: false, enable_progress_bar: false, enable_model_summary: false,
  callbacks: [{{class_path: lightning.pytorch.callbacks.ModelCheckpoint, init_args: {{dirpath: ckpt, save_top_k: -1,
  filename: "e{{epoch}}", auto_insert_metric_name: false}}}}]}}
model:
  class_path: neuroalign.tasks.NeuralPredictionTask
  init_args:
    lr: 0.01
    predictor:
      class_path: neuroalign.models.NeuralPredictor
      init_args: {{backbone: small_resnet, num_voxels: {probe.num_voxels}, layer: layer3, size: 1, image_shape: [3, 8, 8]}}
data:
  class_path: neuroalign.data.NSDDataModule
  init_args: {{root: {planted.root}, subject: [1, 2], roi: "V4", split: shared515, batch_size: 200, image_size: 8,
    cache: {tmp_path}/cache}}
""")
    main(["fit", "--config", str(config)])
    whole = torch.load(tmp_path / "ckpt/e1.ckpt", weights_only=True)["state_dict"]
    (tmp_path / "ckpt/e1.ckpt").unlink()
    main(["fit", "--config", str(config), "--ckpt_path", str(tmp_path / "ckpt/e0.ckpt")])
    resumed = torch.load(tmp_path / "ckpt/e1.ckpt", weights_only=True)["state_dict"]
    for name, value in whole.items():
        torch.testing.assert_close(resumed[name], value)


def test_a_predictor_learns_two_subjects_at_once(planted, quiet_trainer):
    torch.manual_seed(0)
    data = NSDDataModule(planted.root, [1, 2], "V1", batch_size=100)
    predictor = NeuralPredictor(torch.nn.Flatten(), data.num_voxels, image_shape=(3, 8, 8))
    task = NeuralPredictionTask(predictor, lr=0.005)
    trainer = quiet_trainer(max_epochs=15)
    trainer.fit(task, datamodule=data)
    assert trainer.callback_metrics["val/correlation"] > 0.4
