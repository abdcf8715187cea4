"""What a finished run or study used, read from the records in its folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from neuroalign.citations.sources import ATTACKS, CLASSES, MEASURES, SUITES, TOPICS

__all__: list[str] = []

RECORDS = ("study.json", "study.yaml", "record.json", "config.yaml", "config.json")
"""Of a study, ``neuroalign evaluate``, ``neuroalign fit`` and ``save_pretrained``; the first that a folder has is read."""

FILES = (".json", ".yaml", ".yml", ".ckpt", ".safetensors")
"""Endings of the records, of a task's checkpoints and of saved networks."""

_TAKES = (
    "give the folder of a study, of evaluate, of fit or of save_pretrained, a .ckpt or .safetensors file, or names "
    "(neuroalign cite pgd cka)"
)

_STUDY_ATTACKS = {
    "pgd": "PGD",
    "fgsm": "FGSM",
    "apgd": "APGD",
    "square": "SquareAttack",
    "autoattack": "AutoAttack",
    "deepfool": "DeepFool",
}
_NAMED_BY = ("measure", "loss", "dataset", "source", "attack", "head", "kind")  # settings whose value is a name
_EVALUATIONS = ("corruptions", "masking", "shape_bias", "geometry")
_MADE = re.compile(r"\b([A-Z]\w+)\(")  # an object as it is printed


def records_of(path: Path) -> list[Path]:
    """The records of a folder, or of the folders inside it.

    Args:
        path: The folder of a run, study or model, or a file with one of the endings ``FILES``.

    Raises:
        FileNotFoundError: If there is no such folder or file, or none of the records.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "record.json").write_text("{}")
        >>> [record.name for record in records_of(folder)]
        ['record.json']
    """
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise FileNotFoundError(f"there is no {'file' if path.suffix in FILES else 'folder'} {path}")
    for folders in ([path], sorted(p for p in path.rglob("*") if p.is_dir())):
        found = [next((f / name for name in RECORDS if _is_ours(f / name)), None) for f in folders]
        if any(found):
            return [record for record in found if record is not None]
    raise FileNotFoundError(f"the folder {path} holds none of {', '.join(RECORDS)}: {_TAKES}")


def _is_ours(path: Path) -> bool:
    """Whether it is a file, and if many programs write files of this name, one of neuroalign's."""
    if path.name != "config.json" or not path.is_file():
        return path.is_file()
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return False
    return isinstance(found, dict) and found.get("library_name") == "neuroalign"


def read(record: Path) -> Any:
    """The content of a record, in plain values; of a checkpoint or a saved network, what describes it.

    Raises:
        ValueError: If it is no JSON or YAML, no checkpoint of plain values, or another kind of file; the message names it.
    """
    if record.suffix == ".ckpt":
        return _settings_in_checkpoint(record)
    if record.suffix == ".safetensors":
        return _description_in_safetensors(record)
    if record.suffix not in FILES:
        raise ValueError(f"{record} is no record of a run: {_TAKES}")
    try:
        text = record.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        raise ValueError(f"{record} is no text, as a record is") from None
    if record.suffix == ".json":
        try:
            return json.loads(text)
        except ValueError as error:
            raise ValueError(f"{record} is no JSON: {error}") from None
    import yaml

    from neuroalign.yaml_files import mistake_of

    try:
        return yaml.load(text, _plain_loader())
    except yaml.YAMLError as error:
        raise ValueError(f"{record} {mistake_of(error)}") from None


def _settings_in_checkpoint(path: Path) -> Any:
    import pickle

    import torch

    from neuroalign.tensor_files import check_checkpoint

    check_checkpoint(path)
    try:  # weights stay on the disk
        found = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except (pickle.UnpicklingError, EOFError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} is no checkpoint of a task, or it is damaged; nothing in it was run") from error
    if not isinstance(found, Mapping) or "state_dict" not in found:
        raise ValueError(f"{path} is no checkpoint of a task: it says nothing of data or methods")
    return found.get("hyper_parameters", {})


def _description_in_safetensors(path: Path) -> Any:
    from neuroalign.tensor_files import load_tensors

    described = load_tensors(path, "weights with a description")[1].get("neuroalign")
    if described is None:
        raise ValueError(f"{path} was not saved by neuroalign: it says nothing of data or methods")
    try:
        return json.loads(described)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path}: its description is no JSON ({str(error)[:80]})") from error


def names_in(content: Any) -> list[str]:
    """Names of what a record says was used, each a name of ``neuroalign.citations.sources``.

    Args:
        content: Plain values, from :func:`read`.

    Example:
        >>> names_in({"model": {"class_path": "neuroalign.perturbations.PGD"}, "loss": "cka"})
        ['PGD', 'cka']
    """
    return list(dict.fromkeys(_found(content, "")))


def _found(value: Any, within: str) -> Iterator[str]:
    if isinstance(value, Mapping):
        if isinstance(value.get("class_path"), str):
            yield from _class(value["class_path"].rsplit(".", 1)[-1])
        if "study" in value and isinstance(value["study"], Mapping):  # beside it stand versions, stages and a command
            yield from _found(value["study"], "")
            return
        yield from _of_study(value)
        if "suite" in value:  # a record of evaluate says what ran by what it holds
            yield from (name for name in ("corruptions", "masking") if value.get(name))
        for name, inner in value.items():
            if not (name == "dataset" and value.get("simulated") is True):  # as a model card says it
                yield from _found(inner, str(name))
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from _found(inner, within)
    elif isinstance(value, str):
        yield from _of_text(value, within)


def _class(name: str) -> Iterator[str]:
    if name in CLASSES or name in ATTACKS:
        yield name


def _of_text(value: str, within: str) -> Iterator[str]:
    for name in _MADE.findall(value):
        yield from _class(name)
    if within == "suite":
        yield from SUITES.get(value, ())
    elif within == "attack" and value in _STUDY_ATTACKS:
        yield _STUDY_ATTACKS[value]
    elif within in _NAMED_BY and (value in MEASURES or value in TOPICS or value.casefold() in TOPICS):
        yield value


def _of_study(settings: Mapping[str, Any]) -> Iterator[str]:
    """What a study's settings say by being there."""
    if not isinstance(settings.get("evaluations"), Mapping):
        return
    evaluations = settings["evaluations"]
    for attack in (evaluations.get("robustness") or {}).values():
        if isinstance(attack, Mapping) and "attack" not in attack:
            yield "PGD"  # the default
    yield from (name for name in _EVALUATIONS if evaluations.get(name) is not None)
    if evaluations.get("rsa") is not None:
        yield "rsa"
    if evaluations.get("transfer") is not None or evaluations.get("smoothness") is not None:
        yield "PGD"
    comparisons = settings.get("comparisons") or []
    if comparisons:
        yield "comparisons"
    if any(isinstance(each, Mapping) and each.get("equivalence") is not None for each in comparisons):
        yield "equivalence"
    if settings.get("hierarchy"):
        yield "hierarchy"
    if any("adversarial" in str(name) for name in settings.get("conditions") or {}):
        yield "adversarial"


def keys_in_paths(content: Any, known: list[str]) -> list[str]:
    """Keys of references that a text of the record holds, such as the folder of a data set that is called so.

    Args:
        content: Plain values, from :func:`read`.
        known: Keys of all references.

    Example:
        >>> keys_in_paths({"file": "data/v4_cowley2023/avg.npy"}, ["cowley2023", "allen2022"])
        ['cowley2023']
    """
    words = set(re.findall(r"[a-z]+\d+", json.dumps(content, default=str)))
    named = [key for name in ("cifar10", "cifar100") if name in words for key in TOPICS[name]]
    return list(dict.fromkeys([*named, *(key for key in known if key in words)]))


def _plain_loader() -> Any:
    """A loader of plain values: what a configuration names by a tag is left out, and nothing is imported."""
    import yaml

    class Plain(yaml.SafeLoader):
        pass

    Plain.add_multi_constructor("", lambda loader, suffix, node: None)
    return Plain
