"""Augmentation differs between images, micro-batches, epochs and ranks, and is the same in a resumed run."""

import lightning as L
import pytest
import torch
from torchvision import transforms as v1
from torchvision.transforms import v2

from neuroalign import GuidanceDataModule
from neuroalign.data.augmentation import augmented, batch_seed, treats_batches_alike
from neuroalign.data.images import ShiftFlip
from neuroalign.tasks import AdversarialTraining, GaussianNoiseTraining
from tests.distributed import run_on_ranks


class Noting(L.LightningModule):
    """Keeps the images it is given."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.seen = []

    def training_step(self, batch, batch_idx):
        self.seen.append(batch["image"].clone())
        return self.weight * batch["image"].sum()

    def validation_step(self, batch, batch_idx):
        pass

    def configure_optimizers(self):
        return torch.optim.SGD(self.parameters(), 0.1)


def data(augment, n=24, **kwargs):
    """Every image is the same, so that whatever differs was drawn."""
    image = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    return GuidanceDataModule(
        (image.repeat(n, 1, 1, 1), torch.zeros(n)), batch_size=6, augment=augment, drop_last=True, **kwargs
    )


def fit(augment, tmp_path, module=None, **kwargs):
    module = module or Noting()
    options = {"seed": kwargs.pop("seed", 0)}
    ckpt = kwargs.pop("ckpt_path", None)
    trainer = L.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False, limit_val_batches=0,
        enable_model_summary=False, default_root_dir=tmp_path, **{"max_epochs": 2, **kwargs},
    )  # fmt: skip
    trainer.fit(module, data(augment, **options), ckpt_path=ckpt)
    return module.seen, trainer


def distinct(images):
    return len({tuple(image.flatten().tolist()) for image in images})


def noise(images):
    return images + torch.rand(len(images), 1, 1, 1)


@pytest.mark.parametrize("accumulate", [1, 4])
def test_every_image_of_every_batch_and_epoch_gets_its_own(tmp_path, accumulate):
    seen, _ = fit(noise, tmp_path, accumulate_grad_batches=accumulate)
    assert len(seen) == 8
    assert distinct(torch.cat(seen)) == 48
    again, _ = fit(noise, tmp_path, accumulate_grad_batches=accumulate)
    assert torch.equal(torch.cat(again), torch.cat(seen))
    other, _ = fit(noise, tmp_path, accumulate_grad_batches=accumulate, seed=1)
    assert distinct(torch.cat([*seen, *other])) == 96


def test_a_resumed_run_draws_what_it_would_have_drawn(tmp_path):
    seen, _ = fit(noise, tmp_path, max_epochs=3, accumulate_grad_batches=2)
    _, trainer = fit(noise, tmp_path, max_epochs=1, accumulate_grad_batches=2)
    trainer.save_checkpoint(tmp_path / "a.ckpt")
    resumed, _ = fit(noise, tmp_path, max_epochs=3, accumulate_grad_batches=2, ckpt_path=tmp_path / "a.ckpt")
    assert torch.equal(torch.cat(resumed), torch.cat(seen[4:]))


def test_ranks_draw_differently():
    seeds = {batch_seed(3, batch, rank) for batch in range(50) for rank in range(8)}
    assert len(seeds) == 400
    drawn = [augmented(noise, torch.zeros(4, 1, 2, 2), batch_seed(0, 5, r), image_by_image=False) for r in range(3)]
    assert distinct(torch.cat(drawn)) == 12


TORCHVISION = {
    "crop": v2.RandomResizedCrop(8, scale=(0.2, 0.9), antialias=True),
    "flip and crop": v2.Compose([v2.RandomHorizontalFlip(), v2.RandomCrop(8, padding=3)]),
    "older": v1.Compose([v1.RandomCrop(8, padding=3), v1.RandomHorizontalFlip()]),
    "inside a module": torch.nn.Sequential(torch.nn.Identity(), v2.RandomRotation(40)),
    "a function around it": lambda images: TORCHVISION["crop"](images),
    "erasing": v2.RandomErasing(p=0.9, value=0.5),
}


@pytest.mark.parametrize("augment", TORCHVISION.values(), ids=TORCHVISION)
def test_torchvisions_transforms_are_applied_image_by_image(augment, tmp_path):
    batch = torch.rand(1, 3, 8, 8).repeat(6, 1, 1, 1)
    torch.manual_seed(0)
    assert distinct(augment(batch)) == 1  # what they do to a batch by themselves
    seen, _ = fit(augment, tmp_path, max_epochs=1)
    assert seen[0].shape == (6, 3, 8, 8)
    assert min(distinct(images) for images in seen) > 2


def test_what_draws_for_each_image_is_called_once_a_batch(tmp_path):
    calls = []

    def counted(images):
        calls.append(len(images))
        return ShiftFlip(2)(images)

    fit(counted, tmp_path, max_epochs=1)
    assert calls[-4:] == [6] * 4
    image = torch.rand(3, 8, 8)
    for augment in (
        ShiftFlip(1),
        noise,
        lambda x: x,
        lambda x: (x + 0.1).clamp(0, 1),
        lambda x: x * torch.rand(x.shape),
    ):
        assert not treats_batches_alike(augment, image)
    assert treats_batches_alike(lambda x: x * torch.rand(()), image)


def test_the_global_generator_is_left_alone(tmp_path):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    treats_batches_alike(noise, torch.rand(3, 8, 8, generator=torch.Generator()))
    augmented(noise, torch.zeros(2, 3, 8, 8), 7, image_by_image=True)
    assert torch.equal(torch.rand(3), expected)


def test_losing_images_is_told():
    with pytest.raises(ValueError, match="augment turned 4 images into 3"):
        augmented(lambda x: x[1:], torch.zeros(4, 3, 8, 8), 0, image_by_image=False)


def _noise_on_rank(rank, world):
    torch.manual_seed(0)  # as seed_everything leaves it on every process
    images, labels = torch.full((4, 3, 8, 8), 0.5), torch.zeros(4, dtype=torch.long)
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(192, 2, bias=False))
    torch.nn.init.zeros_(network[1].weight)  # no gradient: the attack stays where it began
    noisy = GaussianNoiseTraining(0.1).inputs(network, images, labels)
    return torch.cat([noisy, AdversarialTraining(0.1, steps=1).inputs(network, images, labels)])


@pytest.mark.slow
def test_robust_training_draws_differently_on_every_process():
    found = run_on_ranks(_noise_on_rank, 2)
    assert distinct(torch.cat(found)) == 16


def test_in_a_loop_of_ones_own_nothing_is_augmented_and_that_is_said():
    with pytest.warns(UserWarning, match="augment the batches yourself"):
        data(noise).train_dataloader()


def test_normalising_is_refused():
    for augment in (
        v2.Normalize([0.5] * 3, [0.5] * 3),
        v1.Compose([v1.RandomCrop(8), v1.Normalize([0.5] * 3, [0.5] * 3)]),
    ):
        with pytest.raises(ValueError, match="leave Normalize out"):
            data(augment)
