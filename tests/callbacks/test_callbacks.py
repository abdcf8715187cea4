"""Callbacks: right numbers in fit, validate and test, and no trace in the training."""

import lightning as L
import pytest
import torch
from torch import nn

from neuroalign import (
    FGSM,
    PGD,
    GuidanceDataModule,
    GuidedClassificationTask,
    GuidedNetwork,
    ManifoldGeometry,
    ManifoldGeometryCallback,
    RobustnessCallback,
    evaluate_robustness,
)
from neuroalign.models import record_layers

SHAPE = (3, 8, 8)


class WithDropout(nn.Sequential):
    def __init__(self):
        super().__init__(
            nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8), nn.ReLU(), nn.Dropout(0.3), nn.Flatten(), nn.Linear(288, 16)
        )


def task(**kwargs):
    torch.manual_seed(0)
    network = GuidedNetwork(WithDropout(), 10, image_shape=SHAPE)
    return GuidedClassificationTask(network, lr=0.02, **kwargs)


def data(digits):
    images, labels = digits
    val = (images[200:300], labels[200:300])
    return GuidanceDataModule((images[:200], labels[:200]), val, val, batch_size=30)


def attack_callback(**kwargs):
    return RobustnessCallback([FGSM(), PGD("l2", steps=2, restarts=2)], [0.02, 0.1], **kwargs)


LAYER = "network.trunk.backbone.5"


@pytest.mark.parametrize(
    "options",
    [{}, {"precision": "bf16-mixed"}, {"accumulate_grad_batches": 2, "val_check_interval": 3}],
    ids=["plain", "bf16", "mid-epoch"],
)
def test_training_with_and_without_is_bit_identical(digits, quiet_trainer, options):
    states = []
    for callbacks in ([], [attack_callback(), ManifoldGeometryCallback(LAYER)]):
        module = task()
        torch.manual_seed(7)  # dropout draws from the global generator
        quiet_trainer(max_epochs=2, callbacks=callbacks, **options).fit(module, data(digits))
        states.append((module.state_dict(), torch.get_rng_state(), module.training))
    for name, value in states[0][0].items():
        assert torch.equal(value, states[1][0][name]), name
    assert torch.equal(states[0][1], states[1][1])
    assert states[0][2] == states[1][2]


@pytest.mark.parametrize("stage", ["fit", "validate", "test"])
def test_the_accuracy_is_that_of_evaluate_robustness(digits, quiet_trainer, stage):
    module, callback = task(), attack_callback()
    trainer = quiet_trainer(callbacks=[callback])
    if stage == "fit":
        trainer.fit(module, data(digits))
        logged = trainer.callback_metrics
    else:
        quiet_trainer(max_epochs=1).fit(module, data(digits))
        logged = getattr(trainer, stage)(module, data(digits), verbose=False)[0]
    table = evaluate_robustness(
        module, data(digits).val_dataloader(), [FGSM(), PGD("l2", steps=2, restarts=2)], [0.02, 0.1]
    )
    for row in table.itertuples():
        assert float(logged[f"robust_accuracy/{row.perturbation}/eps={row.eps:g}"]) == pytest.approx(row.accuracy)
    assert len(callback.keys) == 4


def test_any_classifier_module_with_pairs(digits, quiet_trainer):
    class Theirs(L.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Flatten(), nn.Linear(192, 10))

        def forward(self, x):
            return self.net(x)

        def training_step(self, batch, batch_idx):
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def validation_step(self, batch, batch_idx):
            pass

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    images, labels = digits
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images[:90], labels[:90]), 30)
    module, attack = Theirs(), FGSM(loss="ce")
    trainer = quiet_trainer(callbacks=[RobustnessCallback(attack, 0.05), ManifoldGeometryCallback("net.1")])
    trainer.fit(module, loader, loader)
    expected = evaluate_robustness(module, loader, attack, 0.05)["accuracy"][0]
    assert float(trainer.callback_metrics[f"robust_accuracy/{attack.name}/eps=0.05"]) == pytest.approx(expected)
    assert 0 < expected < 1


def test_geometry_is_that_of_the_layer(digits, quiet_trainer):
    module = task()
    trainer = quiet_trainer(callbacks=[ManifoldGeometryCallback(LAYER, num_per_class=5)])
    trainer.fit(module, data(digits))
    metric = ManifoldGeometry(num_per_class=5)
    module.eval()
    for images, labels in zip(digits[0][200:300].split(30), digits[1][200:300].split(30)):  # as the loader has them
        with torch.no_grad(), record_layers(module, [LAYER]) as features:
            module(images)
        metric.update(features[LAYER], labels)
    for name, value in metric.compute().items():
        if not name.endswith("_error"):
            torch.testing.assert_close(
                trainer.callback_metrics[f"geometry/{LAYER}/{name}"], value, rtol=1e-3, atol=1e-5
            )
    assert not any(m._forward_hooks for n, m in module.named_modules() if n == LAYER)


def test_when_it_runs(digits, quiet_trainer):
    calls = []

    class Counting(FGSM):
        def search(self, classifier, images, labels, eps, index, start=None):
            calls.append(len(images))
            return super().search(classifier, images, labels, eps, index, start)

    callback = RobustnessCallback(Counting(), 0.05, every_n_epochs=2, limit_batches=1)
    trainer = quiet_trainer(max_epochs=4, callbacks=[callback], num_sanity_val_steps=2)
    trainer.fit(task(), data(digits))
    assert len(calls) == 3  # epochs 1, 2 and 4, one batch each


def test_eps_with_everything_wrong_or_zero(digits, quiet_trainer):
    trainer = quiet_trainer(callbacks=[RobustnessCallback(FGSM(), [0.0, 1.0])])
    module = task()
    trainer.fit(module, data(digits))
    metrics = trainer.callback_metrics
    assert float(metrics["robust_accuracy/fgsm-linf/eps=0"]) == pytest.approx(float(metrics["val/accuracy"]))
    assert float(metrics["robust_accuracy/fgsm-linf/eps=1"]) <= 0.2


def test_a_missing_layer_is_told_before_training(digits, quiet_trainer):
    trainer = quiet_trainer(max_epochs=1, callbacks=[ManifoldGeometryCallback("network.trunk.backbone.layer9")])
    with pytest.raises(ValueError, match=r"unknown layer .*layer9"):
        trainer.fit(task(), data(digits))
    assert trainer.global_step == 0


def test_refusals(digits, quiet_trainer):
    with pytest.raises(ValueError, match="every_n_epochs must be at least 1"):
        RobustnessCallback(FGSM(), 0.1, every_n_epochs=0)
    with pytest.raises(ValueError, match="limit_batches must be at least 1"):
        RobustnessCallback(FGSM(), 0.1, limit_batches=0)
    with pytest.raises(ValueError, match=r"unknown layer 'network.trunk.backbone.55'; did you mean"):
        quiet_trainer(callbacks=[ManifoldGeometryCallback("network.trunk.backbone.55")]).fit(task(), data(digits))
    images, labels = digits
    dataset = torch.utils.data.TensorDataset((images[:30] - 0.5) / 0.3, labels[:30])
    normalised = torch.utils.data.DataLoader(dataset, 30)
    wrong = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(images[:30], labels[:30] + 5), 30)
    callback = RobustnessCallback(FGSM(), 0.1)
    with pytest.raises(ValueError, match="labels run from"):
        callback.look(None, task(), *next(iter(wrong)), torch.arange(30))
    with pytest.raises(ValueError, match="eps is missing"):
        RobustnessCallback(FGSM())
    with pytest.raises(ValueError, match="normalised"):
        quiet_trainer(callbacks=[RobustnessCallback(FGSM(), 0.1)]).validate(task(), normalised, verbose=False)


def test_geometry_in_low_precision(digits, quiet_trainer):
    """Features in bfloat16 are measured in float64: nearly the values of float32."""
    values = []
    for precision in ("32-true", "bf16-mixed"):
        trainer = quiet_trainer(callbacks=[ManifoldGeometryCallback(LAYER)], precision=precision)
        trainer.validate(task(), data(digits), verbose=False)
        values.append({k: float(v) for k, v in trainer.callback_metrics.items() if k.startswith("geometry/")})
    for name, value in values[0].items():
        assert values[1][name] == pytest.approx(value, rel=0.05), name
