"""Model cards: what a model is, what it was made from, how good it is, and what it is for."""

from __future__ import annotations

import platform
import re
import zlib
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.resources import files
from operator import attrgetter
from typing import Any

from neuroalign.config import description_of, is_description
from neuroalign.functional.intervals import wilson
from neuroalign.sharing.card_facts import NSD, CardFacts
from neuroalign.sharing.citation import cited
from neuroalign.sharing.hub import is_name
from neuroalign.sharing.kinds import ModelKind
from neuroalign.sharing.metadata import metadata_of
from neuroalign.sharing.own_class import own_class
from neuroalign.sharing.text import escaped, redacted_bibtex, shown
from neuroalign.version import __version__

__all__: list[str] = []

NOT_GIVEN = "not given"
_PACKAGES = ("torch", "torchvision", "timm")
_MARK = re.compile(r"\n<!-- neuroalign wrote this card: ([0-9a-f]{8}) -->\n\Z")
_NSD_TERMS = (
    "Whoever uses the Natural Scenes Dataset signs its Data Access Agreement first: it is for research and education, may "
    "not be sold, neither it nor parts of it may be passed on to others, and publications cite Allen et al. 2022. This "
    "folder holds no responses and no images, but numbers that were fitted to them. Whether these may be passed on is not "
    "decided by this card: read the agreement before you do."
)
_LIMITATIONS = {
    True: ["The responses are simulated: the model shows that the method runs, and nothing about a brain."],
    False: ["The responses are those of the subjects and regions named above; others may respond otherwise."],
    None: ["Whether the responses were recorded or simulated is not given: don't take them for either."],
}
_RESEARCH = "It is a research model: not for diagnosis, nor for statements about single persons."


def model_card(model: Any, facts: CardFacts, title: str, repo_id: str | None = None) -> str:
    """The card of a model as Markdown, with the metadata that the Hub reads in front.

    Args:
        model: An object of a class with :class:`neuroalign.sharing.HubMixin`.
        facts: What is known about it.
        title: Title, if the facts have no name.
        repo_id: Its name on the Hub; None if it has none yet.
    """
    import yaml
    from jinja2 import Environment, StrictUndefined

    kind: ModelKind = model._model_kind
    title = shown(facts.name or title)
    metadata = metadata_of(kind, facts, title)
    environment = Environment(
        undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, lstrip_blocks=True, autoescape=False
    )
    environment.filters["text"] = escaped
    environment.globals["table"] = _table
    template = environment.from_string((files("neuroalign.sharing") / "card.md.j2").read_text(encoding="utf-8"))
    is_nsd = facts.dataset == NSD and not facts.simulated
    citation = "\n\n".join(filter(None, [cited(facts), redacted_bibtex(facts.citation or "")]))
    text = template.render(
        metadata=yaml.safe_dump(metadata, sort_keys=False, allow_unicode=True, width=1000),
        title=title,
        facts=facts,
        kind=f"A {kind.name} of [neuroalign](https://pypi.org/project/neuroalign/): {kind.purpose}",
        code=_code(model, kind, repo_id),
        own_part=_own_part(model, kind),
        fence="`" * max([3, *(len(run) + 1 for run in re.findall(r"`+", citation))]),
        model_rows=[("Class", type(model).__name__), *model._card_rows().items(), ("Numbers stored", _count(model))],
        data_rows=_data_rows(facts),
        terms=facts.terms or _terms(facts, is_nsd),
        result_rows=_result_rows(kind, facts),
        robustness=_robustness_rows(facts.robustness or ()),
        controls=_control_rows(facts.controls or ()),
        intended_use=kind.intended_use,
        limitations=[*([facts.limitations] if facts.limitations else []), *_LIMITATIONS[facts.simulated], _RESEARCH],
        versions=_versions(),
        citation=citation,
    )
    return f"{text}\n<!-- neuroalign wrote this card: {zlib.crc32(text.encode()):08x} -->\n"


def is_as_written(card: str) -> bool:
    """Whether a card is as :func:`model_card` wrote it: nobody has edited it since.

    Example:
        >>> is_as_written("# My own card")
        False
    """
    found = _MARK.search(card)
    return found is not None and zlib.crc32(card[: found.start()].encode()) == int(found[1], 16)


def _code(model: Any, kind: ModelKind, repo_id: str | None) -> str:
    name, own = type(model).__name__, _own_part(model, kind)
    where = f'"{repo_id if repo_id is not None and is_name(repo_id) else "path/to/this/folder"}"'
    start = [f"from neuroalign import {name}"]
    if own is not None and kind.own_part is not None and not own[1]:
        imported, made = own_class(type(attrgetter(kind.own_part)(model)), own[0])
        start += imported
        where += f", backbone={made}"
    return "\n".join(start) + "\n\n" + kind.usage.format(load=f"{name}.from_pretrained({where})")


def _own_part(model: Any, kind: ModelKind) -> tuple[str, bool] | None:
    """Name of the user's own class inside a model, and whether it is registered; None if all is neuroalign's."""
    if kind.own_part is None:
        return None
    config, part = description_of(model), attrgetter(kind.own_part)(model)
    described = None if config is None else config["init_args"].get(kind.own_part.rpartition(".")[2])
    if config is not None and not (is_description(described) and not described["class_path"].startswith("neuroalign.")):
        return None
    name = type(part).__name__
    return name if name.isidentifier() and name.isascii() else "Backbone", config is not None


def _count(model: Any) -> str:
    return f"{sum(tensor.numel() for tensor in model.state_dict().values()):,}"


def _terms(facts: CardFacts, is_nsd: bool) -> str:
    if facts.simulated:
        return f"The responses are simulated. Terms of the images: {NOT_GIVEN}."
    return _NSD_TERMS if is_nsd else NOT_GIVEN


def _data_rows(facts: CardFacts) -> list[tuple[str, Any]]:
    origin = {True: "simulated", False: "recorded", None: NOT_GIVEN}[facts.simulated]
    rows = {
        "Data set": facts.dataset,
        "Recorded or simulated": origin,
        "Subject": facts.subject,
        "Region": ", ".join(facts.region or ()) or None,
        "Responses": facts.responses,
        "Voxels": facts.num_voxels,
        "Training images": facts.num_training_images,
        "Hash of the training images": facts.training_hash,
        "Held-out images": facts.num_held_out_images,
        "Hash of the held-out images": facts.held_out_hash,
        "Noise ceiling of the held-out responses (median over voxels)": None
        if facts.noise_ceiling is None
        else f"{facts.noise_ceiling:.3f}",
    }
    return [(name, NOT_GIVEN if value is None else value) for name, value in rows.items()]


def _result_rows(kind: ModelKind, facts: CardFacts) -> list[tuple[str, Any]]:
    rows: dict[str, str | None] = {}
    if "correlation" in kind.measured_by or facts.correlation is not None:
        rows["Held-out correlation (median Pearson r over voxels)"] = None
        if facts.correlation is not None:
            r, low, high, num_images, num_voxels = facts.correlation
            rows["Held-out correlation (median Pearson r over voxels)"] = (
                f"{r:.3f} (95 % interval {_interval(low, high)} over {num_images} images), {num_voxels} voxels"
            )
    if "accuracy" in kind.measured_by or facts.accuracy is not None:
        rows["Accuracy"] = None
        if facts.accuracy is not None:
            num_correct, num_images = facts.accuracy
            interval = _interval(*wilson(num_correct, num_images))
            rows["Accuracy"] = f"{num_correct / num_images:.3f} (95 % interval {interval} over {num_images} images)"
        rows["Test images"] = facts.test_set
        rows["Robustness"] = "below" if facts.robustness else None
        rows["Controls"] = "below" if facts.controls else None
    if not rows:
        rows["Results"] = None
    return [(name, NOT_GIVEN if value is None else value) for name, value in rows.items()]


def _robustness_rows(rows: Iterable[Mapping[str, Any]]) -> list[Sequence[Any]]:
    return [
        (
            row["perturbation"], row["norm"] or "", _budget(row["eps"]),
            f"{row['accuracy']:.3f}", _interval(row["low"], row["high"]), row["num_images"], row["settings"] or NOT_GIVEN,
        )
        for row in rows
    ]  # fmt: skip


def _control_rows(rows: Iterable[Mapping[str, Any]]) -> list[Sequence[Any]]:
    return [
        (
            row["treatment"],
            row["control"],
            f"{row['difference']:+.3f}",
            _interval(row["low"], row["high"], "+"),
            row["over"],
        )
        for row in rows
    ]


def _budget(eps: float | None) -> str:
    if eps is None:
        return ""
    levels = eps * 255
    return f"{round(levels)}/255" if 0 < levels <= 255 and abs(levels - round(levels)) < 1e-4 else f"{eps:.4g}"


def _interval(low: float, high: float, sign: str = "") -> str:
    return f"{low:{sign}.3f} to {high:{sign}.3f}" if low == low and high == high else "unknown"


def _table(header: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    lines = [header, ["---"] * len(header)]
    cells = [[escaped(cell) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in [*lines, *cells])


def _versions() -> str:
    found = {"neuroalign": __version__, "Python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return ", ".join(f"{name} {number}" for name, number in found.items())
