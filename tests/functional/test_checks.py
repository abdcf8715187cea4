"""Checks that several rooms share: what they let pass, and how an error reads."""

import re

import pytest

from neuroalign.functional.checks import check_choice


@pytest.mark.parametrize(
    ("value", "choices", "or_else", "message"),
    [
        ("l-inf", ("linf", "l2"), None, "unknown norm 'l-inf': it must be 'linf' or 'l2'; did you mean 'linf'?"),
        ("x", ("linf", "l2", "l1"), None, "unknown norm 'x': it must be 'linf', 'l2' or 'l1'"),
        ("x", ("linf",), None, "unknown norm 'x': it must be 'linf'"),
        ("x", ("linf",), "a tensor", "unknown norm 'x': it must be 'linf' or a tensor"),
        (2, ("linf", "l2"), None, "unknown norm 2: it must be 'linf' or 'l2'"),
        (None, ("linf", "l2"), None, "unknown norm None: it must be 'linf' or 'l2'"),
    ],
)
def test_unknown_options_are_refused_with_the_choices(value, choices, or_else, message):
    with pytest.raises(ValueError, match=f"^{re.escape(message)}$"):
        check_choice("norm", value, choices, or_else=or_else)


def test_known_options_pass():
    assert check_choice("norm", "l2", ("linf", "l2")) is None
