"""What people bring as batches, metrics, loaders and loops: the right number, or one sentence that says what to do."""

import lightning as L
import pytest
import torch
import torch.nn.functional as F
from lightning.fabric import Fabric
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torchmetrics.classification import MulticlassAccuracy

from neuroalign import (
    FGSM,
    TRADES,
    AdversarialTraining,
    CategoryManifolds,
    GaussianNoiseTraining,
    GradientRegularization,
    GuidanceDataModule,
    GuidedClassificationTask,
    GuidedNetwork,
    InputSmoothnessCallback,
    LabelOnlyGuidance,
    ManifoldGeometryCallback,
    ManifoldGuidance,
    NeuralPredictionTask,
    NeuralPredictor,
    PredictedGuidance,
    ResponsesDataModule,
    RobustnessCallback,
    ShuffledGuidance,
)

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no")
SHAPE, V = (3, 8, 8), 5


def network(seed=0):
    torch.manual_seed(seed)
    return GuidedNetwork("small_resnet", 10, {"V4": ("layer3", V)}, image_shape=SHAPE)


def predictor(seed=0):
    torch.manual_seed(seed)
    return NeuralPredictor("small_resnet", V, image_shape=SHAPE)


def guidance():
    return PredictedGuidance({"V4": predictor(1)})


def soft(labels):
    """Probabilities whose largest is that of the label."""
    return 0.8 * F.one_hot(labels, 10).float() + 0.02


def loader(*columns, batch_size=20):
    return DataLoader(TensorDataset(*columns), batch_size)


def fit(module, *loaders, quiet_trainer, **trainer):
    trainer = quiet_trainer(**trainer)
    trainer.fit(module, *loaders)
    return {name: float(value) for name, value in trainer.callback_metrics.items()}


def test_each_validation_loader_has_its_own_numbers(digits, quiet_trainer):
    images, labels = digits
    first, second = loader(images[:50], labels[:50]), loader(images[50:80], (labels[50:80] + 1) % 10)
    task = GuidedClassificationTask(network(), guidance(), 0.5, lr=0.01)
    together = fit(task, loader(images[100:200], labels[100:200]), [first, second], quiet_trainer=quiet_trainer)
    tested = quiet_trainer().test(task, {"a": first, "b": second}, verbose=False)
    for number, alone in enumerate((first, second)):
        (expected,) = quiet_trainer().validate(task, alone, verbose=False)
        assert {"val/task_loss", "val/accuracy", "val/alignment/layer3/V4/correlation"} == set(expected)
        for name, value in expected.items():
            suffix = f"/dataloader_idx_{number}"
            assert together[name + suffix] == pytest.approx(value, abs=1e-6), name
            assert tested[number][name.replace("val/", "test/") + suffix] == pytest.approx(value, abs=1e-6)


def test_each_validation_loader_of_a_predictor_has_its_own_numbers(digits, quiet_trainer):
    images, responses = digits[0][:90], torch.randn(90, V)
    responses[70:, 0] = torch.nan
    parts = [loader(images[:40], responses[:40]), loader(images[40:], responses[40:])]
    task = NeuralPredictionTask(predictor())
    together = quiet_trainer().validate(task, parts, verbose=False)
    for number, part in enumerate(parts):
        (expected,) = quiet_trainer().validate(task, part, verbose=False)
        assert {f"{k}/dataloader_idx_{number}": pytest.approx(v, nan_ok=True) for k, v in expected.items()} == together[
            number
        ]


@pytest.mark.parametrize("combined", ["dict", "list"])
def test_several_training_loaders_are_refused_in_words(digits, quiet_trainer, combined):
    images, labels = digits
    parts = [loader(images[:40], labels[:40]), loader(images[40:80], labels[40:80])]
    given = dict(zip(("a", "b"), parts)) if combined == "dict" else parts
    names = "a, b" if combined == "dict" else "0, 1"
    for task in (GuidedClassificationTask(network()), NeuralPredictionTask(predictor())):
        with pytest.raises(TypeError, match=rf"2 loaders \({names}\) give a batch each.*ConcatDataset"):
            fit(task, given, quiet_trainer=quiet_trainer)


def test_a_subclass_takes_several_training_loaders(digits, quiet_trainer):
    images, labels = digits

    class Both(GuidedClassificationTask):
        def training_step(self, batch, batch_idx):
            return super().training_step(batch["a"], batch_idx) + super().training_step(batch["b"], batch_idx)

    given = {"a": loader(images[:40], labels[:40]), "b": loader(images[40:80], labels[40:80])}
    assert fit(Both(network(), lr=0.01), given, quiet_trainer=quiet_trainer)["train/accuracy"] > 0


@pytest.mark.parametrize("kind", ["bare", "list of one", "pair", "dict"])
def test_predicting_needs_images_alone(digits, quiet_trainer, kind):
    images, labels = digits[0][:30], digits[1][:30]
    given = {
        "bare": DataLoader(images, 20),
        "list of one": loader(images),
        "pair": loader(images, labels),
        "dict": DataLoader([{"image": image} for image in images], 20),
    }[kind]
    for task in (GuidedClassificationTask(network()), NeuralPredictionTask(predictor())):
        found = torch.cat(quiet_trainer().predict(task, given))
        with torch.no_grad():
            torch.testing.assert_close(found, task.eval()(images))


IMAGES = torch.rand(4, *SHAPE, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        (IMAGES, TypeError, "a dict with 'image' and 'label' or a pair"),
        ([IMAGES], TypeError, "got list of 1"),
        ("images", TypeError, "got str"),
        ({"x": IMAGES}, ValueError, r"needs 'image'; this one has \['x'\]"),
        ({"image": IMAGES}, ValueError, "needs 'label'; this one has"),
        ((IMAGES, torch.zeros(4)), ValueError, r"labels must be \(stimulus,\) int64 .* got \(4,\) float32"),
        ((IMAGES, torch.zeros(4, 1, dtype=torch.long)), ValueError, r"got \(4, 1\) int64"),
        ((IMAGES, torch.zeros(3, dtype=torch.long)), ValueError, r"got \(3,\) int64"),
        ((IMAGES, torch.zeros(4, 7)), ValueError, r"here \(4, 10\); got \(4, 7\) float32"),
        ((IMAGES, torch.randn(4, 10)), ValueError, r"probabilities in \[0, 1\]"),
        ((IMAGES, torch.full((4, 10), torch.nan)), ValueError, r"probabilities in \[0, 1\]"),
        ((IMAGES, torch.full((4,), 10)), ValueError, "there are 10 classes"),
    ],
)
def test_bad_batches_of_a_classifier(batch, error, message):
    task = GuidedClassificationTask(network())
    for step in (task.training_step, task.validation_step):
        with pytest.raises(error, match=message):
            step(batch, 0)


@pytest.mark.parametrize(
    ("batch", "error", "message"),
    [
        (IMAGES, TypeError, "a dict with 'image' and 'response' or a pair"),
        ([IMAGES], TypeError, "got list of 1"),
        ({"image": IMAGES, "label": torch.zeros(4)}, ValueError, "needs 'response'; this one has"),
        ({"response": torch.zeros(4, V)}, ValueError, "needs 'image'"),
    ],
)
def test_bad_batches_of_a_predictor(batch, error, message):
    task = NeuralPredictionTask(predictor())
    for step in (task.training_step, task.validation_step):
        with pytest.raises(error, match=message):
            step(batch, 0)


@pytest.mark.parametrize("dtype", [torch.int32, torch.uint8, torch.int64])
def test_whole_labels_of_any_type(digits, quiet_trainer, dtype):
    images, labels = digits
    logged = [
        fit(GuidedClassificationTask(network()), loader(images[:40], labels[:40].to(d)), quiet_trainer=quiet_trainer)
        for d in (torch.int64, dtype)
    ]
    assert logged[0] == logged[1]


@pytest.mark.parametrize(
    "robust",
    [None, TRADES(0.1, steps=2), GaussianNoiseTraining(0.1), GradientRegularization(0.1)],
    ids=lambda robust: type(robust).__name__,
)
def test_soft_labels(digits, quiet_trainer, robust):
    """The loss is that of the probabilities, the accuracy that of the largest."""
    images, labels = digits[0][:40], digits[1][:40]
    task = GuidedClassificationTask(network(), robust_training=robust, lr=0.0)
    given = loader(images, soft(labels), batch_size=40)
    logged = fit(task, given, given, quiet_trainer=quiet_trainer)
    with torch.no_grad():
        logits = network().train()(images)
        before = F.cross_entropy(logits, soft(labels)) if robust is None else None
        right = (logits.argmax(1) == labels).float().mean()
        validated = task.eval()(images)
    if robust is None:
        assert logged["train/task_loss"] == pytest.approx(float(before), rel=1e-5)
        assert logged["train/accuracy"] == pytest.approx(float(right))
    assert logged["val/task_loss"] == pytest.approx(float(F.cross_entropy(validated, soft(labels))), rel=1e-5)
    assert logged["val/accuracy"] == pytest.approx(float((validated.argmax(1) == labels).float().mean()))


def test_what_soft_labels_cannot_tell(digits, quiet_trainer):
    images, labels = digits[0][:40], soft(digits[1][:40])
    manifolds = CategoryManifolds.from_features(torch.randn(60, V), torch.arange(60) % 10)
    by_class = [
        LabelOnlyGuidance(10, {"V4": V}),
        ManifoldGuidance({"V4": manifolds}),
        ShuffledGuidance(guidance(), within_class=True),
    ]
    for guided in by_class:
        with pytest.raises(ValueError, match=r"guidance by class needs labels \(stimulus,\) int64"):
            fit(GuidedClassificationTask(network(), guided), loader(images, labels), quiet_trainer=quiet_trainer)
    adversarial = GuidedClassificationTask(network(), robust_training=AdversarialTraining(0.1, steps=2))
    with pytest.raises(ValueError, match=r"not soft ones \(20, 10\): leave MixUp"):
        fit(adversarial, loader(images, labels), quiet_trainer=quiet_trainer)


def test_callbacks_read_soft_labels(digits, quiet_trainer):
    images, labels = digits[0][:60], digits[1][:60]
    task = GuidedClassificationTask(network())
    found = []
    for given in (labels, soft(labels)):
        callbacks = [RobustnessCallback(FGSM(), 0.02), InputSmoothnessCallback(),
                     ManifoldGeometryCallback("network.trunk.backbone.layer3", num_samples=20)]  # fmt: skip
        (logged,) = quiet_trainer(callbacks=callbacks).validate(task, loader(images, given), verbose=False)
        found.append({k: pytest.approx(v) for k, v in logged.items() if not k.startswith("val/")})
    assert found[0] == found[1]
    assert len(found[0]) > 5


def test_one_metric_is_enough(digits, quiet_trainer):
    class One(GuidedClassificationTask):
        def configure_metrics(self):
            return MulticlassAccuracy(10, average="micro")

    images, labels = digits
    part = loader(images[:40], labels[:40])
    logged = fit(One(network(), lr=0.01), part, part, quiet_trainer=quiet_trainer)
    expected = fit(GuidedClassificationTask(network(), lr=0.01), part, part, quiet_trainer=quiet_trainer)
    assert logged["val/MulticlassAccuracy"] == expected["val/accuracy"]


def test_fabric_logs_numbers(digits):
    """Fabric takes no metric objects, and knows no Trainer to ask."""
    images, labels = digits
    logged = {}

    class Keeps(L.fabric.loggers.CSVLogger):
        def log_metrics(self, metrics, step=None):
            logged.update(metrics)

    fabric = Fabric(accelerator="cpu", devices=1, loggers=Keeps("unused"))
    task = GuidedClassificationTask(network(), guidance(), 0.5, robust_training=GaussianNoiseTraining(0.1))
    module, _ = fabric.setup(task, task.configure_optimizers()["optimizer"])
    module.training_step({"image": images[:20], "label": labels[:20]}, 0)
    module.eval()
    module.validation_step({"image": images[:20], "label": labels[:20]}, 0)
    assert {"train/loss", "train/accuracy", "alignment/layer3/V4/mse", "alignment/layer3/V4/mse/mean",
            "val/task_loss", "val/accuracy", "val/alignment/layer3/V4/correlation"} <= logged.keys()  # fmt: skip
    with torch.no_grad():
        right = (task(images[:20]).argmax(1) == labels[:20]).float().mean()
    assert float(logged["val/accuracy"]) == pytest.approx(float(right))


@pytest.mark.filterwarnings("ignore:You are trying to `self.log")
def test_a_step_in_a_loop_of_ones_own(digits):
    images, labels = digits
    task = GuidedClassificationTask(network(), robust_training=GaussianNoiseTraining(0.1))
    batch = {"image": images[:20], "label": labels[:20]}
    torch.manual_seed(0)
    first, second = task.training_step(batch, 0), task.training_step(batch, 0)
    assert first.requires_grad
    assert not torch.equal(first, second)


@pytest.fixture
def _double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.usefixtures("_double")
@pytest.mark.parametrize(
    "robust",
    [None, AdversarialTraining(0.1, steps=2), TRADES(0.1, steps=2), GaussianNoiseTraining(0.1)],
    ids=lambda robust: type(robust).__name__,
)
def test_double_as_the_default_precision(digits, quiet_trainer, robust):
    images, labels = digits
    pair = (images[:40], labels[:40])
    task = GuidedClassificationTask(network(), guidance(), 0.5, robust_training=robust, lr=0.01)
    callbacks = [InputSmoothnessCallback(), ManifoldGeometryCallback("network.trunk.backbone.layer3", num_samples=20)]
    logged = fit(task, GuidanceDataModule(pair, pair, batch_size=20), quiet_trainer=quiet_trainer, callbacks=callbacks)
    assert all(torch.tensor(v).isfinite() for v in logged.values())
    assert next(task.parameters()).dtype == torch.float64
    module = ResponsesDataModule(images[:40], torch.randn(40, V), batch_size=20)
    assert fit(NeuralPredictionTask(predictor()), module, quiet_trainer=quiet_trainer)["train/loss"] > 0


def test_double_images_for_a_float_network(digits, quiet_trainer):
    images, labels = digits
    found = [
        fit(GuidedClassificationTask(network()), loader(x, labels[:40]), quiet_trainer=quiet_trainer)["train/loss"]
        for x in (images[:40], images[:40].double())
    ]
    assert found[0] == found[1]


def test_a_last_batch_of_one(digits, quiet_trainer):
    images, labels = digits
    normed = nn.Sequential(nn.Flatten(), nn.Linear(192, 8), nn.BatchNorm1d(8))
    pair = (images[:41], labels[:41])

    def task():
        return GuidedClassificationTask(GuidedNetwork(normed, 10, image_shape=SHAPE), lr=0.01)

    def module(drop_last):
        return GuidanceDataModule(pair, pair, batch_size=20, drop_last=drop_last)

    with pytest.raises(ValueError, match=r"holds one image, from which BatchNorm.*drop_last=True"):
        fit(task(), module(False), quiet_trainer=quiet_trainer)
    assert "train/loss" in fit(task(), module(True), quiet_trainer=quiet_trainer)
    cka = GuidedClassificationTask(network(), PredictedGuidance({"V4": predictor()}, loss="cka"))
    with pytest.raises(ValueError, match=r"'cka' needs at least 4 stimuli; got 1.*drop_last=True"):
        fit(cka, module(False), quiet_trainer=quiet_trainer)
