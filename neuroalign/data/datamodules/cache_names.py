"""Names of cache files that differ wherever options or source files differ."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from neuroalign.data.nsd.layout import NSDPaths
from neuroalign.data.nsd.reader import side_files
from neuroalign.data.nsd.regions import Region, is_file
from neuroalign.data.nsd.tree import Tree

__all__: list[str] = []


def short_hash(options: Mapping[str, Any]) -> str:
    """Twelve hexadecimal digits of a hash of options.

    Example:
        >>> short_hash({"space": "func1mm"}) == short_hash({"space": "fsaverage"})
        False
    """
    return hashlib.sha256(json.dumps(options, sort_keys=True, default=plain).encode()).hexdigest()[:12]


def plain(value: Any) -> Any:
    """An option as values that JSON can hold. The hash of its content stands for a mask, whether an array or a file."""
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, range)):
        return [plain(v) for v in value]
    if isinstance(value, np.ndarray):
        return hashlib.sha256(np.ascontiguousarray(value).data).hexdigest()
    if isinstance(value, os.PathLike) or (isinstance(value, str) and is_file(value)):
        return hashlib.sha256(Path(value).read_bytes()).hexdigest()
    return value


def source_states(tree: Tree, paths: NSDPaths, regions: Mapping[str, Region]) -> list[tuple[str, dict[str, Any]]]:
    """The files that a subject's responses are read from, each with what differs once the file has changed."""
    betas = [file for number in tree.sessions(paths) for file in tree.session_files(paths, number) or []]
    side = [file for file in side_files(tree, paths, regions) if tree.exists(file)]
    states = [(file.name, tree.state(file)) for file in betas]
    return states + [(file.name, tree.state(file, whole=not tree.is_remote)) for file in side]
