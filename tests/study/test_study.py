"""A study's file: what it may say, and that every mistake names its key."""

import copy

import pytest
import yaml

from neuroalign.study.settings.conditions import KINDS
from neuroalign.study.study import Study, StudyError, merged

BASE = {
    "name": "Digits",
    "images": {"source": "digits", "num_neural": [60, 10]},
    "responses": [{"source": "simulated", "regions": ["V1", "TO"]}],
    "conditions": {"none": None, "neural guidance": {}, "shuffled fit": {"regions": ["TO"]}},
    "evaluations": {"robustness": {"pgd": {"eps": ["2/255", 0.03]}}},
    "comparisons": [{"treatment": "neural guidance", "region": "TO", "controls": ["none", "shuffled fit"]}],
}


def with_(**changes):
    return merged(copy.deepcopy(BASE), changes)


def message(settings):
    with pytest.raises(StudyError) as error:
        Study.from_settings(settings)
    return str(error.value)


def test_a_file_and_an_object_are_the_same_study(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(BASE))
    assert Study.from_file(path) == Study.from_settings(BASE) == Study(**BASE)


def test_budgets_are_read_as_people_write_them():
    assert Study.from_settings(BASE).evaluations.robustness["pgd"].eps == [2 / 255, 0.03]


def test_a_study_survives_json(tmp_path):
    study = Study.from_settings(BASE)
    assert Study.model_validate_json(study.model_dump_json()) == study


@pytest.mark.parametrize(
    ("changes", "wanted"),
    [
        ({"nmae": "x"}, "there is no key 'nmae' here; did you mean 'name'?"),
        ({"images": {"source": "digit"}}, "images.source: 'digit' is none of .*did you mean 'digits'"),
        ({"images": {"num_vla": 3}}, "images: there is no key 'num_vla' here; did you mean 'num_val'"),
        ({"images": {"source": "zip"}}, "images: source 'zip' needs 'train'"),
        ({"responses": [{"source": "nds"}]}, "responses.0: 'nds' is none of .*did you mean 'nsd'"),
        (
            {"responses": [{"source": "nsd", "root": "x", "subjects": [9], "regions": ["V1"]}]},
            "subjects.0.*at most 8",
        ),
        ({"conditions": {"shufled fit": {}}}, "conditions.shufled fit: .*did you mean 'shuffled fit'"),
        ({"conditions": {"mine": {"kind": "nnoe"}}}, "conditions.mine: 'kind' 'nnoe' is no kind.*did you mean 'none'"),
        (
            {"conditions": {"none": {"wieght": 0.5}}},
            "conditions.none: there is no key 'wieght' here; did you mean 'weight'",
        ),
        ({"conditions": {"none": {"regions": ["V1"]}}}, "conditions.none: 'none' has no region"),
        (
            {"conditions": {"label only": {"regions": ["IT"]}}},
            "conditions.label only: no responses of region 'IT'.*there are: V1, TO",
        ),
        (
            {"conditions": {"none": {"training": {"epoch": 2}}}},
            "conditions.none.training.*'epoch'.*did you mean 'epochs'",
        ),
        (
            {"conditions": {"none": {"training": {"epochs": 0}}}},
            "conditions.none.training.epochs: .*at least 1",
        ),
        ({"conditions": {"rank matched": {}}}, "conditions.rank matched: .*needs 'like'"),
        ({"conditions": {"adversarial training": {}}}, "needs 'robust_training'"),
        ({"conditions": {"adversarial training": {"robust_training": {"steps": 2}}}}, "robust_training: .*needs 'eps'"),
        (
            {"conditions": {"none": {"robust_training": {"kind": "TRADES", "eps": 0.1, "mixed_precision": True}}}},
            "'mixed_precision' is for the kind 'adversarial'",
        ),
        (
            {"conditions": {"label only": {"matched_to": "neural"}}},
            "'matched_to' 'neural' is none of 'neural guidance', 'manifold",
        ),
        ({"conditions": {"RDM guidance": {}}}, "conditions.RDM guidance: .*needs dissimilarities"),
        ({"training": {"lr": -1}}, "training.lr: must be above 0"),
        ({"network": {"backbone": "resnet81"}}, "network.backbone: torchvision has no model 'resnet81'; did you mean"),
        ({"seeds": []}, "seeds: .*at least 1 item"),
        ({"seeds": [1, 2, 1]}, "seeds: 1 stands there twice, and would train copies"),
        ({"seeds": [True, 0]}, "seeds.0: must be a whole number"),
        ({"evaluations": {"robustness": {"pgd": {"eps": [8]}}}}, "eps is in pixel units of .*divide by 255"),
        ({"evaluations": {"robustness": {"pgd": {"eps": ["two"]}}}}, "evaluations.robustness.pgd.eps.0: .*got 'two'"),
        ({"evaluations": {"robustness": {"pgd": {"eps": [0]}}}}, "eps needs a budget above 0"),
        (
            {"evaluations": {"robustness": {"x": {"attack": "pdg", "eps": [0.1]}}}},
            "'pdg' is none of .*did you mean 'pgd'",
        ),
        (
            {"comparisons": [{"treatment": "nothing", "controls": ["none"]}]},
            "comparisons.0: there is no condition 'nothing'",
        ),
        (
            {"comparisons": [{"treatment": "neural guidance", "region": "V4", "controls": ["none"]}]},
            "is not trained for region 'V4'",
        ),
        (
            {"comparisons": [{"treatment": "neural guidance", "region": "V1", "controls": ["shuffled fit"]}]},
            "'shuffled fit' is not trained for region 'V1'",
        ),
        (
            {"comparisons": [{"treatment": "neural guidance", "region": "V1", "controls": ["neural guidance"]}]},
            "compared with itself",
        ),
        (
            {"comparisons": [{"treatment": "neural guidance", "region": "V1", "controls": ["none"], "measure": "pdg"}]},
            "no attack .* 'pdg'; did you mean 'pgd'",
        ),
        ({"resources": {"netwrok": {}}}, "resources: no stage is called 'netwrok'; did you mean 'network'"),
        ({"evaluations": {"robustness": {"geometry": {"eps": [0.1]}}}}, "'geometry' is what other stages are called"),
        ({"evaluations": {"robustness": {"pgd": {"eps": [1]}}}}, "eps is in pixel units .*divide by 255"),
        ({"conditions": {"rank matched": {"like": "V1", "regions": ["V1"]}}}, "region 'V1' can't be made like itself"),
        (
            {"images": {"source": "zip", "train": "a.zip", "test": "a.zip", "num_neural": None}, "responses": []},
            "are the same file, a.zip",
        ),
        (
            {"responses": [{"source": "recording", "region": "V1", "file": "a", "images": "b"}]},
            "responses.0.held_out: this key is missing",
        ),
        ({"hierarchy": ["V1", "V2"]}, "hierarchy: no responses of region 'V2'"),
        ({"seeds": 4}, r"^the study: seeds: must be a list; got 4$"),
        ({"weight": 9}, r"^the study: weight: must be at most 1; got 9$"),
    ],
)
def test_every_mistake_names_its_key(changes, wanted):
    import re

    assert re.search(wanted, message(with_(**changes)))


def test_an_anchor_can_be_merged(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("name: a\nimages: {source: digits}\nconditions: {none: }\n"
                    "training: &t {epochs: 3, lr: 0.2}\npredictors: {training: {<<: *t, lr: 0.3}}\n")  # fmt: skip
    study = Study.from_file(path)
    assert (study.predictors.training.epochs, study.predictors.training.lr, study.training.lr) == (3, 0.3, 0.2)
    assert study.predictors.training.optimizer == "adam"  # a predictor's own default, where the file says nothing


def test_two_mistakes_are_told_at_once():
    told = message(with_(images={"source": "digit"}, training={"epochs": 0}))
    assert "images.source" in told and "training.epochs" in told


def test_a_simulated_subject_needs_images_of_its_own():
    changed = copy.deepcopy(BASE)
    del changed["images"]["num_neural"]
    assert "images.num_neural: a simulated subject needs images of its own" in message(changed)


def test_a_region_that_comes_twice():
    assert "region 'V1' of subject 'simulated' is given twice" in message(
        with_(responses=[{"source": "simulated", "regions": ["V1"]}, {"source": "simulated", "regions": ["V1", "TO"]}])
    )


def test_smoothness_needs_a_guided_network_to_match():
    changed = with_(conditions={"smoothness matched": {}}, comparisons=[])
    del changed["conditions"]["neural guidance"]
    assert "needs a condition of kind 'neural guidance'" in message(changed)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("name: a\nname: b\n", "the key 'name' stands there twice"),
        ("conditions:\n  none:\n  none:\n", "the key 'none' stands there twice"),
        ("name: [", "is no YAML"),
        ("- a\n", "holds list in place of keys"),
        ("", "is empty"),
        ("model: {}\ndata: {}\ntrainer: {}\n", "is no study but a configuration: neuroalign fit --config"),
        ("name: !!python/object/apply:os.system ['true']\n", "is no YAML"),
    ],
)
def test_files_that_are_none(tmp_path, text, wanted):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(StudyError, match=wanted) as error:
        Study.from_file(path)
    assert str(path) in str(error.value)


def test_no_text_and_no_file(tmp_path):
    (tmp_path / "study.yaml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(StudyError, match=r"UTF-8|is no YAML"):
        Study.from_file(tmp_path / "study.yaml")
    with pytest.raises(FileNotFoundError, match="no study at"):
        Study.from_file(tmp_path / "other.yaml")


def test_fast_settings_take_the_place_of_those_above():
    settings = with_(training={"epochs": 40}, fast={"training": {"epochs": 1}, "seeds": [0]})
    assert Study.from_settings(settings).training.epochs == 40
    fast = Study.from_settings(settings, fast=True)
    assert (fast.training.epochs, fast.training.lr, fast.seeds) == (1, 0.1, [0])
    assert message({**settings, "fast": {"training": {"epoch": 1}}, "name": ""})  # the name is checked without them
    with pytest.raises(StudyError, match="'epoch'"):
        Study.from_settings({**settings, "fast": {"training": {"epoch": 1}}}, fast=True)


def test_nothing_can_be_changed_afterwards():
    from pydantic import ValidationError

    with pytest.raises(ValidationError, match="frozen"):
        Study.from_settings(BASE).name = "other"


def test_regions_and_controls_of_a_condition():
    study = Study.from_settings(BASE)
    assert study.regions == ["V1", "TO"]
    assert study.regions_of("none") == [None]
    assert study.regions_of("neural guidance") == ["V1", "TO"]
    assert study.controls_of(study.comparisons[0], "TO") == [("none", None), ("shuffled fit", "TO")]


def test_every_kind_is_explained_and_its_treatment_known():
    for kind in KINDS.values():
        assert kind.text
        assert kind.control_of in (None, *KINDS)


def test_a_region_is_not_made_like_itself():
    study = Study.from_settings(with_(conditions={"rank matched": {"like": "V1"}}))
    assert study.regions_of("rank matched") == ["TO"]


def test_fast_needs_fast_settings():
    with pytest.raises(StudyError, match="has no 'fast' settings"):
        Study.from_settings(BASE, fast=True)


def test_attacks_whose_figures_would_be_one_file():
    told = message(with_(evaluations={"robustness": {"p-g-d": {"eps": [0.1]}, "P G D": {"eps": [0.2]}}}))
    assert "'p-g-d' and 'P G D' differ in no letter or digit" in told
