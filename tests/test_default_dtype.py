"""Everything works where a project has set torch's default dtype to float64: images from loaders stay float32."""

import lightning as L
import pytest
import torch
from torch import nn

import neuroalign as na
from neuroalign.evaluation import layer_geometry, loss_landscape
from neuroalign.losses import MEASURES
from neuroalign.models import HEADS, RidgePredictor, StandardizedPredictor, VisualFeatures

SHAPE = (3, 8, 8)


@pytest.fixture(autouse=True)
def float64():
    torch.manual_seed(0)
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(before)


def images(n=12, size=8, dtype=torch.float32):
    return torch.rand(n, 3, size, size, dtype=dtype)


def classifier(size=8, dtype=torch.float64):
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * size * size, 4)).to(dtype).eval()


ATTACKS = [
    na.FGSM(), na.PGD.two_losses(steps=3), na.PGD("l2", steps=3, random_start=True), na.APGD(steps=5), na.FMN(steps=5),
    na.DeepFool(), na.CarliniWagner(steps=5, search_steps=2), na.SquareAttack(num_queries=5),
    na.SquareAttack("l2", num_queries=5),
]  # fmt: skip


@pytest.mark.parametrize("given", [torch.float32, torch.float64])
@pytest.mark.parametrize("model_dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("attack", ATTACKS, ids=lambda a: a.name)
def test_attacks_and_curves(attack, model_dtype, given):
    model, x = classifier(dtype=model_dtype), images(dtype=given)
    labels = model(x.to(model_dtype)).argmax(1)
    curve = na.robustness_curve(model, [(x, labels)], attack, [0.01, 0.2])
    assert curve.accuracy[1] <= curve.accuracy[0] <= 1
    exhaustive = na.robustness_curve(model, [(x, labels)], attack, [0.01, 0.2], exhaustive=True)
    assert len(exhaustive.images) == len(x)
    found = attack(model, x, labels, 0.2)
    assert found.dtype == given and bool(found.isfinite().all())


def test_attacks_of_other_libraries():
    pytest.importorskip("pyautoattack", reason="an optional extra")
    model, x = classifier(), images()
    attack = na.AutoAttack(version="fast")
    curve = na.robustness_curve(model, [(x, model(x.double()).argmax(1))], attack, [0.2])
    assert curve.accuracy[0] < 1
    assert torch.get_default_dtype() == torch.float64


def test_evaluations():
    model, x = classifier(32), images(size=32)
    batches = [(x, model(x.double()).argmax(1))]
    rotation = na.RotationTranslation(num_rotations=3, num_translations=3)
    transforms = [rotation, na.LowPass(4), na.HighPass(4), na.Contrast(0.5)]
    assert len(na.evaluate_robustness(model, batches, transforms)) == 4
    assert len(na.evaluate_corruptions(model, batches, severities=[3])) == 15
    assert na.evaluate_smoothness(model, batches, na.PGD(steps=2), 0.01).num_images == 12
    assert len(na.masking_report(model, batches, 0.001, num_queries=5).table) == 8
    assert len(na.transfer_matrix({"a": model, "b": model}, batches, na.FGSM(), 0.01)) == 4
    assert len(loss_landscape(model, x[0], 0, 0.1, num_points=3)) == 9
    network = na.GuidedNetwork("small_resnet", 4, image_shape=(3, 32, 32))
    assert len(layer_geometry(network, batches, ["trunk.backbone.layer3"], num_samples=5, progress=False)) == 1
    wrapped = na.PixelClassifier(model, mean=(0.5,) * 3, std=(0.2,) * 3)
    assert len(na.evaluate_robustness(wrapped, batches, na.FGSM(), 0.1)) == 1


@pytest.mark.parametrize("given", [torch.float32, torch.float64])
@pytest.mark.parametrize("dtype", [None, torch.float32, torch.float64])
def test_networks(dtype, given):
    backbone, x = "small_resnet", images(dtype=given)
    if dtype is not None:  # somebody's module, in the precision it came in
        backbone = nn.Sequential(nn.Flatten(), nn.Linear(192, 6)).to(dtype)
    network = na.GuidedNetwork(backbone, 4, {"V": (None, 5)}, image_shape=SHAPE)
    logits, responses = network(x, with_responses=True)
    assert logits.dtype == responses["V"].dtype == (dtype or torch.float64)
    assert bool(na.NeuralPredictor(backbone, 4, image_shape=SHAPE)(x).isfinite().all())


@pytest.mark.parametrize("head", HEADS)
def test_heads(head):
    layer = "1" if head == "token" else "0"
    backbone = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(2))
    options = {"rank": 2} if head == "low_rank" else {}
    outputs = None if head == "identity" else 5
    spec = na.ResponseHead(layer, outputs, head, options=options)
    network = na.GuidedNetwork(backbone, 2, {"V": spec}, image_shape=SHAPE)
    assert bool(network(images(), with_responses=True)[1]["V"].isfinite().all())


def test_predictors_and_guidance(tmp_path):
    x = images()
    predictor = na.NeuralPredictor("small_resnet", 5, image_shape=SHAPE)
    predictor.save(tmp_path / "predictor.safetensors")
    loaded = na.NeuralPredictor.load(tmp_path / "predictor.safetensors").eval()
    torch.testing.assert_close(loaded(x), predictor.eval()(x))
    standardized = StandardizedPredictor(loaded).fit(x)
    assert float(standardized(x).mean().abs()) < 1e-6
    ridge = RidgePredictor(VisualFeatures(8, wavelengths=(4,), grid=2), 5).fit(
        x, torch.randn(12, 5, dtype=torch.float32)
    )
    assert bool(ridge(x).isfinite().all())
    guidance = na.PredictedGuidance({"V": standardized, "W": na.models.untrained(loaded), "X": ridge})
    terms = guidance({"V": torch.randn(12, 5), "W": torch.randn(12, 5), "X": torch.randn(12, 5)}, {"image": x})
    assert all(bool(term.isfinite()) for term in terms.values())


@pytest.mark.parametrize("measure", MEASURES)
def test_losses(measure):
    loss = na.NeuralAlignmentLoss(measure, noise_ceiling=torch.rand(6, dtype=torch.float32))
    preds = torch.rand(12, 6, dtype=torch.float32, requires_grad=True)
    value = loss(preds, torch.randint(5, (12, 6)).float())
    value.backward()
    assert bool(value.isfinite()) and bool(preds.grad.isfinite().all())


@pytest.mark.parametrize("given", [torch.float32, torch.float64])
def test_manifolds(given):
    x, labels = torch.randn(24, 40, dtype=given), torch.arange(24) % 3
    manifolds = na.CategoryManifolds.from_features(x, labels)
    losses = [na.ManifoldGuidanceLoss(manifolds), na.CapacityLoss(), na.MMCRLoss(), na.NonNeuralManifoldLoss()]
    for loss in losses:
        z = torch.randn(24, 40, dtype=given, requires_grad=True)
        loss(z, labels).backward()
        assert bool(z.grad.isfinite().all())


@pytest.mark.parametrize(
    "metric",
    [na.VoxelCorrelation, na.CKA, na.RSA, na.ProcrustesSimilarity, na.RidgePredictivity, na.SoftMatching, na.CCA],
)
@pytest.mark.parametrize("given", [torch.float32, torch.float64])
def test_metrics(metric, given):
    made = metric()
    for _ in range(2):
        made.update(torch.randn(20, 4, dtype=given), torch.randn(20, 4, dtype=given))
    assert bool(torch.as_tensor(made.compute()).isfinite().all())


def test_metrics_of_classes():
    geometry, accuracy = na.ManifoldGeometry(num_samples=5), na.RobustAccuracy()
    geometry.update(torch.randn(12, 4, dtype=torch.float32), torch.arange(12) % 3)
    accuracy.update(torch.randn(12, 4, dtype=torch.float32), torch.arange(12) % 3)
    assert bool(geometry.compute()["capacity"].isfinite()) and bool(accuracy.compute().isfinite())


@pytest.mark.filterwarnings("ignore:.*does not have many workers")
@pytest.mark.parametrize(
    "robust",
    [None, na.AdversarialTraining(0.1), na.TRADES(0.1), na.GaussianNoiseTraining(0.1), na.GradientRegularization(0.1)],
    ids=lambda r: type(r).__name__,
)  # fmt: skip
def test_training_on_digits(robust):
    network = na.GuidedNetwork("small_resnet", 10, {"V": (None, 5)}, image_shape=SHAPE)
    guidance = na.PredictedGuidance({"V": na.NeuralPredictor("small_resnet", 5, image_shape=SHAPE)})
    task = na.GuidedClassificationTask(network, guidance=guidance, robust_training=robust)
    callbacks = [
        na.RobustnessCallback(na.FGSM(), 0.1, limit_batches=1), na.InputSmoothnessCallback(na.FGSM(), 0.1, limit_batches=1),
        na.ManifoldGeometryCallback("network.trunk.backbone.layer3", num_per_class=None, num_samples=5),
    ]  # fmt: skip
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=1, limit_train_batches=1, limit_val_batches=1, logger=False, callbacks=callbacks,
        enable_checkpointing=False, enable_progress_bar=False, enable_model_summary=False, num_sanity_val_steps=0,
    )  # fmt: skip
    trainer.fit(task, na.GuidanceDataModule(dataset="digits", batch_size=64))
    assert all(bool(v.isfinite()) for k, v in trainer.callback_metrics.items() if "geometry" not in k)
