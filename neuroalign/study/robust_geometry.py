"""Whether networks with robust training have the geometry that the manifold hypothesis expects of robust networks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from neuroalign.evaluation.geometry_regression import EXPECTED, vanishes
from neuroalign.evaluation.multiple_comparisons import corrected_p
from neuroalign.study.explaining import FEATURES, measures_in
from neuroalign.study.runs import label_of
from neuroalign.study.study import Study

__all__: list[str] = []

PLAIN = "none"
_COLUMNS = [
    "condition", "layer", "guided", "measure", "expected", "value", "plain_value", "difference", "low", "high", "n", "unit",
    "p", "p_holm", "conforms", "test", "note",
]  # fmt: skip
_TEST = "paired t test over seeds"


def robust_geometry_table(study: Study, geometry: pd.DataFrame) -> pd.DataFrame:
    """Geometry of each condition with robust training minus that of ``none``, paired by seed.

    Networks of several subjects are averaged within a seed, because the networks of ``none`` have no subject.

    Args:
        study: The study.
        geometry: From :func:`~neuroalign.study.explaining.geometry_of_networks`.

    Returns:
        A row per condition, layer and measure: ``guided`` (whether guidance reads this layer), ``expected`` (sign by the
        manifold hypothesis), ``value`` and ``plain_value`` (means over seeds), ``difference`` with its 95 % t interval
        ``low`` and ``high``, ``n`` (seeds), ``unit``, ``p``, ``p_holm`` (over all rows), ``conforms`` ("yes", "no" or "not
        clear", by ``p_holm``), ``test``, ``note``. Empty without robust training, without ``none``, or without geometry.
    """
    plain = study.conditions.get(PLAIN)
    if geometry.empty or plain is None or plain.robust_training is not None:
        return pd.DataFrame(columns=_COLUMNS)
    measures, guided = measures_in(geometry), _guided_layers(study)
    means = geometry.groupby(["condition", "layer", "seed"])[measures].mean()
    there = set(geometry["condition"])
    rows = [
        _row(means.loc[(label, layer)], means.loc[(PLAIN, layer)], measure)
        | {"condition": label, "layer": layer, "guided": layer in guided}
        for label in _robust(study)
        if label in there and PLAIN in there
        for layer in geometry["layer"].unique()
        for measure in measures
    ]
    found = pd.DataFrame(rows, columns=_COLUMNS)
    return found.assign(p_holm=corrected_p(found["p"].to_numpy(float))).pipe(_judged) if len(found) else found


def robust_geometry_sentences(table: pd.DataFrame) -> list[str]:
    """What the table shows at the guided layer (at the last features if that wasn't measured); empty for an empty table.

    Args:
        table: From :func:`robust_geometry_table`.
    """
    if table.empty:
        return []
    at = table[table["guided"]] if table["guided"].any() else table[table["layer"] == FEATURES]
    sentences = []
    for (condition, layer), rows in at.groupby(["condition", "layer"], sort=False):
        where = "the last features" if layer == FEATURES else str(layer)
        texts = [
            f"{what} {', '.join(map(_text, (row for _, row in group.iterrows())))}"
            for answer, what in _ANSWERS.items()
            if len(group := rows[rows["conforms"] == answer])
        ]
        over = f"{condition} against {PLAIN} at {where} ({rows['n'].max()} seeds)"
        sentences.append(f"{over}: {'; '.join(texts) or 'not computed'}.")
    return [
        *sentences,
        "Robust training also changes clean accuracy and what is learned, so a difference shows no cause; a difference that "
        "isn't clear is not equality.",
    ]


_ANSWERS = {
    "yes": "as the manifold hypothesis expects:",
    "no": "against what it expects:",
    "not clear": "no clear difference:",
}


def _text(row: pd.Series) -> str:
    return f"{str(row['measure']).replace('_', ' ')} {row['difference']:+.3g} [{row['low']:+.3g}, {row['high']:+.3g}]"


def _guided_layers(study: Study) -> set[str]:
    layer = study.network.layer
    names = list(layer.values()) if isinstance(layer, dict) else [layer]
    return {FEATURES if name is None else name for name in names}


def _robust(study: Study) -> list[str]:
    return [
        label_of(name, region)
        for name, condition in study.conditions.items()
        if condition.robust_training is not None
        for region in study.regions_of(name)
    ]


def _row(robust: pd.DataFrame, plain: pd.DataFrame, measure: str) -> dict[str, Any]:
    pairs = pd.concat([robust[measure], plain[measure]], axis=1, join="inner", keys=["robust", "plain"]).dropna()
    differences = (pairs["robust"] - pairs["plain"]).to_numpy(float)
    row = {
        "measure": measure,
        "expected": EXPECTED[measure],
        "n": len(pairs),
        "unit": "seed",
        "test": _TEST,
        "note": "",
    }
    if not len(pairs):
        return row | {"note": "not computed: no seed has both"}
    row |= {"value": pairs["robust"].mean(), "plain_value": pairs["plain"].mean(), "difference": differences.mean()}
    if len(pairs) < 2:
        return row | {"note": "no interval: one seed"}
    if vanishes(differences - differences.mean(), differences):
        return row | {"note": "no interval: the difference is the same in every seed"}
    from scipy.stats import ttest_1samp

    found = ttest_1samp(differences, 0.0)
    low, high = found.confidence_interval(0.95)
    return row | {"low": low, "high": high, "p": found.pvalue}


def _judged(table: pd.DataFrame) -> pd.DataFrame:
    same = np.sign(table["difference"].astype(float)) == np.where(table["expected"] == "+", 1, -1)
    clear = table["p_holm"] < 0.05
    answer = np.where(clear, np.where(same, "yes", "no"), "not clear")
    return table.assign(conforms=np.where(table["p_holm"].isna(), "", answer))
