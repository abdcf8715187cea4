"""Capacity of points, balls, segments and ellipsoids by quadrature of their closed forms."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import integrate, optimize, stats

Array = NDArray[np.float64]


def _truncated_moments(low: float, high: float) -> tuple[float, float, float]:
    """int_low^high Dx x^k for k = 0, 1, 2 with Dx the standard normal measure."""
    density_low, density_high = stats.norm.pdf(low), stats.norm.pdf(high)
    mass = stats.norm.cdf(high) - stats.norm.cdf(low)
    edge_low = low * density_low if np.isfinite(low) else 0.0
    edge_high = high * density_high if np.isfinite(high) else 0.0
    return float(mass), float(density_low - density_high), float(mass + edge_low - edge_high)


def point_capacity(kappa: float = 0.0) -> float:
    """1 / int_{-kappa}^inf Dt (t + kappa)^2: isolated points, F = [t_c + kappa]_+^2; 2 at kappa = 0."""
    m0, m1, m2 = _truncated_moments(-kappa, np.inf)
    return 1.0 / (m2 + 2.0 * kappa * m1 + kappa**2 * m0)


def _ball_value(tau: float, h: float, radius: float) -> float:
    """F of a ball, tau = |t_shape|, h = t_c + kappa: squared norm of (tau, h) projected on |x| <= radius * h.

    0 if h <= -radius tau (interior); tau^2 + h^2 if tau <= radius h (embedded);
    (radius tau + h)^2 / (1 + radius^2) between (touching).
    """
    if h <= -radius * tau:
        return 0.0
    if tau <= radius * h:
        return tau**2 + h**2
    return (radius * tau + h) ** 2 / (1.0 + radius**2)


def _chi_average(function: Any, dimension: int) -> float:
    """E function(tau) for tau ~ chi with that many degrees of freedom, by adaptive quadrature."""
    low, high = max(0.0, np.sqrt(dimension) - 12.0), np.sqrt(dimension) + 12.0
    middle = np.sqrt(max(dimension - 0.5, 0.25))
    value, _ = integrate.quad(
        lambda tau: function(tau) * stats.chi.pdf(tau, dimension),
        low,
        high,
        points=[middle],
        epsabs=1e-12,
        epsrel=1e-11,
        limit=400,
    )
    return float(value)


def sphere_capacity(radius: float, dimension: int, kappa: float = 0.0) -> float:
    """Mean-field capacity of L2 balls of radius R (centre norm 1) and dimension D.

    1 / E_{tau ~ chi_D} [ int_{-R tau}^{tau / R} (R tau + h)^2 / (1 + R^2) + int_{tau / R}^inf (tau^2 + h^2) ], both
    over h ~ N(kappa, 1).  Exactly 2 / (D + 1) for R = 1, kappa = 0 (the cone is then self-dual).
    """
    if radius == 0.0:
        return point_capacity(kappa)

    def inner(tau: float) -> float:
        low, high = -radius * tau - kappa, tau / radius - kappa
        m0, m1, m2 = _truncated_moments(low, high)
        shift = radius * tau + kappa
        touching = (shift**2 * m0 + 2.0 * shift * m1 + m2) / (1.0 + radius**2)
        m0, m1, m2 = _truncated_moments(high, np.inf)
        return touching + tau**2 * m0 + m2 + 2.0 * kappa * m1 + kappa**2 * m0

    return 1.0 / _chi_average(inner, dimension)


def sphere_anchor_radius(radius: float, dimension: int, kappa: float = 0.0) -> float:
    """R_M of a ball: sqrt(E |s|^2), |s| = R unless embedded, where s = t_shape / h (|s| = tau / h < R); E s = 0.

    The anchor is always along t_shape, so D_M = D exactly.
    """

    def inner(tau: float) -> float:
        edge = tau / radius
        outside = radius**2 * stats.norm.cdf(edge - kappa)
        embedded, _ = integrate.quad(
            lambda h: (tau / h) ** 2 * stats.norm.pdf(h - kappa), edge, max(edge, kappa) + 14.0, epsabs=1e-13, limit=200
        )
        return float(outside + embedded)

    return float(np.sqrt(_chi_average(inner, dimension)))


def segment_capacity(radius: float, kappa: float = 0.0) -> float:
    """The ball with D = 1 (two end points at +-R); 1 / (1/2 + (2 / pi) arctan R) at kappa = 0."""
    return sphere_capacity(radius, 1, kappa)


def disc_capacity_closed_form(radius: float) -> float:
    """The ball with D = 2, kappa = 0, by intrinsic volumes of a circular cone: 1/(3/2 + sin a - cos a), a = atan R."""
    angle = np.arctan(radius)
    return float(1.0 / (1.5 + np.sin(angle) - np.cos(angle)))


def ellipsoid_value(t_shape: Array, h: float, radii: Array) -> float:
    """Squared norm of (t_shape, h) projected on the cone sum_i (x_i / R_i)^2 <= h^2, h >= 0 (x_i = 0 where R_i = 0).

    Outside the cone and its polar, x_i = t_i R_i^2 / (R_i^2 + mu) for the multiplier mu > 0 at which
    sum_i (x_i / R_i)^2 (1 - mu)^2 = h^2 on the side mu < 1 for h > 0 and mu > 1 for h < 0; with
    mu = (1 + nu) / (1 - nu) both sides become |nu| * sqrt(sum_i (2 t_i R_i / (R_i^2 (1 - nu) + 1 + nu))^2) = |h|.
    """
    t_shape, radii = np.asarray(t_shape, dtype=np.float64), np.asarray(radii, dtype=np.float64)
    if h <= -np.linalg.norm(radii * t_shape):
        return 0.0
    used = radii > 0
    flat_inside = bool(np.all(t_shape[~used] == 0.0))
    if flat_inside and h >= np.linalg.norm(t_shape[used] / radii[used]):
        return float(t_shape @ t_shape + h**2)

    def balance(nu: float) -> float:
        terms = 2.0 * t_shape * radii / (radii**2 * (1.0 - nu) + 1.0 + nu)
        return float(-nu * np.linalg.norm(terms) - h)

    # With a zero radius the range still ends at nu = -1: there the terms of that coordinate vanish.
    low = -1.0 if np.all(used) else -1.0 + 1e-15
    if balance(low) <= 0.0:
        nu = low
    else:
        nu = float(optimize.brentq(balance, low, 1.0, xtol=1e-15, rtol=1e-14, maxiter=500))
    x = t_shape * radii**2 * (1.0 - nu) / (radii**2 * (1.0 - nu) + 1.0 + nu)
    boundary = np.linalg.norm(t_shape * radii * (1.0 - nu) / (radii**2 * (1.0 - nu) + 1.0 + nu))
    return float(x @ x + max(boundary, h if nu == low else 0.0) ** 2)


def ellipsoid_capacity(radii: Array, kappa: float = 0.0, num_draws: int = 20000, seed: int = 0) -> tuple[float, float]:
    """Monte Carlo capacity of ellipsoids with these semi-axes (centre norm 1) and its standard error."""
    radii = np.asarray(radii, dtype=np.float64)
    rng = np.random.default_rng(seed)
    values = np.zeros(num_draws)
    for n in range(num_draws):
        t = rng.standard_normal(len(radii) + 1)
        values[n] = ellipsoid_value(t[:-1], t[-1] + kappa, radii)
    mean = float(values.mean())
    return 1.0 / mean, float(values.std(ddof=1) / np.sqrt(num_draws) / mean**2)
