"""The tables of a study from the folders of its finished stages."""

import json

import numpy as np
import pandas as pd
import pytest

from neuroalign.study.planning import plan_study
from neuroalign.study.study import Study
from neuroalign.study.study_report import write_study_report
from neuroalign.study.tables import gather, write_tables
from tests.study.finished import FakeFolder, finish, study_of


def read(out, name):
    return pd.read_csv(out / f"{name}.csv")


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A small study, all of it finished, and its tables."""
    root = tmp_path_factory.mktemp("study")
    study = study_of()
    plan, folder = finish(
        study, root / "stages", lambda run, eps: 0.9 - 10 * eps if run.region == "TO" else 0.9 - 20 * eps
    )
    return plan, folder, write_tables(plan, folder, root / "out", command="neuroalign study run digits.yaml")


def test_results_have_a_row_per_network_measure_and_budget(written):
    plan, _, tables = written
    results = read(tables.out, "results")
    assert list(results) == ["subject", "region", "condition", "seed", "measure", "eps", "value", "n"]
    attacked = results[results["measure"] == "pgd accuracy"]
    assert len(attacked) == len(plan.networks) * 3
    to = attacked[(attacked["condition"] == "neural guidance") & (attacked["region"] == "TO") & (attacked["seed"] == 2)]
    assert to["value"].tolist() == pytest.approx([0.9, 0.8, 0.7], abs=0.01) and set(to["n"]) == {60}
    assert set(to["subject"]) == {"simulated"}
    capacity = results[results["measure"] == "capacity"]
    assert len(capacity) == len(plan.networks) and capacity["eps"].isna().all()


def test_rows_are_in_the_order_of_the_plan(written):
    plan, _, tables = written
    results = read(tables.out, "results")
    order = results[["condition", "region", "seed"]].fillna("").drop_duplicates().to_numpy().tolist()
    assert order == [[run.condition, run.region or "", run.seed] for run in plan.networks]


def test_predictors_have_a_row_per_voxel_in_the_order_of_the_regions(written):
    prediction = read(written[2].out, "prediction")
    assert list(prediction) == ["subject", "region", "fit", "seed", "voxel", "correlation", "noise_ceiling"]
    assert list(dict.fromkeys(prediction["region"])) == ["V1", "TO"]
    assert len(prediction) == 2 * 4 * 5


def test_geometry_has_a_row_per_predictor_and_network(written):
    plan, _, tables = written
    geometry = read(tables.out, "geometry")
    assert geometry["network"].value_counts().to_dict() == {"classifier": len(plan.networks), "predictor": 8}
    assert geometry["capacity"].notna().all()


def test_factors_are_those_of_controls_alone(written):
    factors = read(written[2].out, "factors")
    assert set(factors["condition"]) == {"label only"} and len(factors) == 4
    assert set(factors["matched_to"]) == {"neural guidance"} and set(factors["factor"]) == {0.5}


@pytest.mark.slow
def test_a_seed_without_a_predictor_of_its_own_is_empty_and_others_stay_whole(tmp_path):
    study = study_of(
        images={"source": "digits", "num_neural": [600, 100]},
        conditions={"none": {}, "neural guidance": {}, "shuffled fit": {"regions": ["TO"]}},
        comparisons=[],
    )
    plan, folder = finish(study, tmp_path / "stages")
    write_tables(plan, folder, tmp_path)
    rows = [line.split(",")[:4] for line in (tmp_path / "prediction.csv").read_text().splitlines()[1:]]
    assert ["simulated", "TO", "right", ""] in rows and ["simulated", "TO", "shuffled", "3"] in rows


def test_what_failed_leaves_its_rows_out_and_is_named(tmp_path):
    plan, folder = finish(study_of(), tmp_path / "stages")
    run = plan.networks[3]
    folder.remove(run.stage, "ValueError: the loss is NaN at step 40")
    for stage in run.evaluations.values():
        folder.remove(stage)
    tables = write_tables(plan, folder, tmp_path)
    results = read(tmp_path, "results")
    assert len(results) == (len(plan.networks) - 1) * 7
    facts = json.loads((tmp_path / "study.json").read_text())
    assert facts["failed"] == {run.stage.name: "ValueError: the loss is NaN at step 40"}
    waits = facts["missing"][run.evaluations["pgd"].name]
    assert waits == f"not run, because '{run.stage.name}' failed"
    page = (tmp_path / "report.html").read_text()
    assert "the loss is NaN at step 40" in page and "isn&#39;t complete: 3 of its stages" in page
    assert any("isn't complete" in sentence for sentence in tables.sentences)


def test_nothing_finished_gives_empty_tables_and_no_verdict(tmp_path):
    plan, folder = finish(study_of(), tmp_path / "stages")
    for stage in plan.stages:
        folder.remove(stage)
    tables = write_tables(plan, folder, tmp_path)
    assert len(read(tmp_path, "results")) == len(read(tmp_path, "comparisons")) == 0
    assert tables.sentences[0].startswith("Nothing was compared")
    assert set(tables.missing.values()) == {"not run yet"}
    assert not list(tmp_path.glob("*.png"))


def test_copies_are_an_error_that_names_both_seeds(tmp_path):
    plan, folder = finish(study_of(), tmp_path / "stages")
    runs = [run for run in plan.networks if (run.condition, run.region) == ("neural guidance", "TO")]
    folder.put(runs[3].stage, {"network.json": json.loads((folder.path(runs[1].stage) / "network.json").read_text())})
    with pytest.raises(ValueError, match=r"neural guidance \(TO\).*seeds 1 and 3 have the same weights"):
        gather(plan, folder, tmp_path)


def test_equal_weights_of_other_conditions_are_no_copies(tmp_path):
    plan, folder = finish(study_of(), tmp_path / "stages")
    for run in plan.networks:
        folder.put(run.stage, {"network.json": {"weights_crc": f"{run.seed:08x}", "factor": None}})
    assert len(gather(plan, folder, tmp_path).compared) == 3


def test_study_json_tells_how_the_study_was_run(written):
    plan, _, tables = written
    facts = json.loads((tables.out / "study.json").read_text())
    assert facts["stages"] == {stage.name: stage.key for stage in plan.stages}
    assert facts["hours"] == pytest.approx(len(plan.stages) * 0.01)
    assert facts["started"] == 1000.0 and facts["command"] == "neuroalign study run digits.yaml"
    assert set(facts["versions"]) == {"neuroalign", "python", "torch", "lightning", "numpy"}
    assert facts["study"]["seeds"] == [0, 1, 2, 3] and facts["fast"] is False and facts["missing"] == {}


def test_the_recorded_study_is_the_one_that_was_run(tmp_path):
    """The key of an array in a file looks like a secret; with stars in its place, it would be another study."""
    recorded = {"source": "recording", "region": "V1", "file": "v1.npz", "key": "counts", "axes": "stimulus voxel",
                "images": "shown.zip", "image_size": 8, "held_out": {"number": 2}}  # fmt: skip
    study = study_of(
        responses=[recorded], conditions={"none": {}, "neural guidance": {}}, comparisons=[], seeds=[0], evaluations={},
        predictors={"kind": "ridge"},
    )  # fmt: skip
    plan = plan_study(study)
    tables = gather(plan, FakeFolder(tmp_path / "stages"), tmp_path, command="https://me:pw@host/x?token=abc")
    assert Study.from_settings(tables.facts["study"]) == study
    assert "pw" not in json.dumps(tables.facts) and "abc" not in json.dumps(tables.facts)


@pytest.mark.slow
def test_study_json_keeps_what_others_wrote(tmp_path):
    plan, folder = finish(study_of(comparisons=[]), tmp_path / "stages")
    (tmp_path / "study.json").write_text(json.dumps({"engine": "local", "command": "first", "failed": {"x": "old"}}))
    write_tables(plan, folder, tmp_path)
    facts = json.loads((tmp_path / "study.json").read_text())
    assert facts["engine"] == "local" and facts["command"] == "first" and facts["failed"] == {}


@pytest.mark.slow
def test_layers_transfer_and_masked_gradients_are_reported(tmp_path):
    study = study_of(evaluations={
        "robustness": {"pgd": {"eps": [0.01]}}, "geometry": {"layers": ["layer1"]}, "masking": {}, "transfer": {"eps": 0.01}
    })  # fmt: skip
    plan, folder = finish(study, tmp_path / "stages")
    rows = pd.DataFrame({"measure": ["checks passed"], "eps": [np.nan], "value": [5], "n": [8]})
    for run in plan.networks:
        wrong = run.seed == 1 and run.region is None
        facts = {"passed": not wrong, "failed": ["random search finds more"] if wrong else []}
        folder.put(run.evaluations["masking"], {"rows.csv": rows, "masking.json": facts})
        folder.put(run.evaluations["geometry"], {"layers.csv": pd.DataFrame({"layer": ["layer1"], "capacity": [0.3]})})
    for stage in plan.transfers.values():
        table = pd.DataFrame({"source": ["none"], "target": ["label only (TO)"], "rate": [0.25], "n": [60]})
        folder.put(stage, {"transfer.csv": table})
    tables = write_tables(plan, folder, tmp_path)
    assert tables.masked == {"network none, seed 1": ["random search finds more"]}
    assert "network none, seed 1: random search finds more" in (tmp_path / "report.html").read_text()
    assert read(tmp_path, "transfer")["seed"].tolist() == [0, 1, 2, 3]
    layers = read(tmp_path, "layers")
    assert set(layers["layer"]) == {"layer1"} and len(layers) == len(plan.networks)
    assert "checks passed" in set(read(tmp_path, "results")["measure"])


def test_passwords_in_urls_are_not_written(tmp_path):
    source = {"source": "nsd", "root": "https://me:hunter2@host/nsd", "regions": ["V1"], "image_size": 32}
    study = study_of(
        images={"source": "digits"}, responses=[source], conditions={"none": {}, "neural guidance": {}}, comparisons=[]
    )
    plan, folder = finish(study, tmp_path / "stages")
    tables = gather(plan, folder, tmp_path)
    write_study_report(tables, {}, tmp_path / "report.html")
    assert "hunter2" not in json.dumps(tables.facts) + (tmp_path / "report.html").read_text()
    assert "***@host/nsd" in json.dumps(tables.facts)
