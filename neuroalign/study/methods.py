"""What a study did, in words that are made from its settings."""

from __future__ import annotations

import pandas as pd

from neuroalign.study.budgets import budget_texts
from neuroalign.study.runs import label_of
from neuroalign.study.settings.conditions import KINDS, MANIFOLD, NEURAL
from neuroalign.study.settings.evaluations import ATTACKS, Robustness
from neuroalign.study.settings.images import Images
from neuroalign.study.settings.responses import (
    DissimilarityResponses,
    NSDResponses,
    RecordedResponses,
    SimulatedResponses,
    subjects_of,
)
from neuroalign.study.study import Study

__all__: list[str] = []

GUIDED = (NEURAL, MANIFOLD, "measured responses", "RDM guidance")
_OPTIMIZERS = {"sgd": "SGD", "adam": "Adam", "adamw": "AdamW"}


def origin(study: Study) -> str:
    """A word on simulated subjects for titles and captions; empty if all are real.

    Example:
        >>> images = {"source": "digits", "num_neural": [600, 100]}
        >>> settings = {"name": "Digits", "images": images, "conditions": {"none": {}}}
        >>> origin(Study.from_settings({**settings, "responses": [{"source": "simulated"}]}))
        'simulated subject'
        >>> origin(Study.from_settings(settings))
        ''
    """
    ours = [
        subject
        for source in study.responses
        if isinstance(source, SimulatedResponses)
        for subject in subjects_of(source)
    ]
    if not ours:
        return ""
    if len(ours) == len({s for source in study.responses for s in subjects_of(source)}):
        return "simulated subject" if len(ours) == 1 else "simulated subjects"
    return f"subject {' and '.join(ours)} simulated"


def by_whom(study: Study) -> str:
    """The same as :func:`origin` within a sentence, such as " by a simulated subject"; begins with a space, or is empty."""
    found = origin(study)
    return {"": "", "simulated subject": " by a simulated subject", "simulated subjects": " by simulated subjects"}.get(
        found, f" ({found})"
    )


def controls_of(study: Study) -> set[str]:
    """Labels of the conditions whose networks aren't guided by a brain: they are drawn gray and dashed."""
    conditions = [name for name in study.conditions if study.kind_of(name) not in GUIDED]
    return {label_of(name, region) for name in conditions for region in study.regions_of(name)}


def conditions_table(study: Study) -> pd.DataFrame:
    """What each condition was trained with: one row per condition."""
    rows = {}
    for name, condition in study.conditions.items():
        kind = KINDS[study.kind_of(name)]
        text = kind.text
        if condition.like is not None:
            text += f" ({condition.like})"
        if condition.robust_training is not None and study.kind_of(name) != "adversarial training":
            text += f", and robust training ({condition.robust_training.kind})"
        matched = kind.control_of if condition.matched_to == "default" else condition.matched_to
        regions = ", ".join(str(region) for region in study.regions_of(name) if region)
        rows[name] = {"trained with": text, "regions": regions, "gradient scale of": matched or ""}
    return pd.DataFrame.from_dict(rows, orient="index")


def methods(study: Study, factors: pd.DataFrame) -> str:
    """Paragraphs on images, responses, predictors, networks, attacks and seeds.

    Args:
        study: The study.
        factors: From :func:`~neuroalign.study.collecting.factors_table`.
    """
    attacks = "; ".join(attack_text(name, each) for name, each in study.evaluations.robustness.items())
    paragraphs = [
        study.about.strip(),
        f"{_images(study.images)} {' '.join(_responses(source) for source in study.responses)}".strip(),
        " ".join([_predictors(study), _networks(study), _seeds(study)]).strip(),
        f"Attacks: {attacks}." if attacks else "",
        _matched(factors),
        _mixed(study),
    ]
    return "\n\n".join(paragraph for paragraph in paragraphs if paragraph)


def attack_text(name: str, settings: Robustness) -> str:
    """An attack with its norm, steps and budgets.

    Example:
        >>> attack_text("pgd", Robustness(steps=10, eps=[0.01, 0.02]))
        'pgd is PGD (Linf, 10 steps) at ε 0.01, 0.02'
    """
    attack = settings.attack
    called = (
        ATTACKS.get(attack, attack)
        if isinstance(attack, str)
        else str(attack.get("class_path", attack)).rsplit(".", 1)[-1]
    )
    norm = {"linf": "Linf", "l2": "L2"}[settings.norm]
    steps = "" if settings.steps is None else f", {settings.steps} steps"
    images = "" if settings.num_images is None else f", on {settings.num_images} images"
    budgets = ", ".join(text for eps, text in budget_texts(settings.eps).items() if eps > 0)
    return f"{name} is {called} ({norm}{steps}) at ε {budgets}{images}"


def _images(images: Images) -> str:
    source = "scikit-learn's digits" if images.source == "digits" else images.source
    number = f"{images.num_train} training images" if images.num_train else "all training images"
    more = [number]
    if images.classes is not None:
        more.append(f"{len(images.classes)} classes")
    if images.image_size is not None:
        more.append(f"{images.image_size} x {images.image_size} pixels")
    if images.contrast != 1:
        more.append(f"contrast {images.contrast:g}")
    return f"Networks classify {source} ({', '.join(more)})."


def _responses(source: SimulatedResponses | NSDResponses | RecordedResponses | DissimilarityResponses) -> str:
    regions, subjects = ", ".join(source.regions), ", ".join(subjects_of(source))
    if isinstance(source, SimulatedResponses):
        return (
            f"Responses of {regions} are simulated (subject {subjects}, {source.num_voxels} voxels a region): the subject "
            "sees shifted copies of images set apart for it, under pixel noise."
        )
    if isinstance(source, NSDResponses):
        return f"Responses of {regions} are those of the Natural Scenes Dataset ({subjects}; {source.betas}, {source.space})."
    kind = "Dissimilarities" if isinstance(source, DissimilarityResponses) else "Responses"
    return f"{kind} of {regions} are recorded ({subjects})."


def _predictors(study: Study) -> str:
    given = study.predictors
    if not any(KINDS[study.kind_of(name)].needs in ("predictor", "manifolds") for name in study.conditions):
        return ""
    if given.kind == "file":
        return "Predictors of responses were given."
    how = (
        f"a network ({given.backbone}, {given.training.epochs} epochs)"
        if given.kind == "network"
        else "ridge regression"
    )
    again = ", a new one for every seed" if given.per_seed else ""
    return f"A predictor of each region's responses was fitted by {how}{again}."


def _networks(study: Study) -> str:
    training, backbone = study.training, study.network.backbone
    name = backbone if isinstance(backbone, str) else str(backbone.get("class_path", backbone))
    weights = f", from the weights {study.network.weights}" if study.network.weights else ""
    optimizer = f"{_OPTIMIZERS[training.optimizer]} (largest learning rate {training.lr:g}"
    return (
        f"Every network ({name}{weights}) was trained for {training.epochs} epochs of {optimizer}, {training.batch_size} "
        f"images a batch). Guidance has weight {study.weight:g} in the loss, guidance by manifolds "
        f"{study.manifold_weight:g}, where the condition says nothing else."
    )


def _seeds(study: Study) -> str:
    number = f"{len(study.seeds)} seeds" if len(study.seeds) > 1 else "one seed"
    if study.images.resplit:
        return (
            f"There are {number}: each draws new splits of the images and trains everything from the start. Splits of "
            "different seeds share images, so their spread is smaller than that of independent data."
        )
    return f"There are {number}: images are the same in all, weights and batches are drawn again for each."


def _matched(factors: pd.DataFrame) -> str:
    if factors.empty:
        return ""
    means = factors.groupby("condition", sort=False)["factor"].mean()
    listed = ", ".join(f"{condition} {factor:.2f}" for condition, factor in means.items())
    return (
        "The loss of every control is multiplied by a factor; with it, its gradient on the untrained network has the scale "
        f"of the treatment's gradient. Mean factors: {listed}."
    )


def _mixed(study: Study) -> str:
    kinds = {study.kind_of(name) for name in study.conditions}
    if "none" not in kinds or not kinds & set(GUIDED):
        return ""
    return (
        "Cross-entropy has the rest of the loss's weight beside guidance, and weight 1 without it: a comparison with none "
        "mixes guidance with step size; a comparison with another control of guidance does not."
    )
