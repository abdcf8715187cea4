"""The stages that measure a trained network: files, agreement with the library's functions, any batch size."""

import io
import json
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from neuroalign import PGD, GuidedNetwork
from neuroalign.evaluation import evaluate_smoothness, per_image_robustness, transfer_matrix
from neuroalign.metrics import ManifoldGeometry
from neuroalign.models.network_files import save_module
from neuroalign.study.settings import evaluations as settings
from neuroalign.study.stages import evaluations
from tests.study.stages.hand_made import PARTS, SHAPE, Results, work_of


@pytest.fixture(scope="module")
def results(tmp_path_factory, digits):
    return Results(tmp_path_factory.mktemp("results"), digits)


def trained_network(folder, digits, seed):
    """A network after a few steps, which has something to be attacked."""
    images, labels = digits
    images, labels = images[labels < 4][:96], labels[labels < 4][:96]
    torch.manual_seed(seed)
    network = GuidedNetwork("small_resnet", 4, {"brain": (None, 6)}, image_shape=SHAPE)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for _ in range(15):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(network(images), labels).backward()
        optimizer.step()
    folder.mkdir()
    save_module(network, folder / "network.safetensors")
    return network.eval()


@pytest.fixture(scope="module")
def network(results, digits):
    return trained_network(results.root / "network", digits, 0)


@pytest.fixture(scope="module")
def other(results, digits):
    return trained_network(results.root / "other", digits, 1)


@pytest.fixture(scope="module")
def batches(digits):
    """The test images, as they are stored."""
    images, labels = digits
    kept = (labels < 4).nonzero()[:, 0][PARTS["test"][0] : PARTS["test"][1]]
    stored = (images[kept] * 255).round().to(torch.uint8).float() / 255
    return [{"image": stored, "label": labels[kept], "stimulus": torch.arange(*PARTS["test"])}]


@pytest.fixture
def measured(results, network, tmp_path):
    """A function that runs a stage on the network; its values are those that a study's file may hold."""
    count = iter(range(100))

    def run(function, given, batch_size=20, inputs=None, **more):
        values = given.model_dump(mode="json", exclude={"stimuli", "predictors"})
        inputs = inputs or {"network": results.root / "network", "images": results.folder("images")}
        work = work_of(
            tmp_path / str(next(count)),
            {**values, "batch_size": batch_size},
            inputs,
            name="evaluation",
            options={},
            **more,
        )
        function(work)
        return work.out

    return run


def values_of(folder):
    rows = pd.read_csv(folder / "rows.csv")
    assert list(rows) == ["measure", "eps", "value", "n"]
    return rows.set_index("measure")


def test_robustness_is_that_of_the_library_whatever_the_batch_size(measured, network, batches):
    given = settings.Robustness(steps=5, eps=[0.02, "8/255"])
    folder = measured(evaluations.robustness, given)
    images, rows = pd.read_csv(folder / "images.csv"), pd.read_csv(folder / "rows.csv")
    expected = per_image_robustness(network, batches, PGD(steps=5), [0.0, 0.02, 8 / 255])
    assert list(images) == ["stimulus", "label", "perturbation", "norm", "eps", "correct"]
    assert images["correct"].tolist() == expected["correct"].astype(int).tolist()
    assert images["stimulus"].tolist() == expected["stimulus"].tolist()
    assert rows["eps"].tolist() == pytest.approx([0, 0.02, 8 / 255]) and set(rows["measure"]) == {"accuracy"}
    assert rows["value"].tolist() == pytest.approx(expected.groupby("eps")["correct"].mean().tolist())
    assert rows["n"].tolist() == [64] * 3 and rows["value"].is_monotonic_decreasing and rows["value"].iloc[0] > 0.5
    again = measured(evaluations.robustness, given, batch_size=64)
    assert (again / "images.csv").read_bytes() == (folder / "images.csv").read_bytes()


def test_a_number_of_images_is_a_fixed_choice_of_all(measured):
    """Not the first ones, which may all be of one class."""
    given = settings.Robustness(attack="fgsm", eps=[0.02], num_images=20)
    first = pd.read_csv(measured(evaluations.robustness, given) / "images.csv")
    again = pd.read_csv(measured(evaluations.robustness, given, batch_size=7) / "images.csv")
    assert first["stimulus"].nunique() == 20 and first.equals(again)
    assert first["stimulus"].max() > PARTS["test"][0] + 30


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ({"attack": "fgsm"}, "fgsm-linf"),
        ({"attack": "apgd", "norm": "l2", "steps": 3}, "apgd-ce-l2"),
        ({"attack": "deepfool", "norm": "l2", "steps": 3}, "deepfool-l2"),
        (
            {"attack": {"class_path": "neuroalign.perturbations.PGD", "init_args": {"steps": 2, "restarts": 2}}},
            "pgd2-linf-margin-cosine-x2",
        ),
    ],
)
def test_attacks_by_name_and_by_description(measured, given, name):
    folder = measured(evaluations.robustness, settings.Robustness(**given, eps=[0.05], num_images=8))
    assert set(pd.read_csv(folder / "images.csv")["perturbation"]) == {name}


def test_an_attack_of_another_norm_is_refused(measured):
    with pytest.raises(ValueError, match=r"deepfool-l2 has budgets in the norm 'l2', and the study's are in 'linf'"):
        measured(evaluations.robustness, settings.Robustness(attack="deepfool", eps=[0.05]))


def test_geometry_is_that_of_the_last_features(measured, network, batches):
    folder = measured(evaluations.geometry, settings.Geometry(layers=["layer1", "layer3"]))
    rows = values_of(folder)
    metric = ManifoldGeometry()
    with torch.no_grad():
        metric.update(network.trunk(batches[0]["image"]), batches[0]["label"], batches[0]["stimulus"])
    for name, value in metric.compute().items():
        assert rows.loc[name, "value"] == pytest.approx(float(value), rel=1e-4)
    assert rows["n"].eq(64).all() and rows["eps"].isna().all()
    layers = pd.read_csv(folder / "layers.csv")
    assert layers["layer"].tolist() == ["layer1", "layer3"]


def test_geometry_of_predicted_responses(measured, results):
    inputs = {"predictor": results.folder("predictor"), "images": results.folder("images")}
    rows = values_of(measured(evaluations.geometry, settings.Geometry(), inputs=inputs))
    assert rows.loc["capacity", "value"] > 0
    own = values_of(measured(evaluations.geometry, settings.Geometry()))
    assert rows.loc["capacity", "value"] != own.loc["capacity", "value"]


def test_corruptions_of_small_images(measured):
    given = settings.Corruptions(corruptions=["contrast", "gaussian_noise"], severities=[1, 5], num_images=30)
    folder = measured(evaluations.corruptions, given)
    rows, images = pd.read_csv(folder / "rows.csv"), pd.read_csv(folder / "images.csv")
    cells = rows[rows["measure"].str.startswith("corruption accuracy")]
    assert cells["measure"].tolist() == [
        f"corruption accuracy {c}" for c in ("contrast", "gaussian_noise") for _ in "ab"
    ]
    assert cells["eps"].tolist() == [1, 5, 1, 5] and len(images) == 4 * 30
    mean = rows[rows["measure"] == "mean error under corruptions"].iloc[0]
    assert mean["value"] == pytest.approx(1 - cells["value"].mean()) and mean["n"] == 30
    found = images.groupby(["perturbation", "eps"])["correct"].mean()
    assert found["contrast", 5] == pytest.approx(cells["value"].iloc[1])


def test_smoothness(measured, network, batches):
    rows = values_of(measured(evaluations.smoothness, settings.Smoothness(eps=0.03, steps=3)))
    expected = evaluate_smoothness(network, batches, PGD(steps=3), 0.03)
    assert rows.loc["input gradient (clean)", "value"] == pytest.approx(expected.clean, rel=1e-4)
    assert rows.loc["input gradient (adversarial)", "value"] == pytest.approx(expected.adversarial, rel=1e-3)
    assert rows["n"].eq(64).all()


@pytest.mark.slow
def test_masking(measured):
    folder = measured(evaluations.masking, settings.Masking(eps=0.03, num_images=16))
    found, rows = json.loads((folder / "masking.json").read_text()), values_of(folder)
    assert found["num_images"] == 16 and found["passed"] == (not found["failed"])
    assert rows.loc["masking passed", "value"] == float(found["passed"]) and len(rows) > 7


def test_transfer(measured, network, other, results, batches):
    inputs = {f"network:{name}": results.root / folder for name, folder in (("a (V4)", "network"), ("b", "other"))}
    inputs["images"] = results.folder("images")
    table = pd.read_csv(
        measured(evaluations.transfer, settings.Transfer(eps=0.04, steps=4), inputs=inputs) / "transfer.csv"
    )
    assert list(table) == ["source", "target", "rate", "n"] and set(table["source"]) == {"a (V4)", "b"}
    expected = transfer_matrix({"a (V4)": network, "b": other}, batches, PGD(steps=4), 0.04)
    assert table["rate"].tolist() == pytest.approx((1 - expected["accuracy"]).tolist())


@pytest.fixture
def stimuli(tmp_path):
    """An archive in which every shape of two classes comes with every texture of three."""
    path = tmp_path / "cues.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for i, shape in enumerate(("bear", "clock")):
            for k, texture in enumerate(("bear", "clock", "knife")):
                pixels = np.full((16, 16, 3), 40 * i + 20 * k, np.uint8)
                file = io.BytesIO()
                Image.fromarray(pixels).save(file, "png")
                archive.writestr(f"{shape}/{shape}{i}-{texture}{k}.png", file.getvalue())
    return path


def test_shape_bias_counts_the_shared_classes_only(measured, stimuli, network):
    given = settings.ShapeBias(stimuli="x.zip", classes={"bear": "2", "clock": "0"})
    rows = values_of(measured(evaluations.shape_bias, given, sources={"stimuli": str(stimuli)}))
    # One image of each conflict; among two classes every decision is for shape or texture.
    assert rows.loc["decisions for shape or texture", ["value", "n"]].tolist() == [1, 2]
    cue = {("bear", "clock"): 20, ("clock", "bear"): 40}
    num_shape = 0
    for (shape, _), grey in cue.items():
        logits = network(torch.full((1, *SHAPE), grey / 255))[0]
        num_shape += ("bear" if logits[2] > logits[0] else "clock") == shape
    assert rows.loc["shape bias", "value"] == num_shape / 2


def test_a_class_that_nobody_knows(measured, stimuli):
    def run(classes):
        given = settings.ShapeBias(stimuli="x.zip", classes=classes)
        measured(evaluations.shape_bias, given, sources={"stimuli": str(stimuli)})

    with pytest.raises(ValueError, match=r"class of the networks in shape_bias.classes: 'bears'"):
        run({"bear": "bears", "clock": "0"})
    with pytest.raises(ValueError, match=r"unknown class of stimuli 'knive'; did you mean 'knife'"):
        run({"bear": "1", "knive": "0"})


def test_progress_goes_up_to_the_whole(results, network, tmp_path):
    told = []
    values = settings.Robustness(attack="fgsm", eps=[0.02]).model_dump(mode="json")
    inputs = {"network": results.root / "network", "images": results.folder("images")}
    work = work_of(
        tmp_path / "work", {**values, "batch_size": 16}, inputs, options={}, report=lambda t, s: told.append((t, s))
    )
    evaluations.robustness(work)
    assert [share for _, share in told] == [0, 0.25, 0.5, 0.75] and {text for text, _ in told} == {
        "attacking by fgsm-linf"
    }


def test_an_attack_that_was_killed_goes_on(results, network, tmp_path):
    class Killed(Exception):
        pass

    def kill(text, share):
        if share >= 0.5:
            raise Killed

    values = {**settings.Robustness(steps=3, eps=[0.02]).model_dump(mode="json"), "batch_size": 16}
    inputs = {"network": results.root / "network", "images": results.folder("images")}
    work = work_of(tmp_path / "killed", values, inputs, options={}, report=kill)
    with pytest.raises(Killed):
        evaluations.robustness(work)
    assert any(work.scratch.iterdir()) and not any(work.out.iterdir())
    again = work_of(tmp_path / "whole", values, inputs, options={})
    evaluations.robustness(again)
    resumed = type(work)(work.name, values, inputs, work.out, work.scratch)
    evaluations.robustness(resumed)
    assert (work.out / "images.csv").read_bytes() == (again.out / "images.csv").read_bytes()
