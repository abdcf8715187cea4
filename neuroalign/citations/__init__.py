"""References in BibTeX for the software, the data and the methods that a run or study used."""

from __future__ import annotations

import os
import re
from functools import lru_cache
from pathlib import Path

from neuroalign.citations import records as _records
from neuroalign.citations.sources import ALWAYS as _ALWAYS
from neuroalign.citations.sources import all_names as _all_names
from neuroalign.names import unknown as _unknown
from neuroalign.version import __version__ as _version

__all__ = ["bibtex", "keys_of", "list_references"]


def bibtex(*names: str) -> str:
    """Entries of BibTeX.

    Args:
        *names: Keys of references (``"madry2018"``), or names of what they are for, in upper or lower case: a measure, an
            attack, a class, a data set, a statistic (``"cka"``, ``"PGD"``, ``"nsd"``). None means the software and the paper
            whose method it implements.

    Returns:
        The entries, in the order of the names, each once.

    Raises:
        ValueError: If a name is unknown (with near matches), or has no reference of its own.

    Example:
        >>> print(bibtex("pgd").splitlines()[0])
        @inproceedings{madry2018,
    """
    entries = _entries()
    return "\n".join(entries[key] for key in dict.fromkeys(key for name in names or _ALWAYS for key in _keys(name)))


def keys_of(path: str | os.PathLike[str]) -> list[str]:
    """Keys of the references for what a run or study used.

    Args:
        path: Folder of a study, of ``neuroalign evaluate``, of ``neuroalign fit`` or of ``save_pretrained``, a folder that
            holds such folders, or one of their records (``study.json``, ``study.yaml``, ``record.json``, ``config.yaml``,
            ``config.json``); or a task's checkpoint (``.ckpt``) or a saved network (``.safetensors``).

    Returns:
        The software and the paper first; then data, losses, attacks, geometry and statistics as the records name them. What
        a record doesn't name, such as a data set of your own, is not among them.

    Raises:
        FileNotFoundError: If there is no such folder or file, or no record in it.
        ValueError: If a record is damaged, or the file is of another kind.

    Example:
        >>> import tempfile
        >>> path = Path(tempfile.mkdtemp()) / "config.yaml"
        >>> _ = path.write_text("data: {class_path: neuroalign.NSDDataModule}")
        >>> keys_of(path)
        ['neuroalign', 'shao2024', 'allen2022']
    """
    keys = list(_ALWAYS)
    for record in _records.records_of(Path(path)):
        content = _records.read(record)
        keys += [key for name in _records.names_in(content) for key in _all_names()[name.casefold()]]
        keys += _records.keys_in_paths(content, list(_entries()))
    return list(dict.fromkeys(keys))


def list_references() -> dict[str, str]:
    """Keys of all references, and the author and year of each.

    Example:
        >>> list_references()["madry2018"]
        'Madry et al. 2018: Towards Deep Learning Models Resistant to Adversarial Attacks'
    """
    return {key: _short(entry) for key, entry in _entries().items()}


def _keys(name: str) -> tuple[str, ...]:
    entries, names = _entries(), _all_names()
    if name.casefold() in entries:
        return (name.casefold(),)
    if name.casefold() not in names:
        raise ValueError(_unknown("reference", name, {*entries, *names}))
    if not names[name.casefold()]:
        raise ValueError(f"{name!r} is a textbook formula, which has no reference of its own here")
    return names[name.casefold()]


@lru_cache(maxsize=1)
def _entries() -> dict[str, str]:
    text = (Path(__file__).parent / "references.bib").read_text(encoding="utf-8")
    entries = [entry.strip() + "\n" for entry in re.split(r"\n\s*\n", text) if entry.strip()]
    found = {entry[entry.index("{") + 1 : entry.index(",")]: entry for entry in entries}
    found["neuroalign"] = found["neuroalign"].replace("\n}", f",\n  version = {{{_version}}}\n}}")
    return found


def _short(entry: str) -> str:
    fields = dict(re.findall(r"^  (\w+) = \{(.*)\},?$", entry, re.MULTILINE))
    authors = [name.split(",")[0].strip("{} ") for name in fields.get("author", "").split(" and ") if name]
    authors = [re.sub(r"\{\\\W?(\w+)\}", r"\1", name) for name in authors]
    if len(authors) > 2 or "others" in authors:
        authors = [f"{authors[0]} et al."]
    title = re.sub(r"[{}]", "", fields.get("title", ""))
    head = " ".join(part for part in (" & ".join(authors), fields.get("year", "")) if part)
    return ": ".join(part for part in (head, title or fields.get("note", "")) if part)
