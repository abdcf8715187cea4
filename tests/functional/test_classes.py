import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from neuroalign.functional import class_centers
from neuroalign.functional.classes import group_by_class, tiles_by_class

LABELS = st.integers(1, 9).flatmap(
    lambda num: st.tuples(st.just(num), st.lists(st.integers(0, num - 1), min_size=1, max_size=40))
)


@given(LABELS)
def test_a_tile_holds_samples_of_one_class_once_each(drawn):
    num, labels = drawn[0], torch.tensor(drawn[1])
    tiles = tiles_by_class(labels, num)
    assert torch.equal(tiles.owner[tiles.tile], labels)
    assert len(set(zip(tiles.tile.tolist(), tiles.slot.tolist()))) == len(labels)
    assert int(tiles.slot.max()) < tiles.height
    assert len(tiles.owner) <= 1.5 * min(num, len(labels))


@given(LABELS)
def test_positions_count_the_members_of_each_class(drawn):
    num, labels = drawn[0], torch.tensor(drawn[1], dtype=torch.int32)
    position, width = group_by_class(labels, num)
    for c in range(num):
        members = position[labels == c]
        assert members.tolist() == list(range(len(members)))
        assert len(members) <= width


def test_centres_are_means_and_labels_are_checked():
    x, labels = torch.randn(6, 3), torch.tensor([0, 2, 2, 0, 0, 2])
    centers, counts = class_centers(x, labels, 3)
    torch.testing.assert_close(centers, torch.stack([x[labels == 0].mean(0), torch.zeros(3), x[labels == 2].mean(0)]))
    assert counts.tolist() == [3, 0, 3]
    with pytest.raises(ValueError, match="0 to 1"):
        class_centers(x, labels, 2)
