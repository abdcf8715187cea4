"""How often each loss would make the host wait for a GPU in a step, forward and backward, after its first batch.

A loss is asked by being in the table of losses. What isn't named here may wait five times.
"""

import copy

import pytest
import torch

from tests.losses.test_table import TABLE
from tests.stand_in_device import StandIn, on_stand_in

MOST = 5
NEVER = {"alignment-" + name for name in ("mse", "pearson", "cosine", "gaussian_nll", "poisson_nll", "cka", "rsa")}
NEVER |= {"manifold"}
NOT_YET: dict[str, int] = {}
"""Losses that wait more often than they should, with their number; it may shrink only."""


def steps(name, missing, number=3):
    """The device in the last of several steps, each with its own batch."""
    case = TABLE[name]
    loss = on_stand_in(copy.deepcopy(case.make()))
    for _ in range(number):
        second = case.second.clone()
        if missing:
            second[0, 0] = second[3] = second[:, 4] = torch.nan
        preds, second = on_stand_in((torch.randn(24, 6, requires_grad=True), second))
        with StandIn() as device:
            loss(preds, second).backward()
    return device


def test_the_names_are_those_of_the_table():
    assert NEVER | NOT_YET.keys() <= TABLE.keys()


@pytest.mark.parametrize("missing", [False, True], ids=["complete", "missing"])
@pytest.mark.parametrize("name", TABLE)
def test_waits_of_a_step(name, missing):
    if missing and not TABLE[name].second.is_floating_point():
        pytest.skip("the second argument is no response")
    device = steps(name, missing)
    allowed = 0 if name in NEVER else MOST
    if name in NOT_YET:
        assert allowed < device.waits.total() <= NOT_YET[name], "adapt the list"
    else:
        assert device.waits.total() <= allowed, device.waits
        assert device.copies.total() <= allowed, device.copies
    assert not device.mixes
