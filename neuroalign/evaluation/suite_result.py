"""A suite run on a network, with results written to disk during the run: tables, thresholds per image, and a record."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from torch import nn

from neuroalign.budgets import eps_text as eps_text
from neuroalign.evaluation.corruptions import measure_corruptions
from neuroalign.evaluation.curve import RobustnessCurve, measure_curve
from neuroalign.evaluation.masking import MaskingReport, check_masking
from neuroalign.evaluation.mean_corruption_error import corruption_errors
from neuroalign.evaluation.passes import PassOptions
from neuroalign.evaluation.result_table import result_table
from neuroalign.evaluation.robustness import measure_robustness
from neuroalign.evaluation.smoothness import Smoothness, measure_smoothness
from neuroalign.evaluation.suite_parts import with_parts
from neuroalign.evaluation.suite_record import check_record, record_of
from neuroalign.evaluation.suites import Suite
from neuroalign.evaluation.tables import measured_accuracy
from neuroalign.files import output_folder, whole, write_csv
from neuroalign.functional.checks import check_labels
from neuroalign.functional.distributed import reduce_sum
from neuroalign.perturbations import PGD, Classifier
from neuroalign.perturbations.attacks.minimal import MinimalNormAttack
from neuroalign.perturbations.pixel_classifier import Logits, ModelInterface
from neuroalign.state import evaluating

__all__ = ["SuiteResult", "evaluate_suite"]


@dataclass(frozen=True)
class SuiteResult:
    """Results of a suite.

    Attributes:
        attacks: Accuracy under every attack at every budget, and under their worst case; see :func:`evaluate_robustness`.
        corruptions: Accuracy under every corruption; empty if the suite has none.
        transforms: Accuracy under filters, contrasts and rotations, with ``kind`` and ``strength``; empty if the suite has
            none.
        curves: The curve of every attack, with each image's threshold.
        masking: The masking report.
        smoothness: Input smoothness at the images and at adversarial points.
        record: Description of what was run, in plain values.
    """

    attacks: pd.DataFrame
    corruptions: pd.DataFrame
    transforms: pd.DataFrame
    curves: dict[str, RobustnessCurve]
    masking: MaskingReport
    smoothness: Smoothness
    record: dict[str, Any] = field(repr=False)

    def per_image(self) -> pd.DataFrame:
        """One row per image and attack: ``perturbation``, ``stimulus``, ``label``, ``threshold``, ``distance``."""
        parts = [c.images.assign(perturbation=name) for name, c in self.curves.items()]
        order = ["perturbation", "stimulus", "label", "threshold", "distance"]
        return pd.concat(parts, ignore_index=True)[order]

    def save(self, out: str | Path) -> None:
        """Write each table as CSV (attacks, images, corruptions, transforms, masking), and ``record.json``."""
        out = Path(out)
        tables = {
            "attacks": self.attacks, "images": self.per_image(), "corruptions": self.corruptions,
            "transforms": self.transforms, "masking": self.masking.table,
        }  # fmt: skip
        for name, table in tables.items():
            if len(table):
                write_csv(table, out / f"{name}.csv")
            else:  # a table of an earlier run would look like one of this run
                (out / f"{name}.csv").unlink(missing_ok=True)
        with whole(out / "record.json") as temporary:
            temporary.write_text(json.dumps(self.record, indent=1) + "\n")


def evaluate_suite(
    model: nn.Module,
    dataloader: Iterable[Any],
    suite: Suite,
    *,
    logits: Logits | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    out: str | Path | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = False,
    report: Callable[[str], None] | None = None,
    about: Mapping[str, Any] | None = None,
) -> SuiteResult:
    """Run a suite on a network.

    With ``out``, the results of each batch are written at once; if a run is killed, the next call continues from there.

    Args:
        model: Classifier from images in [0, 1] to logits.
        dataloader: Batches; read once for each part. See :func:`evaluate_robustness`.
        suite: Result of :func:`robustness_suite`, or your own.
        logits: Where the logits are in the model's output; see :func:`evaluate_robustness`.
        mean: Mean per channel of the normalisation that the loader's images have had; None means that they are pixels.
        std: Standard deviation per channel of the same.
        out: Folder for tables and the record; None keeps them in memory.
        seed: Seed of corruptions, of the masking report and of the global generator.
        device: Device to compute on; None means the model's.
        progress: Show progress bars; in a log, a line a minute.
        report: Called with a line of text at the start of every part.
        about: Further plain values for the record, such as the sources of model and data.

    Raises:
        ValueError: If images, labels or logits are not valid, or ``out`` holds the parts of another run.
        TypeError: If the suite is a name.

    Example:
        >>> from neuroalign import PGD
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).eval()
        >>> images = torch.rand(8, 3, 2, 2)
        >>> suite = Suite("mine", ((PGD(steps=5), (0.02, 0.05)),), masking_eps=0.02)
        >>> result = evaluate_suite(model, [(images, model(images).argmax(1))], suite)
        >>> result.attacks["perturbation"].unique().tolist(), result.masking.passed
        (['pgd5-linf-margin-cosine'], True)
    """
    if not isinstance(suite, Suite):
        raise TypeError(f"suite must be a Suite, such as robustness_suite('fast', image_shape); got {suite!r}")
    say = report or (lambda line: None)
    options = PassOptions(ModelInterface(logits, mean, std), seed=seed, device=device, progress=progress)
    facts = {**_normalization(mean, std), **(about or {})}

    def run(parts: Path | None) -> SuiteResult:
        return _run_suite(model, dataloader, suite, options, parts, say, facts)

    if out is None:
        return run(None)
    check_record(output_folder(out) / "record.json", model, suite, seed)
    result = with_parts(Path(out), run, say)
    result.save(out)
    return result


def _run_suite(
    model: nn.Module,
    dataloader: Iterable[Any],
    suite: Suite,
    options: PassOptions,
    parts: Path | None,
    say: Callable[[str], None],
    facts: Mapping[str, Any],
) -> SuiteResult:
    """All parts of a suite, each continued from its file in the folder ``parts``, if there is one."""
    seed = options.seed
    _check_right(model, dataloader, options)

    def kept_in(name: str) -> PassOptions:
        return options if parts is None else options.with_checkpoint(parts / f"{name}.csv")

    curves = {}
    for attack, eps in suite.attacks:
        say(f"attack {attack!r}")
        # An attack on the shortest perturbation serves every budget with one run anyway.
        exhaustive = suite.exhaustive and not isinstance(attack, MinimalNormAttack)
        curves[attack.name] = measure_curve(model, dataloader, attack, eps, kept_in(attack.name), exhaustive=exhaustive)
    worst = _worst_cases(curves)
    corruptions, transforms = pd.DataFrame(), pd.DataFrame()
    if suite.corruptions:
        say(f"{len(suite.corruptions)} corruptions at severities {', '.join(map(str, suite.severities))}")
        corruptions = measure_corruptions(
            model, dataloader, suite.corruptions, suite.severities, kept_in("corruptions")
        )
    if suite.transforms:
        say(f"{len(suite.transforms)} filters, contrasts and rotations")
        transformed: list[Any] = list(suite.transforms)
        measured = measure_robustness(model, dataloader, transformed, None, kept_in("transforms"))
        transforms = pd.concat(map(measured_accuracy, measured), ignore_index=True)
        transforms.insert(0, "kind", [t.kind or t.name for t in suite.transforms])
        transforms.insert(1, "strength", [t.strength for t in suite.transforms])
        transforms = result_table(transforms, ["kind", "strength", "accuracy", "ci_low", "ci_high", "num_images"])
    say("smoothness and the masking report")
    attack = PGD("linf", steps=10, seed=seed)
    smoothness = measure_smoothness(model, dataloader, attack, suite.masking_eps, options)
    masking = check_masking(model, dataloader, suite.masking_eps, options, num_images=suite.masking_images)
    attacks = pd.concat([c.table() for c in [*curves.values(), *worst.values()]], ignore_index=True)
    num_images = int(attacks["num_images"].iloc[0])
    return SuiteResult(
        attacks, corruptions, transforms, {**curves, **worst}, masking, smoothness,
        record_of(model, suite, curves, smoothness, masking, num_images, seed, options.device)
        | {
            "mean_corruption_error": _mean_error(corruptions),
            "corruption_strengths": corruptions["strengths"].iloc[0] if len(corruptions) else None,
            **facts,
        },
    )  # fmt: skip


def _check_right(model: nn.Module, dataloader: Iterable[Any], options: PassOptions) -> None:
    """Refuse a network that gets no image right, before an attack takes its time.

    Raises:
        ValueError: If no image is classified right.
    """
    device, network = options.prepare(model)
    num_right = num_images = 0
    with evaluating(network, options.seed):
        classifier = Classifier(network)
        for batch in replace(options, progress=False).batches(dataloader, device, ""):
            scores = classifier.logits(batch.images)
            check_labels(batch.labels, scores.shape[1])
            num_right += int((scores.argmax(1) == batch.labels).sum())
            num_images += len(batch.labels)
            if num_right:
                break
    right, total = reduce_sum(torch.tensor([num_right, num_images], device=device)).tolist()
    if not right:
        raise ValueError(
            f"the network gets none of the {total} images right, so there is nothing to attack: do the labels fit it?"
        )


def _mean_error(corruptions: pd.DataFrame) -> float | None:
    return corruption_errors(corruptions).mean_error if len(corruptions) else None


def _normalization(mean: Sequence[float] | None, std: Sequence[float] | None) -> dict[str, Any]:
    """Mean and standard deviation of the loader's images, for the record."""
    return {} if mean is None or std is None else {"mean": list(map(float, mean)), "std": list(map(float, std))}


def _worst_cases(curves: dict[str, RobustnessCurve]) -> dict[str, RobustnessCurve]:
    found = {}
    for norm in ("linf", "l2"):
        of_norm = [c for c in curves.values() if c.norm == norm]
        if len(of_norm) > 1:
            name = f"worst case, {norm}"
            worst = RobustnessCurve.worst_case(of_norm)
            found[name] = RobustnessCurve(**{**vars(worst), "attack": name})
    return found
