"""Completion by the Tab key, in a real bash."""

import shutil
import subprocess
import sys

import pytest

import neuroalign.data.datamodules
import neuroalign.tasks
from neuroalign.__main__ import main
from neuroalign.commands import lightning
from neuroalign.commands.completion import SHELLS

pytest.importorskip("shtab", reason="shtab, which completes commands, is not installed")

# What bash does when Tab is pressed: it calls the function that `complete` names, with the words before it.
_TAB = """
source ./script
function=$(complete -p neuroalign | sed 's/.*-F \\([^ ]*\\).*/\\1/')
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1)) COMP_LINE="$*" COMP_POINT=${#COMP_LINE} COMPREPLY=()
$function neuroalign "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with the script, and something to complete."""
    folder = tmp_path_factory.mktemp("completion")
    with (folder / "script").open("w") as script:
        command = [sys.executable, "-m", "neuroalign", "--print-completion", "bash"]
        subprocess.run(command, stdout=script, check=True, timeout=60)
    (folder / "guided.ckpt").touch()
    (folder / "nsd").mkdir()
    return folder


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (["ev"], {"evaluate"}),
        (["evaluate", "--su"], {"--suite"}),
        (["evaluate", "--suite", ""], {"fast", "standard", "paper"}),
        (["evaluate", "--ckpt", "gui"], {"guided.ckpt"}),
        (["nsd", "ex"], {"extract"}),
        (["nsd", "check", "n"], {"nsd"}),
        (["nsd", "extract", "nsd", "--transfer", "v"], {"voxels"}),
        (["study", "run", "--engine", "s"], {"slurm", "serial"}),
        (["fit", "--conf"], {"--config"}),
        (["test", "--ckpt_path", "gui"], {"guided.ckpt"}),
        (["fit", "--model", "Gui"], {"GuidedClassificationTask"}),
        (["--print-completion", ""], set(SHELLS)),
        (["d"], {"demo", "doctor"}),
    ],
    ids=lambda value: " ".join(sorted(value) if isinstance(value, set) else value),
)
def test_tab(folder, words, wanted):
    done = subprocess.run(
        ["bash", "--norc", "-c", _TAB, "bash", "neuroalign", *words],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert set(done.stdout.split()) == wanted, done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_scripts(shell, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--print-completion", shell])
    said = capsys.readouterr().out
    assert stop.value.code == 0 and "evaluate" in said
    if shell == "zsh":  # which shows a line beside each command
        assert "robustness of a network" in said and "A run that was stopped goes on" not in said


def test_no_shtab(monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "shtab", None)
    with pytest.raises(SystemExit) as stop:
        main(["--print-completion", "bash"])
    assert stop.value.code == 2
    assert capsys.readouterr().err == "neuroalign: --print-completion needs shtab: pip install shtab\n"


def test_an_unknown_shell(capsys):
    with pytest.raises(SystemExit):
        main(["--print-completion", "bsh"])
    assert capsys.readouterr().err.startswith(
        "neuroalign: --print-completion: unknown choice 'bsh'; did you mean 'bash'"
    )


def test_classes_that_are_offered_exist():
    for offered, room in ((lightning.MODELS, neuroalign.tasks), (lightning.DATA, neuroalign.data.datamodules)):
        assert offered and set(offered) <= set(room.__all__)
