"""Corruptions against an independent NumPy and SciPy form: fixed ones value by value, random ones by their moments."""

import numpy as np
import pytest
import torch

from neuroalign import Corruption
from neuroalign.perturbations.corruptions import severities
from tests.perturbations.corruptions import references as ref

FIXED = [
    "gaussian_blur",
    "defocus_blur",
    "zoom_blur",
    "contrast",
    "brightness",
    "saturate",
    "jpeg_compression",
    "pixelate",
]
MOMENTS = {
    "gaussian_noise": ref.gaussian_noise_moments,
    "shot_noise": ref.shot_noise_moments,
    "impulse_noise": ref.impulse_noise_moments,
    "speckle_noise": ref.speckle_noise_moments,
}


def picture(size, seed=0):
    """Smooth shapes with hard edges and some noise, in colour: (size, size, 3) in [0, 1]."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    bands = [0.5 + 0.5 * np.sin(2 * np.pi * (a * x + b * y) + c) for a, b, c in rng.uniform(-4, 4, (3, 3))]
    image = np.stack(bands, -1)
    image[size // 4 : size // 2, size // 3 : size // 2] = rng.random(3)
    return np.clip(image + 0.05 * rng.standard_normal(image.shape), 0, 1)


def parameters(name, severity, size):
    values = severities.parameters(name, severity, size)
    return [tuple(values)] if name == "zoom_blur" and len(values) > 1 else list(values)


@pytest.mark.parametrize("severity", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("size", [32, 64, 224])
@pytest.mark.parametrize("name", FIXED)
def test_fixed_corruptions(name, size, severity):
    image = picture(size)
    tensor = torch.from_numpy(image).permute(2, 0, 1)[None].float()
    found = Corruption(name, severity)(tensor)[0].permute(1, 2, 0).double().numpy()
    expected = np.clip(getattr(ref, name)(image, *parameters(name, severity, size)), 0, 1)
    assert np.abs(found - expected).max() <= 1.5 / 255
    assert name == "jpeg_compression" or np.abs(found - image).max() > 1.5 / 255 or size == 32, "nothing was changed"


@pytest.mark.parametrize("severity", [1, 3, 5])
@pytest.mark.parametrize("name", MOMENTS)
def test_random_corruptions_have_the_moments_of_their_formula(name, severity):
    levels = torch.tensor([0.0, 0.1, 0.5, 0.9, 1.0])
    images = levels[:, None, None, None].expand(5, 3, 32, 32)
    draws = [Corruption(name, severity, seed=s)(images, index=torch.arange(5)) for s in range(10)]
    values = torch.cat(draws, 2).double().flatten(1).numpy()  # 30,720 draws a level
    (parameter,) = severities.parameters(name, severity, 32)
    for level, drawn in zip(levels.double().numpy(), values):
        mean, variance = MOMENTS[name](np.array([[[level] * 3]]), parameter)
        mean, variance = float(mean.mean()), float(variance.mean())
        n = len(drawn)
        assert abs(drawn.mean() - mean) <= 5 * np.sqrt(variance / n) + 1e-6
        fourth = ((drawn - drawn.mean()) ** 4).mean()
        assert abs(drawn.var() - variance) <= 5 * np.sqrt(max(fourth - variance**2, 0) / n) + 1e-6


def test_the_tables_are_the_published_ones():
    """A few numbers of each table by hand."""
    assert severities.parameters("gaussian_noise", 5, 224) == (0.38,)
    assert severities.parameters("fog", 1, 32) == (0.2, 3.0)
    assert tuple(severities.parameters("elastic_transform", 2, 64)) == (3.2, 19.2, 3.84)
    assert severities.parameters("jpeg_compression", 4, 32) == (50,)
