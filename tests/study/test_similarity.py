"""The table of representational similarity of a study's networks and regions."""

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.spatial.distance import pdist
from scipy.stats import pearsonr, spearmanr

from neuroalign.study import Study, plan_study
from neuroalign.study.collecting import Finished
from neuroalign.study.plan_text import counts_text
from neuroalign.study.similarity import correlations, similarity_table
from neuroalign.study.study import StudyError
from neuroalign.study.tables import write_tables
from tests.study.dissimilarities import features_of, finish_rdms, put_rdms
from tests.study.finished import FakeFolder, finish, study_of

COLUMNS = [
    "first", "second", "first_network", "second_network", "subject_first", "subject_second", "seed_first", "seed_second",
    "layer", "similarity", "n_images",
]  # fmt: skip


def study_with(rsa=None, *, resplit=False, **changes):
    images = {"source": "digits", "num_neural": [600, 100], "resplit": resplit}
    evaluations = {"robustness": {"pgd": {"steps": 10, "eps": [0.01]}}, "rsa": rsa or {}}
    return study_of(images=images, evaluations=evaluations, **{"seeds": [0, 1, 2], **changes})


def made(study, root, **options):
    plan, folder = plan_study(study), FakeFolder(root)
    finish_rdms(plan, folder, **options)
    return plan, folder


def table_of(plan, folder):
    return similarity_table(Finished.of(plan, folder))


def name_of(plan, row, side):
    """Name of the stage that a side of a row is of."""
    subject, seed = row[f"subject_{side}"], row[f"seed_{side}"]
    if row[f"{side}_network"] == "predictor":
        return f"predictor {subject} {row[side]}"
    condition, _, region = row[side].removesuffix(")").partition(" (")
    return f"network {condition}{f' {subject} {region}' if region else ''}, seed {seed}"


class TestPlan:
    def test_every_network_and_region_has_a_stage(self):
        plan = plan_study(study_with({"num_images": 30, "layers": ["layer1"]}))
        stages = {stage.name: stage for stage in plan.stages if stage.kind == "rsa"}
        assert {f"rsa of {run.stage.name}" for run in plan.networks} < set(stages)
        assert "rsa of predictor simulated V1" in stages and len(stages) == len(plan.networks) + 2
        assert stages["rsa of network none, seed 0"].settings["layers"] == ["layer1"]
        assert stages["rsa of predictor simulated V1"].settings["layers"] == []
        of = len(plan.networks)
        assert counts_text(plan) == f"{of} networks, 2 predictors, {2 * of + 2} evaluations"

    def test_regions_can_be_left_out(self):
        plan = plan_study(study_with({"predictors": False}))
        assert not any(run.rsa for run in plan.predictors)

    def test_only_right_fits_are_regions(self):
        plan = plan_study(
            study_with(conditions={"none": {}, "shuffled fit": {}, "neural guidance": {}}, comparisons=[])
        )
        assert {run.fit for run in plan.predictors} == {"right", "shuffled"}
        assert all(bool(run.rsa) == (run.fit == "right") for run in plan.predictors)

    def test_how_networks_are_compared_measures_none_of_them_again(self):
        def keys(rsa):
            return {stage.name: stage.key for stage in plan_study(study_with(rsa)).stages}

        before = keys({})
        assert keys({"comparison": "pearson", "predictors": True}) == before
        assert keys({"num_images": 50}) != before
        changed = keys({"layers": ["layer1"]})
        assert {n.split(" of ")[1].split()[0] for n in before if changed[n] != before[n]} == {"network"}

    def test_a_predictor_that_seeds_share_sees_the_images_of_each(self):
        changes = {"responses": [{"source": "recording", "region": "V4", "file": "a.npy", "images": "a.zip",
                                  "held_out": {"number": 9}}],
                   "conditions": {"none": {}, "neural guidance": {}}, "comparisons": []}  # fmt: skip
        (shared,) = plan_study(study_with(**changes)).predictors
        (split,) = plan_study(study_with(resplit=True, **changes)).predictors
        assert [s.name for s in shared.rsa.values()] == ["rsa of predictor recorded V4"]
        assert [s.name for s in split.rsa.values()] == [f"rsa of predictor recorded V4, seed {s}" for s in (0, 1, 2)]
        assert len({stage.needs["images"].key for stage in split.rsa.values()}) == 3

    @pytest.mark.parametrize(
        "wrong", [{"num_images": 2}, {"num_images": 2001}, {"comparison": "kendall"}, {"layer": "a"}]
    )
    def test_settings_out_of_their_range(self, wrong):
        with pytest.raises((StudyError, ValueError), match=f"evaluations.rsa.*{next(iter(wrong))}"):
            Study.from_settings({**study_of().model_dump(mode="json"), "evaluations": {"rsa": wrong}})


class TestTable:
    @pytest.mark.parametrize("comparison", ["spearman", "pearson"])
    def test_every_pair_has_the_correlation_of_its_dissimilarities(self, tmp_path, comparison):
        plan, folder = made(study_with({"comparison": comparison, "layers": ["layer1"]}), tmp_path)
        table = table_of(plan, folder)
        entries = len(plan.networks) + 2
        assert list(table) == COLUMNS and len(table) == 2 * entries * (entries - 1) // 2
        correlate = {"spearman": spearmanr, "pearson": pearsonr}[comparison]
        for _, row in table.iterrows():
            rdms = []
            for side in ("first", "second"):
                layer = "features" if row[f"{side}_network"] == "predictor" else row["layer"]
                features = features_of(f"{name_of(plan, row, side)} {layer}", 20)
                rdms.append(pdist(features, "correlation").astype(np.float32))
            assert row["similarity"] == pytest.approx(correlate(*rdms).statistic, abs=1e-6)
        assert set(table["n_images"]) == {20} and set(table["layer"]) == {"features", "layer1"}

    def test_rows_are_in_the_order_of_the_study(self, tmp_path):
        table = table_of(*made(study_with(), tmp_path))
        labels = ["none", "label only (TO)", "neural guidance (V1)", "neural guidance (TO)", "V1", "TO"]
        assert list(dict.fromkeys(table["first"])) == labels[:-1] and table["second"].iloc[-1] == "TO"
        places = table[["first", "second"]].map(labels.index)
        assert (places["first"] <= places["second"]).all()
        of_region = table[table["second_network"] == "predictor"]
        assert set(of_region["second"]) == {"V1", "TO"} and of_region["seed_second"].isna().all()
        assert set(of_region["subject_second"]) == {"simulated"}

    def test_the_order_of_the_images_changes_nothing(self, tmp_path):
        order = np.random.default_rng(1).permutation(20)
        before = table_of(*made(study_with(), tmp_path / "a"))
        after = table_of(
            *made(study_with(), tmp_path / "b", features=lambda name, layer: features_of(f"{name} {layer}", 20)[order])
        )
        assert after["similarity"].to_numpy() == pytest.approx(before["similarity"].to_numpy(), abs=1e-6)

    def test_equal_networks_have_1_and_networks_of_other_images_about_0(self, tmp_path):
        """Two conditions are copies; the third has the same features in another order of images."""
        features = np.random.default_rng(0).normal(size=(60, 8))
        shuffled = features[np.random.default_rng(1).permutation(60)]
        plan, folder = made(
            study_with(seeds=[0]),
            tmp_path,
            num_images=60,
            features=lambda name, layer: shuffled if "label" in name else features,
        )
        table = table_of(plan, folder)
        other = (table["first"] == "label only (TO)") | (table["second"] == "label only (TO)")
        assert table.loc[~other, "similarity"].to_numpy() == pytest.approx(1, abs=1e-9)
        assert table.loc[other, "similarity"].abs().max() < 0.1

    def test_networks_of_other_images_are_not_compared(self, tmp_path):
        """New splits give every seed test images of its own."""
        plan, folder = made(study_with(resplit=True), tmp_path)
        table = table_of(plan, folder)
        assert (table["seed_first"] == table["seed_second"]).all() and set(table["seed_first"]) == {0, 1, 2}
        per_seed = len(plan.networks) // 3 + 2
        assert len(table) == 3 * per_seed * (per_seed - 1) // 2

    def test_what_is_not_finished_leaves_its_rows_out(self, tmp_path):
        plan, folder = made(study_with(), tmp_path)
        whole = table_of(plan, folder)
        run = next(run for run in plan.networks if run.condition == "label only" and run.seed == 1)
        folder.remove(run.evaluations["rsa"])
        folder.put(plan.predictors[0].rsa[0], {})
        (tmp_path / plan.predictors[0].rsa[0].key / "rdm.safetensors").unlink()  # made by a version without this file
        table = table_of(plan, folder)
        gone = pd.Series(False, index=whole.index)
        for side in ("first", "second"):
            gone |= (whole[side] == "label only (TO)") & (whole[f"seed_{side}"] == 1)
            gone |= whole[side] == plan.predictors[0].region
        pd.testing.assert_frame_equal(table, whole[~gone].reset_index(drop=True))

    def test_nothing_finished_and_nothing_asked_for(self, tmp_path):
        plan = plan_study(study_with())
        empty = table_of(plan, FakeFolder(tmp_path))
        assert list(empty) == COLUMNS and empty.empty
        without = table_of(*finish(study_of(), tmp_path / "without"))
        assert list(without) == COLUMNS and without.empty

    def test_results_of_other_images_under_the_same_key_are_found(self, tmp_path):
        plan, folder = made(study_with(), tmp_path)
        features = {"features": features_of("x", 20)}
        put_rdms(folder, plan.networks[0].evaluations["rsa"], features, torch.arange(20) + 1)
        with pytest.raises(
            ValueError, match=r"evaluations.rsa: 'none' was shown other images|other images than 'none'"
        ):
            table_of(plan, folder)

    def test_a_large_study_needs_no_loop_over_pairs(self):
        """Blocks of pairs of images add up to the whole, ties share their mean rank."""
        rdms = np.random.default_rng(0).integers(0, 50, (4, 3 * 2**16 + 5)).astype(np.float32)
        assert np.allclose(correlations(rdms), spearmanr(rdms, axis=1).statistic, atol=1e-6)
        assert np.allclose(correlations(rdms, ranked=False), np.corrcoef(rdms), atol=1e-6)

    @pytest.mark.slow
    def test_it_is_written_with_the_other_tables(self, tmp_path):
        study = study_with(seeds=[0, 1], comparisons=[])
        plan, folder = finish(study, tmp_path / "stages")
        finish_rdms(plan, folder)
        write_tables(plan, folder, tmp_path / "out")
        written = pd.read_csv(tmp_path / "out/rsa.csv")
        assert list(written) == COLUMNS and len(written) == len(table_of(plan, folder))
        assert "rsa" not in set(pd.read_csv(tmp_path / "out/results.csv")["measure"])
