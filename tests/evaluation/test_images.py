"""Which image is which: by its stimulus, or by its place as a DistributedSampler shares the data out."""

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, DistributedSampler, Subset, TensorDataset

from neuroalign.commands.inputs import open_images
from neuroalign.data.images import collate
from neuroalign.evaluation.images import evaluation_batches, gathered_once, sampled_images, which_images


@pytest.mark.parametrize("num_processes", [1, 2, 3, 4])
@pytest.mark.parametrize("num_images", [1, 10, 13])
def test_places_are_those_that_the_sampler_shares_out(num_processes, num_images):
    data = TensorDataset(torch.arange(num_images))
    counted = []
    for rank in range(num_processes):
        sampler = DistributedSampler(data, num_processes, rank, shuffle=False)
        loader = DataLoader(data, 2, sampler=sampler)
        num_seen = 0
        for (images,) in loader:
            index, counts = which_images(
                {"image": images}, num_seen, rank=rank, num_processes=num_processes, num_images=sampled_images(loader)
            )
            num_seen += len(images)
            assert index[counts].tolist() == images[counts].tolist()
            counted += index[counts].tolist()
    assert sorted(counted) == list(range(num_images)), "every image once"


def test_a_stimulus_goes_before_the_place_and_always_counts():
    batch = {"image": torch.rand(2, 3, 4, 4), "stimulus": torch.tensor([73, 5])}
    index, counts = which_images(batch, 8, rank=1, num_processes=2, num_images=3)
    assert index.tolist() == [73, 5] and counts.all()


def test_only_a_distributed_sampler_tells_how_many_images_there_are():
    data = TensorDataset(torch.arange(5))
    assert sampled_images(DataLoader(data, 2)) is None and sampled_images([1, 2]) is None
    assert sampled_images(DataLoader(data, 2, sampler=DistributedSampler(data, 2, 0))) == 5


def test_images_of_all_processes_once():
    index, values = gathered_once(torch.tensor([9, 2, 9, 4, 2]), torch.arange(5))
    assert index.tolist() == [2, 4, 9] and values.tolist() == [1, 3, 0]
    index, values = gathered_once(torch.empty(0, dtype=torch.long), torch.empty(0, 3))
    assert index.shape == (0,) and values.shape == (0, 3)


def test_a_part_of_an_archive_keeps_the_places_in_the_whole(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.random.default_rng(0).random((6, 3, 4, 4), np.float32), labels=np.arange(6))
    part = Subset(open_images(str(tmp_path / "a.npz"), 4), [5, 0, 3])
    batches = evaluation_batches(DataLoader(part, 2, collate_fn=collate), torch.device("cpu"))
    assert torch.cat([batch.index for batch in batches]).tolist() == [5, 0, 3]
