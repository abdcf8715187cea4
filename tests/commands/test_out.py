"""--out of every command: what can't be a folder, or a file, is one sentence before anything is computed."""

import os
from pathlib import Path

import pytest

from neuroalign.__main__ import main

FOLDERS = {
    "evaluate": ["evaluate", "--ckpt", "absent.ckpt", "--data", "digits"],
    "geometry": ["geometry", "--ckpt", "absent.ckpt", "--data", "digits", "--layers", "x"],
    "stimuli": ["nsd", "stimuli", "absent"],
    "plot": ["nsd", "plot", "absent.h5"],
    "demo": ["demo", "--fast"],
    "simulate": ["simulate"],
}


def message(capsys, arguments):
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code not in (0, None)
    return f"{caught.value.code} {capsys.readouterr().err}"


@pytest.mark.parametrize("below", [False, True])
@pytest.mark.parametrize("command", FOLDERS)
def test_a_file_in_place_of_a_folder(tmp_path, capsys, command, below):
    (tmp_path / "file").write_text("mine")
    out = tmp_path / "file/deep/er" if below else tmp_path / "file"
    said = message(capsys, [*FOLDERS[command], "--out", str(out)])
    assert f"{tmp_path / 'file'} is a file, where a folder is wanted: name another folder" in said
    assert (tmp_path / "file").read_text() == "mine"


@pytest.mark.skipif(os.name != "posix", reason="devices of POSIX")
@pytest.mark.parametrize("command", FOLDERS)
def test_a_device_in_place_of_a_folder(capsys, command):
    assert "/dev/null is a file, where a folder is wanted" in message(capsys, [*FOLDERS[command], "--out", os.devnull])


@pytest.mark.skipif(os.name != "posix", reason="devices of POSIX")
@pytest.mark.parametrize("out", [os.devnull, "."])
def test_what_extract_cant_replace(capsys, subject, out):
    said = message(capsys, ["nsd", "extract", str(subject.root), "--subject", "1", "--roi", "V4", "--out", out])
    assert f"{out} is a " in said and "give the name of a file" in said
    assert Path(os.devnull).is_char_device()
