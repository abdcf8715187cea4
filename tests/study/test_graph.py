"""Stages: what changes their key, what doesn't, and their order."""

import dataclasses

import pytest

from neuroalign.study.graph import Resources, Stage, all_stages


def chain(**settings):
    first = Stage("responses", "responses", print, {"region": "V4"})
    second = Stage("predictor", "predictor", print, {"epochs": 2, **settings}, {"responses": first})
    return first, second, Stage("network", "network", print, {"lr": 0.1}, {"predictor": second})


@pytest.mark.parametrize(
    "change",
    [{"kind": "other"}, {"settings": {"region": "V1"}}, {"data": {"file": "abc"}}, {"version": 2}],
)
def test_what_the_result_depends_on_changes_the_key(change):
    first = chain()[0]
    assert dataclasses.replace(first, **change).key != first.key


@pytest.mark.parametrize(
    "change",
    [
        {"name": "x"},
        {"sources": {"file": "/elsewhere"}},
        {"options": {"logger": "csv"}},
        {"resources": Resources(4)},
        {"size": 9.0},
    ],
)
def test_nothing_else_does(change):
    first = chain()[0]
    assert dataclasses.replace(first, **change).key == first.key


def test_a_change_reaches_what_depends_on_it_and_nothing_else():
    before, after = chain(), chain(epochs=3)
    assert [a.key == b.key for a, b in zip(before, after)] == [True, False, False]


def test_the_role_of_data_and_of_inputs_counts():
    a = Stage("x", "x", print, data={"file": "1", "images": "2"})
    assert a.key != Stage("x", "x", print, data={"file": "2", "images": "1"}).key
    first, second, _ = chain()
    one = Stage("n", "n", print, needs={"a": first, "b": second})
    assert one.key != Stage("n", "n", print, needs={"a": second, "b": first}).key


def test_the_key_is_the_same_in_another_process_and_order():
    a = Stage("x", "x", print, {"a": 1, "b": [1.5, None, "t"]})
    assert a.key == Stage("x", "x", print, {"b": [1.5, None, "t"], "a": 1}).key == "x-" + a.key[2:]
    assert len(a.key) == 18


def test_nothing_that_json_can_not_hold():
    with pytest.raises(ValueError, match="JSON compliant"):
        _ = Stage("x", "x", print, {"a": float("nan")}).key
    with pytest.raises(TypeError):
        _ = Stage("x", "x", print, {"a": object()}).key


def test_every_stage_comes_once_and_after_what_it_needs():
    first, second, third = chain()
    other = Stage("network", "other", print, {"lr": 0.2}, {"predictor": second})
    stages = all_stages([third, other, first])
    assert len(stages) == 4
    assert stages.index(first) < stages.index(second) < min(stages.index(third), stages.index(other))


def test_two_stages_of_one_name():
    with pytest.raises(ValueError, match="two different stages are called 'x'"):
        all_stages([Stage("a", "x", print), Stage("b", "x", print)])
