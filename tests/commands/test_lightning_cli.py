"""Lightning's commands refuse a damaged checkpoint in one line, before anything is built."""

from pathlib import Path

import pytest
import torch

from neuroalign.__main__ import main

CONFIG = Path(__file__).parents[2] / "examples/configs/predict_v4.yaml"


@pytest.mark.parametrize("command", ["fit", "test"])
def test_a_damaged_checkpoint_is_refused(tmp_path, capsys, monkeypatch, command):
    path = tmp_path / "last.ckpt"
    torch.save({"state_dict": {"a": torch.full((64,), 3.0)}}, path)
    content, value = path.read_bytes(), torch.full((64,), 3.0).numpy().tobytes()
    path.write_bytes(content.replace(value, value[:-1] + b"A"))
    arguments = [command, "--config", str(CONFIG), "--ckpt_path", str(path)]
    monkeypatch.setattr("sys.argv", ["neuroalign", *arguments])
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert "last.ckpt is damaged: last/data/0 in it is not what was written (checksum)" in capsys.readouterr().err


def test_a_configuration_that_is_no_text_is_named(tmp_path, capsys, monkeypatch):
    path = tmp_path / "c.yaml"
    path.write_bytes(b"seed_everything: 1 # \xff\n" + CONFIG.read_bytes())
    monkeypatch.setattr("sys.argv", ["neuroalign", "fit", "--config", str(path)])
    with pytest.raises(SystemExit) as caught:
        main(["fit", "--config", str(path)])
    assert caught.value.code == 2
    assert "is no text in UTF-8, or damaged" in (said := capsys.readouterr().err) and str(path) in said
