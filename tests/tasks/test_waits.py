"""How often a GPU would make the host wait in a training step of a task, and how often a step calls Lightning's log."""

import copy

import lightning as L
import pytest
import torch
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.strategies import SingleDeviceStrategy
from torch.utils.data import DataLoader

import neuroalign as na
from tests.stand_in_device import StandIn, on_stand_in, stand_in

pytestmark = pytest.mark.filterwarnings("ignore:You defined a `validation_step`")
N = 12
HEADS = {f"R{i}": 4 for i in range(2)}
SMALL = {"image_shape": (3, 8, 8)}
PREDICTOR = na.NeuralPredictor("small_resnet", 4, **SMALL)


def batches(number=4):
    names = ("image", "label", "response", "stimulus")
    return [
        dict(zip(names, (torch.rand(N, 3, 8, 8), torch.arange(N) % 10, torch.randn(N, 28), torch.arange(N))))
        for _ in range(number)
    ]


def predicted():
    return na.PredictedGuidance(dict.fromkeys(HEADS, copy.deepcopy(PREDICTOR)))


def measured():
    return na.MeasuredGuidance({h: list(range(4 * i, 4 * i + 4)) for i, h in enumerate(HEADS)})


def guided(guidance):
    heads = {name: (None, width) for name, width in HEADS.items()}
    return na.GuidedClassificationTask(na.GuidedNetwork("small_resnet", 10, heads=heads, **SMALL), guidance)


TASKS = {
    "unguided": lambda: guided(None),
    "predicted": lambda: guided(predicted()),
    "measured": lambda: guided(measured()),
    "shuffled": lambda: guided(na.ShuffledGuidance(measured())),
    "label only": lambda: guided(na.LabelOnlyGuidance(10, HEADS)),
    "ramp": lambda: guided(na.WeightedGuidance(predicted(), {"R0/*": na.Ramp(duration=3), "R1/*": 0.5})),
    "learned": lambda: guided(na.WeightedGuidance(predicted(), "learned", weigh_task=True)),
    "prediction": lambda: na.NeuralPredictionTask(na.NeuralPredictor("small_resnet", 28, **SMALL)),
}


class OnStandIn(CPUAccelerator):
    """Lets Lightning train on the stand-in device."""

    def setup_device(self, device):
        pass


class StepByStep(L.Callback):
    """The waits and copies of each training step, from the start of the batch to its end."""

    def __init__(self, device):
        self.device, self.waits, self.copies = device, [], []

    def on_train_batch_start(self, trainer, task, batch, batch_idx):
        self.before = self.device.waits.copy(), self.device.copies.copy()

    def on_train_batch_end(self, trainer, task, outputs, batch, batch_idx):
        self.waits.append(self.device.waits - self.before[0])
        self.copies.append(self.device.copies - self.before[1])


@pytest.mark.parametrize("name", TASKS)
def test_no_step_waits_after_the_first(name, quiet_trainer):
    task = TASKS[name]()
    strategy = SingleDeviceStrategy(device=stand_in(), accelerator=OnStandIn())
    with StandIn() as device:
        steps = StepByStep(device)
        trainer = quiet_trainer(strategy=strategy, accelerator="auto", callbacks=[steps])
        trainer.fit(task, DataLoader(batches(), batch_size=None))
    assert steps.waits[0], "the first batch is checked"
    assert len(steps.waits) == 4 and not any(steps.waits[1:]), steps.waits[1:]
    assert not any(steps.copies[1:]), steps.copies[1:]
    assert not device.mixes and device.operations > 100
    assert all(p.isfinite().all() for p in task.parameters())


def test_a_training_on_the_device_is_that_of_the_cpu(quiet_trainer):
    here = guided(na.WeightedGuidance(predicted(), {"R1/*": na.Ramp(duration=3)}))
    there, data = copy.deepcopy(here), batches()
    quiet_trainer().fit(here, DataLoader(data, batch_size=None))
    with StandIn():
        trainer = quiet_trainer(
            strategy=SingleDeviceStrategy(device=stand_in(), accelerator=OnStandIn()), accelerator="auto"
        )
        trainer.fit(there, DataLoader(data, batch_size=None))
    for name, value in here.state_dict().items():
        torch.testing.assert_close(there.state_dict()[name], value)


class CountsLogs:
    """A task that counts, for every training step, the calls of ``log`` and ``log_dict`` that it makes itself."""

    def training_step(self, batch, batch_idx):
        self.calls = getattr(self, "calls", [])
        self.calls.append(0)
        return super().training_step(batch, batch_idx)

    def log(self, *args, **kwargs):
        self.calls[-1] += not getattr(self, "inside", False)
        super().log(*args, **kwargs)

    def log_dict(self, *args, **kwargs):
        self.calls[-1] += 1
        self.inside = True
        super().log_dict(*args, **kwargs)
        self.inside = False


class CountingTask(CountsLogs, na.GuidedClassificationTask):
    pass


class CountingPrediction(CountsLogs, na.NeuralPredictionTask):
    pass


@pytest.mark.parametrize("num_heads", [1, 7])
def test_a_step_calls_log_at_most_four_times(num_heads, quiet_trainer):
    heads = [f"R{i}" for i in range(num_heads)]
    network = na.GuidedNetwork("small_resnet", 10, heads=dict.fromkeys(heads, (None, 4)), **SMALL)
    inner = na.MeasuredGuidance({h: [2 * i, 2 * i + 1, 20, 21] for i, h in enumerate(heads)})
    guidance = na.WeightedGuidance(na.ShuffledGuidance(inner), "learned", weigh_task=True)
    task = CountingTask(network, guidance, robust_training=na.TRADES(0.01, steps=1))
    trainer = quiet_trainer(max_epochs=2)
    trainer.fit(task, DataLoader(batches(), batch_size=None))
    first, later = task.calls[::4], [calls for i, calls in enumerate(task.calls) if i % 4]
    assert max(later) <= 4, task.calls
    assert max(first) > 4  # the metrics over an epoch are told to Lightning once
    logged = trainer.callback_metrics
    for head in heads:
        for name in ("mse", "mse/mean", "mse/empty", "dropped"):
            assert f"alignment/features/{head}/{name}" in logged
        assert f"alignment_weight/features/{head}/mse" in logged
    others = {"train/loss", "train/task_loss", "train/robust_penalty", "train/accuracy", "alignment_weight/task"}
    assert others <= logged.keys()


def test_metrics_cover_every_epoch_and_run(quiet_trainer):
    """A metric that Lightning is told of once an epoch has each epoch's own value, also in a second run."""
    data = batches(3)

    class Watches(L.Callback):
        def __init__(self):
            self.seen = []

        def on_train_epoch_end(self, trainer, task):
            self.seen.append({k: float(trainer.callback_metrics[k]) for k in ("mean", "train/accuracy")})

    class Task(na.GuidedClassificationTask):
        def on_train_epoch_start(self):  # as users do, without super()
            pass

        def training_step(self, batch, batch_idx):
            self.log_mean("mean", torch.tensor(float(self.current_epoch + batch_idx)), 1.0)
            return super().training_step(batch, batch_idx)

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.0)

    task = Task(na.GuidedNetwork("small_resnet", 10, **SMALL))
    for validated in (False, True):
        watches = Watches()
        loader = DataLoader(data, batch_size=None)
        more = {"val_check_interval": 1} if validated else {}
        trainer = quiet_trainer(max_epochs=3, callbacks=[watches], **more)
        trainer.fit(task, loader, loader if validated else None)
        assert [seen["mean"] for seen in watches.seen] == [1.0, 2.0, 3.0]
        assert len({round(seen["train/accuracy"], 6) for seen in watches.seen}) == 1


def test_prediction_logs_once_a_step(quiet_trainer):
    task = CountingPrediction(na.NeuralPredictor("small_resnet", 28, **SMALL))
    quiet_trainer().fit(task, DataLoader(batches(), batch_size=None))
    assert max(task.calls[1:]) == 1


def test_batches_on_the_device_are_checked_at_first():
    task = on_stand_in(guided(None))
    with StandIn(), pytest.raises(ValueError, match=r"images must be pixels in \[0, 1\]"):
        task.training_step(on_stand_in({"image": 2 + torch.rand(N, 3, 8, 8), "label": torch.arange(N) % 10}), 0)
