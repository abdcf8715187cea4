"""Which figures a study has: those for which there are numbers."""

import dataclasses

import numpy as np
import pandas as pd
import pytest

from neuroalign.study.figures import study_figures
from neuroalign.study.networks import accuracy_by_unit, networks_table, seed_rows, with_geometry
from neuroalign.study.tables import gather
from tests.study.figures.made_up import EVALUATIONS, large_study, tables_of
from tests.study.finished import finish, study_of


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    """A study of few conditions with every evaluation."""
    study = study_of(evaluations=EVALUATIONS, hierarchy=["V1", "TO"], seeds=[0, 1])
    return tables_of(study, tmp_path_factory.mktemp("study"))


def test_every_evaluation_has_its_figure_and_all_say_simulated(tables):
    found = study_figures(tables)
    assert list(found) == [
        "robustness", "advantage", "trend", "plane", "geometry", "layers", "explaining", "prediction", "smoothness",
        "corruptions", "shape_bias", "transfer",
    ]  # fmt: skip
    for made in found.values():
        assert "simulated subject" in made.figure.get_suptitle() and "simulated subject" in made.caption
        assert max(made.figure.get_size_inches()[0] for made in found.values()) <= 7.5


def test_nothing_finished_has_no_figure(tmp_path):
    plan, folder = finish(large_study(seeds=1), tmp_path)
    for stage in plan.stages:
        folder.remove(stage)
    assert study_figures(gather(plan, folder, tmp_path)) == {}


def test_numbers_that_are_missing_leave_their_figures_out(tables):
    results = tables.results
    results = results.assign(
        value=results["value"].where(~results["evaluation"].isin(["smoothness", "shape_bias"]), np.nan)
    )
    left = study_figures(
        dataclasses.replace(
            tables, results=results, transfer=tables.transfer.iloc[:0], compared=[], layers=pd.DataFrame()
        )
    )
    assert not {"smoothness", "shape_bias", "transfer", "advantage", "layers"} & set(left)
    assert {"robustness", "corruptions", "geometry"} <= set(left)


def test_a_second_attack_has_a_figure_of_its_own(tmp_path):
    attacks = {"pgd": {"eps": [0.01]}, "Square L2": {"attack": "square", "norm": "l2", "eps": [0.5]}}
    plan, folder = finish(study_of(evaluations={"robustness": attacks}, comparisons=[], seeds=[0]), tmp_path)
    found = study_figures(gather(plan, folder, tmp_path))
    assert {"robustness", "robustness_square_l2"} <= set(found)
    assert "Euclidean" in found["robustness_square_l2"].caption and "Euclidean" not in found["robustness"].caption


def test_networks_have_their_accuracies_and_geometry(tables):
    networks = networks_table(tables.results, "pgd", tables.study)
    assert len(networks) == 8 and list(networks) == ["label", "subject", "replication", "clean", "robust"]
    rows = tables.results[(tables.results["condition"] == "none") & (tables.results["measure"] == "pgd accuracy")]
    first = rows[rows["seed"] == 0]
    row = networks[(networks["label"] == "none") & (networks["replication"] == 0)].iloc[0]
    assert row["clean"] == first[first["eps"] == 0]["value"].item()
    assert row["robust"] == pytest.approx(first[first["eps"] > 0]["value"].mean())
    joined = with_geometry(networks, tables.geometry)
    assert len(joined) == 8 and joined["capacity"].notna().all()


def test_a_network_without_its_attack_is_left_out(tables):
    lost = (tables.results["condition"] == "none") & (tables.results["eps"] > 0) & (tables.results["seed"] == 1)
    assert len(networks_table(tables.results[~lost], "pgd", tables.study)) == 7


def test_the_unit_is_the_subject_where_there_are_several():
    rows = [(s, r, "g", seed, "pgd accuracy", e, 0.5 + 0.1 * seed + (0.2 if s == "b" else 0), 10)
            for s in "ab" for r in ("V1", "V4") for seed in (0, 1) for e in (0.0, 0.1)]  # fmt: skip
    results = pd.DataFrame(rows, columns=["subject", "region", "condition", "seed", "measure", "eps", "value", "n"])
    study = study_of(comparisons=[])
    several = accuracy_by_unit(results, "pgd", study)
    assert several["accuracy"].tolist() == pytest.approx([0.55, 0.55, 0.75, 0.75]) and set(several["kind"]) == {
        "subject"
    }
    one = accuracy_by_unit(results[results["subject"] == "a"], "pgd", study)
    assert set(one["unit"]) == {"0", "1"} and set(one["kind"]) == {"seed"}


def test_rows_of_a_seed_are_means_over_subjects():
    rows = [(s, "V1", "g", 0, "fog", 1.0, 0.5 + (0.2 if s == "b" else 0)) for s in "ab"]
    table = pd.DataFrame(rows, columns=["subject", "region", "condition", "seed", "measure", "eps", "value"])
    study = study_of(conditions={"g": {"kind": "neural guidance"}}, comparisons=[])
    found = seed_rows(table, study, ["measure", "eps"])
    assert found["value"].tolist() == pytest.approx([0.6]) and found["label"].tolist() == ["g (V1)"]
