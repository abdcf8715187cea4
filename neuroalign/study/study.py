"""A study: the whole experiment as one file, checked before anything runs."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import yaml
from pydantic import Field, StrictInt, ValidationError, model_validator
from pydantic_core import PydanticCustomError

from neuroalign.files import check_source
from neuroalign.study.settings.base import Settings, first_errors, near_match
from neuroalign.study.settings.conditions import KINDS, NEURAL, Condition, check_condition
from neuroalign.study.settings.evaluations import Comparisons, Control, Evaluations
from neuroalign.study.settings.images import Images
from neuroalign.study.settings.network import Network
from neuroalign.study.settings.responses import DissimilarityResponses, Predictors, Responses, subjects_of
from neuroalign.study.settings.training import StageResources, Training
from neuroalign.yaml_files import UniqueKeys, mistake_of

__all__ = ["Study", "StudyError"]


STAGES = (
    "images", "subject", "stimuli", "responses", "predictor", "manifolds", "network", "robustness", "geometry", "corruptions",
    "smoothness", "masking", "shape_bias", "transfer", "rsa",
)  # fmt: skip


class StudyError(ValueError):
    """A study that can't be run as it is: each line names a key and what is wrong with it.

    Example:
        >>> issubclass(StudyError, ValueError)
        True
    """


class Study(Settings):
    """An experiment: responses, predictors, images, a network, conditions, seeds, evaluations, comparisons.

    It is the same as a YAML file (:meth:`from_file`) and as a Python object; ``docs/studies`` explains every key. Nothing is
    read or computed when it is made.

    Args:
        name: What the study is called, the title of its report.
        about: What was done, for the report: a paragraph or more.
        note: A sentence that stands beside every verdict, such as that the effect was planted in simulated data.
        images: The images that networks classify.
        responses: Where responses come from, a source or more.
        predictors: How predictors of responses are fitted.
        network: The network that every condition trains.
        training: How networks are trained.
        weight: Share of guidance in the loss, 0 to 1.
        manifold_weight: The same for guidance by manifolds, whose terms aren't in units of squared responses.
        conditions: Conditions by name.
        seeds: One seed per replication; all conditions of a seed start from the same weights.
        evaluations: What is measured on every network.
        comparisons: Which conditions are compared.
        resources: What stages take of a machine, by their kind ("predictor", "network", "robustness", ...) or by the name of
            an attack.
        hierarchy: Regions in the order in which robustness is expected to rise.
        fast: Settings that ``--fast`` puts in place of those above, to see that everything runs.

    Raises:
        StudyError: A ``ValueError``, by :meth:`from_file` and :meth:`from_settings`: what is wrong, a line per key.

    Example:
        >>> study = Study.from_settings(
        ...     {
        ...         "name": "Digits",
        ...         "images": {"source": "digits", "num_neural": [600, 100]},
        ...         "responses": [{"source": "simulated"}],
        ...         "conditions": {"none": {}, "neural guidance": {"regions": ["TO"]}},
        ...         "evaluations": {"robustness": {"pgd": {"eps": ["2/255"]}}},
        ...     }
        ... )
        >>> study.seeds, list(study.conditions)
        ([0, 1, 2, 3], ['none', 'neural guidance'])
    """

    name: str = Field(min_length=1)
    about: str = ""
    note: str = ""
    images: Images
    responses: list[Responses] = []
    predictors: Predictors = Predictors()
    network: Network = Network()
    training: Training = Training()
    weight: float = Field(0.9, gt=0, le=1)
    manifold_weight: float = Field(0.5, gt=0, le=1)
    conditions: dict[str, Condition] = Field(min_length=1)
    seeds: Annotated[list[Annotated[StrictInt, Field(ge=0)]], Field(min_length=1)] = [0, 1, 2, 3]
    evaluations: Evaluations = Evaluations()
    comparisons: list[Comparisons] = []
    resources: dict[str, StageResources] = {}
    hierarchy: list[str] = []
    fast: dict[str, Any] = {}

    @model_validator(mode="before")
    @classmethod
    def _plain_conditions(cls, values: Any) -> Any:
        """Let ``none:`` stand for ``none: {}``, and refuse seeds that would train copies of one another."""
        if not isinstance(values, Mapping):
            return values
        values = dict(values)
        conditions = values.get("conditions")
        if isinstance(conditions, Mapping):
            values["conditions"] = {str(name): {} if c is None else c for name, c in conditions.items()}
        return values

    @model_validator(mode="after")
    def _consistent(self) -> Study:
        twice = sorted({seed for seed in self.seeds if self.seeds.count(seed) > 1})
        if twice:
            raise _error(f"seeds: {twice[0]} stands there twice, and would train copies of the same networks")
        for name, condition in self.conditions.items():
            self._check_condition(name, condition)
        for place, comparison in enumerate(self.comparisons):
            self._check_comparison(f"comparisons.{place}", comparison)
        for region in self.hierarchy:
            self._check_region("hierarchy", region)
        files: dict[str, str] = {}
        for name in self.evaluations.robustness:
            other = files.setdefault(re.sub("[^a-z0-9]+", "_", name.lower()), name)
            if other != name:
                raise _error(
                    f"evaluations.robustness: {other!r} and {name!r} differ in no letter or digit, so their figures would "
                    "be one file"
                )
            if name in STAGES:
                raise _error(
                    f"evaluations.robustness: {name!r} is what other stages are called; give the attack another name"
                )
        kinds = (*STAGES, *self.evaluations.robustness)
        for kind in self.resources:
            if kind not in kinds:
                raise _error(
                    f"resources: no stage is called {kind!r}{near_match(kind, kinds)}; there are: {', '.join(kinds)}"
                )
        if self.images.num_neural is None and any(source.source == "simulated" for source in self.responses):
            raise _error("images.num_neural: a simulated subject needs images of its own, (training, validation)")
        pairs = [(s, r) for source in self.responses for s in subjects_of(source) for r in source.regions]
        doubled = sorted({pair for pair in pairs if pairs.count(pair) > 1})
        if doubled:
            raise _error(f"responses: region {doubled[0][1]!r} of subject {doubled[0][0]!r} is given twice")
        return self

    @property
    def regions(self) -> list[str]:
        """All regions, in the order of the responses."""
        return list(dict.fromkeys(region for source in self.responses for region in source.regions))

    def kind_of(self, condition: str) -> str:
        """The kind of a condition by its name."""
        return self.conditions[condition].kind or condition

    def regions_of(self, condition: str) -> list[str | None]:
        """The regions in which a condition is trained; ``[None]`` if it has none."""
        if not KINDS[self.kind_of(condition)].by_region:
            return [None]
        chosen = self.conditions[condition].regions
        of_rdms = {r for s in self.responses if isinstance(s, DissimilarityResponses) for r in s.regions}
        wanted = [r for r in self.regions if (r in of_rdms) == (KINDS[self.kind_of(condition)].needs == "rdm")]
        like = self.conditions[condition].like  # a region can't be made like itself
        return [r for r in wanted if (r != like if chosen is None else r in chosen)]

    def controls_of(self, comparison: Comparisons, region: str | None) -> list[tuple[str, str | None]]:
        """The (condition, region) of each control of a comparison in a region."""
        found: list[tuple[str, str | None]] = []
        for control in comparison.controls:
            other = Control(condition=control) if isinstance(control, str) else control
            own = self.regions_of(other.condition)
            found.append((other.condition, None if own == [None] else other.region or region))
        return found

    def treatments_of(self, comparison: Comparisons) -> list[str | None]:
        """The regions of a comparison's treatment."""
        return [comparison.region] if comparison.region else self.regions_of(comparison.treatment)

    def _check_region(self, key: str, region: str) -> None:
        if region not in self.regions:
            known = ", ".join(self.regions) or "none at all"
            raise _error(
                f"{key}: no responses of region {region!r}{near_match(region, self.regions)}; there are: {known}"
            )

    def _check_condition(self, name: str, condition: Condition) -> None:
        key = f"conditions.{name}"
        try:
            kind = check_condition(name, condition)
            Training(**{**self.training.model_dump(), **condition.training})
        except PydanticCustomError as error:
            raise _error(f"{key}: {error.message()}") from None
        except ValidationError as error:
            raise _error("\n".join(f"{key}.training.{line}" for line in first_errors(error))) from None
        if condition.like is not None and condition.like in (condition.regions or []):
            raise _error(
                f"{key}: region {condition.like!r} can't be made like itself: take it out of 'regions' or of 'like'"
            )
        for region in [*(condition.regions or []), *([condition.like] if condition.like else [])]:
            self._check_region(key, region)
        if kind == "smoothness matched" and not any(self.kind_of(other) == NEURAL for other in self.conditions):
            raise _error(f"{key}: {kind!r} needs a condition of kind {NEURAL!r} whose smoothness it matches")
        if KINDS[kind].by_region and not self.regions_of(name):
            wanted = "dissimilarities (source: rdms)" if KINDS[kind].needs == "rdm" else "responses"
            raise _error(f"{key}: {kind!r} needs {wanted}, and 'responses' gives none for it")

    def _check_comparison(self, key: str, comparison: Comparisons) -> None:
        named = [(comparison.treatment, comparison.region)]
        named += [(c, None) if isinstance(c, str) else (c.condition, c.region) for c in comparison.controls]
        for condition, region in named:
            if condition not in self.conditions:
                near = near_match(condition, self.conditions)
                raise _error(
                    f"{key}: there is no condition {condition!r}{near}; there are: {', '.join(self.conditions)}"
                )
            if region is not None and region not in self.regions_of(condition):
                trained = ", ".join(str(r) for r in self.regions_of(condition) if r) or "no region"
                raise _error(f"{key}: {condition!r} is not trained for region {region!r}, but for {trained}")
        for region in self.treatments_of(comparison):
            for control, of in self.controls_of(comparison, region):
                if of not in self.regions_of(control):
                    raise _error(
                        f"{key}: {control!r} is not trained for region {of!r}: name its region, {{condition: {control}, "
                        "region: ...}"
                    )
                if (control, of) == (comparison.treatment, region):
                    raise _error(f"{key}: {control!r} in region {of!r} is compared with itself")
        if comparison.measure is not None and comparison.measure not in self.evaluations.robustness:
            near = near_match(comparison.measure, self.evaluations.robustness)
            raise _error(f"{key}.measure: no attack of evaluations.robustness is called {comparison.measure!r}{near}")
        if not self.evaluations.robustness:
            raise _error(
                f"{key}: conditions are compared by accuracy under attack, and evaluations.robustness is empty"
            )

    @classmethod
    def from_settings(cls, settings: Mapping[str, Any], *, fast: bool = False, where: str = "") -> Study:
        """A study from plain values.

        Args:
            settings: Values by key.
            fast: Whether to take the settings of ``fast``.
            where: Where the values come from, for messages.

        Raises:
            StudyError: If anything is wrong with them.
        """
        if fast and not settings.get("fast"):
            raise StudyError(
                f"{where or 'the study'} has no 'fast' settings, so --fast would run it whole: add the key 'fast'"
            )
        if fast:
            settings = merged(settings, settings.get("fast") or {})
        try:
            return cls.model_validate(dict(settings))
        except ValidationError as error:
            raise StudyError(listed(where or "the study", first_errors(error))) from None

    @classmethod
    def from_file(
        cls, path: str | os.PathLike[str], *, fast: bool = False, changes: Mapping[str, Any] | None = None
    ) -> Study:
        r"""Read a study from a YAML file.

        Args:
            path: The file.
            fast: Whether to take the settings of its key ``fast``, to see that everything runs.
            changes: Settings to put in place of those of the file (and of ``fast``), such as ``{"training": {"epochs": 2}}``.

        Raises:
            FileNotFoundError: If there is no such file.
            StudyError: If it is no YAML, or anything is wrong with a key.

        Example:
            >>> import tempfile, pathlib
            >>> path = pathlib.Path(tempfile.mkdtemp()) / "study.yaml"
            >>> _ = path.write_text("name: Digits\nimages: {source: digit}\nconditions: {none: }\n")
            >>> Study.from_file(path)  # doctest: +ELLIPSIS
            Traceback (most recent call last):
            neuroalign.study.study.StudyError: ...study.yaml: images.source: 'digit' is none of ...
        """
        path = check_source(path, "study")
        try:
            settings = yaml.load(path.read_text(encoding="utf-8"), UniqueKeys)
        except yaml.YAMLError as error:
            raise StudyError(f"{path} {mistake_of(error)}") from None
        except UnicodeDecodeError:
            raise StudyError(f"{path} is no text file in UTF-8") from None
        if settings is None:
            raise StudyError(f"{path} is empty: a study has keys such as name, images, conditions")
        if not isinstance(settings, Mapping):
            raise StudyError(
                f"{path} holds {type(settings).__name__} in place of keys such as name, images, conditions"
            )
        if "trainer" in settings and "conditions" not in settings:
            raise StudyError(f"{path} is no study but a configuration: neuroalign fit --config {path}")
        quick = settings.get("fast")
        if fast and isinstance(quick, Mapping):
            settings = merged(settings, quick)
        return cls.from_settings(merged(settings, changes or {}), where=str(path))


def listed(what: str, lines: Sequence[str]) -> str:
    r"""A message about one mistake in a sentence, about several with a line each.

    Example:
        >>> listed("a.yaml", ["weight: must be at most 1; got 2"])
        'a.yaml: weight: must be at most 1; got 2'
        >>> mistakes = ["seeds: must be a list; got 2", "weight: must be at most 1; got 2"]
        >>> print(listed("a.yaml", mistakes))
        a.yaml:
          seeds: must be a list; got 2
          weight: must be at most 1; got 2
    """
    return f"{what}: {lines[0]}" if len(lines) == 1 else "\n  ".join([f"{what}:", *lines])


def merged(settings: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with changes put into them, key by key; a list is replaced whole.

    Example:
        >>> merged({"training": {"epochs": 40, "lr": 0.1}}, {"training": {"epochs": 1}})
        {'training': {'epochs': 1, 'lr': 0.1}}
    """
    result = dict(settings)
    for key, change in changes.items():
        before = result.get(key)
        if isinstance(before, Mapping) and isinstance(change, Mapping):
            change = merged(before, change)
        result[key] = change
    return result


def _error(text: str) -> PydanticCustomError:
    return PydanticCustomError("study", "{text}", {"text": text})
