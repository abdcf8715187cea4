"""``neuroalign cite`` prints BibTeX, and answers an unknown name in one line."""

import json
import re

import lightning
import pytest
import torch
from safetensors.torch import save_file

from neuroalign import (
    AdversarialTraining,
    CardFacts,
    GuidedClassificationTask,
    GuidedNetwork,
    NeuralPredictor,
    PredictedGuidance,
)
from neuroalign.__main__ import main


def keys(text):
    return [line.split("{")[1].rstrip(",") for line in text.splitlines() if line.startswith("@")]


def test_software_and_names(capsys):
    main(["cite"])
    assert keys(capsys.readouterr().out) == ["neuroalign", "shao2024"]
    main(["cite", "pgd", "cka"])
    assert keys(capsys.readouterr().out) == ["madry2018", "kornblith2019", "murphy2024"]


def test_a_folder_and_a_name(tmp_path, capsys):
    (tmp_path / "record.json").write_text(json.dumps({"suite": "fast"}))
    main(["cite", str(tmp_path), "nsd"])
    told = capsys.readouterr()
    assert keys(told.out) == [
        "neuroalign",
        "shao2024",
        "madry2018",
        "hendrycks2019",
        "athalye2018",
        "carlini2019",
        "allen2022",
    ]
    assert told.err == "a data set of your own is yours to add\n"


def test_saved_networks_and_checkpoints(tmp_path, capsys):
    predictor = NeuralPredictor("small_resnet", 5, image_shape=(3, 8, 8))
    network = GuidedNetwork("small_resnet", 4, {"V4": (None, 5)}, image_shape=(3, 8, 8))
    facts = CardFacts(dataset="Natural Scenes Dataset", robustness=[
        {"perturbation": "fgsm", "norm": "linf", "eps": 0.1, "accuracy": 0.5, "num_images": 10, "settings": "FGSM()"}
    ])  # fmt: skip
    network.save_pretrained(tmp_path / "shared", card=facts)
    network.save_pretrained(tmp_path / "simulated", card=CardFacts(dataset=facts.dataset, simulated=True))
    network.save(tmp_path / "network.safetensors")
    (tmp_path / "foreign").mkdir()
    (tmp_path / "foreign" / "config.json").write_text("{}")
    task = GuidedClassificationTask(
        network, PredictedGuidance({"V4": predictor}, "cka"), robust_training=AdversarialTraining(0.1)
    )
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False)
    trainer.strategy.connect(task)
    trainer.save_checkpoint(tmp_path / "guided.ckpt", weights_only=True)
    always = ["neuroalign", "shao2024"]
    for name, more in [
        ("shared", {"allen2022", "goodfellow2015"}),
        ("simulated", set()),
        ("network.safetensors", set()),
        ("guided.ckpt", {"kornblith2019", "murphy2024", "madry2018"}),
    ]:
        main(["cite", str(tmp_path / name)])
        found = keys(capsys.readouterr().out)
        assert found[:2] == always and set(found[2:]) == more, name
    with pytest.raises(SystemExit):
        main(["cite", str(tmp_path / "foreign")])
    assert "foreign holds none of study.json" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["x.ckpt", "x.safetensors", "x.h5", "x.json", "x.yaml"])
def test_other_bytes_are_refused_in_one_line(name, tmp_path, capsys):
    (tmp_path / name).write_bytes(b"\x80\x81 no text")
    with pytest.raises(SystemExit) as stopped:
        main(["cite", str(tmp_path / name)])
    told = capsys.readouterr()
    assert (
        stopped.value.code == 2
        and told.err.count("\n") == 1
        and re.search(rf"{re.escape(name)} is (no|not a) ", told.err)
        and "codec" not in told.err
    )


@pytest.mark.parametrize("name", ["x.ckpt", "x.safetensors"])
def test_files_of_others_say_nothing_to_cite(name, tmp_path, capsys):
    tensors = {"a": torch.ones(2)}
    torch.save(tensors, tmp_path / name) if name == "x.ckpt" else save_file(tensors, tmp_path / name)
    with pytest.raises(SystemExit, match="2"):
        main(["cite", str(tmp_path / name)])
    told = capsys.readouterr()
    assert not told.out and "it says nothing of data or methods" in told.err and told.err.count("\n") == 1


def test_the_list(capsys):
    main(["cite", "--list"])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) > 60 and any(line.startswith("madry2018 ") and "Madry et al. 2018" in line for line in lines)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pdg"], "unknown reference 'pdg'; did you mean 'pgd'"),
        (["none.ckpt"], "there is no file none.ckpt"),
        (["no/such/folder"], "there is no folder no/such/folder"),
        (["pearson"], "'pearson' is a textbook formula"),
    ],
)
def test_mistakes_are_one_line(capsys, words, message):
    with pytest.raises(SystemExit) as stopped:
        main(["cite", *words])
    told = capsys.readouterr()
    assert stopped.value.code == 2 and told.out == "" and told.err.startswith(f"neuroalign cite: {message}")
    assert told.err.count("\n") == 1
