"""Corruptions of images whose size has no published table: parameters between the neighbours', pictures that hold."""

import math
import warnings
from itertools import pairwise

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from neuroalign.perturbations.corruptions import COMMON_CORRUPTIONS, EXTRA_CORRUPTIONS, Corruption
from neuroalign.perturbations.corruptions.draws import Draws
from neuroalign.perturbations.corruptions.frost_texture import frost_texture
from neuroalign.perturbations.corruptions.severities import SEVERITIES, SIZES, _tables, parameters
from tests.perturbations.corruptions.test_corruptions import MONOTONE, pictures, rms

ALL = COMMON_CORRUPTIONS + EXTRA_CORRUPTIONS
BETWEEN = (33, 46, 47, 48, 56, 63, 65, 77, 96, 120, 128, 192, 223)
SHAPES = [(32, 48), (96, 96), (128, 128), (224, 320), (375, 500), (500, 40)]
pytestmark = pytest.mark.filterwarnings("ignore:strengths of corruptions were published")


@pytest.mark.parametrize("name", ALL)
def test_published_sizes_have_the_published_numbers(name):
    for size in SIZES:
        for severity in SEVERITIES:
            row = _tables()[str(size)][name][severity - 1]
            assert parameters(name, severity, size) == (tuple(row) if isinstance(row, list) else (row,))
            assert Corruption(name, severity).parameters(size, size + 7) == parameters(name, severity, size)


@pytest.mark.parametrize("name", ALL)
def test_numbers_lie_between_the_neighbours(name):
    for severity in SEVERITIES:
        for low, high in ((32, 64), (64, 224)):
            a, b = (np.array(parameters(name, severity, size)) for size in (low, high))
            sides = [s for s in BETWEEN if low < s < high]
            found = [np.array(parameters(name, severity, s)) for s in sides]
            if name == "zoom_blur":  # lists of factors: their number and the largest
                a, b, *found = (np.array([len(x), x[-1]]) for x in (a, b, *found))
            if name == "defocus_blur" and a[0] < 1 < b[0]:  # a disk of one pixel grows at once, its alias waits for it
                assert all(a[0] <= x[0] <= b[0] and min(a[1], b[1]) <= x[1] <= max(a[1], b[1]) for x in found)
                continue
            steps = np.diff(np.stack([a, *found, b]), axis=0)
            assert (steps * np.sign(b - a) >= -1e-12).all(), "one way from a table to the next"
            for place in np.flatnonzero((a > 0) & (b > 0)) if name not in ("glass_blur", "zoom_blur") else ():
                expected = [
                    a[place] * (s / low) ** (math.log(b[place] / a[place]) / math.log(high / low)) for s in sides
                ]
                exact = 0.51 if name == "jpeg_compression" else 1e-9
                if name != "defocus_blur":
                    assert [x[place] for x in found] == pytest.approx(expected, abs=exact)


def test_a_noise_is_the_same_in_either_of_its_units():
    """Photons or their standard deviation: a power of the side either way."""
    for severity in SEVERITIES:
        sds = [1 / math.sqrt(parameters("shot_noise", severity, s)[0]) for s in (64, 120, 224)]
        share = math.log(120 / 64) / math.log(224 / 64)
        assert sds[1] == pytest.approx(sds[0] ** (1 - share) * sds[2] ** share)


@pytest.mark.parametrize("name", ALL)
def test_whole_numbers_are_whole(name):
    whole = {"glass_blur": (1, 2), "jpeg_compression": (0,), "spatter": (5,)}.get(name, ())
    for severity in SEVERITIES:
        for side in (*BETWEEN, 299, 375):
            found = parameters(name, severity, side)
            assert all(found[place] == round(found[place]) for place in whole)
            assert all(math.isfinite(x) and x >= 0 for x in found)


def test_above_the_largest_table_lengths_grow_with_the_side():
    twice = {
        "gaussian_blur": (2,), "glass_blur": (2, 2, 1), "defocus_blur": (2, 2), "motion_blur": (2, 2),
        "snow": (1, 1, 2, 1, 2, 2, 1), "elastic_transform": (4, 2, 2), "pixelate": (0.5,),
    }  # fmt: skip
    for name in ALL:
        for severity in SEVERITIES:
            base, found = (parameters(name, severity, s) for s in (224, 448))
            factors = twice.get(name, (1,) * len(base))
            if name == "spatter":
                factors = (1, 2, 2, 1, 2 if base[5] else 1, 1)
            assert found == pytest.approx([f * x for f, x in zip(factors, base)])


@pytest.mark.parametrize("name", ["spatter", "elastic_transform", "snow"])
def test_larger_images_look_alike(name):
    """The share of the image under mud or flakes, and how far pixels move: measured, not read off a table."""

    def effect(size):
        ramp = torch.linspace(0.2, 0.6, size).expand(2, 3, size, size)
        severity = {"elastic_transform": 2, "spatter": 4}.get(name, 1)
        change = Corruption(name, severity)(ramp, index=torch.arange(2)) - ramp
        if name == "elastic_transform":
            return float(change.abs().mean()) / 0.4  # of a ramp: displacement as a share of the side
        return float((change.abs().amax(1) > 0.1).float().mean())

    assert effect(448) == pytest.approx(effect(224), rel=0.35)


@pytest.mark.parametrize("name", MONOTONE)
@pytest.mark.parametrize("size", [40, 46, 47, 56, 80, 96, 150, 299])
def test_higher_is_stronger_between_the_tables_too(name, size):
    # the same pictures at every size: blobs that are small beside a blur are gone at its first severity
    images = F.interpolate(pictures(4, 64), size=(size, size), mode="bilinear", antialias=True).clamp(0, 1)
    changes = [rms(Corruption(name, s)(images), images) for s in SEVERITIES]
    # At 46 pixels two severities of defocus share the smallest disk, of five pixels, and differ by 2e-6.
    assert all(b > a - (1e-5 if name == "defocus_blur" else 0) for a, b in pairwise(changes))


@pytest.mark.parametrize("size", SHAPES, ids=str)
@pytest.mark.parametrize("name", ALL)
def test_any_shape(name, size):
    images = F.interpolate(pictures(2, 64), size=size, mode="bilinear", antialias=True).clamp(0, 1)
    index = torch.tensor([4, 9])
    corruption = Corruption(name, 4)
    found = corruption(images, index=index)
    assert found.shape == images.shape and bool(found.isfinite().all())
    assert float(found.min()) >= 0 and float(found.max()) <= 1
    assert rms(found, images) > 1e-3
    torch.testing.assert_close(corruption(images[1:], index=index[1:]), found[1:], atol=1e-5, rtol=0)
    assert corruption(images[:, :1], index=index).shape == (2, 1, *size)


def test_a_size_without_a_table_is_said():
    fog = Corruption("fog")
    with pytest.warns(UserWarning, match=r"those for 96 x 128, shorter side 96, are interpolated.*not with published"):
        fog(torch.rand(1, 3, 96, 128))
    assert fog.strengths(96, 128) == "interpolated"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for size in SIZES:
            fog(torch.rand(1, 3, size, size))
        Corruption("fog", table=96)(torch.rand(1, 3, 96, 128))  # asked for by name


def test_a_table_between_is_what_an_image_of_that_size_gets():
    images = torch.rand(2, 3, 96, 120)
    for name in ALL:
        assert torch.equal(Corruption(name, 5, table=96)(images), Corruption(name, 5)(images))


def test_crystals_of_frost_keep_their_size_on_an_oblong_image():
    """Slopes of the texture along rows and along columns are alike, however long the image: it isn't stretched."""

    def ratio(height, width):
        texture = frost_texture(Draws(range(24)), height, width)
        along, down = texture.diff(dim=-1).abs().mean(), texture.diff(dim=-2).abs().mean()
        return float(along / down)

    assert ratio(64, 64) == pytest.approx(1, abs=0.15)
    assert ratio(64, 192) == pytest.approx(1, abs=0.15) and ratio(192, 64) == pytest.approx(1, abs=0.15)
