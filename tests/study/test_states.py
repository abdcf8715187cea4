"""The state of each stage: what is done, stale, failed, running, or waits for data."""

import pytest

from neuroalign.study.engines import engine
from neuroalign.study.folder import StudyFolder
from neuroalign.study.graph import Stage, all_stages
from neuroalign.study.running import run_stages
from neuroalign.study.states import count_states, states_of
from tests.study.tiny_stages import fail, write


@pytest.fixture
def folder(tmp_path):
    return StudyFolder(tmp_path / "out")


def chain(value=1.0, **first):
    images = Stage("images", "images", write, {"value": value}, **first)
    network = Stage("network", "network", write, {"value": 2.0}, {"images": images})
    return all_stages([Stage("geometry", "geometry", write, {"value": 3.0}, {"network": network})])


def names(stages, states):
    return {stage.name: states[stage.key] for stage in stages}


def test_new_then_done_then_stale_with_all_that_needs_it(folder):
    stages = chain()
    assert set(states_of(stages, folder).values()) == {"new"}
    run_stages(stages, folder, engine("serial"))
    assert set(states_of(stages, folder).values()) == {"done"}
    changed = chain(value=5.0)
    assert set(states_of(changed, folder).values()) == {"stale"}
    assert count_states(changed, states_of(changed, folder))["network"] == {"stale": 1}


def test_a_result_of_another_name_makes_nothing_stale(folder):
    run_stages(chain(), folder, engine("serial"))
    other = [Stage("network", "another network", write, {"value": 9.0})]
    assert set(states_of(other, folder).values()) == {"new"}


def test_failed_and_what_needs_it(folder):
    failing = Stage("network", "network", fail, {"step": 3})
    stages = all_stages([Stage("geometry", "geometry", write, {"value": 3.0}, {"network": failing})])
    run_stages(stages, folder, engine("serial"))
    assert names(stages, states_of(stages, folder)) == {"network": "failed", "geometry": "new"}


def test_absent_data(folder):
    stages = chain(data={"root": "absent"}, sources={"root": "no/such/folder"})
    assert set(states_of(stages, folder, absent={"no/such/folder"}).values()) == {"no data"}
    run_stages(stages[:1], folder, engine("serial"))  # what is made needs its data no more
    found = names(stages, states_of(stages, folder, absent={"no/such/folder"}))
    assert found == {"images": "done", "network": "new", "geometry": "new"}


def test_half_a_result_is_none(folder):
    stages = chain()
    (folder.stages / stages[0].key).mkdir(parents=True)
    (folder.stages / "network-0123").mkdir()
    (folder.stages / "network-0123/stage.json").write_text('{"name": "netw')
    assert set(states_of(stages, folder).values()) == {"new"}
