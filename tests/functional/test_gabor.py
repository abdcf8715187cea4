import math

import numpy as np
import pytest
import torch

from neuroalign.functional import gabor_energy, gabor_filters
from tests import references as ref


def grating(theta, wavelength, phase=0.0, size=32):
    y, x = torch.meshgrid(torch.arange(float(size)), torch.arange(float(size)), indexing="ij")
    wave = torch.cos(2 * math.pi * (x * math.cos(theta) + y * math.sin(theta)) / wavelength + phase)
    return (0.5 + 0.4 * wave)[None, None]


def test_against_the_reference():
    images = torch.rand(2, 1, 9, 11, dtype=torch.float64)
    filters = gabor_filters(5, 3.0, 3).double()
    energy = gabor_energy(images, filters)
    for o in range(3):
        expected = ref.gabor_energy_naive(images[1, 0].numpy(), filters[o, 0].numpy(), filters[o, 1].numpy())
        np.testing.assert_allclose(energy[1, o], expected, atol=1e-5)


@pytest.mark.parametrize("preferred", range(4))
def test_each_orientation_prefers_its_own_grating(preferred):
    filters = gabor_filters(13, 6.0, 4)
    energy = gabor_energy(grating(preferred * math.pi / 4, 6.0), filters)[0, :, 10:-10, 10:-10].mean((1, 2))
    assert int(energy.argmax()) == preferred


def test_energy_ignores_phase_and_brightness():
    filters = gabor_filters(13, 6.0, 4)
    energies = [gabor_energy(grating(0.0, 6.0, p), filters)[0, 0, 12:-12, 12:-12].mean() for p in (0.0, 1.0, 2.5)]
    assert max(energies) / min(energies) < 1.05
    bright = gabor_energy(grating(0.3, 6.0) + 0.1, filters)
    torch.testing.assert_close(bright, gabor_energy(grating(0.3, 6.0), filters), atol=1e-5, rtol=1e-4)


def test_filters_have_zero_mean_and_unit_norm():
    filters = gabor_filters(9, 4.0, 6)
    assert filters.sum((-2, -1)).abs().max() < 1e-5
    torch.testing.assert_close(filters.flatten(2).norm(dim=-1), torch.ones(6, 2))


def test_normalisation_bounds_energy():
    images = torch.rand(2, 3, 16, 16)
    assert gabor_energy(images, gabor_filters(5, 3.0), normalize=0.1).amax() <= 4


def test_refusals():
    with pytest.raises(ValueError, match="must be odd"):
        gabor_filters(6, 3.0)
    with pytest.raises(ValueError, match="at least 2 pixels"):
        gabor_filters(5, 1.5)
