"""neuroalign study: plan, run, status and report from outside, with small stages in place of trainings."""

import os
import re
import subprocess
import sys

import pytest

from neuroalign.__main__ import main
from neuroalign.study.folder import StudyFolder
from neuroalign.study.progress_files import NAME, ProgressFile
from tests.study import studies


@pytest.fixture
def tiny(tmp_path, monkeypatch):
    """The file of a small study, in the working directory."""
    return studies.in_folder(tmp_path, monkeypatch)


@pytest.fixture
def study(capsys):
    """Calls the command; gives its exit code and all that it said."""

    def call(*arguments):
        code = 0
        try:
            main(["study", *arguments])
        except SystemExit as stop:
            code = stop.code
        said = capsys.readouterr()
        return code, said.out, said.err

    return call


def run(study, *more):
    return study("run", "study.yaml", "--out", "out", "--engine", "serial", *more)


def plan(study, *more):
    return study("plan", "study.yaml", "--out", "out", "--no-probe", *more)


def row(text, kind):
    """The numbers in a kind's row of a table, by the table's columns."""
    header = next(line for line in text.splitlines() if line.startswith("kind"))
    columns = re.split(r"\s{2,}", header.strip())[1:]
    line = next(line for line in text.splitlines() if line.startswith(f"{kind} "))
    return dict(zip(columns, map(int, line.split()[1:])))


def test_help_lists_it_without_loading_torch():
    code = "import sys\nfrom neuroalign.__main__ import main\ntry: main(sys.argv[1:])\n"
    code += "except SystemExit: print(sorted({'torch', 'lightning', 'pydantic', 'rich'} & set(sys.modules)))"
    for arguments in (["--help"], ["study", "--help"], ["study", "run", "--help"]):
        done = subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True, check=True)
        assert "study" in done.stdout and done.stdout.rstrip().endswith("[]")


class TestRun:
    def test_makes_everything_then_nothing(self, tiny, study):
        code, said, progress = run(study)
        assert code == 0 and "4 stages were made" in said
        assert "[1/4] done: images (" in progress and "[4/4] done: transfer" in progress
        assert "\x1b" not in progress  # plain lines where there is no terminal
        assert (tiny / "out/study.yaml").read_text() == studies.FILE
        (tiny / "out/results.csv").write_text("mine")
        code, said, progress = run(study)
        assert code == 0 and "Nothing to do: all 4 stages are done." in said and not progress
        assert (tiny / "out/results.csv").read_text() == "mine"

    def test_tables_that_are_gone_are_written_again(self, tiny, study):
        run(study)
        (tiny / "out/report.html").unlink()
        assert run(study)[0] == 0
        assert (tiny / "out/report.html").exists()

    def test_a_failed_stage_ends_no_other_and_is_tried_again(self, tiny, study):
        (tiny / "study.yaml").write_text(studies.FILE.replace("{none: }", "{none: , neural guidance: {}}"))
        (tiny / "study.yaml").write_text(studies.FILE.replace("{none: }", "{none: , other: {kind: none}}"))
        code, said, progress = run(study)
        assert code == 1
        assert "failed: network that fails: ValueError: the loss is NaN at step 7" in said
        assert "1 stages that need them were skipped" in said and ".failed" in said
        assert "done: transfer" in progress and "Traceback" not in said + progress
        code, said, progress = run(study)
        assert code == 1 and "failed: network that fails" in said and "done: " not in progress

    def test_quiet(self, tiny, study):
        code, said, progress = run(study, "-q")
        assert code == 0 and progress == ""
        assert said.splitlines() == ["Tables, figures and report.html are in out"]

    def test_fast_takes_other_settings_and_says_so_to_the_report(self, tiny, study):
        run(study)
        assert run(study, "--fast")[0] == 0
        assert "fast" in (tiny / "out/report.html").read_text()
        assert run(study)[0] == 0  # nothing to make, but the tables are of this run again
        assert "fast" not in (tiny / "out/report.html").read_text()

    def test_data_that_are_missing(self, tiny, study):
        (tiny / "data.txt").unlink()
        code, _, err = run(study)
        assert code == 2 and str(tiny / "data.txt") in err and "needed by images" in err
        assert not (tiny / "out").exists()
        (tiny / "data.txt").write_text("data")
        run(study)
        (tiny / "data.txt").unlink()  # not missed once everything is made
        assert "Nothing to do" in run(study)[1] and "Nothing to do" in plan(study)[1]
        assert run(study, "--set", "training.epochs=3")[0] == 0  # nor if what read it is made

    def test_environment_variable_that_is_not_set(self, tiny, study, monkeypatch):
        monkeypatch.delenv("NO_SUCH_PLACE", raising=False)
        code, _, err = run(study, "--set", "images.root=$NO_SUCH_PLACE/data.txt")
        assert code == 2 and "the environment variable $NO_SUCH_PLACE is not set" in err

    def test_ctrl_c(self, tiny, study, monkeypatch):
        def interrupted(*args, **options):
            raise KeyboardInterrupt

        monkeypatch.setattr("neuroalign.study.session.run_stages", interrupted)
        code, _, err = run(study)
        assert code == 130 and "stopped; the same command goes on from what is in out" in err

    def test_folder_of_another_study(self, tiny, study):
        run(study)
        code, said, _ = run(study, "--set", "name=Other")
        assert code == 0 and "also holds results of another study, 'Tiny'" in said

    @pytest.mark.slow
    def test_processes(self, tiny, study):
        code, said, _ = study("run", "study.yaml", "--out", "out", "--workers", "2")
        assert code == 0 and "4 stages were made" in said


class TestMistakes:
    def test_in_the_file(self, tiny, study):
        (tiny / "study.yaml").write_text("name: A\nimages: {source: digit}\nconditions: {nnoe: }\ntrainng: {}\n")
        for action in (plan, run):
            code, out, err = action(study)
            assert code == 2 and out == "" and "Traceback" not in err
            assert "trainng" in err and "did you mean 'training'" in err
        assert not (tiny / "out").exists()

    def test_no_file(self, tiny, study):
        code, _, err = study("plan", "none.yaml", "--out", "out")
        assert code == 2 and err.rstrip().endswith("neuroalign study plan: no study at none.yaml")

    @pytest.mark.parametrize("setting", ["epochs", "training..epochs=2", "=2", "training.epochs=[1"])
    def test_in_a_setting(self, tiny, study, setting):
        code, _, err = plan(study, "--set", setting)
        assert code == 2 and setting in err

    def test_setting_that_is_no_key(self, tiny, study):
        code, _, err = plan(study, "--set", "training.epoch=2")
        assert code == 2 and "did you mean 'epochs'" in err

    def test_option_that_the_engine_lacks(self, tiny, study):
        code, _, err = run(study, "--engine-option", "partition=gpu")
        assert code == 2 and "partition" in err

    @pytest.mark.parametrize("action", ["plan", "run"])
    def test_a_file_in_place_of_the_folder(self, tiny, study, action):
        (tiny / "file").write_text("mine")
        code, _, err = study(action, "study.yaml", "--out", "file/out")
        assert code == 2 and "file is a file, where a folder is wanted: name another folder" in err

    @pytest.mark.parametrize("action", ["status", "report"])
    def test_no_study_was_run_there(self, tiny, study, action):
        code, _, err = study(action, "empty")
        assert code == 2 and "no study was run in empty" in err
        code, _, err = study(action, "study.yaml")
        assert code == 2 and "name the folder of its results by --out" in err


class TestPlan:
    def test_new_done_stale(self, tiny, study):
        code, said, _ = plan(study)
        assert code == 0 and not (tiny / "out").exists()
        assert row(said, "all") == {"stages": 4, "new": 4}
        run(study)
        assert "Nothing to do: all 4 stages are done." in plan(study)[1]
        said = plan(study, "--set", "training.epochs=3")[1]
        assert row(said, "network") == {"stages": 2, "done": 0, "stale": 2}
        assert row(said, "images") == {"stages": 1, "done": 1, "stale": 0}
        assert row(said, "transfer")["stale"] == 1

    def test_changed_data_are_stale(self, tiny, study):
        run(study)
        (tiny / "data.txt").write_text("atad")
        assert row(plan(study)[1], "all") == {"stages": 4, "stale": 4}
        assert "4 stages were made" in run(study)[1]

    def test_stale_after_a_later_run_too(self, tiny, study):
        run(study)
        run(study, "--set", "training.epochs=3")
        assert row(plan(study, "--set", "training.epochs=4")[1], "network")["stale"] == 2

    def test_names_every_stage(self, tiny, study):
        said = " ".join(plan(study, "--all")[1].split())
        assert "network 1 new network-" in said

    def test_missing_data(self, tiny, study):
        (tiny / "data.txt").unlink()
        code, said, _ = plan(study)
        assert code == 0 and row(said, "all") == {"stages": 4, "no data": 4}
        assert f"{tiny / 'data.txt'}: needed by images" in said

    def test_failed(self, tiny, study):
        more = ("--set", "conditions.other={kind: none}")
        run(study, *more)
        assert row(plan(study, *more)[1], "network") == {"stages": 3, "done": 2, "failed": 1, "new": 0}

    def test_real_study_with_an_estimate(self, tmp_path, study):
        (tmp_path / "study.yaml").write_text("""
name: Digits
images: {source: digits, num_neural: [600, 100], num_test: 350}
responses: [{source: simulated, num_voxels: 20, regions: [TO]}]
conditions: {none: , neural guidance: }
seeds: [0]
evaluations: {robustness: {pgd: {eps: [0.02], steps: 10}}}
""")
        code, said, _ = study("plan", str(tmp_path / "study.yaml"), "--out", str(tmp_path / "out"), "--workers", "2")
        assert code == 0 and "2 networks, 1 predictor, 2 evaluations" in said
        assert "of computing" in said and "with 2 stages at once" in said and "the network at 8 x 8 pixels" in said
        assert not (tmp_path / "out").exists()


class TestStatus:
    def test_of_a_finished_study(self, tiny, study):
        run(study)
        code, said, _ = study("status", "out")
        assert code == 0 and "Tiny: 4 of 4 stages done" in said and "All stages are done." in said
        assert study("status", "study.yaml", "--out", "out")[1] == said

    def test_works_without_the_data(self, tiny, study):
        run(study)
        (tiny / "data.txt").unlink()
        (tiny / "study.yaml").unlink()
        assert "4 of 4 stages done" in study("status", "out")[1]

    def test_while_a_stage_runs(self, tiny, study):
        run(study, "--set", "conditions.other={kind: none}")
        folder = StudyFolder("out")
        network = next(folder.stages.glob("network-*"))
        key, name = network.name, "network 0"
        network.rename(tiny / "elsewhere")
        with (
            folder.lock(key, name, wait=False),
            ProgressFile(folder.work_area(key)[0] / NAME, name, interval=0) as report,
        ):
            report("epoch 3 of 4", 0.75)
            code, said, _ = study("status", "out")
            text = " ".join(said.split())
            assert code == 0 and "1 running" in said
            assert "epoch 3 of 4 75 %" in text and f"process {os.getpid()}" in text and "ago" in text
            assert "Time left, by the stages that are done: about" in said
            assert "failed: network that fails: ValueError: the loss is NaN at step 7" in said
            assert row(plan(study, "--set", "conditions.other={kind: none}")[1], "network")["running"] == 1
            kept = (folder.work_area(key)[0] / NAME).read_text()
        (folder.work_area(key)[0] / NAME).write_text(kept)  # what a killed process leaves
        said = study("status", "out")[1]
        assert "interrupted: network" in said and "75 % done" in said and "'neuroalign study run' goes on" in said


class TestReport:
    def test_writes_what_is_done(self, tiny, study):
        run(study)
        (tiny / "out/report.html").unlink()
        (tiny / "data.txt").unlink()
        code, said, _ = study("report", "out")
        assert code == 0 and "4 of 4 stages are done" in said and (tiny / "out/report.html").exists()

    def test_keeps_saying_that_a_run_was_fast(self, tiny, study):
        run(study, "--fast")
        (tiny / "out/report.html").unlink()
        study("report", "out")
        assert "fast" in (tiny / "out/report.html").read_text()
