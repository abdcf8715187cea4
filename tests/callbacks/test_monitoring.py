"""Callbacks that measure now and then, and Lightning's that look at their numbers after every epoch."""

import csv
import warnings

import pytest
import torch
from lightning.pytorch.callbacks import EarlyStopping, ModelCheckpoint
from lightning.pytorch.loggers import CSVLogger

from neuroalign import FGSM, InputSmoothnessCallback, ManifoldGeometryCallback, RobustnessCallback
from tests.callbacks.test_callbacks import LAYER, data, task

pytestmark = pytest.mark.filterwarnings("ignore:Be aware that when using `ckpt_path`")
CALLBACKS = {
    "robustness": (lambda n: RobustnessCallback(FGSM(), 0.02, every_n_epochs=n), "robust_accuracy/fgsm-linf/eps=0.02"),
    "smoothness": (lambda n: InputSmoothnessCallback(every_n_epochs=n), "smoothness/clean"),
    "geometry": (
        lambda n: ManifoldGeometryCallback(LAYER, every_n_epochs=n, num_samples=20),
        f"geometry/{LAYER}/capacity",
    ),
}


class Watching(EarlyStopping):
    """Stops never, and keeps what it saw."""

    def __init__(self, key):
        super().__init__(key, patience=100)
        self.seen = []

    def on_validation_end(self, trainer, pl_module):
        super().on_validation_end(trainer, pl_module)
        if not trainer.sanity_checking:
            self.seen.append(float(trainer.callback_metrics[self.monitor]))


def fit(digits, quiet_trainer, callbacks, epochs, ckpt_path=None, **options):
    trainer = quiet_trainer(max_epochs=epochs, callbacks=callbacks, **options)
    trainer.fit(task(), data(digits), ckpt_path=ckpt_path)
    return trainer


@pytest.mark.parametrize(("make", "key"), CALLBACKS.values(), ids=CALLBACKS)
@pytest.mark.parametrize(
    "first", [pytest.param(True, id="before it"), pytest.param(False, id="after it", marks=pytest.mark.slow)]
)
def test_there_is_a_value_after_every_validation(digits, quiet_trainer, tmp_path, make, key, first):
    """Measured in the first epoch and every third; in between, the last one stays."""
    every, watching = Watching(key), Watching(key)
    fit(digits, quiet_trainer, [make(1), every], 5)
    monitors = [ModelCheckpoint(tmp_path, monitor=key, save_top_k=1), watching]
    callbacks = [make(3), *monitors] if first else [*monitors, make(3)]
    fit(digits, quiet_trainer, callbacks, 5, enable_checkpointing=True, num_sanity_val_steps=2)
    expected = [every.seen[epoch] for epoch in (0, 0, 2, 2, 2)]
    assert watching.seen == expected
    assert len(set(every.seen)) > 2
    best = min(expected)
    assert float(monitors[0].best_model_score) == best


def test_loggers_get_what_was_measured_once(digits, quiet_trainer, tmp_path):
    make, key = CALLBACKS["robustness"]
    logger = CSVLogger(tmp_path)
    fit(digits, quiet_trainer, [make(3)], 4, logger=logger)
    with (tmp_path / "lightning_logs/version_0/metrics.csv").open() as file:
        rows = [row for row in csv.DictReader(file) if row[key]]
    assert [int(row["epoch"]) for row in rows] == [0, 2]


def test_early_stopping_counts_epochs_without_a_measurement(digits, quiet_trainer):
    make, key = CALLBACKS["robustness"]
    with pytest.warns(UserWarning, match=r"EarlyStopping\(patience=2\) counts epochs .* every_n_epochs is 4"):
        trainer = fit(digits, quiet_trainer, [make(4), EarlyStopping(key, mode="max", patience=2)], 9)
    assert trainer.current_epoch == 3


def test_a_patience_that_spans_two_measurements_is_not_warned_of(digits, quiet_trainer):
    make, key = CALLBACKS["robustness"]
    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)
        trainer = fit(digits, quiet_trainer, [make(2), EarlyStopping(key, mode="max", patience=2)], 3)
    assert trainer.current_epoch == 3


def test_a_resumed_training_keeps_the_last_value(digits, quiet_trainer, tmp_path):
    """And two callbacks of a kind keep their own."""
    make, key = CALLBACKS["robustness"]

    def callbacks():
        return [
            make(3),
            RobustnessCallback(FGSM(), 0.1, every_n_epochs=3),
            Watching(key),
            Watching(key.replace("02", "1")),
        ]

    whole = callbacks()
    fit(digits, quiet_trainer, whole, 5)
    half = fit(digits, quiet_trainer, callbacks(), 4)
    half.save_checkpoint(tmp_path / "half.ckpt")
    torch.load(tmp_path / "half.ckpt", weights_only=True)
    rest = callbacks()
    fit(digits, quiet_trainer, rest, 5, ckpt_path=tmp_path / "half.ckpt")
    for a, b in zip(whole[2:], rest[2:]):
        assert b.seen == a.seen[4:]
    assert rest[2].seen != rest[3].seen


def test_another_training_measures_anew(digits, quiet_trainer):
    make, key = CALLBACKS["smoothness"]
    callback, watching = make(10), Watching(key)
    fit(digits, quiet_trainer, [callback], 3)
    first = callback.state_dict()["last"][key]
    trainer = quiet_trainer(max_epochs=1, callbacks=[callback, watching])
    module = task()
    torch.nn.init.normal_(module.network.trunk.backbone[0].weight)
    trainer.fit(module, data(digits))
    assert watching.seen != [first]
