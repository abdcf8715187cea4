"""Where the Natural Scenes Dataset keeps its files, and the facts of its subjects (Allen et al. 2022)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from neuroalign.types import unknown

__all__ = ["BETAS", "FACTS", "NSDError", "NSDPaths", "NUM_SHARED", "PSC_SCALE", "TRIALS_PER_SESSION"]

TRIALS_PER_SESSION = 750
"""Trials in each session of NSD."""
NUM_SHARED = 1000
"""Images of NSD that were assigned to all eight subjects."""
NUM_IMAGES = 73_000
PSC_SCALE = 300.0
"""Betas that are stored as int16 hold percent signal change times this."""
BETAS = {"b1": "betas_assumehrf", "b2": "betas_fithrf", "b3": "betas_fithrf_GLMdenoise_RR"}
"""Versions of the betas by the short names that the field uses for them."""
VOLUMES = ("func1pt8mm", "func1mm")
SURFACES = ("fsaverage", "nativesurface")
HEMISPHERES = ("lh", "rh")
FSAVERAGE = (163842, 163842)  # vertices of either hemisphere


class SubjectFacts(NamedTuple):
    """Published facts of a subject: shape of the func1pt8mm volume, number of sessions, number of voxels in nsdgeneral."""

    shape: tuple[int, int, int]
    sessions: int
    nsdgeneral: int


FACTS = {
    1: SubjectFacts((81, 104, 83), 40, 15724),
    2: SubjectFacts((82, 106, 84), 40, 14278),
    3: SubjectFacts((81, 106, 82), 32, 15226),
    4: SubjectFacts((85, 99, 80), 30, 13153),
    5: SubjectFacts((79, 97, 78), 40, 13039),
    6: SubjectFacts((85, 113, 83), 32, 17907),
    7: SubjectFacts((78, 95, 81), 40, 12682),
    8: SubjectFacts((80, 103, 78), 30, 14386),
}
"""Published facts of the eight subjects, for checks of an NSD folder."""


class NSDError(ValueError):
    """An NSD folder is incomplete, damaged or inconsistent."""


@dataclass(frozen=True)
class NSDPaths:
    """Where NSD keeps its files, for one subject, space and version of the betas.

    Args:
        root: The folder that holds ``nsddata``, ``nsddata_betas`` and ``nsddata_stimuli``.
        subject: 1 to 8.
        betas: A version, by its folder's name or as "b1", "b2", "b3".
        space: "func1pt8mm", "func1mm", "fsaverage" or "nativesurface".

    Raises:
        ValueError: If there is no such subject or space.
    """

    root: Path
    subject: int
    betas: str = "betas_fithrf_GLMdenoise_RR"
    space: str = "func1pt8mm"

    def __post_init__(self) -> None:
        object.__setattr__(self, "betas", BETAS.get(self.betas, self.betas))
        if isinstance(self.subject, bool) or not hasattr(self.subject, "__index__") or not 1 <= self.subject <= 8:
            raise ValueError(f"subject is a number from 1 to 8; got {self.subject!r}")
        if self.space not in VOLUMES + SURFACES:
            raise ValueError(unknown("space", self.space, VOLUMES + SURFACES))

    @property
    def is_surface(self) -> bool:
        """Whether values lie on vertices rather than in a volume."""
        return self.space in SURFACES

    @property
    def _name(self) -> str:
        return f"subj{self.subject:02d}"

    @property
    def expdesign(self) -> Path:
        """The design file: which image was shown when."""
        return self.root / "nsddata/experiments/nsd/nsd_expdesign.mat"

    @property
    def stimuli(self) -> Path:
        """The stimulus set: all images in one HDF5 file."""
        return self.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"

    @property
    def behaviour(self) -> Path:
        """The behaviour table: the subject's button presses, one row per trial."""
        return self.root / f"nsddata/ppdata/{self._name}/behav/responses.tsv"

    @property
    def anatomy(self) -> Path:
        """The folder of the subject's masks and maps in a volume space."""
        return self.root / f"nsddata/ppdata/{self._name}/{self.space}"

    @property
    def freesurfer(self) -> Path:
        """The folder of surfaces and their labels: fsaverage's for that space, otherwise the subject's."""
        return self.root / "nsddata/freesurfer" / ("fsaverage" if self.space == "fsaverage" else self._name)

    @property
    def beta_folder(self) -> Path:
        """The folder of the betas and their maps."""
        return self.root / f"nsddata_betas/ppdata/{self._name}/{self.space}/{self.betas}"

    def roi(self, atlas: str) -> Path:
        """A volume's region file, with both hemispheres."""
        return self.anatomy / f"roi/{atlas}.nii.gz"

    def label(self, atlas: str, hemisphere: str) -> Path:
        """A surface's region file."""
        return self.freesurfer / f"label/{hemisphere}.{atlas}.mgz"

    def surface(self, kind: str) -> tuple[Path, Path]:
        """The left and right surface: "inflated", "white", "pial", ..., or "sulc", its depth."""
        left, right = (self.freesurfer / f"surf/{h}.{kind}" for h in HEMISPHERES)
        return left, right

    def label_files(self, atlas: str) -> list[Path]:
        """The region files of the space: one for a volume, left and right for a surface."""
        return [self.label(atlas, h) for h in HEMISPHERES] if self.is_surface else [self.roi(atlas)]

    def colour_tables(self, atlas: str) -> list[Path]:
        """Files that may hold the names of an atlas's labels, in order of preference."""
        folders = dict.fromkeys((self._name, "fsaverage") if self.space != "fsaverage" else ("fsaverage", self._name))
        return [self.root / f"nsddata/freesurfer/{folder}/label/{atlas}.mgz.ctab" for folder in folders]

    def session(self, number: int, suffix: str, hemisphere: str = "") -> Path:
        """The file of one session's betas; ``suffix`` is "hdf5", "nii.gz" or "mgh", and surfaces need a hemisphere."""
        return self.beta_folder / f"{hemisphere and hemisphere + '.'}betas_session{number:02d}.{suffix}"

    def session_files(self, number: int) -> list[list[Path]]:
        """Files that may hold a session, in order of preference; a surface has a pair of files."""
        if self.space == "fsaverage":
            return [[self.session(number, "mgh", h) for h in HEMISPHERES]]
        if self.space == "nativesurface":
            return [[self.session(number, "hdf5", h) for h in HEMISPHERES]]
        return [[self.session(number, suffix)] for suffix in ("hdf5", "nii.gz")]

    def map_files(self, name: str) -> list[Path]:
        """Files of a map, with one value per voxel: "ncsnr", "R2", "meanbeta", "valid" and others."""
        if self.is_surface:
            return [self.beta_folder / f"{h}.{name}.mgh" for h in HEMISPHERES]
        anatomical = name.startswith(("valid", "brainmask", "mean_session", "onoffbeta", "aseg")) or name == "mean"
        return [(self.anatomy if anatomical else self.beta_folder) / f"{name}.nii.gz"]


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """A context in which every error of a damaged file becomes an NSDError that names it; detects a replaced file, too."""
    before = fingerprint(path)
    try:
        yield
    except (NSDError, FileNotFoundError, PermissionError, Warning):
        raise
    except Exception as error:  # nibabel, SciPy, h5py and isal raise errors of many kinds on damage
        said = " ".join(str(error).split()) or type(error).__name__
        raise NSDError(
            f"{path} can't be read: truncated, damaged or of another format ({said[:300]}). Fetch it again"
        ) from error
    if fingerprint(path) != before:
        raise NSDError(f"{path} was replaced while it was read: its values may be of two versions. Read it again")


def fingerprint(path: Path) -> tuple[int, int, int]:
    """Size, time of change and inode of a file, which differ once it was replaced."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        raise FileNotFoundError(f"no file {path}") from None
    return stat.st_size, stat.st_mtime_ns, stat.st_ino
