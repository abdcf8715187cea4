"""Which networks of a study are compared, and what is said where some are missing."""

import pandas as pd
import pytest

from neuroalign.study.collecting import Finished
from neuroalign.study.comparing import compare_conditions, comparisons_table
from neuroalign.study.conclusions import conclusions
from neuroalign.study.study import Study
from tests.study.finished import finish, study_of


def better(run, eps):
    """Guidance by TO is worth 0.2 at every budget above 0, and varies a little with the seed."""
    gain = 0.2 if (run.condition, run.region) == ("neural guidance", "TO") and eps else 0.0
    return 0.5 + gain + 0.01 * (run.seed % 2)


def compared_in(study, root, accuracy=better, remove=()):
    plan, folder = finish(study, root, accuracy, num_images=200)
    for place in remove:
        for run in plan.networks:
            if (run.condition, run.seed) == place:
                folder.remove(run.evaluations["pgd"])
    found, notes = compare_conditions(Finished.of(plan, folder))
    return found, notes


def test_each_treatment_is_compared_with_its_controls_over_seeds(tmp_path):
    found, notes = compared_in(study_of(), tmp_path)
    table = comparisons_table(found)
    assert table["control"].tolist() == ["none", "label only (TO)", "neural guidance (V1)"]
    assert set(table["treatment"]) == {"neural guidance (TO)"} and set(table["unit"]) == {"replication"}
    assert table["difference"].tolist() == pytest.approx([0.2] * 3, abs=0.01)
    assert table["n"].tolist() == table["higher_in"].tolist() == [4, 4, 4] and set(table["outcome"]) == {"higher"}
    assert notes == []
    assert (table["p"] < 0.05).all() and (table["p_holm"] < 0.05).all()
    assert sorted(table["p_holm"])[-1] >= sorted(table["p"])[-1] and table["p_holm"].min() == pytest.approx(
        3 * table["p"].min()
    )
    assert set(table["test"]) == {
        "two-sided t test over 4 replications and 200 images, a quantile for each variance component"
    }
    assert table[["equivalence", "p_equivalence", "p_equivalence_holm"]].isna().all(axis=None)
    assert (table["num_images"] == 200).all() and (table["num_seeds"] == 4).all() and (table["num_subjects"] == 1).all()
    assert list(table)[:12] == ["treatment", "control", "difference", "low", "high", "unit", "n", "p", "p_holm", "outcome",
                                "higher_in", "measure"]  # fmt: skip


def test_the_correction_is_over_all_comparisons_of_the_file_and_may_take_a_difference_back(tmp_path):
    """A weak gain over none, alone and beside comparisons of other treatments that show nothing."""
    asked = [{"treatment": "neural guidance", "region": "TO", "controls": ["none"]}]
    others = [
        {"treatment": "neural guidance", "region": "V1", "controls": ["none", "label only"]},
        {"treatment": "label only", "controls": ["none"]},
    ]
    conditions = {"none": {}, "label only": {}, "neural guidance": {}}

    def weak(run, eps):
        gain = (
            (0.03, 0.10, 0.05, 0.08)[run.seed]
            if (run.condition, run.region) == ("neural guidance", "TO") and eps
            else 0
        )
        return 0.5 + gain

    alone, _ = compared_in(study_of(comparisons=asked, conditions=conditions), tmp_path / "alone", weak)
    family, _ = compared_in(study_of(comparisons=asked + others, conditions=conditions), tmp_path / "family", weak)
    assert len(alone) == 1 and len(family) == 5
    before, after = alone[0].comparison, family[0].comparison
    assert before.outcome == "higher" and before.p_holm == before.p_value == after.p_value
    assert after.outcome == "undecided" and after.lost_to_correction and after.num_tests == 5
    said = conclusions(study_of(comparisons=asked + others, conditions=conditions), family, {}, fast=False)
    assert any("not significant after Holm's correction over 5 comparisons" in sentence for sentence in said)


def test_one_seed_decides_nothing(tmp_path):
    found, _ = compared_in(study_of(seeds=[7]), tmp_path)
    table = comparisons_table(found)
    assert table["outcome"].tolist() == ["undecided"] * 3 and table[["p", "p_holm"]].isna().all(axis=None)
    assert set(table["test"]) == {"none: one replication decides nothing"}


def test_a_missing_network_leaves_its_pair_out_and_says_so(tmp_path):
    found, notes = compared_in(study_of(), tmp_path, remove=[("none", 2)])
    assert [each.comparison.num_replications for each in found] == [3, 4, 4]
    assert notes == [
        "neural guidance (TO) - none: 3 of 4 pairs of networks are finished; the difference is over these alone."
    ]


def test_a_condition_that_is_missing_altogether_is_not_compared(tmp_path):
    found, notes = compared_in(study_of(), tmp_path, remove=[("none", seed) for seed in range(4)])
    assert [each.comparison.control for each in found] == ["label only (TO)", "neural guidance (V1)"]
    assert notes == ["neural guidance (TO) - none: 0 of 4 pairs of networks are finished; so they are not compared."]


def nsd_study(subjects, seeds=(0, 1)):
    return Study.from_settings({
        "name": "NSD", "images": {"source": "digits"},
        "responses": [{"source": "nsd", "root": "nsd", "subjects": subjects, "regions": ["V1"], "image_size": 32}],
        "conditions": {"none": {}, "neural guidance": {}}, "seeds": list(seeds),
        "evaluations": {"robustness": {"pgd": {"eps": [0.01]}}},
        "comparisons": [{"treatment": "neural guidance", "controls": ["none"]},
                        {"treatment": "none", "controls": [{"condition": "neural guidance", "region": "V1"}]}],
    })  # fmt: skip


def test_a_network_without_a_subject_stands_beside_those_of_every_subject(tmp_path):
    study = nsd_study([1, 2, 5])
    found, _ = compared_in(study, tmp_path, lambda run, eps: 0.6 if run.subject else 0.5)
    forward, backward = (each.comparison for each in found)
    assert (forward.unit, forward.num_units, forward.num_replications) == ("subject", 3, 2)
    assert forward.difference == pytest.approx(0.1) and forward.num_positive == 3
    assert backward.difference == pytest.approx(-0.1) and backward.num_units == 3


def test_regions_of_two_animals_are_paired_by_seed(tmp_path):
    study = two_animals(["a", "b"])
    found, _ = compared_in(study, tmp_path, lambda run, eps: 0.7 if run.region == "V4" else 0.5)
    comparison = found[0].comparison
    assert comparison.difference == pytest.approx(0.2)
    assert (comparison.unit, comparison.num_units) == ("replication", 4)


def test_animals_of_which_none_has_both_regions_are_not_compared(tmp_path):
    found, notes = compared_in(two_animals(["a", "b", "c"]), tmp_path)
    assert found == [] and notes == [
        "neural guidance (V4) - neural guidance (V1): no subject has both, so they are not compared."
    ]


def two_animals(names):
    """V1 of the first animal, V4 of all others."""
    sources = [
        {"source": "recording", "subject": name, "region": "V4" if i else "V1", "file": f"{name}.npy", "images": "i.npy",
         "held_out": {"number": 10}}
        for i, name in enumerate(names)
    ]  # fmt: skip
    return study_of(
        images={"source": "digits"}, responses=sources, conditions={"neural guidance": {}},
        comparisons=[{"treatment": "neural guidance", "region": "V4",
                      "controls": [{"condition": "neural guidance", "region": "V1"}]}],
    )  # fmt: skip


def test_the_attack_and_the_margin_are_those_that_the_study_names(tmp_path):
    attacks = {"pgd": {"eps": [0.01]}, "apgd": {"attack": "apgd", "eps": [0.02]}}
    asked = [
        {"treatment": "neural guidance", "region": "TO", "controls": ["none"], "measure": "apgd", "equivalence": 0.3}
    ]
    study = study_of(evaluations={"robustness": attacks}, comparisons=asked)
    found, _ = compared_in(study, tmp_path, lambda run, eps: 0.9 if run.region == "TO" and eps == 0.02 else 0.5)
    assert found[0].measure == "apgd" and found[0].comparison.difference == pytest.approx(0.4)
    table = comparisons_table(found)
    assert found[0].comparison.equivalence == 0.3 and table["measure"].tolist() == ["apgd"]
    assert table["equivalence"].tolist() == [0.3] and table["p_equivalence"][0] > 0.5
    assert table["p_equivalence_holm"].tolist() == table["p_equivalence"].tolist()


def test_no_comparisons_give_an_empty_table(tmp_path):
    found, notes = compared_in(study_of(comparisons=[]), tmp_path)
    table = comparisons_table(found)
    assert isinstance(table, pd.DataFrame) and table.empty and "p_holm" in table and notes == []
