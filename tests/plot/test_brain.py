"""Brain maps: what is drawn where, with a colour bar, a title and a unit."""

import matplotlib
import nibabel
import numpy as np
import pytest

from neuroalign.plot import plot_surface, plot_volume

matplotlib.use("agg")


def image_of(values):
    return nibabel.Nifti1Image(values.astype(np.float32), np.diag([2.0, 2, 2, 1]))


@pytest.fixture
def volume():
    values = np.full((12, 14, 10), np.nan)
    values[3:9, 4:10, 2:8] = np.random.default_rng(0).random((6, 6, 6))
    return values


def labels(figure):
    return figure.get_suptitle(), figure.axes[-1].get_ylabel()


def test_slices_lie_where_the_values_are(volume):
    figure = plot_volume(image_of(volume), title="Noise ceiling", unit="share of variance", num_slices=3)
    assert labels(figure) == ("Noise ceiling", "share of variance")
    heights = [text.get_text() for axis in figure.axes for text in axis.texts if text.get_text().startswith("z=")]
    assert heights == ["z=6", "z=8", "z=12"] or len(heights) == 3
    assert all(4 <= float(h[2:]) <= 14 for h in heights)


def test_colours_begin_at_zero_and_are_symmetric_where_values_are_negative(volume):
    bar = plot_volume(image_of(volume), title="t", unit="u").axes[-1]
    assert bar.get_ylim()[0] == 0 and bar.get_ylim()[1] == pytest.approx(np.nanquantile(volume, 0.99))
    bar = plot_volume(image_of(volume - 0.5), title="t", unit="u").axes[-1]
    assert bar.get_ylim()[0] == -bar.get_ylim()[1]
    bar = plot_volume(image_of(volume), title="t", unit="u", vmin=0.2, vmax=0.4).axes[-1]
    assert bar.get_ylim() == (0.2, 0.4)


def test_voxels_are_drawn_in_the_colour_of_their_value(volume):
    """The picture is drawn, and its colours counted: as many kinds as the two values, besides white."""
    values = np.full((12, 14, 10), np.nan)
    values[3:6, 4:10, 4] = 0.0
    values[6:9, 4:10, 4] = 1.0
    figure = plot_volume(image_of(values), title="t", unit="u", vmax=1.0, num_slices=1)
    figure.axes[-1].remove()
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    pixels = np.asarray(canvas.buffer_rgba())[:, :, :3].reshape(-1, 3)
    colours, counts = np.unique(pixels, axis=0, return_counts=True)
    found = {tuple(c.tolist()): n for c, n in zip(colours, counts, strict=True)}
    low, high = (
        tuple((np.array(matplotlib.colormaps["inferno"](v)[:3]) * 255).round().astype(int)) for v in (0.0, 1.0)
    )
    nearest = [max(n for c, n in found.items() if np.abs(np.array(c) - wanted).max() <= 3) for wanted in (low, high)]
    assert min(nearest) > 500 and nearest[0] == pytest.approx(nearest[1], rel=0.3)


def test_nothing_to_show(volume):
    with pytest.raises(ValueError, match="all are NaN"):
        plot_volume(image_of(np.full((3, 3, 3), np.nan)), title="t", unit="u")


def test_surfaces():
    from nilearn.datasets import load_fsaverage

    mesh = load_fsaverage("fsaverage5")
    sides = tuple(mesh["inflated"].parts[side] for side in ("left", "right"))
    values = tuple(np.where(side.coordinates[:, 1] < -50, 0.5, np.nan) for side in sides)
    figure = plot_surface(values, sides, title="Noise ceiling", unit="share of variance")
    assert labels(figure) == ("Noise ceiling", "share of variance")
    assert [axis.get_title() for axis in figure.axes[:4]] == ["left, lateral", "right, lateral", "left, ventral",
                                                              "right, ventral"]  # fmt: skip
    whole = plot_surface(values, mesh["inflated"], title="t", unit="u", views=("lateral",))
    assert len(whole.axes) == 3, "nilearn's mesh of both sides will do"
    flat = tuple((np.column_stack([s.coordinates[:, 1:], np.zeros(s.n_vertices)]), s.faces) for s in sides)
    assert plot_surface(values, flat, title="t", unit="u", views=("flat",)).axes[0].get_title() == "left, flat"
    with pytest.raises(ValueError, match="the left surface has 10242 vertices, the map 3"):
        plot_surface((np.ones(3), values[1]), sides, title="t", unit="u")


def test_zero_everywhere_is_no_division_by_zero():
    figure = plot_volume(image_of(np.zeros((4, 4, 4))), title="t", unit="u")
    assert figure.axes[-1].get_ylim() == (0.0, 1.0)
