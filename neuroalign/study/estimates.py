"""What a study will take: time and memory of each stage, from short measured probes of its networks."""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from neuroalign.study.graph import Stage
from neuroalign.study.passes import evaluation_passes, robust_training_factor, trainings
from neuroalign.study.probes import Probe, classifier, device_of, probe_network, process_bytes, response_predictor
from neuroalign.study.sizes import ImageSizes, image_sizes, num_voxels, stimulus_sizes

__all__: list[str] = []

GPU_RATE = 1e13
"""Operations a second of a GPU, where the study asks for one and this machine has none: a cautious number for 32 bits."""

_START = 1.0  # seconds that every stage takes beside its passes: reading, writing, setting up


@dataclass
class Estimate:
    """Time and memory of stages.

    Args:
        seconds: Seconds of each stage by its key.
        memory: Largest bytes of memory of each stage by its key.
        probes: What was measured, by what it is of.
        assumed: What was assumed because it can't be read here.
        on_gpu: Keys of stages that ask for a GPU which this machine hasn't: their time rests on counted operations.
        scaled: Number of finished stages by the time of which the estimate of their kind was scaled.

    Example:
        >>> stages = [Stage("network", f"network {i}", print, {"seed": i}) for i in range(4)]
        >>> estimate = Estimate({stage.key: 60.0 for stage in stages})
        >>> estimate.total(stages), estimate.wall(stages, workers=2)
        (240.0, 120.0)
    """

    seconds: dict[str, float] = field(default_factory=dict)
    memory: dict[str, int] = field(default_factory=dict)
    probes: dict[str, Probe] = field(default_factory=dict)
    assumed: list[str] = field(default_factory=list)
    on_gpu: set[str] = field(default_factory=set)
    scaled: dict[str, int] = field(default_factory=dict)

    def total(self, stages: Iterable[Stage]) -> float:
        """Seconds of computing of some stages, one after the other."""
        return sum(self.seconds.get(stage.key, 0.0) for stage in stages)

    def wall(self, stages: Iterable[Stage], workers: int) -> float:
        """Seconds until some stages are done, given in the order of what they need, if ``workers`` run at once."""
        ends: dict[str, float] = {}
        free = [0.0] * max(1, workers)
        for stage in stages:
            ready = max((ends.get(each.key, 0.0) for each in stage.needs.values()), default=0.0)
            start = max(heapq.heappop(free), ready)
            ends[stage.key] = start + self.seconds.get(stage.key, 0.0)
            heapq.heappush(free, ends[stage.key])
        return max(ends.values(), default=0.0)

    def scale(self, stages: Iterable[Stage], took: Mapping[str, float]) -> None:
        """Scale the estimates of each kind to the seconds that finished stages of it took.

        Args:
            stages: All stages that were estimated, finished ones too.
            took: Seconds that some of them took, by key.
        """
        stages = list(stages)
        for kind in dict.fromkeys(stage.kind for stage in stages):
            of_kind = [stage for stage in stages if stage.kind == kind]
            known = [stage for stage in of_kind if stage.key in took]
            if not known:
                continue
            factor = sum(took[stage.key] for stage in known) / max(self.total(known), 1e-9)
            self.scaled[kind] = len(known)
            for stage in of_kind:
                self.seconds[stage.key] *= factor


def estimate_stages(stages: Iterable[Stage], *, on_probe: Callable[[str], None] | None = None) -> Estimate:
    """Estimate what stages take on this machine; each network that differs is measured once.

    Args:
        stages: The stages.
        on_probe: Called with what is measured next.

    Raises:
        ValueError: If a network can't be built.
    """
    estimator = _Estimator(on_probe or (lambda text: None))
    for stage in stages:
        estimator.add(stage)
    return estimator.estimate


class _Estimator:
    def __init__(self, on_probe: Callable[[str], None]) -> None:
        self.on_probe, self.estimate = on_probe, Estimate()
        self.found: dict[str, Probe] = {}
        self.sizes: dict[str, Any] = {}
        self.counts_operations = False
        self.base = process_bytes()

    def add(self, stage: Stage) -> None:
        self.counts_operations = stage.resources.gpus > 0 and device_of({}) == "cpu"
        if self.counts_operations:
            self.estimate.on_gpu.add(stage.key)
        rule = getattr(self, f"_{stage.kind}", None)
        seconds, memory = rule(stage) if rule else self._evaluation(stage) if "images" in stage.needs else (0.0, 0)
        self.estimate.seconds[stage.key] = _START + seconds
        self.estimate.memory[stage.key] = int(memory) + self.base

    # What stages take: (seconds, bytes)

    def _subject(self, stage: Stage) -> tuple[float, float]:
        images, teacher = self._images_of(stage), stage.settings["teacher"]
        probe = self._probe("the simulated subject's network", {"backbone": "small_resnet"}, teacher, stage, images, 1)
        shown = images.neural[0] * stage.settings["copies"] + images.neural[1] * stage.settings["val_copies"]
        passes = images.neural[0] * teacher["epochs"] * probe.step + shown * probe.forward
        return passes, probe.memory(teacher["batch_size"]) + 4 * shown * math.prod(images.shape)

    def _predictor(self, stage: Stage) -> tuple[float, float]:
        count, shape, _ = self._stimuli_of(stage)
        training, probe = stage.settings.get("training", {}), self._probe_of_predictor(stage)
        epochs = training.get("epochs", 0) if stage.settings.get("fit") != "untrained" else 0
        images = 4.0 * count * math.prod(shape)
        batch = min(training.get("batch_size", 256), count)
        return count * (epochs * probe.step + probe.forward), probe.memory(batch) + images

    def _manifolds(self, stage: Stage) -> tuple[float, float]:
        images, probe = self._images_of(stage), self._probe_of_predictor(stage.needs["predictor"])
        return images.train * probe.forward, probe.parameters + self._held(stage, images)

    def _network(self, stage: Stage) -> tuple[float, float]:
        images, probe = self._images_of(stage), self._probe_of_network(stage)
        training, condition = stage.settings["training"], stage.settings["condition"]
        loop = [self._probe_of_predictor(each) for role, each in stage.needs.items() if role == "predictor"]
        step = probe.step * robust_training_factor(condition.get("robust_training"))
        step += sum(each.forward for each in loop)
        passes = training["epochs"] * (images.train * step + images.val * probe.forward)
        memory = probe.memory(training["batch_size"]) + sum(each.parameters for each in loop)
        return passes * trainings(condition["kind"]), memory + self._held(stage, images)

    def _transfer(self, stage: Stage) -> tuple[float, float]:
        images, networks = self._images_of(stage), [s for s in stage.needs.values() if s.kind == "network"]
        probes = [self._probe_of_network(each) for each in networks]
        count = min(stage.settings.get("num_images") or images.test, images.test)
        steps = stage.settings["steps"] * sum(probe.step for probe in probes)
        seconds = count * (steps + len(probes) * sum(probe.forward for probe in probes))
        return seconds, sum(p.parameters for p in probes) + probes[0].activations * stage.settings["batch_size"]

    def _evaluation(self, stage: Stage) -> tuple[float, float]:
        images = self._images_of(stage)
        of_network = "network" in stage.needs
        probe = (
            self._probe_of_network(stage.needs["network"])
            if of_network
            else self._probe_of_predictor(stage.needs["predictor"])
        )
        count, steps, forwards = evaluation_passes(stage.kind, stage.settings, images.test)
        kept = probe.activations * min(stage.settings.get("batch_size", 256), count)
        return count * (steps * probe.step + forwards * probe.forward), probe.parameters + kept + self._held(
            stage, images
        )

    # What was measured, once for all stages that it is of

    def _probe_of_network(self, stage: Stage) -> Probe:
        recorded = _responses_behind(stage)
        voxels = self._sized(num_voxels, recorded)[0] if recorded is not None else 0
        settings, images = stage.settings, self._images_of(stage)
        return self._probe("the network", settings["network"], settings["training"], stage, images, voxels)

    def _probe_of_predictor(self, stage: Stage) -> Probe:
        _, shape, _ = self._stimuli_of(stage)
        voxels = self._sized(num_voxels, stage.needs["responses"])[0]
        settings = {key: stage.settings.get(key) for key in ("backbone", "layer", "size")}
        training = {**stage.settings.get("training", {}), **stage.options}
        make = lambda: response_predictor(settings, voxels, shape)  # noqa: E731
        return self._measured("the predictor", make, [settings, shape, voxels], training, shape, stage)

    def _probe(
        self, what: str, network: Mapping[str, Any], training: Mapping[str, Any], stage: Stage, images: ImageSizes,
        voxels: int,
    ) -> Probe:  # fmt: skip
        training = {**training, **stage.options}
        make = lambda: classifier(network, images.num_classes, voxels, images.shape)  # noqa: E731
        same = [dict(network), images.num_classes, images.shape]  # a head takes little beside its trunk
        return self._measured(what, make, same, training, images.shape, stage)

    def _measured(
        self, what: str, make: Callable[[], Any], same: list[Any], training: Mapping[str, Any],
        shape: tuple[int, int, int], stage: Stage,
    ) -> Probe:  # fmt: skip
        options = {"batch_size": training.get("batch_size", 200), "optimizer": training.get("optimizer", "adam"),
                   "channels_last": training.get("channels_last", True), "device": device_of(training),
                   "threads": 1 if self.counts_operations else stage.resources.cpus,
                   "timed": not self.counts_operations}  # fmt: skip
        key = json.dumps([what, same, options], sort_keys=True)
        if key not in self.found:
            self.on_probe(what)
            probe = probe_network(make(), shape, **options)
            self.found[key] = probe.at(GPU_RATE) if self.counts_operations else probe
            where = "by its operations" if self.counts_operations else f"on {probe.device.upper()}"
            place = f"{what} at {shape[1]} x {shape[2]} pixels, {where}"
            self.estimate.probes.setdefault(place, self.found[key])
        return self.found[key]

    def _sized(self, size: Callable[[Stage], Any], stage: Stage) -> Any:
        place = f"{size.__name__} {stage.key}"
        if place not in self.sizes:
            self.sizes[place] = found = size(stage)
            assumed = found.assumed if isinstance(found, ImageSizes) else found[-1]
            if assumed and assumed not in self.estimate.assumed:
                self.estimate.assumed.append(assumed)
        return self.sizes[place]

    def _images_of(self, stage: Stage) -> ImageSizes:
        found: ImageSizes = self._sized(image_sizes, stage.needs["images"])
        return found

    def _stimuli_of(self, stage: Stage) -> tuple[int, tuple[int, int, int], str]:
        found: tuple[int, tuple[int, int, int], str] = self._sized(stimulus_sizes, stage.needs["stimuli"])
        return found

    def _held(self, stage: Stage, images: ImageSizes) -> float:
        """Bytes of the images that a stage holds as numbers; those of a folder are read as they are needed."""
        if stage.needs["images"].settings.get("source") == "folder":
            return 0.0
        return 4.0 * (images.train + images.val + images.test) * math.prod(images.shape)


def _responses_behind(stage: Stage) -> Stage | None:
    """The responses that a network's head predicts; None if it has no head."""
    for role in ("responses", "predictor", "treatment", "manifolds", "guided"):
        if role in stage.needs:
            each = stage.needs[role]
            return each if each.kind == "responses" else _responses_behind(each)
    return None
