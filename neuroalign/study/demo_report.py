"""The demo's tables, figures and verdict, from the results of its replications."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

import pandas as pd
import torch
from matplotlib.figure import Figure
from rich.console import Console

from neuroalign.evaluation.comparison import Comparison, compare
from neuroalign.files import write_csv, write_png
from neuroalign.plot import plot_bars, plot_prediction, plot_robustness
from neuroalign.study.demo import DemoResult, DemoSettings
from neuroalign.study.report import accuracy_by_condition, rich_table, summary_table, write_html
from neuroalign.study.verdicts import interval_meaning, verdict
from neuroalign.version import __version__

__all__: list[str] = []

METHODS = (
    "Real digit images (scikit-learn's, 8x8 pixels, at half contrast on grey) were shown, as shifted copies under pixel "
    "noise of many strengths, to a simulated subject: V1 is Gabor energy, TO the features of a network that learned the "
    "same ten digits under noise, V4 half texture and half TO. Its responses (three noisy trials per image) were written "
    "as files in the layout of the Natural Scenes Dataset and read by the same reader as real ones. A predictor was fitted "
    "to each region; networks were trained on other digits, each guided by one predictor or by a control, and attacked by "
    "PGD on a third set. Every replication draws new splits and trains everything from the start; splits of different "
    "replications share images, so their spread is smaller than that of independent data. The recipe was chosen on other "
    "seeds than those reported. Cross-entropy has weight 0.1 under guidance by responses, 0.5 under guidance by geometry "
    "and 1 without guidance: a comparison with none mixes guidance with step size; a comparison with another control does "
    "not."
)
PLANTED = (
    "The subject is simulated and the effect planted (its object level learned these digits under noise): this shows that "
    "the chain carries a known effect, not that brains make networks robust."
)
CONDITIONS_EXPLAINED = {
    "none": "classification alone",
    "label only": "a random target for each class: it holds no more than the label",
    "random predictor": "responses of an untrained predictor",
    "shuffled images": "TO's predicted responses to another image of the batch",
    "TO shuffled fit": "responses of a predictor that was fitted to TO's responses to other images",
    "V1, V4, TO": "predicted responses of the region",
    "TO manifold": "only the size and the directions of TO's category manifolds",
    "random geometry": "manifolds of the same sizes and ranks, but with random places and directions",
    "no brain": "a penalty that makes the network's own classes small and low-dimensional; no brain enters",
}
MATCHED = (
    "The loss of every control is multiplied by a factor; with it, its gradient on the untrained network has the scale of "
    "the treatment's gradient. Mean factors over replications: "
)
CONTROLS = ("none", "label only", "random predictor", "shuffled images", "TO shuffled fit")


def write_report(
    results: Sequence[DemoResult], settings: DemoSettings, out: Path, console: Console, *, fast: bool = False
) -> pd.DataFrame:
    """Write tables, figures and the page to ``out``, print the table and the verdict, and return the accuracy table."""
    images = pd.concat([r.images for r in results], ignore_index=True)
    prediction = pd.concat([r.prediction for r in results], ignore_index=True)
    geometry = pd.concat([r.geometry for r in results], ignore_index=True)
    accuracy = accuracy_by_condition(images)
    factors = pd.concat([r.factors for r in results], ignore_index=True)
    tables = {"results": accuracy, "prediction": prediction, "geometry": geometry, "factors": factors}
    for name, table in tables.items():
        write_csv(table.assign(subject="simulated"), out / f"{name}.csv")

    comparisons = [compare(images, "TO", control) for control in (*CONTROLS, "V1")]
    manifold = [compare(images, "TO manifold", control) for control in ("none", "random geometry", "no brain")]
    sentences = _sentences(comparisons, manifold, len(results), fast)
    summary = summary_table(accuracy)
    predicted = _predicted(prediction)
    figures = _figures(accuracy, prediction, geometry)
    for name, (figure, _) in figures.items():
        write_png(figure, out / f"{name}.png")
    write_html(
        out / "report.html",
        title="neuroalign demo: a simulated subject guides networks",
        verdict=sentences,
        methods=f"{METHODS} {_matched(factors)}",
        tables={
            "Conditions": pd.DataFrame({"trained with": CONDITIONS_EXPLAINED}),
            f"Accuracy under attack (simulated subject; mean ± sd of {len(results)} replications)": summary,
            "Prediction of held-out responses (simulated; median over voxels)": predicted,
        },
        figures={caption.split(".")[0]: (figure, caption) for figure, caption in figures.values()},
        comparisons=[*comparisons, *manifold],
        settings={
            **asdict(settings),
            "seeds": sorted(images["replication"].unique().tolist()),
            "neuroalign": __version__,
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    )
    console.print(rich_table(predicted, "Prediction of held-out responses, simulated subject: median r over voxels"))
    console.print(
        rich_table(
            summary if console.width >= 110 else summary_table(accuracy, spread=["mean"]),
            f"Accuracy under PGD-{settings.steps} (Linf, margin loss, cosine steps), networks guided by a simulated subject: "
            f"mean ± sd of n = {len(results)}",
        )
    )
    per_replication = int(accuracy["num_images"].iloc[0])
    console.print(
        f"Share of {per_replication} test images that stay right in each replication; ε is the largest change of a pixel in "
        "[0, 1]; 'mean' is over\nthe budgets above 0. report.html says what each condition was trained with.\n",
        highlight=False,
        markup=False,
    )
    console.print(
        "Paired differences, averaged over the budgets above 0, with 95 % intervals, and the number of replications in which "
        f"the first was higher.\n{interval_meaning(comparisons[0])}",
        highlight=False,
    )
    for comparison in (*comparisons, *manifold):
        console.print(f"  {comparison}", highlight=False)
    console.print("\n[bold]Verdict.[/bold] " + " ".join(sentences), highlight=False)
    console.print(f"\nTables, figures and report.html are in {out}", highlight=False)
    return accuracy


def _sentences(
    comparisons: Sequence[Comparison], manifold: Sequence[Comparison], num_replications: int, fast: bool
) -> list[str]:
    if fast:
        return ["A fast run trains too little for its numbers to mean anything, so there is no verdict.", PLANTED]
    sentences = [verdict(comparisons, "Guidance by TO of this simulated subject")]
    sentences.append(verdict(manifold, "Manifold guidance by TO"))
    sentences.append(PLANTED)
    if num_replications < 2:
        sentences.insert(0, "One replication decides nothing.")
    elif num_replications < 4:
        sentences.insert(
            -1,
            f"With {num_replications} replications most differences can't be separated from chance: --replications 8 makes "
            "the intervals several times shorter.",
        )
    return sentences


def _matched(factors: pd.DataFrame) -> str:
    means = factors.groupby("condition", sort=False)["factor"].mean()
    return MATCHED + ", ".join(f"{condition} {factor:.2f}" for condition, factor in means.items()) + "."


def _predicted(prediction: pd.DataFrame) -> pd.DataFrame:
    by_region = prediction.groupby("region", sort=False)
    ceiling = (
        prediction.assign(limit=prediction["noise_ceiling"] ** 0.5).groupby("region", sort=False)["limit"].median()
    )
    return pd.DataFrame(
        {
            "r": by_region["correlation"].median().map("{:.3f}".format),
            "largest r that noise allows": ceiling.map("{:.3f}".format),
        }
    )


def _figures(accuracy: pd.DataFrame, prediction: pd.DataFrame, geometry: pd.DataFrame) -> dict[str, tuple[Figure, str]]:
    robustness = plot_robustness(accuracy, title="Networks guided by a simulated subject, under PGD").figure
    fitted = prediction[~prediction["region"].str.contains("shuffled")]
    predicted = plot_prediction(fitted, title="Predictors of a simulated subject").figure
    grid = Figure(figsize=(14, 6.2), layout="constrained")
    axes = grid.subplots(2, 4, height_ratios=[3, 10])
    labels = {
        "capacity": "manifold capacity\n(larger: easier to separate)",
        "rms_radius": "radius / distance between classes\n(smaller: tighter classes)",
        "participation_ratio": "participation ratio\n(effective dimensions of a class)",
        "separability": "separability\n(share of variance between classes)",
    }
    for column, (value, label) in enumerate(labels.items()):
        for row, network in enumerate(("predictor", "classifier")):
            part = geometry[geometry["network"] == network]
            title = {"predictor": "predicted responses", "classifier": "features of guided networks"}[network]
            plot_bars(part, value, label=label if row else "", ax=axes[row, column], title=title)
            if column:
                axes[row, column].tick_params(labelleft=False)
    grid.suptitle("Category manifolds of the test digits (simulated subject)", fontsize=11)
    return {
        "robustness": (
            cast(Figure, robustness),
            "Robustness. Accuracy of each network as the attack's budget grows; simulated subject, dashed lines are "
            "controls.",
        ),
        "geometry": (
            grid,
            "Geometry. Capacity, size, dimension and separability of the ten digits' manifolds, in the predicted responses "
            "and in the last features of each network. Geometry need not follow robustness.",
        ),
        "prediction": (
            cast(Figure, predicted),
            "Prediction. Correlation of predicted and simulated responses to held-out images, one dot per voxel, against "
            "the largest correlation that the simulated noise allows.",
        ),
    }
