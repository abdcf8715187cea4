"""Results that are whole or absent."""

import json
import os
import shutil
import threading

import pytest

from neuroalign import checksums
from neuroalign.study import making, records
from neuroalign.study.folder import StudyFolder
from neuroalign.study.graph import Stage
from neuroalign.study.making import Order, make_stage
from tests.study.tiny_stages import fail, fill_disk, leave, write

STAGE = Stage("predictor", "predictor V4", write, {"value": 2.0, "root": "s3://me:pw12@host/nsd", "key": "ay3_u002"})


@pytest.fixture
def folder(tmp_path):
    made = StudyFolder(tmp_path / "study")
    made.prepare()
    return made


def make(folder, stage=STAGE, **kwargs):
    return make_stage(Order.of(stage), str(folder.out), **kwargs)


def test_a_result_lies_under_its_key_with_a_record(folder):
    assert make(folder).state == "made"
    path = folder.stages / STAGE.key
    assert folder.path(STAGE) == path and folder.done([STAGE]) == {STAGE.key}
    record = json.loads((path / "stage.json").read_text())
    assert (
        record["name"] == "predictor V4"
        and record["kind"] == "predictor"
        and record["files"]["value.csv"]["bytes"] == 4
    )
    assert {"neuroalign", "python", "torch", "lightning", "numpy"} == set(record["versions"]) and record["seconds"] >= 0
    assert sorted(p.name for p in folder.stages.iterdir()) == [".failed", ".work", STAGE.key]
    assert not list((folder.stages / ".work").iterdir())


def test_secrets_are_in_no_record(folder):
    make(folder)
    text = (folder.stages / STAGE.key / "stage.json").read_text()
    assert "pw12" not in text and "***@host/nsd" in text
    assert "ay3_u002" in text  # the name of an array is no password


def test_a_result_is_not_made_twice(folder):
    make(folder)
    before = (folder.stages / STAGE.key).stat().st_mtime_ns
    assert make(folder).state == "found"
    assert (folder.stages / STAGE.key).stat().st_mtime_ns == before


@pytest.mark.parametrize("record", [None, "", '{"files": {'])
def test_half_a_result_is_none(folder, record):
    path = folder.stages / STAGE.key
    path.mkdir()
    (path / "value.csv").write_text("half")
    if record is not None:
        (path / "stage.json").write_text(record)
    assert folder.done([STAGE]) == set()
    assert make(folder).state == "made"
    assert (folder.path(STAGE) / "value.csv").read_text() == "2.0\n"


@pytest.mark.parametrize(
    ("content", "found"), [("2.0", "has 3 bytes instead of 4"), ("3.0\n", "checksum"), (None, "it is gone")]
)
def test_a_damaged_file_is_named_with_a_remedy(folder, content, found):
    make(folder)
    file = folder.stages / STAGE.key / "value.csv"
    file.unlink() if content is None else file.write_text(content)
    with pytest.raises(
        checksums.DamagedFileError, match=rf"value.csv.*{found}.*remove the folder .*{STAGE.key}, and run"
    ):
        folder.path(STAGE)


def test_a_result_with_a_foreign_record_is_damaged(folder):
    path = folder.stages / STAGE.key
    path.mkdir()
    (path / "stage.json").write_text('{"files": [1]}\n')
    with pytest.raises(checksums.DamagedFileError, match="no record of a stage"):
        folder.path(STAGE)


def test_a_missing_result_says_so(folder):
    with pytest.raises(FileNotFoundError, match=f"no finished result of {STAGE.key}"):
        folder.path(STAGE)


def test_a_stage_that_needs_a_damaged_result_fails_with_its_name(folder):
    make(folder)
    (folder.stages / STAGE.key / "value.csv").write_text("")
    report = make(folder, Stage("network", "network", write, {"value": 1.0}, {"predictor": STAGE}))
    assert report.state == "failed" and "value.csv is damaged" in report.error


def test_a_failure_is_remembered_until_the_stage_succeeds(folder):
    stage = Stage("network", "network, seed 0", fail, {"step": 3})
    for attempt in (1, 2):
        report = make(folder, stage)
        facts = folder.failures()[stage.key]
        assert report.state == "failed" and report.error == "ValueError: the loss is NaN at step 3" == facts["error"]
        assert facts["attempts"] == attempt and facts["name"] == stage.name and "def fail" not in facts["error"]
        assert 'raise ValueError(f"the loss is NaN' in facts["traceback"]
    assert folder.done([stage]) == set() and folder.running() == []
    making._attempt(folder, Order(stage.key, stage.name, lambda work: None, stage.described, stage.resources))
    assert folder.failures() == {}


def test_a_stage_that_ends_its_process_has_failed(folder):
    assert make(folder, Stage("network", "network", leave)).error == "SystemExit: 3"


def test_a_full_disk_is_told_apart_and_leaves_no_result(folder):
    stage = Stage("network", "network, seed 0", fill_disk)
    report = make(folder, stage)
    assert report.state == "full"
    assert report.error.startswith(
        f"no space is left for the result of network, seed 0 in {folder.root}: free some, and run"
    )
    assert folder.done([stage]) == set()


def test_the_scratch_folder_outlives_an_attempt_and_half_results_do_not(folder):
    area, out, scratch = folder.work_area(STAGE.key)
    (out / "half.csv").write_text("half")
    (scratch / "checkpoint").write_text("epoch 3")
    seen = []

    def look(work):
        seen.extend([p.name for p in part.iterdir()] for part in (work.out, work.scratch))

    stage = Order(STAGE.key, STAGE.name, look, STAGE.described, STAGE.resources)
    making._attempt(folder, stage)
    assert seen == [[], ["checkpoint"]] and not area.exists() and scratch != out


def test_a_stage_is_told_where_its_data_lie_and_on_what_it_computes(folder):
    seen = []
    stage = Stage("responses", "responses V4", seen.append, sources={"file": "/lab/v4.npy"}, options={"devices": 2})
    making._attempt(folder, Order.of(stage))
    assert seen[0].sources == {"file": "/lab/v4.npy"} and seen[0].options == {"devices": 2}


def test_one_process_at_a_time_makes_a_stage(folder):
    with folder.lock(STAGE.key, STAGE.name, wait=True):
        assert make(folder, wait=False).state == "busy"
        waiting = threading.Thread(target=make, args=(folder,))
        waiting.start()
    waiting.join()
    assert folder.done([STAGE]) == {STAGE.key}


def test_what_runs_is_told_from_what_was_interrupted(folder):
    from neuroalign.study.progress_files import ProgressFile

    area, _, _ = folder.work_area(STAGE.key)
    with ProgressFile(area / "progress.json", STAGE.name, interval=0) as report:
        report("epoch 3 of 10", 0.3)
        (interrupted,) = folder.running()
        with folder.lock(STAGE.key, STAGE.name, wait=True):
            (runs,) = folder.running()
    assert not interrupted.runs and runs.runs
    assert (runs.text, runs.done, runs.name, runs.pid) == ("epoch 3 of 10", 0.3, STAGE.name, os.getpid())


def test_progress_is_written_once_a_second(tmp_path, monkeypatch):
    from neuroalign.study import progress_files

    written, now = [], [100.0]
    monkeypatch.setattr(progress_files.time, "monotonic", lambda: now[0])
    report = progress_files.ProgressFile(tmp_path / "progress.json", "network")
    monkeypatch.setattr(report, "_write", lambda: (written.append(report._text), setattr(report, "_due", now[0] + 1.0)))
    for i in range(30):
        report(f"step {i}", i / 30)
        now[0] += 0.125
    assert written == ["step 8", "step 16", "step 24"]


def test_a_folder_that_is_a_file_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError, match="file is a file, where a folder is wanted"):
        StudyFolder(tmp_path / "file").prepare()


def test_a_folder_that_cannot_be_written_to_is_an_error(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with pytest.raises(PermissionError, match=r"can't be written to \(Permission denied\): name another folder"):
        StudyFolder(tmp_path).prepare()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_read_only_folder_is_an_error(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(PermissionError, match="can't be written to"):
        StudyFolder(tmp_path).prepare()


@pytest.fixture
def bucket(tmp_path, monkeypatch):
    """A study behind a URL, and how another machine sees it."""
    monkeypatch.setenv("NEUROALIGN_CACHE", str(tmp_path / "here"))
    folder = StudyFolder(f"memory://{tmp_path.name}/study")
    folder.prepare()
    return folder, lambda: shutil.rmtree(tmp_path / "here")


def test_a_result_behind_a_url_is_fetched_by_other_machines(bucket):
    folder, leave_machine = bucket
    assert folder.done([STAGE]) == set()
    assert make(folder).state == "made"
    leave_machine()
    assert folder.done([STAGE]) == {STAGE.key} and make(folder).state == "found"
    assert (folder.path(STAGE) / "value.csv").read_text() == "2.0\n"
    network = Stage("network", "network", write, {"value": 1.0}, {"predictor": STAGE})
    leave_machine()
    assert make(folder, network).state == "made"
    assert (folder.path(network) / "value.csv").read_text() == "3.0\n"


def test_files_without_a_record_behind_a_url_are_no_result(bucket):
    import fsspec

    folder, leave_machine = bucket
    make(folder)
    leave_machine()
    store = fsspec.filesystem("memory")
    (record,) = store.glob(f"{folder.out.removeprefix('memory:/')}/stages/*/stage.json")
    store.rm(record)
    assert folder.done([STAGE]) == set() and make(folder).state == "made"


def test_a_changed_file_behind_a_url_is_damaged(bucket):
    import fsspec

    folder, leave_machine = bucket
    make(folder)
    leave_machine()
    store = fsspec.filesystem("memory")
    (file,) = store.glob(f"{folder.out.removeprefix('memory:/')}/stages/*/*/value.csv")
    store.pipe_file(file, b"9.0\n")
    with pytest.raises(checksums.DamagedFileError, match=r"value\.csv is damaged"):
        folder.path(STAGE)
    assert not (folder.stages / STAGE.key).exists()


def test_tables_are_read_without_summing_the_weights_beside_them(folder, monkeypatch):
    """Hundreds of large networks lie in a folder whose tables are a few kilobytes."""
    stage = Stage("network", "network", write_table_and_weights)
    make(folder, stage)
    records._checked.clear()
    summed, crc32_of_file = [], records.crc32_of_file
    monkeypatch.setattr(records, "crc32_of_file", lambda path: summed.append(path.name) or crc32_of_file(path))
    folder.path(stage, only=("rows.csv",))
    assert summed == ["rows.csv"]
    weights = folder.path(stage, only=()) / "weights.bin"
    weights.write_bytes(b"x" * weights.stat().st_size)
    folder.path(stage, only=("rows.csv",))
    with pytest.raises(checksums.DamagedFileError, match=r"weights.bin.*checksum"):
        folder.path(stage)


def write_table_and_weights(work):
    (work.out / "rows.csv").write_text("r\n")
    (work.out / "weights.bin").write_bytes(b"w" * 100)
