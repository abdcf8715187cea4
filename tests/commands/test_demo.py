"""``neuroalign demo`` is a study; its options become settings of it."""

import pytest
import torch

from neuroalign.__main__ import main
from neuroalign.commands import demo, study
from neuroalign.study.opening import open_study


@pytest.fixture
def opened(monkeypatch, tmp_path):
    found = []

    def opening(args):
        found.append(open_study(args.file, args.out, fast=args.fast, changes=study._nested(args.settings)))

    monkeypatch.setattr(study, "run", opening)

    def run(*arguments):
        main(["demo", "--fast", "--out", str(tmp_path / "out"), *arguments])
        return found.pop()

    return run


def accelerators(opened):
    return {opened.study.training.accelerator, opened.study.predictors.training.accelerator}


def test_where_the_networks_train(opened, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    on_cpu = opened()
    assert accelerators(on_cpu) == {"cpu"}
    for named in ("cuda", "auto"):
        on_gpu = opened("--device", named)
        assert accelerators(on_gpu) == {"gpu"}
        assert [stage.key for stage in on_gpu.plan.stages] == [stage.key for stage in on_cpu.plan.stages]
    with pytest.raises(SystemExit, match="2"):
        opened("--device", "gpu")
    assert "--device gpu: give auto, cpu" in capsys.readouterr().err


def test_auto_without_a_gpu_changes_nothing(opened, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert accelerators(opened("--device", "auto")) == {"cpu"}
    assert demo._on_device("cpu") == []
