"""The comparisons that a study asks for: each treatment with its controls, over the subjects and seeds that both have."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import pandas as pd

from neuroalign.evaluation.comparison import compare
from neuroalign.evaluation.comparison_result import Comparison
from neuroalign.evaluation.multiple_comparisons import holm
from neuroalign.study.collecting import OUTCOMES, Finished
from neuroalign.study.graph import Stage
from neuroalign.study.runs import NetworkRun, label_of
from neuroalign.study.study import Study

__all__: list[str] = []

COLUMNS = [
    "treatment", "control", "difference", "low", "high", "unit", "n", "p", "p_holm", "outcome", "higher_in", "measure",
    "test", "equivalence", "p_equivalence", "p_equivalence_holm", "num_images", "num_seeds", "num_subjects",
]  # fmt: skip

Place = tuple[str, str | None]
"""A condition and its region."""


class Pair(NamedTuple):
    """Two networks that belong together.

    Args:
        subject: Name of the subject; "" if neither has one.
        seed: Seed of both.
        treatment: Network of the treatment.
        control: Network of the control.
    """

    subject: str
    seed: int
    treatment: NetworkRun
    control: NetworkRun


class Declared(NamedTuple):
    """A comparison that a study's file asks for.

    Args:
        treatment: Condition and region of the treatment.
        control: Condition and region of the control.
        measure: Name of the attack.
        equivalence: Largest difference that counts as equal; None tests no equality.
    """

    treatment: Place
    control: Place
    measure: str
    equivalence: float | None

    @property
    def names(self) -> tuple[str, str]:
        """Labels of the two."""
        return label_of(*self.treatment), label_of(*self.control)


@dataclass(frozen=True)
class Compared:
    """A treatment with one control.

    Args:
        treatment: Condition and region of the treatment.
        control: Condition and region of the control.
        measure: Name of the attack under which their accuracy is compared.
        comparison: The difference, its p values corrected over all comparisons of the study.
    """

    treatment: Place
    control: Place
    measure: str
    comparison: Comparison


def compare_conditions(finished: Finished) -> tuple[list[Compared], list[str]]:
    """All comparisons that a study asks for, and a sentence for each one that isn't there or isn't complete.

    Their p values are corrected by Holm's method: the family is every comparison that the study's file declares and that
    decides (those of several seeds), whatever the treatment and the measure.

    Args:
        finished: The study's results.
    """
    study = finished.plan.study
    found: list[Compared] = []
    notes: list[str] = []
    # Several comparisons in a row have one treatment; the outcomes of all others are read again.
    read = lru_cache(maxsize=64)(lambda stage: outcomes_of(finished, stage))
    for each in declared(study):
        compared = _compared(finished, each, read, notes)
        if compared is not None:
            found.append(compared)
    corrected = holm([each.comparison for each in found])
    return [replace(each, comparison=comparison) for each, comparison in zip(found, corrected)], notes


def declared(study: Study) -> Iterator[Declared]:
    """The comparisons that a study's file declares, one for each treatment's region and control.

    Args:
        study: The study.
    """
    for wanted in study.comparisons:
        measure = wanted.measure or next(iter(study.evaluations.robustness))
        for region in study.treatments_of(wanted):
            for control in study.controls_of(wanted, region):
                yield Declared((wanted.treatment, region), control, measure, wanted.equivalence)


def comparisons_table(compared: list[Compared]) -> pd.DataFrame:
    """One row per comparison.

    ``p`` is the two-sided p that belongs to the interval, ``p_holm`` the same after the correction; both are empty with one
    seed. ``p_equivalence`` is that of two one-sided tests, empty where no ``equivalence`` is declared.
    """
    return pd.DataFrame([_row(each) for each in compared], columns=COLUMNS)


def _row(compared: Compared) -> list[Any]:
    c = compared.comparison
    higher_in = pd.NA if c.num_positive is None else c.num_positive
    p, p_holm, equivalence, p_equivalence, p_equivalence_holm = (
        pd.NA if each is None or each != each else each
        for each in (c.p_value, c.p_holm, c.equivalence, c.p_equivalence, c.p_equivalence_holm)
    )
    return [
        c.treatment, c.control, c.difference, c.low, c.high, c.unit, c.num_units, p, p_holm, c.outcome, higher_in,
        compared.measure, c.test, equivalence, p_equivalence, p_equivalence_holm, c.num_images, c.num_replications,
        c.num_subjects,
    ]  # fmt: skip


def pairs_of(treatments: list[NetworkRun], controls: list[NetworkRun]) -> list[Pair]:
    """Which networks of two conditions belong together: those of one subject and seed.

    A network without a subject, such as one that isn't guided, stands beside those of every subject. If each condition has
    one subject, and not the same, their seeds belong together: the regions of two animals.

    Args:
        treatments: Networks of the treatment.
        controls: Networks of the control.
    """
    first = {(run.subject, run.seed): run for run in treatments}
    second = {(run.subject, run.seed): run for run in controls}
    subjects = list(dict.fromkeys(subject for subject, _ in first))
    others = list(dict.fromkeys(subject for subject, _ in second))
    wanted: list[tuple[str | None, str | None]]
    if None in subjects:
        wanted = [(None, other) for other in others]
    elif None in others:
        wanted = [(subject, None) for subject in subjects]
    elif len(subjects) == len(others) == 1:
        wanted = [(subjects[0], others[0])]
    else:
        wanted = [(subject, subject) for subject in subjects if subject in others]
    seeds = list(dict.fromkeys(run.seed for run in treatments))
    return [
        Pair(subject or other or "", seed, first[subject, seed], second[other, seed])
        for subject, other in wanted
        for seed in seeds
        if (subject, seed) in first and (other, seed) in second
    ]


def pairs_at(finished: Finished, wanted: Declared) -> tuple[list[Pair], list[Pair]]:
    """The pairs of networks that a comparison is planned over, and those that are finished.

    Args:
        finished: The study's results.
        wanted: The comparison.
    """
    runs = [
        [run for run in finished.plan.networks if (run.condition, run.region) == place]
        for place in (wanted.treatment, wanted.control)
    ]
    done = ([run for run in each if run.evaluations[wanted.measure].key in finished.done] for each in runs)
    return pairs_of(*runs), pairs_of(*done)


def outcomes_of_pairs(
    pairs: Sequence[Pair], measure: str, read: Callable[[Stage], pd.DataFrame]
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Outcomes of each image, of all treatments and of all controls, with the pair's ``subject`` and ``replication``.

    Args:
        pairs: Finished pairs, at least one.
        measure: Name of the attack.
        read: From the stage of an attack to its outcomes.
    """
    sides = ([(pair, pair.treatment) for pair in pairs], [(pair, pair.control) for pair in pairs])
    first, second = (
        pd.concat([
            read(run.evaluations[measure]).assign(subject=pair.subject, replication=pair.seed) for pair, run in side
        ])
        for side in sides
    )  # fmt: skip
    return first, second


def _compared(
    finished: Finished, wanted: Declared, read: Callable[[Stage], pd.DataFrame], notes: list[str]
) -> Compared | None:
    name = " - ".join(wanted.names)
    planned, there = pairs_at(finished, wanted)
    if not planned:
        notes.append(f"{name}: no subject has both, so they are not compared.")
        return None
    if len(there) < len(planned):
        what = "so they are not compared" if not there else "the difference is over these alone"
        notes.append(f"{name}: {len(there)} of {len(planned)} pairs of networks are finished; {what}.")
    if not there:
        return None
    outcomes = outcomes_of_pairs(there, wanted.measure, read)
    comparison = compare(*outcomes, names=wanted.names, equivalence=wanted.equivalence)
    return Compared(wanted.treatment, wanted.control, wanted.measure, comparison)


def outcomes_of(finished: Finished, stage: Stage) -> pd.DataFrame:
    """The outcome of each image under an attack, from its finished stage.

    Raises:
        FileNotFoundError: If the stage's folder holds no such table.
    """
    table = finished.table(stage, "images.csv")
    if table is None:
        raise FileNotFoundError(
            f"{finished.folder.path(stage, only=())} holds no images.csv, the outcome of each image"
        )
    return table[OUTCOMES]
