"""neuroalign evaluate: tables, figures and record; resumed after a kill; errors in one line."""

import json
import re

import numpy as np
import pandas as pd
import pytest
import torch

from neuroalign import (
    PGD,
    AutoAttack,
    CarliniWagner,
    GuidedClassificationTask,
    GuidedNetwork,
    RotationTranslation,
    SquareAttack,
)
from neuroalign.__main__ import main
from neuroalign.evaluation.suite_result import eps_text
from neuroalign.study import Recipe, train_classifier


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory, digits):
    """A network that knows digits of 32 pixels, as a checkpoint; and such digits as a file."""
    from neuroalign import GuidanceDataModule
    from neuroalign.data.images import resize

    images, labels = digits
    images = resize(images[:500], 32).clamp(0, 1)
    folder = tmp_path_factory.mktemp("evaluate")
    np.savez(folder / "digits.npz", images=images[300:360].numpy(), labels=labels[300:360].numpy())
    data = GuidanceDataModule((images[:300], labels[:300]), (images[300:], labels[300:500]), batch_size=50)
    make = lambda: GuidedNetwork("small_resnet", 10, image_shape=(3, 32, 32))  # noqa: E731
    network = train_classifier(make, data, Recipe(6, 0.1, 5e-4), 0)
    task = GuidedClassificationTask(network)
    import lightning as L

    trainer = L.Trainer(logger=False, enable_checkpointing=False, enable_progress_bar=False, accelerator="cpu")
    trainer.strategy.connect(task)
    trainer.save_checkpoint(folder / "task.ckpt")
    return folder


def run(checkpoint, out, *arguments):
    main(["evaluate", "--ckpt", str(checkpoint / "task.ckpt"), "--data", str(checkpoint / "digits.npz"), "--out", str(out),
          "--device", "cpu", *arguments])  # fmt: skip


def shorten(monkeypatch, attack, **settings):
    """In the suites, the attack with these settings whatever they ask for."""
    monkeypatch.setattr(
        f"neuroalign.evaluation.suites.{attack.__name__}", lambda *a, **k: attack(*a, **{**k, **settings})
    )


@pytest.mark.slow
def test_fast_suite(checkpoint, tmp_path, capsys):
    run(checkpoint, tmp_path / "a", "--num-images", "16")
    printed = capsys.readouterr().out
    assert "Checks for masked gradients, on" in printed and "pgd20: projected gradient descent, 20 steps" in printed
    assert "Mean error under 15 corruptions" in printed
    attacks = pd.read_csv(tmp_path / "a/attacks.csv")
    assert set(attacks["perturbation"]) == {"pgd20-linf-margin+ce-cosine", "pgd20-l2-margin+ce-cosine"}
    assert (attacks["num_images"] == 16).all()
    assert (attacks["ci_low"] <= attacks["accuracy"]).all()
    assert len(pd.read_csv(tmp_path / "a/corruptions.csv")) == 15
    assert len(pd.read_csv(tmp_path / "a/masking.csv")) == 8
    images = pd.read_csv(tmp_path / "a/images.csv")
    assert len(images) == 32
    linf = attacks[attacks["norm"] == "linf"]
    thresholds = images.loc[images["perturbation"] == "pgd20-linf-margin+ce-cosine", "threshold"].to_numpy()
    np.testing.assert_allclose(linf["accuracy"], [(thresholds > e + 1e-9).mean() for e in linf["eps"]])
    record = json.loads((tmp_path / "a/record.json").read_text())
    assert record["attacks"][0]["eps"][-1] == "8/255"
    assert record["num_images"] == 16
    assert len(record["weights_sha256_16"]) == 16
    assert record["neuroalign"]
    for name in ("attacks-linf.png", "attacks-l2.png", "corruptions.png"):
        assert (tmp_path / "a" / name).stat().st_size > 10_000
    # again: nothing is attacked, the tables are the same
    before = (tmp_path / "a/attacks.csv").read_bytes()
    run(checkpoint, tmp_path / "a", "--num-images", "16")
    assert (tmp_path / "a/attacks.csv").read_bytes() == before

    with pytest.raises(SystemExit):
        run(checkpoint, tmp_path / "a", "--suite", "paper")
    assert "holds the suite 'fast', not 'paper'" in capsys.readouterr().err


@pytest.mark.slow
def test_a_killed_run_goes_on(checkpoint, tmp_path, monkeypatch):
    whole = PGD.search
    calls = []

    def dying(self, classifier, images, labels, eps, index, start=None):
        calls.append(index.tolist())
        if len(calls) > 5:
            raise KeyboardInterrupt
        return whole(self, classifier, images, labels, eps, index, start)

    monkeypatch.setattr(PGD, "search", dying)
    with pytest.raises(SystemExit, match="130"):
        run(checkpoint, tmp_path / "b", "--batch-size", "2", "--num-images", "8")
    done = pd.read_csv(tmp_path / "b/parts/pgd20-linf-margin+ce-cosine.csv", comment="#")["stimulus"].tolist()
    assert 0 < len(done) < 8
    monkeypatch.setattr(PGD, "search", whole)
    run(checkpoint, tmp_path / "b", "--batch-size", "2", "--num-images", "8")
    run(checkpoint, tmp_path / "c", "--batch-size", "7", "--num-images", "8")
    b, c = (pd.read_csv(tmp_path / f"{name}/images.csv") for name in "bc")
    assert b["stimulus"].tolist() == c["stimulus"].tolist()
    assert (b["threshold"] != c["threshold"]).sum() <= 1
    assert not list((tmp_path / "b").rglob("*.part.*"))


@pytest.mark.slow
def test_standard_suite(checkpoint, tmp_path, monkeypatch):
    """Every part of it; the attacks that take minutes are made short here, and tested as they are beside the others."""
    monkeypatch.setattr(AutoAttack, "search", PGD.two_losses().search)
    shorten(monkeypatch, CarliniWagner, steps=5)
    shorten(monkeypatch, SquareAttack, num_queries=20)
    shorten(monkeypatch, RotationTranslation, num_rotations=3, num_translations=3)
    run(checkpoint, tmp_path / "s", "--suite", "standard", "--num-images", "5")
    attacks = pd.read_csv(tmp_path / "s/attacks.csv")
    names = {"autoattack-linf", "square-linf", "deepfool-l2", "worst case, linf", "worst case, l2"}
    assert names <= set(attacks["perturbation"])
    worst = attacks[attacks["perturbation"] == "worst case, linf"].set_index("eps")["accuracy"]
    for _, row in attacks[attacks["norm"] == "linf"].iterrows():
        assert worst[row["eps"]] <= row["accuracy"]
    assert len(pd.read_csv(tmp_path / "s/corruptions.csv")) == 19 * 5
    assert "rotation-translation" in set(pd.read_csv(tmp_path / "s/transforms.csv")["kind"])
    assert (tmp_path / "s/transforms.png").stat().st_size > 10_000


@pytest.mark.slow
def test_paper_suite(checkpoint, tmp_path, monkeypatch):
    monkeypatch.setattr("neuroalign.evaluation.suites._has_foolbox", lambda: False)  # it compiles for a minute
    shorten(monkeypatch, CarliniWagner, steps=5)
    run(checkpoint, tmp_path / "p", "--suite", "paper", "--num-images", "3")
    attacks = pd.read_csv(tmp_path / "p/attacks.csv")
    assert {"fgsm-linf", "fgsm-l2", "pgd40-linf", "cw-l2", "deepfool-l2"} <= set(attacks["perturbation"])
    l2 = attacks.loc[attacks["norm"] == "l2", "eps"]
    assert l2.min() == pytest.approx(0.001 * np.sqrt(3 * 32 * 32))
    assert not (tmp_path / "p/corruptions.csv").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--ckpt", "nothing.ckpt", "--data", "digits"], "there is no checkpoint nothing.ckpt"),
        (["--ckpt", "resnet18", "--data", "nowhere"], "there is no folder nowhere"),
        (
            ["--ckpt", "resnet18", "--data", "digitz"],
            "there is no folder digitz; did you mean 'digits'? --data is digits",
        ),
        (["--ckpt", "resnet18", "--data", __file__], "test_evaluate.py is no such data; --data is digits, a folder"),
        (["--ckpt", "resnet18", "--data", "nowhere.npz"], "no file nowhere.npz"),
        (["--ckpt", __file__, "--data", "digits"], "is no checkpoint"),
        (
            ["--ckpt", "resnet18", "--data", "digits", "--num-images", "0"],
            "--num-images: must be a whole number of at least 1",
        ),
    ],
)
def test_errors_in_one_line(arguments, message, capsys, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", *arguments, "--out", str(tmp_path)])
    assert stopped.value.code == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


@pytest.mark.parametrize(
    ("channels", "highest", "message"),
    [
        (3, 19, "labels run from 0 to 19, but there are 10 classes"),
        (1, 9, "images have 1 channel, the normalisation 3; grey images are repeated"),
    ],
)
def test_data_that_do_not_fit_are_named(tmp_path, channels, highest, message, capsys):
    GuidedNetwork("small_resnet", 10, image_shape=(3, 8, 8)).save(tmp_path / "guided.safetensors")
    labels = np.array([0, 1, 2, highest])
    np.savez(tmp_path / "mine.npz", images=np.zeros((4, channels, 8, 8), np.float32), labels=labels)
    with pytest.raises(SystemExit) as stopped:
        main(["evaluate", "--ckpt", str(tmp_path / "guided.safetensors"), "--data", str(tmp_path / "mine.npz"),
              "--num-images", "1", "--device", "cpu", "--out", str(tmp_path / "out")])  # fmt: skip
    printed = capsys.readouterr().err
    assert stopped.value.code == 2 and f"mine.npz: {message}" in printed and printed.count("\n") == 1


def test_folders_are_compared_with_the_classes(tmp_path):
    from PIL import Image
    from torch import nn

    from neuroalign.commands.inputs import check_fit, open_images

    for name in ("cat", "dog", "emu"):
        (tmp_path / name).mkdir()
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(tmp_path / name / "0.png")
    dataset = open_images(str(tmp_path), 8)
    check_fit(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)), dataset, "animals")
    with pytest.raises(ValueError, match="animals: labels run from 0 to 2, but there are 2 classes"):
        check_fit(nn.Sequential(nn.Flatten(), nn.Linear(192, 2)), dataset, "animals")


def test_labels_that_do_not_fit_are_told(checkpoint, tmp_path, capsys):
    with np.load(checkpoint / "digits.npz") as file:
        images, labels = file["images"], file["labels"]
    network = GuidedClassificationTask.load_from_checkpoint(checkpoint / "task.ckpt").eval()
    with torch.no_grad():
        worst = network(torch.from_numpy(images).float()).argmin(1).numpy()
    np.savez(tmp_path / "wrong.npz", images=images, labels=worst)
    with pytest.raises(SystemExit):
        main(["evaluate", "--ckpt", str(checkpoint / "task.ckpt"), "--data", str(tmp_path / "wrong.npz"),
              "--out", str(tmp_path / "out")])  # fmt: skip
    assert "do the labels fit it?" in capsys.readouterr().err
    assert len(labels) == 60


def test_budgets_as_people_write_them():
    assert eps_text(0.5 / 255, "linf") == "0.5/255"
    assert eps_text(1.25, "l2") == "1.25"


@pytest.mark.parametrize(
    ("change", "message"),
    [("flip", "x.ckpt is damaged: .*data/0 in it is not what was written"), ("cut", "x.ckpt is no checkpoint, or damaged"),
     ("empty", "x.ckpt is damaged: it is empty"), ("text", "x.ckpt is no checkpoint, or damaged"),
     ("foreign", "x.ckpt is no checkpoint of neuroalign's tasks, but of another network, with weights such as 'a'"),
     ("folder", "x.ckpt is a folder, a device")],
)  # fmt: skip
@pytest.mark.parametrize("command", ["evaluate", "geometry"])
def test_checkpoints_that_are_damaged_or_none(tmp_path, capsys, change, message, command):
    path = tmp_path / "x.ckpt"
    torch.save({"state_dict": {"a": torch.full((64,), 3.0)}}, path)
    content = path.read_bytes()
    path.unlink()
    value = torch.full((64,), 3.0).numpy().tobytes()
    assert value in content
    flipped = content.replace(value, value[:-1] + b"A")
    if change == "folder":
        path.mkdir()
    else:
        path.write_bytes(
            {"flip": flipped, "cut": content[:-30], "empty": b"", "text": b"hello", "foreign": content}[change]
        )
    layers = ["--layers", "x"] if command == "geometry" else []
    with pytest.raises(SystemExit) as caught:
        main([command, "--ckpt", str(path), "--data", "digits", "--out", str(tmp_path / "out"), *layers])
    said = capsys.readouterr().err
    assert caught.value.code == 2 and said.count("\n") == 1 and re.search(message, said), said
