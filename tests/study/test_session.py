"""Running a study from Python."""

import json

import pytest

from neuroalign.study import Study, StudyError, run_study
from neuroalign.study.opening import open_study, reopen_study, write_study_record
from neuroalign.study.session import engine_options
from tests.study import studies


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    return studies.in_folder(tmp_path, monkeypatch)


def test_result(tiny):
    result = run_study("study.yaml", "out", engine="serial", progress=False)
    assert result.complete and len(result.made) == result.num_stages == 4
    assert result.results.to_dict("list") == {"condition": ["none"], "value": [4]}
    assert list(result.comparisons) == ["treatment", "control"]
    assert run_study("study.yaml", "out", engine="serial").made == []


def test_study_made_in_python(tiny):
    settings = {"name": "Tiny", "images": {"source": "digits", "root": "data.txt"}, "conditions": {"none": None}}
    result = run_study(Study.from_settings(settings), "out", engine="serial", progress=False)
    assert result.complete and not (tiny / "out/study.yaml").exists()
    with pytest.raises(ValueError, match="belong to a study's file"):
        run_study(Study.from_settings(settings), "out", fast=True)


def test_failed_stage(tiny):
    changes = {"conditions": {"other": {"kind": "none"}}}
    result = run_study("study.yaml", "out", engine="serial", changes=changes, progress=False)
    assert not result.complete
    assert result.failed == {"network that fails": "ValueError: the loss is NaN at step 7"}
    assert list(result.skipped) == ["geometry of what failed"]


def test_tables_that_contradict_one_another_fail_alone(tiny, monkeypatch):
    def copies(*args, **options):
        raise ValueError("seeds 0 and 1 are copies")

    monkeypatch.setattr("neuroalign.study.tables.write_tables", copies)
    result = run_study("study.yaml", "out", engine="serial", progress=False)
    assert len(result.made) == 4 and result.failed == {"tables and report": "seeds 0 and 1 are copies"}


def test_record_of_a_run(tiny):
    run_study("study.yaml", "out", engine="serial", changes={"training": {"epochs": 5}}, progress=False)
    record = json.loads((tiny / "out/study.json").read_text())
    assert record["name"] == "Tiny" and record["study"]["training"]["epochs"] == 5
    assert len(record["stages"]) == 4 and record["stages"]["images"].startswith("images-")
    assert record["versions"]["python"] and record["changes"] == {"training": {"epochs": 5}}


def test_record_shows_no_password(tiny, monkeypatch):
    monkeypatch.setattr("neuroalign.study.opening.fingerprint", lambda path, cache=None: "url-1")
    address = "https://me:secret@host/data?token=abc"
    opened = open_study("study.yaml", "out", changes={"images": {"root": address}})
    opened.folder.prepare()
    write_study_record(opened)
    text = (tiny / "out/study.json").read_text()
    assert json.loads(text)["data"] == {"https://***@host/data?token=***": "url-1"}  # the fingerprint is none
    assert "secret" not in text and "abc" not in text and "host/data" in text


def test_reopened_study_has_the_same_stages(tiny):
    opened = open_study("study.yaml", "out", fast=True)
    run_study("study.yaml", "out", engine="serial", fast=True, progress=False)
    (tiny / "data.txt").unlink()
    again = reopen_study("out")
    assert [s.key for s in again.plan.stages] == [s.key for s in opened.plan.stages]
    assert again.settings["fast"] is True


def test_damaged_record_is_no_run(tiny):
    (tiny / "out").mkdir()
    (tiny / "out/study.json").write_text('{"name": "Ti')
    with pytest.raises(FileNotFoundError, match="no study was run in out"):
        reopen_study("out")
    assert run_study("study.yaml", "out", engine="serial", progress=False).complete


def test_options_of_engines(tmp_path):
    assert engine_options("local", {}, 3, tmp_path) == {"workers": 3}
    assert engine_options("ray", {"address": "auto"}, 3, tmp_path) == {"address": "auto", "capacity": 3}
    assert engine_options("slurm", {"partition": "gpu", "mem_gb": 4}, None, tmp_path) == {
        "slurm_partition": "gpu", "mem_gb": 4, "logs": tmp_path / "logs"
    }  # fmt: skip
    assert engine_options("serial", {}, 3, tmp_path) == {}


def test_engine_is_any_executor(tiny):
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(2) as pool:
        assert run_study("study.yaml", "out", engine=pool, progress=False).complete


def test_unknown_engine(tiny):
    with pytest.raises(ValueError, match="no engine 'cloud'"):
        run_study("study.yaml", "out", engine="cloud", progress=False)


def test_data_are_missed_before_anything_starts(tiny):
    (tiny / "data.txt").unlink()
    with pytest.raises(StudyError, match="nothing was started"):
        run_study("study.yaml", "out")
    assert not (tiny / "out").exists()


def test_results_behind_a_url(tiny, monkeypatch):
    """What is run on one machine is known on another, which has only the URL."""
    from rich.console import Console

    from neuroalign.study.status import print_status

    url = f"memory://{tiny.name}"
    monkeypatch.setenv("NEUROALIGN_CACHE", str(tiny / "here"))
    assert len(run_study("study.yaml", url, engine="serial", progress=False).made) == 4
    monkeypatch.setenv("NEUROALIGN_CACHE", str(tiny / "elsewhere"))
    opened = reopen_study(url)
    assert opened.study.name == "Tiny" and len(opened.folder.done(opened.plan.stages)) == 4
    assert opened.folder.read_shared("results.csv").startswith(b"condition")
    console = Console(record=True, quiet=False, width=100)
    print_status(url, console)
    assert "4 of 4 stages done" in console.export_text()
    assert run_study("study.yaml", url, engine="serial", progress=False).made == []
