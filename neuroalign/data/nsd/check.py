"""What a tree of NSD holds, what it lacks, and what in it is truncated or contradicts the rest."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from neuroalign.data.gzip_files import opened_image
from neuroalign.data.nsd.betas import read_session
from neuroalign.data.nsd.findings import CheckReport, Doubtful, Finding, attempt
from neuroalign.data.nsd.layout import (
    BETAS,
    FACTS,
    NUM_IMAGES,
    SURFACES,
    TRIALS_PER_SESSION,
    VOLUMES,
    NSDError,
    NSDPaths,
    readable,
)
from neuroalign.data.nsd.plausible import check_distinct, check_map, same_sessions, session_sum
from neuroalign.data.nsd.reader import MAPS, read_map
from neuroalign.data.nsd.regions import ATLASES
from neuroalign.data.nsd.reliability import compare_ncsnr
from neuroalign.data.nsd.stimuli import NSDImages
from neuroalign.data.nsd.tree import Tree, dataset_of, half_sessions
from neuroalign.data.nsd.trials import Design, read_behaviour
from neuroalign.data.nsd.voxels import Voxels, affine_of, load_atlas, load_map
from neuroalign.hdf5 import open_hdf5

_SAMPLE = 20  # voxels that are read through all sessions


def check_nsd(root: str | os.PathLike[str] | Tree, subjects: Sequence[int] | None = None) -> CheckReport:
    """Look through a tree: what is there, missing, truncated or inconsistent, for each subject, space and version.

    Files are held against their headers. gzip files (nii.gz, mgz) are read to their end and compared with their checksums,
    a few seconds a session of NSD's size; HDF5, nii and mgh files have none. A few voxels are read through every session:
    ncsnr is computed again from them, and two sessions that hold the same are found. Nothing is written.

    Args:
        root: The folder that holds ``nsddata``, ``nsddata_betas`` and ``nsddata_stimuli``.
        subjects: 1 to 8; default those with betas.

    Raises:
        FileNotFoundError: If there is no such folder, or it is no NSD tree.

    Example:
        >>> import tempfile
        >>> from neuroalign.data import write_simulated_nsd
        >>> root = tempfile.mkdtemp()
        >>> _ = write_simulated_nsd(root, np.random.rand(500, 3, 8, 8), np.arange(500) % 10)
        >>> report = check_nsd(root)
        >>> report.usable, report.of("error")
        (True, [])
    """
    tree = root if isinstance(root, Tree) else Tree(root)
    found = {
        int(m[1]) for n in tree.names(tree.root / "nsddata_betas/ppdata") if (m := re.fullmatch(r"subj(0[1-8])", n))
    }
    report = CheckReport(str(tree), tree.simulated)
    report.findings.extend(_shared(tree))
    for subject in sorted(found) if subjects is None else subjects:
        report.findings.extend(_subject(tree, subject))
    if not found and subjects is None:
        report.findings.append(Finding("error", None, "betas", "no subject has betas under nsddata_betas/ppdata"))
    return report


def _shared(tree: Tree) -> Iterator[Finding]:
    def brick() -> str:
        shape = NSDImages(tree).shape
        if shape[0] != NUM_IMAGES:
            raise NSDError(f"imgBrick holds {shape[0]} images, not {NUM_IMAGES}")
        if shape[1:] != (425, 425, 3) and not tree.simulated:
            raise Doubtful(f"imgBrick has images of {shape[1:]}; NSD's are (425, 425, 3)")
        return f"{shape[0]} images of {shape[1]}x{shape[2]}"

    yield attempt(None, "image brick", brick)


def _subject(tree: Tree, subject: int) -> Iterator[Finding]:
    design: Design | None = None
    try:
        design = Design.read(tree, NSDPaths(tree.root, subject))
        yield Finding("ok", subject, "design", "30,000 trials; 73k ids, 10k ids and shared images agree")
    except (NSDError, OSError) as error:  # without it no trial has an image
        yield Finding("error", subject, "design", str(error))
    most: list[int] = []
    for space in (*VOLUMES, *SURFACES):
        folder = NSDPaths(tree.root, subject, space=space).beta_folder.parent
        versions = [NSDPaths(tree.root, subject, n, space) for n in tree.names(folder) if (folder / n).is_dir()]
        if versions:
            shape, findings = _regions(tree, versions[0])
            yield from findings
        for paths in versions:
            yield from _version(tree, paths, design, shape)
            most = max(most, tree.sessions(paths), key=len)
    paths = NSDPaths(tree.root, subject)
    if not most:
        yield Finding(
            "error", subject, "betas", f"no session of any space and version in {paths.beta_folder.parents[1]}"
        )
    if design is not None and most:
        known = design
        yield attempt(subject, "behaviour", lambda: _behaviour(tree, paths, most, known))


def _version(tree: Tree, paths: NSDPaths, design: Design | None, shape: tuple[int, ...] | None) -> Iterator[Finding]:
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


def _regions(tree: Tree, paths: NSDPaths) -> tuple[tuple[int, ...] | None, list[Finding]]:
    """The shape that the region files agree on, and what is wrong with them."""
    shapes: dict[str, tuple[int, ...]] = {}
    labels: dict[str, np.ndarray] = {}
    findings = []
    what = f"{paths.space}: regions"
    for atlas in ATLASES:
        files = paths.label_files(atlas)
        if not all(tree.exists(f) for f in files):
            continue
        try:
            found = load_atlas(tree, paths, atlas)
            labels[atlas], shapes[atlas] = found.labels, found.shape
        except (NSDError, OSError) as error:
            findings.append(Finding("error", paths.subject, what, str(error)))
    try:
        check_distinct(labels, {atlas: paths.label_files(atlas)[0] for atlas in labels})
    except NSDError as error:
        findings.append(Finding("error", paths.subject, what, str(error)))
    if not shapes:
        findings.append(Finding("missing", paths.subject, what, f"no atlas's files are there: {', '.join(ATLASES)}"))
        return None, findings
    if len(set(shapes.values())) > 1:
        findings.append(Finding("error", paths.subject, what, f"atlases differ in shape: {shapes}"))
        return None, findings
    shape = next(iter(shapes.values()))
    fact = FACTS[paths.subject].shape
    if paths.space == "func1pt8mm" and not tree.simulated and shape != fact:
        text = f"volumes have shape {shape}; in NSD subject {paths.subject}'s is {fact}"
        findings.append(Finding("warning", paths.subject, what, text))
    lacking = [atlas for atlas in ("Kastner2015", "nsdgeneral") if atlas not in shapes]
    if lacking:
        findings.append(
            Finding("missing", paths.subject, what, f"{lacking} are not there; the named regions need both")
        )
    findings.append(Finding("ok", paths.subject, what, f"{', '.join(shapes)}; shape {shape}"))
    return shape, findings


def _length(tree: Tree, path: Path) -> str:
    """Hold a file's length against what its header says; of a damaged HDF5 file, say if a nii.gz would do."""
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
            with open_hdf5(path) as file:  # HDF5 refuses a file that is shorter than it was when it was closed
                dataset_of(file, "betas", path)
            return "whole"
        image: Any = nibabel.load(path)
        proxy = image.dataobj
        expected = proxy.offset + int(np.prod(proxy.shape, dtype=np.int64)) * proxy.dtype.itemsize
        if path.suffix == ".gz":
            with path.open("rb") as file:
                file.seek(-4, os.SEEK_END)
                length = int.from_bytes(file.read(4), "little")  # of the content, modulo 2**32
            if length != expected % 2**32:
                raise NSDError(f"{path} is truncated: its last bytes are not those of a gzip file of {expected} bytes")
        elif path.stat().st_size < expected:
            raise NSDError(f"{path} is truncated: {path.stat().st_size} bytes of {expected}")
    return "whole"


def _sampled(
    tree: Tree, paths: NSDPaths, sessions: list[int], shape: tuple[int, ...] | None
) -> tuple[tuple[Voxels, np.ndarray] | None, list[Finding]]:
    """A few voxels inside the brain through every session, and what was seen on the way.

    A gzip file is read to its end for them, and so compared with its checksum.
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
    """Voxels with a noise ceiling, spread over the brain."""
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


def _behaviour(tree: Tree, paths: NSDPaths, sessions: list[int], design: Design) -> str:
    stimulus = design.stimulus[design.trials(sessions)]
    read_behaviour(tree, paths, sessions, stimulus)
    return f"names the same images as the design in {len(stimulus)} trials"
