"""Regions and stimuli by name, and the exchange of stimuli."""

import numpy as np
import pytest

from neuroalign.data.selection import exchange_within, in_regions, stimulus_numbers


def test_an_unknown_region_or_stimulus_lists_near_matches():
    with pytest.raises(ValueError, match="did you mean 'V4'"):
        in_regions(np.array(["V1", "V4"]), ["V5"])
    with pytest.raises(ValueError, match=r"did you mean 'cat\.png'"):
        stimulus_numbers(["cats.png"], ["car.png", "cat.png"])


def test_numbers_stay_numbers_and_names_need_a_list():
    assert stimulus_numbers([3, 1], ["a", "b"]).tolist() == [3, 1]
    with pytest.raises(TypeError, match="whole numbers"):
        stimulus_numbers(["a"], None)


@pytest.mark.parametrize("seed", range(5))
def test_no_stimulus_keeps_its_own_and_groups_stay_apart(seed):
    stimulus = np.repeat(np.arange(10), 3)
    shared = stimulus < 4
    exchanged = exchange_within(stimulus, shared, seed)
    assert (exchanged != stimulus).all()
    assert ((exchanged < 4) == shared).all()
    assert all(len(set(exchanged[stimulus == s])) == 1 for s in range(10))
    np.testing.assert_array_equal(np.bincount(exchanged), np.full(10, 3))
