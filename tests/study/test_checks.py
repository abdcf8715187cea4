"""Names that stand for nothing are told before anything starts."""

import copy

import pytest

from neuroalign.study import Study
from neuroalign.study.checks import check_names
from neuroalign.study.study import StudyError, merged

BASE = {
    "name": "Digits",
    "images": {"source": "digits", "num_neural": [60, 10]},
    "responses": [{"source": "simulated", "regions": ["V1"]}],
    "conditions": {"none": {}, "neural guidance": {}},
    "evaluations": {"robustness": {"pgd": {"eps": [0.01]}}},
}


def check(changes):
    check_names(Study.from_settings(merged(copy.deepcopy(BASE), changes)))


def test_a_right_study_passes():
    check({"training": {"augment": {"class_path": "neuroalign.data.ShiftFlip", "init_args": {"shift": 1}}}})
    check({"network": {"layer": {"V1": "layer2"}}, "predictors": {"kind": "ridge"}})
    check({"evaluations": {"rsa": {"layers": ["layer1", "layer3"]}, "geometry": {"layers": ["layer2"]}}})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"training": {"augment": {"class_path": "neuroalign.data.ShiftFlop"}}}, "training.augment: .*ShiftFl"),
        (
            {"training": {"augment": {"class_path": "os.system"}}},
            "training.augment: 'os.system' is no class of neuroalign's",
        ),
        (
            {"conditions": {"none": {"training": {"augment": {"class_path": "os.system"}}}}},
            "conditions.none.training.augment: ",
        ),
        ({"predictors": {"training": {"augment": {"class_path": "os.system"}}}}, "predictors.training.augment: "),
        (
            {"conditions": {"neural guidance": {"loss": "msee"}}},
            "conditions.neural guidance.loss: unknown measure 'msee'",
        ),
        ({"network": {"layer": "layer9"}}, "network: .*layer9"),
        ({"evaluations": {"rsa": {"layers": ["layr3"]}}}, "evaluations.rsa.layers: .*layr3.*layer3"),
        ({"evaluations": {"geometry": {"layers": ["layr3"]}}}, "evaluations.geometry.layers: .*layr3.*layer3"),
        ({"network": {"layer": {"V1": "layer9"}}}, "network.layer.V1: .*layer9"),
        ({"predictors": {"layer": "layr3"}}, "predictors: .*layr3"),
        (
            {"evaluations": {"robustness": {"pgd": {"attack": {"class_path": "neuroalign.perturbations.PDG"}}}}},
            "pgd.attack: ",
        ),
        ({"evaluations": {"robustness": {"df": {"attack": "deepfool", "eps": [0.1]}}}}, "df.attack: .*norm 'l2'"),
    ],
)
def test_what_stands_for_nothing_is_named_by_its_key(changes, message):
    with pytest.raises(StudyError, match=message):
        check(changes)


def test_nothing_is_started(tmp_path):
    from neuroalign.study import run_study

    study = Study.from_settings(merged(BASE, {"network": {"layer": "layer9"}}))
    with pytest.raises(StudyError, match="layer9"):
        run_study(study, tmp_path / "out", engine="serial", progress=False)
    assert not (tmp_path / "out").exists()


def test_weights_that_there_are_not():
    for part in ("network", "predictors"):
        with pytest.raises(StudyError, match=f"{part}: 'small_resnet' has no pretrained weights"):
            check({part: {"weights": "DEFAULT"}})
