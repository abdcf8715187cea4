import math

import numpy as np
import pytest
import scipy.linalg
import torch

from neuroalign.functional import principal_angles, subspace_overlap
from tests.geometry_references import descriptors as ref

D = torch.float64


def test_angles_are_those_of_scipy():
    rng = np.random.default_rng(0)
    u, v = rng.standard_normal((9, 3)), rng.standard_normal((9, 4))
    expected = np.sort(scipy.linalg.subspace_angles(u, v))
    np.testing.assert_allclose(principal_angles(torch.from_numpy(u), torch.from_numpy(v)), expected, atol=1e-12)


def test_known_angles():
    e = torch.eye(4, dtype=D)
    turned = torch.stack(
        [e[0] * math.cos(1e-9) + e[2] * math.sin(1e-9), e[1] * math.cos(1.0) + e[3] * math.sin(1.0)], 1
    )
    found = principal_angles(e[:, :2], turned)
    np.testing.assert_allclose(found, [1e-9, 1.0], rtol=1e-6)  # a cosine would have lost the small one
    assert principal_angles(torch.cat([e[:, :2], e[:, :2]], 1), turned).shape == (2,)


@pytest.mark.parametrize("bad", [torch.zeros(4, 2), torch.eye(3), torch.full((4, 1), torch.nan)])
def test_bad_matrices(bad):
    with pytest.raises(ValueError, match=r"zero matrix|equal width|NaN"):
        principal_angles(torch.eye(4), bad)


def test_overlap_by_definition():
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(90, 7, generator=g, dtype=D) * torch.arange(1, 8), torch.arange(90) % 3
    found = subspace_overlap(x, y, variance=0.8)
    bases = []
    for c in range(3):
        _, s, vh = np.linalg.svd((x[y == c] - x[y == c].mean(0)).numpy())
        rank = int(np.searchsorted(np.cumsum(s**2) / np.sum(s**2), 0.8)) + 1
        bases.append(vh[:rank].T)
    for i in range(3):
        for j in range(3):
            assert float(found[i, j]) == pytest.approx(ref.subspace_overlap(bases[i], bases[j]), rel=1e-9)


def test_overlap_closed_forms():
    e = torch.eye(6, dtype=D)
    cloud = lambda *axes: torch.cat([e[list(axes)], -e[list(axes)]])  # noqa: E731
    x = torch.cat([cloud(0, 1), cloud(0, 1, 2, 3), cloud(4, 5), e[:2] * 0])
    y = torch.tensor([0] * 4 + [1] * 8 + [2] * 4 + [3] * 2)
    found = subspace_overlap(x, y, variance=1.0)
    assert found[0, 1] == pytest.approx(1) and found[0, 2] == pytest.approx(0) and found[0, 0] == pytest.approx(1)
    assert bool(found[3].isnan().all())


def test_random_subspaces_overlap_by_their_share():
    g = torch.Generator().manual_seed(0)
    x = torch.cat([torch.randn(6, 200, generator=g, dtype=D) for _ in range(20)])
    found = subspace_overlap(x, torch.arange(20).repeat_interleave(6), variance=1.0)
    off = found[~torch.eye(20, dtype=torch.bool)]
    assert float(off.mean()) == pytest.approx(5 / 200, rel=0.1)


def test_bad_overlap():
    with pytest.raises(ValueError, match="variance"):
        subspace_overlap(torch.eye(4), torch.tensor([0, 0, 1, 1]), variance=0.0)
    with pytest.raises(ValueError, match="NaN"):
        subspace_overlap(torch.eye(4) * torch.nan, torch.tensor([0, 0, 1, 1]))
