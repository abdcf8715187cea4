"""Back to the brain: one value per voxel as a NIfTI volume in the subject's space, or as a map on its surface."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from neuroalign.data.responses import Responses
from neuroalign.files import whole

if TYPE_CHECKING:
    from nibabel import Nifti1Image

__all__ = ["save_map", "to_surface", "to_volume"]


def to_volume(responses: Responses, values: np.ndarray | torch.Tensor) -> Nifti1Image:
    """Place values of voxels in their volume, with NaN elsewhere; like ``inverse_transform`` of a nilearn masker.

    Args:
        responses: The responses of these voxels. ``voxel_index`` holds their places, ``info`` the volume's ``shape`` and
            ``affine``.
        values: (voxel,), such as a noise ceiling or a correlation.

    Returns:
        A float32 NIfTI image in the space of the subject's own files.

    Raises:
        ValueError: If the number of values differs, the responses have no volume, or a voxel of two regions has two values.

    Example:
        >>> import tempfile
        >>> from neuroalign import read_nsd, write_simulated_nsd
        >>> root = tempfile.mkdtemp()
        >>> _ = write_simulated_nsd(root, np.random.rand(500, 3, 8, 8), np.arange(500) % 10)
        >>> responses = read_nsd(root, subject=1, roi="V4")
        >>> image = to_volume(responses, responses.noise_ceiling)
        >>> image.shape, int(np.isfinite(image.get_fdata()).sum())
        ((8, 10, 9), 80)
    """
    import nibabel

    values = _checked(responses, values)
    shape, affine = responses.info.get("shape"), responses.info.get("affine")
    if responses.voxel_index is None or shape is None or affine is None:
        raise ValueError("these responses name no place in a volume: they need voxel_index, and shape and affine in info "
                         "(surface responses: to_surface)")  # fmt: skip
    volume = np.full(tuple(shape), np.nan, dtype=np.float32)
    _place(volume, tuple(responses.voxel_index.T), values)
    image = nibabel.Nifti1Image(volume, np.asarray(affine, dtype=np.float64))
    image.header.set_xyzt_units("mm")
    return image


def to_surface(responses: Responses, values: np.ndarray | torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """Place values of vertices on the left and the right hemisphere, with NaN elsewhere.

    Args:
        responses: The responses of these vertices. ``vertex_index`` holds their places, ``shape`` in ``info`` the number of
            vertices of each hemisphere.
        values: (voxel,).

    Returns:
        (left vertex,) and (right vertex,) float32.

    Raises:
        ValueError: If the number of values differs, or the responses lie on no surface.

    Example:
        >>> from dataclasses import replace
        >>> on_surface = replace(
        ...     Responses.from_arrays(np.zeros((4, 2))),
        ...     vertex_index=np.array([[0, 1], [1, 0]]),
        ...     info={"shape": [3, 2]},
        ... )
        >>> to_surface(on_surface, [0.5, 0.7])
        (array([nan, 0.5, nan], dtype=float32), array([0.7, nan], dtype=float32))
    """
    values = _checked(responses, values)
    shape = responses.info.get("shape")
    if responses.vertex_index is None or shape is None:
        raise ValueError(
            "these responses name no vertices: they need vertex_index, and shape in info (volumes: to_volume)"
        )
    left, right = (np.full(n, np.nan, dtype=np.float32) for n in shape)
    for number, hemisphere in enumerate((left, right)):
        mine = responses.vertex_index[:, 0] == number
        _place(hemisphere, (responses.vertex_index[mine, 1],), values[mine])
    return left, right


def save_map(responses: Responses, values: np.ndarray | torch.Tensor, path: str | os.PathLike[str]) -> list[Path]:
    """Write a map: one NIfTI file for a volume, or one GIFTI file per hemisphere for a surface.

    Args:
        responses: The responses of these voxels.
        values: (voxel,).
        path: ``name.nii.gz`` or ``name.nii`` for a volume; for a surface ``name.gii``, which becomes ``lh.name.gii`` and
            ``rh.name.gii``.

    Returns:
        The files written.

    Raises:
        ValueError: If the name doesn't end as it should, or as in :func:`to_volume` and :func:`to_surface`.
    """
    import nibabel

    path = Path(path)
    if responses.vertex_index is None:
        if not path.name.endswith((".nii", ".nii.gz")):
            raise ValueError(f"a volume is written as .nii or .nii.gz; got {path.name}")
        with whole(path) as temporary:
            nibabel.save(to_volume(responses, values), temporary)
        return [path]
    if path.suffix != ".gii":
        raise ValueError(f"a surface map is written as .gii; got {path.name}")
    written = []
    for hemisphere, part in zip(("lh", "rh"), to_surface(responses, values)):
        file = path.with_name(f"{hemisphere}.{path.name}")
        array = nibabel.gifti.GiftiDataArray(part, intent="NIFTI_INTENT_SHAPE", datatype="NIFTI_TYPE_FLOAT32")
        with whole(file) as temporary:
            nibabel.save(nibabel.gifti.GiftiImage(darrays=[array]), temporary)
        written.append(file)
    return written


def _checked(responses: Responses, values: np.ndarray | torch.Tensor) -> np.ndarray:
    values = np.asarray(values, dtype=np.float32)
    if values.shape != (responses.num_voxels,):
        raise ValueError(f"there are {responses.num_voxels} voxels, but values of shape {values.shape}")
    return values


def _place(out: np.ndarray, index: tuple[np.ndarray, ...], values: np.ndarray) -> None:
    out[index] = values
    placed = out[index]
    if ((placed != values) & ~(np.isnan(placed) & np.isnan(values))).any():
        raise ValueError("a voxel of two regions has two different values: select one region")
