"""Labels of stimuli: every form means the same, and what can't be told is refused."""

import numpy as np
import pandas as pd
import pytest
import torch

from neuroalign import Responses
from neuroalign.evaluation import response_geometry
from neuroalign.evaluation.stimulus_labels import categories_by_number

NAMES = [f"{i}.png" for i in range(4)]


def responses(stimulus=(0, 1, 2, 3)):
    return Responses.from_arrays(np.zeros((len(stimulus), 2)), stimulus=stimulus, info={"stimulus_id": NAMES})


@pytest.mark.parametrize(
    "labels",
    [
        {0: 5, 1: 5, 2: 6, 3: 6},
        {np.int64(0): 5, 1: 5.0, 2: 6, 3: torch.tensor(6)},
        dict(zip([*NAMES, "not shown.png"], [5, 5, 6, 6, 7])),
        [5, 5, 6, 6],
        (5, 5, 6, 6),
        np.array([5, 5, 6, 6], dtype=np.uint8),
        torch.tensor([5, 5, 6, 6]),
        pd.Series([6, 6, 5, 5], index=[3, 2, 1, 0]),
        pd.Series([6, 6, 5, 5], index=NAMES[::-1]),
    ],
    ids=str,
)
def test_every_form_means_the_same(labels):
    assert categories_by_number(responses(), labels) == {0: 5, 1: 5, 2: 6, 3: 6}


def test_labels_of_rows_and_of_stimuli():
    trials = responses([0, 1, 1, 2, 3, 3])
    expected = {0: 5, 1: 5, 2: 6, 3: 6}
    assert categories_by_number(trials, [5, 5, 5, 6, 6, 6]) == expected
    assert categories_by_number(trials, [5, 5, 6, 6]) == expected
    assert categories_by_number(responses([3, 0, 2, 1]), [6, 5, 6, 5]) == expected  # of rows
    with pytest.raises(ValueError, match="the order of the labels is not clear"):
        categories_by_number(responses([3, 0, 2, 1, 1]), [6, 5, 6, 5])
    with pytest.raises(ValueError, match="stimulus 1 has two labels, 5 and 6"):
        categories_by_number(trials, [5, 5, 6, 6, 6, 6])
    with pytest.raises(ValueError, match=r"each of 4 stimuli, or of 6 rows; got the shape \(5,\)"):
        categories_by_number(trials, [5] * 5)
    with pytest.raises(ValueError, match=r"each of 4 stimuli; got the shape \(4, 1\)"):
        categories_by_number(responses(), np.zeros((4, 1)))


@pytest.mark.parametrize(
    ("labels", "error", "says"),
    [
        ("cat", TypeError, "in a dict by the stimulus's number or name, or in a list or array .* got str"),
        (3, TypeError, "got int"),
        (pd.DataFrame({"label": [0]}), ValueError, "each of 4 stimuli"),
        ({0: 1, "1.png": 2}, TypeError, "keys of both kinds"),
        ({(0,): 1}, TypeError, "got the key"),
        ({"1.jpg": 1}, ValueError, "unknown stimulus '1.jpg'; did you mean '1.png'"),
        (["cat", "cat", "car", "car"], TypeError, "categories are whole numbers; got 'cat': pandas.factorize"),
        ({0: None}, TypeError, "categories are whole numbers; got 'None'"),
        ([0.5, 1, 2, 3], TypeError, "got '0.5'"),
    ],
    ids=str,
)
def test_what_is_refused(labels, error, says):
    with pytest.raises(error, match=says):
        response_geometry(responses(), labels)


def test_names_need_responses_that_know_them():
    unnamed = Responses.from_arrays(np.zeros((4, 2)), stimulus=range(4))
    with pytest.raises(TypeError, match="names"):
        categories_by_number(unnamed, {"0.png": 1})
