import lightning as L
import pytest
import torch

from neuroalign.data import GuidanceDataModule
from neuroalign.models import GuidedNetwork
from neuroalign.study.fitting import fit_task, loading, seeded
from neuroalign.study.settings.training import Training
from neuroalign.study.training import Recipe, train_classifier
from neuroalign.study.work import Work
from neuroalign.tasks import GuidedClassificationTask

SHIFT = {"class_path": "neuroalign.data.ShiftFlip", "init_args": {"shift": 1, "flip": False}}
TRAINING = Training(epochs=4, batch_size=16, lr=0.05, augment=SHIFT)


class Killed(RuntimeError):
    pass


class KillAfter(L.Callback):
    def __init__(self, epoch):
        self.epoch = epoch

    def on_train_epoch_start(self, trainer, pl_module):
        if trainer.current_epoch == self.epoch:
            raise Killed


def images(n=48, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, 3, 8, 8, generator=generator), torch.randint(4, (n,), generator=generator)


def network():
    return GuidedNetwork("small_resnet", 4, image_shape=(3, 8, 8))


def work(folder, reports=None, **options):
    out, scratch = folder / "out", folder / "scratch"
    for each in (out, scratch):
        each.mkdir(parents=True, exist_ok=True)
    options = {"accelerator": "cpu", "devices": 1, **options}
    report = (lambda text, done: None) if reports is None else (lambda text, done: reports.append((text, done)))
    return Work("network none, seed 0", {}, {}, out, scratch, options=options, report=report)


def fitted(folder, training=TRAINING, *, val=False, reports=None, make=GuidedClassificationTask, **options):
    here = work(folder, reports)
    with seeded(3):
        task = make(network())
        data = GuidanceDataModule(images(), val=images(20, 1) if val else None, **loading(training, here, seed=3))
        table = fit_task(task, data, training, here, checkpoint_seconds=0, **options)
    return task.network, table


def test_a_killed_training_goes_on_and_ends_with_the_same_weights_and_table(tmp_path):
    whole, table = fitted(tmp_path / "a", val=True)
    with pytest.raises(Killed):
        fitted(tmp_path / "b", val=True, callbacks=[KillAfter(2)])
    begun = []
    again, table_again = fitted(tmp_path / "b", val=True, reports=begun)
    assert [text for text, _ in begun] == ["epoch 3/4", "epoch 4/4"]
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values()))
    assert table.equals(table_again)


def test_the_table_has_a_row_per_epoch_with_means_over_its_steps(tmp_path):
    reports, seen = [], []

    class Seen(L.Callback):
        def on_train_batch_end(self, trainer, *_):
            seen.append(float(trainer.callback_metrics["train/loss"]))

    _, table = fitted(tmp_path, val=True, reports=reports, callbacks=[Seen()])
    assert table["train/loss"].tolist() == pytest.approx([sum(seen[i : i + 3]) / 3 for i in range(0, 12, 3)])
    assert table["train/accuracy"].nunique() > 1
    assert table["epoch"].tolist() == [1, 2, 3, 4] and table["step"].tolist() == [3, 6, 9, 12]
    assert {"train/task_loss", "train/accuracy", "val/accuracy"} <= set(table.columns)
    assert reports[-1] == ("epoch 4/4", 1.0)


def test_the_result_is_that_of_the_recipe(tmp_path):
    training = Training(**{**TRAINING.model_dump(), "weight_decay": 1e-3})
    network_here, _ = fitted(tmp_path, training)
    data = GuidanceDataModule(images(), **loading(training, work(tmp_path), seed=3))
    other = train_classifier(network, data, Recipe(4, 0.05, 1e-3), 3)
    assert all(torch.equal(a, b) for a, b in zip(network_here.state_dict().values(), other.state_dict().values()))


def test_a_training_that_was_done_is_not_done_again(tmp_path):
    """The attempt was killed after the last checkpoint, before the stage had written its result."""
    whole, table = fitted(tmp_path)
    begun = []
    again, table_again = fitted(tmp_path, reports=begun)
    assert begun == [] and table.equals(table_again)
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values()))


class Diverging(GuidedClassificationTask):
    def training_step(self, batch, batch_idx):
        loss = super().training_step(batch, batch_idx)
        return loss * float("nan") if self.current_epoch == 1 and batch_idx == 2 else loss


def test_a_loss_that_is_no_number_stops_the_training_and_says_where(tmp_path):
    with pytest.raises(ValueError, match=r"network none, seed 0: the loss is NaN or infinite in epoch 2, step 3"):
        fitted(tmp_path, make=Diverging)


def test_a_damaged_checkpoint_is_not_gone_on_from(tmp_path):
    whole, _ = fitted(tmp_path / "a")
    (tmp_path / "b/scratch/training").mkdir(parents=True)
    (tmp_path / "b/scratch/training/last.ckpt").write_bytes(b"half a file")
    again, _ = fitted(tmp_path / "b")
    assert all(torch.equal(a, b) for a, b in zip(whole.state_dict().values(), again.state_dict().values()))


@pytest.mark.parametrize(
    ("settings", "last"),
    [
        ({"schedule": "one_cycle"}, 2e-7),
        ({"schedule": "step", "step_size": 2}, 5e-3),
        ({"schedule": "cosine"}, 0),
        ({"schedule": "constant", "optimizer": "adamw"}, 0.05),
        ({"schedule": "constant", "optimizer": "adam"}, 0.05),
    ],
    ids=lambda v: v.get("optimizer", v["schedule"]) if isinstance(v, dict) else "",
)
def test_schedules_and_optimizers(tmp_path, settings, last):
    rates = []

    class Rates(L.Callback):
        def on_train_batch_start(self, trainer, *_):
            rates.append((type(trainer.optimizers[0]).__name__.lower(), trainer.optimizers[0].param_groups[0]["lr"]))

        def on_train_end(self, trainer, *_):
            rates.append((None, trainer.optimizers[0].param_groups[0]["lr"]))

    training = Training(**{**TRAINING.model_dump(), **settings})
    fitted(tmp_path, training, callbacks=[Rates()])
    assert rates[0][0] == training.optimizer
    assert max(rate for _, rate in rates) == pytest.approx(0.05, rel=0.2)
    at_the_end = rates[-1] if training.schedule == "cosine" else [r for r in rates if r[0]][-1]
    assert at_the_end[1] == pytest.approx(last, abs=1e-6)


def test_the_variables_of_a_cluster_mislead_nobody(tmp_path, monkeypatch):
    for name, value in {"SLURM_NTASKS": "4", "SLURM_JOB_ID": "7", "SLURM_PROCID": "3", "SLURM_LOCALID": "3",
                        "SLURM_JOB_NAME": "study", "SLURM_NODELIST": "n1", "SLURM_NTASKS_PER_NODE": "4"}.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    _, table = fitted(tmp_path)
    assert len(table) == 4


def test_each_process_gets_its_share_of_the_batch(tmp_path):
    assert loading(TRAINING, work(tmp_path, devices=4, num_workers=2), 1)["batch_size"] == 4


@pytest.mark.slow
def test_two_devices(tmp_path):
    here = work(tmp_path, devices=2)
    with seeded(0):
        task = GuidedClassificationTask(network())
        data = GuidanceDataModule(images(), **loading(TRAINING, here, seed=0))
        before = [p.detach().clone() for p in task.parameters()]
        table = fit_task(task, data, TRAINING, here)
    assert table["step"].tolist() == [3, 6, 9, 12]
    assert not all(torch.equal(a, b) for a, b in zip(before, task.parameters()))


def test_a_logger_that_is_not_installed_says_what_to_install(tmp_path, monkeypatch):
    def missing(*_, **__):
        raise ModuleNotFoundError("wandb")

    monkeypatch.setattr("lightning.pytorch.loggers.WandbLogger", missing)
    here = work(tmp_path, logger="wandb")
    task, data = GuidedClassificationTask(network()), GuidanceDataModule(images(), **loading(TRAINING, here, 0))
    with pytest.raises(ImportError, match="pip install wandb"):
        fit_task(task, data, TRAINING, here)
