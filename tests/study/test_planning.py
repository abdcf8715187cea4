"""Which stages a study has: what is shared, what every seed draws anew, what a change makes stale."""

import copy
import subprocess
import sys

import pytest

from neuroalign.study.planning import plan_study
from neuroalign.study.runs import label_of
from neuroalign.study.settings.conditions import KINDS
from neuroalign.study.study import Study, merged

RECORDED = {
    "name": "Recorded",
    "images": {"source": "arrays", "train": "train.npz"},
    "responses": [
        {
            "source": "recording",
            "region": region,
            "file": f"{region}.npy",
            "images": f"{region}.zip",
            "held_out": {"number": 9},
        }
        for region in ("V1", "V4")
    ],
    "conditions": {"none": None, "neural guidance": {}, "shuffled fit": {}, "random predictor": {"regions": ["V4"]}},
    "seeds": [0, 1],
    "evaluations": {"robustness": {"pgd": {"eps": [0.01]}}},
}
SIMULATED = {
    **RECORDED,
    "images": {"source": "digits", "num_neural": [60, 10], "resplit": True},
    "responses": [{"source": "simulated", "regions": ["V1", "V4"]}],
}


def plan(settings, changes=None, **options):
    return plan_study(Study.from_settings(merged(copy.deepcopy(settings), changes or {})), **options)


def keys(settings, changes=None, **options):
    return {stage.name: stage.key for stage in plan(settings, changes, **options).stages}


def names(plan, kind):
    return [stage.name for stage in plan.stages if stage.kind == kind]


def test_a_predictor_is_fitted_once_for_all_that_need_it():
    assert names(plan(RECORDED), "predictor").count("predictor recorded V4") == 1
    networks = [run for run in plan(RECORDED).networks if run.condition == "neural guidance" and run.region == "V4"]
    assert len({run.stage.needs["predictor"].key for run in networks}) == 1 and len(networks) == 2


@pytest.mark.parametrize("condition", ["shuffled fit", "random predictor"])
def test_controls_that_are_random_are_drawn_for_every_seed(condition):
    runs = [run for run in plan(RECORDED).networks if run.condition == condition and run.region == "V4"]
    drawn = [run.stage.needs["predictor"] for run in runs]
    assert drawn[0].key != drawn[1].key and [stage.settings["seed"] for stage in drawn] == [0, 1]


def test_networks_of_two_seeds_are_never_one():
    runs = plan(RECORDED).networks
    assert len({run.stage.key for run in runs}) == len(runs)


def test_new_splits_share_nothing_between_seeds():
    of = {seed: {s.key for s in plan(SIMULATED, {"seeds": [seed]}).stages} for seed in (0, 1)}
    assert not of[0] & of[1]


def test_another_seed_leaves_the_others_as_they_are():
    assert set(keys(RECORDED).items()) < set(keys(RECORDED, {"seeds": [0, 1, 2]}).items())


@pytest.mark.parametrize(
    ("change", "stale"),
    [
        ({"training": {"epochs": 7}}, {"network", "robustness"}),
        ({"network": {"size": 2}}, {"network", "robustness"}),
        ({"predictors": {"training": {"epochs": 7}}}, {"predictor", "network", "robustness"}),
        ({"evaluations": {"robustness": {"pgd": {"eps": [0.02]}}}}, {"robustness"}),
        ({"evaluations": {"batch_size": 7}}, {"robustness"}),
        ({"images": {"contrast": 0.5}}, {"images", "network", "robustness"}),
        ({"name": "other", "about": "x", "note": "y", "hierarchy": ["V1"]}, set()),
        ({"training": {"accelerator": "cpu", "strategy": "ddp", "num_workers": 3, "logger": "tensorboard"}}, set()),
        ({"training": {"devices": 2}}, {"network", "robustness"}),
        ({"resources": {"network": {"cpus": 4}}}, set()),
    ],
)
def test_a_change_makes_stale_what_depends_on_it_and_nothing_else(change, stale):
    before, after = keys(RECORDED), keys(RECORDED, change)
    changed = {name for name in before if before[name] != after[name]}
    assert {stage.kind for stage in plan(RECORDED).stages if stage.name in changed} == stale
    if "predictors" in change or "images" in change:  # networks without a predictor don't depend on one
        assert ("network none, seed 0" in changed) == ("images" in change)


@pytest.mark.parametrize("change", [{"weight": 0.3}, {"network": {"layer": "layer3", "size": 2}}])
def test_a_network_without_guidance_depends_on_none_of_its_settings(change):
    changed = {"conditions": {"cross-entropy weight": {}}}
    before, after = keys(RECORDED, changed), keys(RECORDED, {**changed, **change})
    of = "network {}, seed 0".format
    assert before[of("none")] == after[of("none")]
    assert before[of("neural guidance recorded V4")] != after[of("neural guidance recorded V4")]
    assert (before[of("cross-entropy weight")] == after[of("cross-entropy weight")]) == ("network" in change)


def test_a_changed_file_makes_its_region_stale_and_no_other():
    before = keys(RECORDED, fingerprint=lambda path: "same")
    after = keys(RECORDED, fingerprint=lambda path: "new" if path.endswith("V1.npy") else "same")
    changed = {name for name in before if before[name] != after[name]}
    assert changed and all("V1" in name for name in changed)
    assert "network neural guidance recorded V1, seed 0" in changed and "stimuli recorded V1" in changed


def test_data_can_be_moved(tmp_path):
    same = {"fingerprint": lambda path: path.rsplit("/", 1)[-1]}
    assert keys(RECORDED, folder=tmp_path, **same) == keys(RECORDED, folder=tmp_path / "x", **same)


def test_an_environment_variable_that_is_not_set(monkeypatch):
    monkeypatch.delenv("NOWHERE", raising=False)
    with pytest.raises(ValueError, match=r"\$NOWHERE is not set"):
        plan(RECORDED, {"images": {"train": "$NOWHERE/train.npz"}})


def test_several_subjects_have_networks_of_their_own_and_share_what_has_no_subject():
    nsd = {"source": "nsd", "root": "nsd", "subjects": [1, 2], "regions": ["V1", "V4"]}
    found = plan({**RECORDED, "responses": [nsd]})
    runs = [(r.condition, r.subject, r.region) for r in found.networks if r.seed == 0]
    assert runs.count(("none", None, None)) == 1
    assert {s for c, s, r in runs if (c, r) == ("neural guidance", "V1")} == {"subj01", "subj02"}
    assert sorted(names(found, "stimuli")) == ["stimuli subj01", "stimuli subj02"]  # once for all regions


def test_all_controls_know_their_treatment():
    conditions = {
        kind: {"regions": ["V4"]} if each.by_region else {}
        for kind, each in KINDS.items()
        if each.needs not in ("rdm",) and kind != "adversarial training"
    }
    for kind in ("noise matched", "rank matched", "spectrum matched"):
        conditions[kind] |= {"like": "V1"}
    found = plan({**RECORDED, "conditions": conditions, "seeds": [0]})
    by_kind = {run.kind: run.stage for run in found.networks}
    assert by_kind["label only"].needs["treatment"].name == "predictor recorded V4"
    assert by_kind["no brain"].needs["manifolds"].name == "manifolds recorded V4"
    assert by_kind["rank matched"].needs["like"].name == "predictor recorded V1"
    assert by_kind["smoothness matched"].needs["guided"] is by_kind["neural guidance"]
    assert by_kind["shuffled images"].settings["condition"]["matched_to"] == "neural guidance"
    assert by_kind["neural guidance"].settings["condition"]["matched_to"] is None


def test_robust_training_alone_and_beside_guidance():
    robust = {"robust_training": {"eps": "4/255", "steps": 4}}
    found = plan(
        RECORDED, {"conditions": {"adversarial training": robust, "both": {"kind": "neural guidance", **robust}}}
    )
    described = {run.condition: run.stage.settings["condition"]["robust_training"] for run in found.networks}
    assert described["none"] is None
    assert described["adversarial training"] == described["both"] == {
        "class_path": "neuroalign.tasks.AdversarialTraining", "init_args": {"eps": 4 / 255, "norm": "linf", "steps": 4}
    }  # fmt: skip


def test_labels_name_the_region():
    assert label_of("neural guidance", "V4") == "neural guidance (V4)" and label_of("none", None) == "none"


def test_a_large_study_is_planned_at_once_and_without_torch():
    """Hundreds of networks; planning them loads nothing heavy, so that a mistake is told at once."""
    code = (
        "import sys\nfrom neuroalign.study.study import Study\nfrom neuroalign.study.planning import plan_study\n"
        f"plan = plan_study(Study.from_settings({RECORDED!r}))\n"
        "print(len(plan.stages), [m for m in ('torch', 'lightning', 'pandas', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split(maxsplit=1)[1].strip() == "[]"


def test_images_that_stay_in_their_folder_can_be_moved():
    def planned(root):
        images = {"source": "folder", "root": root, "train": None, "image_size": 8}
        return plan(RECORDED, {"images": images}, fingerprint=lambda path: "the same")

    before, after = planned("/disk/images"), planned("/other/images")
    assert [stage.key for stage in before.stages] == [stage.key for stage in after.stages]
    needing = [stage for stage in after.stages if "images" in stage.needs]
    assert needing and all(stage.sources["root"] == "/other/images" for stage in needing)
