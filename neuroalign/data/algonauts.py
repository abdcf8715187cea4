"""NSD as the Algonauts 2023 challenge published it: averaged, z-scored responses of fsaverage vertices."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from neuroalign.data.array_files import load_numpy
from neuroalign.data.fields import as_identities
from neuroalign.data.images import ImageFiles
from neuroalign.data.nsd.regions import ATLASES, REGIONS, Atlas, evaluate, parse, terms_of
from neuroalign.data.responses import Responses

__all__ = ["read_algonauts"]

_NAME = re.compile(r"(?:train|test)-(\d+)_nsd-(\d+)\.png")


def read_algonauts(
    root: str | os.PathLike[str], subject: int, *, roi: str | Sequence[str] | None = None
) -> tuple[Responses, ImageFiles]:
    """Training responses of one subject, and the images that evoked them.

    A file ``train-0001_nsd-00013.png`` belongs to the first row (the first number counts from 1) and shows NSD's image 13
    (the second number counts from 0, like rows of the stimulus set). The challenge z-scored the responses within sessions
    and averaged them over repeats; both steps are refused a second time.

    Args:
        root: The folder that holds ``subj01`` to ``subj08``.
        subject: 1 to 8.
        roi: A region or several, as in :func:`neuroalign.read_nsd`, of the challenge's atlases: "prf-visualrois:V1v|V1d",
            "streams:ventral", "floc-faces", ...; None means every vertex.

    Returns:
        Responses whose ``stimulus`` is the row of NSD's stimulus set, and the images, indexed by that row.

    Raises:
        FileNotFoundError: If a file is missing; the message names it.
        ValueError: If names, rows and vertices don't fit together, a file is damaged, or a region is unknown.

    Example:
        >>> import tempfile
        >>> from PIL import Image
        >>> folder = Path(tempfile.mkdtemp()) / "subj01/training_split"
        >>> for name in ("training_images", "training_fmri"):
        ...     (folder / name).mkdir(parents=True)
        >>> Image.new("RGB", (4, 4)).save(folder / "training_images/train-0001_nsd-00013.png")
        >>> for side in ("lh", "rh"):
        ...     np.save(folder / f"training_fmri/{side}_training_fmri.npy", np.zeros((1, 5)))
        >>> responses, images = read_algonauts(folder.parents[1], subject=1)
        >>> responses.stimulus, images[responses.stimulus].shape
        (array([13]), (1, 4, 4, 3))
    """
    folder = Path(root) / f"subj{subject:02d}"
    if not folder.is_dir():
        raise FileNotFoundError(f"no folder {folder}: root is the folder that holds subj01 to subj08")
    images = image_names(folder / "training_split/training_images")
    halves = [
        load_numpy(folder / f"training_split/training_fmri/{h}_training_fmri.npy", mapped=True) for h in ("lh", "rh")
    ]
    for half in halves:
        if half.ndim != 2 or half.dtype.kind not in "fiu":
            raise ValueError(
                f"{folder}: responses must be numbers (image, vertex); got shape {half.shape}, {half.dtype}"
            )
        if len(half) != len(images):
            raise ValueError(f"{folder}: {len(half)} rows of responses but {len(images)} training images")
    sizes = tuple(half.shape[1] for half in halves)
    rois = [roi] if isinstance(roi, str) else list(roi or [])
    chosen = [(name, np.flatnonzero(_mask(folder, name, sizes))) for name in rois] or [
        ("all vertices", np.arange(sum(sizes)))
    ]
    columns = np.concatenate([c for _, c in chosen])
    values = np.concatenate(halves, 1)[:, columns]
    right = columns >= sizes[0]
    responses = Responses.from_arrays(
        values,
        stimulus=list(images),
        session=np.full(len(values), -1),
        roi=[name for name, c in chosen for _ in c],
        info={"dataset": "Algonauts 2023", "subject": subject, "space": "challenge vertices", "shape": list(sizes)},
        history=("zscore_sessions", "average_repeats"),
    )
    places = np.column_stack([right.astype(np.int64), columns - right * sizes[0]])
    return responses.on_vertices(places), ImageFiles(images)


def image_names(folder: Path) -> dict[int, Path]:
    """A mapping from the NSD number (0-based) of each image to its file, in the order of rows.

    Raises:
        FileNotFoundError: If there are none.
        ValueError: If rows are missing among the names, or a number comes twice.
    """
    found = sorted((int(m[1]), int(m[2]), p) for p in folder.glob("*.png") if (m := _NAME.fullmatch(p.name)))
    if not found:
        raise FileNotFoundError(f"no images named like train-0001_nsd-00013.png in {folder}")
    rows = [row for row, _, _ in found]
    if rows != list(range(1, len(rows) + 1)):
        missing = sorted(set(range(1, rows[-1] + 1)) - set(rows))
        raise ValueError(
            f"{folder}: images of rows {missing[:5]} are missing among {len(rows)} (they count from 1)"
            if missing
            else f"{folder}: several images have one row number, or one counts from 0: {rows[:5]}, ..."
        )
    if len({number for _, number, _ in found}) < len(found):
        raise ValueError(f"{folder}: several images show one NSD image (the second number of their names)")
    return {number: path for _, number, path in found}


def _mask(folder: Path, roi: str, sizes: tuple[int, ...]) -> np.ndarray:
    """(vertex,) whether each vertex is in the region, left hemisphere first."""
    expression, atlases = parse(roi), {}
    for name in dict.fromkeys(term.atlas for term in terms_of(expression)):
        if name in REGIONS:
            raise ValueError(f"{name} is defined by Kastner2015, which the challenge lacks; with hand-drawn regions say, for "
                             "example, 'prf-visualrois:V1v|V1d'")  # fmt: skip
        files = [folder / f"roi_masks/{h}.{name}_challenge_space.npy" for h in ("lh", "rh")]
        if not files[0].exists():
            have = sorted(p.name[3:].removesuffix("_challenge_space.npy")
                          for p in (folder / "roi_masks").glob("lh.*_challenge_space.npy"))  # fmt: skip
            raise FileNotFoundError(f"no file {files[0]}; atlases there: {have}")
        parts = [as_identities(load_numpy(file), str(file)) for file in files]
        if tuple(len(p) for p in parts) != sizes:
            raise ValueError(f"{name} has {[len(p) for p in parts]} vertices, the responses {list(sizes)}")
        atlases[name] = Atlas(np.concatenate(parts), sizes, None, ATLASES.get(name, {}))
    mask = evaluate(expression, atlases)
    if not mask.any():
        raise ValueError(f"{folder.name} has no vertex of {roi}")
    return mask
