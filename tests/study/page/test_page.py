"""The report of a study as HTML: well formed, in order, with links that lead somewhere, and nothing that isn't there."""

import re
from dataclasses import replace

import pandas as pd
import pytest
from matplotlib.figure import Figure

from neuroalign.study.figures import study_figures
from neuroalign.study.figures.captioned import Captioned
from neuroalign.study.page.results import section_of
from neuroalign.study.study_report import page_of, write_study_report
from neuroalign.study.tables import gather
from tests.study.finished import finish, study_of
from tests.study.page.checked import Checked
from tests.study.test_comparing import better

HOSTILE = "<script>alert('x')</script> & \"quoted\" {{ 7 * 7 }} {% raw %}"


def written(tables, folder, figures=None):
    write_study_report(tables, figures or {}, folder / "report.html")
    return (folder / "report.html").read_text()


def ids_of(page):
    return re.findall(r'<section id="([^"]*)"', page)


def test_the_page_is_well_formed_and_its_links_lead_somewhere(tables):
    checked = Checked((tables.out / "report.html").read_text(), tables.out)
    assert checked.faults == []
    files = {link for link in checked.links if not link.startswith(("#", "data:"))}
    assert {"results.csv", "comparisons.csv", "robustness.png", "robustness.pdf", "study.json"} <= files


@pytest.mark.parametrize(
    ("wrong", "fault"),
    [
        ("<p><b></p>", "closes something else"), ("<section id='files'></section>", "stands there twice"),
        ("<a href='#nowhere'></a>", "leads nowhere"), ("<a href='no.csv'></a>", "no.csv isn't there"),
        ("<h1></h1>", "2 headings"), ("<h4></h4>", "heading 4 below"), ("<img src='data:,'>", "no alt"),
        ("<th></th>", "no scope"), ("<p onclick='x()'></p>", "a script"),
    ],
)  # fmt: skip
def test_faults_would_be_seen(tables, wrong, fault):
    page = (tables.out / "report.html").read_text().replace("</main>", f"{wrong}</main>")
    assert any(fault in found for found in Checked(page, tables.out).faults)


def test_sections_stand_in_order_and_contents_name_each(tables):
    page = (tables.out / "report.html").read_text()
    assert ids_of(page) == [
        "verdict", "accuracy", "advantage", "plane", "geometry", "explaining", "prediction", "methods", "settings", "files"
    ]  # fmt: skip
    nav = re.search(r"<nav.*?</nav>", page, re.DOTALL)[0]
    assert re.findall(r'href="#([^"]*)"', nav) == ids_of(page)[1:]


def test_what_was_not_evaluated_is_not_mentioned(tmp_path):
    study = study_of(evaluations={"robustness": {"pgd": {"eps": [0.01]}}}, comparisons=[])
    plan, folder = finish(study, tmp_path / "stages", num_images=20)
    page = written(gather(plan, folder, tmp_path), tmp_path)
    assert ids_of(page) == ["verdict", "accuracy", "prediction", "methods", "settings"]
    for word in ("orruption", "hape bias", "moothness", "ransfer", "ierarchy", "masked", "eometry", "Holm"):
        assert word not in page, word


def test_every_evaluation_has_its_section(tmp_path):
    study = study_of(evaluations={
        "robustness": {"pgd": {"eps": [0.01]}}, "smoothness": {}, "corruptions": {}, "masking": {},
        "transfer": {"eps": 0.01},
    }, comparisons=[])  # fmt: skip
    plan, folder = finish(study, tmp_path / "stages", num_images=20)
    measures = {
        "smoothness": "input gradient (clean)",
        "corruptions": "corruption accuracy fog",
        "masking": "masking passed",
    }
    for run in plan.networks:
        for name, measure in measures.items():
            rows = pd.DataFrame({"measure": [measure], "eps": [1.0], "value": [0.5], "n": [8]})
            folder.put(run.evaluations[name], {"rows.csv": rows, "masking.json": {"passed": True, "failed": []}})
    for stage in plan.transfers.values():
        pairs = pd.DataFrame({"source": ["none", "x"], "target": ["x", "none"], "rate": [0.25, 0.75], "n": [8, 8]})
        folder.put(stage, {"transfer.csv": pairs})
    page = written(gather(plan, folder, tmp_path), tmp_path)
    assert Checked(page).faults == []
    assert ids_of(page) == [
        "verdict", "accuracy", "prediction", "smoothness", "transfer", "corruptions", "missing", "methods", "settings"
    ]  # fmt: skip
    assert "No network that was checked failed a check." in page and "of n = 4 seeds" in page
    assert ">fog 1</th>" in page and ">0.750</td>" in page


def test_texts_of_others_are_never_markup(tmp_path):
    study = study_of(name=HOSTILE, about=HOSTILE, note=HOSTILE, seeds=[0, 1])
    plan, folder = finish(study, tmp_path / "stages", num_images=20)
    folder.remove(plan.networks[0].evaluations["geometry"], error=HOSTILE)
    page = written(gather(plan, folder, tmp_path, command=HOSTILE), tmp_path)
    assert Checked(page).faults == []
    assert (
        page.count("&lt;script&gt;alert") >= 6 and "{{ 7 * 7 }}" in page and "49" not in re.sub(r"\d+\.\d+", "", page)
    )


def test_the_note_is_what_the_study_cannot_say_and_stands_there_once(tables):
    page = (tables.out / "report.html").read_text()
    assert page.count("The effect is planted.") == 1
    assert "<strong>What this can't say.</strong> The effect is planted." in page


def test_the_summary_has_interval_outcome_and_unit(tables):
    summary = page_of(tables, {}, tables.out).summary
    assert summary.columns == [
        "Treatment",
        "Control",
        "Difference",
        "95 % interval",
        *summary.columns[4:-2],
        "Outcome",
        "n",
    ]
    first = dict(zip(summary.columns, summary.rows[0]))
    assert first["Difference"] == "+0.200" and first["Outcome"] == "higher" and first["n"] == "3 replications"
    assert re.fullmatch(r"\[\+0\.\d{3}, \+0\.\d{3}\]", first["95 % interval"])


def test_p_values_are_shown_if_there_are_any(tables):
    page = page_of(tables, {}, tables.out)
    given = tables.comparisons.assign(p=[0.0001, 0.02, 0.3], p_holm=[0.0003, 0.04, 0.3], test=["t test over seeds"] * 3)
    changed = page_of(_replaced(tables, comparisons=given), {}, tables.out)
    shown = [dict(zip(changed.summary.columns, row)) for row in changed.summary.rows]
    assert [(row["p"], row["p after Holm"]) for row in shown] == [
        ("< 0.001", "< 0.001"), ("0.020", "0.040"), ("0.300", "0.300")
    ]  # fmt: skip
    assert "Test: t test over seeds." in changed.reading and "Holm's correction" in changed.reading
    assert page.reading.startswith("Difference in accuracy")


def test_a_trend_and_an_explanation_are_shown_in_words(tables):
    trend = pd.DataFrame({
        "hierarchy": ["V1 < TO"] * 2, "statistic": [4.0, 2.0], "p": [0.0625, float("nan")], "effect": [0.2, 0.0],
        "n": [4, 4], "condition": ["neural guidance"] * 2, "control": ["", "none"], "measure": ["pgd"] * 2,
        "p_holm": [0.125, float("nan")], "low": [0.1, -0.1], "high": [0.3, 0.1], "unit": ["replication"] * 2,
        "test": ["sign test over replications"] * 2, "mixed_p": [float("nan")] * 2,
    })  # fmt: skip
    explained = pd.DataFrame({
        "layer": ["features"], "measure": ["capacity"], "scope": ["between conditions"], "n": [17], "unit": ["condition"],
        "slope": [0.01], "low": [-0.01], "high": [0.03], "partial_r": [0.3], "partial_low": [-0.2], "partial_high": [0.7],
        "expected": ["+"], "test": ["t test"], "networks": ["all"], "conditions": [17], "df": [14], "p": [0.2],
        "p_holm": [0.2], "r": [0.1], "note": [""],
    })  # fmt: skip
    sections = {
        s.id: s for s in page_of(_replaced(tables, trend=trend, geometry_robustness=explained), {}, tables.out).sections
    }
    grid = sections["trend"].grids[0]
    assert grid.title == "Change of accuracy per step of V1 < TO, under pgd"
    first = dict(zip(grid.columns, grid.rows[0]))
    assert first["Change per step"] == "+0.200" and first["95 % interval"] == "[+0.100, +0.300]"
    assert first["p"] == "0.062" and first["n"] == "4 replications" and "p (mixed model)" not in first
    assert "Test: sign test over replications." in sections["trend"].reading
    (row,) = sections["explaining"].grids[0].rows
    named = dict(zip(sections["explaining"].grids[0].columns, row))
    assert "no measure of geometry is shown to predict robustness" in sections["explaining"].paragraphs[0]
    assert named["95 % interval of partial r"] == "[-0.200, +0.700]" and named["n"] == "17 conditions"


def test_similarity_is_a_matrix_that_has_each_pair_twice(tables):
    columns = ["first", "second", "first_network", "second_network", "layer", "similarity", "n_images"]
    rows = [
        ("none", "none", "classifier", "classifier", "features", 0.8, 30),
        ("none", "V1", "classifier", "predictor", "features", 0.1, 30),
        ("none", "V1", "classifier", "predictor", "features", 0.3, 30),
    ]
    changed = _replaced(tables, similarity=pd.DataFrame(rows, columns=columns))
    (section,) = (s for s in page_of(changed, {}, tables.out).sections if s.id == "similarity")
    assert section.grids[0].columns == ["Networks", "none", "V1, predicted"]
    assert section.grids[0].rows == [["none", "0.800", "0.200"], ["V1, predicted", "0.200", ""]]
    assert "n is 3 pairs of networks, on 30 test images." in section.reading


def _replaced(tables, **changes):
    return replace(tables, **changes)


def test_a_fast_run_shows_no_outcome_and_says_so(tmp_path):
    plan, folder = finish(study_of(seeds=[0, 1], name="Simulated digits"), tmp_path / "stages", better)
    tables = gather(plan, folder, tmp_path, fast=True)
    page = page_of(tables, {}, tmp_path)
    assert page.title == "Simulated digits (fast run)" and "Outcome" not in page.summary.columns
    assert page.verdict == ["A fast run trains too little for its numbers to mean anything, so there is no verdict."]


def test_an_unfinished_study_says_what_is_missing_and_folds_long_lists(tmp_path):
    plan, folder = finish(study_of(), tmp_path / "stages", num_images=20)
    for run in plan.networks[1:]:
        for stage in run.evaluations.values():
            folder.remove(stage)
    page = written(gather(plan, folder, tmp_path), tmp_path)
    assert Checked(page).faults == []
    assert "This study isn&#39;t complete" in page and "missing" in ids_of(page)
    assert page.count("not run yet") == 2 * (len(plan.networks) - 1) and "<summary>and 6 more</summary>" in page


def test_nothing_finished_still_gives_a_page(tmp_path):
    plan, folder = finish(study_of(), tmp_path / "stages", num_images=20)
    for stage in plan.stages:
        folder.remove(stage)
    page = written(gather(plan, folder, tmp_path), tmp_path)
    assert Checked(page).faults == [] and ids_of(page) == ["verdict", "missing", "methods", "settings"]


def test_figures_that_nobody_knows_are_shown_at_the_end(tables):
    figure = Figure(figsize=(1, 1))
    figure.subplots()
    sections = page_of(
        tables, {"robustness_l2": Captioned(figure, "A"), "novel": Captioned(figure, "B")}, tables.out
    ).sections
    found = {section.id: [picture.name for picture in section.pictures] for section in sections if section.pictures}
    assert found == {"accuracy": ["robustness_l2"], "more": ["novel"]}
    assert section_of("mds") == "similarity" and section_of("layers") == "geometry"


def test_figures_are_written_as_png_and_pdf_the_same_every_time(tables):
    again = study_figures(tables)["advantage"]
    assert (tables.out / "advantage.png").read_bytes() == again.png
    pdf = (tables.out / "advantage.pdf").read_bytes()
    assert pdf[:5] == b"%PDF-" and pdf == again.pdf and b"CreationDate" not in pdf


def test_the_page_is_small_enough_to_be_sent(tables):
    pictures = len(list(tables.out.glob("*.png")))
    assert (tables.out / "report.html").stat().st_size < pictures * 330_000
