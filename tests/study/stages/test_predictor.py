import json

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from neuroalign.data import NSDDataModule, Responses
from neuroalign.data.datamodules.standardized import standardize_parts
from neuroalign.functional import pearson
from neuroalign.models import NeuralPredictor, RidgePredictor, VisualFeatures
from neuroalign.models.network_files import save_module
from neuroalign.study import fit_callbacks
from neuroalign.study.settings.responses import Predictors
from neuroalign.study.stages import images, manifolds, predictor, responses
from neuroalign.study.stages.manifolds import read_manifolds
from neuroalign.study.stages.predictor import read_predictor
from neuroalign.study.stages.result_files import write_json, write_tensors
from neuroalign.study.training import Recipe, train_predictor
from neuroalign.study.work import Work
from tests.study.stages.work import MACHINE, image_settings, run

TRAINING = {"epochs": 3, "batch_size": 32, "optimizer": "adam", "lr": 3e-3, "weight_decay": 5e-4}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """Responses of 6 voxels to 80 images, 20 for validation; a voxel follows the mean of a color, and one is constant."""
    folder = tmp_path_factory.mktemp("recorded")
    generator = torch.Generator().manual_seed(0)
    shown = torch.randint(0, 256, (80, 3, 8, 8), generator=generator, dtype=torch.uint8) // 8
    shown += torch.randint(0, 200, (80, 3, 1, 1), generator=generator, dtype=torch.uint8)
    color = shown.float().mean((2, 3)).numpy()
    values = np.concatenate([color, color[:, :2] + color[:, 1:], np.full((80, 1), 3.0)], 1).astype(np.float32)
    values = values[:, [0, 5, 1, 2, 3, 4]]
    (folder / "stimuli").mkdir()
    (folder / "responses").mkdir()
    write_tensors(folder / "stimuli/stimuli.safetensors", {"image": shown, "stimulus": torch.arange(80)})
    order = np.random.default_rng(0).permutation(80)
    given = Responses.from_arrays(
        values[order], stimulus=order, roi="V4", shared=order < 20, noise_ceiling=np.linspace(0.1, 0.6, 6)
    )
    given.save(folder / "responses/responses.h5")
    write_json(folder / "responses/responses.json", {"noise_ceiling_from": "repeats"})
    return {"stimuli": folder / "stimuli", "responses": folder / "responses"}


def settings_of(fit="right", seed=0, kind="network", **given):
    training = {**TRAINING, **given.pop("training", {})}
    complete = Predictors(kind=kind, training=training, files={"V4": "x"} if kind == "file" else None, **given)
    settings = complete.model_dump(mode="json", exclude={"files", "per_seed"})
    return {**settings, "fit": fit, "seed": seed}


def fitted(folder, recorded, sources=None, **settings):
    return run(predictor.fit, folder, settings_of(**settings), inputs=recorded, sources=sources)


def test_a_ridge_is_fitted_and_measured_on_held_out_images(recorded, tmp_path):
    out = fitted(tmp_path / "right", recorded, kind="ridge", grid=2)
    table = pd.read_csv(out / "prediction.csv")
    assert table["voxel"].tolist() == [0, 2, 3, 4, 5]  # the constant one is left out
    assert (table["correlation"] > 0.9).all()
    assert table["noise_ceiling"].tolist() == pytest.approx([0.1, 0.3, 0.4, 0.5, 0.6])
    about = json.loads((out / "predictor.json").read_text())
    assert (about["num_voxels"], about["num_train"], about["num_val"]) == (5, 60, 20)
    assert about["noise_ceiling_from"] == "repeats"
    assert about["median_correlation"] == pytest.approx(table["correlation"].median())
    module = read_predictor(out)
    assert module.num_voxels == 5 and not module.training
    given, shown = Responses.load(recorded["responses"] / "responses.h5"), responses.read_stimuli(recorded["stimuli"])
    val = given.split_shared()[1]
    again = pearson(module(shown.of(val.stimulus).float() / 255), torch.from_numpy(val.values[:, table["voxel"]]))
    assert np.allclose(again.detach().numpy(), table["correlation"], atol=1e-5)


def test_shuffled_and_untrained_fits_do_not_predict(recorded, tmp_path):
    right = pd.read_csv(fitted(tmp_path / "right", recorded, kind="ridge") / "prediction.csv")
    weights = []
    for fit in ("shuffled", "untrained"):
        for seed in (1, 2):
            out = fitted(tmp_path / f"{fit}{seed}", recorded, kind="ridge", fit=fit, seed=seed)
            table = pd.read_csv(out / "prediction.csv")
            assert table["correlation"].abs().mean() < right["correlation"].mean() - 0.3
            weights.append(read_predictor(out).linear.weight)
    assert all(not torch.equal(a, b) for i, a in enumerate(weights) for b in weights[:i])


def test_a_network_is_the_one_that_the_recipe_trains(recorded, tmp_path):
    out = fitted(tmp_path, recorded, layer="layer3", size=2, seed=2)
    given, shown = Responses.load(recorded["responses"] / "responses.h5"), responses.read_stimuli(recorded["stimuli"])
    train, val = given.select(voxels=[0, 2, 3, 4, 5]).split_shared()
    train, _ = standardize_parts(train, val, reference=train)
    from neuroalign.data import BatchDataModule
    from neuroalign.data.images import ArrayDataset

    data = BatchDataModule(batch_size=32, seed=2)
    data.datasets = {"train": ArrayDataset(shown.of(train.stimulus), response=torch.from_numpy(train.values))}
    make = lambda: NeuralPredictor("small_resnet", 5, layer="layer3", size=2, image_shape=(3, 8, 8))  # noqa: E731
    other = train_predictor(make, data, Recipe(3, 3e-3, 5e-4), 2)
    found = read_predictor(out)
    assert all(torch.equal(a, b) for a, b in zip(found.state_dict().values(), other.state_dict().values()))
    log = pd.read_csv(out / "log.csv")
    assert len(log) == 3 and {"train/loss", "val/correlation"} <= set(log.columns)


def test_a_killed_fit_goes_on(recorded, tmp_path, monkeypatch):
    whole = read_predictor(fitted(tmp_path / "a", recorded))
    begun = fit_callbacks.Report.on_train_epoch_end

    def kill(self, trainer: L.Trainer, pl_module):
        if trainer.current_epoch == 1:
            raise KeyboardInterrupt
        begun(self, trainer, pl_module)

    out, scratch = tmp_path / "b/out", tmp_path / "b/scratch"
    out.mkdir(parents=True)
    scratch.mkdir()
    monkeypatch.setattr(
        "neuroalign.study.fitting.LastCheckpoint", lambda path, _: fit_callbacks.LastCheckpoint(path, 0)
    )
    monkeypatch.setattr(fit_callbacks.Report, "on_train_epoch_end", kill)
    reports = []
    work = Work(
        "a stage", settings_of(), recorded, out, scratch, options=MACHINE, report=lambda t, d: reports.append(t)
    )
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        predictor.fit(work)
    monkeypatch.setattr(fit_callbacks.Report, "on_train_epoch_end", begun)
    reports.clear()
    predictor.fit(work)
    assert reports[0] == "epoch 2/3"
    again = read_predictor(out)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values()))


def test_a_predictor_from_a_file(recorded, tmp_path):
    saved = NeuralPredictor("small_resnet", 5, image_shape=(3, 8, 8))
    saved.save(tmp_path / "five.safetensors")
    out = fitted(tmp_path / "a", recorded, {"file": tmp_path / "five.safetensors"}, kind="file")
    assert all(
        torch.equal(a, b) for a, b in zip(read_predictor(out).state_dict().values(), saved.state_dict().values())
    )
    with pytest.raises(ValueError, match="can't be fitted to shuffled responses"):
        fitted(tmp_path / "b", recorded, {"file": tmp_path / "five.safetensors"}, kind="file", fit="shuffled")
    save_module(RidgePredictor(VisualFeatures(8, wavelengths=(4,)), 7), tmp_path / "seven.safetensors")
    with pytest.raises(ValueError, match="predicts 7 voxels, but the responses have 5"):
        fitted(tmp_path / "c", recorded, {"file": tmp_path / "seven.safetensors"}, kind="file")


def test_manifolds_of_the_training_images(recorded, tmp_path):
    shown = run(images.make, tmp_path / "images", image_settings(source="digits", num_train=300))
    fit = fitted(tmp_path / "fit", recorded, kind="ridge")
    inputs = {"images": shown, "predictor": fit}
    out = run(manifolds.make, tmp_path / "m", {"variance": 0.95}, inputs=inputs)
    found, about = read_manifolds(out), json.loads((out / "manifolds.json").read_text())
    assert found.centers.shape == (10, 5)
    assert about["num_voxels"] == 5 and about["num_classes"] == 10 and about["ranks"] == found.ranks.tolist()
    sets = images.read_images(shown)
    features = read_predictor(fit)(sets.train.images).detach()
    features = (features - features.mean(0)) / features.std(0, correction=0)
    center = features[sets.train.labels == 4].mean(0)
    assert torch.allclose(found.centers[4].float(), center, atol=1e-4)


def test_the_predictor_of_a_simulated_subject_has_the_demos_training_data(tmp_path):
    """Responses and images reach the network as NSDDataModule gave them to it, up to the order of summation."""
    from neuroalign.data import write_simulated_nsd

    rng = np.random.default_rng(0)
    write_simulated_nsd(tmp_path / "subject/nsd", rng.random((60, 3, 8, 8)), np.arange(60) % 4, num_voxels=6)
    settings, inputs = (
        {"source": "simulated", "subject": "simulated", "region": "TO"},
        {"subject": tmp_path / "subject"},
    )
    made = {
        "responses": run(responses.make_responses, tmp_path / "r", settings, inputs=inputs),
        "stimuli": run(responses.make_stimuli, tmp_path / "s", settings, inputs=inputs),
    }
    for fit, shuffle in (("right", None), ("shuffled", 3)):
        data = NSDDataModule(tmp_path / "subject/nsd", roi="TO", batch_size=32, seed=3, shuffle_seed=shuffle)
        make = lambda: NeuralPredictor("small_resnet", 6, image_shape=(3, 8, 8))  # noqa: E731
        other = train_predictor(make, data, Recipe(3, 3e-3, 5e-4), 3)
        found = read_predictor(fitted(tmp_path / fit, made, fit=fit, seed=3))
        batch = torch.rand(8, 3, 8, 8)
        assert torch.allclose(found(batch), other(batch), atol=1e-3)


def test_manifolds_of_images_that_were_moved_with_their_folder(recorded, tmp_path):
    root = tmp_path / "images"
    for part in ("train", "test"):
        for i in range(12):
            path = root / part / f"class{i % 2}" / f"{i}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (9, 8), (20 * i, 255 - 20 * i, 10)).save(path)
    shown = run(images.make, tmp_path / "made", image_settings(source="folder", image_size=8), sources={"root": root})
    root.rename(tmp_path / "moved")
    inputs = {"images": shown, "predictor": fitted(tmp_path / "fit", recorded, kind="ridge", grid=2)}
    out = run(manifolds.make, tmp_path / "m", {"variance": 0.95}, inputs=inputs, sources={"root": tmp_path / "moved"})
    assert read_manifolds(out).centers.shape == (2, 5)
