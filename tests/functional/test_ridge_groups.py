"""Voxels by the stimuli that they miss: groups, patterns, and what is worth sharing."""

import pytest
import torch

from neuroalign.functional import ridge_groups as module
from neuroalign.functional.ridge_groups import Groups, patterns, sharing_voxels


def scattered(n, v, share):
    return torch.rand(n, v, generator=torch.Generator().manual_seed(0)) >= share


@pytest.mark.parametrize("chunk", [1 << 22, 300])
def test_groups_list_the_smaller_side_of_every_voxel_once(chunk, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", chunk)
    n = 16
    valid = torch.cat([scattered(n, 40, share) for share in (0.0, 0.1, 0.5, 0.9, 1.0)], 1)
    groups = Groups.of(valid)[0]
    assert torch.equal(groups.valid[groups.back], valid.T)
    assert torch.cat([torch.arange(v.stop)[v] for v in (g.voxels for g in groups.members)]).tolist() == [*range(200)]
    for group in groups.members:
        assert len(group.rows) * group.rows.shape[1] * n <= max(chunk, n * n)
        assert group.rows.shape[1] <= n // 2
        for rows, own in zip(group.rows, groups.valid[group.voxels]):
            wanted = (~own if group.taken_out else own).nonzero()[:, 0].tolist()
            assert [r for r in rows.tolist() if r < n] == wanted
    assert (len(groups.members) > 20) == (chunk == 300)


def test_patterns_and_their_voxels():
    valid = torch.tensor([[True, False, True, False], [True, True, True, False]])
    found = [(mask.tolist(), voxels.tolist()) for mask, voxels in patterns(valid, torch.arange(4))]
    assert sorted(found) == [([False, True], [1]), ([True, True], [0, 2])]
    assert patterns(valid, torch.tensor([], dtype=torch.long)) == []


def test_scattered_gaps_are_worth_sharing_and_few_patterns_are_not():
    few = scattered(128, 4, 0.05).repeat(1, 200)
    many = scattered(128, 800, 0.05)
    for chosen in (False, True):
        assert bool(sharing_voxels(many, 64, 6, chosen=chosen).all())
        assert not bool(sharing_voxels(few, 64, 6, chosen=chosen).any())
    apart = torch.cat([many, scattered(128, 50, 0.5)], 1)
    assert sharing_voxels(apart, 20, 20, chosen=True).tolist() == [True] * 800 + [False] * 50


def test_groups_of_several_sets_and_of_complete_ones():
    valid = scattered(16, 40, 0.2)
    first, second = Groups.of(valid, scattered(12, 40, 0.4))
    assert torch.equal(first.order, Groups.of(valid)[0].order)
    assert len(second.valid[0]) == 12
    whole, asked = Groups.complete(torch.zeros(16, 5)), Groups.of(torch.ones(16, 5, dtype=torch.bool))[0]
    assert torch.equal(whole.valid, asked.valid)
    assert [g.rows.shape for g in whole.members] == [g.rows.shape for g in asked.members] == [(5, 0)]
