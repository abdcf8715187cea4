"""What a model card says beyond the model itself: data, split, measurements, use, license."""

from __future__ import annotations

import math
import numbers
import os
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, NamedTuple

from neuroalign.sharing.config_file import read_config
from neuroalign.sharing.held_out import HeldOutCorrelation, held_out_correlation
from neuroalign.sharing.records import compared, measured
from neuroalign.sharing.stimuli import identities, stimulus_hash
from neuroalign.types import unknown

__all__ = ["CardFacts"]

NSD = "Natural Scenes Dataset"
_DIGITS = set("0123456789abcdef")
_STEPS = {"zscore_sessions": "z-scored within sessions", "average_repeats": "averaged over repeats"}
_TEXTS = (
    "name", "summary", "dataset", "terms", "responses", "test_set", "training_procedure", "intended_use", "limitations",
    "license", "authors", "citation",
)  # fmt: skip


class Accuracy(NamedTuple):
    """Accuracy on test images: how many of how many were classified right."""

    num_correct: int
    num_images: int


@dataclass(frozen=True, kw_only=True)
class CardFacts:
    """What is known about a model, for its card. What is left out is written there as not given.

    Everything is text to the card, never Markdown; folders of this machine and passwords in URLs are left out. Make it from
    the responses that the model was trained on: :meth:`from_responses`.

    Attributes:
        name: Title of the card; None takes the folder's or repository's name.
        summary: One or two sentences of your own.
        dataset: Name of the data set that the responses come from.
        terms: Under which terms the data may be used; None means those known for the data set, if there are any.
        simulated: Whether the responses were simulated; the card says so first. None means unknown.
        subject: Number or name of the subject.
        region: Region or regions of the voxels.
        responses: How the responses were made, such as "betas_fithrf, z-scored within sessions, averaged over repeats".
        num_voxels: Number of voxels of the responses.
        num_training_images: Number of images of the training split.
        num_held_out_images: Number of images of the held-out split.
        training_hash: :func:`stimulus_hash` of the training images.
        held_out_hash: :func:`stimulus_hash` of the held-out images.
        noise_ceiling: Median over voxels of the noise ceiling of the held-out responses, in [0, 1].
        correlation: What :func:`held_out_correlation` found.
        accuracy: Number of test images that are classified right, and the number of test images.
        test_set: Name of the set of the test images.
        robustness: What :func:`neuroalign.evaluate_robustness` found: a table, or its rows.
        controls: Comparisons with controls, from :func:`neuroalign.evaluation.compare`, or their rows.
        training_procedure: How the model was trained.
        intended_use: What it is for; None takes a general sentence.
        limitations: What it isn't good for, in addition to what is always said.
        license: Identifier of the license of the weights, as on the Hub, such as "cc-by-nc-4.0".
        datasets: Identifiers of data sets on the Hub.
        tags: Further tags.
        authors: Who made the model.
        citation: BibTeX of your own, in addition to that of the method and the data set.

    Raises:
        ValueError: If a number is out of its range, a table lacks a column, or a hash isn't one.
        TypeError: If a text is none.

    Example:
        >>> facts = CardFacts(
        ...     dataset="Natural Scenes Dataset", subject=1, region="V4", accuracy=(812, 1000)
        ... )
        >>> facts.accuracy
        Accuracy(num_correct=812, num_images=1000)
    """

    name: str | None = None
    summary: str | None = None
    dataset: str | None = None
    terms: str | None = None
    simulated: bool | None = None
    subject: int | str | None = None
    region: str | Sequence[str] | None = None
    responses: str | None = None
    num_voxels: int | None = None
    num_training_images: int | None = None
    num_held_out_images: int | None = None
    training_hash: str | None = None
    held_out_hash: str | None = None
    noise_ceiling: float | None = None
    correlation: HeldOutCorrelation | tuple[float, float, float, int, int] | None = None
    accuracy: Accuracy | tuple[int, int] | None = None
    test_set: str | None = None
    robustness: Any = field(default=None, repr=False)
    controls: Any = field(default=None, repr=False)
    training_procedure: str | None = None
    intended_use: str | None = None
    limitations: str | None = None
    license: str | None = None
    datasets: Sequence[str] = ()
    tags: Sequence[str] = ()
    authors: str | None = None
    citation: str | None = None

    def __post_init__(self) -> None:
        for name in _TEXTS:
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{name} must be text; got {type(value).__name__}")
        for name in ("region", "datasets", "tags"):
            value = getattr(self, name)
            texts = [value] if isinstance(value, str) else list(value or ())
            if not all(isinstance(text, str) for text in texts):
                raise TypeError(f"{name} must be texts; got {value!r}")
            object.__setattr__(self, name, tuple(texts))
        for name in ("num_voxels", "num_training_images", "num_held_out_images"):
            value = getattr(self, name)
            if value is not None and (isinstance(value, bool) or int(value) != value or value < 0):
                raise ValueError(f"{name} must be a number of things, 0 or more; got {value!r}")
            object.__setattr__(self, name, None if value is None else int(value))
        for name in ("training_hash", "held_out_hash"):
            value = getattr(self, name)
            if value is not None and not (isinstance(value, str) and len(value) == 64 and set(value) <= _DIGITS):
                raise ValueError(
                    f"{name} must be what stimulus_hash gives, 64 hexadecimal digits; got {str(value)[:80]!r}"
                )
        if self.noise_ceiling is not None and not 0 <= self.noise_ceiling <= 1:
            raise ValueError(f"noise_ceiling must be in [0, 1]; got {self.noise_ceiling}")
        object.__setattr__(self, "noise_ceiling", None if self.noise_ceiling is None else float(self.noise_ceiling))
        if isinstance(self.subject, numbers.Integral):  # NumPy's, which YAML and JSON don't know
            object.__setattr__(self, "subject", int(self.subject))
        elif self.subject is not None and not isinstance(self.subject, str):
            raise TypeError(f"subject must be a number or a name; got {type(self.subject).__name__}")
        self._check_measurements()

    def _check_measurements(self) -> None:
        if self.correlation is not None:
            median, low, high, num_images, num_voxels = self.correlation
            found = HeldOutCorrelation(float(median), float(low), float(high), int(num_images), int(num_voxels))
            known = not (math.isnan(found.low) or math.isnan(found.high))
            if not -1 <= found.median <= 1 or (known and not -1 <= found.low <= found.high <= 1):
                raise ValueError(f"a correlation and its interval must be in [-1, 1]; got {tuple(found)}")
            object.__setattr__(self, "correlation", found)
        if self.accuracy is not None:
            if not isinstance(self.accuracy, Sequence) or len(self.accuracy) != 2:
                raise TypeError(
                    "accuracy is (number of test images classified right, number of test images), such as (66, 100); got "
                    f"{self.accuracy!r}"
                )
            right = Accuracy(*map(int, self.accuracy))
            if not 0 <= right.num_correct <= right.num_images or not right.num_images:
                raise ValueError(f"accuracy must be (number classified right, number of images); got {tuple(right)}")
            object.__setattr__(self, "accuracy", right)
        object.__setattr__(self, "robustness", measured(self.robustness))
        object.__setattr__(self, "controls", compared(self.controls))

    @classmethod
    def from_responses(cls, training: Any, held_out: Any = None, *, predictions: Any = None, **facts: Any) -> CardFacts:
        """The facts that the responses hold: data set, subject, region, split, voxels, images, noise ceiling.

        Args:
            training: The :class:`neuroalign.Responses` that the model was trained on.
            held_out: Those of the held-out images; None if there are none.
            predictions: (stimulus, voxel) what the model predicts for the rows of ``held_out``; the correlation is computed
                from it.
            **facts: Further attributes, or others than the responses hold.

        Raises:
            ValueError: If an image is in both splits, they have other voxels, or held-out rows are no averages and
                predictions are given; see also :func:`held_out_correlation`.
            TypeError: If a fact is unknown; the message lists near matches.

        Example:
            >>> from neuroalign import Responses
            >>> info = {"dataset": "Natural Scenes Dataset", "simulated": False, "subject": 1}
            >>> values = np.random.randn(6, 4)
            >>> stimulus = [0, 0, 1, 1, 2, 2]
            >>> training = Responses.from_arrays(values, stimulus=stimulus, roi="V4", info=info)
            >>> facts = CardFacts.from_responses(training, license="cc-by-nc-4.0")
            >>> facts.subject, facts.region, facts.num_voxels, facts.num_training_images
            (1, ('V4',), 4, 3)
        """
        known = {f.name for f in fields(cls)}
        for name in facts:
            if name not in known:
                raise TypeError(unknown("fact of a card", name, known))
        found = _facts_of(training)
        if held_out is not None:
            found |= _facts_of_held_out(training, held_out, predictions)
        elif predictions is not None:
            raise ValueError("predictions need held_out, the responses to the same images")
        return cls(**{**found, **facts})

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> CardFacts:
        """Read the facts of a folder that ``save_pretrained`` wrote, to save or upload the model again.

        Raises:
            FileNotFoundError: If the folder holds no ``config.json``.
            ValueError: If that file is not neuroalign's, or its facts are none or those of another version.

        Example:
            >>> import tempfile
            >>> from neuroalign import NeuralPredictor
            >>> predictor = NeuralPredictor("small_resnet", 5, image_shape=(3, 8, 8))
            >>> folder = tempfile.mkdtemp()
            >>> predictor.save_pretrained(folder, card=CardFacts(subject=1))
            >>> CardFacts.load(folder) == CardFacts(subject=1)
            True
        """
        path = Path(folder) / "config.json"
        found = read_config(path).get("card")
        known = {f.name for f in fields(cls)}
        if not isinstance(found, dict) or not set(found) <= known:
            more = sorted(set(found) - known) if isinstance(found, dict) else ["nothing by name"]
            raise ValueError(f"{path} holds facts that this version doesn't know: {', '.join(map(str, more))[:80]}")
        tuples = {name: found[name] for name in ("correlation", "accuracy") if isinstance(found.get(name), dict)}
        try:
            made = {"correlation": HeldOutCorrelation, "accuracy": Accuracy}
            return cls(**{**found, **{name: made[name](**_numbers(value)) for name, value in tuples.items()}})
        except (TypeError, ValueError, OverflowError) as error:
            raise ValueError(f"{path}: {' '.join(str(error).split())[:200]}") from error

    def to_dict(self) -> dict[str, Any]:
        """The facts that are known, as plain values.

        Example:
            >>> CardFacts(subject=1, accuracy=(8, 10)).to_dict()
            {'subject': 1, 'accuracy': {'num_correct': 8, 'num_images': 10}}
        """
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        known = {name: value for name, value in found.items() if value is not None and value != ()}
        return {name: value._asdict() if hasattr(value, "_asdict") else value for name, value in known.items()}


def _numbers(value: dict[str, Any]) -> dict[str, Any]:
    return {name: math.nan if number is None else number for name, number in value.items()}


def _facts_of(training: Any) -> dict[str, Any]:
    info = training.info
    regions = [name for name in dict.fromkeys(map(str, training.roi)) if name != "unknown"]
    steps = [_STEPS.get(step, step) for step in training.history]
    if info.get("unit") == "standard deviations" and "zscore_sessions" not in training.history:
        steps.append("in standard deviations")
    source = " in ".join(str(info[key]) for key in ("betas", "space") if info.get(key))
    simulated = info.get("simulated")
    ids = set(identities(training))
    return {
        "dataset": None if info.get("dataset") is None else str(info["dataset"]),
        "simulated": simulated if isinstance(simulated, bool) else None,
        "subject": info.get("subject"),
        "region": regions,
        "responses": ", ".join([source, *steps] if source else steps) or None,
        "num_voxels": training.num_voxels,
        "num_training_images": len(ids),
        "training_hash": stimulus_hash(ids),
    }


def _facts_of_held_out(training: Any, held_out: Any, predictions: Any) -> dict[str, Any]:
    ids = identities(held_out)
    both = set(ids) & set(identities(training))
    if both:
        raise ValueError(
            f"images of held_out are in training too, {len(both)} of {len(set(ids))}, such as {min(both)!r}"
        )
    if held_out.num_voxels != training.num_voxels:
        raise ValueError(f"training has {training.num_voxels} voxels, held_out {held_out.num_voxels}")
    found: dict[str, Any] = {"num_held_out_images": len(set(ids)), "held_out_hash": stimulus_hash(ids)}
    if held_out.noise_ceiling is not None:
        ceiling = sorted(min(max(float(c), 0.0), 1.0) for c in held_out.noise_ceiling if not math.isnan(c))
        if ceiling:
            found["noise_ceiling"] = (ceiling[(len(ceiling) - 1) // 2] + ceiling[len(ceiling) // 2]) / 2
    if predictions is not None:
        if len(set(ids)) < len(ids):
            raise ValueError("held_out has several rows of an image: average its repeats first (average_repeats)")
        found["correlation"] = held_out_correlation(predictions, held_out.values)
    return found
