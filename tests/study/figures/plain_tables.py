"""Made-up tables of a small study, without stages or files."""

import itertools

import numpy as np
import pandas as pd

from neuroalign.study.figures.conditions import Conditions
from tests.study.figures.made_up import CONDITIONS
from tests.study.finished import study_of

LABELS = ("none", "neural guidance (V1)", "neural guidance (V4)", "shuffled fit (V1)", "shuffled fit (V4)")


def conditions_of(names, regions=("V1", "V4"), origin="simulated subject"):
    """The conditions of a study with the given conditions, by name."""
    study = study_of(
        conditions={name: CONDITIONS[name] for name in names}, comparisons=[],
        responses=[{"source": "simulated", "regions": list(regions)}],
    )  # fmt: skip
    return Conditions.of(study, origin)


SMALL = conditions_of(["none", "neural guidance", "shuffled fit"])
LARGE = conditions_of(CONDITIONS)


def accuracy_of(labels, seeds=3, eps=(0.0, 1 / 255, 2 / 255)):
    """Accuracy under attack: .9 without one, and a tenth less at every budget; .01 more with every seed."""
    rows = [(label, seed, e, 0.9 - 0.1 * i + 0.01 * seed)
            for label in labels for seed in range(seeds) for i, e in enumerate(eps)]  # fmt: skip
    return pd.DataFrame(rows, columns=["condition", "replication", "eps", "accuracy"])


def networks_of(labels, seeds=3):
    """A row per network: its accuracies and its geometry."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(itertools.product(labels, range(seeds)), columns=["label", "replication"]).assign(subject="")
    for name in ("clean", "robust", "capacity", "rms_radius"):
        table[name] = rng.uniform(0.3, 0.7, len(table))
    return table


def rows_of(labels, measures, seeds=3, **columns):
    """A row per label, seed and measure; values grow with the seed."""
    rows = [
        (label, seed, measure, 0.2 + 0.1 * seed) for label in labels for seed in range(seeds) for measure in measures
    ]
    return pd.DataFrame(rows, columns=["label", "replication", "measure", "value"]).assign(
        **{"eps": np.nan, "n": 50, **columns}
    )


def texts(figure):
    """All texts of a legend or of the axes' ticks."""
    return [text.get_text() for text in figure.findobj(match=lambda a: hasattr(a, "get_text")) if text.get_text()]


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def visible(figure):
    return [ax for ax in figure.axes if ax.get_visible()]
