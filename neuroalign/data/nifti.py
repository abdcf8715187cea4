"""Volumes of any fMRI experiment: NIfTI files and a mask, read by nilearn's masker."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from neuroalign.data.fields import as_values, number_names
from neuroalign.data.gzip_files import load_image
from neuroalign.data.responses import Responses

__all__ = ["read_nifti"]


def read_nifti(
    images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]],
    mask: Any,
    *,
    stimulus: Sequence[int] | np.ndarray | None = None,
    session: Sequence[int] | np.ndarray | None = None,
    labels: Mapping[int, str] | None = None,
    history: Sequence[str] = (),
) -> Responses:
    """Read responses from NIfTI volumes: one row per volume, files in the order of their names.

    Args:
        images: A folder (its ``.nii`` and ``.nii.gz`` files; ``beta_2`` comes before ``beta_10``), a file, or files. A file
            of four axes has one row per volume.
        mask: NIfTI image or path in the same space. Every voxel above 0 is kept, however small its value: threshold a map of
            probabilities yourself.
        stimulus: (row,) the stimulus of each volume, numbers or names; None gives each volume its own.
        session: (row,) 1-based; None means one session per file of four axes, and one for all files of three axes.
        labels: Names of the values of a mask that is an atlas of whole numbers; voxels of other values are left out.
        history: "average_repeats" or "zscore_sessions", if these steps were done already.

    Returns:
        Responses with places of voxels, shape and affine, so that maps can be written in the same space. NaN in a file
        stays NaN.

    Raises:
        FileNotFoundError: If there are no such files.
        ValueError: If a file is cut short, damaged (gzip's checksum is compared) or no NIfTI, files differ from the mask in
            shape or place, rows and stimuli differ in number, a value inside the mask is infinite, or labels are given for
            a mask of fractions.

    Example:
        >>> import tempfile, nibabel
        >>> folder = Path(tempfile.mkdtemp())
        >>> for i in range(3):
        ...     volume = np.random.randn(4, 5, 6).astype(np.float32)
        ...     nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), folder / f"beta{i}.nii.gz")
        >>> inside = (np.arange(120).reshape(4, 5, 6) < 40).astype(np.uint8)
        >>> mask = nibabel.Nifti1Image(inside, np.eye(4))
        >>> read_nifti(folder, mask, labels={1: "V1"})
        Responses(3 rows, 40 voxels, 3 stimuli, roi: V1)
    """
    import nibabel
    from nilearn.maskers import NiftiMasker

    files = _files(images)
    atlas, numbers, inside = _inside(mask, labels)
    masker = NiftiMasker(nibabel.Nifti1Image(inside.astype(np.uint8), atlas.affine), standardize=None, dtype="float32")
    masker.fit()
    parts, sessions = [], []
    for number, file in enumerate(files, 1):
        image = load_image(file)
        data = np.asanyarray(image.dataobj)
        if image.ndim not in (3, 4) or not data.size:
            raise ValueError(
                f"{file} has shape {image.shape}: a volume has three axes, or four with one volume or more"
            )
        if image.shape[:3] != inside.shape or not np.allclose(image.affine, atlas.affine, atol=1e-4):
            what = f"shape {image.shape[:3]}, the mask {inside.shape}" if image.shape[:3] != inside.shape else (
                "another affine than the mask, so another place")  # fmt: skip
            raise ValueError(f"{file} has {what}: resample one of them first (nilearn.image.resample_to_img)")
        as_values(data[inside], f"{file}, in the mask,")  # the masker would turn infinite values into 0
        values = np.atleast_2d(masker.transform(image))
        if np.issubdtype(data.dtype, np.floating):  # the masker turns NaN into 0, which would look like a response
            values[np.isnan(data[inside].T.reshape(values.shape))] = np.nan
        parts.append(values)
        sessions += [number if image.ndim == 4 else 1] * len(values)
    values = np.concatenate(parts)
    names: Any = np.array([labels[n] for n in numbers[inside]] if labels else ["mask"] * int(inside.sum()))
    for name, given in (("stimulus", stimulus), ("session", session)):
        if given is not None and len(given) != len(values):
            raise ValueError(f"{len(values)} volumes but {len(given)} values of {name}")
    info: dict[str, Any] = {
        "shape": list(inside.shape), "affine": atlas.affine.tolist(), "files": [f.name for f in files]
    }  # fmt: skip
    if stimulus is not None:
        stimulus, ids = number_names(stimulus, "stimulus")
        info |= {} if ids is None else {"stimulus_id": ids}
    return Responses.from_arrays(
        values,
        stimulus=stimulus,
        session=sessions if session is None else session,
        roi=names,
        voxel_index=np.argwhere(inside),
        info=info,
        history=history,
    )


def _inside(mask: Any, labels: Mapping[int, str] | None) -> tuple[Any, np.ndarray, np.ndarray]:
    """The mask as an image, its values as whole numbers, and which voxels are kept; arrays are (x, y, z)."""
    import nibabel

    what = "the mask" if not isinstance(mask, (str, os.PathLike)) else f"the mask {mask}"
    if isinstance(mask, np.ndarray) or not isinstance(mask, (str, os.PathLike, nibabel.spatialimages.SpatialImage)):
        raise TypeError(f"the mask is a NIfTI image or path, so that its place is known; got {type(mask).__name__}: "
                        "nibabel.Nifti1Image(mask, affine) makes one of an array")  # fmt: skip
    if isinstance(mask, (str, os.PathLike)):
        if not Path(mask).is_file():
            raise FileNotFoundError(f"no NIfTI file {mask}")
        mask = load_image(mask)
    data = np.asarray(mask.dataobj)
    while data.ndim > 3 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim != 3:
        raise ValueError(f"{what} has shape {data.shape}: it must be one volume, (x, y, z)")
    data = np.nan_to_num(as_values(data, what))
    numbers = np.rint(data).astype(np.int64)
    if labels and (numbers != data).any():
        place = np.argwhere(numbers != data)[0].tolist()
        raise ValueError(
            f"{what} holds fractions, {data[tuple(place)]:.4g} at {place}, but labels name whole numbers: is it a map of "
            "probabilities?"
        )
    inside = np.isin(numbers, list(labels)) if labels else data > 0
    if not inside.any():
        raise ValueError(f"{what} has no voxel {'of ' + str(dict(labels)) if labels else 'above 0'}")
    return mask, numbers, inside


def _natural(path: Path) -> list[Any]:
    """A sorting key by which numbers in a name are compared by value."""
    return [(int(part), "") if part.isdigit() else (0, part) for part in re.split(r"(\d+)", path.name)]


def _files(images: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> list[Path]:
    if isinstance(images, (str, os.PathLike)):
        path = Path(images)
        found = path.iterdir() if path.is_dir() else [path]
        files = sorted(
            (p for p in found if p.name.lower().endswith((".nii", ".nii.gz")) and not p.name.startswith(".")),
            key=_natural,
        )
    else:
        files = [Path(p) for p in images]
    missing = [str(p) for p in files if not p.is_file()]  # reading from a pipe would wait
    if missing or not files:
        raise FileNotFoundError(f"no NIfTI file {missing[0] if missing else 'in ' + str(images)}")
    return files
