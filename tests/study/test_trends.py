"""The trend of robustness along a study's hierarchy: which rows the table has, and what the verdict says of them."""

import pandas as pd
import pytest

from neuroalign.study.collecting import Finished
from neuroalign.study.study import Study
from neuroalign.study.tables import write_tables
from neuroalign.study.trend_sentences import trend_sentences
from neuroalign.study.trends import COLUMNS, trend_table
from tests.study.finished import finish, study_of

STEPS = {None: 0, "V1": 0, "V4": 1, "TO": 2}
COMPARED = [{"treatment": "neural guidance", "controls": ["none", "shuffled fit"]}]


def hierarchy_study(**changes):
    return study_of(**{
        "responses": [{"source": "simulated", "regions": ["V1", "V4", "TO"]}],
        "conditions": {"none": {}, "neural guidance": {}, "shuffled fit": {}, "label only": {"regions": ["TO"]}},
        "comparisons": COMPARED, "hierarchy": ["V1", "V4", "TO"], "seeds": [0, 1, 2, 3, 4, 5], **changes,
    })  # fmt: skip


def rising(**gains):
    """Accuracy that rises by so much per region, in the conditions that are named, and varies a little with the seed."""

    def accuracy(run, eps):
        gain = gains.get(run.condition.replace(" ", "_"), 0.0) if eps else 0.0
        return 0.4 + gain * STEPS[run.region] + 0.01 * ((run.seed * (3 + STEPS[run.region])) % 5 - 2)

    return accuracy


def table_in(study, root, accuracy, remove=()):
    plan, folder = finish(study, root, accuracy, num_images=200)
    for run in plan.networks:
        if (run.condition, run.region, run.seed) in remove:
            folder.remove(run.evaluations["pgd"])
    return trend_table(Finished.of(plan, folder))


def test_a_row_for_every_condition_of_several_regions_and_every_pair_of_them(tmp_path):
    table = table_in(hierarchy_study(), tmp_path, rising(neural_guidance=0.05))
    assert list(table) == COLUMNS and COLUMNS[:5] == ["hierarchy", "statistic", "p", "effect", "n"]
    assert table[["condition", "control"]].values.tolist() == [
        ["neural guidance", ""], ["shuffled fit", ""], ["neural guidance", "shuffled fit"],
    ]  # fmt: skip
    assert set(table["hierarchy"]) == {"V1 < V4 < TO"} and set(table["measure"]) == {"pgd"}
    assert table["effect"].tolist() == pytest.approx([0.05, 0, 0.05], abs=0.012)
    assert table["p"][0] < 0.01 and table["p"][1] > 0.05 and (table["p_holm"] >= table["p"]).all()
    assert (table["n"] == 6).all() and set(table["unit"]) == {"replication"} and (table["num_images"] == 200).all()
    assert (table["low"] < table["effect"]).all() and (table["effect"] < table["high"]).all()
    assert table[["mixed_effect", "mixed_low", "mixed_high", "mixed_p"]].isna().all(axis=None)


def test_a_rise_beyond_its_control_and_one_that_the_control_shares(tmp_path):
    study = hierarchy_study()
    beyond = trend_sentences(table_in(study, tmp_path / "a", rising(neural_guidance=0.06)), study)
    assert len(beyond) == 2 and "Accuracy under attack with neural guidance" in beyond[0]
    assert (
        "rises along V1 < V4 < TO (+0.0" in beyond[0] and "Page's test over 6 replications, corrected p = " in beyond[0]
    )
    assert beyond[1].startswith("It rises beyond shuffled fit, its control: the difference by +0.0")
    both = rising(neural_guidance=0.05, shuffled_fit=0.055)
    shared = trend_sentences(table_in(study, tmp_path / "b", both), study)
    assert "rises along" in shared[0]
    assert shared[1].startswith("The rise with shuffled fit, its control, is as large: the difference by -0.0")
    assert shared[1].endswith("So this rise isn't shown to come from the responses.")


def test_no_rise_a_fall_and_a_rise_without_a_control_are_said(tmp_path):
    study = hierarchy_study()
    none = trend_sentences(table_in(study, tmp_path / "a", rising()), study)
    assert len(none) == 1 and "shows no clear trend along V1 < V4 < TO" in none[0]
    fall = trend_sentences(table_in(study, tmp_path / "b", rising(neural_guidance=-0.06)), study)
    assert "falls along V1 < V4 < TO (-0.0" in fall[0] and fall[1].startswith(
        "Minus shuffled fit, its control, it falls: -0.0"
    )
    alone = hierarchy_study(comparisons=[{"treatment": "neural guidance", "controls": ["none"]}])
    said = trend_sentences(table_in(alone, tmp_path / "c", rising(neural_guidance=0.06)), alone)
    assert (
        said[1] == "No control of the same regions was compared, so this rise isn't shown to come from the responses."
    )


def test_one_seed_decides_nothing(tmp_path):
    study = hierarchy_study(seeds=[3])
    table = table_in(study, tmp_path, rising(neural_guidance=0.1))
    assert table[["p", "p_holm"]].isna().all(axis=None) and set(table["test"]) == {
        "none: one replication decides nothing"
    }
    said = trend_sentences(table, study)
    assert len(said) == 1 and "is undecided along" in said[0] and "one replication says nothing about others" in said[0]


def test_too_few_units_for_any_result_are_said(tmp_path):
    study = hierarchy_study(hierarchy=["V1", "TO"], seeds=[0, 1, 2, 3])
    said = trend_sentences(table_in(study, tmp_path, rising(neural_guidance=0.05)), study)
    assert "shows no clear trend along V1 < TO" in said[0]
    assert "with 4 replications of 2 regions p can't be below 0.062" in said[0]


def test_missing_networks_and_regions_are_left_out_and_said(tmp_path):
    one = table_in(hierarchy_study(), tmp_path / "a", rising(), remove=[("neural guidance", "V4", 2)])
    assert one["n"].tolist() == [5, 6, 5]
    assert (
        one["test"][0] == "Page's test (exact), one-sided, over 5 replications; 1 left out, where a region is missing"
    )
    gone = [("neural guidance", "V4", seed) for seed in range(6)]
    region = table_in(hierarchy_study(), tmp_path / "b", rising(), remove=gone)
    assert region["hierarchy"].tolist() == ["V1 < TO", "V1 < V4 < TO", "V1 < TO"]
    gone = [("neural guidance", region, seed) for region in ("V1", "V4") for seed in range(6)]
    assert table_in(hierarchy_study(), tmp_path / "c", rising(), remove=gone)["condition"].tolist() == ["shuffled fit"]


def test_without_a_hierarchy_there_are_no_rows(tmp_path):
    study = hierarchy_study(hierarchy=[], seeds=[0])
    table = table_in(study, tmp_path, rising())
    assert table.empty and list(table) == COLUMNS and trend_sentences(table, study) == []


def test_regions_of_two_animals_belong_together_by_seed(tmp_path):
    sources = [
        {"source": "recording", "subject": name, "region": region, "file": f"{name}.npy", "images": "i.npy",
         "held_out": {"number": 10}}
        for name, region in (("a", "V1"), ("b", "V4"))
    ]  # fmt: skip
    conditions = {"neural guidance": {}, "shuffled fit": {}}
    study = hierarchy_study(
        images={"source": "digits"}, responses=sources, conditions=conditions, hierarchy=["V1", "V4"],
        comparisons=[{"treatment": "neural guidance", "controls": ["shuffled fit"]}],
    )  # fmt: skip
    table = table_in(study, tmp_path, rising(neural_guidance=0.1))
    assert len(table) == 3 and (table["n"] == 6).all() and set(table["unit"]) == {"replication"}
    assert set(table["test"]) == {"sign test, one-sided, over 6 replications"}


def subjects_study():
    return Study.from_settings({
        "name": "NSD", "images": {"source": "digits"}, "hierarchy": ["V1", "V4", "TO"],
        "responses": [{"source": "nsd", "root": "nsd", "subjects": [1, 2, 5, 7], "regions": ["V1", "V4", "TO"],
                       "image_size": 32}],
        "conditions": {"none": {}, "neural guidance": {}}, "seeds": [0, 1],
        "evaluations": {"robustness": {"pgd": {"eps": [0.01]}}},
        "comparisons": [{"treatment": "neural guidance", "controls": ["none"]}],
    })  # fmt: skip


def test_several_subjects_are_the_unit_and_have_a_mixed_model(tmp_path):
    def accuracy(run, eps):
        subject = 0 if run.subject is None else ["subj01", "subj02", "subj05", "subj07"].index(run.subject)
        step, seed = STEPS[run.region], run.seed
        wobble = (
            7 * seed + 3 * step + 5 * subject + seed * step
        ) % 4 - 1.5  # which a model without residuals can't fit
        return 0.3 + (0.05 + 0.01 * subject) * step + 0.02 * subject + 0.01 * seed + 0.01 * wobble

    plan, folder = finish(subjects_study(), tmp_path, accuracy, num_images=200)
    table = trend_table(Finished.of(plan, folder))
    assert len(table) == 1 and table["unit"][0] == "subject" and table["n"][0] == 4
    assert table["test"][0] == "Page's test (exact), one-sided, over 4 subjects" and table["p"][0] < 0.01
    assert table["mixed_effect"][0] == pytest.approx(table["effect"][0])
    assert table["mixed_low"][0] < table["mixed_effect"][0] < table["mixed_high"][0] and table["mixed_p"][0] < 0.05


@pytest.mark.slow
def test_the_file_and_the_verdict_have_the_trend(tmp_path):
    plan, folder = finish(hierarchy_study(), tmp_path / "stages", rising(neural_guidance=0.05), num_images=200)
    tables = write_tables(plan, folder, tmp_path)
    assert list(pd.read_csv(tmp_path / "trend.csv")) == COLUMNS
    assert any("rises along V1 < V4 < TO" in sentence for sentence in tables.sentences)
    assert "rises along V1 &lt; V4 &lt; TO" in (tmp_path / "report.html").read_text()
    assert not any("rises along" in s for s in write_tables(plan, folder, tmp_path / "fast", fast=True).sentences)
