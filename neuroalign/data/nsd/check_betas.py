"""Whether the betas of one space and version are whole, and agree with the design and with ncsnr."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from neuroalign.data.gzip_files import opened_image
from neuroalign.data.nsd.betas import read_session
from neuroalign.data.nsd.findings import Doubtful, Finding, attempt
from neuroalign.data.nsd.layout import BETAS, FACTS, TRIALS_PER_SESSION, NSDError, NSDPaths, readable
from neuroalign.data.nsd.maps import MAPS, read_map
from neuroalign.data.nsd.plausible import check_map, same_sessions, session_sum
from neuroalign.data.nsd.reliability import compare_ncsnr
from neuroalign.data.nsd.tree import Tree, dataset_of, half_sessions
from neuroalign.data.nsd.trials import Design
from neuroalign.data.nsd.voxels import Voxels, affine_of, load_map
from neuroalign.hdf5 import open_hdf5

__all__: list[str] = []

_SAMPLE = 20  # voxels that are read through all sessions


def check_betas(tree: Tree, paths: NSDPaths, design: Design | None, shape: tuple[int, ...] | None) -> Iterator[Finding]:
    """Check the betas of one subject, space and version.

    Args:
        tree: The open NSD folder.
        paths: Paths of its files.
        design: The subject's design; None if it can't be read.
        shape: The shape that the space's region files agree on; None if they don't agree.

    Yields:
        The findings.
    """
    label = _label(paths)
    subject = paths.subject
    sessions = tree.sessions(paths)
    halves = half_sessions(tree, paths)
    if not sessions:
        yield Finding("missing", subject, f"{label}: betas", f"no session is complete{halves}")
        return
    if halves:
        yield Finding("error", subject, f"{label}: betas", halves.removeprefix("; "))
    total = FACTS[subject].sessions
    gaps = sorted(set(range(1, sessions[-1] + 1)) - set(sessions))
    if gaps:
        yield Finding("error", subject, f"{label}: betas",
                      f"sessions {gaps} are missing in the middle: every later trial would get the wrong image")  # fmt: skip
    elif len(sessions) < total and not tree.simulated:
        yield Finding("missing", subject, f"{label}: betas", f"sessions {sessions[-1] + 1} to {total} are not there")
    damaged = [
        finding
        for session in sessions
        for file in tree.session_files(paths, session) or []
        if (finding := attempt(subject, f"{label}: {file.name}", partial(_length, tree, file))).level != "ok"
    ]
    yield from damaged
    names = {finding.what.removeprefix(f"{label}: ") for finding in damaged}
    sound = [s for s in sessions if not names & {file.name for file in tree.session_files(paths, s) or []}]
    for name in MAPS:
        if all(tree.exists(f) for f in paths.map_files(name)):
            finding = attempt(subject, f"{label}: {name}", partial(_map, tree, paths, name))
            if finding.level != "ok":
                yield finding
    sample, findings = _sampled(tree, paths, sound, shape)
    yield from (f for f in findings if f.level != "ok" or not (damaged or gaps))
    if design is not None and shape is not None:
        try:
            design.check_anchors(paths, shape)
        except NSDError as error:
            yield Finding("error", subject, "design", str(error))
    if sample is not None and design is not None and not (damaged or gaps):
        yield attempt(subject, f"{label}: ncsnr", lambda: _ncsnr(tree, paths, sessions, *sample, design))


def _map(tree: Tree, paths: NSDPaths, name: str) -> str:
    check_map(read_map(tree, paths, name), name, paths.map_files(name)[0])
    return "whole"


def _label(paths: NSDPaths) -> str:
    short = {name: alias for alias, name in BETAS.items()}
    return f"{paths.space} {short.get(paths.betas, paths.betas)}"


def _length(tree: Tree, path: Path) -> str:
    """Compare a file's length with its header. For a damaged HDF5 file, mention a .nii.gz of the same session, if any."""
    try:
        return _whole(path)
    except NSDError as error:
        other = path.with_suffix(".nii.gz")
        if path.suffix != ".hdf5" or not tree.exists(other):
            raise
        raise NSDError(f"{error}. {other.name} is there as well: without the HDF5 file it is read instead") from error


def _whole(path: Path) -> str:
    import nibabel

    with readable(path):
        if path.suffix == ".hdf5":
            with open_hdf5(path) as file:  # HDF5 refuses a file that is shorter than when it was closed
                dataset_of(file, "betas", path)
            return "whole"
        image: Any = nibabel.load(path)
        proxy = image.dataobj
        expected = proxy.offset + int(np.prod(proxy.shape, dtype=np.int64)) * proxy.dtype.itemsize
        if path.suffix == ".gz":
            with path.open("rb") as file:
                file.seek(-4, os.SEEK_END)
                length = int.from_bytes(file.read(4), "little")  # length of the content, modulo 2**32
            if length != expected % 2**32:
                raise NSDError(f"{path} is truncated: its last bytes are not those of a gzip file of {expected} bytes")
        elif path.stat().st_size < expected:
            raise NSDError(f"{path} is truncated: {path.stat().st_size} bytes of {expected}")
    return "whole"


def _sampled(
    tree: Tree, paths: NSDPaths, sessions: list[int], shape: tuple[int, ...] | None
) -> tuple[tuple[Voxels, np.ndarray] | None, list[Finding]]:
    """A few voxels inside the brain in every session, and the findings about them.

    For these voxels a gzip file is read to its end, and so compared with its checksum.
    """
    what = f"{_label(paths)}: betas"
    voxels, findings = None, []
    try:
        voxels = None if shape is None else _sample_voxels(tree, paths, shape)
        if voxels is None:
            text = "no ncsnr or nsdgeneral says which voxels to look at"
            findings.append(Finding("missing", paths.subject, what, text))
    except (NSDError, OSError) as error:
        findings.append(Finding("error", paths.subject, what, str(error)))
    parts: dict[int, np.ndarray] = {}
    for session in sessions:
        try:
            if voxels is not None:
                parts[session] = read_session(tree, paths, session, voxels)
            else:
                for file in tree.session_files(paths, session) or []:
                    _to_the_end(file)
        except (NSDError, OSError) as error:
            findings.append(Finding("error", paths.subject, what, str(error)))
    if same := same_sessions({session: session_sum(part) for session, part in parts.items()}):
        findings.append(Finding("error", paths.subject, what, f"{same}. Fetch them again"))
    if voxels is None or not parts or len(parts) < len(sessions):
        return None, findings
    values = np.concatenate(list(parts.values()))
    invalid = int(np.isnan(values).all(0).sum())
    if not same:
        text = f"; {invalid} of {values.shape[1]} voxels looked at are invalid" if invalid else ""
        findings.append(Finding("ok", paths.subject, what, f"{len(sessions)} sessions{text}"))
    return (voxels, values), findings


def _to_the_end(path: Path) -> None:
    if path.suffix == ".gz":
        with readable(path), opened_image(path):
            pass


def _sample_voxels(tree: Tree, paths: NSDPaths, shape: tuple[int, ...]) -> Voxels | None:
    """Some voxels with a noise ceiling, spread over the brain."""
    files = paths.map_files("ncsnr")
    if all(tree.exists(f) for f in files):
        inside = np.isfinite(read_map(tree, paths, "ncsnr"))
    else:
        files = paths.label_files("nsdgeneral")
        if not all(tree.exists(f) for f in files):
            return None
        inside = (
            np.concatenate([load_map(f).ravel() for f in files]) > 0 if paths.is_surface else load_map(files[0]) > 0
        )
    expected = (sum(shape),) if paths.is_surface else shape
    if inside.shape != expected:
        raise NSDError(f"{files[0]} has shape {inside.shape}, the region files {expected}")
    places = np.argwhere(inside)
    places = places[np.linspace(0, len(places) - 1, min(_SAMPLE, len(places))).astype(int)]
    if paths.is_surface:
        right = places[:, 0] >= shape[0]
        return Voxels(np.column_stack([right, places[:, 0] - right * shape[0]]), np.full(len(places), ""), shape, None)
    return Voxels(places, np.full(len(places), ""), shape, affine_of(files[0]))


def _ncsnr(tree: Tree, paths: NSDPaths, sessions: list[int], voxels: Voxels, values: np.ndarray, design: Design) -> str:
    stored = read_map(tree, paths, "ncsnr")
    if tree.simulated:
        return "there; the simulated subject's true one, not an estimate"
    session = np.repeat(sessions, TRIALS_PER_SESSION)
    result = compare_ncsnr(voxels.of(stored), values, design.stimulus[design.trials(sessions)], session)
    if result is None:
        return "there; too few repeats in these sessions to compute it again"
    difference, count = result
    if difference < 1e-3:
        return f"agrees with that of the betas in {count} voxels looked at"
    text = f"differs from that of the betas by up to {difference:.3f} in {count} voxels looked at"
    if len(sessions) < FACTS[paths.subject].sessions:
        raise Doubtful(f"{text}: computed from other sessions than these {len(sessions)}, or from another version")
    raise NSDError(f"{paths.map_files('ncsnr')[0]} {text}: it is another version's, or another subject's")
