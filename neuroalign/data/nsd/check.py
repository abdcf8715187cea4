"""A check of an NSD folder: what it holds, what is missing, and what is truncated or contradictory."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence

import numpy as np

from neuroalign.data.nsd.check_betas import check_betas
from neuroalign.data.nsd.findings import CheckReport, Doubtful, Finding, attempt
from neuroalign.data.nsd.layout import (
    FACTS,
    NUM_IMAGES,
    SURFACES,
    VOLUMES,
    NSDError,
    NSDPaths,
)
from neuroalign.data.nsd.plausible import check_distinct
from neuroalign.data.nsd.regions import ATLASES
from neuroalign.data.nsd.stimuli import NSDImages
from neuroalign.data.nsd.tree import Tree
from neuroalign.data.nsd.trials import Design, read_behaviour
from neuroalign.data.nsd.voxels import load_atlas

__all__ = ["check_nsd"]


def check_nsd(root: str | os.PathLike[str] | Tree, subjects: Sequence[int] | None = None) -> CheckReport:
    """Check an NSD folder: what is there, missing, truncated or inconsistent, for each subject, space and version.

    Sizes of files are compared with their headers. gzip files (nii.gz, mgz) are read to their end and compared with their
    checksums, which takes a few seconds per session of NSD's size; HDF5, nii and mgh files have no checksums. A few voxels
    are read from every session: ncsnr is computed again from them, and equal sessions are found. Nothing is written.

    Args:
        root: The folder that holds ``nsddata``, ``nsddata_betas`` and ``nsddata_stimuli``.
        subjects: 1 to 8; None means those with betas.

    Raises:
        FileNotFoundError: If there is no such folder, or it is no NSD folder.

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
    def images() -> str:
        shape = NSDImages(tree).shape
        if shape[0] != NUM_IMAGES:
            raise NSDError(f"imgBrick holds {shape[0]} images, not {NUM_IMAGES}")
        if shape[1:] != (425, 425, 3) and not tree.simulated:
            raise Doubtful(f"imgBrick has images of {shape[1:]}; NSD's are (425, 425, 3)")
        return f"{shape[0]} images of {shape[1]}x{shape[2]}"

    yield attempt(None, "stimulus set", images)


def _subject(tree: Tree, subject: int) -> Iterator[Finding]:
    design: Design | None = None
    try:
        design = Design.read(tree, NSDPaths(tree.root, subject))
        yield Finding("ok", subject, "design", "30,000 trials; 73k ids, 10k ids and shared images agree")
    except (NSDError, OSError) as error:  # without the design no trial has an image
        yield Finding("error", subject, "design", str(error))
    most: list[int] = []
    for space in (*VOLUMES, *SURFACES):
        folder = NSDPaths(tree.root, subject, space=space).beta_folder.parent
        versions = [NSDPaths(tree.root, subject, n, space) for n in tree.names(folder) if (folder / n).is_dir()]
        if versions:
            shape, findings = _regions(tree, versions[0])
            yield from findings
        for paths in versions:
            yield from check_betas(tree, paths, design, shape)
            most = max(most, tree.sessions(paths), key=len)
    paths = NSDPaths(tree.root, subject)
    if not most:
        yield Finding(
            "error", subject, "betas", f"no session of any space and version in {paths.beta_folder.parents[1]}"
        )
    if design is not None and most:
        known = design
        yield attempt(subject, "behaviour", lambda: _behaviour(tree, paths, most, known))


def _regions(tree: Tree, paths: NSDPaths) -> tuple[tuple[int, ...] | None, list[Finding]]:
    """The shape that the region files agree on, and the findings about them."""
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


def _behaviour(tree: Tree, paths: NSDPaths, sessions: list[int], design: Design) -> str:
    stimulus = design.stimulus[design.trials(sessions)]
    read_behaviour(tree, paths, sessions, stimulus)
    return f"names the same images as the design in {len(stimulus)} trials"
