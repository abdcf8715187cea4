"""The studies that come with the project: valid, planned without their data, and the same as the package's own."""

from pathlib import Path

import pytest

import neuroalign.study
from neuroalign.study import Study, plan_study

STUDIES = sorted((Path(__file__).parents[2] / "examples/studies").glob("*.yaml"))
CASES = [(path, fast) for path in STUDIES for fast in (False, True) if not (fast and path.stem.startswith("paper"))]


@pytest.fixture(autouse=True)
def _places(monkeypatch):
    for name in ("NEUROALIGN_DATA", "NSD_ROOT", "IMAGENET_50", "CIFAR_ROOT"):
        monkeypatch.setenv(name, f"/nowhere/{name}")


def test_they_are_there():
    assert {"simulated.yaml", "simulated_other_categories.yaml", "v1_v4.yaml", "evc_it.yaml", "paper.yaml"} <= {
        p.name for p in STUDIES
    }


@pytest.mark.parametrize(("path", "fast"), CASES, ids=lambda x: getattr(x, "stem", "fast" if x is True else "whole"))
def test_every_shipped_study_is_valid_and_can_be_planned_without_data(path, fast):
    study = Study.from_file(path, fast=fast)
    plan = plan_study(study)
    assert plan.networks and study.comparisons and study.about
    assert len({stage.key for stage in plan.stages}) == len({stage.name for stage in plan.stages}) == len(plan.stages)


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_every_shipped_study_can_be_planned_where_nothing_is_set(path, monkeypatch, tmp_path):
    from neuroalign.study.opening import open_study

    for name in ("NEUROALIGN_DATA", "NSD_ROOT", "IMAGENET_50", "CIFAR_ROOT"):
        monkeypatch.delenv(name, raising=False)
    opened = open_study(path, tmp_path / "out")
    assert opened.plan.networks
    assert bool(opened.missing()) == ("simulated" not in path.stem)


@pytest.mark.parametrize("path", STUDIES, ids=lambda p: p.stem)
def test_every_control_is_compared_or_trained_for_a_reason(path):
    """Each condition of a shipped study takes part in a comparison; the paper's file lists more than it compares."""
    study = Study.from_file(path)
    compared = {
        name
        for c in study.comparisons
        for name in [c.treatment, *(o if isinstance(o, str) else o.condition for o in c.controls)]
    }
    if not path.stem.startswith("paper") and path.stem != "shape_bias":
        assert compared == set(study.conditions)


def test_the_demo_is_the_simulated_study():
    ours = Path(neuroalign.study.__file__).parent / "simulated.yaml"
    assert ours.read_text() == next(p for p in STUDIES if p.name == "simulated.yaml").read_text()


def test_the_whole_paper_in_numbers():
    """Eight subjects, seven regions, three seeds: 56 predictors that all seeds share, and those that are drawn anew."""
    plan = plan_study(Study.from_file(next(p for p in STUDIES if p.name == "paper.yaml")))
    assert sum(run.fit == "right" for run in plan.predictors) == 56
    guided = [run for run in plan.networks if run.condition == "neural guidance"]
    assert len(guided) == 3 * 56 and sum(run.condition == "none" for run in plan.networks) == 3
