"""The Natural Scenes Dataset on disk (Allen et al. 2022): its paths, headers, labels and index bases, and no one else's.

Index bases, where most misreadings of NSD come from: sessions are 1-based; trials run through all sessions, 750 each;
``masterordering`` and ``subjectim`` hold 1-based ids; rows of the image brick, and so ``Responses.stimulus``, are
0-based.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from neuroalign.data.responses import Responses
from neuroalign.types import unknown

TRIALS_PER_SESSION = 750
NUM_SHARED = 1000
PSC_SCALE = 300.0  # volumes store percent signal change times 300, as int16
REGIONS: dict[str, tuple[int, ...]] = {
    "V1": (1, 2),
    "V2": (3, 4),
    "V3": (5, 6),
    "V4": (7,),
    "VO": (8, 9),
    "PHC": (10, 11),
    "TO": (12, 13),
    "LO": (14, 15),
}
"""Labels of each region in Kastner2015 (Wang et al. 2015). The paper uses all but V3."""


class NSDError(ValueError):
    """A tree of NSD files that is incomplete, damaged or inconsistent."""


@dataclass(frozen=True)
class NSDPaths:
    """Where NSD keeps its files, for one subject, space and version of the betas."""

    root: Path
    subject: int
    betas: str = "betas_fithrf_GLMdenoise_RR"
    space: str = "func1pt8mm"

    @property
    def expdesign(self) -> Path:
        """Which image was shown when."""
        return self.root / "nsddata/experiments/nsd/nsd_expdesign.mat"

    @property
    def stimuli(self) -> Path:
        """The image brick."""
        return self.root / "nsddata_stimuli/stimuli/nsd/nsd_stimuli.hdf5"

    @property
    def anatomy(self) -> Path:
        """Masks and maps of the subject."""
        return self.root / f"nsddata/ppdata/subj{self.subject:02d}/{self.space}"

    def roi(self, name: str) -> Path:
        """A region file, both hemispheres in one."""
        return self.anatomy / f"roi/{name}.nii.gz"

    @property
    def beta_folder(self) -> Path:
        """Responses, and their noise ceiling."""
        return self.root / f"nsddata_betas/ppdata/subj{self.subject:02d}/{self.space}/{self.betas}"

    def session(self, number: int, suffix: str) -> Path:
        """One session's responses, ``suffix`` "hdf5" or "nii.gz"."""
        return self.beta_folder / f"betas_session{number:02d}.{suffix}"

    def find_session(self, number: int) -> Path | None:
        """One session's file, hdf5 before nii.gz, or None."""
        for suffix in ("hdf5", "nii.gz"):
            if self.session(number, suffix).exists():
                return self.session(number, suffix)
        return None

    def sessions(self) -> list[int]:
        """Numbers of the sessions on disk."""
        if not self.beta_folder.is_dir():
            return []
        names = (re.fullmatch(r"betas_session(\d+)\.(hdf5|nii\.gz)", p.name) for p in self.beta_folder.iterdir())
        return sorted({int(m[1]) for m in names if m})


def read_nsd(
    root: str | os.PathLike[str],
    subject: int,
    *,
    roi: str | Sequence[str],
    betas: str = "betas_fithrf_GLMdenoise_RR",
    space: str = "func1pt8mm",
    sessions: Sequence[int] | None = None,
) -> Responses:
    """Single-trial responses of one subject's regions, in percent signal change.

    One row per trial; nothing is averaged or z-scored. A voxel that is invalid in a session (stored as 0 in all its 750
    trials) is NaN there. Regions are those of Kastner2015, without voxels outside nsdgeneral. Only the wanted voxels are
    read from HDF5 files; a nii.gz is decompressed whole.

    Args:
        root: The folder that holds ``nsddata``, ``nsddata_betas`` and ``nsddata_stimuli``.
        subject: 1 to 8.
        roi: A region or several, of V1, V2, V3, V4, VO, PHC, LO, TO.
        betas: Version of the betas.
        space: A volume space, "func1pt8mm" or "func1mm".
        sessions: 1-based session numbers, such as ``range(1, 11)``; default all on disk, which must have no gap.

    Returns:
        Responses with ``stimulus`` the 0-based row of the image brick, and ``noise_ceiling`` that of a single trial
        (from ncsnr, where the file exists).

    Raises:
        FileNotFoundError: If the root is no NSD tree, or a file is missing (named).
        NSDError: If a session is missing in the middle, a file is truncated, or shapes contradict each other.
        ValueError: If the region is unknown; the message lists near matches.

    Example:
        >>> import tempfile
        >>> from neuroalign.data import read_nsd, write_simulated_nsd
        >>> root = tempfile.mkdtemp()
        >>> _ = write_simulated_nsd(root, np.random.rand(1100, 3, 8, 8), np.arange(1100) % 10, sessions=2)
        >>> read_nsd(root, subject=1, roi="V4")
        Responses(1500 rows, 80 voxels, 1100 stimuli, roi: V4)

    Source:
        Allen et al. 2022, Nature Neuroscience, and the NSD Data Manual.
    """
    paths = NSDPaths(Path(root), subject, betas, space)
    rois = [roi] if isinstance(roi, str) else list(roi)
    for name in rois:
        if name not in REGIONS:
            raise ValueError(unknown("roi", name, REGIONS))
    if isinstance(sessions, int):
        raise TypeError(f"sessions is a sequence of 1-based numbers: range(1, {sessions + 1}) for the first {sessions}")
    _check_tree(paths)
    wanted = _wanted_sessions(paths, sessions)
    voxel_index, names, shape = _region_voxels(paths, rois)
    stimulus, shared = _trials(paths, wanted)
    values = np.concatenate([_read_session(paths, s, voxel_index, shape) for s in wanted])
    return Responses(
        values=values,
        stimulus=stimulus,
        session=np.repeat(np.array(wanted, dtype=np.int64), TRIALS_PER_SESSION),
        roi=names,
        noise_ceiling=_noise_ceiling(paths, voxel_index, shape),
        shared=shared,
        voxel_index=voxel_index,
        repeats=np.ones(len(values), dtype=np.int64),
    )


def _check_tree(paths: NSDPaths) -> None:
    if not paths.root.is_dir():
        raise FileNotFoundError(f"no folder {paths.root}")
    if not (paths.root / "nsddata").is_dir():
        raise FileNotFoundError(
            f"{paths.root} is not the root of an NSD tree: it holds no folder 'nsddata' (next to 'nsddata_betas' and "
            "'nsddata_stimuli')"
        )
    if paths.space not in ("func1pt8mm", "func1mm"):
        raise ValueError(f"space must be 'func1pt8mm' or 'func1mm'; got {paths.space!r}")
    if not isinstance(paths.subject, (int, np.integer)) or not 1 <= paths.subject <= 8:
        raise ValueError(f"subject is a number from 1 to 8; got {paths.subject!r}")
    if not paths.beta_folder.is_dir():
        have = sorted(p.name for p in paths.beta_folder.parent.glob("*")) or "none"
        subjects = sorted(p.name for p in (paths.root / "nsddata_betas/ppdata").glob("subj*")) or "none"
        raise FileNotFoundError(
            f"no betas at {paths.beta_folder}; versions there: {have}; subjects in the tree: {subjects}"
        )


def _wanted_sessions(paths: NSDPaths, sessions: Sequence[int] | None) -> list[int]:
    found = paths.sessions()
    if sessions is None:
        if not found:
            raise FileNotFoundError(f"no betas_sessionNN.hdf5 or .nii.gz in {paths.beta_folder}")
        wanted = list(range(1, found[-1] + 1))
    else:
        wanted = [int(s) for s in sessions]
        if not wanted or min(wanted) < 1 or len(set(wanted)) != len(wanted):
            raise ValueError(f"sessions are 1-based and different from each other; got {wanted}")
    missing = [s for s in wanted if s not in found]
    if missing:
        raise NSDError(
            f"session {missing[0]} is missing in {paths.beta_folder}"
            + (f" (and {missing[1:]})" if missing[1:] else "")
            + ": reading on would give every later trial the wrong image. Fetch it, or name the sessions you have"
        )
    return wanted


def _load_volume(path: Path) -> np.ndarray:
    import nibabel

    if not path.exists():
        raise FileNotFoundError(f"no file {path}")
    with readable(path):
        return np.asanyarray(nibabel.load(path).dataobj)


@contextmanager
def readable(path: Path) -> Iterator[None]:
    """Turn what libraries raise on a damaged file into an error that names it."""
    import nibabel

    damaged = (OSError, EOFError, zlib.error, gzip.BadGzipFile, nibabel.filebasedimages.ImageFileError)
    try:
        yield
    except FileNotFoundError:
        raise
    except damaged as error:
        raise NSDError(
            f"{path} can't be read: truncated, damaged or of another format ({error}). Fetch it again"
        ) from error


def _region_voxels(paths: NSDPaths, rois: Sequence[str]) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Places (voxel, 3) of the regions' voxels in the volume, their regions' names, and the volume's shape."""
    labels = _load_volume(paths.roi("Kastner2015"))
    general = _load_volume(paths.roi("nsdgeneral"))
    if labels.shape != general.shape:
        raise NSDError(f"Kastner2015 has shape {labels.shape}, nsdgeneral {general.shape} in {paths.anatomy / 'roi'}")
    labels = np.rint(labels).astype(int)
    places, names = [], []
    for roi in rois:
        place = np.argwhere(np.isin(labels, REGIONS[roi]) & (general > 0))
        if not len(place):
            inside = set(labels[general > 0].tolist())
            have = [name for name, numbers in REGIONS.items() if inside & set(numbers)]
            raise NSDError(f"subject {paths.subject} has no voxel of {roi} inside nsdgeneral; it has {', '.join(have)}")
        places.append(place)
        names += [roi] * len(place)
    return np.concatenate(places), np.array(names), labels.shape


def _trials(paths: NSDPaths, sessions: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Row of the image brick (0-based), and whether the image is shared, of every trial of the sessions in turn."""
    from scipy.io import loadmat

    if not paths.expdesign.exists():
        raise FileNotFoundError(f"no file {paths.expdesign}")
    try:
        design = loadmat(paths.expdesign, variable_names=["masterordering", "subjectim"])
        # MATLAB stores the smallest unsigned type; subtracting from that would wrap.
        ordering = design["masterordering"].ravel().astype(np.int64)
        images = design["subjectim"].astype(np.int64)[paths.subject - 1]
    except (KeyError, ValueError, TypeError, OSError, zlib.error) as error:
        raise NSDError(f"{paths.expdesign} is not NSD's design file, or is damaged ({error})") from error
    first = (np.array(sessions) - 1) * TRIALS_PER_SESSION
    trial = (first[:, None] + np.arange(TRIALS_PER_SESSION)).ravel()
    if trial.max() >= len(ordering):
        raise NSDError(f"session {max(sessions)} lies beyond the {len(ordering)} trials of {paths.expdesign}")
    ten_k = ordering[trial]  # 1-based; the first thousand are shared
    return images[ten_k - 1] - 1, ten_k <= NUM_SHARED


def _read_session(paths: NSDPaths, session: int, voxels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """One session's responses (750, voxel) in percent signal change."""
    path = paths.find_session(session)
    assert path is not None
    raw = _read_hdf5(path, voxels, shape) if path.suffix == ".hdf5" else _read_nifti(path, voxels, shape)
    values = raw.astype(np.float32) / np.float32(PSC_SCALE)
    values[:, (raw == 0).all(0)] = np.nan  # volumes hold no NaN: an invalid voxel is 0 throughout
    return values


def _read_hdf5(path: Path, voxels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    import h5py

    expected = (TRIALS_PER_SESSION, *shape[::-1])  # MATLAB wrote (x, y, z, trial); HDF5 for Python reverses the axes
    with readable(path), h5py.File(path) as file:
        if "betas" not in file:
            raise NSDError(f"{path} holds no dataset 'betas'")
        betas = file["betas"]
        _check_betas(path, betas.shape, expected, betas.dtype)
        out = np.empty((TRIALS_PER_SESSION, len(voxels)), dtype=np.int16)
        for column, (x, y, z) in enumerate(voxels):  # a chunk of the file is one voxel's session
            out[:, column] = betas[:, z, y, x]
    return out


def _read_nifti(path: Path, voxels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    import nibabel

    with readable(path):
        proxy = nibabel.load(path).dataobj
        if (proxy.slope, proxy.inter) != (1, 0):
            raise NSDError(f"{path} scales its values by {proxy.slope}; NSD's files don't, so its units are unknown")
        _check_betas(path, proxy.shape, (*shape, TRIALS_PER_SESSION), proxy.dtype)
        x, y, z = voxels.T
        return np.asanyarray(proxy)[x, y, z].T


def _check_betas(path: Path, got: tuple[int, ...], expected: tuple[int, ...], dtype: Any) -> None:
    if tuple(got) != tuple(expected):
        raise NSDError(f"{path} has shape {tuple(got)}; with this subject's region files it must be {tuple(expected)}")
    if np.dtype(dtype) != np.int16:
        raise NSDError(f"{path} holds {dtype}; NSD's volumes hold int16, percent signal change times 300")


def _noise_ceiling(paths: NSDPaths, voxels: np.ndarray, shape: tuple[int, ...]) -> np.ndarray | None:
    """A single trial's noise ceiling from ncsnr: ncsnr^2 / (ncsnr^2 + 1)."""
    path = paths.beta_folder / "ncsnr.nii.gz"
    if not path.exists():
        return None
    ncsnr = _load_volume(path)
    if ncsnr.shape != shape:
        raise NSDError(f"{path} has shape {ncsnr.shape}, the region files {shape}")
    squared = ncsnr[tuple(voxels.T)].astype(np.float64) ** 2
    return (squared / (squared + 1)).astype(np.float32)


class NSDImages:
    """The image brick, read when asked: ``images[rows]`` gives uint8 (stimulus, height, width, channel).

    The file is opened once in each process and never travels between them.

    Args:
        root: The folder that holds ``nsddata_stimuli``.

    Raises:
        FileNotFoundError: If the brick is not there.
        NSDError: If it can't be read, or doesn't have the brick's layout.
    """

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.path = NSDPaths(Path(root), 1).stimuli
        if not self.path.exists():
            raise FileNotFoundError(f"no file {self.path}")
        self._open: tuple[int, Any] | None = None
        shape = self._brick().shape
        if len(shape) != 4 or shape[3] != 3:
            raise NSDError(f"imgBrick of {self.path} has shape {shape}, not (image, height, width, 3)")
        self.shape: tuple[int, ...] = shape

    def _brick(self) -> Any:
        import h5py

        if self._open is None or self._open[0] != os.getpid():
            with readable(self.path):
                file = h5py.File(self.path)
                if "imgBrick" not in file:
                    raise NSDError(f"{self.path} holds no dataset 'imgBrick'")
                self._open = (os.getpid(), file["imgBrick"])
        return self._open[1]

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: Sequence[int] | np.ndarray) -> np.ndarray:
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"images are 0 to {len(self) - 1}; got {rows.min()} to {rows.max()}")
        unique, inverse = np.unique(rows, return_inverse=True)  # HDF5 wants increasing rows
        with readable(self.path):
            return self._brick()[unique][inverse]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_open": None}
