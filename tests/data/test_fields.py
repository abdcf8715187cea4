"""What a field of a recording may hold: one table of what is taken, one of what is refused, and in which words."""

import dataclasses
import re

import numpy as np
import pandas as pd
import pytest
import torch

from neuroalign.data import Responses
from neuroalign.data.fields import as_flags, as_identities, as_places, as_regions, as_values, number_names

GRID = np.arange(6.0).reshape(3, 2)


def of(**fields):
    return Responses.from_arrays(GRID, **fields)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([3, 1, 2], [3, 1, 2]),
        ([3.0, 1.0, 2.0], [3, 1, 2]),
        (np.array([3, 1, 2], dtype=">i8"), [3, 1, 2]),
        (np.array([3, 1, 2], dtype=np.uint16), [3, 1, 2]),
        (torch.tensor([3, 1, 2]), [3, 1, 2]),
        (pd.Series([3, 1, 2], dtype="Int64"), [3, 1, 2]),
        (np.array([3, 1, 2], dtype=object), [3, 1, 2]),
        (range(2, 5), [2, 3, 4]),
        (np.array([2**62, 2**62 + 1, -1]), [2**62, 2**62 + 1, -1]),
    ],
)
def test_identities_that_are_taken(given, expected):
    r = of(stimulus=given, session=given)
    assert r.stimulus.tolist() == r.session.tolist() == expected
    assert r.stimulus.dtype == np.int64 and r.stimulus.dtype.isnative


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        (["a", "b", "c"], TypeError, r"got text, such as 'a' \(number them first: .*return_inverse=True"),
        (np.array(["1", "2", "3"]), TypeError, "got text, such as '1'"),
        (np.array([b"a", b"b", b"c"]), TypeError, "got bytes"),
        ([0, 0.2, 0.7], ValueError, r"that of row 1 \(from 0\) is 0.2"),
        ([0, np.nan, 1], ValueError, r"that of row 1 \(from 0\) is missing"),
        ([0, 1, np.inf], ValueError, r"row 2 \(from 0\) is inf"),
        ([0, None, 1], ValueError, r"row 1 \(from 0\) is missing"),
        (pd.Series([0, None, 1], dtype="Int64"), (TypeError, ValueError), "must be whole numbers"),
        (np.array([0, 1, 2**63], dtype=np.uint64), ValueError, f"row 2 .* is {2**63}"),
        ([0, 1, 1e17], ValueError, "row 2"),
        ([True, False, True], TypeError, "got true and false"),
        ([1j, 0, 0], TypeError, "got complex numbers"),
        ([[0], [1], [2]], ValueError, r"one whole number per row; got shape \(3, 1\)"),
        ([0, [1, 2], 3], ValueError, "must be an array of numbers"),
        (np.array(["2020-01-01"] * 3, dtype="M8[D]"), TypeError, "datetime64"),
        ([0, 1], ValueError, r"values are \(3, 2\), so .* must be \(3,\); got \(2,\)"),
    ],
)
@pytest.mark.parametrize("name", ["stimulus", "session"])
def test_identities_that_are_refused(given, error, message, name):
    with pytest.raises(error, match=message) as caught:
        of(**{name: given})
    assert name in str(caught.value)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (GRID + 1j, "values must be real numbers, NaN where missing; got complex numbers"),
        (GRID.astype(str), "got text, such as '0.0'"),
        ([[1, None], [2, 3], [4, 5]], "got objects"),
        (np.zeros((3, 2), dtype=[("r", "f4"), ("i", "f4")]), r"got records of \('r', 'i'\)"),
        (np.zeros((3, 2), dtype="M8[s]"), "datetime64"),
    ],
)
def test_values_that_are_no_real_numbers(given, message):
    with pytest.raises(TypeError, match=message):
        Responses.from_arrays(given)
    if isinstance(given, np.ndarray):
        with pytest.raises(TypeError, match=message):
            dataclasses.replace(of(), values=given)


@pytest.mark.parametrize(
    "given",
    [
        GRID.astype(">f4"), GRID.astype(">f8"), GRID.astype(np.float16), GRID.astype(np.int16), GRID.tolist(),
        torch.from_numpy(GRID).requires_grad_(), torch.from_numpy(GRID).bfloat16(), np.asfortranarray(GRID),
    ],
)  # fmt: skip
def test_values_that_are_taken(given):
    r = Responses.from_arrays(given)
    np.testing.assert_array_equal(r.values, GRID)
    assert r.values.dtype == np.float32 and r.values.dtype.isnative
    torch.from_numpy(r.average_repeats().values)
    if isinstance(given, np.ndarray):  # as a file of another machine may give them
        torch.from_numpy(dataclasses.replace(r, values=given).values)


def test_true_and_false_are_1_and_0():
    np.testing.assert_array_equal(Responses.from_arrays(GRID > 2).values, GRID > 2)


@pytest.mark.parametrize("shape", [(0, 2), (3, 0), (0, 0)])
def test_nothing_recorded(shape):
    with pytest.raises(ValueError, match="nothing was recorded"):
        Responses.from_arrays(np.zeros(shape))


@pytest.mark.parametrize("ceiling", [[5, -3], [0.5, 55.0], [np.nan, 1.01], [0.5, -np.inf], [0.5], ["high", "low"]])
def test_ceilings_that_are_refused(ceiling):
    with pytest.raises((ValueError, TypeError), match="noise_ceiling"):
        of(noise_ceiling=ceiling)
    with pytest.raises((ValueError, TypeError), match="noise_ceiling"):
        dataclasses.replace(of(), noise_ceiling=np.asarray(ceiling))


def test_a_ceiling_in_per_cent_says_so():
    with pytest.raises(ValueError, match=r"that of voxel 1 is 55 \(divide per cent by 100"):
        of(noise_ceiling=[0.5, 55.0])


def test_ceilings_that_are_taken():
    assert of(noise_ceiling=[0, 1]).noise_ceiling.tolist() == [0, 1]
    assert of(noise_ceiling=[-0.2, np.nan]).noise_ceiling[0] == np.float32(
        -0.2
    )  # an unclamped estimate, an unknown one


@pytest.mark.parametrize("repeats", [[0, 1, 1], [1, -1, 1], [1, 1.5, 1], [1, 1]])
def test_a_row_is_the_mean_of_at_least_one_trial(repeats):
    with pytest.raises(ValueError, match="repeats"):
        dataclasses.replace(of(), repeats=np.asarray(repeats))


@pytest.mark.parametrize("given", [["True", "False", "True"], [0, 1, 2], [np.nan, 0, 1], [None, True, False]])
def test_flags_that_python_would_take_for_true(given):
    with pytest.raises(TypeError, match="shared must be true or false for each row"):
        of(shared=given)


def test_flags_that_are_taken():
    for given in ([0, 1, 0], [0.0, 1.0, 0.0], [False, True, False]):
        assert of(shared=given).shared.tolist() == [False, True, False]


def test_regions():
    assert of(roi=["V1", "V4"]).roi.tolist() == ["V1", "V4"]
    for missing in (None, np.nan):
        with pytest.raises(ValueError, match=r"roi of voxel 1 \(from 0\) is missing: call it 'unknown'"):
            of(roi=np.array(["V1", missing], dtype=object))
    with pytest.raises(ValueError, match=r"so roi must be \(2,\); got \(3,\)"):
        of(roi=["V1", "V1", "V1"])


def test_places_and_further_fields():
    assert of(voxel_index=[[0.0, 1, 2], [3, 4, 5]]).voxel_index.dtype == np.int64
    with pytest.raises(ValueError, match="places of voxels must be whole numbers"):
        of(voxel_index=[[0.5, 1, 2], [3, 4, 5]])
    r = dataclasses.replace(of(), maps={"R2": np.array([1, 2], dtype=">f8")})
    assert r.maps["R2"].dtype == np.float32 and r.maps["R2"].dtype.isnative
    with pytest.raises(TypeError, match="behaviour 'key' must be real numbers"):
        dataclasses.replace(of(), behaviour={"key": np.array(["a", "b", "c"])})
    with pytest.raises(ValueError, match=r"valid_repeats .* must be integers"):
        dataclasses.replace(of(), valid_repeats=np.ones((3, 2)))


def test_no_field_is_changed_on_its_way():
    rng = np.random.default_rng(0)
    for dtype in (np.int8, np.uint8, np.int32, np.uint32, np.float32, np.float64):
        ids = rng.integers(0, 100, 50).astype(dtype)
        np.testing.assert_array_equal(as_identities(ids, "x"), ids)
        np.testing.assert_array_equal(as_values(ids, "x"), ids)
    assert as_identities([], "x").dtype == np.int64
    np.testing.assert_array_equal(as_flags(ids % 2, "x"), ids % 2 == 1)
    np.testing.assert_array_equal(as_places([[1, 2]]), [[1, 2]])
    assert as_regions(["V1"], "x").tolist() == ["V1"]


@pytest.mark.parametrize(
    ("given", "numbers", "names"),
    [
        (["b.png", "a.png", "b.png"], [1, 0, 1], ["a.png", "b.png"]),
        (np.array([b"b", b"a", b"b"]), [1, 0, 1], ["a", "b"]),
        (np.array([b"b", b"a", b"b"], dtype=object), [1, 0, 1], ["a", "b"]),
        (pd.Series(["b", "a", "b"]), [1, 0, 1], ["a", "b"]),
        ([7, 3, 7], [7, 3, 7], None),
        ([7.0, 3.0, 7.0], [7, 3, 7], None),
    ],
)
def test_names_are_numbered(given, numbers, names):
    found, kept = number_names(given, "stimulus")
    assert found.tolist() == numbers and kept == names


@pytest.mark.parametrize("given", [["a", None], ["a", np.nan], ["a", " "], ["a", 3]])
def test_names_with_a_gap(given):
    with pytest.raises(ValueError, match=r"stimulus of row 1 \(from 0\) is"):
        number_names(np.array(given, dtype=object), "stimulus")


def test_stimuli_by_name():
    names = ["car.png", "cat.png", "dog.png"]
    r = of(info={"stimulus_id": names})
    rest, test = r.split(["cat.png"])
    assert rest.stimulus.tolist() == [0, 2] and test.stimulus.tolist() == [1]
    left_out = Responses.from_arrays(np.random.default_rng(0).standard_normal((3, 2)), info={"stimulus_id": names})
    np.testing.assert_array_equal(
        left_out.zscore_sessions(without=["cat.png"]).values, left_out.zscore_sessions(without=[1]).values
    )
    with pytest.raises(ValueError, match=re.escape("unknown stimulus 'cat'; did you mean 'cat.png'")):
        r.split(["cat"])
    for use in (lambda: of().split(["cat.png"]), lambda: of().zscore_sessions(without=["cat.png"])):
        with pytest.raises(TypeError, match="stimuli must be whole numbers; got text"):
            use()
