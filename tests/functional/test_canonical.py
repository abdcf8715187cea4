"""The CCA family."""

import numpy as np
import pytest
import torch

from neuroalign.functional import cca, pwcca, svcca
from tests import similarity_references as ref


def sets(n=40, p=5, v=6):
    g = torch.Generator().manual_seed(0)
    x, y = torch.randn(n, p, generator=g).double(), torch.randn(n, v, generator=g).double()
    y[:, :3] += x[:, :3]
    return x, y


def test_against_the_reference():
    x, y = sets()
    np.testing.assert_allclose(cca(x, y).numpy(), ref.cca(x.numpy(), y.numpy()), rtol=1e-8)
    assert float(svcca(x, y, variance=0.8)) == pytest.approx(ref.svcca(x.numpy(), y.numpy(), 0.8), rel=1e-8)
    assert float(pwcca(x, y)) == pytest.approx(ref.pwcca(x.numpy(), y.numpy()), rel=1e-8)


def test_invariances():
    x, y = sets()
    g = torch.Generator().manual_seed(1)
    mixed = x @ torch.randn(5, 5, generator=g).double() + 3
    torch.testing.assert_close(cca(mixed, y), cca(x, y))
    rotated = x @ torch.linalg.qr(torch.randn(5, 5, generator=g).double())[0]
    torch.testing.assert_close(svcca(rotated, y, variance=0.8), svcca(x, y, variance=0.8))
    assert not torch.isclose(svcca(mixed, y, variance=0.8), svcca(x, y, variance=0.8))
    assert not torch.isclose(pwcca(mixed, y), pwcca(x, y))


def test_duplicate_columns_change_nothing():
    x, y = sets()
    torch.testing.assert_close(cca(torch.cat([x, x[:, :2]], 1), y), cca(x, y))


def test_stimuli_with_missing_values_are_left_out():
    x, y = sets()
    y[3, 2], y[:, 5] = torch.nan, torch.nan
    kept = torch.arange(40) != 3
    for measure in (cca, svcca, pwcca):
        torch.testing.assert_close(measure(x, y), measure(x[kept], y[kept][:, :5]))
    times = torch.tensor([1, 2, 3, 1, 1])
    repeated = svcca(x, y[:, :5].repeat_interleave(times, 1), variance=0.8)
    torch.testing.assert_close(svcca(x, y[:, :5], variance=0.8, weight=times / 3.0), repeated)


@pytest.mark.parametrize("measure", [cca, pwcca])
def test_too_few_stimuli_are_refused(measure):
    with pytest.raises(ValueError, match=r"CCA of 6 stimuli with 5 features and 6 voxels is undetermined.*linear_cka"):
        measure(*sets(n=6))
    with pytest.warns(RuntimeWarning, match="2 of the canonical correlations are 1 whatever the data"):
        measure(*sets(n=10))


def test_bad_variance():
    with pytest.raises(ValueError, match=r"in \(0, 1\]; got 0"):
        svcca(*sets(), variance=0)
    with pytest.raises(ValueError, match="Keep less variance"):
        svcca(*sets(n=6), variance=1.0)
