import numpy as np
import pandas as pd
import pytest

from neuroalign.plot import plot_geometry
from neuroalign.plot.geometry import without_common_prefix


def layers():
    return pd.DataFrame(
        {
            "layer": ["a", "b", "c"] * 2,
            "network": ["one"] * 3 + ["two"] * 3,
            "capacity": np.arange(6) / 10,
            "capacity_error": 0.01,
            "radius": 1.0,
        }
    )


def test_a_panel_a_measure_and_a_line_a_network():
    axes = plot_geometry(layers(), measures=["capacity", "radius"], by="network", title="Two networks")
    assert len(axes) == 2 and [t.get_text() for t in axes[0].get_xticklabels()] == ["a", "b", "c"]
    first = axes[0].containers[0]
    np.testing.assert_allclose(first.lines[0].get_ydata(), [0, 0.1, 0.2])
    bars = first.lines[2][0].get_segments()
    np.testing.assert_allclose([bar[1, 1] - bar[0, 1] for bar in bars], 0.04)  # two standard errors either way
    assert [t.get_text() for t in axes[0].get_legend().get_texts()] == ["one", "two"]
    assert axes[0].figure.get_suptitle() == "Two networks"


def test_intervals_of_regions():
    table = pd.DataFrame(
        {"region": ["V1", "TO"], "capacity": [0.2, 0.3], "capacity_low": [0.1, 0.25], "capacity_high": [0.4, 0.5]}
    )
    (axis,) = plot_geometry(table, measures=["capacity"])
    bars = axis.containers[0].lines[2][0].get_segments()
    np.testing.assert_allclose([bar[:, 1] for bar in bars], [[0.1, 0.4], [0.25, 0.5]])
    assert axis.get_xlabel() == "region"


def test_a_line_says_what_the_bars_are():
    axes = plot_geometry(layers(), measures=["capacity", "radius"], by="network")
    assert [axis.get_title(loc="left") for axis in axes] == ["bars: ± 2 Monte-Carlo standard errors", ""]
    table = pd.DataFrame({"region": ["V1", "TO"], "capacity": 0.2, "capacity_low": 0.1, "capacity_high": 0.4})
    for columns, text in (({}, "bars: interval"), ({"confidence": 0.9}, "bars: 90 % interval")):
        (axis,) = plot_geometry(table.assign(**columns), measures=["capacity"])
        assert axis.get_title(loc="left") == text


def test_missing_columns_and_axes():
    with pytest.raises(ValueError, match="no column dimension"):
        plot_geometry(layers())
    with pytest.raises(ValueError, match="layer or region"):
        plot_geometry(pd.DataFrame({"capacity": [1]}), measures=["capacity"])
    with pytest.raises(ValueError, match="as many axes"):
        plot_geometry(layers(), measures=["capacity"], axes=[])


def test_ticks_leave_out_what_all_names_share():
    names = ["network.trunk.backbone.layer1", "network.trunk.backbone.layer2.0"]
    table = pd.DataFrame({"layer": names, "capacity": [0.1, 0.2]})
    (axis,) = plot_geometry(table, measures=["capacity"])
    assert [label.get_text() for label in axis.get_xticklabels()] == ["layer1", "layer2.0"]
    assert axis.get_xlabel() == "layer of network.trunk.backbone"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["a.b"], (["a.b"], "")),
        (["a.b", "a.b"], (["a.b", "a.b"], "")),
        (["layer1", "layer2"], (["layer1", "layer2"], "")),
        (["a.b", "a"], (["a.b", "a"], "")),
        (["a.bc.x", "a.bd.x"], (["bc.x", "bd.x"], "a")),
        (["a.b", "a.b.c"], (["b", "b.c"], "a")),
        ([], ([], "")),
    ],
)
def test_prefixes_of_whole_parts(names, expected):
    assert without_common_prefix(names) == expected
