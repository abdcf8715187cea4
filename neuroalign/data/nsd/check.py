"""What a tree of NSD holds, what it lacks, and what in it is truncated or contradicts the rest."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from neuroalign.data.nsd.betas import read_session
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
from neuroalign.data.nsd.reader import read_map
from neuroalign.data.nsd.regions import ATLASES
from neuroalign.data.nsd.reliability import compare_ncsnr
from neuroalign.data.nsd.stimuli import NSDImages
from neuroalign.data.nsd.tree import Tree, half_sessions
from neuroalign.data.nsd.trials import Design, read_behaviour
from neuroalign.data.nsd.voxels import Voxels, affine_of, load_map

_SAMPLE = 20  # voxels that are read through all sessions


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        level: "ok", "missing" (something is not there; the rest can be used), "warning" (can be used, but look at it) or
            "error" (damaged, inconsistent, or without it nothing can be read).
        subject: 1 to 8, or None for what all share.
        what: What was looked at, such as "func1pt8mm b3 betas".
        message: What was found.
    """

    level: str
    subject: int | None
    what: str
    message: str


@dataclass(frozen=True)
class CheckReport:
    """Findings of :func:`check_nsd`.

    Attributes:
        root: The tree.
        simulated: Whether it was written by :func:`neuroalign.write_simulated_nsd`.
        findings: In the order of subjects.
    """

    root: str
    simulated: bool
    findings: list[Finding] = field(default_factory=list)

    @property
    def usable(self) -> bool:
        """Whether something can be read, and nothing is damaged or contradictory."""
        return not self.of("error") and any(f.subject is not None for f in self.of("ok"))

    def of(self, level: str) -> list[Finding]:
        """Findings of a level."""
        return [f for f in self.findings if f.level == level]

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "root": self.root,
            "simulated": self.simulated,
            "usable": self.usable,
            "findings": [asdict(f) for f in self.findings],
        }


def check_nsd(root: str | os.PathLike[str] | Tree, subjects: Sequence[int] | None = None) -> CheckReport:
    """Look through a tree: what is there, missing, truncated or inconsistent, for each subject, space and version.

    HDF5, NIfTI and MGH files are held against their headers, gzip files against the length in their last bytes; a few
    voxels are read through every session, and ncsnr is computed again from them. Nothing is written.

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


class _Doubtful(Exception):
    """Raised by a check that found something to look at."""


def _attempt(subject: int | None, what: str, check: Callable[[], str]) -> Finding:
    """Run a check that returns what it found; its errors become findings."""
    try:
        return Finding("ok", subject, what, check())
    except _Doubtful as doubt:
        return Finding("warning", subject, what, str(doubt))
    except FileNotFoundError as error:
        return Finding("missing", subject, what, str(error))
    except NSDError as error:
        return Finding("error", subject, what, str(error))


def _shared(tree: Tree) -> Iterator[Finding]:
    def brick() -> str:
        shape = NSDImages(tree).shape
        if shape[0] != NUM_IMAGES:
            raise NSDError(f"imgBrick holds {shape[0]} images, not {NUM_IMAGES}")
        if shape[1:] != (425, 425, 3) and not tree.simulated:
            raise _Doubtful(f"imgBrick has images of {shape[1:]}; NSD's are (425, 425, 3)")
        return f"{shape[0]} images of {shape[1]}x{shape[2]}"

    yield _attempt(None, "image brick", brick)


def _subject(tree: Tree, subject: int) -> Iterator[Finding]:
    design: Design | None = None
    try:
        design = Design.read(tree, NSDPaths(tree.root, subject))
        yield Finding("ok", subject, "design", "30,000 trials; 73k ids, 10k ids and shared images agree")
    except (NSDError, FileNotFoundError) as error:  # without it no trial has an image
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
        stimulus = design.stimulus[design.trials(most)]
        yield _attempt(subject, "behaviour", lambda: _behaviour(tree, paths, most, stimulus))


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
        if (finding := _attempt(subject, f"{label}: {file.name}", lambda f=file: _length(tree, f))).level != "ok"
    ]
    yield from damaged
    if shape is None or damaged or gaps:
        return
    sample, finding = _sampled(tree, paths, sessions, shape)
    yield finding
    if design is not None:
        try:
            design.check_anchors(paths, shape)
        except NSDError as error:
            yield Finding("error", subject, "design", str(error))
    if sample is not None and design is not None:
        yield _attempt(subject, f"{label}: ncsnr", lambda: _ncsnr(tree, paths, sessions, *sample, design))


def _label(paths: NSDPaths) -> str:
    short = {name: alias for alias, name in BETAS.items()}
    return f"{paths.space} {short.get(paths.betas, paths.betas)}"


def _regions(tree: Tree, paths: NSDPaths) -> tuple[tuple[int, ...] | None, list[Finding]]:
    """The shape that the region files agree on, and what is wrong with them."""
    shapes: dict[str, tuple[int, ...]] = {}
    findings = []
    what = f"{paths.space}: regions"
    for atlas in ATLASES:
        files = paths.label_files(atlas)
        if not all(tree.exists(f) for f in files):
            continue
        try:
            maps = [load_map(f) for f in files]
            shapes[atlas] = tuple(m.size for m in maps) if paths.is_surface else maps[0].shape
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
            import h5py

            with h5py.File(path) as file:  # HDF5 refuses a file that is shorter than it was when it was closed
                if "betas" not in file:
                    raise NSDError(f"{path} holds no dataset 'betas'")
            return "whole"
        proxy: Any = nibabel.load(path).dataobj
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
    tree: Tree, paths: NSDPaths, sessions: list[int], shape: tuple[int, ...]
) -> tuple[tuple[Voxels, np.ndarray] | None, Finding]:
    """A few voxels inside the brain through every session, and what was seen on the way."""
    what = f"{_label(paths)}: betas"
    try:
        voxels = _sample_voxels(tree, paths, shape)
        if voxels is None:
            return None, Finding("missing", paths.subject, what, "no ncsnr or nsdgeneral says which voxels to look at")
        in_hdf5 = all(f.suffix != ".gz" for s in sessions for f in tree.session_files(paths, s) or [])
        read = sessions if in_hdf5 else sessions[:1]  # a nii.gz must be decompressed whole
        values = np.concatenate([read_session(tree, paths, s, voxels) for s in read])
    except (NSDError, FileNotFoundError) as error:
        return None, Finding("error", paths.subject, what, str(error))
    invalid = int(np.isnan(values).all(0).sum())
    text = f"{len(sessions)} sessions" + (
        f"; {invalid} of {values.shape[1]} voxels looked at are invalid" if invalid else ""
    )
    if len(read) < len(sessions):
        return None, Finding("ok", paths.subject, what, f"{text}; nii.gz: values of the first session looked at only")
    return (voxels, values), Finding("ok", paths.subject, what, text)


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
        raise _Doubtful(f"{text}: computed from other sessions than these {len(sessions)}, or from another version")
    raise NSDError(f"{paths.map_files('ncsnr')[0]} {text}: it is another version's, or another subject's")


def _behaviour(tree: Tree, paths: NSDPaths, sessions: list[int], stimulus: np.ndarray) -> str:
    read_behaviour(tree, paths, sessions, stimulus)
    return f"names the same images as the design in {len(stimulus)} trials"
