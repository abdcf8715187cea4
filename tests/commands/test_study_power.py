"""neuroalign study power: from given spreads, and from a study's outcomes."""

import pandas as pd
import pytest

from neuroalign.__main__ import main
from neuroalign.evaluation import Spread, seeds_needed
from neuroalign.study.collecting import Finished
from neuroalign.study.spreads import Wanted, measured_spreads, needed_table
from tests.study.finished import finish, study_of

GIVEN = ("--seed-sd", ".012", "--image-sd", ".3", "--images", "1000", "4000")


@pytest.fixture
def power(capsys):
    """Calls the command; gives its exit code and all that it said."""

    def call(*arguments):
        code = 0
        try:
            main(["study", "power", *arguments])
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def test_given_spreads_are_enough(power, tmp_path):
    code, said, _ = power(*GIVEN, "--markdown", "--csv", str(tmp_path / "needed.csv"))
    assert code == 0 and "| difference | 1,000 images | 4,000 images |" in said
    needed = seeds_needed(Spread(0.012, 0.3), 0.02, images=4000)
    assert f"| 0.02 | never: at least 1,781 images | {needed} |" in said and "80%" in said
    table = pd.read_csv(tmp_path / "needed.csv")
    assert len(table) == 6 and table["needed"].isna().sum() == 3


def test_holm_and_more_power_need_more(power):
    _, said, _ = power(*GIVEN, "--difference", ".03", "--comparisons", "20", "--power", ".9")
    assert "strictest of 20 comparisons" in said and "90%" in said


def test_the_power_of_given_numbers_of_seeds(power):
    _, said, _ = power(*GIVEN, "--difference", ".05", "--seeds", "4", "8", "--markdown")
    assert "| 0.05, 4 seeds | 97% | > 99% |" in said and "| 0.05, 8 seeds | > 99% | > 99% |" in said


@pytest.mark.parametrize(("arguments", "message"), [
    ((), "name the folder of a finished study"),
    (("--seed-sd", ".01"), "both are needed"),
    (("nowhere", *GIVEN), "and not both"),
    (("nowhere",), "no study was run in nowhere"),
    (("--seed-sd", "-1", "--image-sd", ".3"), "seed must be a standard deviation"),
    ((*GIVEN, "--images", "1"), "must be a whole number of at least 2; got 1"),
    ((*GIVEN, "--power", "80"), "must be a number between 0 and 1; got 80"),
])  # fmt: skip
def test_bad_input_is_one_line_and_code_2(power, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    code, said, error = power(*arguments)
    assert code == 2 and message in error and not said


def test_every_comparison_of_a_study_has_its_spread(tmp_path):
    plan, folder = finish(study_of(), tmp_path)
    measured = measured_spreads(Finished.of(plan, folder))
    assert [each.control for each in measured] == ["none", "label only (TO)", "neural guidance (V1)"]
    assert {each.spread.num_seeds for each in measured} == {4} and {each.spread.num_images for each in measured} == {60}
    table = needed_table(measured, Wanted(differences=[0.05], images=[100, 5000]))
    assert table["images"].tolist() == [100, 5000] * 3 and set(table["needed_of"]) == {"seeds"}
    assert (table["needed_low"].dropna() <= table["needed"].dropna()).all()


@pytest.mark.parametrize(("changes", "message"), [
    ({"comparisons": []}, "'Digits' compares nothing"), ({"seeds": [0]}, "no comparison of 'Digits' has two finished seeds")
])  # fmt: skip
def test_one_seed_or_no_comparison_is_an_error(tmp_path, changes, message):
    plan, folder = finish(study_of(**changes), tmp_path)
    with pytest.raises(ValueError, match=message):
        measured_spreads(Finished.of(plan, folder))
