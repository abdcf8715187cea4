"""What is measured on every trained network of a study, and which conditions are compared by it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from neuroalign.study.settings.base import Description, Eps, Path, PixelEps, Settings
from neuroalign.study.settings.responses import Region

__all__ = [
    "Comparisons",
    "Control",
    "Corruptions",
    "Evaluations",
    "Geometry",
    "Masking",
    "RSA",
    "Robustness",
    "ShapeBias",
    "Smoothness",
    "Transfer",
]


class Robustness(Settings):
    """Accuracy under one attack.

    Args:
        attack: The attack: ``"pgd"``, ``"fgsm"``, ``"apgd"``, ``"square"``, ``"autoattack"``, ``"deepfool"``, an attack
            that another installed package publishes, or a description of a class of ``neuroalign.perturbations``.
        norm: Norm of the budget.
        steps: Steps of the attack, where it has steps; None takes its own default.
        eps: Budgets; 0 (no attack) is always measured.
        exhaustive: Whether each budget is attacked from scratch.
        num_images: Number of test images; None means all.
    """

    attack: str | Description = "pgd"
    norm: Literal["linf", "l2"] = "linf"
    steps: int | None = Field(None, ge=1)
    eps: list[Eps] = Field(min_length=1)
    exhaustive: bool = False
    num_images: int | None = Field(None, ge=1)

    @field_validator("attack")
    @classmethod
    def _known(cls, value: str | Description) -> str | Description:
        if isinstance(value, str) and value not in ATTACKS:
            from neuroalign.plugins import installed
            from neuroalign.study.settings.base import near_match

            known = [*ATTACKS, *installed("perturbations")]
            if value not in known:
                raise ValueError(f"{value!r} is none of {', '.join(known)}{near_match(value, known)}")
        return value

    @model_validator(mode="after")
    def _in_pixels(self) -> Robustness:
        if self.norm == "linf" and max(self.eps) >= 1:
            raise ValueError(
                f"eps is in pixel units of [0, 1], where 1 is the whole range; got {max(self.eps):g}: divide by 255?"
            )
        if not any(self.eps):
            raise ValueError("eps needs a budget above 0")
        return self


ATTACKS = {
    "pgd": "PGD",
    "fgsm": "FGSM",
    "apgd": "APGD",
    "square": "SquareAttack",
    "autoattack": "AutoAttack",
    "deepfool": "DeepFool",
}


class Geometry(Settings):
    """Geometry of the categories' manifolds on the test images.

    Args:
        layers: Layers of the network's trunk by name; empty means the last features only.
        predictors: Whether predicted responses of the regions are measured, too.
        num_per_class: Images per class; None means all.
    """

    layers: list[str] = []
    predictors: bool = True
    num_per_class: int | None = Field(None, ge=2)


class Corruptions(Settings):
    """Accuracy on corrupted images.

    Args:
        corruptions: Names; None means the 15 common ones.
        severities: Severities, 1 to 5.
        num_images: Number of test images; None means all.
    """

    corruptions: list[str] | None = None
    severities: list[Annotated[int, Field(ge=1, le=5)]] = [1, 3, 5]
    num_images: int | None = Field(None, ge=1)


class Smoothness(Settings):
    """Mean squared input gradient at test images and at adversarial points.

    Args:
        eps: Budget of the adversarial points.
        steps: Steps of PGD.
        num_images: Number of test images; None means all.
    """

    eps: PixelEps = 8 / 255
    steps: int = Field(10, ge=1)
    num_images: int | None = Field(None, ge=1)


class Masking(Settings):
    """The report on masked gradients.

    Args:
        eps: Budget of the attacks.
        num_images: Number of test images.
    """

    eps: PixelEps = 8 / 255
    num_images: int = Field(64, ge=2)


class ShapeBias(Settings):
    """Decisions for shape or texture on cue-conflict stimuli.

    Args:
        stimuli: Zip file of ``SHAPE/SHAPEn-TEXTUREn.png`` (Geirhos et al. 2019).
        classes: Class of the networks by the class of the stimuli.
    """

    stimuli: Path
    classes: dict[str, str] = Field(min_length=2)


class Transfer(Settings):
    """Whether adversarial images of one network fool the others, per seed.

    Args:
        eps: Budget.
        steps: Steps of PGD.
        num_images: Number of test images; None means all.
    """

    eps: PixelEps
    steps: int = Field(10, ge=1)
    num_images: int | None = Field(None, ge=1)


class RSA(Settings):
    """How similarly networks and regions tell the test images apart (representational similarity).

    Args:
        num_images: Number of test images, the same for all networks of a seed; None means all. Their pairs are compared, so
            2,000 are the most.
        layers: Layers of the network's trunk by name, beside its last features.
        predictors: Whether predicted responses of the regions are compared, too.
        dissimilarity: How different the features of two images are, as in :func:`neuroalign.functional.rdm`.
        comparison: How the dissimilarities of two networks are correlated: ``"spearman"`` or ``"pearson"``.

    Source:
        Kriegeskorte et al. 2008, Frontiers in Systems Neuroscience 2:4.
    """

    num_images: int | None = Field(200, ge=3, le=2000)
    layers: list[str] = []
    predictors: bool = True
    dissimilarity: Literal["correlation", "cosine", "sqeuclidean"] = "correlation"
    comparison: Literal["spearman", "pearson"] = "spearman"


class Evaluations(Settings):
    """What is measured; what is not named is not measured.

    Args:
        robustness: Attacks by the name that their rows have in the tables.
        geometry: Geometry of categories.
        corruptions: Corrupted images.
        smoothness: Input gradients.
        masking: Masked gradients.
        shape_bias: Cue conflicts.
        transfer: Adversarial images of other networks.
        rsa: Representational similarity of networks and regions.
        batch_size: Images per batch of all evaluations.
    """

    robustness: dict[str, Robustness] = {}
    geometry: Geometry | None = None
    corruptions: Corruptions | None = None
    smoothness: Smoothness | None = None
    masking: Masking | None = None
    shape_bias: ShapeBias | None = None
    transfer: Transfer | None = None
    rsa: RSA | None = None
    batch_size: int = Field(256, ge=1)


class Control(Settings):
    """What a treatment is compared with: a condition in a region.

    Args:
        condition: Its name.
        region: Its region; None means that of the treatment, or none if the condition has no region.
    """

    condition: str
    region: Region | None = None


class Comparisons(Settings):
    """One treatment and the conditions that it is compared with.

    Args:
        treatment: Name of a condition.
        region: Its region; None means all its regions, a comparison each.
        controls: Names of conditions (of the same region, if they have regions), or conditions with a region.
        measure: Name of the evaluation; None means the first attack. Accuracy is averaged over its budgets above 0.
        equivalence: Largest difference that counts as equal; None tests no equality.
    """

    treatment: str
    region: Region | None = None
    controls: list[str | Control] = Field(min_length=1)
    measure: str | None = None
    equivalence: float | None = Field(None, gt=0, lt=1)
