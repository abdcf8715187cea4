"""The conditions of a study by name: kinds of guidance, their controls, and robust training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from neuroalign.study.settings.base import Description, PixelEps, Settings, near_match
from neuroalign.study.settings.responses import Region

__all__ = ["Condition", "RobustTrainingSettings"]

Needs = Literal[
    "nothing", "predictor", "shuffled fit", "untrained", "manifolds", "responses", "rdm", "labels", "network"
]


@dataclass(frozen=True)
class Kind:
    """One kind of condition.

    Args:
        needs: What the guidance is made from.
        text: What the network is trained with, for the report.
        control_of: The kind whose gradient scale it is trained at; None for a treatment.
        drawn: Whether something random of its own is drawn for every seed.
    """

    needs: Needs
    text: str
    control_of: str | None = None
    drawn: bool = False

    @property
    def by_region(self) -> bool:
        """Whether there is such a network for each region."""
        return self.needs not in ("nothing",)


NEURAL, MANIFOLD, RDM = "neural guidance", "manifold guidance", "RDM guidance"
KINDS = {
    "none": Kind("nothing", "classification alone"),
    NEURAL: Kind("predictor", "predicted responses of the region"),
    MANIFOLD: Kind("manifolds", "only the size and the directions of the region's category manifolds"),
    "measured responses": Kind("responses", "measured responses to the training images that have some"),
    RDM: Kind("rdm", "the region's dissimilarities between its own stimuli"),
    "shuffled RDM": Kind("rdm", "the region's dissimilarities with the stimuli in another order", RDM, drawn=True),
    "random predictor": Kind("untrained", "responses of an untrained predictor", NEURAL, drawn=True),
    "shuffled fit": Kind("shuffled fit", "responses of a predictor that was fitted to responses to other images", NEURAL,
                         drawn=True),
    "shuffled images": Kind("predictor", "predicted responses to one fixed other image of the training set", NEURAL,
                            drawn=True),
    "shuffled in a batch": Kind("predictor", "predicted responses to another image of the batch", NEURAL, drawn=True),
    "within class": Kind("predictor", "predicted responses to one fixed other image of the same class", NEURAL, drawn=True),
    "label only": Kind("labels", "a random target for each class: it holds no more than the label", NEURAL, drawn=True),
    "class means": Kind("predictor", "the mean predicted response to each class", NEURAL),
    "noise matched": Kind("predictor", "predicted responses with noise, as accurate as those of another region", NEURAL,
                          drawn=True),
    "rank matched": Kind("predictor", "predicted responses in as many dimensions as those of another region", NEURAL),
    "spectrum matched": Kind("predictor", "predicted responses with the variances of another region's components", NEURAL),
    "random geometry": Kind("manifolds", "manifolds of the same sizes and ranks, with random places and directions", MANIFOLD,
                            drawn=True),
    "random bases": Kind("manifolds", "manifolds of the same sizes and places, with random directions", MANIFOLD, drawn=True),
    "random centers": Kind("manifolds", "manifolds of the same sizes and directions at random places", MANIFOLD, drawn=True),
    "shared bases": Kind("manifolds", "one set of directions for the manifolds of all classes", MANIFOLD),
    "shared centers": Kind("manifolds", "one place and size for the manifolds of all classes", MANIFOLD),
    "no brain": Kind("labels", "a penalty that makes the network's own classes small and low-dimensional", MANIFOLD),
    "cross-entropy weight": Kind("nothing", "classification alone, with the weight that it has beside guidance"),
    "smoothness matched": Kind("network", "classification alone, with the weight decay that makes it as smooth as the guided "
                               "network"),
    "adversarial training": Kind("nothing", "adversarial training alone"),
}  # fmt: skip


class RobustTrainingSettings(Settings):
    """Robust training, alone or beside guidance.

    Args:
        kind: ``"adversarial"``, ``"TRADES"``, ``"gaussian noise"`` or ``"gradient regularization"``.
        eps: Budget of adversarial training and TRADES.
        norm: Its norm.
        steps: Steps of the attack.
        mixed_precision: Whether adversarial training attacks in the training's own precision, not in float32.
        beta: Weight of the penalty of TRADES.
        std: Standard deviation of the noise.
        weight: Weight of the gradient's norm.
    """

    kind: Literal["adversarial", "TRADES", "gaussian noise", "gradient regularization"] = "adversarial"
    eps: PixelEps | None = None
    norm: Literal["linf", "l2"] = "linf"
    steps: int = Field(7, ge=1)
    mixed_precision: bool = False
    beta: float = Field(6.0, ge=0)
    std: float | None = Field(None, gt=0)
    weight: float | None = Field(None, gt=0)

    @model_validator(mode="after")
    def _complete(self) -> RobustTrainingSettings:
        needed = {"adversarial": "eps", "TRADES": "eps", "gaussian noise": "std", "gradient regularization": "weight"}
        if getattr(self, needed[self.kind]) is None:
            raise ValueError(f"robust training of kind {self.kind!r} needs '{needed[self.kind]}'")
        if self.mixed_precision and self.kind != "adversarial":
            raise ValueError(f"'mixed_precision' is for the kind 'adversarial', not for {self.kind!r}")
        return self

    @property
    def description(self) -> Description:
        """The object as a class and its arguments."""
        described: dict[str, tuple[str, dict[str, Any]]] = {
            "adversarial": ("AdversarialTraining", {"eps": self.eps, "norm": self.norm, "steps": self.steps}),
            "TRADES": ("TRADES", {"eps": self.eps, "norm": self.norm, "beta": self.beta, "steps": self.steps}),
            "gaussian noise": ("GaussianNoiseTraining", {"std": self.std}),
            "gradient regularization": ("GradientRegularization", {"weight": self.weight}),
        }
        name, arguments = described[self.kind]
        if self.mixed_precision:
            arguments["mixed_precision"] = True
        return {"class_path": f"neuroalign.tasks.{name}", "init_args": arguments}


class Condition(Settings):
    """One way to train a network.

    Args:
        kind: Kind of the condition; None means the condition's own name.
        regions: Regions with such a network; None means all.
        weight: Share of guidance in the loss, 0 to 1; None takes the study's.
        loss: Measure between responses and targets, by its name.
        matched_to: For a control, kind of the guidance whose gradient scale on the untrained network it is trained at;
            ``"default"`` means that of the treatment that it is a control of; None leaves the control as it is.
        robust_training: Robust training beside the guidance.
        training: Settings of the training that differ from the study's.
        options: Arguments of the guidance: ``radius_weight`` and ``subspace_weight`` of manifolds, ``comparison`` of RDMs.
        like: For a matched control, the region whose noise, rank or spectrum the targets get.
    """

    kind: str | None = None
    regions: list[Region] | None = None
    weight: float | None = Field(None, gt=0, le=1)
    loss: str = "mse"
    matched_to: str | None = "default"
    robust_training: RobustTrainingSettings | None = None
    training: dict[str, Any] = {}
    options: dict[str, Any] = {}
    like: Region | None = None


def check_condition(name: str, condition: Condition) -> str:
    """The kind of a named condition.

    Raises:
        PydanticCustomError: If there is no such kind, or it needs a setting that is missing.
    """
    kind = condition.kind or name
    if kind not in KINDS:
        where = f"'kind' {kind!r}" if condition.kind else f"{kind!r}, which is no kind by its name and has no 'kind',"
        raise PydanticCustomError(
            "kind", "{where} is no kind of condition{near}; the kinds are: {known}",
            {"where": where, "near": near_match(kind, KINDS), "known": ", ".join(KINDS)},
        )  # fmt: skip
    wrong = None
    if kind.endswith(" matched") and kind != "smoothness matched" and condition.like is None:
        wrong = f"{kind!r} needs 'like', the region whose {kind.split()[0]} the targets get"
    if kind == "adversarial training" and condition.robust_training is None:
        wrong = "'adversarial training' needs 'robust_training', such as {eps: 4/255, steps: 4}"
    treatments = (NEURAL, MANIFOLD, RDM)
    if condition.matched_to not in (None, "default", *treatments):
        near, known = near_match(condition.matched_to, treatments), ", ".join(map(repr, treatments))
        wrong = f"'matched_to' {condition.matched_to!r} is none of {known}{near}"
    if not KINDS[kind].by_region and condition.regions is not None:
        wrong = f"{kind!r} has no region: leave 'regions' out"
    if wrong:
        raise PydanticCustomError("condition", "{wrong}", {"wrong": wrong})
    return kind
