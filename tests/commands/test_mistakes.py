"""A mistake is one line and exit status 2, Ctrl-C one line and 130; a fault of ours keeps its traceback."""

import subprocess
import sys

import numpy as np
import pytest

from neuroalign.commands.mistakes import sentence_of, told_in_one_line
from neuroalign.types import check_images


def told(error, capsys, **options):
    with pytest.raises(SystemExit) as stop, told_in_one_line("evaluate", **options):
        raise error
    return stop.value.code, capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (FileNotFoundError(2, "No such file or directory", "a.yaml"), "a.yaml: No such file or directory"),
        (IsADirectoryError(21, "out is a folder: give the name of a file"), "out is a folder: give the name of a file"),
        (ModuleNotFoundError("No module named 'timm'", name="timm"),
         "No module named 'timm': pip install 'neuroalign[timm]'"),
        (ImportError("x needs timm: pip install 'neuroalign[timm]'", name="timm"),
         "x needs timm: pip install 'neuroalign[timm]'"),
        (OSError("can't open https://me:secret@host/nsd"), "can't open https://***@host/nsd"),
    ],
)  # fmt: skip
def test_one_line_and_exit_status_2(error, line, capsys):
    assert told(error, capsys) == (2, f"neuroalign evaluate: {line}\n")


def test_what_other_packages_raise_says_how_to_see_more(capsys):
    assert told(ValueError("two\nlines"), capsys)[1] == "neuroalign evaluate: two lines (--debug shows where)\n"
    assert told(ValueError(), capsys)[1] == "neuroalign evaluate: ValueError (--debug shows where)\n"


def of_ours():
    try:
        check_images(np.zeros((1, 3, 2, 2)))
    except TypeError as error:
        return error
    raise AssertionError


def raised(error, cause):
    try:
        raise error from cause
    except type(error) as found:
        return found


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("Unable to allocate 55 TiB"),
        RuntimeError("[enforce] DefaultCPUAllocator: can't allocate memory: you tried"),
    ],
    ids=["NumPy", "torch"],
)
def test_a_full_machine_says_what_helps(error, capsys):
    code, said = told(error, capsys)
    assert code == 2 and "memory of the device is too small: a smaller batch" in said and said.count("\n") == 1


def test_a_broken_installation_says_who_tells_more(capsys):
    said = told(ModuleNotFoundError("No module named 'sklearn'", name="sklearn.datasets"), capsys)[1]
    assert said.endswith(
        "No module named 'sklearn': neuroalign needs it; `neuroalign doctor` says what is missing or broken\n"
    )
    assert told(ModuleNotFoundError("No module named 'mine'", name="mine"), capsys)[1].endswith("'mine'\n")


def test_a_pipe_that_rich_found_closed():
    answered = SystemExit(1)
    answered.__context__ = BrokenPipeError()
    with pytest.raises(SystemExit) as stop, told_in_one_line("nsd check"):
        raise answered
    assert stop.value.code == 141


def test_our_message_comes_before_a_report_around_it():
    ours = of_ours()
    report = raised(
        ValueError("Problem with 12 types:\n- Expected a str\n- Namespace(x=1)"), raised(KeyError("k"), ours)
    )
    assert sentence_of(report) == sentence_of(ours) == str(ours)


def test_our_message_comes_before_its_cause():
    from neuroalign.commands.inputs import open_images

    with pytest.raises(FileNotFoundError) as found:
        open_images("absent", 8)
    found.value.__cause__ = OSError("low-level")
    assert sentence_of(found.value).startswith("there is no folder absent")


def test_the_innermost_message_of_a_report():
    report = raised(ValueError("Problem with 2 types:\n- a"), raised(TypeError("b"), ValueError("no layer9")))
    assert sentence_of(report) == "no layer9 (--debug shows where)"


def test_a_full_device_says_what_helps(capsys):
    class OutOfMemoryError(RuntimeError):  # torch's, without a GPU
        pass

    code, said = told(OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB. GPU 0 has ..."), capsys)
    assert code == 2 and "a smaller batch needs less (CUDA out of memory)" in said and said.count("\n") == 1


@pytest.mark.parametrize("goes_on", [None, "the same command goes on"])
def test_ctrl_c(goes_on, capsys):
    code, said = told(KeyboardInterrupt(), capsys, goes_on=goes_on)
    assert code == 130 and said == f"\nneuroalign evaluate: stopped{f'; {goes_on}' if goes_on else ''}\n"


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()], ids=["mistake", "Ctrl-C"])
def test_debug_shows_the_traceback(error):
    with pytest.raises(type(error)) as found, told_in_one_line("evaluate", debug=True):
        raise error
    assert found.value is error


def test_a_fault_of_ours_keeps_its_traceback_and_says_so():
    with pytest.raises(AttributeError) as found, told_in_one_line("evaluate"):
        None.shape  # noqa: B018
    (note,) = found.value.__notes__
    assert note.startswith("neuroalign evaluate: this error was not foreseen") and "neuroalign doctor" in note


@pytest.mark.skipif(sys.platform == "win32", reason="pipes of POSIX")
def test_a_reader_that_has_read_enough_ends_a_command_in_silence():
    code = (
        "from neuroalign.commands.mistakes import told_in_one_line\n"
        "with told_in_one_line('nsd check'):\n"
        "    for i in range(100000): print(i)\n"
    )
    command = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert command.stdout.readline() == "0\n"
    command.stdout.close()
    assert command.stderr.read() == "" and command.wait(timeout=60) == 141
