"""Engines: stages run where there is room for them, and a lost process loses its own stage only."""

import concurrent.futures
import functools
import sys

import pytest

from neuroalign.study.engines import engine
from neuroalign.study.engines.shares import Shares
from neuroalign.study.folder import StudyFolder
from neuroalign.study.graph import Resources, Stage
from neuroalign.study.running import run_stages
from tests.study.tiny_stages import die, die_once, threads, tree, values, with_resources


@pytest.fixture
def folder(tmp_path):
    return StudyFolder(tmp_path / "study")


def test_an_unknown_engine_names_the_known_ones():
    with pytest.raises(ValueError, match="no engine 'rya': choose one of serial, local, ray, slurm"):
        engine("rya")


@pytest.mark.parametrize(("kind", "package", "extra"), [("ray", "ray", "ray"), ("slurm", "submitit", "slurm")])
def test_a_missing_package_names_the_extra(monkeypatch, kind, package, extra):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=rf"neuroalign\[{extra}\]"):
        engine(kind)


def run_a_tree(folder, executor):
    outcome = run_stages(tree(), folder, engine(executor))
    assert outcome.complete and values(folder, tree()) == {"last": "10.0\n"}


def test_threads(folder):
    with concurrent.futures.ThreadPoolExecutor(2) as executor:
        run_a_tree(folder, executor)


@pytest.mark.slow
def test_loky(folder):
    loky = pytest.importorskip("joblib.externals.loky")
    executor = loky.get_reusable_executor(max_workers=1)
    run_a_tree(folder, executor)
    executor.shutdown(kill_workers=True)


def test_a_broken_executor_fails_the_stage(folder):
    class Broken(concurrent.futures.Executor):
        def submit(self, call, /, *args, **kwargs):
            raise concurrent.futures.BrokenExecutor("it is broken")

    outcome = run_stages(tree(), folder, engine(Broken()))
    assert outcome.failed == {"first": "it is broken"}


@pytest.fixture(scope="module")
def local():
    with engine("local", workers=1, shares=Shares(devices=("5", "7"))) as found:
        yield found


@pytest.mark.slow
def test_a_stage_computes_with_its_threads_and_sees_its_gpus(folder, local):
    stage = Stage("threads", "threads", threads)
    outcome = run_stages([with_resources(stage, cpus=3)], folder, local)
    assert outcome.complete, outcome
    assert values(folder, [stage]) == {"threads": "3 \n"}


@pytest.mark.slow
def test_a_stage_sees_the_gpus_that_it_takes(folder, local):
    stage = Stage("threads", "threads", threads, {"gpus": 2})
    assert run_stages([with_resources(stage, gpus=2)], folder, local).complete
    assert values(folder, [stage]) == {"threads": "1 5,7\n"}


def test_a_killed_process_is_replaced(folder, local):
    stage = Stage("network", "network", die_once)
    assert run_stages([stage, *tree()], folder, local).complete
    assert values(folder, [stage]) == {"network": "1.0\n"}


def test_work_that_cannot_be_imported_is_an_error(folder, local):
    with pytest.raises(ValueError, match="a stage's work must be a function of a module"):
        local.submit(lambda: None, Resources())


@pytest.mark.slow
def test_a_stage_whose_process_always_dies_fails_with_a_sentence(folder):
    with engine("local", workers=1, retries=1) as local:
        outcome = run_stages([Stage("network", "network", die), *tree()], folder, local)
    assert outcome.failed == {"network": "its process was killed (signal 9), perhaps for lack of memory; tried 2 times"}
    assert len(outcome.done) == 6


class Pool:
    """Stands for processes: calls end when the test says so."""

    def __init__(self, monkeypatch):
        self.running = []
        monkeypatch.setattr("neuroalign.study.engines.local._Worker", functools.partial(self._worker))

    def _worker(self, devices):
        pool = self

        class Worker:
            def __init__(self):
                self.devices = devices

            def submit(self, call):
                future = concurrent.futures.Future()
                pool.running.append((call.args[0], devices, future))
                return future

            def close(self, *, wait=False):
                pass

            kill = close

        return Worker()

    def names(self):
        return [name for name, _, future in self.running if not future.done()]

    def end(self, name):
        next(future for each, _, future in self.running if each == name and not future.done()).set_result(None)


def test_stages_start_as_there_is_room(monkeypatch):
    pool = Pool(monkeypatch)
    local = engine("local", shares=Shares(cpus=4, memory=100.0, devices=("0",)))
    submit = lambda name, **resources: local.submit(functools.partial(str, name), Resources(**resources))  # noqa: E731
    submit("a", cpus=3)
    submit("whole machine", cpus=8)
    submit("small", cpus=1)
    assert pool.names() == ["a"]  # nothing overtakes the one that waits for cores
    pool.end("a")
    assert pool.names() == ["whole machine"]
    pool.end("whole machine")
    submit("gpu", gpus=1)
    submit("gpu 2", gpus=0.5)
    submit("memory", memory=80)
    submit("memory 2", memory=80)
    assert pool.names() == ["small", "gpu", "memory"]  # who wants no GPU doesn't wait for one
    pool.end("gpu")
    assert pool.names() == ["small", "memory", "gpu 2"]
    pool.end("memory")
    assert pool.names() == ["small", "gpu 2", "memory 2"]
    assert [devices for name, devices, _ in pool.running if "gpu" in name] == ["0", "0"]


def test_a_process_that_cannot_be_started_fails_its_stage_only(monkeypatch):
    def refuse(*args):
        raise OSError("too many open files")

    pool = Pool(monkeypatch)
    local = engine("local", shares=Shares(cpus=1))
    with monkeypatch.context() as patch:
        patch.setattr("neuroalign.study.engines.local._Worker", refuse)
        lost = local.submit(functools.partial(str, "lost"), Resources())
    with pytest.raises(OSError, match="too many open files"):
        lost.result()
    local.submit(functools.partial(str, "next"), Resources())
    assert pool.names() == ["next"]


def test_shares_of_gpus():
    shares = Shares(devices=("0", "1"))
    thirds = [shares.take(Resources(gpus=1 / 3)) for _ in range(3)]
    assert [set(third) for third in thirds] == [{0}] * 3
    assert shares.lacking(Resources(gpus=2)) == {"gpus"} and not shares.lacking(Resources(gpus=1))
    for third in thirds:
        shares.give_back(Resources(gpus=1 / 3), third)
    assert shares.names(shares.take(Resources(gpus=2))) == "0,1"


def test_too_much_memory_is_an_error():
    with pytest.raises(ValueError, match=r"takes 2 GB of memory, but this machine has 1 GB"):
        Shares(memory=1e9).check(Resources(memory=2 * 10**9))
