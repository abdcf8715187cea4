"""Stages of the evaluations: what is measured on a trained network, or on a predictor, with the test images."""

from __future__ import annotations

from typing import Any, cast

from neuroalign.study.stages.result_files import write_json
from neuroalign.study.work import Work

__all__: list[str] = []

VERSION = 1
SMALLEST = 32  # pixels; corruptions of smaller images have the strengths of this size


def robustness(work: Work) -> None:
    """Whether each test image is classified right under an attack, at every budget and at 0."""
    from neuroalign.evaluation import per_image_robustness
    from neuroalign.files import write_csv
    from neuroalign.study.stages.attacks import attack_of
    from neuroalign.study.stages.measuring import batches_of_test, network_of, write_rows

    settings = work.settings
    attack = attack_of(settings["attack"], settings["norm"], settings["steps"])
    found = per_image_robustness(
        network_of(work),
        batches_of_test(work, f"attacking by {attack.name}", num_images=settings["num_images"]),
        attack,
        sorted({0.0, *map(float, settings["eps"])}),
        exhaustive=settings["exhaustive"],
        checkpoint=work.scratch / "attacked.csv",
    )
    found = found.assign(norm=attack.norm)[["stimulus", "label", "perturbation", "norm", "eps", "correct"]]
    write_csv(found.astype({"correct": int}), work.out / "images.csv")
    right: Any = found.groupby("eps")["correct"]
    write_rows(work, [("accuracy", float(eps), float(each.mean()), len(each)) for eps, each in right])


def geometry(work: Work) -> None:
    """Geometry of the test images' categories in the network's last features, or in a predictor's responses."""
    import torch

    from neuroalign.metrics import ManifoldGeometry
    from neuroalign.state import evaluating
    from neuroalign.study.stages.measuring import batches_of_test, device_of, features_of, write_rows

    module, device = features_of(work), device_of(work)
    metric = ManifoldGeometry(num_per_class=work.settings["num_per_class"] or "equal")
    images = 0
    with evaluating(module), torch.no_grad():
        for batch in batches_of_test(work, "measuring geometry", end=0.5 if work.settings["layers"] else 1.0):
            metric.update(module(batch["image"].to(device)).cpu(), batch["label"], batch["stimulus"])
            images += len(batch["image"])
    write_rows(work, [(name, None, float(value), images) for name, value in metric.compute().items()])
    if work.settings["layers"]:
        _write_layers(work)


def _write_layers(work: Work) -> None:
    """Write ``layers.csv``, the same measures at layers of the trunk."""
    from neuroalign.evaluation import layer_geometry
    from neuroalign.files import write_csv
    from neuroalign.models import resolve_layer
    from neuroalign.study.stages.measuring import batches_of_test, network_of

    layers, network = list(work.settings["layers"]), network_of(work)
    backbone = cast(Any, network).trunk.backbone
    batches = batches_of_test(work, "measuring layers", start=0.5)
    found = layer_geometry(
        network,
        batches,
        [f"trunk.backbone.{resolve_layer(backbone, layer)}" for layer in layers],
        num_per_class=work.settings["num_per_class"] or "equal",
        progress=False,
    )
    write_csv(found.assign(layer=layers), work.out / "layers.csv")


def corruptions(work: Work) -> None:
    """Accuracy on corrupted test images, and the mean error over corruptions and severities."""
    from neuroalign.evaluation import evaluate_corruptions
    from neuroalign.files import write_csv
    from neuroalign.perturbations import COMMON_CORRUPTIONS
    from neuroalign.study.stages.measuring import batches_of_test, images_of, network_of, write_rows

    settings, shape = work.settings, images_of(work).image_shape
    found = evaluate_corruptions(
        network_of(work),
        batches_of_test(work, "corrupting", num_images=settings["num_images"]),
        settings["corruptions"] or COMMON_CORRUPTIONS,
        settings["severities"],
        table=SMALLEST if min(shape[1:]) < SMALLEST else None,
        per_image=True,
        checkpoint=work.scratch / "corrupted.csv",
    )
    shown = found.assign(perturbation=found["corruption"], norm="", eps=found["severity"].astype(float))
    columns = ["stimulus", "label", "perturbation", "norm", "eps", "correct"]
    write_csv(shown[columns].astype({"correct": int}), work.out / "images.csv")
    right: Any = found.groupby(["corruption", "severity"], sort=False)["correct"]
    rows = [
        (f"corruption accuracy {name}", float(severity), float(each.mean()), len(each))
        for (name, severity), each in right
    ]
    # Each corruption at each severity counts the same; no error of a reference network is divided by.
    error = 1 - sum(value for _, _, value, _ in rows) / len(rows)
    write_rows(work, [*rows, ("mean error under corruptions", None, error, found["stimulus"].nunique())])


def smoothness(work: Work) -> None:
    """Mean squared input gradient at test images and at adversarial points."""
    from neuroalign.evaluation import evaluate_smoothness
    from neuroalign.perturbations import PGD
    from neuroalign.study.stages.measuring import batches_of_test, network_of, write_rows

    settings = work.settings
    batches = batches_of_test(work, "measuring smoothness", num_images=settings["num_images"])
    found = evaluate_smoothness(network_of(work), batches, PGD(steps=settings["steps"]), settings["eps"])
    rows: list[tuple[str, float | None, float, int]] = [
        ("input gradient (clean)", None, found.clean, found.num_images),
        ("input gradient (adversarial)", float(settings["eps"]), found.adversarial, found.num_images),
        ("loss (clean)", None, found.clean_loss, found.num_images),
        ("loss (adversarial)", float(settings["eps"]), found.adversarial_loss, found.num_images),
    ]
    write_rows(work, rows)


def masking(work: Work) -> None:
    """The checks for masked gradients, on test images that the network classifies right."""
    from neuroalign.evaluation import masking_report
    from neuroalign.study.stages.measuring import batches_of_test, network_of, write_rows

    settings = work.settings
    eps = float(settings["eps"])
    batches = batches_of_test(work, "looking for masked gradients")
    report = masking_report(network_of(work), batches, eps, num_images=settings["num_images"])
    rows: list[tuple[str, float | None, float, int]] = [
        ("masking passed", eps, float(report.passed), report.num_images)
    ]
    for each in report.table.to_dict("records"):
        rows.append((f"masking: {each['check']}", eps, float(each["value"]), int(each["num_tried"])))
    write_rows(work, rows)
    found = {"passed": report.passed, "failed": report.failed, "converged": report.converged, "eps": eps}
    write_json(work.out / "masking.json", {**found, "norm": report.norm, "num_images": report.num_images})


def shape_bias(work: Work) -> None:
    """Decisions for shape or texture on cue-conflict stimuli, among the classes that stimuli and network share."""
    from neuroalign.study.stages.cue_conflict import measure_shape_bias
    from neuroalign.study.stages.measuring import write_rows

    write_rows(work, measure_shape_bias(work))


def transfer(work: Work) -> None:
    """Share of adversarial images of each network that fool each other network, of those that both get right clean."""
    from neuroalign.evaluation import transfer_matrix
    from neuroalign.files import write_csv
    from neuroalign.perturbations import PGD
    from neuroalign.study.stages.measuring import batches_of_test, network_of

    settings, prefix = work.settings, "network:"
    networks = {role.removeprefix(prefix): network_of(work, role) for role in work.inputs if role.startswith(prefix)}
    batches = batches_of_test(work, "exchanging adversarial images", num_images=settings["num_images"])
    found = transfer_matrix(networks, batches, PGD(steps=settings["steps"]), settings["eps"])
    found = found.assign(rate=1 - found["accuracy"], n=found["num_images"])
    write_csv(found[["source", "target", "rate", "n"]], work.out / "transfer.csv")
