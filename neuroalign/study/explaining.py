"""Whether geometry predicts robustness across the networks of a study."""

from __future__ import annotations

import pandas as pd

from neuroalign.evaluation.geometry_regression import BETWEEN, EXPECTED, WITHIN, regressions, with_holm
from neuroalign.study.networks import networks_table
from neuroalign.study.runs import label_of
from neuroalign.study.study import Study

__all__: list[str] = []

FEATURES = "features"
"""The last features, beside the names of layers."""
EVERY, PLAIN = "all", "without robust training"
_KEY = ["condition", "subject", "seed"]
_COLUMNS = [
    "layer", "networks", "measure", "expected", "scope", "n", "unit", "conditions", "df", "slope", "low", "high", "p",
    "p_holm", "partial_r", "partial_low", "partial_high", "r", "test", "note",
]  # fmt: skip


def geometry_robustness_table(study: Study, results: pd.DataFrame, geometry: pd.DataFrame) -> pd.DataFrame:
    """Whether geometry predicts robustness across the networks of a study, once clean accuracy is given.

    Robustness is accuracy under the first attack, averaged over its budgets above 0. If some conditions have robust training,
    everything is computed a second time without them: they are of one kind, which would count once for each of them.

    Args:
        study: The study.
        results: From :func:`~neuroalign.study.collecting.results_table`.
        geometry: From :func:`geometry_of_networks`.

    Returns:
        The rows of :func:`neuroalign.evaluation.regress_on_geometry` for each ``layer`` ("features" is the last) and each set
        of ``networks`` ("all", "without robust training"). Holm's correction is over all rows of one scope and set.
    """
    accuracy = _accuracy(study, results)
    if accuracy.empty or geometry.empty:
        return pd.DataFrame(columns=_COLUMNS)
    measures = measures_in(geometry)
    parts = []
    for name, kept in _sets(study, accuracy).items():
        found = []
        for layer, rows in geometry.groupby("layer", sort=False):
            joined = accuracy[kept].merge(rows[[*_KEY, *measures]], on=_KEY)
            there = [measure for measure in measures if joined[measure].notna().any()]
            if there:
                found.append(regressions(joined, there, 0.95).assign(layer=layer, networks=name))
        if found:
            parts.append(with_holm(pd.concat(found, ignore_index=True)))
    return pd.concat(parts, ignore_index=True)[_COLUMNS] if parts else pd.DataFrame(columns=_COLUMNS)


def explaining_sentences(table: pd.DataFrame) -> list[str]:
    """What the table shows, whichever way, and what it can't say; empty for an empty table.

    Args:
        table: From :func:`geometry_robustness_table`.
    """
    if table.empty:
        return []
    sentences = []
    for networks, rows in table.groupby("networks", sort=False):
        where = "" if networks == EVERY else "Without the robustly trained networks: "
        sentences += [where + _of_scope(rows[rows["scope"] == scope], scope) for scope in (BETWEEN, WITHIN)]
    return [
        *sentences,
        "This is a correlation over the networks of this study. Its conditions were chosen, not drawn, and each changes more "
        "than geometry, so it shows no cause. Measures and layers are correlated with one another.",
    ]


def geometry_of_networks(geometry: pd.DataFrame, layers: pd.DataFrame) -> pd.DataFrame:
    """Geometry of every network: ``condition`` (with its region), ``subject``, ``seed``, ``layer`` and the measures.

    Args:
        geometry: From :func:`~neuroalign.study.collecting.geometry_table`.
        layers: From :func:`~neuroalign.study.collecting.layers_table`.
    """
    parts = [
        table[table["network"] == "classifier"]
        for table in (geometry.assign(layer=FEATURES), layers)
        if len(table) and "layer" in table
    ]
    return _named(pd.concat(parts, ignore_index=True)) if parts else pd.DataFrame()


def measures_in(geometry: pd.DataFrame) -> list[str]:
    """The measures that a hypothesis is about, as far as they were measured."""
    return [name for name in EXPECTED if name in geometry and geometry[name].notna().any()]


def _accuracy(study: Study, results: pd.DataFrame) -> pd.DataFrame:
    """``robustness`` and ``clean`` of every network that has both, under the first attack."""
    attack = next(iter(study.evaluations.robustness), "")
    names = {"label": "condition", "replication": "seed", "robust": "robustness"}
    return networks_table(results, attack, study).rename(columns=names)


def _named(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows with the name of condition and region as ``condition``, and "" for no subject, so that they can be joined."""
    places = zip(rows["condition"], rows["region"])
    names = [label_of(condition, region if isinstance(region, str) else None) for condition, region in places]
    subjects = [subject if isinstance(subject, str) else "" for subject in rows["subject"]]
    return rows.assign(condition=names, subject=subjects, seed=rows["seed"].astype(int))


def _sets(study: Study, accuracy: pd.DataFrame) -> dict[str, pd.Series]:
    """Which networks are asked about, by the name of the set."""
    robust = [
        label_of(name, region)
        for name, condition in study.conditions.items()
        if condition.robust_training is not None
        for region in study.regions_of(name)
    ]
    every = pd.Series(True, index=accuracy.index)
    plain = ~accuracy["condition"].isin(robust)
    return {EVERY: every, PLAIN: plain} if plain.any() and not plain.all() else {EVERY: every}


def _of_scope(rows: pd.DataFrame, scope: str) -> str:
    tested = rows[rows["p_holm"].notna()]
    if tested.empty:
        why = next((note for note in rows["note"] if note), "nothing was measured")
        return f"Whether geometry predicts robustness {scope} can't be said ({why.removeprefix('not computed: ')})."
    over = f"Given clean accuracy, {scope} ({_count(tested, scope)})"
    shown = tested[tested["p_holm"] < 0.05]
    if shown.empty:
        largest = tested.iloc[int(tested["partial_r"].abs().to_numpy(float).argmax())]
        return (
            f"{over}, no measure of geometry is shown to predict robustness. The largest partial correlation is that of "
            f"{_name(largest)}: {_numbers(largest)}. What isn't shown may still be there."
        )
    parts = [f"{_name(row)}, {_direction(row)} ({_numbers(row)})" for _, row in shown.iterrows()]
    others = len(tested) - len(shown)
    rest = f" The other {others} show no clear relation." if others else ""
    return f"{over}, robustness goes with {len(shown)} of {len(tested)} measures: {'; '.join(parts)}.{rest}"


def _count(rows: pd.DataFrame, scope: str) -> str:
    first = rows.iloc[0]
    return (
        f"n = {first['n']} conditions"
        if scope == BETWEEN
        else f"{first['n']} networks of {first['conditions']} conditions"
    )


def _name(row: pd.Series) -> str:
    where = "the last features" if row["layer"] == FEATURES else row["layer"]
    return f"{str(row['measure']).replace('_', ' ')} at {where}"


def _direction(row: pd.Series) -> str:
    more = "higher" if row["partial_r"] > 0 else "lower"
    expected = (row["partial_r"] > 0) == (row["expected"] == "+")
    return f"{more} in robust networks, {'as' if expected else 'against what'} the manifold hypothesis expects"


def _numbers(row: pd.Series) -> str:
    note = f"; {row['note']}" if row["note"] else ""
    return (
        f"partial r = {row['partial_r']:+.2f} [{row['partial_low']:+.2f}, {row['partial_high']:+.2f}], "
        f"p after Holm's correction = {row['p_holm']:.2g}{note}"
    )
