"""The tasks: their losses and metrics, checkpoints that stand alone, resuming, subclassing."""

import copy
import warnings

import lightning as L
import numpy as np
import pytest
import torch
from torch import nn
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassCalibrationError

from neuroalign import (
    TRADES,
    GaussianNoiseTraining,
    GuidanceDataModule,
    GuidedClassificationTask,
    GuidedNetwork,
    LabelOnlyGuidance,
    MeasuredGuidance,
    NeuralAlignmentLoss,
    NeuralPredictionTask,
    NeuralPredictor,
    PredictedGuidance,
    ResponsesDataModule,
    ShuffledGuidance,
    WeightedGuidance,
)
from neuroalign.data import ShiftFlip
from neuroalign.functional import pearson
from neuroalign.tasks.base import one_cycle
from tests.device_reads import CountReads

SHAPE, V = (3, 8, 8), 5


def network(seed=0):
    torch.manual_seed(seed)
    return GuidedNetwork("small_resnet", 10, {"V4": ("layer3", V)}, image_shape=SHAPE)


def predictor(seed=0):
    torch.manual_seed(seed)
    return NeuralPredictor("small_resnet", V, image_shape=SHAPE)


def data(digits, n=200, **kwargs):
    images, labels = digits
    pair = (images[:n], labels[:n])
    return GuidanceDataModule(pair, pair, pair, batch_size=50, **kwargs)


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
def test_labels_out_of_range_are_told_in_every_stage_and_batch(digits, stage):
    labels = torch.arange(40) // 10  # sorted, as a folder with one folder per class gives them
    pair = (digits[0][:40], labels)
    data = GuidanceDataModule((digits[0][:40], labels % 3), pair, pair, batch_size=10)
    task = GuidedClassificationTask(GuidedNetwork(nn.Flatten(), 3, image_shape=SHAPE))
    trainer = L.Trainer(
        max_epochs=1, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=-1,
    )  # fmt: skip
    with pytest.raises(ValueError, match=r"labels run from 3 to 3, but there are 3 classes \(0 to 2\)"):
        getattr(trainer, stage)(task, data)


def test_the_loss_is_the_papers(digits):
    task = GuidedClassificationTask(network(), PredictedGuidance({"V4": predictor()}), weight=0.9)
    task.log = task.log_dict = lambda *a, **k: None
    task._trainer = type("T", (), {"datamodule": None})()
    batch = {"image": digits[0][:20], "label": digits[1][:20]}
    before = copy.deepcopy(task.state_dict())
    loss = task.training_step(batch, 0)
    task.load_state_dict(before)
    logits, responses = task.network.forward_with_responses(batch["image"])
    target = predictor().eval()(batch["image"])
    expected = (
        0.1 * nn.functional.cross_entropy(logits, batch["label"]) + 0.9 * (responses["V4"] - target).square().mean()
    )
    torch.testing.assert_close(loss, expected)


@pytest.mark.parametrize(("reduction", "factor"), [("sum", 1), ("mean", 0.5)])
def test_alpha_and_the_number_of_heads(digits, reduction, factor):
    """Two heads: their terms are added up, or averaged so that alpha keeps its meaning."""
    torch.manual_seed(0)
    two = GuidedNetwork("small_resnet", 10, {"V4": ("layer3", V), "TO": (None, V)}, image_shape=SHAPE)
    guidance = LabelOnlyGuidance(10, {"V4": V, "TO": V})
    task = GuidedClassificationTask(two, guidance, 0.9, head_reduction=reduction)
    task.log = task.log_dict = lambda *a, **k: None
    task._trainer = type("T", (), {"datamodule": None})()
    batch = {"image": digits[0][:20], "label": digits[1][:20]}
    logits, responses = copy.deepcopy(two).forward_with_responses(batch["image"])
    terms = sum(guidance(responses, batch).values())
    expected = 0.1 * nn.functional.cross_entropy(logits, batch["label"]) + 0.9 * factor * terms
    torch.testing.assert_close(task.training_step(batch, 0), expected)
    assert task.hparams["head_reduction"] == reduction


def test_the_two_terms_of_manifold_guidance_are_one_head():
    task = GuidedClassificationTask(network(), head_reduction="mean")
    assert task._num_heads({"layer3/V4/radius": torch.zeros(()), "layer3/V4/subspace": torch.zeros(())}) == 1


def test_learned_weights_may_take_in_the_task(digits, quiet_trainer):
    guidance = WeightedGuidance(LabelOnlyGuidance(10, {"V4": V}), "learned", weigh_task=True)
    task = GuidedClassificationTask(network(), guidance, 0.5)
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(task, data(digits))
    assert 0.009 < float(trainer.callback_metrics["alignment_weight/task"]) < 27.5
    assert float(guidance.log_variance[-1]) != 0


def test_defaults_are_the_papers():
    task = GuidedClassificationTask(network())
    configured = task.configure_optimizers()
    group = configured["optimizer"].param_groups[0]
    assert isinstance(configured["optimizer"], torch.optim.SGD)
    assert (group["lr"], group["momentum"], group["weight_decay"]) == (0.1, 0.9, 1e-4)
    schedule = configured["lr_scheduler"]["scheduler"]
    assert (schedule.step_size, schedule.gamma) == (20, 0.1)
    assert task.weight == 0.9
    optimizer = NeuralPredictionTask(predictor()).configure_optimizers()
    assert isinstance(optimizer, torch.optim.Adam)
    assert (optimizer.param_groups[0]["lr"], optimizer.param_groups[0]["weight_decay"]) == (1e-3, 5e-4)
    assert NeuralPredictionTask(predictor()).loss.voxel_reduction == "sum"


def test_optimisers_can_be_replaced():
    task = GuidedClassificationTask(
        network(),
        optimizer=lambda p: torch.optim.AdamW(p, 1e-3),
        scheduler=lambda o: torch.optim.lr_scheduler.CosineAnnealingLR(o, 5),
        scheduler_interval="step",
    )
    configured = task.configure_optimizers()
    assert isinstance(configured["optimizer"], torch.optim.AdamW)
    assert configured["lr_scheduler"]["interval"] == "step"
    alone = GuidedClassificationTask(network(), optimizer=lambda p: torch.optim.AdamW(p, 1e-3)).configure_optimizers()
    assert isinstance(alone, torch.optim.AdamW), "the paper's schedule must not follow somebody else's optimiser"


def test_one_cycle_rises_for_its_share_of_the_steps_and_falls_along_cosines():
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], 0.1)
    schedule, rates = one_cycle(10, max_lr=0.5, pct_start=0.8)(optimizer), []
    for step in range(10):
        if step:
            optimizer.step()
            schedule.step()
        rates.append(optimizer.param_groups[0]["lr"])
    first, last, peak = 0.5 / 25, 0.5 / 25 / 1e4, 0.8 * 10 - 1
    t = np.arange(10)
    rise = first + (0.5 - first) * (1 - np.cos(np.pi * t / peak)) / 2
    fall = last + (0.5 - last) * (1 + np.cos(np.pi * (t - peak) / (9 - peak))) / 2
    np.testing.assert_allclose(rates, np.where(t <= peak, rise, fall), rtol=1e-6)


def test_the_predictor_is_not_trained(digits, quiet_trainer):
    p = predictor()
    before = copy.deepcopy(p.state_dict())
    task = GuidedClassificationTask(network(), PredictedGuidance({"V4": p}), lr=0.01)
    optimised = {id(q) for g in task.configure_optimizers()["optimizer"].param_groups for q in g["params"]}
    assert not optimised & {id(q) for q in p.parameters()}
    task.train()
    quiet_trainer(max_epochs=2).fit(task, data(digits))
    for name, value in p.state_dict().items():
        assert torch.equal(value, before[name])


def test_many_terms_in_one_pass(digits, quiet_trainer):
    """Layers x regions with learned weights: each term is logged by layer, region and measure, the trunk runs once."""
    torch.manual_seed(0)
    heads = {"layer2/V4": ("layer2", V), "V4": ("layer3", V), "TO": (None, V)}
    net = GuidedNetwork("small_resnet", 10, heads, image_shape=SHAPE)
    passes = []
    net.trunk.backbone.register_forward_hook(lambda *_: passes.append(1))
    v4 = predictor()
    targets = PredictedGuidance(
        {"layer2/V4": v4, "V4": v4, "TO": predictor(1)}, loss={"layer2/V4": "cka", "V4": "mse", "TO": "rsa"}
    )
    task = GuidedClassificationTask(net, WeightedGuidance(targets, "learned"), lr=0.01)
    trainer = quiet_trainer(limit_val_batches=0, limit_train_batches=3)
    trainer.fit(task, data(digits))
    logged = set(trainer.callback_metrics)
    for name in ("layer2/V4/cka", "layer3/V4/mse", "features/TO/rsa"):
        assert {f"alignment/{name}", f"alignment_weight/{name}"} <= logged
    assert len(passes) == 3
    assert (task.guidance.log_variance != 0).all()  # the optimiser has them


def test_what_is_logged(digits, quiet_trainer):
    task = GuidedClassificationTask(network(), PredictedGuidance({"V4": predictor()}), lr=0.01)
    trainer = quiet_trainer()
    trainer.fit(task, data(digits))
    logged = {
        "train/loss",
        "train/task_loss",
        "train/accuracy",
        "alignment/layer3/V4/mse",
        "val/task_loss",
        "val/accuracy",
    }
    assert logged <= set(trainer.callback_metrics)
    with torch.no_grad():
        right = (task.eval()(digits[0][:200]).argmax(1) == digits[1][:200]).float().mean()
    assert float(trainer.validate(task, data(digits), verbose=False)[0]["val/accuracy"]) == pytest.approx(float(right))


def test_without_guidance_it_is_an_ordinary_classifier(digits, quiet_trainer):
    """Weight 0 and no guidance train alike, to the bit, and the unused head keeps its weights."""
    trained = []
    for guidance, weight in ((None, 0.9), (PredictedGuidance({"V4": predictor()}), 0.0)):
        task = GuidedClassificationTask(network(), guidance, weight, lr=0.01, weight_decay=0.0)
        head = copy.deepcopy(task.network.heads.state_dict())
        quiet_trainer().fit(task, data(digits))
        trained.append(task.network.state_dict())
        assert all(torch.equal(v, head[k]) for k, v in task.network.heads.state_dict().items())
    for name, value in trained[0].items():
        assert torch.equal(value, trained[1][name])


def test_pairs_and_measured_responses(digits, quiet_trainer):
    images, labels = digits
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images[:100], labels[:100]), 50)
    quiet_trainer().fit(GuidedClassificationTask(network(), lr=0.01), loader, loader)
    measured = torch.full((200, V), torch.nan)
    measured[:30] = torch.randn(30, V)
    task = GuidedClassificationTask(network(), MeasuredGuidance("V4"), 0.5, lr=0.01)
    trainer = quiet_trainer()
    trainer.fit(task, data(digits, responses=measured))
    assert torch.isfinite(trainer.callback_metrics["train/loss"])


def sparse_data(digits, share, batch_size=20, **kwargs):
    """Responses to a share of 200 images."""
    responses = torch.randn(200, V, generator=torch.Generator().manual_seed(1))
    responses[torch.rand(200, generator=torch.Generator().manual_seed(2)) > share] = torch.nan
    images, labels = digits
    pair = (images[:200], labels[:200])
    return GuidanceDataModule(pair, pair, responses=responses, batch_size=batch_size, **kwargs)


def watched(guidance):
    """Of each batch its terms and how many of its images have responses."""
    seen = []

    def record(module, arguments, terms):
        valid = int((~arguments[1]["response"].isnan()).any(1).sum())
        seen.append((valid, {name: float(term) for name, term in terms.items()}))

    guidance.register_forward_hook(record)
    return seen


def test_a_batch_with_nothing_to_compare_is_no_perfect_one(digits, quiet_trainer):
    """10 % of the images have responses: the means are over the batches that had enough, the others are counted."""
    net = GuidedNetwork("small_resnet", 10, {"V4": ("layer3", V), "TO": ("layer3.bn2", V)}, image_shape=SHAPE)
    guidance = MeasuredGuidance(
        {"V4": list(range(V)), "TO": list(range(V))}, loss={"V4": NeuralAlignmentLoss("cka"), "TO": "mse"}
    )
    seen = watched(guidance)
    task = GuidedClassificationTask(net, WeightedGuidance(guidance, {"V4/cka": 0.5}), 0.5, lr=0.01)
    steps = []

    class Steps(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            steps.append(float(trainer.callback_metrics["alignment/layer3/V4/cka"]))

    trainer = quiet_trainer(max_epochs=1, callbacks=[Steps()])
    with pytest.warns(
        UserWarning, match=r"layer3/V4/cka: in \d+% .* since it takes 4 or more .*min_valid.*or 'mse'"
    ) as told:
        trainer.fit(task, sparse_data(digits, 0.1))
    assert sum("nothing to compare" in str(w.message) for w in told) == 1  # "mse" has too few empty batches
    logged = trainer.callback_metrics
    for name, term, enough, weight in (("layer3/V4/cka", "V4/cka", 4, 0.5), ("layer3.bn2/TO/mse", "TO/mse", 1, 1.0)):
        values = [weight * terms[term] for valid, terms in seen if valid >= enough]
        assert 0 < len(values) < len(seen) or term == "TO/mse"
        assert float(logged[f"alignment/{name}/mean"]) == pytest.approx(np.mean(values), rel=1e-5)
        assert float(logged[f"alignment/{name}/empty"]) == pytest.approx(1 - len(values) / len(seen), abs=1e-6)
    expected = [0.5 * terms["V4/cka"] if valid >= 4 else np.nan for valid, terms in seen]
    np.testing.assert_allclose(steps, expected, rtol=1e-5)


def test_of_empty_batches_a_warning_tells_once(digits, quiet_trainer):
    def warnings_of(loss, share, epochs):
        task = GuidedClassificationTask(network(), MeasuredGuidance("V4", loss=loss), 0.5, lr=0.01)
        trainer = quiet_trainer(max_epochs=epochs, limit_val_batches=0)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            trainer.fit(task, sparse_data(digits, share))
        return [str(w.message) for w in caught if "nothing to compare" in str(w.message)], trainer.callback_metrics

    told, logged = warnings_of("cka", 0.0, 3)
    assert len(told) == 1 and "100% of the epoch's batches" in told[0]
    assert np.isnan(float(logged["alignment/layer3/V4/cka"])) and np.isnan(
        float(logged["alignment/layer3/V4/cka/mean"])
    )
    told, _ = warnings_of("mse", 0.0, 1)
    assert len(told) == 1 and "takes 1 or more" in told[0] and "'mse'" not in told[0]
    told, logged = warnings_of("cka", 1.0, 1)
    assert told == [] and float(logged["alignment/layer3/V4/cka/empty"]) == 0


def test_enough_images_with_responses_in_every_batch(digits, quiet_trainer):
    task = GuidedClassificationTask(network(), MeasuredGuidance("V4", loss="cka"), 0.5, lr=0.01)
    trainer = quiet_trainer()
    trainer.fit(task, sparse_data(digits, 0.1, min_valid=6))
    assert float(trainer.callback_metrics["alignment/layer3/V4/cka/empty"]) == 0
    assert float(trainer.callback_metrics["alignment/layer3/V4/cka"]) > 0


@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")
def test_a_controls_dropped_images_are_logged(digits, quiet_trainer):
    shuffled = ShuffledGuidance(PredictedGuidance({"V4": predictor()}), within_class=True)
    task = GuidedClassificationTask(network(), WeightedGuidance([shuffled]), 0.5, lr=0.01)
    dropped = []
    shuffled.register_forward_hook(lambda module, *_: dropped.append(float(module.last_dropped)))
    images, labels = digits
    trainer = quiet_trainer()
    trainer.fit(task, GuidanceDataModule((images[:64], labels[:64]), batch_size=8))
    assert 0 < np.mean(dropped) < 1
    assert float(trainer.callback_metrics["alignment/layer3/V4/dropped"]) == pytest.approx(np.mean(dropped), rel=1e-5)


def test_what_is_logged_of_a_term_reads_nothing_from_the_device(digits, quiet_trainer):
    task = GuidedClassificationTask(network(), LabelOnlyGuidance(10, {"V4": V}), 0.5)
    task.log = task.log_dict = lambda *a, **k: None
    valid, value = torch.ones((), dtype=torch.bool), torch.zeros(())
    task.log_term("alignment/a", value, valid, 8)  # which makes its metrics
    with CountReads() as counted:
        task.log_term("alignment/a", value, valid, 8)
    assert counted.reads == 0


def test_a_predictors_loss_of_too_few_responses(quiet_trainer):
    g = torch.Generator().manual_seed(0)
    images, responses = torch.rand(60, *SHAPE, generator=g), torch.randn(60, V, generator=g)
    responses[5:30], responses[34:] = torch.nan, torch.nan  # validation: batches of 4, 0 and 0
    module = ResponsesDataModule(images, responses, val=range(30, 60), batch_size=10, standardize=False)
    task = NeuralPredictionTask(predictor(), loss="cka")
    trainer = quiet_trainer()
    with pytest.warns(UserWarning, match=r"train/loss: in \d+% .* since it takes 4 or more"):
        trainer.fit(task, module)
    assert float(trainer.callback_metrics["train/loss/empty"]) >= 2 / 3
    logged = trainer.validate(task, module, verbose=False)[0]
    with torch.no_grad():
        expected = float(NeuralAlignmentLoss("cka")(task.eval()(images[30:34]), responses[30:34]))
    assert logged["val/loss"] == pytest.approx(expected, rel=1e-4)
    assert logged["val/loss/empty"] == pytest.approx(2 / 3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        quiet_trainer(max_epochs=2).fit(task, module)  # what validation in inference mode left behind is no hindrance


def test_subclassing(digits, quiet_trainer):
    class Mine(GuidedClassificationTask):
        def task_loss(self, logits, labels):
            return nn.functional.multi_margin_loss(logits, labels)

        def configure_metrics(self):
            return MetricCollection({"ece": MulticlassCalibrationError(10)})

        def configure_optimizers(self):
            return torch.optim.Adam(self.parameters(), 1e-3)

    trainer = quiet_trainer()
    trainer.fit(Mine(network()), data(digits))
    assert "val/ece" in trainer.callback_metrics


def test_prediction_task(quiet_trainer):
    g = torch.Generator().manual_seed(0)
    images, responses = torch.rand(100, *SHAPE, generator=g), torch.randn(100, V, generator=g)
    responses[3, 2] = torch.nan
    module = ResponsesDataModule(images, responses, val=range(70, 100), batch_size=10)
    task = NeuralPredictionTask(predictor(), noise_ceiling=np.full(V, 0.5))
    trainer = quiet_trainer()
    trainer.fit(task, module)
    logged = trainer.validate(task, module, verbose=False)[0]
    with torch.no_grad():
        preds = task.eval()(images[70:])
    target = torch.from_numpy(module.val_responses.values)
    r = pearson(preds, target)
    assert logged["val/correlation"] == pytest.approx(float(r.quantile(0.5)), abs=1e-5)
    assert logged["val/normalized_correlation"] == pytest.approx(float((r / 0.5**0.5).quantile(0.5)), abs=1e-5)
    assert logged["val/pattern_correlation"] == pytest.approx(float(pearson(preds, target, dim=1).mean()), abs=1e-5)
    assert logged["val/loss"] == pytest.approx(float((preds - target).square().sum(1).mean()), rel=1e-4)
    predicted = torch.cat(trainer.predict(task, module))
    torch.testing.assert_close(predicted, preds)


@pytest.mark.parametrize("kind", ["predicted", "label", "none"])
def test_a_checkpoint_stands_alone(digits, quiet_trainer, tmp_path, kind):
    guidance = {
        "predicted": PredictedGuidance({"V4": predictor()}),
        "label": LabelOnlyGuidance(10, {"V4": V}),
        "none": None,
    }[kind]
    task = GuidedClassificationTask(network(), guidance, 0.3, lr=0.01)
    trainer = quiet_trainer()
    trainer.fit(task, data(digits))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    plain = torch.load(tmp_path / "a.ckpt", weights_only=True)
    assert plain["hyper_parameters"]["weight"] == 0.3
    again = GuidedClassificationTask.load_from_checkpoint(tmp_path / "a.ckpt")
    images = digits[0][:10]
    torch.testing.assert_close(again.eval()(images), task.eval()(images))
    batch = {"image": images, "label": digits[1][:10]}
    if guidance is not None:
        preds = {"V4": torch.zeros(10, V)}
        torch.testing.assert_close(again.guidance(preds, batch), task.guidance(preds, batch))
    else:
        assert again.guidance is None


def test_a_predictors_checkpoint_guides(quiet_trainer, tmp_path):
    task = NeuralPredictionTask(predictor())
    trainer = quiet_trainer()
    trainer.fit(task, ResponsesDataModule(torch.rand(40, *SHAPE), torch.randn(40, V)))
    trainer.save_checkpoint(tmp_path / "p.ckpt")
    images = torch.rand(4, *SHAPE)
    again = NeuralPredictionTask.load_from_checkpoint(tmp_path / "p.ckpt").eval()
    torch.testing.assert_close(again(images), task.eval()(images))
    guidance = PredictedGuidance({"V4": tmp_path / "p.ckpt"})
    torch.testing.assert_close(guidance.targets({"image": images})["V4"], task(images))


def test_what_cannot_be_described_must_be_passed_again(digits, quiet_trainer, tmp_path):
    backbone = nn.Sequential(nn.Flatten(), nn.Linear(192, 12))
    net = GuidedNetwork(backbone, 10, {"V4": (None, V)}, image_shape=SHAPE)
    guidance = PredictedGuidance({"V4": nn.Sequential(nn.Flatten(), nn.Linear(192, V))})
    trainer = quiet_trainer()
    task = GuidedClassificationTask(net, guidance, lr=0.01)
    trainer.fit(task, data(digits))
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    torch.load(tmp_path / "a.ckpt", weights_only=True)
    with pytest.raises(ValueError, match=r"load_from_checkpoint\(path, network=...\)"):
        GuidedClassificationTask.load_from_checkpoint(tmp_path / "a.ckpt")
    fresh = GuidedNetwork(nn.Sequential(nn.Flatten(), nn.Linear(192, 12)), 10, {"V4": (None, V)}, image_shape=SHAPE)
    again = GuidedClassificationTask.load_from_checkpoint(tmp_path / "a.ckpt", network=fresh)
    torch.testing.assert_close(again(digits[0][:5]), task(digits[0][:5]))
    assert again.guidance is None  # enough to evaluate; to train on, pass guidance too
    same = PredictedGuidance({"V4": nn.Sequential(nn.Flatten(), nn.Linear(192, V))})
    both = GuidedClassificationTask.load_from_checkpoint(tmp_path / "a.ckpt", network=fresh, guidance=same)
    batch = {"image": digits[0][:5]}
    torch.testing.assert_close(both.guidance.targets(batch), guidance.targets(batch))


def test_resumed_equals_uninterrupted(digits, quiet_trainer, tmp_path):
    def make():
        task = GuidedClassificationTask(network(), PredictedGuidance({"V4": predictor()}), 0.5, lr=0.05, step_size=2)
        return task, data(digits, augment=ShiftFlip(1), seed=3)

    whole, module = make()
    quiet_trainer(max_epochs=4).fit(whole, module)
    first, module = make()
    trainer = quiet_trainer(max_epochs=2)
    trainer.fit(first, module)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    torch.manual_seed(99)
    second, module = make()
    quiet_trainer(max_epochs=4).fit(second, module, ckpt_path=tmp_path / "half.ckpt")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, second.state_dict()[name]), name


@pytest.mark.parametrize(
    ("batch", "message"),
    [
        ({"image": torch.randn(4, *SHAPE), "label": torch.zeros(4, dtype=torch.long)}, "normalised"),
        ({"image": torch.rand(4, *SHAPE), "label": torch.full((4,), 10)}, "there are 10 classes"),
    ],
)
def test_bad_first_batches(quiet_trainer, batch, message):
    loader = torch.utils.data.DataLoader([batch], batch_size=None)
    trainer = quiet_trainer(limit_val_batches=0)
    with pytest.raises(ValueError, match=message):
        trainer.fit(GuidedClassificationTask(network()), loader, loader)


def test_bad_batches_are_seen_in_validation_too(digits, quiet_trainer):
    images, labels = digits
    dataset = torch.utils.data.TensorDataset((images[:20] - 0.5) / 0.3, labels[:20])
    with pytest.raises(ValueError, match="normalised"):
        quiet_trainer().validate(GuidedClassificationTask(network()), torch.utils.data.DataLoader(dataset, 20))
    few = GuidedNetwork("small_resnet", 5, image_shape=SHAPE)
    with pytest.raises(ValueError, match="there are 5 classes"):
        quiet_trainer().fit(GuidedClassificationTask(few), data(digits))


def test_noise_beyond_the_pixels_is_allowed_as_augmentation(digits, quiet_trainer):
    noisy = data(digits, augment=lambda x: x + 0.5 * torch.randn_like(x))
    trainer = quiet_trainer()
    trainer.fit(GuidedClassificationTask(network(), lr=0.01), noisy)
    assert torch.isfinite(trainer.callback_metrics["train/loss"])


def test_bad_head_reduction():
    with pytest.raises(ValueError, match="unknown head_reduction 'max': it must be 'sum' or 'mean'"):
        GuidedClassificationTask(network(), head_reduction="max")


def test_bad_arguments():
    with pytest.raises(ValueError, match=r"in \[0, 1\]; got 1.5"):
        GuidedClassificationTask(network(), weight=1.5)
    with pytest.raises(ValueError, match="give a network"):
        GuidedClassificationTask()
    with pytest.raises(ValueError, match="give a predictor"):
        NeuralPredictionTask()
    with pytest.raises(TypeError, match=r"Linear has no `num_classes`: wrap it"):
        GuidedClassificationTask(nn.Linear(2, 2))


def test_batches_without_labels(quiet_trainer):
    module = ResponsesDataModule(torch.rand(40, *SHAPE), torch.randn(40, V))
    with pytest.raises(ValueError, match="needs 'label'; this one has"):
        quiet_trainer().fit(GuidedClassificationTask(network()), module)


def test_a_network_without_responses(digits, quiet_trainer):
    class Plain(nn.Sequential):
        num_classes = 10

    plain = Plain(nn.Flatten(), nn.Linear(192, 10))
    quiet_trainer().fit(GuidedClassificationTask(plain, lr=0.01), data(digits))
    with pytest.raises(TypeError, match="no forward_with_responses, which guidance needs"):
        quiet_trainer().fit(GuidedClassificationTask(plain, MeasuredGuidance("V4"), lr=0.01), data(digits))


def test_bf16_mixed_precision(digits, quiet_trainer):
    task = GuidedClassificationTask(network(), PredictedGuidance({"V4": predictor()}), lr=0.01)
    trainer = quiet_trainer(precision="bf16-mixed")
    trainer.fit(task, data(digits))
    assert torch.isfinite(trainer.callback_metrics["train/loss"])
    assert isinstance(trainer, L.Trainer)


@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")
def test_training_without_a_validation_set(digits, quiet_trainer):
    images, labels = digits
    trainer = quiet_trainer(limit_train_batches=2)
    trainer.fit(
        GuidedClassificationTask(network(), lr=0.01), GuidanceDataModule((images[:100], labels[:100]), batch_size=20)
    )
    assert trainer.global_step == 2
    with pytest.raises(ValueError, match="there is no val set"):
        trainer.validate(GuidedClassificationTask(network()), GuidanceDataModule((images[:100], labels[:100])))


def held_out(digits, quiet_trainer, guidance, weight=0.5, responses=None):
    network = GuidedNetwork("small_resnet", 10, heads={"V4": ("layer3", 6), "V1": ("layer1", 6)}, image_shape=SHAPE)
    task = GuidedClassificationTask(network, guidance, weight, lr=0.05)
    module = data(digits, responses=responses)
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(task, module)
    logged = {k: float(v) for k, v in trainer.callback_metrics.items() if "alignment" in k and k.startswith("val")}
    return task.eval(), module, logged


def test_validation_says_how_well_the_heads_match(digits, quiet_trainer):
    predictor = NeuralPredictor("small_resnet", 6, image_shape=SHAPE)
    task, module, logged = held_out(digits, quiet_trainer, PredictedGuidance({"V4": predictor}))
    assert set(logged) == {"val/alignment/layer3/V4/correlation"}
    batches = list(module.val_dataloader())
    images = torch.cat([b["image"] for b in batches])
    with torch.no_grad():
        _, responses = task.network(images, with_responses=True)
        target = predictor.eval()(images)
    expected = pearson(responses["V4"], target).nanquantile(0.5)
    assert logged["val/alignment/layer3/V4/correlation"] == pytest.approx(float(expected), abs=1e-3)
    trainer = quiet_trainer(max_epochs=1)
    (tested,) = trainer.test(task, module, verbose=False)
    assert tested["test/alignment/layer3/V4/correlation"] == pytest.approx(float(expected), abs=1e-3)


def test_without_weight_the_alignment_is_told_all_the_same(digits, quiet_trainer):
    """The control "none" needs the same number beside it."""
    predictor = NeuralPredictor("small_resnet", 6, image_shape=SHAPE)
    guidance = WeightedGuidance([PredictedGuidance({"V4": predictor}), LabelOnlyGuidance(10, {"V1": 6})])
    _, _, logged = held_out(digits, quiet_trainer, guidance, weight=0.0)
    assert set(logged) == {"val/alignment/layer3/V4/correlation", "val/alignment/layer1/V1/correlation"}


def test_a_head_of_another_width_is_compared_as_a_whole(digits, quiet_trainer):
    predictor = NeuralPredictor("small_resnet", 9, image_shape=SHAPE)
    _, _, logged = held_out(digits, quiet_trainer, PredictedGuidance({"V4": predictor}, loss="cka"))
    assert set(logged) == {"val/alignment/layer3/V4/cka"}


def test_measured_responses_are_compared_where_there_are_any(digits, quiet_trainer):
    images, _ = digits
    responses = torch.randn(len(images), 6)
    loss = NeuralAlignmentLoss("mse", noise_ceiling=torch.full((6,), 0.5))
    _, _, logged = held_out(digits, quiet_trainer, MeasuredGuidance({"V4": 6}, loss), responses=responses[:200])
    assert logged == {}  # our DataModule has responses to training images alone

    class Measured(GuidanceDataModule):
        def on_after_batch_transfer(self, batch, dataloader_idx):
            return {**batch, "response": responses[batch["stimulus"]]}

    network = GuidedNetwork("small_resnet", 10, heads={"V4": ("layer3", 6)}, image_shape=SHAPE)
    task = GuidedClassificationTask(network, MeasuredGuidance({"V4": 6}, loss))
    (found,) = quiet_trainer().validate(task, Measured(val=(images[:90], digits[1][:90]), batch_size=20), verbose=False)
    task.eval()
    with torch.no_grad():
        predicted = task.network(images[:90], with_responses=True)[1]["V4"]
    r = pearson(predicted, responses[:90])
    assert found["val/alignment/layer3/V4/correlation"] == pytest.approx(float(r.nanquantile(0.5)), abs=1e-4)
    normalised = float((r / 0.5**0.5).nanquantile(0.5))
    assert found["val/alignment/layer3/V4/normalized_correlation"] == pytest.approx(normalised, abs=1e-4)


def test_shuffled_targets_of_a_data_set_are_not_looked_up_for_other_images(digits, quiet_trainer):
    predictor = NeuralPredictor("small_resnet", 6, image_shape=SHAPE)
    shuffled = ShuffledGuidance(PredictedGuidance({"V4": predictor}), images=digits[0][:200])
    assert held_out(digits, quiet_trainer, shuffled)[2] == {}
    in_batch = ShuffledGuidance(PredictedGuidance({"V4": predictor}))
    assert set(held_out(digits, quiet_trainer, in_batch)[2]) == {"val/alignment/layer3/V4/correlation"}


def weighted_gradients(digits, robust=None, guidance=None, **options):
    """Gradients of one step, and what it logged."""
    task = GuidedClassificationTask(network(), guidance, robust_training=robust, **options)
    logged = {}
    task.log, task.log_dict = (lambda *a, **k: None), (lambda values, **k: logged.update(values))
    task._trainer = type("T", (), {"datamodule": None})()
    torch.manual_seed(3)
    task.training_step({"image": digits[0][:20], "label": digits[1][:20]}, 0).backward()
    return {k: p.grad for k, p in task.network.named_parameters()}, logged


@pytest.mark.parametrize(
    "robust", [None, TRADES(0.1, steps=2), GaussianNoiseTraining(0.1)], ids=["plain", "trades", "noise"]
)
@pytest.mark.parametrize("factor", [1 - 0.75, 0.0])
def test_the_weight_of_the_task_scales_its_gradients_and_not_its_log(digits, robust, factor):
    plain, of_plain = weighted_gradients(digits, robust)
    weighted, of_weighted = weighted_gradients(digits, robust, task_weight=factor)
    assert any(gradient.abs().max() > 0 for gradient in plain.values())
    for name, gradient in plain.items():
        assert torch.equal(weighted[name], factor * gradient), name
    assert torch.equal(of_weighted["train/task_loss"], of_plain["train/task_loss"])
    assert torch.equal(of_weighted["train/loss"], factor * of_plain["train/loss"])
    assert of_plain.keys() == of_weighted.keys()


def test_the_weight_of_the_task_beside_guidance(digits):
    given = {"guidance": LabelOnlyGuidance(10, {"V4": V}), "weight": 0.75}
    same, _ = weighted_gradients(digits, **given, task_weight=0.25)
    default, _ = weighted_gradients(digits, **given)
    for name in default:
        assert torch.equal(same[name], default[name])
    guided, of_guided = weighted_gradients(digits, **given, task_weight=0.0)
    assert torch.equal(of_guided["train/loss"], 0.75 * of_guided["alignment/layer3/V4/mse"])
    assert guided["classifier.weight"].abs().max() == 0


def test_the_weight_of_the_task_is_kept_and_checked(digits, quiet_trainer, tmp_path):
    task = GuidedClassificationTask(network(), task_weight=0.1)
    trainer = quiet_trainer(max_epochs=1)
    trainer.fit(task, data(digits, 100))
    trainer.save_checkpoint(tmp_path / "task.ckpt")
    assert GuidedClassificationTask.load_from_checkpoint(tmp_path / "task.ckpt").task_weight == 0.1
    for wrong in (-0.1, float("inf"), float("nan")):
        with pytest.raises(ValueError, match="task_weight is the weight of the task's loss, a finite number"):
            GuidedClassificationTask(network(), task_weight=wrong)


@pytest.mark.parametrize("step_size", [0, 2.5, -1, float("nan")])
def test_the_schedule_takes_whole_epochs(step_size):
    """2.5 would otherwise become 2 without a word."""
    with pytest.raises(ValueError, match="step_size"):
        GuidedClassificationTask(network(), step_size=step_size)
