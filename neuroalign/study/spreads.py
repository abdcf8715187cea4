"""How much the compared differences of a finished study vary, and what a study of another size would find."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import pandas as pd

from neuroalign.evaluation.power_analysis import images_needed, power, seeds_needed, subjects_needed
from neuroalign.evaluation.spread import Spread, spread_of
from neuroalign.study.collecting import Finished
from neuroalign.study.comparing import declared, outcomes_of, outcomes_of_pairs, pairs_at

__all__: list[str] = []

MOST = 200  # seeds or subjects that are looked at
_COLUMNS = [
    "treatment", "control", "measure", "difference", "images", "subjects", "confidence", "power", "needed_of", "needed",
    "needed_low", "needed_high", "images_needed",
]  # fmt: skip


@dataclass(frozen=True)
class Measured:
    """The spread of one comparison of a study.

    Args:
        treatment: Name of the treatment, with its region.
        control: Name of the control, with its region.
        measure: Name of the attack.
        spread: Its spread.
    """

    treatment: str
    control: str
    measure: str
    spread: Spread

    @property
    def unit(self) -> str:
        """What a study needs more of: "subjects" if it had several, else "seeds"."""
        return "subjects" if self.spread.num_subjects > 1 else "seeds"


@dataclass(frozen=True)
class Wanted:
    """What is asked of a study of another size.

    Args:
        differences: True differences in accuracy, above 0 to 1.
        images: Numbers of test images; empty takes the study's own, twice and ten times as many.
        seeds: Numbers of seeds, of which the power is computed; empty asks how many are needed.
        comparisons: Number of comparisons that are corrected by Holm's method; the strictest step decides.
        power: Wanted probability of finding a difference.
    """

    differences: Sequence[float] = (0.01, 0.02, 0.05)
    images: Sequence[int] = ()
    seeds: Sequence[int] = ()
    comparisons: int = 1
    power: float = 0.8

    @property
    def confidence(self) -> float:
        """Confidence of the interval that has to exclude 0."""
        return 1 - 0.05 / self.comparisons

    def images_for(self, spread: Spread) -> list[int]:
        """Numbers of images that are looked at."""
        own = spread.num_images or 1000
        return list(self.images) or [own, 2 * own, 10 * own]


def measured_spreads(finished: Finished) -> list[Measured]:
    """The spread of every comparison that a study asks for and that has two seeds or more.

    Args:
        finished: The study's results.

    Raises:
        ValueError: If the study compares nothing, or no comparison has two finished seeds.
    """
    study = finished.plan.study
    if not study.comparisons:
        raise ValueError(
            f"{study.name!r} compares nothing: name 'comparisons' in its file, or give --seed-sd, --image-sd"
        )
    found = []
    read = lru_cache(maxsize=64)(lambda stage: outcomes_of(finished, stage))
    for wanted in declared(study):
        _, pairs = pairs_at(finished, wanted)
        if len({pair.seed for pair in pairs}) > 1:
            spread = spread_of(*outcomes_of_pairs(pairs, wanted.measure, read))
            found.append(Measured(*wanted.names, wanted.measure, spread))
    if not found:
        raise ValueError(f"no comparison of {study.name!r} has two finished seeds, and one shows no spread over seeds")
    return found


def needed_table(measured: Sequence[Measured], wanted: Wanted) -> pd.DataFrame:
    """How many seeds (or subjects) each difference needs; one row per comparison, difference and number of images.

    Args:
        measured: Spreads.
        wanted: What is asked.

    Returns:
        ``treatment``, ``control``, ``measure``, ``difference``, ``images``, ``subjects``, ``confidence``, ``power``,
        ``needed_of`` ("seeds" or "subjects"), ``needed`` (empty for more than 200), ``needed_low`` and ``needed_high`` (at
        the ends of the interval of the spread over seeds), ``images_needed`` (the fewest with which any number is enough).
    """
    rows = []
    for each in measured:
        for difference in wanted.differences:
            least = images_needed(each.spread, difference, power=wanted.power, confidence=wanted.confidence)
            for images in wanted.images_for(each.spread):
                numbers = [
                    _needed(spread, each, difference, images, wanted) for spread in (each.spread, *_ends(each.spread))
                ]
                rows.append([
                    each.treatment, each.control, each.measure, difference, images, each.spread.num_subjects,
                    wanted.confidence, wanted.power, each.unit, *(pd.NA if n is None else n for n in numbers),
                    pd.NA if least is None else least,
                ])  # fmt: skip
    table = pd.DataFrame(rows, columns=_COLUMNS)
    return table.astype(dict.fromkeys(["needed", "needed_low", "needed_high", "images_needed"], "Int64"))


def power_table(measured: Sequence[Measured], wanted: Wanted) -> pd.DataFrame:
    """The power at given numbers of seeds; one row per comparison, difference, number of images and of seeds.

    Args:
        measured: Spreads.
        wanted: What is asked; ``seeds`` is not empty.
    """
    rows = [
        {
            "treatment": each.treatment, "control": each.control, "measure": each.measure, "difference": difference,
            "images": images, "subjects": each.spread.num_subjects, "confidence": wanted.confidence, "seeds": seeds,
            "power": power(each.spread, difference, seeds=seeds, images=images, subjects=each.spread.num_subjects,
                           confidence=wanted.confidence),
        }
        for each in measured
        for difference in wanted.differences
        for images in wanted.images_for(each.spread)
        for seeds in wanted.seeds
    ]  # fmt: skip
    return pd.DataFrame(rows)


def spreads_table(measured: Sequence[Measured]) -> pd.DataFrame:
    """The measured spreads; one row per comparison."""
    rows = [
        {
            "treatment": each.treatment, "control": each.control, "measure": each.measure,
            "seeds": each.spread.num_seeds, "subjects": each.spread.num_subjects, "images": each.spread.num_images,
            **{f"{name}_sd": value for name, value in each.spread.parts().items()},
            **dict(zip(("seed_sd_low", "seed_sd_high"), each.spread.seed_interval())),
        }
        for each in measured
        if each.spread.num_seeds
    ]  # fmt: skip
    return pd.DataFrame(rows)


def _needed(spread: Spread, each: Measured, difference: float, images: int, wanted: Wanted) -> int | None:
    if each.unit == "seeds":
        return seeds_needed(
            spread, difference, images=images, power=wanted.power, confidence=wanted.confidence, most=MOST
        )
    return subjects_needed(
        spread, difference, seeds=spread.num_seeds, images=images, power=wanted.power, confidence=wanted.confidence,
        most=MOST,
    )  # fmt: skip


def _ends(spread: Spread) -> tuple[Spread, Spread]:
    """The spread with its part of seeds at the ends of its interval; the same twice if it was given."""
    if not spread.num_seeds:
        return spread, spread
    low, high = spread.seed_interval()
    return replace(spread, seed=low), replace(spread, seed=min(high, 2.0))
