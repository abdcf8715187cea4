"""From a study to its stages: which are shared, which are drawn again for every seed, and what each one needs."""

from __future__ import annotations

import math
import pathlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from neuroalign.study.graph import Resources, Stage
from neuroalign.study.runs import NetworkRun, Plan, PredictorRun, label_of
from neuroalign.study.settings.base import resolved_path
from neuroalign.study.settings.conditions import KINDS, MANIFOLD, NEURAL
from neuroalign.study.settings.evaluations import Smoothness
from neuroalign.study.settings.responses import (
    DissimilarityResponses,
    NSDResponses,
    RecordedResponses,
    SimulatedResponses,
    subjects_of,
)
from neuroalign.study.settings.training import Training
from neuroalign.study.stages import evaluations, images, manifolds, network, predictor, responses, similarity
from neuroalign.study.study import Study

__all__ = ["plan_study"]

_MACHINE = ("accelerator", "strategy", "num_workers", "logger")  # these change what is learned by rounding at most
_OPTIONS = (*_MACHINE, "devices")  # batch norm and augmentation see each device's share of a batch: their number counts


def plan_study(
    study: Study,
    folder: pathlib.Path | None = None,
    fingerprint: Callable[[str], str] | None = None,
    *,
    keep_unset: bool = False,
) -> Plan:
    """The stages of a study. Nothing is computed; files are looked at only to tell whether they changed.

    Args:
        study: The study.
        folder: Folder at which relative paths begin; None means the working directory.
        fingerprint: From a path to the fingerprint of its content; None takes the paths for their content.
        keep_unset: Whether a path with an environment variable that is not set stays as it is, in place of an error.

    Raises:
        ValueError: If an environment variable in a path is not set.

    Example:
        >>> study = Study.from_settings(
        ...     {
        ...         "name": "Digits",
        ...         "images": {"source": "digits", "num_neural": [600, 100]},
        ...         "seeds": [0, 1],
        ...         "responses": [{"source": "simulated"}],
        ...         "conditions": {"none": {}, "neural guidance": {"regions": ["TO"]}},
        ...     }
        ... )
        >>> [stage.name for stage in plan_study(study).stages if stage.kind == "predictor"]
        ['predictor simulated TO']
    """
    return _Planner(study, folder or pathlib.Path(), fingerprint or (lambda path: path), keep_unset).plan()


class _Planner:
    def __init__(self, study: Study, folder: pathlib.Path, fingerprint: Callable[[str], str], keep_unset: bool) -> None:
        self.study, self.folder, self.fingerprint, self.keep_unset = study, folder, fingerprint, keep_unset
        self.predictors: dict[tuple[Any, ...], PredictorRun] = {}
        self.made: dict[tuple[Any, ...], Stage] = {}

    def plan(self) -> Plan:
        networks = [run for seed in self.study.seeds for run in self._networks(seed)]
        transfers = {}
        if self.study.evaluations.transfer is not None:
            for seed in self.study.seeds:
                transfers[seed] = self._transfer(seed, [run for run in networks if run.seed == seed])
        predictors = [replace(run, rsa=self._predicted_rsa(run)) for run in self.predictors.values()]
        return Plan(self.study, predictors, networks, transfers)

    # What comes from outside

    def _sources(self, paths: Mapping[str, str | None]) -> dict[str, Any]:
        given = {role: path for role, path in paths.items() if path is not None}
        found = {role: resolved_path(path, self.folder, keep_unset=self.keep_unset) for role, path in given.items()}
        return {"sources": found, "data": {role: self.fingerprint(path) for role, path in found.items()}}

    def _resources(self, kind: str, called: str, training: Training | None = None) -> Resources:
        given = self.study.resources.get(called) or self.study.resources.get(kind)
        gpus = 0.0 if training is None or training.accelerator not in ("gpu", "cuda") else float(training.devices)
        if given is None:
            return Resources(gpus=gpus)
        memory = None if given.memory_gb is None else int(given.memory_gb * 2**30)
        return Resources(given.cpus, gpus if given.gpus is None else given.gpus, memory, given.minutes)

    def _stage(self, kind: str, name: str, work: Any, settings: dict[str, Any], **more: Any) -> Stage:
        training, called = more.pop("training", None), more.pop("called", kind)
        options = {} if training is None else {key: getattr(training, key) for key in _OPTIONS}
        if "images" in more.get("needs", {}):
            more["sources"] = {**self._root(), **more.get("sources", {})}
        key = (kind, name)
        if key not in self.made:
            version = getattr(__import__(work.__module__, fromlist=["VERSION"]), "VERSION", 1)
            resources = self._resources(kind, called, training)
            self.made[key] = Stage(
                kind, name, work, settings, version=version, resources=resources, options=options, **more
            )
        return self.made[key]

    def _images(self, seed: int) -> Stage:
        given = self.study.images
        drawn = seed if given.resplit else given.split_seed
        settings = given.model_dump(mode="json", exclude={"root", "train", "test", "resplit", "split_seed"})
        paths = {"root": given.root, "train": given.train, "test": given.test}
        name = f"images, seed {seed}" if given.resplit else "images"
        return self._stage("images", name, images.make, {**settings, "seed": drawn}, **self._sources(paths))

    def _root(self) -> dict[str, str]:
        """Where images lie that stay in their folder: no part of a key, so that they can be moved."""
        given = self.study.images
        if given.source != "folder" or given.root is None:
            return {}
        return self._sources({"root": given.root})["sources"]

    def _source_of(self, subject: str, region: str) -> Any:
        for source in self.study.responses:
            if subject in subjects_of(source) and region in source.regions:
                return source
        raise KeyError((subject, region))  # the study was checked for this

    def _subject(self, source: SimulatedResponses, seed: int) -> Stage:
        settings = {**_learned(source.model_dump(mode="json"), "teacher"), "seed": seed}
        return self._stage(
            "subject", f"subject {source.subject}{self._of(seed)}", responses.make_subject, settings,
            needs={"images": self._images(seed)}, training=source.teacher, size=10.0,
        )  # fmt: skip

    def _of(self, seed: int) -> str:
        return f", seed {seed}" if self.study.images.resplit else ""

    def _recorded(self, subject: str, region: str, seed: int) -> tuple[Stage, Stage]:
        """The stages of a region's stimuli and of its responses."""
        source = self._source_of(subject, region)
        simulated = isinstance(source, SimulatedResponses)
        own = region if isinstance(source, (RecordedResponses, DissimilarityResponses)) else ""
        needs = {"subject": self._subject(source, seed if self.study.images.resplit else 0)} if simulated else {}
        paths: dict[str, str | None] = {}
        if isinstance(source, NSDResponses):
            paths = {"root": source.root}
        elif not simulated:
            paths = {"file": source.file, "images": source.images}
        outside = self._sources(paths)
        settings = source.model_dump(mode="json", exclude={"root", "file", "images", "subjects", "teacher"})
        settings |= {"subject": subject, "region": region}
        shown = {k: v for k, v in settings.items() if own or k not in ("region", "regions", "arrays", "num_voxels")}
        of = self._of(seed) if simulated else ""
        stimuli = self._stage(
            "stimuli",
            f"stimuli {subject}{' ' + own if own else ''}{of}",
            responses.make_stimuli,
            shown,
            needs=needs,
            **outside,
        )
        settings = {k: v for k, v in settings.items() if k not in ("regions", "image_size", "crop")}
        recorded = self._stage(
            "responses", f"responses {subject} {region}{of}", responses.make_responses, settings, needs=needs, **outside
        )
        return stimuli, recorded

    # What is fitted

    def _predictor(self, subject: str, region: str, fit: str, seed: int) -> Stage:
        given = self.study.predictors
        simulated = isinstance(self._source_of(subject, region), SimulatedResponses)
        own = fit != "right" or given.per_seed or (simulated and self.study.images.resplit)
        key = (subject, region, fit, seed if own else None)
        if key not in self.predictors:
            stimuli, recorded = self._recorded(subject, region, seed)
            settings = _learned(given.model_dump(mode="json", exclude={"files", "per_seed"}), "training")
            if given.kind != "network":
                settings = {
                    k: v for k, v in settings.items() if k in (("kind", "grid") if given.kind == "ridge" else ("kind",))
                }
            files = given.files or {}
            if given.kind == "file" and region not in files:
                raise ValueError(f"predictors.files: no predictor of region {region!r}")
            settings |= {"fit": fit, "seed": seed if own else 0}
            of = f", seed {seed}" if own else ""
            name = f"predictor {subject} {region}{'' if fit == 'right' else ' ' + fit}{of}"
            stage = self._stage(
                "predictor", name, predictor.fit, settings,
                needs={"stimuli": stimuli, "responses": recorded}, training=given.training, size=10.0,
                **self._sources({"file": files.get(region)}),
            )  # fmt: skip
            self.predictors[key] = PredictorRun(*key, stage, self._predicted_geometry(stage, fit, seed))
        return self.predictors[key].stage

    def _predicted_geometry(self, stage: Stage, fit: str, seed: int) -> Stage | None:
        wanted = self.study.evaluations.geometry
        if wanted is None or not wanted.predictors or fit != "right":
            return None
        settings = {**wanted.model_dump(mode="json", exclude={"predictors", "layers"}), "layers": [], **self._batches()}
        return self._stage(
            "geometry", f"geometry of {stage.name}", evaluations.geometry, settings,
            needs={"predictor": stage, "images": self._images(seed)},
        )  # fmt: skip

    def _predicted_rsa(self, run: PredictorRun) -> dict[int, Stage]:
        """By seed; a predictor that seeds share sees the test images of each, where they differ."""
        wanted = self.study.evaluations.rsa
        if wanted is None or not wanted.predictors or run.fit != "right":
            return {}
        seeds = self.study.seeds if self.study.images.resplit else self.study.seeds[:1]
        settings = {
            **wanted.model_dump(mode="json", exclude={"predictors", "comparison"}),
            "layers": [],
            **self._batches(),
        }
        found = {}
        for seed in seeds if run.seed is None else [run.seed]:
            of = self._of(seed) if run.seed is None else ""
            needs = {"predictor": run.stage, "images": self._images(seed)}
            found[seed] = self._stage("rsa", f"rsa of {run.stage.name}{of}", similarity.rsa, settings, needs=needs)
        return found

    def _manifolds(self, subject: str, region: str, seed: int) -> Stage:
        fitted, shown = self._predictor(subject, region, "right", seed), self._images(seed)
        of = f", seed {seed}" if fitted.name.endswith(f", seed {seed}") or self.study.images.resplit else ""
        return self._stage(
            "manifolds", f"manifolds {subject} {region}{of}", manifolds.make, {"variance": 0.95},
            needs={"predictor": fitted, "images": shown},
        )  # fmt: skip

    def _networks(self, seed: int) -> Iterator[NetworkRun]:
        for name in self.study.conditions:
            kind = self.study.kind_of(name)
            for region in self.study.regions_of(name):
                subjects: list[str | None] = [None]
                if region is not None:
                    given = [subjects_of(s) for s in self.study.responses if region in s.regions]
                    subjects = list(dict.fromkeys(subject for each in given for subject in each))
                for subject in subjects:
                    stage = self._network(name, subject, region, seed)
                    yield NetworkRun(name, kind, subject, region, seed, stage, self._evaluations(stage, seed))

    def _network(self, name: str, subject: str | None, region: str | None, seed: int) -> Stage:
        study, condition = self.study, self.study.conditions[name]
        kind = KINDS[study.kind_of(name)]
        treatment = kind.control_of if condition.matched_to == "default" else condition.matched_to
        training = Training(**{**study.training.model_dump(), **condition.training})
        by_geometry = MANIFOLD in (study.kind_of(name), kind.control_of)
        needs = {"images": self._images(seed)}
        if subject is not None and region is not None:
            # A control that is not matched still gets the width of its treatment's responses.
            width_of = kind.control_of if kind.needs == "labels" and treatment is None else treatment
            needs |= self._needs(kind.needs, width_of, subject, region, seed)
            if condition.like is not None:
                needs["like"] = self._predictor(subject, condition.like, "right", seed)
        where, weight = study.network.model_dump(mode="json"), condition.weight
        weight = weight or (study.manifold_weight if by_geometry else study.weight)
        if kind.needs in (
            "nothing",
            "network",
        ):  # what has no guidance doesn't depend on where and how strongly it would act
            where |= {"layer": None, "size": None}
            weight = weight if study.kind_of(name) == "cross-entropy weight" else 0.0
        settings = {
            "network": where,
            "training": training.model_dump(mode="json", exclude=set(_MACHINE)),
            "condition": {
                **condition.model_dump(mode="json", exclude={"regions", "training", "robust_training", "like"}),
                "kind": study.kind_of(name),
                "weight": weight,
                "matched_to": treatment,
                "robust_training": condition.robust_training and condition.robust_training.description,
            },
            "subject": subject,
            "region": region,
            "seed": seed,
        }
        if kind.needs == "network":
            settings["smoothness"] = (study.evaluations.smoothness or Smoothness()).model_dump(mode="json")
        of = "" if region is None else f" {subject} {region}"
        return self._stage(
            "network", f"network {name}{of}, seed {seed}", network.train, settings, needs=needs, training=training,
            size=training.epochs * 1.0,
        )  # fmt: skip

    def _needs(self, needs: str, treatment: str | None, subject: str, region: str, seed: int) -> dict[str, Stage]:
        """The stages that a network's guidance, or that of the treatment it is matched to, is made from."""
        found: dict[str, Stage] = {}
        if needs in ("responses", "rdm"):
            stimuli, recorded = self._recorded(subject, region, seed)
            return {"stimuli": stimuli, "responses": recorded}
        if needs == "network":
            guided = next(n for n in self.study.conditions if self.study.kind_of(n) == NEURAL)
            return {"guided": self._network(guided, subject, region, seed)}
        if needs in ("shuffled fit", "untrained"):
            found["predictor"] = self._predictor(subject, region, needs.split()[0], seed)
        elif needs == "predictor":
            found["predictor"] = self._predictor(subject, region, "right", seed)
        if needs == "manifolds" or treatment == MANIFOLD:
            found["manifolds"] = self._manifolds(subject, region, seed)
        if treatment == NEURAL and needs != "predictor":
            found["treatment"] = self._predictor(subject, region, "right", seed)
        return found

    # What is measured

    def _batches(self) -> dict[str, Any]:
        return {"batch_size": self.study.evaluations.batch_size}

    def _evaluations(self, stage: Stage, seed: int) -> dict[str, Stage]:
        given, needs = self.study.evaluations, {"network": stage, "images": self._images(seed)}
        wanted: dict[str, tuple[str, Any, Any]] = {
            name: ("robustness", evaluations.robustness, each) for name, each in given.robustness.items()
        }
        for kind in ("geometry", "corruptions", "smoothness", "masking", "shape_bias", "rsa"):
            if getattr(given, kind) is not None:
                module = similarity if kind == "rsa" else evaluations
                wanted[kind] = (kind, getattr(module, kind), getattr(given, kind))
        found = {}
        for name, (kind, work, each) in wanted.items():
            settings = each.model_dump(mode="json", exclude={"stimuli", "predictors", "comparison"})
            outside = self._sources({"stimuli": getattr(each, "stimuli", None)})
            found[name] = self._stage(
                kind,
                f"{name} of {stage.name}",
                work,
                {**settings, **self._batches()},
                needs=needs,
                size=5.0,
                called=name,
                **outside,
            )
        return found

    def _transfer(self, seed: int, runs: list[NetworkRun]) -> Stage:
        needs: dict[str, Stage] = {"images": self._images(seed)}
        for run in runs:
            of = "" if run.subject is None else f" {run.subject}"
            needs[f"network:{label_of(run.condition, run.region)}{of}"] = run.stage
        given = self.study.evaluations.transfer
        assert given is not None
        settings = {**given.model_dump(mode="json"), **self._batches()}
        return self._stage(
            "transfer",
            f"transfer, seed {seed}",
            evaluations.transfer,
            settings,
            needs=needs,
            size=math.sqrt(len(needs)),
        )


def _learned(settings: dict[str, Any], key: str) -> dict[str, Any]:
    """Settings whose training says only what changes the result."""
    training = {k: v for k, v in settings[key].items() if k not in _MACHINE}
    return {**settings, key: training}
