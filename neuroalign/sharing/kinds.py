"""What a class of models is, for the cards of its models."""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__: list[str] = []


@dataclass(frozen=True)
class ModelKind:
    """What the models of a class have in common on their cards.

    Attributes:
        name: What they are, such as "neural predictor".
        purpose: What they do, the rest of a sentence after "neural predictor of neuroalign:".
        usage: Python code that loads and calls one; ``{load}`` stands for the call that loads it.
        intended_use: What they are for.
        task: The Hub's name of their task; None if it has none.
        measured_by: What tells how good one is, "correlation" and "accuracy": the card says so if it isn't given.
        own_part: Where the module is that may be of the user's own class, such as "trunk.backbone"; None if there is none.
    """

    name: str
    purpose: str
    usage: str
    intended_use: str
    task: str | None = None
    measured_by: tuple[str, ...] = ()
    own_part: str | None = None


_IMAGES = "# images (stimulus, channel, height, width), pixels in [0, 1]"

NEURAL_PREDICTOR = ModelKind(
    "neural predictor",
    "it predicts the responses of voxels to images.",
    f"predictor = {{load}}\n{_IMAGES}\nresponses = predictor(images)",
    "Predicting the responses of these voxels to images like those it was trained on, as the target that guides another "
    "network or for comparison with other models of the same responses.",
    "image-feature-extraction",
    ("correlation",),
    "trunk.backbone",
)
RIDGE_PREDICTOR = replace(NEURAL_PREDICTOR, own_part="features")
GUIDED_NETWORK = ModelKind(
    "guided network",
    "it classifies images; its response heads predict responses from its layers.",
    f"network = {{load}}\n{_IMAGES}\nlogits = network(images)\nlogits, responses = network(images, with_responses=True)",
    "Research on how responses of the brain, as a target beside the labels, change what a classifier learns. Compare it with "
    "controls that were trained in the same way without these responses.",
    "image-classification",
    ("accuracy",),
    "trunk.backbone",
)
CATEGORY_MANIFOLDS = ModelKind(
    "category manifolds",
    "centre, radius and principal directions of each category in a space of responses.",
    "manifolds = {load}\nmanifolds.centers, manifolds.radii  # (class, feature), (class,)",
    "Guiding a network toward the geometry of these categories (ManifoldGuidanceLoss), and describing this geometry.",
)
