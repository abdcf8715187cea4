"""Predicted power against the share of simulated studies that the library's own comparison finds."""

import numpy as np
import pandas as pd
import pytest

from neuroalign.evaluation import Spread, compare, images_needed, power, seeds_needed, spread_of, subjects_needed
from neuroalign.evaluation.variance_components import mean_variance

README = Spread(seed=0.012, image=0.3, rest=0.3)


def simulated(rng, spread, difference, seeds, images, subjects):
    """Differences (row, image) with the parts of a spread."""
    sizes = {"subject": (subjects, 1, 1), "common": (1, seeds, 1), "seed": (subjects, seeds, 1), "image": (1, 1, images),
             "rest": (subjects, seeds, images)}  # fmt: skip
    parts = [getattr(spread, name) * rng.normal(size=size) for name, size in sizes.items()]
    return (difference + sum(parts)).reshape(-1, images)


def found_share(spread, difference, seeds, images, subjects=1, confidence=0.95, studies=400):
    """Share of simulated studies whose interval lies above 0."""
    rng, found = np.random.default_rng(0), 0
    who = None if subjects == 1 else np.repeat(range(subjects), seeds)
    for _ in range(studies):
        rows = simulated(rng, spread, difference, seeds, images, subjects)
        variance = mean_variance(rows, subjects=who, replications=np.tile(range(seeds), subjects))
        found += rows.mean() > variance.half_width(confidence)
    return found / studies


def error(share, studies):
    """Three Monte-Carlo standard errors."""
    return 3 * (max(share * (1 - share), 0.01) / studies) ** 0.5


@pytest.mark.parametrize(("spread", "difference", "seeds", "images", "subjects", "confidence"), [
    (README, 0.03, 4, 500, 1, 0.95),
    (Spread(0.012, 0.1, 0.5), 0.04, 3, 300, 1, 0.95),
    (Spread(0.0, 0.3, 0.3), 0.05, 4, 300, 1, 0.95),  # only images vary
    (Spread(0.03, 0.0, 0.2), 0.06, 6, 100, 1, 0.99),  # a step of Holm's correction
    (Spread(0.01, 0.2, 0.3, subject=0.02, common=0.02), 0.03, 4, 200, 6, 0.95),
])  # fmt: skip
def test_predicted_power_is_the_share_that_is_found(spread, difference, seeds, images, subjects, confidence):
    predicted = power(spread, difference, seeds=seeds, images=images, subjects=subjects, confidence=confidence)
    assert 0.1 < predicted < 0.95
    share = found_share(spread, difference, seeds, images, subjects, confidence)
    assert share == pytest.approx(predicted, abs=error(predicted, 400))


def outcomes(rng, seeds, images, sd, difference):
    """Outcomes of two conditions, 0 or 1: images are easier or harder for both and for each, seeds better or worse."""
    ease = rng.normal(size=(2, 1, images)) * 0.3 + rng.normal(size=(1, 1, images))
    rate = np.array([difference, 0.0])[:, None, None] + sd / 2**0.5 * rng.normal(size=(2, seeds, 1))
    right = ease + rng.normal(size=(2, seeds, images)) < 2**0.5 * (3 * rate - 0.5)
    index = np.indices(right.shape)
    return pd.DataFrame({"condition": np.array(["a", "b"])[index[0].ravel()], "replication": index[1].ravel(),
                         "stimulus": index[2].ravel(), "eps": 0.1, "correct": right.ravel()})  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("shift", [0.0, 0.05])
def test_predicted_power_is_what_compare_finds_in_outcomes(shift):
    """Spreads and true difference are averages over the simulated studies; compare knows nothing of the model."""
    rng, studies = np.random.default_rng(1), 300
    tables = [outcomes(rng, 4, 300, 0.03, shift) for _ in range(studies)]
    found = [compare(table, "a", "b") for table in tables]
    spreads = [spread_of(table, "a", "b").parts() for table in tables]
    mean = {name: float(np.mean([each[name] ** 2 for each in spreads]) ** 0.5) for name in ("seed", "image", "rest")}
    difference = float(np.mean([each.difference for each in found])) if shift else 0.0
    predicted = power(Spread(**mean), difference, seeds=4, images=300)
    share = np.mean([each.outcome == "higher" for each in found])
    assert share == pytest.approx(predicted, abs=error(predicted, studies))
    if not shift:
        both = np.mean([each.outcome in ("higher", "lower") for each in found])
        assert both == pytest.approx(2 * predicted, abs=error(2 * predicted, studies)) and 2 * predicted <= 0.05


def test_more_of_anything_finds_more():
    base = power(README, 0.02, seeds=6, images=1000)
    assert power(README, 0.02, seeds=12, images=1000) > base
    assert power(README, 0.02, seeds=6, images=2000) > base
    assert power(README, 0.03, seeds=6, images=1000) > base
    assert power(README, 0.02, seeds=6, images=1000, confidence=0.99) < base
    assert power(README, -0.02, seeds=6, images=1000) == base
    assert power(Spread(0.012, 0.3, 0.3, subject=0.03), 0.02, seeds=6, images=1000, subjects=8) < power(
        README, 0.02, seeds=6, images=1000, subjects=8
    )


@pytest.mark.parametrize("seeds", [2, 4, 8, 32])
def test_equal_conditions_are_called_different_in_at_most_5_percent(seeds):
    """And with seeds that vary much more than images, the interval is a t interval: exactly 5 %."""
    assert 2 * power(README, 0.0, seeds=seeds, images=1000) <= 0.051
    assert 2 * power(Spread(0.2, 0.01, 0.01), 0.0, seeds=seeds, images=1000) == pytest.approx(0.05, abs=0.002)


def test_the_number_needed_is_the_fewest_that_is_enough():
    few = seeds_needed(README, 0.03, images=2000)
    assert power(README, 0.03, seeds=few, images=2000) >= 0.8 > power(README, 0.03, seeds=few - 1, images=2000)
    assert seeds_needed(README, 0.03, images=2000, confidence=1 - 0.05 / 10) > few
    assert seeds_needed(README, 0.03, images=2000, power=0.9) > few
    spread = Spread(0.012, 0.1, 0.3, subject=0.03)
    subjects = subjects_needed(spread, 0.03, seeds=4, images=1000)
    assert power(spread, 0.03, seeds=4, images=1000, subjects=subjects) >= 0.8
    assert power(spread, 0.03, seeds=4, images=1000, subjects=subjects - 1) < 0.8


def test_images_that_all_seeds_share_set_a_limit():
    least = images_needed(README, 0.01)
    assert least == pytest.approx(0.3**2 * (1.96 + 0.8416) ** 2 / 0.01**2, rel=0.01)
    assert seeds_needed(README, 0.01, images=int(0.98 * least), most=100_000) is None
    assert seeds_needed(README, 0.01, images=2 * least) is not None
    assert seeds_needed(README, 0.01, images=int(1.02 * least), most=10) is None


@pytest.mark.parametrize(("call", "message"), [
    (lambda: power(README, 1.5, seeds=4, images=100), "difference must be"),
    (lambda: power(README, 0.1, seeds=1, images=100), "seeds must be at least 2"),
    (lambda: power(README, 0.1, seeds=4, images=1), "images must be at least 2"),
    (lambda: power(README, 0.1, seeds=4, images=100, subjects=0), "subjects must be at least 1"),
    (lambda: power(README, 0.1, seeds=4, images=100, confidence=95), "confidence"),
    (lambda: seeds_needed(README, 0.0, images=100), "nothing finds a difference of 0"),
    (lambda: images_needed(README, 0.01, power=80), "between 0 and 1"),
])  # fmt: skip
def test_numbers_out_of_range_are_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
