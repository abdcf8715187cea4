"""Intervals of shares: against an independent maximisation of the likelihood, and coverage."""

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from scipy.stats import norm

from neuroalign.functional import tango, wilson


def score(only_first, only_second, total, difference):
    """Score statistic of a supposed difference, the nuisance share found by search instead of its closed form."""
    neither = total - only_first - only_second

    def loss(share):  # of items that the second alone gets right; the first's own share is that plus the difference
        shares = np.array([share + difference, share, 1 - 2 * share - difference])
        counts = np.array([only_first, only_second, neither])
        if (shares < 0).any() or (shares[counts > 0] <= 0).any():
            return np.inf
        return -float(counts[counts > 0] @ np.log(shares[counts > 0]))

    low, high = max(0.0, -difference), (1 - difference) / 2
    share = minimize_scalar(loss, bounds=(low, high), method="bounded", options={"xatol": 1e-13}).x
    return (only_first - only_second - total * difference) / (total * (2 * share + difference - difference**2)) ** 0.5


@pytest.mark.parametrize("counts", [(12, 2, 50), (2, 12, 50), (1, 1, 20), (30, 5, 40), (150, 86, 1600), (3, 0, 200)])
@pytest.mark.parametrize("confidence", [0.9, 0.95])
def test_at_the_ends_the_score_is_the_quantile(counts, confidence):
    low, high = tango(*counts, confidence)
    quantile = norm.ppf((1 + confidence) / 2)
    assert score(*counts, low) == pytest.approx(quantile, abs=1e-4)
    assert score(*counts, high) == pytest.approx(-quantile, abs=1e-4)


@pytest.mark.parametrize("total", [1, 10, 1000])
def test_items_that_do_not_differ_leave_an_interval(total):
    """With no discordant item the score's ends are those of a share of 0: z^2 / (n + z^2)."""
    z2 = norm.ppf(0.975) ** 2
    assert tango(0, 0, total) == pytest.approx((-z2 / (total + z2), z2 / (total + z2)))


def test_all_items_differ():
    low, high = tango(20, 0, 20)
    assert 0 < low < high == 1
    assert tango(0, 20, 20) == pytest.approx((-1, -low))


def test_the_sides_change_with_the_sign():
    low, high = tango(7, 3, 30)
    assert tango(3, 7, 30) == pytest.approx((-high, -low))


@pytest.mark.slow
@pytest.mark.parametrize("n", [10, 50, 200])
@pytest.mark.parametrize("shares", [(0.2, 0.2), (0.25, 0.15), (0.02, 0.02), (0.03, 0.01), (0.06, 0.01)])
def test_it_covers(n, shares):
    """Exactly, over all outcomes that are likely at all."""
    from scipy.stats import multinomial

    covered = 0.0
    for first in range(n + 1):
        if first / n > 6 * shares[0] + 0.2:
            break
        for second in range(n - first + 1):
            if second / n > 6 * shares[1] + 0.2:
                break
            chance = multinomial.pmf([first, second, n - first - second], n, [*shares, 1 - sum(shares)])
            if chance > 1e-6:
                low, high = tango(first, second, n)
                covered += chance * (low <= shares[0] - shares[1] <= high)
    assert covered >= 0.93


def test_counts_that_cannot_be():
    for counts in ((-1, 0, 5), (0, -1, 5), (3, 3, 5), (0, 0, 0)):
        with pytest.raises(ValueError, match="can't be counts"):
            tango(*counts)


def test_wilsons_interval_by_its_formula():
    z = norm.ppf(0.975)
    for correct, total in ((0, 10), (7, 10), (10, 10), (300, 1000)):
        share = correct / total
        middle = (share + z**2 / (2 * total)) / (1 + z**2 / total)
        half = z / (1 + z**2 / total) * (share * (1 - share) / total + z**2 / (4 * total**2)) ** 0.5
        assert wilson(correct, total) == pytest.approx((middle - half, middle + half), abs=1e-12)
