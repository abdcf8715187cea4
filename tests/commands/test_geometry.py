"""``neuroalign geometry``, as typed."""

import numpy as np
import pandas as pd
import pytest
import torch

from neuroalign.__main__ import main
from neuroalign.data import Responses, load_digits
from neuroalign.evaluation import response_geometry
from neuroalign.models import GuidedNetwork
from neuroalign.models.smallnet import SmallResNet
from neuroalign.tasks import GuidedClassificationTask


def test_layers_of_a_checkpoint(tmp_path, quiet_trainer, capsys):
    images, labels = load_digits()
    np.savez(tmp_path / "digits.npz", images=images[:100].numpy(), labels=labels[:100].numpy())
    trainer = quiet_trainer(max_epochs=0)
    task = GuidedClassificationTask(GuidedNetwork(SmallResNet(), 10, image_shape=(3, 8, 8)))
    trainer.strategy.connect(task)
    trainer.save_checkpoint(tmp_path / "net.ckpt")
    layers = [n for n, _ in task.named_modules() if n.startswith("network.trunk.backbone.")][:2]
    main(["geometry", "--ckpt", str(tmp_path / "net.ckpt"), "--data", str(tmp_path / "digits.npz"), "--num-samples", "40",
          "--layers", *layers, "--out", str(tmp_path / "out")])  # fmt: skip
    table = pd.read_csv(tmp_path / "out" / "geometry.csv")
    equal = 10 * int(labels[:100].bincount().min())
    assert table["layer"].tolist() == layers and table["num_images"].tolist() == [equal, equal]
    assert (tmp_path / "out" / "geometry.png").stat().st_size > 10_000
    assert "±: Monte-Carlo standard error" in capsys.readouterr().out


def test_layers_of_a_named_model_on_a_folder(tmp_path):
    from torchvision.utils import save_image

    for c in range(2):
        (tmp_path / "images" / str(c)).mkdir(parents=True)
        for i in range(3):
            save_image(torch.rand(3, 40, 40), tmp_path / "images" / str(c) / f"{i}.png")
    main(["geometry", "--ckpt", "squeezenet1_1", "--data", str(tmp_path / "images"), "--image-size", "32", "--num-samples",
          "40", "--layers", "features.2", "--out", str(tmp_path / "out")])  # fmt: skip
    assert pd.read_csv(tmp_path / "out" / "geometry.csv")["num_images"].tolist() == [6]


def test_regions_of_responses(tmp_path, capsys):
    rng = np.random.default_rng(0)
    signal = np.repeat(rng.standard_normal((5, 30)), 6, 0) + 0.5 * rng.standard_normal((30, 30))
    trials = np.repeat(signal, 4, 0) + 0.5 * rng.standard_normal((120, 30))
    responses = Responses.from_arrays(trials, stimulus=np.repeat(np.arange(30), 4), roi=["V1"] * 15 + ["TO"] * 15)
    responses.save(tmp_path / "responses.h5")
    pd.DataFrame({"stimulus": np.arange(30), "label": [f"c{i // 6}" for i in range(30)]}).to_csv(
        tmp_path / "labels.csv", index=False
    )
    main(["geometry", "--data", str(tmp_path / "responses.h5"), "--labels", str(tmp_path / "labels.csv"), "--num-samples",
          "40", "--out", str(tmp_path / "out"), "--quiet"])  # fmt: skip
    assert " ".join(capsys.readouterr().out.split()) == f"Table and figure are in {tmp_path / 'out'}"
    assert pd.read_csv(tmp_path / "out" / "geometry.csv")["region"].tolist() == ["V1", "TO"]
    assert set(pd.read_csv(tmp_path / "out" / "contrasts.csv")["measure"]) >= {"capacity", "radius", "dimension"}


def test_a_region_that_is_named_twice():
    responses = Responses.from_arrays(np.ones((4, 4)), stimulus=np.arange(4), roi=["V1"] * 4)
    with pytest.raises(ValueError, match="region 'V1' is named twice"):
        response_geometry(responses, {i: i // 2 for i in range(4)}, regions=["V1", "V1"])


def test_names_of_layers(capsys):
    main(["geometry", "--ckpt", "squeezenet1_1", "--data", "digits", "--layers", "list"])
    assert "features.2" in capsys.readouterr().out.split()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--data", "digits", "--layers", "x"], "need --ckpt"),
        (["--ckpt", "squeezenet1_1", "--data", "digits"], "--layers is missing"),
        (["--ckpt", "squeezenet1_1", "--data", "nowhere", "--layers", "features"], "no folder nowhere"),
        (["--ckpt", "squeezenet1_1", "--data", "digits", "--layers", "feature"], "unknown layer 'feature'"),
        (["--ckpt", "squeezenet9", "--data", "digits", "--layers", "x"], "squeezenet9"),
        (["--ckpt", "missing.ckpt", "--data", "digits", "--layers", "x"], "no checkpoint"),
        (["--data", "missing.h5"], "need --labels"),
        (
            ["--data", "missing.h5", "--layers", "x"],
            "--layers is for images, and missing.h5 holds responses: leave it out",
        ),
        (["--data", "missing.h5", "--num-classes", "4"], "--num-classes is for images"),
        (
            ["--data", "digits", "--ckpt", "x", "--labels", "y.csv"],
            "--labels is for responses, and digits holds images",
        ),
    ],
)
def test_what_is_wrong_is_one_line(argv, message, capsys, tmp_path):
    with pytest.raises(SystemExit) as stopped:
        main(["geometry", *argv, "--out", str(tmp_path / "out")])
    assert stopped.value.code == 2 and message in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
