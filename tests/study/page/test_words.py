"""Numbers of tables as texts."""

import pandas as pd

from neuroalign.study.page.words import constant, grid_of, measure_text, texts_of


def test_intervals_and_units_share_a_column_and_what_is_empty_has_none():
    table = pd.DataFrame({
        "effect": [0.01234], "low": [-0.1], "high": [0.2], "n": [6], "unit": ["replication"], "p": [0.00004],
        "mixed_effect": [float("nan")], "mixed_note": [""], "num_images": [1000], "something_new": [12.3456789],
    })  # fmt: skip
    assert texts_of(table).to_dict("records") == [{
        "Change per step": "+0.012", "95 % interval": "[-0.100, +0.200]", "n": "6 replications", "p": "< 0.001",
        "Images": "1000", "Something new": "12.35",
    }]  # fmt: skip


def test_an_interval_that_is_not_known_is_empty_in_its_row():
    table = pd.DataFrame({"slope": [0.1, 0.2], "low": [0.0, float("nan")], "high": [0.2, float("nan")]})
    assert texts_of(table)["95 % interval"].tolist() == ["[+0.000, +0.200]", ""]


def test_a_column_is_constant_if_all_known_values_are_one():
    table = pd.DataFrame({"a": ["x", None, "x"], "b": ["x", "y", "x"]})
    assert constant(table, "a") == "x" and constant(table, "b") == constant(table, "none") == ""


def test_a_table_of_words_stands_left_and_one_of_numbers_right():
    assert grid_of("", pd.DataFrame({"a": ["x"], "b": ["V1, TO"]})).kind == "words"
    assert grid_of("", pd.DataFrame({"a": ["x"], "b": ["0.5 ± 0.1"]})).kind == "numbers"


def test_a_budget_is_named_and_a_severity_stays():
    assert measure_text("masking: random search 0.0314") == "random search, ε 0.0314"
    assert measure_text("corruption accuracy fog 5") == "fog 5" and measure_text("loss (clean)") == "loss (clean)"
