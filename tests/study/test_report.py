"""What the report and the terminal say of a study."""

import io
import re

import pandas as pd
import pytest
from rich.console import Console

from neuroalign.study.figures import prediction_figure
from neuroalign.study.methods import attack_text, controls_of, origin
from neuroalign.study.settings.evaluations import Robustness
from neuroalign.study.study_report import write_study_report
from neuroalign.study.summary import accuracy_under, geometry_by_seed, prediction_summary, print_summary
from neuroalign.study.tables import gather, write_tables
from tests.study.finished import finish, study_of
from tests.study.test_comparing import better, nsd_study


@pytest.fixture(scope="module")
def tables(tmp_path_factory):
    root = tmp_path_factory.mktemp("study")
    study = study_of(about="First paragraph.\n\nSecond <paragraph>.", note="The effect is planted.")
    plan, folder = finish(study, root / "stages", better, num_images=200)
    return write_tables(plan, folder, root / "out", command="neuroalign study run digits.yaml")


@pytest.fixture(scope="module")
def page(tables):
    return (tables.out / "report.html").read_text()


def test_the_verdict_comes_first_and_the_note_after_it(tables, page):
    assert re.match(
        r"Neural guidance \(TO\) by a simulated subject raised accuracy under attack above none \(\+0\.200 "
        r"\[\+0\.\d+, \+0\.\d+\], corrected p = [0-9.e-]+\), label only \(TO\)", tables.sentences[0],
    )  # fmt: skip
    assert tables.sentences[-1] == "The effect is planted."
    assert page.index("raised accuracy") < page.index("The effect is planted.") < page.index("What was done")


def test_the_report_needs_no_other_file(page):
    assert "<script" not in page and set(re.findall(r'src="(.{5})', page)) == {"data:"}


def test_the_report_says_what_was_done(page):
    for text in (
        "<p>First paragraph.</p>\n<p>Second &lt;paragraph&gt;.</p>", "pgd is PGD (Linf, 10 steps) at ε 0.01, 0.02",
        "a random target for each class", "label only 0.50", "There are 4 seeds", "neuroalign study run digits.yaml",
        "comparison with none mixes guidance with step size", "hours of computing", "simulated TO: repeats",
        "known from: repeats",
    ):  # fmt: skip
        assert text in page, text


def test_simulated_stands_wherever_the_numbers_are(page):
    headings = re.findall(r"<h2[^>]*>((?:Accuracy|Advantage|Prediction|Geometry).*)</h2>", page)
    assert len(headings) >= 5 and all("simulated subject" in heading for heading in headings)
    captions = re.findall(r"<figcaption>([^<]*)", page)
    assert len(captions) == 5 and all("simulated" in caption for caption in captions)
    assert "simulated subject" in re.search(r"<title>(.*)</title>", page)[1]


def test_real_responses_are_not_called_simulated(tmp_path):
    plan, folder = finish(nsd_study([1]), tmp_path / "stages")
    write_study_report(gather(plan, folder, tmp_path), {}, tmp_path / "report.html")
    assert "simulated" not in (tmp_path / "report.html").read_text()


def test_a_simulated_subject_among_real_ones_is_named():
    real = {"source": "nsd", "root": "nsd", "regions": ["V2"], "image_size": 32}
    simulated = {"source": "simulated", "subject": "planted", "regions": ["V1", "TO"]}
    assert origin(study_of(responses=[simulated, real])) == "subject planted simulated"


def test_a_fast_run_has_no_verdict(tmp_path):
    plan, folder = finish(study_of(), tmp_path / "stages", better)
    tables = gather(plan, folder, tmp_path, fast=True)
    assert tables.sentences == [
        "A fast run trains too little for its numbers to mean anything, so there is no verdict."
    ]
    write_study_report(tables, {}, tmp_path / "report.html")
    page = (tmp_path / "report.html").read_text()
    assert "(simulated subject, fast run)</h1>" in page
    assert re.search(r"Accuracy under attack <span[^>]*>\(simulated subject, fast run\)</span></h2>", page)


def test_one_seed_is_said_first(tmp_path):
    plan, folder = finish(study_of(seeds=[0]), tmp_path / "stages", better)
    assert gather(plan, folder, tmp_path).sentences[0] == "One replication decides nothing."


def test_budgets_without_a_difference_are_named(tables, page):
    assert "neural guidance (TO) - none: no difference shown on clean images." in page
    assert "Budgets at which no difference is shown" in page


def test_figures_lie_beside_the_report(tables):
    names = {"robustness", "advantage", "plane", "geometry", "prediction"}  # clean accuracy is the same in all networks
    assert {path.stem for path in tables.out.glob("*.png")} == names


def test_conditions_keep_their_order_if_the_first_network_of_one_is_missing(tmp_path):
    study = study_of(comparisons=[])
    plan, folder = finish(study, tmp_path / "stages", num_images=20)
    folder.remove(plan.networks[0].evaluations["pgd"])
    found = accuracy_under(gather(plan, folder, tmp_path).results, "pgd", study)
    assert list(dict.fromkeys(found["condition"])) == [
        "none", "label only (TO)", "neural guidance (V1)", "neural guidance (TO)"
    ]  # fmt: skip


def test_a_control_is_one_by_its_kind_not_by_its_name():
    conditions = {"plain": {"kind": "none"}, "no random things": {"kind": "neural guidance", "regions": ["TO"]}}
    assert controls_of(study_of(conditions=conditions, comparisons=[])) == {"plain"}


def test_the_spread_over_seeds_is_that_of_means_over_subjects():
    rows = [(s, "V1", "g", seed, "pgd accuracy", 0.1, 0.5 + 0.1 * seed + (0.2 if s == "b" else 0), 10, "pgd")
            for s in "ab" for seed in (0, 1)]  # fmt: skip
    columns = ["subject", "region", "condition", "seed", "measure", "eps", "value", "n", "evaluation"]
    study = study_of(conditions={"g": {"kind": "neural guidance"}}, comparisons=[])
    accuracy = accuracy_under(pd.DataFrame(rows, columns=columns), "pgd", study)
    assert accuracy["accuracy"].tolist() == pytest.approx([0.6, 0.7]) and set(accuracy["condition"]) == {"g (V1)"}


def test_a_noise_ceiling_that_is_not_known_is_said_not_drawn(tmp_path):
    study = study_of(comparisons=[], seeds=[0])
    plan, folder = finish(study, tmp_path / "stages")
    for run in plan.predictors:
        table = pd.read_csv(folder.path(run.stage) / "prediction.csv").assign(noise_ceiling=float("nan"))
        folder.put(run.stage, {"prediction.csv": table})
    tables = gather(plan, folder, tmp_path)
    assert set(prediction_summary(tables.prediction)["largest r that noise allows"]) == {"not known"}
    assert "noise ceilings aren't known" in prediction_figure(tables.prediction, "").caption


@pytest.mark.parametrize("width", [60, 140])
def test_the_terminal_shows_tables_differences_and_verdict(tables, width):
    text = io.StringIO()
    print_summary(tables, Console(file=text, width=width))
    shown = " ".join(text.getvalue().split())
    assert "simulated subject: pgd is PGD (Linf, 10 steps)" in shown and "mean ± sd of 4 seeds" in shown
    assert "neural guidance (TO) - none: +0.200" in shown and "higher in 4 of 4" in shown
    assert "Verdict. Neural guidance (TO) by a simulated subject raised" in shown


def test_an_attack_says_its_class_norm_and_images():
    text = attack_text("square", Robustness(attack="square", norm="l2", eps=[0.5], num_images=64))
    assert text == "square is SquareAttack (L2) at ε 0.5, on 64 images"


def test_the_geometry_of_a_seed_is_the_mean_over_subjects():
    columns = ["subject", "region", "condition", "seed", "network", "capacity"]
    rows = [(s, "V1", "g", seed, "classifier", seed + (2.0 if s == "b" else 0.0)) for s in "ab" for seed in (0, 1)]
    rows += [(s, "V1", "", None, "predictor", 0.5) for s in "ab"]
    table = pd.DataFrame(rows, columns=columns).astype({"seed": "Int64"})
    found = geometry_by_seed(table, study_of(conditions={"g": {"kind": "neural guidance"}}, comparisons=[]))
    assert found[found["network"] == "classifier"]["capacity"].tolist() == [1.0, 2.0]
    assert found[found["network"] == "predictor"]["replication"].tolist() == [0, 1]
