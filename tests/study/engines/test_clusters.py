"""Stages on a Ray cluster of two nodes, and as jobs of submitit, both on this machine."""

import os
import signal
import threading
import time

import pytest

from neuroalign.study.engines import engine
from neuroalign.study.engines.base import WorkerLost
from neuroalign.study.folder import StudyFolder
from neuroalign.study.graph import Resources, Stage, all_stages
from neuroalign.study.running import run_stages
from tests.study.test_running import trainings
from tests.study.tiny_stages import die_once, environment, fail, tree, values

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def folder(tmp_path):
    return StudyFolder(tmp_path / "study")


@pytest.fixture(scope="module")
def cluster():
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    made = Cluster(initialize_head=True, head_node_args={**small, "include_dashboard": False})
    made.add_node(**small)
    yield made
    made.shutdown()


@pytest.fixture(scope="module")
def ray(cluster):
    with engine("ray", address=cluster.address) as found:
        yield found


class Killer(threading.Thread):
    """Kills the process of one stage as soon as it is in the middle."""

    def __init__(self, folder):
        super().__init__(daemon=True)
        self.folder, self.killed = folder, []
        self.start()

    def run(self):
        while not self.killed:
            time.sleep(0.05)
            for progress in self.folder.running():
                if progress.done > 0.2 and not self.killed:
                    os.kill(progress.pid, signal.SIGKILL)
                    self.killed.append(progress.name)


def test_a_killed_ray_worker_is_done_again_and_the_study_ends_complete(folder, ray):
    killer = Killer(folder)
    outcome = run_stages(trainings(), folder, ray)
    assert killer.killed and outcome.complete, outcome
    assert values(folder, trainings()) == {"table": "60.0\n"}
    assert len(folder.done(all_stages(trainings()))) == 3 and not list((folder.stages / ".work").iterdir())


def test_a_stage_that_fails_on_ray_ends_no_other(folder, ray):
    outcome = run_stages([Stage("network", "network", fail, {"step": 3}), *tree(2)], folder, ray)
    assert outcome.failed == {"network": "ValueError: the loss is NaN at step 3"} and len(outcome.done) == 4


def test_an_error_of_a_call_on_ray_is_the_future_s(ray):
    with pytest.raises(ZeroDivisionError):
        ray.submit(_divide, Resources()).result()
    ray.retries, before = 0, ray.retries
    lost = ray.submit(_die, Resources())
    ray.retries = before
    with pytest.raises(WorkerLost, match="Ray lost it"):
        lost.result()


def _divide():
    return 1 / 0


def _die():
    os.kill(os.getpid(), signal.SIGKILL)


def test_jobs_of_submitit(folder, tmp_path):
    pytest.importorskip("submitit")
    stages = [Stage("network", "network", die_once), Stage("variables", "variables", environment), *tree(1)]
    with engine("slurm", cluster="local", logs=tmp_path / "logs", interval=0.2) as jobs:
        outcome = run_stages(stages, folder, jobs)
    assert outcome.complete, outcome
    assert values(folder, stages) == {"network": "1.0\n", "variables": "interactive", "last": "1.0\n"}
    assert not list((tmp_path / "logs").rglob("*_result.pkl"))


def test_stages_that_are_ready_at_once_are_one_array_for_each_kind_of_machine(folder, tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    jobs = engine("slurm", cluster="local", logs=tmp_path / "logs", timeout_min=7)
    arrays = []

    def submit_array(calls):
        arrays.append((len(calls), dict(jobs._executor.parameters)))
        return [Finished(call()) for call in calls]

    monkeypatch.setattr(jobs._executor, "submit_array", submit_array)
    jobs.interval = 0.01
    with jobs, jobs.batch():
        futures = [jobs.submit(list, Resources(cpus=1 + i % 2, minutes=90 if i % 2 else None)) for i in range(6)]
        assert not arrays
    assert [future.result() for future in futures] == [[]] * 6
    assert [(n, p["cpus_per_task"], p["timeout_min"]) for n, p in arrays] == [(3, 1, 7), (3, 2, 90)]


class Finished:
    """Stands for a job that has ended."""

    job_id = "1"

    def __init__(self, result, error=None):
        from pathlib import Path
        from types import SimpleNamespace

        self.result, self.exception = lambda: result, lambda: error
        self.paths = SimpleNamespace(result_pickle=Path("no"), submitted_pickle=Path("no"))

    def done(self):
        return True


def test_a_job_that_never_ends_well_says_where_its_log_is(folder, tmp_path):
    pytest.importorskip("submitit")
    with engine("slurm", cluster="local", logs=tmp_path / "logs", interval=0.2, retries=0) as jobs:
        outcome = run_stages([Stage("network", "network", die_once)], folder, jobs)
    assert "ended without a result, at attempt 1" in outcome.failed["network"]
    assert "its log is" in outcome.failed["network"] and not list((tmp_path / "logs").rglob("*.pkl"))


def test_a_queue_that_refuses_a_job_for_a_while_gets_it_later(tmp_path, monkeypatch):
    pytest.importorskip("submitit")
    jobs = engine("slurm", cluster="local", logs=tmp_path / "logs", interval=0.01)
    answers = [[Finished(None, ValueError("node died"))], OSError("the queue is down"), [Finished(3)]]

    def submit_array(calls):
        answer = answers.pop(0)
        if isinstance(answer, OSError):
            raise answer
        return answer

    monkeypatch.setattr(jobs._executor, "submit_array", submit_array)
    with jobs:
        assert jobs.submit(list, Resources()).result(timeout=30) == 3


def test_a_wrong_option_is_an_error_at_once(tmp_path):
    pytest.importorskip("submitit")
    with pytest.raises(NameError, match="partitoin"):
        engine("slurm", cluster="local", logs=tmp_path, slurm_partitoin="gpu")
