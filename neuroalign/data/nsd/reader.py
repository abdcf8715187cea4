"""Reading single-trial responses of the wanted voxels from NSD's files."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from neuroalign.data.nsd.betas import read_session
from neuroalign.data.nsd.layout import FACTS, NUM_SHARED, TRIALS_PER_SESSION, NSDPaths
from neuroalign.data.nsd.maps import MAPS as MAPS  # its former place
from neuroalign.data.nsd.maps import map_names, read_maps
from neuroalign.data.nsd.maps import read_map as read_map
from neuroalign.data.nsd.opening import Access, open_nsd
from neuroalign.data.nsd.plausible import same_sessions, session_sum
from neuroalign.data.nsd.regions import Region, Roi, atlases_of, named
from neuroalign.data.nsd.tree import Tree, check_sessions
from neuroalign.data.nsd.trials import Design, read_behaviour
from neuroalign.data.nsd.voxels import Voxels, find_voxels
from neuroalign.data.responses import Responses
from neuroalign.moved import former_keywords
from neuroalign.version import __version__

__all__ = ["read_nsd"]


@former_keywords(cache="download_folder")
def read_nsd(
    root: str | os.PathLike[str] | Tree,
    subject: int,
    *,
    roi: Roi | Sequence[str] | Mapping[str, Roi],
    betas: str = "betas_fithrf_GLMdenoise_RR",
    space: str = "func1pt8mm",
    sessions: Sequence[int] | None = None,
    behaviour: bool | None = None,
    maps: Sequence[str] | None = None,
    **access: Unpack[Access],
) -> Responses:
    """Read single-trial responses of one subject's regions, in percent signal change.

    There is one row per trial; nothing is averaged or z-scored. A voxel that is invalid in a session (stored as 0 in all its
    750 trials; as NaN on fsaverage) is NaN there. From HDF5 files only the wanted voxels are read; of a nii.gz file one
    volume is in memory at a time.

    Args:
        root: The folder that holds ``nsddata``, ``nsddata_betas`` and ``nsddata_stimuli``, or a URL such as
            ``s3://natural-scenes-dataset``.
        subject: 1 to 8.
        roi: A region or several: V1, V2, V3, V4, VO, PHC, LO, TO (of Kastner2015, within nsdgeneral); an atlas
            ("nsdgeneral"); labels of one ("prf-visualrois:V1v|V1d", "floc-faces:FFA-1"), by name or number; unions with
            "|" and intersections with "&" ("streams:ventral & nsdgeneral"); the path of a mask (NIfTI, mgz, npy), or a
            mask as an array. A mapping gives regions your own names.
        betas: Version of the betas, by its folder's name, or "b1", "b2", "b3".
        space: "func1pt8mm", "func1mm", "fsaverage" or "nativesurface". On surfaces both hemispheres are read.
        sessions: 1-based session numbers, such as ``range(1, 11)``; None means all that are there, without a gap.
        behaviour: Whether to join the behaviour table (reaction time in ms, memory, ...); None joins it if it exists.
        maps: Maps to read, with one value per voxel, in percent where NSD stores percent; None means those of ``MAPS`` that
            exist (behind a URL only ncsnr).
        **access: ``accept_terms``, ``download_folder``, ``confirm`` and others, for a URL, as in :func:`open_nsd`.

    Returns:
        Responses whose ``stimulus`` is the 0-based row of the stimulus set, and whose ``noise_ceiling`` is that of a single
        trial (from ncsnr, if the file exists).

    Raises:
        FileNotFoundError: If the root is no NSD folder, or a file is missing; the message names it.
        NSDError: If a session is missing in the middle, a file is truncated or replaced in the meantime, or files contradict
            each other.
        ValueError: If a region, atlas, label or space is unknown; the message lists near matches.
        PermissionError: If the root is a URL and NSD's terms were not accepted.

    Warns:
        UserWarning: If two sessions hold the same responses.

    Example:
        >>> import tempfile
        >>> from neuroalign.data import read_nsd, write_simulated_nsd
        >>> root = tempfile.mkdtemp()
        >>> images, labels = np.random.rand(1100, 3, 8, 8), np.arange(1100) % 10
        >>> _ = write_simulated_nsd(root, images, labels, sessions=2)
        >>> read_nsd(root, subject=1, roi="V4")
        Responses(1500 rows, 80 voxels, 1100 stimuli, roi: V4)
        >>> read_nsd(root, subject=1, roi="Kastner2015:V1v|V1d & nsdgeneral", sessions=[2])
        Responses(750 rows, 80 voxels, 667 stimuli, roi: Kastner2015:V1v|V1d & nsdgeneral)

    Source:
        Allen et al. 2022, Nature Neuroscience, and the NSD Data Manual.
    """
    tree = open_nsd(root, **access)
    request = Request.plan(
        tree, subject, roi=roi, betas=betas, space=space, sessions=sessions, behaviour=behaviour, maps=maps
    )
    return request.read_all()


@dataclass(frozen=True)
class Request:
    """A planned reading: everything is checked, and read, except the betas themselves.

    Attributes:
        tree: The open NSD folder.
        paths: Paths of its files.
        voxels: The wanted voxels.
        design: Which image the subject saw when.
        sessions: The wanted sessions.
        stimulus: (trial,) row of the stimulus set, 0-based.
        shared: (trial,) whether the image is one of the thousand shared ones.
        behaviour: By name, (trial,).
        maps: By name, (voxel,).
        roi: The regions as the caller gave them.
        sources: The files of the betas, each with the values that differ once it has changed.
        side_files: The same for the other files: regions, design, behaviour and maps.
    """

    tree: Tree
    paths: NSDPaths
    voxels: Voxels
    design: Design
    sessions: list[int]
    stimulus: np.ndarray
    shared: np.ndarray
    behaviour: dict[str, np.ndarray]
    maps: dict[str, np.ndarray]
    roi: Any
    sources: list[dict[str, Any]]
    side_files: list[dict[str, Any]]

    @classmethod
    def plan(
        cls,
        tree: Tree,
        subject: int,
        *,
        roi: Roi | Sequence[str] | Mapping[str, Roi],
        betas: str = "betas_fithrf_GLMdenoise_RR",
        space: str = "func1pt8mm",
        sessions: Sequence[int] | None = None,
        behaviour: bool | None = None,
        maps: Sequence[str] | None = None,
        regions: Mapping[str, Region] | None = None,
    ) -> Request:
        """Check what was asked for, and read everything but the betas. Arguments and errors as in :func:`read_nsd`.

        ``regions`` is ``roi`` as :func:`neuroalign.data.nsd.regions.named` has read it; None means to read it here.
        """
        paths = NSDPaths(tree.root, subject, betas, space)
        wanted = check_sessions(tree, paths, sessions)
        join = tree.exists(paths.behaviour) if behaviour is None else behaviour
        names = map_names(tree, paths, maps)
        regions = named(roi) if regions is None else regions
        side = side_files(tree, paths, regions, behaviour=join, maps=names)
        tree.fetch((file for file in side if tree.exists(file)), "region, design and behaviour files")
        # Recorded before anything is read, so that a file that is replaced in the meantime differs from its record.
        records = [_record(tree, file, whole=True) for file in side if tree.exists(file)]
        voxels = find_voxels(tree, paths, regions)
        design = Design.read(tree, paths)
        design.check_anchors(paths, voxels.shape)
        trials = design.trials(wanted)
        stimulus = design.stimulus[trials]
        files = [file for session in wanted for file in tree.session_files(paths, session) or []]
        tree.prepare(files, len(voxels.index))
        sources = [_record(tree, file) for file in files]
        return cls(
            tree=tree,
            paths=paths,
            voxels=voxels,
            design=design,
            sessions=wanted,
            stimulus=stimulus,
            shared=design.ten_k[trials] <= NUM_SHARED,
            behaviour=read_behaviour(tree, paths, wanted, stimulus) if join else {},
            maps=read_maps(tree, paths, voxels, names),
            roi=roi if isinstance(roi, (str, list)) else [str(name) for name in dict.fromkeys(voxels.roi)],
            sources=sources,
            side_files=records,
        )

    def read(self, session: int) -> np.ndarray:
        """One session's responses, (750, voxel) in percent signal change."""
        return read_session(self.tree, self.paths, session, self.voxels)

    def read_all(self) -> Responses:
        """The single trials of all wanted sessions."""
        values = np.empty(self.shape, dtype=np.float32)
        for number, part in enumerate(self.read_each(stacklevel=5)):
            values[number * TRIALS_PER_SESSION : (number + 1) * TRIALS_PER_SESSION] = part
        return self.responses(values)

    def read_each(self, *, stacklevel: int = 3) -> Iterator[np.ndarray]:
        """The responses of one wanted session after the other, as :meth:`read` returns them; copies are warned of."""
        sums = {}
        for session in self.sessions:
            values = self.read(session)
            sums[session] = session_sum(values)
            yield values
            del values  # the next session is read into the memory of this one
        self.warn_of_copies(sums, stacklevel=stacklevel)

    @property
    def shape(self) -> tuple[int, int]:
        """Number of trials and of voxels."""
        return len(self.stimulus), len(self.voxels.index)

    def labels(self) -> Responses:
        """The container without values: zeros in their place, which take no memory."""
        return self.responses(np.broadcast_to(np.float32(0), self.shape))

    def split(self, name: str) -> np.ndarray:
        """The test images of a published split, as :func:`neuroalign.read_nsd_split` returns them."""
        return self.design.split(name, FACTS[self.paths.subject].sessions)

    def warn_of_copies(self, sums: Mapping[int, int | None], *, stacklevel: int = 3) -> None:
        """Warn if sessions hold the same responses, by their :func:`session_sum`."""
        if same := same_sessions(sums):
            warnings.warn(f"{self.tree.name(self.paths.beta_folder)}: {same}. Fetch them again", stacklevel=stacklevel)

    def files(self, session: int) -> list[Path]:
        """The files of a session."""
        return self.tree.session_files(self.paths, session) or []

    def responses(self, values: np.ndarray) -> Responses:
        """The container around the values (trial, voxel)."""
        ncsnr = self.maps.get("ncsnr")
        surface = self.paths.is_surface
        return Responses(
            values=values,
            stimulus=self.stimulus,
            session=np.repeat(np.array(self.sessions, dtype=np.int64), TRIALS_PER_SESSION),
            roi=self.voxels.roi,
            noise_ceiling=None if ncsnr is None else (ncsnr.astype(np.float64) ** 2 / (ncsnr.astype(np.float64) ** 2 + 1)
                                                      ).astype(np.float32),
            shared=self.shared,
            voxel_index=None if surface else self.voxels.index,
            repeats=np.ones(len(self.stimulus), dtype=np.int64),
            vertex_index=self.voxels.index if surface else None,
            behaviour=self.behaviour,
            maps=self.maps,
            info=self.info(),
        )  # fmt: skip

    def info(self) -> dict[str, Any]:
        """Where the responses come from: the source files, with the values that differ once they change, and the options."""
        affine = self.voxels.affine
        return {
            "dataset": "simulated subject in NSD's layout" if self.tree.simulated else "Natural Scenes Dataset",
            "simulated": self.tree.simulated,
            "root": str(self.tree),
            "subject": int(self.paths.subject),
            "space": self.paths.space,
            "betas": self.paths.betas,
            "roi": self.roi,
            "voxels": hashlib.sha256(np.ascontiguousarray(self.voxels.index).data).hexdigest(),
            "sessions": self.sessions,
            "unit": "percent signal change",
            "shape": list(self.voxels.shape),
            "affine": None if affine is None else affine.tolist(),
            "behaviour": sorted(self.behaviour),
            "maps": sorted(self.maps),
            "sources": self.sources,
            "side_files": self.side_files,
            "neuroalign": __version__,
        }


def side_files(
    tree: Tree,
    paths: NSDPaths,
    regions: Mapping[str, Region],
    *,
    behaviour: bool | None = None,
    maps: Sequence[str] | None = None,
) -> list[Path]:
    """All files that are read, except the betas: regions, design, behaviour and maps. Some of them may not exist."""
    labels = [f for atlas in atlases_of(regions) for f in paths.label_files(atlas) + paths.colour_tables(atlas)]
    join = tree.exists(paths.behaviour) if behaviour is None else behaviour
    found = [file for name in map_names(tree, paths, maps) for file in paths.map_files(name)]
    return list(dict.fromkeys([*labels, paths.expdesign, *([paths.behaviour] if join else []), *found]))


def _record(tree: Tree, file: Path, *, whole: bool = False) -> dict[str, Any]:
    state = tree.state(file, whole=whole)
    if whole:  # the checksum decides, so the time is not recorded
        state.pop("modified", None)
    return {"file": file.relative_to(tree.root).as_posix(), **state}
