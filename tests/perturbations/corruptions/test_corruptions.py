"""The 19 corruptions: what each keeps, what each draws, and the steps that have an independent reference."""

import pickle

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from matplotlib.colors import hsv_to_rgb, rgb_to_hsv
from PIL import Image
from scipy import ndimage

from neuroalign.functional.draws import image_seed
from neuroalign.perturbations import corruptions as c
from neuroalign.perturbations.corruptions import COMMON_CORRUPTIONS, EXTRA_CORRUPTIONS, Corruption
from neuroalign.perturbations.corruptions.base import FIXED, RANDOM
from neuroalign.perturbations.corruptions.draws import Draws

ALL = COMMON_CORRUPTIONS + EXTRA_CORRUPTIONS
CASES = [(name, *case) for name in ALL for case in [(1, 32), (3, 32), (5, 32), (1, 64), (3, 64), (5, 64), (3, 224)]]
# each channel value is noised by itself, or a colour is added; the rest leave grey images grey
COLOURING = {"gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "frost", "spatter", "saturate"}


def pictures(num=4, size=32, channels=3, seed=0):
    """Smooth blobs, some edges and fine texture, in multiples of 1/255."""
    g = torch.Generator().manual_seed(seed)
    coarse, fine = (torch.rand(num, channels, n, n, generator=g) for n in (size // 8, size))
    image = 0.8 * F.interpolate(coarse, size=size, mode="bicubic") + 0.2 * fine
    image[..., : size // 4, : size // 3] *= 0.3
    return (image.clamp(0, 1) * 255).round() / 255


def array(images):
    """The first image, channels last."""
    return images[0].permute(1, 2, 0).numpy()


def pillow(images):
    return Image.fromarray((array(images) * 255).round().astype(np.uint8))


def rms(a, b):
    return float((a - b).square().mean().sqrt())


@pytest.mark.parametrize(("name", "severity", "size"), CASES)
def test_what_every_corruption_keeps(name, severity, size):
    num = 4 if size < 224 else 2
    images, index = pictures(num, size), torch.arange(num) + 100
    before, states = images.clone(), (torch.get_rng_state(), np.random.get_state()[1].copy())
    corruption = Corruption(name, severity)
    result = corruption(images, index=index)
    assert result.shape == images.shape and result.dtype == images.dtype
    assert float(result.min()) >= 0 and float(result.max()) <= 1
    assert torch.equal(images, before), "the input was changed"
    assert torch.equal(torch.get_rng_state(), states[0]) and (np.random.get_state()[1] == states[1]).all()
    assert rms(result, images) > 1e-3
    order = torch.arange(num).flip(0)
    torch.testing.assert_close(corruption(images[order], index=index[order])[order], result, atol=1e-5, rtol=0)
    torch.testing.assert_close(corruption(images[1:2], index=index[1:2]), result[1:2], atol=1e-5, rtol=0)
    other = Corruption(name, severity, seed=1)(images, index=index)
    assert torch.equal(other, result) != (name in RANDOM), "random ones, and only they, depend on the seed"


@pytest.mark.parametrize("name", ALL)
def test_options(name):
    images = pictures()
    result = Corruption(name, 4)(images)
    levels = Corruption(name, 4, quantize=True)(images) * 255
    assert bool((levels - levels.round()).abs().max() < 1e-4)
    assert bool((levels / 255 <= result + 1e-5).all()) and bool((levels / 255 > result - 1 / 255 - 1e-5).all())
    assert Corruption(name, 5)(torch.zeros(1, 3, 32, 32)).isfinite().all()
    assert Corruption(name, 5, table=224)(images[..., :9, :7]).isfinite().all(), "strengths beyond the image's size"
    for dtype in (torch.float64, torch.float16, torch.bfloat16):
        converted = images.to(dtype)
        assert torch.equal(Corruption(name, 2)(converted), Corruption(name, 2)(converted.float()).to(dtype))
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(Corruption(name, 4)(images), result)


@pytest.mark.parametrize("name", ALL)
def test_grey_images(name):
    grey = pictures(channels=1)
    three, one = (Corruption(name, 4)(v) for v in (grey.expand(-1, 3, -1, -1), grey))
    is_grey = bool((three.amax(1) - three.amin(1)).max() < 1e-6)
    assert is_grey == (name not in COLOURING)
    if is_grey:
        torch.testing.assert_close(one, three[:, :1], atol=1e-5, rtol=0)
    if name in ("frost", "spatter", "saturate"):
        torch.testing.assert_close(one, c.digital.luma(three))


MONOTONE = ["gaussian_noise", "shot_noise", "impulse_noise", "speckle_noise", "brightness", "contrast", "defocus_blur",
            "zoom_blur", "jpeg_compression"]  # fmt: skip


@pytest.mark.parametrize("size", c.severities.SIZES)
@pytest.mark.parametrize("name", MONOTONE)
def test_where_higher_is_stronger(name, size):
    """The published tables of elastic transform, frost, glass blur, spatter, saturate and fog are not monotone."""
    images = pictures(4, size)
    changes = [rms(Corruption(name, s)(images), images) for s in c.severities.SEVERITIES]
    assert changes == sorted(changes)


ZERO = {
    "gaussian_noise": (0.0,), "impulse_noise": (0.0,), "speckle_noise": (0.0,), "gaussian_blur": (0.0,),
    "defocus_blur": (0.5, 0.0), "glass_blur": (0.0, 1, 0), "motion_blur": (0, 1.0), "zoom_blur": (1.0,),
    "snow": (0.0, 0.1, 1.0, 2.0, 1, 1.0, 1.0), "frost": (1.0, 0.0), "fog": (0.0, 2.0), "brightness": (0.0,),
    "contrast": (1.0,), "saturate": (1.0, 0.0), "pixelate": (1.0,), "elastic_transform": (0.0, 2.0, 0.0),
    "spatter": (0.0, 0.1, 1.0, 2.0, 1.0, 1),
}  # fmt: skip


@pytest.mark.parametrize("name", ZERO)
def test_no_strength_is_the_identity(name):
    images = pictures()
    images[0], images[1] = 0, 1
    function, draws = (FIXED | RANDOM)[name], {"draws": Draws(range(4))} if name in RANDOM else {}
    result = function(images, *ZERO[name], **draws)
    torch.testing.assert_close(result, images, atol=2e-5, rtol=0)


def test_noise_has_the_stated_moments():
    grey, draws = torch.full((2, 3, 128, 128), 0.5), lambda: Draws([1, 2])
    assert float(c.noise.gaussian_noise(grey, 0.2, draws=draws()).std()) == pytest.approx(0.2, rel=0.02)
    assert float(c.noise.speckle_noise(grey, 0.2, draws=draws()).std()) == pytest.approx(0.1, rel=0.02)
    shot = c.noise.shot_noise(grey, 40, draws=draws())
    assert float(shot.mean()) == pytest.approx(0.5, rel=0.02) and float(shot.var()) == pytest.approx(0.0125, rel=0.05)
    hit = c.noise.impulse_noise(grey, 0.3, draws=draws())
    for value, share in ((0, 0.15), (1, 0.15), (0.5, 0.7)):
        assert float((hit == value).float().mean()) == pytest.approx(share, abs=0.01)


def test_severities_and_identities_draw_apart():
    seeds = {image_seed(s, i, name, v) for s in range(3) for i in range(50) for name in ALL[:3] for v in range(1, 6)}
    assert len(seeds) == 3 * 50 * 3 * 5
    same = pictures(1).expand(3, -1, -1, -1)
    a, b, again = Corruption("gaussian_noise")(same, index=torch.tensor([7, 8, 7]))
    assert torch.equal(a, again) and not torch.equal(a, b)


def test_glass_blur_copies_like_the_pixel_by_pixel_loop():
    height, width, shift, iterations = 14, 17, 3, 2
    offsets = Draws([5, 6]).integers(-shift, shift, iterations, 2, height, width)
    expected = torch.arange(height * width).view(height, width).repeat(2, 1, 1).numpy()
    for image, own in zip(expected, offsets.numpy()):
        for dy, dx in own:
            for h in range(height - shift, shift, -1):
                for w in range(width - shift, shift, -1):
                    image[h, w] = image[h + dy[h, w], w + dx[h, w]]
    np.testing.assert_array_equal(c.blur.taken_from(offsets, shift).numpy(), expected)


@pytest.mark.parametrize("degrees", [-45.0, -90.0, 0.0, 31.0, 137.0])
def test_motion_kernel_is_a_sum_of_shifted_images(degrees):
    image, radius, sigma = pictures(1, channels=1), 5, 4.0
    weights = np.exp(-(np.arange(11) ** 2) / (2 * sigma**2))
    padded, expected = np.pad(image[0, 0].double().numpy(), 10, mode="edge"), np.zeros((32, 32))
    for step, weight in enumerate(weights / weights.sum()):
        dx, dy = (round(step * f(np.deg2rad(degrees))) for f in (np.cos, np.sin))
        expected += weight * padded[10 + dy : 42 + dy, 10 + dx : 42 + dx]
    result = c.filters.correlate(image, c.blur.motion_kernel(radius, sigma, torch.tensor([degrees])), "edge")
    np.testing.assert_allclose(result[0, 0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize(("border", "mode"), [("edge", "nearest"), ("symmetric", "reflect"), ("reflect", "mirror")])
@pytest.mark.parametrize("sigma", [0.4, 2.0, 15.0])
def test_gaussian_filter_is_scipy_s(border, mode, sigma):
    image = pictures(1, 32)[:, :, :20]
    expected = ndimage.gaussian_filter(image.double().numpy(), (0, 0, sigma, sigma), mode=mode, truncate=3.0)
    np.testing.assert_allclose(c.filters.gaussian_filter(image, sigma, border, 3.0).numpy(), expected, atol=1e-6)


@pytest.mark.parametrize(("radius", "alias"), [(0.3, 0.4), (3, 0.1), (8, 0.5), (10, 0.5)])
def test_defocus_is_a_correlation_with_a_disk(radius, alias):
    image, (reach, width) = pictures(1, 64, channels=1), (8, 1) if radius <= 8 else (10, 2)
    y, x = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disk = (x**2 + y**2 <= radius**2) / np.sum(x**2 + y**2 <= radius**2)
    disk = ndimage.gaussian_filter(disk, alias, mode="mirror", radius=width)
    expected = ndimage.correlate(image[0, 0].double().numpy(), disk, mode="mirror")
    np.testing.assert_allclose(c.blur.defocus_blur(image, radius, alias)[0, 0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("factor", [1.01, 1.03, 1.12, 1.25, 2.25, 4.5])
@pytest.mark.parametrize("size", c.severities.SIZES)
def test_zoom_is_scipy_s(size, factor):
    image = pictures(1, size)
    crop = int(np.ceil(size / factor))
    top = (size - crop) // 2
    middle = image[0, 0, top : top + crop, top : top + crop].double().numpy()
    zoomed = ndimage.zoom(middle, factor, order=1)
    trim = (len(zoomed) - size) // 2
    expected = zoomed[trim : trim + size, trim : trim + size]
    np.testing.assert_allclose(c.filters.central_zoom(image, factor)[0, 0].numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("size", c.severities.SIZES)
def test_pixelate_is_pillow_s(size):
    image = pictures(1, size)
    for severity in c.severities.SEVERITIES:
        (scale,) = c.severities.parameters("pixelate", severity, size)
        small = pillow(image).resize((int(size * scale),) * 2, Image.Resampling.BOX)
        expected = np.asarray(small.resize((size, size), Image.Resampling.BOX)) / 255
        assert np.abs(array(c.digital.pixelate(image, scale)) - expected).max() <= 1.01 / 255  # Pillow rounds twice


@pytest.mark.parametrize("sides", [(32, 32), (47, 33), (95, 224), (1, 5)], ids=str)
@pytest.mark.parametrize("scale", [0.95, 0.6, 0.5, 0.25, 0.1337])
def test_shrinking_and_enlarging_are_products_with_box_matrices(sides, scale):
    image = torch.rand(2, 3, *sides, dtype=torch.float64).float()
    small = [max(int(n * scale), 1) for n in sides]
    down = [c.filters.box_matrix(n, m) for n, m in zip(sides, small)]
    up = [c.filters.box_matrix(m, n) for n, m in zip(sides, small)]
    means = c.filters.box_means(image, *small)
    torch.testing.assert_close(means, down[0] @ image @ down[1].T, atol=1e-6, rtol=0)
    assert torch.equal(c.filters.enlarge(means, *sides), up[0] @ means @ up[1].T)


def test_enlarging_follows_the_box_where_pytorchs_own_takes_another_pixel():
    pairs = [(m, n) for n in range(32, 200, 7) for m in range(5, n, 11)]
    odd = [pair for pair in pairs if c.filters._nearest(*pair) is not None]
    assert odd and len(odd) < len(pairs) / 4
    for m, n in odd[:5]:
        row = torch.arange(float(m)).view(1, 1, 1, m)
        assert torch.equal(c.filters.enlarge(row, 1, n)[0, 0, 0], c.filters.box_matrix(m, n) @ row[0, 0, 0])


def test_jpeg_is_pillow_s(tmp_path):
    image = pictures(1, 64)
    pillow(image).save(tmp_path / "a.jpg", quality=25)
    expected = np.asarray(Image.open(tmp_path / "a.jpg")) / 255
    assert np.abs(array(c.digital.jpeg_compression(image, 25)) - expected).max() <= 1.01 / 255


@pytest.mark.parametrize(("name", "numbers", "channel"), [("brightness", (0.3,), 2), ("saturate", (2.0, 0.1), 1)])
def test_hsv_is_matplotlib_s(name, numbers, channel):
    image = pictures(1)
    hsv = rgb_to_hsv(array(image).astype(float))
    hsv[..., channel] = np.clip(hsv[..., channel] * (*numbers, 1)[0 if channel == 1 else 1] + numbers[-1], 0, 1)
    np.testing.assert_allclose(array(FIXED[name](image, *numbers)), hsv_to_rgb(hsv), atol=1e-5)


def test_elastic_transform_is_an_affine_map_and_a_displacement():
    image, (alpha, sigma, jitter) = pictures(1, 32), (20.0, 3.0, 4.0)
    draws = Draws([3])
    moves, field = draws.uniform(3, 2, low=-jitter, high=jitter), draws.uniform(2, 32, 32, low=-1.0, high=1.0)
    old = np.array([[26, 26], [26, 6], [6, 6]], dtype=float)  # (x, y) around the centre 16, a third of 32 away
    new = np.c_[old + moves[0].double().numpy(), np.ones(3)]
    back = np.linalg.solve(new, old)
    y, x = np.mgrid[:32, :32]
    from_x, from_y = np.moveaxis(np.stack([x, y, np.ones_like(x)], -1) @ back, -1, 0)
    tilted = ndimage.map_coordinates(image[0, 0].double().numpy(), [from_y, from_x], order=1, mode="mirror")
    dy, dx = alpha * ndimage.gaussian_filter(field[0].double().numpy(), (0, sigma, sigma), truncate=3.0)
    expected = ndimage.map_coordinates(tilted, [y + dy, x + dx], order=1, mode="reflect")
    result = c.digital.elastic_transform(image, alpha, sigma, jitter, draws=Draws([3]))
    np.testing.assert_allclose(result[0, 0].numpy(), expected, atol=1e-4)


def test_plasma_displaces_midpoints():
    size, decay = 8, 1.5
    displacement = Draws([4]).uniform(size, size, low=-1.0, high=1.0)[0].double().numpy()
    points, step, reach = np.zeros((size, size)), size, 1.0
    while step >= 2:
        h = step // 2
        at = lambda i, j: points[i % size, j % size]  # noqa: E731
        grid = range(0, size, step)
        for i, j in ((i + h, j + h) for i in grid for j in grid):
            points[i, j] = (at(i - h, j - h) + at(i - h, j + h) + at(i + h, j - h) + at(i + h, j + h)) / 4
            points[i, j] += reach * displacement[i, j]
        for i, j in [(i, j + h) for i in grid for j in grid] + [(i + h, j) for i in grid for j in grid]:
            points[i, j] = (at(i - h, j) + at(i + h, j) + at(i, j - h) + at(i, j + h)) / 4 + reach * displacement[i, j]
        step, reach = h, reach / decay**2
    points = (points - points.min()) / np.ptp(points)
    np.testing.assert_allclose(c.plasma.plasma(Draws([4]), size, size, decay)[0].numpy(), points, atol=1e-5)


@pytest.mark.parametrize("size", [7, 64])
def test_distances_are_scipy_s(size):
    marks = torch.rand(3, 1, size, size + 3, generator=torch.Generator().manual_seed(0)) < 0.02
    marks[0], marks[1, 0, 2, 3] = False, True
    for image, result in zip(marks[1:, 0].numpy(), c.spatter.distance_to(marks, 20)[1:, 0].numpy()):
        np.testing.assert_allclose(result, np.minimum(ndimage.distance_transform_edt(~image), 20), atol=1e-5)
    assert bool((c.spatter.distance_to(marks, 20)[0] == 20).all())


def test_impulses_are_what_the_draws_say():
    images, draws = pictures(2, 64), lambda: Draws([3, 4])
    chance = draws().uniform(3, 64, 64)
    for share in (0.0, 0.03, 0.5, 1.0):
        expected = torch.where(chance < share / 2, 0.0, torch.where(chance >= 1 - share / 2, 1.0, images))
        assert torch.equal(c.noise.impulse_noise(images, share, draws=draws()), expected)


def test_bent_lines_are_cubic():
    points = torch.rand(2, 2, 9, 9)
    expected = F.interpolate(points, size=(40, 33), mode="bicubic", align_corners=True)
    matrices = (c.frost_texture._cubic_matrix(9, n) for n in (40, 33))
    torch.testing.assert_close(c.filters.separable(points, *matrices), expected, atol=1e-5, rtol=0)


def test_frost_is_a_picture_of_its_own():
    texture = c.frost_texture.frost_texture(Draws(range(6)), 64, 64)
    assert float(texture.min()) >= 0 and float(texture.max()) <= 1
    red, _, blue = texture.mean((0, 2, 3)).tolist()
    assert 0.3 < red < blue < 0.8 and float(texture.std()) > 0.1


def test_what_is_drawn_is_the_same_to_the_last_bit_in_any_batch():
    whole, part = Draws(range(9)), Draws([3, 7])
    for call in (lambda d: d.uniform(5, 7), lambda d: d.normal(3, 9), lambda d: d.integers(-2, 3, 11)):
        assert torch.equal(call(whole)[[3, 7]], call(part))
    rates = torch.rand(9, 3, 8) * 20
    assert torch.equal(whole.poisson(rates, 20.0)[[3, 7]], part.poisson(rates[[3, 7]], 20.0))


def test_names():
    corruption = Corruption("fog", 2, table=64, seed=3, quantize=True)
    assert (corruption.name, corruption.corruption, corruption.severity) == ("fog-2", "fog", 2)
    assert eval(repr(corruption)).__dict__ == corruption.__dict__ == pickle.loads(pickle.dumps(corruption)).__dict__
    assert repr(Corruption("frost")) == "Corruption('frost', severity=3, seed=0)"
    assert len(COMMON_CORRUPTIONS) == 15 and len(set(ALL)) == 19 and set(ALL) == {*FIXED, *RANDOM}


def test_refusals():
    with pytest.raises(ValueError, match=r"unknown corruption 'gausian_noise'; did you mean 'gaussian_noise'"):
        Corruption("gausian_noise")
    for severity in (0, 6, 2.5):
        with pytest.raises(ValueError, match=f"severity must be 1, 2, 3, 4 or 5, as published; got {severity}"):
            Corruption("fog", severity)
    for table in (31, 0, -64, 96.5, True):
        with pytest.raises(
            ValueError, match=rf"table must be a whole number of pixels, at least 32.*got table={table}"
        ):
            Corruption("fog", table=table)
    fog = Corruption("fog")
    for shape in ((28, 28), (31, 400), (400, 8)):
        with pytest.raises(ValueError, match=f"{shape[0]} x {shape[1]} pixels are too small.*table=32"):
            fog(torch.rand(2, 3, *shape))
    with pytest.raises(ValueError, match="1 or 3 channels; got 4"):
        fog(torch.rand(2, 4, 32, 32))
    with pytest.raises(ValueError, match=r"pixels in \[0, 1\]; found values from"):
        fog(torch.randn(2, 3, 32, 32))
    with pytest.raises(ValueError, match=r"2 images need an index of shape \(2,\); got \(3,\)"):
        fog(torch.rand(2, 3, 32, 32), index=torch.arange(3))
