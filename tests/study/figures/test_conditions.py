"""Which conditions share a panel, and that their lines can be told apart."""

import matplotlib.colors
import pytest

from neuroalign.study.figures.conditions import Conditions
from tests.study.figures.plain_tables import LARGE, SMALL, conditions_of
from tests.study.finished import study_of


def test_groups_follow_the_kind_not_the_name():
    study = study_of(
        conditions={"plain": {"kind": "none"}, "no random things": {"kind": "neural guidance", "regions": ["TO"]},
                    "hardened": {"kind": "none", "robust_training": {"eps": "1/255"}}}, comparisons=[],
    )  # fmt: skip
    assert Conditions.of(study).group_of == {
        "plain": "no guidance", "no random things (TO)": "guided networks", "hardened": "robust training"
    }  # fmt: skip


def test_many_conditions_make_panels_of_at_most_eight_lines_with_none_in_each():
    panels = LARGE.panels(set(LARGE.group_of))
    assert list(panels) == ["guided networks", "controls (1 of 2)", "controls (2 of 2)", "robust training"]
    assert all(shown[0] == "none" and len(shown) <= 8 for shown in panels.values())
    assert sorted({label for shown in panels.values() for label in shown}) == sorted(LARGE.group_of)
    assert panels["controls (2 of 2)"] == [
        "none", "label only (V1)", "label only (V4)", "random geometry (V1)", "random geometry (V4)"
    ]  # fmt: skip


def test_a_condition_of_many_regions_is_split():
    regions = [f"R{i:02}" for i in range(15)]
    panels = conditions_of(["none", "neural guidance"], regions).panels(
        {"none", *(f"neural guidance ({region})" for region in regions)}
    )
    assert [len(shown) for shown in panels.values()] == [8, 8, 2]


def test_what_has_no_numbers_has_no_panel():
    assert SMALL.panels({"none", "shuffled fit (V4)"}) == {"controls": ["none", "shuffled fit (V4)"]}
    assert SMALL.panels({"none"}) == {"no guidance": ["none"]}


@pytest.mark.parametrize("conditions", [SMALL, LARGE], ids=["small", "large"])
def test_lines_of_a_panel_differ_in_marker_and_colour_and_controls_are_dashed(conditions):
    for shown in conditions.panels(set(conditions.group_of)).values():
        styles = [conditions.styles[label] for label in shown]
        assert len({style["marker"] for style in styles}) == len({style["color"] for style in styles}) == len(styles)
        dashed = {label for label in shown if conditions.styles[label]["linestyle"] != "-"}
        assert dashed == set(shown) & conditions.controls


def test_no_two_conditions_of_a_large_study_have_the_same_mark_and_colour():
    marks = [(style["marker"], style["color"]) for style in LARGE.styles.values()]
    assert len(set(marks)) == len(marks) == 18
    assert all(matplotlib.colors.is_color_like(color) for _, color in marks)


def test_numbers_stand_for_labels():
    assert [LARGE.number(label) for label in LARGE.group_of] == list(range(1, 19))
