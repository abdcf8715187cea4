"""The metadata of a model card that the Hub reads: tags, task, license, and results that it can list."""

from __future__ import annotations

import re
from typing import Any

from neuroalign.sharing.card_facts import NSD, CardFacts
from neuroalign.sharing.kinds import ModelKind
from neuroalign.sharing.text import shown

__all__: list[str] = []

LONGEST_NAME = 96
"""Characters of a repository's name on the Hub."""


def metadata_of(kind: ModelKind, facts: CardFacts, title: str) -> dict[str, Any]:
    """The metadata, in plain values that YAML can hold; what is unknown is left out.

    Args:
        kind: What the model is.
        facts: What is known.
        title: Title of the card.
    """
    recorded_by = ["fmri"] if facts.dataset == NSD and not facts.simulated else []  # else the facts don't say how
    tags = ["neuroalign", "neuroscience", *recorded_by, slug(kind.name), *map(slug, facts.region or ())]
    tags += ["simulated-data"] if facts.simulated else []
    found: dict[str, Any] = {
        "library_name": "neuroalign",
        "pipeline_tag": kind.task,
        "tags": list(dict.fromkeys(tag for tag in [*tags, *map(shown, facts.tags)] if tag)),
        "license": None if facts.license is None else shown(facts.license),
        "datasets": list(map(shown, facts.datasets)) or None,
        "model-index": _index(kind.task, facts, title),
    }
    return {name: value for name, value in found.items() if value is not None}


def _index(task: str | None, facts: CardFacts, title: str) -> list[dict[str, Any]] | None:
    results = []
    if facts.accuracy is not None and facts.test_set:
        num_correct, num_images = facts.accuracy
        metric = {"type": "accuracy", "value": num_correct / num_images, "name": f"accuracy on {num_images} images"}
        results.append(_result("image-classification", facts.test_set, metric))
    if facts.correlation is not None and facts.dataset:
        num_images = facts.correlation[3]
        name = f"median Pearson r over voxels, {num_images} held-out images"
        metric = {"type": "pearsonr", "value": float(facts.correlation[0]), "name": name}
        results.append(_result(task or "image-feature-extraction", facts.dataset, metric))
    return [{"name": shown(title), "results": results}] if results else None


def _result(task: str, dataset: str, metric: dict[str, Any]) -> dict[str, Any]:
    return {
        "task": {"type": task},
        "dataset": {"type": slug(dataset).lower() or "unknown", "name": shown(dataset)},
        "metrics": [metric],
    }


def slug(text: Any) -> str:
    """Letters, digits, dots and underscores of a text, joined by hyphens: what the Hub takes in tags and names.

    Example:
        >>> slug("timm:vit_tiny / V4!")
        'timm-vit_tiny-V4'
    """
    return re.sub(r"\.{2,}", ".", re.sub(r"[^A-Za-z0-9._]+", "-", shown(text))).strip("-.")


def repository_name(kind: str, backbone: str | None, facts: CardFacts) -> str:
    """A name that says data, subject, region and network, as far as they are known.

    Example:
        >>> facts = CardFacts(dataset="Natural Scenes Dataset", subject=1, region="V4")
        >>> repository_name("neural predictor", "resnet18", facts)
        'nsd-subj01-V4-resnet18'
    """
    source = "simulated" if facts.simulated else "nsd" if facts.dataset == NSD else slug(facts.dataset or "")
    subject = f"subj{facts.subject:02d}" if isinstance(facts.subject, int) else slug(facts.subject or "")
    role = {"neural predictor": "", "guided network": "guided"}.get(kind, slug(kind))
    parts = [source, subject, slug("-".join(facts.region or ())), role, slug(backbone or "")]
    return "-".join(part for part in parts if part)[:LONGEST_NAME].strip("-.") or "model"
