"""What a study says of geometry and robustness: over its networks, and of its robustly trained networks."""

import numpy as np
import pandas as pd
import pytest

from neuroalign.study import explaining, robust_geometry
from neuroalign.study.collecting import Finished, geometry_table, layers_table, results_table
from neuroalign.study.explaining import explaining_sentences
from neuroalign.study.robust_geometry import robust_geometry_sentences
from tests.study.finished import finish, study_of

ROBUST = {"robust_training": {"eps": "4/255", "steps": 2}}
CONDITIONS = {
    "none": {}, "neural guidance": {}, "label only": {}, "random predictor": {}, "adversarial training": ROBUST,
    "both": {"kind": "neural guidance", "regions": ["TO"], **ROBUST},
}  # fmt: skip
MEASURES = ("capacity", "radius", "separability")


def of_networks(found):
    return explaining.geometry_of_networks(geometry_table(found), layers_table(found))


def geometry_robustness_table(found):
    return explaining.geometry_robustness_table(found.plan.study, results_table(found), of_networks(found))


def robust_geometry_table(found):
    return robust_geometry.robust_geometry_table(found.plan.study, of_networks(found))


def finished(root, conditions=CONDITIONS, layers=("layer1",), separable=0.3, robust_capacity=0.2):
    """A study in which separability at the last features goes with robustness, and robust networks have more capacity."""
    evaluations = {"robustness": {"pgd": {"eps": [0.01, 0.02]}}, "geometry": {"layers": list(layers)}}
    study = study_of(conditions=conditions, evaluations=evaluations, comparisons=[])
    rng = np.random.default_rng(0)
    quality = {}

    def rate(run, eps):
        shift = quality.setdefault((run.condition, run.region), rng.uniform(-1, 1))
        own = quality.setdefault((run.condition, run.region, run.seed), shift + rng.normal(0, 0.2))
        return 0.8 if eps == 0 else 0.5 + 0.2 * own

    plan, folder = finish(study, root, rate, num_images=200)
    for run in plan.networks:
        own = quality[run.condition, run.region, run.seed]
        is_robust = study.conditions[run.condition].robust_training is not None
        values = {"capacity": 0.2 + robust_capacity * is_robust, "radius": 0.5, "separability": 0.5 + separable * own}
        values = {name: value + rng.normal(0, 0.01) for name, value in values.items()}
        folder.put(run.evaluations["geometry"], {
            "rows.csv": pd.DataFrame({"measure": MEASURES, "eps": np.nan, "value": values.values(), "n": 60}),
            "layers.csv": pd.DataFrame({"layer": layers, **{name: rng.normal(0.5, 0.1) for name in MEASURES}}),
        })  # fmt: skip
    return Finished.of(plan, folder)


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """One study for all that reads it."""
    return finished(tmp_path_factory.mktemp("study"))


def test_every_layer_measure_scope_and_set_has_a_row(study):
    table = geometry_robustness_table(study)
    assert len(table) == 2 * 2 * 3 * 3
    assert table["layer"].unique().tolist() == ["features", "layer1"]
    assert table["networks"].unique().tolist() == ["all", "without robust training"]
    every = table[(table["networks"] == "all") & (table["layer"] == "features")]
    assert dict(zip(every["measure"], every["expected"])) == {"capacity": "+", "radius": "-", "separability": "+"}
    assert set(every["conditions"]) == {9} and set(table["n"]) == {36, 9, 28, 7}


def test_what_goes_with_robustness_is_found_and_said(study):
    table = geometry_robustness_table(study)
    rows = table[(table["layer"] == "features") & (table["networks"] == "all")].set_index(["measure", "scope"])
    # Clean accuracy is the same in every network, so that it explains nothing.
    assert rows.loc[("separability", "between conditions"), "partial_r"] > 0.9
    sentences = explaining_sentences(table)
    assert (
        "separability at the last features, higher in robust networks, as the manifold hypothesis expects"
        in sentences[0]
    )
    assert sentences[2].startswith("Without the robustly trained networks: ")
    assert "shows no cause" in sentences[-1]


def test_holm_is_over_measures_and_layers_of_a_scope(study):
    table = geometry_robustness_table(study)
    rows = table[(table["networks"] == "all") & (table["scope"] == "between conditions")]
    assert rows["p_holm"].min() == pytest.approx(rows["p"].notna().sum() * rows["p"].min())


def test_no_relation_is_said_with_what_is_not_excluded(tmp_path):
    sentences = explaining_sentences(geometry_robustness_table(finished(tmp_path, separable=0.0, robust_capacity=0.0)))
    assert "no measure of geometry is shown to predict robustness" in sentences[0]
    assert "What isn't shown may still be there." in sentences[0]


def test_too_few_conditions_are_said(tmp_path):
    plan, folder = finish(study_of(), tmp_path)
    table = geometry_robustness_table(Finished.of(plan, folder))
    assert table["note"].str.contains("4 conditions, at least 5 are needed").all() and table["p"].isna().all()
    assert explaining_sentences(table)[0].endswith("can't be said (4 conditions, at least 5 are needed).")
    assert set(table["networks"]) == {"all"}


def test_a_study_without_geometry_or_attack_has_no_rows(tmp_path):
    plan, folder = finish(study_of(evaluations={"robustness": {"pgd": {"eps": [0.01]}}}), tmp_path / "a")
    table = geometry_robustness_table(Finished.of(plan, folder))
    assert table.empty and "p_holm" in table and explaining_sentences(table) == []
    plan, folder = finish(study_of(evaluations={"geometry": {}}, comparisons=[]), tmp_path / "b")
    assert geometry_robustness_table(Finished.of(plan, folder)).empty


def test_robustly_trained_networks_are_compared_with_none_by_seed(study):
    table = robust_geometry_table(study)
    assert table["condition"].unique().tolist() == ["adversarial training", "both (TO)"]
    row = table[(table["measure"] == "capacity") & (table["layer"] == "features")].iloc[0]
    assert row["n"] == 4 and row["unit"] == "seed" and row["guided"] and row["conforms"] == "yes"
    assert row["low"] < 0.2 < row["high"] and row["difference"] == pytest.approx(row["value"] - row["plain_value"])
    radius = table[(table["measure"] == "radius") & (table["layer"] == "features")].iloc[0]
    assert radius["conforms"] == "not clear" and radius["p_holm"] >= 0.05 and radius["p"] <= radius["p_holm"]
    sentences = robust_geometry_sentences(table)
    assert len(sentences) == 3 and sentences[0].startswith(
        "adversarial training against none at the last features (4 seeds)"
    )
    assert "as the manifold hypothesis expects: capacity +0." in sentences[0]
    assert "no clear difference: radius" in sentences[0]


def test_the_opposite_of_what_is_expected_is_said(tmp_path):
    sentences = robust_geometry_sentences(robust_geometry_table(finished(tmp_path, robust_capacity=-0.15)))
    assert "against what it expects: capacity -0.1" in sentences[0]


def test_nothing_to_compare_has_no_rows(tmp_path):
    plan, folder = finish(study_of(), tmp_path)
    table = robust_geometry_table(Finished.of(plan, folder))
    assert table.empty and robust_geometry_sentences(table) == []
