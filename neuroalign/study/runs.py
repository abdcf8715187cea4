"""The runs of a study: its predictors and networks, and the stages behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

from neuroalign.study.graph import Stage, all_stages
from neuroalign.study.study import Study

__all__ = ["Plan"]


@dataclass(frozen=True)
class PredictorRun:
    """One fitted predictor.

    Args:
        subject: Name of the subject.
        region: Name of the region.
        fit: ``"right"``, ``"shuffled"`` or ``"untrained"``.
        seed: The seed that it belongs to; None if all seeds share it.
        stage: The stage that fits it.
        geometry: The stage that measures the geometry of its responses; None if it isn't measured.
        rsa: By seed, the stage that measures the dissimilarities of its responses to the seed's test images. A predictor
            that seeds share has one for each seed whose images differ; it is empty if they aren't measured.
    """

    subject: str
    region: str
    fit: str
    seed: int | None
    stage: Stage
    geometry: Stage | None = None
    rsa: Mapping[int, Stage] = field(default_factory=dict)


@dataclass(frozen=True)
class NetworkRun:
    """One trained network.

    Args:
        condition: Name of the condition.
        kind: Its kind.
        subject: Name of the subject; None if the condition has none.
        region: Name of the region; None if the condition has none.
        seed: Seed of the replication.
        stage: The stage that trains it.
        evaluations: The stages that measure it, by the name of what they measure.
    """

    condition: str
    kind: str
    subject: str | None
    region: str | None
    seed: int
    stage: Stage
    evaluations: Mapping[str, Stage] = field(default_factory=dict)


def label_of(condition: str, region: str | None) -> str:
    """What a condition is called in tables of comparisons and in figures.

    Example:
        >>> label_of("neural guidance", "TO"), label_of("none", None)
        ('neural guidance (TO)', 'none')
    """
    return condition if region is None else f"{condition} ({region})"


@dataclass(frozen=True)
class Plan:
    """All runs of a study and the stages behind them.

    Args:
        study: The study.
        predictors: Its predictors.
        networks: Its networks.
        transfers: By seed, the stage that exchanges adversarial images between the seed's networks.

    Example:
        >>> from neuroalign.study import plan_study
        >>> study = Study.from_settings(
        ...     {"name": "Digits", "images": {"source": "digits"}, "conditions": {"none": {}}}
        ... )
        >>> [run.stage.name for run in plan_study(study).networks][:2]
        ['network none, seed 0', 'network none, seed 1']
    """

    study: Study
    predictors: list[PredictorRun]
    networks: list[NetworkRun]
    transfers: Mapping[int, Stage]

    @cached_property
    def stages(self) -> list[Stage]:
        """Every stage once, after those that it needs."""
        wanted = [run.stage for run in self.predictors]
        wanted += [run.geometry for run in self.predictors if run.geometry is not None]
        wanted += [stage for run in self.predictors for stage in run.rsa.values()]
        for run in self.networks:
            wanted += [run.stage, *run.evaluations.values()]
        return all_stages([*wanted, *self.transfers.values()])
