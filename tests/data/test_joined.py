"""Responses of several subjects side by side."""

import numpy as np
import torch

from neuroalign.data import Responses
from neuroalign.data.datamodules.joined import JoinedResponses, columns_of_heads, rows_of


def test_rows_of_stimuli_in_any_order():
    assert rows_of(np.array([9, 2, 5]), np.array([1, 2, 5, 9, 11])).tolist() == [-1, 1, 2, 0, -1]


def test_heads_of_one_subject_have_no_prefix():
    assert columns_of_heads({3: np.array(["V4", "V1", "V4"])}) == {"V4": [0, 2], "V1": [1]}


def test_a_subject_that_did_not_see_an_image_is_missing_there():
    parts = [Responses.from_arrays(np.full((2, v), v), stimulus=s) for v, s in ((1, [0, 1]), (2, [1, 2]))]
    images = np.zeros((3, 4, 4, 3), dtype=np.uint8)
    batch = JoinedResponses(torch.from_numpy(images).permute(0, 3, 1, 2), parts, None).__getitems__([0, 1, 2])
    nan = float("nan")
    expected = torch.tensor([[1, nan, nan], [1, 2, 2], [nan, 2, 2]])
    torch.testing.assert_close(batch["response"], expected, equal_nan=True)
    assert batch["stimulus"].tolist() == [0, 1, 2]
