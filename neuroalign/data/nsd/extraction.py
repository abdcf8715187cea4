"""One file with everything needed for training from an NSD folder, read session by session to bound memory."""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import os
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from neuroalign.checksums import DamagedFileError, stamp_hdf5
from neuroalign.data.nsd.extracted import differences, load_part, save_part
from neuroalign.data.nsd.layout import TRIALS_PER_SESSION, NSDError, fingerprint
from neuroalign.data.nsd.opening import Access, open_nsd
from neuroalign.data.nsd.plausible import session_sum
from neuroalign.data.nsd.reader import Request
from neuroalign.data.nsd.regions import Roi
from neuroalign.data.nsd.reliability import compare_ncsnr
from neuroalign.data.nsd.tree import Tree
from neuroalign.data.responses_file import create, write_fields
from neuroalign.files import check_folder, check_space, readable_size, remove_leftovers, whole
from neuroalign.moved import former_keywords
from neuroalign.processes import locked
from neuroalign.progress import track

__all__ = ["extract_nsd"]

_log = logging.getLogger(__name__)
_TOLERANCE = 1e-3  # a stored ncsnr is float32 and computed from the same int16 betas
_CHECKED = 200  # voxels whose ncsnr is computed again


@former_keywords(cache="download_folder")
def extract_nsd(
    root: str | os.PathLike[str] | Tree,
    out: str | os.PathLike[str],
    subject: int,
    *,
    roi: Roi | Sequence[str] | Mapping[str, Roi],
    betas: str = "betas_fithrf_GLMdenoise_RR",
    space: str = "func1pt8mm",
    sessions: Sequence[int] | None = None,
    behaviour: bool | None = None,
    maps: Sequence[str] | None = None,
    overwrite: bool = False,
    progress: bool = True,
    **access: Unpack[Access],
) -> Path:
    """Write the single trials of one subject's regions to a file that :meth:`Responses.load` reads.

    One session is in memory at a time. A run that is killed leaves its finished sessions in a hidden folder beside ``out``,
    each with a checksum, and the next run continues from there; ``out`` itself appears when it is complete. Nothing is
    written in the NSD folder. A second process that needs the same file waits for the first and uses its result.

    An existing ``out`` is used if its checksum is right, options are the same and no file of the NSD folder has changed since
    (judged by content: in a copied folder, whose times differ, sessions are read and compared).

    Args:
        root: A folder or URL.
        out: The HDF5 file to write.
        subject: 1 to 8.
        roi: Regions, as in :func:`read_nsd`.
        betas: Version of the betas.
        space: A volume or surface space.
        sessions: 1-based session numbers; None means all that are there.
        behaviour: Whether to join the behaviour table; None joins it if it exists.
        maps: Maps to include, with one value per voxel; None means those that exist.
        overwrite: Whether to replace a file that was extracted with other options or from other files, or that is damaged.
        progress: Whether to show a progress bar at a terminal, and in a log a line a minute.
        **access: ``accept_terms``, ``download_folder`` and others, for a URL, as in :func:`open_nsd`.

    Returns:
        ``out``. Its ``info`` names the source files, with sizes and checksums, and the options.

    Raises:
        FileExistsError: If ``out`` holds something else, is damaged, or was made from files that changed since, and
            ``overwrite`` is not set; the message says what differs.
        OSError: If the disk is full. This is checked before writing, if the size is known.
        FileNotFoundError: If files are missing, as in :func:`read_nsd`.
        NSDError: If files are damaged, replaced in the meantime, or contradict each other, as in :func:`read_nsd`.

    Warns:
        UserWarning: If all sessions were read and the stored ncsnr differs from that of their betas; or if two sessions
            hold the same responses.

    Example:
        >>> import tempfile
        >>> from neuroalign.data import Responses, write_simulated_nsd
        >>> root = tempfile.mkdtemp()
        >>> _ = write_simulated_nsd(root, np.random.rand(500, 3, 8, 8), np.arange(500) % 10)
        >>> out = extract_nsd(root, root + "/V4.h5", subject=1, roi="V4")
        >>> Responses.load(out)
        Responses(1500 rows, 80 voxels, 500 stimuli, roi: V4)
    """
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    tree = open_nsd(root, **access)
    request = Request.plan(
        tree, subject, roi=roi, betas=betas, space=space, sessions=sessions, behaviour=behaviour, maps=maps
    )
    extract_request(request, out, overwrite=overwrite, progress=progress)
    return out


def extract_request(request: Request, out: Path, *, overwrite: bool = False, progress: bool = True) -> None:
    """Write the single trials of a planned request to a file, in the way of :func:`extract_nsd`."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with locked(out.with_name(f".{out.name}.lock"), str(out), watch=f".*{glob.escape(out.name)}*"):
        _extract(request, out, overwrite, progress)


def _extract(request: Request, out: Path, overwrite: bool, progress: bool) -> None:
    info = request.info()
    folder = check_folder(out.with_name(f".{out.name}.parts"))
    remove_leftovers(out)
    if out.exists():
        different = _why_not(request, out, overwrite)
        if not different:
            if folder.is_dir():  # left by a run that was killed after its last step
                shutil.rmtree(folder)
            return
        if not overwrite:
            raise FileExistsError(f"{out} holds something else than what would be extracted ({', '.join(different)} differ): "
                                  "remove it, write elsewhere, or say overwrite=True (--overwrite)")  # fmt: skip
    plan = info["voxels"][:12]
    num_bytes = len(request.stimulus) * len(request.voxels.index) * 4
    names = _part_names(request, plan)
    if folder.is_dir():
        for part in folder.iterdir():
            if part.name not in names.values():
                part.unlink()
    done = [name for name in names.values() if (folder / name).exists()]
    check_space(out.parent, num_bytes * (2 * len(names) - len(done)) // len(names))
    text = f"subject {request.paths.subject}"
    for session, name in track(names.items(), text, len(names), transient=True, show=progress):
        if not (folder / name).exists():
            save_part(folder / name, _read(request, session, name, plan))
    _assemble(request, {session: folder / name for session, name in names.items()}, out, info)
    shutil.rmtree(folder)
    _log.info("wrote %s, %s", out, readable_size(out.stat().st_size))


def _why_not(request: Request, out: Path, overwrite: bool) -> list[str]:
    """The reasons why an existing file can't be used."""
    try:
        return differences(request, out)
    except DamagedFileError as error:
        if overwrite:
            _log.warning("%s: extracting it again", error)
            return ["bytes"]
        raise FileExistsError(f"{error}: remove it, or say overwrite=True (--overwrite) to extract it again") from error


def _read(request: Request, session: int, name: str, plan: str) -> np.ndarray:
    values = request.read(session)
    if name != _part_names(request, plan)[session]:
        raise NSDError(f"session {session} was replaced while it was read: run again")
    return values


def _assemble(request: Request, parts: Mapping[int, Path], out: Path, info: dict[str, Any]) -> None:
    """Write one file from the parts of all sessions."""
    num_voxels = len(request.voxels.index)
    some = np.linspace(0, num_voxels - 1, min(num_voxels, _CHECKED)).astype(int)
    checked = np.empty((len(request.stimulus), len(some)), dtype=np.float32)
    sums = {}
    with whole(out) as temporary:
        with create(temporary) as file:
            stored = file.create_dataset("values", request.shape, "float32")
            for i, (session, part) in enumerate(parts.items()):
                rows = slice(i * TRIALS_PER_SESSION, (i + 1) * TRIALS_PER_SESSION)
                values = load_part(part, num_voxels)
                if values is None:
                    _log.warning("%s, which an earlier run left, is damaged: reading session %d again", part, session)
                    values = _read(request, session, part.name, info["voxels"][:12])
                stored[rows] = values
                checked[rows] = values[:, some]
                sums[session] = session_sum(checked[rows])
                del values
            # The container's fields, around values that are in the file already.
            responses = request.labels()
            write_fields(file, vars(responses))
            agreement = _check_ncsnr(request, checked, some, responses.session)
            file.attrs["info"] = json.dumps({**info, **agreement})
        stamp_hdf5(temporary)
    request.warn_of_copies(sums)


def _check_ncsnr(request: Request, values: np.ndarray, some: np.ndarray, session: np.ndarray) -> dict[str, Any]:
    stored = request.maps.get("ncsnr")
    everything = request.sessions == request.tree.sessions(request.paths)
    if stored is None or not everything or request.tree.simulated:
        return {}
    result = compare_ncsnr(stored[some], values, request.stimulus, session)
    if result is None:
        return {}
    difference, count = result
    if difference > _TOLERANCE:
        warnings.warn(
            f"the stored ncsnr of {request.paths.beta_folder} differs from that of its betas by up to {difference:.3f} (in "
            f"{count} voxels): it was computed from other sessions, or from another version of the betas",
            stacklevel=4,
        )
    return {"ncsnr_difference": difference, "ncsnr_voxels": count}


def _part_names(request: Request, plan: str) -> dict[int, str]:
    """One file name per session; other voxels, or a changed source file, give another name."""
    tree, names = request.tree, {}
    for session in request.sessions:
        state = [(tree.name(f), tree.state(f) if tree.is_remote else fingerprint(f)) for f in request.files(session)]
        names[session] = f"session{session:02d}-{plan}-{hashlib.sha256(repr(state).encode()).hexdigest()[:12]}.npy"
    return names
