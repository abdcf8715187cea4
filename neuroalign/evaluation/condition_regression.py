"""A linear regression over networks whose rows belong to conditions, with intervals from leaving out a condition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

__all__: list[str] = []


@dataclass(frozen=True)
class Regression:
    """Robustness on one measure, given clean accuracy and fixed effects.

    Args:
        x: The measure (row,).
        y: Robustness (row,).
        clean: Clean accuracy (row,).
        fixed: Intercept and fixed effects (row, column).
        group: Condition of each row (row,).
    """

    x: np.ndarray
    y: np.ndarray
    clean: np.ndarray
    fixed: np.ndarray
    group: np.ndarray

    @property
    def given(self) -> np.ndarray:
        """What the measure competes with: (row, column); without clean accuracy where that is constant."""
        if vanishes(residuals(self.clean, self.fixed), self.clean):
            return self.fixed
        return np.column_stack([self.fixed, self.clean])

    def without(self, group: Any) -> Regression:
        """The same without one condition."""
        keep = self.group != group
        return Regression(*(each[keep] for each in (self.x, self.y, self.clean, self.fixed, self.group)))

    def estimate(self) -> tuple[float, float]:
        """Slope and partial correlation; NaN where the measure or robustness doesn't vary given the rest."""
        left = residuals(np.column_stack([self.x, self.y]), self.given)
        x, y = left.T
        if vanishes(x, self.x):
            return float("nan"), float("nan")
        correlation = float("nan") if vanishes(y, self.y) else float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))
        return float(x @ y / (x @ x)), correlation

    def without_clean(self) -> float:
        """Correlation given the fixed effects alone."""
        x, y = residuals(np.column_stack([self.x, self.y]), self.fixed).T
        return float(x @ y / (np.linalg.norm(x) * np.linalg.norm(y)))

    def by_means(self, confidence: float) -> Mapping[str, float]:
        """Ordinary least squares over rows that are conditions, and Fisher's interval of the partial correlation."""
        import statsmodels.api as sm
        from scipy.stats import norm

        sd = float(self.x.std(ddof=1))
        fit = sm.OLS(self.y, np.column_stack([self.given, self.x / sd])).fit()
        low, high = fit.conf_int(1 - confidence)[-1]
        df = int(fit.df_resid)
        half = float(norm.ppf((1 + confidence) / 2)) / (df - 1) ** 0.5 if df > 1 else float("inf")
        return {"df": df, "slope": float(fit.params[-1]), "low": float(low), "high": float(high),
                "p": float(fit.pvalues[-1]), **_partial(self.estimate()[1], half)}  # fmt: skip

    def by_leaving_out(self, confidence: float) -> Mapping[str, float] | None:
        """Least squares with standard errors from leaving out each condition; None if one condition holds all variation."""
        from scipy.stats import t

        groups = pd.unique(self.group)
        number, df = len(groups), len(groups) - 1
        whole = _fisher(self.estimate())
        others = np.array([_fisher(self.without(group).estimate()) for group in groups])
        if not np.isfinite(others).all():
            return None
        slope, z = whole
        slope_error, z_error = (df / number * ((others - whole) ** 2).sum(0)) ** 0.5
        quantile = float(t.ppf((1 + confidence) / 2, df))
        sd = float(
            np.linalg.norm(residuals(self.x, self.fixed)) / (len(self.x) - np.linalg.matrix_rank(self.fixed)) ** 0.5
        )
        low, high = sd * (slope - quantile * slope_error), sd * (slope + quantile * slope_error)
        p = float(2 * t.sf(abs(slope) / slope_error, df))
        return {"df": df, "slope": float(sd * slope), "low": float(low), "high": float(high), "p": p,
                **_partial(float(np.tanh(z)), float(quantile * z_error))}  # fmt: skip


def rests_on(regression: Regression, p: float) -> list[str]:
    """A sentence if one condition alone moves the p value of a regression over conditions' means across 0.05."""
    if p >= 0.05:
        return []
    without = {group: regression.without(group).by_means(0.95)["p"] for group in regression.group}
    group = max(without, key=lambda each: without[each])
    return [f"rests on '{group}': p = {without[group]:.2g} without it"] if without[group] >= 0.05 else []


def residuals(values: np.ndarray, given: np.ndarray) -> np.ndarray:
    """What a linear regression on ``given`` (row, column) leaves of the values (row,) or (row, several)."""
    return values - given @ np.linalg.lstsq(given, values, rcond=None)[0]


def vanishes(left: np.ndarray, values: np.ndarray) -> bool:
    """Whether nothing but rounding is left of the values."""
    return bool(np.linalg.norm(left) <= 1e-8 * max(float(np.linalg.norm(values)), 1e-300))


def _fisher(estimate: tuple[float, float]) -> np.ndarray:
    """Slope, and Fisher's z of the correlation, which rounding may have taken to 1."""
    return np.array([estimate[0], np.arctanh(np.clip(estimate[1], -1 + 1e-12, 1 - 1e-12))])


def _partial(partial: float, half: float) -> dict[str, float]:
    z = float(_fisher((0.0, partial))[1])
    return {"partial_r": partial, "partial_low": float(np.tanh(z - half)), "partial_high": float(np.tanh(z + half))}
