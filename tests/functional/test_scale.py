"""Formulas in any unit: scaled as they should be, or one clear sentence where the result leaves its dtype."""

from functools import cache

import numpy as np
import pytest
import torch

from neuroalign import functional
from neuroalign.functional.variation import power_of_two

UNITS = (1e-30, 1e-20, 1e-10, 1e10, 1e20, 1e30)
N = 40
LABELS = torch.arange(N) % 5
G = torch.Generator().manual_seed(0)
X = torch.randn(N, 12, generator=G)
Y = X @ torch.randn(12, 9, generator=G) + torch.randn(N, 9, generator=G)
CLOUDS = X + 2 * torch.randn(5, 12, generator=G)[LABELS]
REPEATS = Y[:, None] + torch.randn(N, 3, 9, generator=G)

FREE = {
    **{name: lambda u, name=name: getattr(functional, name)(u * X, u * Y)
       for name in ("linear_cka", "rbf_cka", "rsa", "procrustes", "soft_matching", "cca", "svcca", "pwcca",
                    "ridge_predictivity", "shape_distance")},
    **{name: lambda u, name=name: getattr(functional, name)(u * X[:, :9], u * Y) for name in ("pearson", "cosine")},
    **{name: lambda u, name=name: getattr(functional, name)(u * CLOUDS, LABELS)
       for name in ("participation_ratio", "effective_rank", "nearest_center_signal", "variance_ratio", "separability",
                    "manifold_radius", "subspace_overlap")},
    "manifold_capacity": lambda u: torch.stack(functional.manifold_capacity(u * CLOUDS, LABELS, num_samples=60)[:3]),
    "glue": lambda u: torch.stack(functional.glue(u * CLOUDS, LABELS, num_samples=60, alignment="cosine")[:7]),
    "noise_ceiling": lambda u: functional.noise_ceiling(u * REPEATS),
    "rdm, correlation": lambda u: functional.rdm(u * X, dissimilarity="correlation"),
    "rdm, cosine": lambda u: functional.rdm(u * X, dissimilarity="cosine"),
    "principal_angles": lambda u: functional.principal_angles(u * X[:, :4], u * CLOUDS[:, :3]),
}  # fmt: skip


@cache
def plain(name):
    return FREE[name](1.0)


@pytest.mark.parametrize("unit", UNITS)
@pytest.mark.parametrize("name", FREE)
def test_what_knows_no_unit(name, unit):
    torch.testing.assert_close(FREE[name](unit), plain(name), rtol=1e-3, atol=1e-5)


def ridge_in_numpy(x, y, query, penalty):
    x, y, query = (a.double().numpy() for a in (x, y, query))
    mean = x.mean(0)
    gram = (x - mean).T @ (x - mean) + penalty * np.eye(x.shape[1])
    return (query - mean) @ np.linalg.solve(gram, (x - mean).T @ (y - y.mean(0))) + y.mean(0)


@pytest.mark.parametrize("missing", [False, True])
@pytest.mark.parametrize("unit", UNITS)
def test_ridge(unit, missing):
    x, y, query = X[:30], Y[:30].clone(), X[30:]
    expected = ridge_in_numpy(x, y, query, 2.0)
    if missing:
        y[3, 1:4] = torch.nan
        kept = torch.arange(30) != 3
        expected[:, 1:4] = ridge_in_numpy(x[kept], y[kept][:, 1:4], query, 2.0)
    if 1e-20 < unit < 1e20:  # a number of float32, too
        found = functional.ridge(unit * x, y / unit, unit * query, penalty=torch.tensor(2.0 * unit**2))
        np.testing.assert_allclose(found.double() * unit, expected, rtol=1e-3, atol=1e-4)
    found = functional.ridge(unit * x, unit * y, unit * query, penalty=2.0 * unit**2)
    np.testing.assert_allclose(found.double() / unit, expected, rtol=1e-3, atol=1e-4)
    fit = functional.ridge_cv(unit * X.double(), unit * Y.double(), [0.1 * unit**2, 10.0 * unit**2])
    plain = functional.ridge_cv(X.double(), Y.double(), [0.1, 10.0])
    torch.testing.assert_close(fit.penalty / unit**2, plain.penalty)
    torch.testing.assert_close(fit.coefficients, plain.coefficients)
    torch.testing.assert_close(fit.intercept / unit, plain.intercept)
    gcv = functional.ridge_gcv(unit * X.double(), unit * Y.double(), [0.1 * unit**2, 10.0 * unit**2])
    torch.testing.assert_close(gcv / unit**2, functional.ridge_gcv(X.double(), Y.double(), [0.1, 10.0]))


def test_ridge_whose_penalty_is_out_of_proportion():
    x, y = X[:30], Y[:30]
    alone = functional.ridge(1e-20 * x, y, 1e-20 * X[30:], penalty=1.0)  # features count for nothing: the mean
    torch.testing.assert_close(alone, y.mean(0).expand(10, -1))
    wide = torch.randn(10, 40, generator=torch.Generator().manual_seed(1))
    with pytest.raises(ValueError, match=r"penalty is lost to rounding.*take a larger penalty.*float64"):
        functional.ridge(torch.cat([wide, wide]) * 1e20, torch.cat([Y[:10], Y[:10]]), wide, penalty=1.0)


BAD = torch.tensor([[1.0, torch.nan]]).expand(N, 2)
REFUSED = [
    (lambda: functional.ridge(BAD, Y, X[:, :2]), "x has NaN or infinite values"),
    (lambda: functional.ridge(X[:, :2], Y, BAD), "query has NaN or infinite values"),
    (lambda: functional.ridge(X, Y / 0, X), "y has infinite values"),
    (lambda: functional.ridge(X, Y, X, penalty=torch.inf), "penalty must be finite"),
    (lambda: functional.ridge(X, Y, X, penalty=torch.nan), "penalty must be positive; got nan"),
    (lambda: functional.ridge_gcv(BAD, Y, [1.0]), "x has NaN or infinite values"),
    (lambda: functional.ridge_gcv(X, Y / 0, [1.0]), "y has infinite values"),
    (lambda: functional.ridge_gcv(X, Y, [1.0, 1e40]), r"float32 can't hold penalties from 1 to 1e\+40"),
    (lambda: functional.ridge_cv(BAD, Y, [1.0]), "x has NaN or infinite values"),
    (lambda: functional.ridge_cv(X, Y / 0, [1.0]), "y has infinite values"),
    (lambda: functional.ridge_cv(X, Y, [1e-50]), "float32 can't hold penalties"),
    (lambda: functional.rdm(1e20 * X), r"squared distances of about .*e\+40 leave torch.float32"),
    (lambda: functional.rdm(1e-20 * X), r"squared distances of about .*e-40 leave torch.float32"),
    (lambda: functional.hsic(1e20 * X @ X.T, 1e20 * Y @ Y.T), "HSIC leaves torch.float32"),
    (lambda: functional.hsic(X @ X.T / 0, Y @ Y.T), "kernel matrix k has NaN or infinite values"),
    (lambda: functional.hsic(X @ X.T, torch.full((N, N), torch.nan)), "kernel matrix l has NaN or infinite values"),
    (lambda: functional.gaussian_nll(1e20 * Y, 1e20 * Y), "target has values up to .*squares leave torch.float32"),
    (lambda: functional.center_directions(X[:5] @ X[:5].T / 0), "inner products hold NaN or infinite values"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "message"), REFUSED)
def test_what_leaves_the_dtype_is_said(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_the_same_in_float64_is_right():
    x, y = X.double(), Y.double()
    torch.testing.assert_close(functional.rdm(1e20 * x) / 1e40, functional.rdm(x))
    torch.testing.assert_close(functional.rdm(1e-20 * x) * 1e40, functional.rdm(x))
    torch.testing.assert_close(functional.hsic(1e20 * x @ x.T, y @ y.T) / 1e20, functional.hsic(x @ x.T, y @ y.T))


@pytest.mark.parametrize("unit", UNITS)
def test_a_radius_has_the_unit_of_the_features(unit):
    found = functional.manifold_radius(unit * CLOUDS, LABELS, relative=False) / unit
    expected = [np.sqrt(((c - c.mean(0)) ** 2).sum(1).mean()) for c in (CLOUDS[k == LABELS].numpy() for k in range(5))]
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_dividing_by_a_power_of_two_rounds_nothing():
    for x in (X, X.double(), 1e-38 * X, torch.zeros(3), torch.zeros(0), torch.full((2,), 3e38), X / 0):
        unit = power_of_two(x)
        assert bool(unit.isfinite()) and float(unit) > 0
        assert float(torch.frexp(unit)[0]) == 0.5, "a power of two"
        if bool(x.isfinite().all()):
            assert torch.equal((x / unit) * unit, x) and not bool(((x / unit).abs() >= 2).any())
