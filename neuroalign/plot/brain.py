"""Brain maps, one value per voxel, on slices of a volume or on a surface, drawn by nilearn."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["plot_surface", "plot_volume"]


_BAR = 1.1  # inches for the colour bar and its label


def plot_volume(
    image: Any,
    *,
    title: str,
    unit: str,
    background: Any = None,
    num_slices: int = 8,
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: str | None = None,
) -> Figure:
    """A map on axial slices through the voxels that have values, from bottom to top, with a colour bar.

    Args:
        image: A NIfTI image or path; NaN where there is no value.
        title: Title of the figure, such as the quantity and the subject.
        unit: Label of the colour bar, such as "correlation r".
        background: A NIfTI image or path of the anatomy, in the same space; None draws no anatomy.
        num_slices: Number of slices.
        vmin: Lower end of the colours; None means 0, or -vmax if some values are negative.
        vmax: Upper end of the colours; None means the 99th percentile of the absolute values.
        cmap: Colour map; None means "inferno", or "RdBu_r" if some values are negative.

    Raises:
        ValueError: If the map has no values.

    Example:
        >>> import nibabel
        >>> volume = np.full((20, 22, 18), np.nan, dtype=np.float32)
        >>> volume[5:15, 5:15, 5:12] = np.linspace(0, 1, 700).reshape(10, 10, 7)
        >>> image = nibabel.Nifti1Image(volume, np.diag([1.8, 1.8, 1.8, 1]))
        >>> figure = plot_volume(
        ...     image, title="noise ceiling", unit="share of variance", num_slices=3
        ... )
        >>> figure.get_suptitle()
        'noise ceiling'
    """
    import nibabel
    from matplotlib.figure import Figure
    from nilearn import image as ni
    from nilearn import plotting

    loaded = ni.load_img(image)
    values = loaded.get_fdata()
    low, high, cmap = _range(values, vmin, vmax, cmap)
    inside = np.argwhere(np.isfinite(values))
    # Cut the voxels, from bottom to top, into num_slices parts of equal number and take the middle of each: slices are
    # dense where voxels are dense.
    heights = np.unique(np.quantile(inside[:, 2], (np.arange(num_slices) + 0.5) / num_slices).round())
    cuts = [float((loaded.affine @ [0, 0, z, 1])[2]) for z in heights]
    figure = Figure(figsize=(max(1.7 * len(cuts), 3.4) + _BAR, 2.6))
    shown = nibabel.Nifti1Image(np.where(np.isfinite(values), values, 0).astype(np.float32), loaded.affine)
    # nilearn draws 0 as "no value"; what is 0 in the map gets the smallest number that it draws.
    data = np.asarray(shown.dataobj)
    data[np.isfinite(values) & (values == 0)] = np.float32(1e-6) * (high - low)
    plotting.plot_stat_map(
        nibabel.Nifti1Image(data, loaded.affine),
        bg_img=background,
        display_mode="z",
        cut_coords=cuts,
        figure=figure,
        axes=(0.01, 0.02, 0.98 - _BAR / figure.get_figwidth(), 0.8),
        colorbar=False,
        threshold=1e-9 * (high - low),  # where there is no value, nothing is drawn
        cmap=cmap,
        vmin=low,
        vmax=high,
        symmetric_cbar=False,
        black_bg=False,
        annotate=False,
        resampling_interpolation="nearest",
    ).annotate(size=7)
    _colour_bar(figure, low, high, cmap, unit, values)
    figure.suptitle(textwrap.fill(title, int(14 * figure.get_figwidth())), fontsize=10)
    return figure


def plot_surface(
    values: tuple[np.ndarray, np.ndarray],
    meshes: Any,
    *,
    title: str,
    unit: str,
    backgrounds: tuple[Any, Any] | None = None,
    views: Sequence[str] = ("lateral", "ventral"),
    vmin: float | None = None,
    vmax: float | None = None,
    cmap: str | None = None,
) -> Figure:
    """A map on both hemispheres, with a colour bar.

    Args:
        values: (left vertex,) and (right vertex,); NaN where there is no value.
        meshes: The left and right surface, as nilearn reads them: FreeSurfer's ``lh.inflated``, a GIFTI file (a flat map,
            say), or (coordinates, faces); or nilearn's mesh of both.
        title: Title of the figure, such as the quantity and the subject.
        unit: Label of the colour bar.
        backgrounds: Sulcal depth of the left and right hemisphere, such as ``lh.sulc``; None draws none.
        views: "lateral", "medial", "ventral", "dorsal", "posterior", "anterior"; ("flat",) shows a flat map from above.
        vmin: As in :func:`plot_volume`.
        vmax: As in :func:`plot_volume`.
        cmap: As in :func:`plot_volume`.

    Raises:
        ValueError: If the map has no values, or a hemisphere and its surface differ in the number of vertices.

    Example:
        >>> from nilearn.datasets import load_fsaverage
        >>> mesh = load_fsaverage("fsaverage5")["inflated"]
        >>> height = tuple(mesh.parts[side].coordinates[:, 2] for side in ("left", "right"))
        >>> figure = plot_surface(height, mesh, title="height", unit="mm", views=("lateral",))
        >>> len(figure.axes)
        3
    """
    from matplotlib.figure import Figure
    from nilearn import plotting
    from nilearn.surface import load_surf_mesh

    low, high, cmap = _range(np.concatenate(values), vmin, vmax, cmap)
    figure = Figure(figsize=(6.4 + _BAR, 2.6 * len(views) + 0.4))
    axes = figure.subplots(len(views), 2, subplot_kw={"projection": "3d"}, squeeze=False)
    for column, side in enumerate(("left", "right")):
        mesh = meshes.parts[side] if hasattr(meshes, "parts") else load_surf_mesh(meshes[column])
        if len(mesh.coordinates) != len(values[column]):
            raise ValueError(f"the {side} surface has {len(mesh.coordinates)} vertices, the map {len(values[column])}")
        for row, view in enumerate(views):
            plotting.plot_surf_stat_map(
                mesh,
                stat_map=values[column],
                bg_map=None if backgrounds is None else backgrounds[column],
                hemi=side,
                view=(90, -90) if view == "flat" else view,
                axes=axes[row, column],
                figure=figure,
                colorbar=False,
                cmap=cmap,
                vmin=low,
                vmax=high,
                symmetric_cbar=False,
            )
            axes[row, column].set_title(f"{side}, {view}", fontsize=9, y=0.98)
    figure.subplots_adjust(
        left=0.0, right=1 - _BAR / figure.get_figwidth(), top=0.88, bottom=0.0, wspace=0.0, hspace=0.0
    )
    _colour_bar(figure, low, high, cmap, unit, np.concatenate(values))
    figure.suptitle(textwrap.fill(title, int(14 * figure.get_figwidth())), fontsize=10)
    return figure


def _range(values: np.ndarray, vmin: float | None, vmax: float | None, cmap: str | None) -> tuple[float, float, str]:
    finite = values[np.isfinite(values)]
    if not len(finite):
        raise ValueError("the map has no values to show: all are NaN")
    negative = bool(finite.min() < 0)
    high = float(np.quantile(np.abs(finite), 0.99)) if vmax is None else vmax
    high = high if high > 0 else 1.0
    low = (-high if negative else 0.0) if vmin is None else vmin
    return low, high, cmap or ("RdBu_r" if negative else "inferno")


def _colour_bar(figure: Figure, low: float, high: float, cmap: str, unit: str, values: np.ndarray) -> None:
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    finite, width = values[np.isfinite(values)], figure.get_figwidth()
    ends = {(False, False): "neither", (True, False): "min", (False, True): "max", (True, True): "both"}
    bar = figure.colorbar(
        ScalarMappable(Normalize(low, high), cmap),
        cax=figure.add_axes((1 - 0.95 * _BAR / width, 0.15, 0.12 / width, 0.6)),
        extend=ends[bool(finite.min() < low), bool(finite.max() > high)],
    )
    bar.set_label(unit)
