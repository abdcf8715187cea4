"""Batches that hold enough images with responses: every image once, shared out, the same after a resume."""

import lightning as L
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DistributedSampler

from neuroalign import GuidanceDataModule, GuidedClassificationTask, GuidedNetwork, MeasuredGuidance
from neuroalign.data import MinValidSampler


def valid(num, share, seed=0):
    return torch.rand(num, generator=torch.Generator().manual_seed(seed)) < share


def batches(sampler, batch_size):
    order = list(sampler)
    assert len(order) == len(sampler)
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]


def data(num=200, share=0.1, **options):
    g = torch.Generator().manual_seed(0)
    responses = torch.randn(num, 5, generator=g)
    responses[~valid(num, share)] = torch.nan
    images = torch.rand(num, 3, 8, 8, generator=g)
    return GuidanceDataModule((images, torch.arange(num) % 10), responses=responses, **options)


@settings(max_examples=200, deadline=None)
@given(
    num=st.integers(1, 60), share=st.floats(0, 1), batch_size=st.integers(1, 12), min_valid=st.integers(1, 12),
    world=st.integers(1, 3), seed=st.integers(0, 1000),
)  # fmt: skip
def test_what_is_promised_of_any_sizes(num, share, batch_size, min_valid, world, seed):
    mask = valid(num, share, seed).numpy()
    try:
        samplers = [MinValidSampler(mask, min_valid, batch_size, num_replicas=world, rank=r) for r in range(world)]
    except ValueError:
        assert min_valid > batch_size or min_valid * world > mask.sum() or (min_valid == batch_size and not mask.all())
        return
    ranks = [batches(sampler, batch_size) for sampler in samplers]
    steps = list(zip(*ranks, strict=True))  # every process has as many batches
    for step in steps:
        assert len({len(batch) for batch in step}) == 1
        assert all(mask[batch].sum() >= min_valid for batch in step)
        images = [image for batch in step for image in batch]
        assert len(set(images)) == len(images) or set(np.flatnonzero(mask)) <= set(images)
    times = np.bincount([image for step in steps for batch in step for image in batch], minlength=num)
    assert (times[~mask] == 1).all()
    assert np.ptp(times[mask]) <= 2
    last = len(ranks[0][-1])
    if mask.sum() >= min_valid * world * len(steps) and num % world == 0 and last > min_valid:
        assert (times == 1).all()


@pytest.mark.parametrize("world", [1, 2])
def test_every_image_once_where_there_are_enough(world):
    mask = valid(240, 0.5)
    samplers = [MinValidSampler(mask, 8, 20, num_replicas=world, rank=r) for r in range(world)]
    orders = [list(sampler) for sampler in samplers]
    assert sorted(i for order in orders for i in order) == list(range(240))
    assert all(mask[batch].sum() >= 8 for sampler in samplers for batch in batches(sampler, 20))


def test_images_with_responses_come_again_where_they_are_few():
    mask = valid(1000, 0.1)
    sampler = MinValidSampler(mask, 16, 32)
    assert sampler.num_batches == -(-int((~mask).sum()) // 16)
    times = np.bincount(list(sampler), minlength=1000)
    assert (times[~mask] == 1).all()
    wanted = 16 * sampler.num_batches / int(mask.sum())
    assert set(times[mask]) <= {int(wanted), int(wanted) + 1, int(wanted) - 1, int(wanted) + 2}
    assert times[mask].mean() == pytest.approx(wanted)


def test_the_order_depends_on_seed_and_epoch_alone():
    def order(seed, epoch):
        sampler = MinValidSampler(valid(200, 0.3), 4, 20, seed=seed)
        sampler.set_epoch(epoch)
        return list(sampler)

    torch.manual_seed(1)
    first = order(0, 3)
    torch.manual_seed(2)
    assert order(0, 3) == first
    assert order(0, 4) != first and order(1, 3) != first


def test_it_mixes():
    """Places and company change: an image is anywhere in a batch, among others every epoch."""
    mask = valid(400, 0.2)
    sampler = MinValidSampler(mask, 4, 20)
    first = np.array([np.concatenate([np.flatnonzero(mask[batch]) for batch in batches(sampler, 20)])]).ravel()
    assert 8 < first.mean() < 11  # those with responses don't stand in front
    together = []
    for epoch in (0, 1):
        sampler.set_epoch(epoch)
        together.append({frozenset(b) for b in batches(sampler, 20)})
    assert not together[0] & together[1]


def test_the_data_module_fills_its_batches():
    plain, filled = data(batch_size=20), data(batch_size=20, min_valid=6)
    counts = [[int((~b["response"].isnan()).all(1).sum()) for b in d.train_dataloader()] for d in (plain, filled)]
    assert min(counts[0]) < 4 and min(counts[1]) >= 6
    stimuli = torch.cat([b["stimulus"] for b in filled.train_dataloader()])
    assert set(stimuli.tolist()) == set(range(200))
    loader = data(batch_size=20).train_dataloader()
    assert type(loader.sampler) is DistributedSampler  # by default the order of before
    one_voxel = data(batch_size=20, min_valid=4)
    one_voxel._responses[one_voxel._measured(), 1:] = torch.nan  # a row that is partly there has responses
    assert min(int((~b["response"].isnan()).any(1).sum()) for b in one_voxel.train_dataloader()) >= 4


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_valid": 0}, "min_valid must be from 1 to the batch size, 20; got 0"),
        ({"min_valid": 21}, "min_valid must be from 1 to the batch size, 20; got 21"),
        ({"min_valid": 20}, r"fills every batch of 20, which leaves no place for the \d+ images without"),
        ({"min_valid": 9, "share": 0.03}, r"asks for 9 different images with responses in a batch, but only \d of 200"),
    ],
)
def test_more_than_there_is(options, message):
    with pytest.raises(ValueError, match=message):
        data(batch_size=20, **options)


def test_more_than_there_is_for_several_processes():
    mask = torch.arange(100) < 10
    MinValidSampler(mask, 5, 20, num_replicas=2)
    with pytest.raises(
        ValueError, match="asks for 12 different images with responses in the 2 processes' batches of a"
    ):
        MinValidSampler(mask, 6, 20, num_replicas=2)


def test_without_responses_there_is_nothing_to_count():
    images, labels = torch.rand(20, 3, 4, 4), torch.zeros(20)
    with pytest.raises(ValueError, match=r"give train=\(images, labels\) and responses with it"):
        GuidanceDataModule((images, labels), min_valid=2)
    with pytest.raises(ValueError, match=r"give train=\(images, labels\) and responses with it"):
        GuidanceDataModule(dataset="digits", responses=torch.zeros(20, 2), min_valid=2)


def fit(trainer, seen, **kwargs):
    class Watched(GuidedClassificationTask):
        def training_step(self, batch, batch_idx):
            seen.append(batch["stimulus"].tolist())
            return super().training_step(batch, batch_idx)

    torch.manual_seed(0)
    network = GuidedNetwork("small_resnet", 10, {"V4": ("layer3", 5)}, image_shape=(3, 8, 8))
    task = Watched(network, MeasuredGuidance("V4", loss="cka"), 0.5, lr=0.01)
    trainer.fit(task, data(batch_size=20, min_valid=6, seed=2), **kwargs)
    return task


@pytest.mark.filterwarnings("ignore:Total length of `list` across ranks is zero")
def test_a_resumed_run_goes_on_with_the_same_batches(quiet_trainer, tmp_path):
    whole, halves = [], []
    uninterrupted = fit(quiet_trainer(max_epochs=3), whole)
    first = quiet_trainer(max_epochs=1)
    fit(first, halves)
    first.save_checkpoint(tmp_path / "half.ckpt")
    resumed = fit(quiet_trainer(max_epochs=3), halves, ckpt_path=tmp_path / "half.ckpt")
    assert whole == halves
    assert whole[: len(whole) // 3] != whole[len(whole) // 3 : 2 * len(whole) // 3]
    for name, value in uninterrupted.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    assert isinstance(first, L.Trainer)
