"""How often equal conditions are called different, by design: simulations with a known difference of 0."""

import numpy as np
import pytest
from scipy.stats import norm, t

from neuroalign.evaluation.variance_components import MeanVariance, mean_variance


def study(rng, replications, images, sd, nested, base=0.2):
    """(replication, image) differences of two equal conditions whose accuracies spread over seeds.

    ``sd`` is the standard deviation over replications of the difference between the two; of what makes an image
    easy, 0.4 is common to both conditions, 0.2 is the condition's, and 0.4 the network's. NaN where a replication has other
    images.
    """
    rate = base + rng.normal(0, sd / 2**0.5, (2, replications, 1))
    both, own = (rng.normal(size=(n, replications if nested else 1, images)) for n in (1, 2))
    noise = rng.normal(size=(2, replications, images))
    right = 0.4**0.5 * both + 0.2**0.5 * own + 0.4**0.5 * noise < norm.ppf(rate)
    difference = right[0].astype(float) - right[1]
    if not nested:
        return difference
    own = np.full((replications, replications * images), np.nan)
    for r in range(replications):
        own[r, r * images : (r + 1) * images] = difference[r]
    return own


def false_alarms(differences):
    """Share of studies whose interval excludes 0: over replications and images, and over images alone."""
    wrong = []
    for d in differences:
        variance, mean = mean_variance(d), abs(np.nanmean(d, axis=1).mean())
        wrong.append([mean > variance.half_width(0.95), mean > variance.half_width_over_images(0.95)])
    return np.mean(wrong, axis=0)


@pytest.mark.parametrize("tiny", [0.0, 1e-25, 1e-300])
def test_a_part_that_is_0_but_for_rounding_leaves_the_p_of_the_other(tiny):
    alone = MeanVariance(((1e-4, 5),), (), (1e-6, 300))
    both = MeanVariance(((1e-4, 5),), ((tiny, 299),), (1e-6, 300))
    for difference in (1e-9, 0.003, 0.01, 0.3):
        assert both.p_value(difference) == pytest.approx(alone.p_value(difference), rel=1e-9)
        assert alone.p_value(difference) == pytest.approx(2 * t.sf(difference / 1e-2, 5))


@pytest.mark.parametrize("difference", [1e-6, 0.01, 0.03, 0.5, -0.03])
def test_p_is_the_dual_of_the_interval(difference):
    found = MeanVariance(((1e-4, 3), (2e-5, 7)), ((5e-5, 299),), (8e-5, 300))
    p = found.p_value(difference)
    assert found.half_width(1 - p) == pytest.approx(abs(difference), rel=1e-6)
    assert found.p_value(0) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    ("replications", "images", "nested", "sd"),
    [
        (4, 1000, False, (0.011**2 + 0.013**2) ** 0.5),  # sds of .011 and .013 over four seeds that share 1,000 images
        (2, 350, True, 0.017),  # two splits of 350 images
        (2, 350, True, 0.032),
    ],
)
def test_equal_conditions_are_called_different_in_at_most_5_percent(replications, images, nested, sd):
    rng = np.random.default_rng(0)
    wrong, over_images = false_alarms(study(rng, replications, images, sd, nested) for _ in range(1000))
    assert wrong <= 0.05
    assert over_images > 0.065  # what an interval that knows no seeds does, beyond the error of 1,000 studies


@pytest.mark.slow
@pytest.mark.parametrize("nested", [False, True])
@pytest.mark.parametrize("replications", [2, 3, 4, 8])
@pytest.mark.parametrize("sd", [0.0, 0.03])
def test_no_design_is_far_above_5_percent(replications, nested, sd):
    """0.05 and twice its Monte-Carlo standard error of 400 studies."""
    rng = np.random.default_rng(1)
    wrong, _ = false_alarms(study(rng, replications, 300, sd, nested) for _ in range(400))
    assert wrong <= 0.072


def test_large_differences_are_found():
    """The interval isn't long for the sake of it: with eight replications its length is near that of the known variance."""
    rng = np.random.default_rng(0)
    halves = [mean_variance(study(rng, 8, 300, 0.03, nested=False)).half_width(0.95) for _ in range(100)]
    means = [study(rng, 8, 300, 0.03, nested=False).mean() for _ in range(400)]
    assert 1.0 < np.median(halves) / (1.96 * np.std(means)) < 1.35


@pytest.mark.slow
@pytest.mark.parametrize("overlap", [0.0, 0.2, 1.0])
def test_the_variance_is_right_for_any_overlap_of_images(overlap):
    """Mean of the estimates against the variance of the means themselves."""
    rng = np.random.default_rng(0)
    replications, images = 3, 60
    shared = int(overlap * images)
    estimates, means = [], []
    for _ in range(3000):
        pool = rng.normal(0, 0.5, shared + replications * (images - shared))
        d = np.full((replications, len(pool)), np.nan)
        for r in range(replications):
            own = slice(shared + r * (images - shared), shared + (r + 1) * (images - shared))
            for columns in (slice(0, shared), own):
                d[r, columns] = pool[columns] + rng.normal(0, 0.3, len(pool[columns]))
            d[r] += 0.05 * rng.normal()
        variance = mean_variance(d)
        estimates.append(sum(v for v, _ in (*variance.units, *variance.crossed)))
        means.append(np.nanmean(d, axis=1).mean())
    assert np.mean(estimates) == pytest.approx(np.var(means), rel=0.1)


def crossed(rng, subjects, replications, images, of_replications):
    """Rows of every subject and replication; subjects share the images and what a replication brings."""
    shape = (subjects, replications, images)
    parts = ((subjects, 1, 1, 0.02), (subjects, replications, 1, 0.01), (1, replications, 1, of_replications),
             (1, 1, images, 0.1), (*shape, 0.3))  # fmt: skip
    rows = sum(sd * rng.normal(size=size) for *size, sd in parts).reshape(-1, images)
    return rows, np.repeat(range(subjects), replications), np.tile(range(replications), subjects)


@pytest.mark.parametrize("of_replications", [0.0, 0.03])
def test_subjects_that_share_replications(of_replications):
    """A control that all subjects are compared with moves all differences alike, which their spread can't show."""
    rng = np.random.default_rng(0)
    wrong, by_subjects = [], []
    for _ in range(300):
        rows, subjects, replications = crossed(rng, 6, 3, 200, of_replications)
        variance = mean_variance(rows, subjects=subjects, replications=replications)
        wrong.append(abs(rows.mean()) > variance.half_width(0.95))
        by_subjects.append(abs(rows.mean()) > variance.half_width_over_units(0.95))
    assert np.mean(wrong) <= 0.075
    if of_replications:
        assert np.mean(by_subjects) > 0.2


def test_subjects_need_their_replications():
    with pytest.raises(ValueError, match="give each row's replication"):
        mean_variance(np.zeros((4, 5)), subjects=np.array([0, 0, 1, 1]))


@pytest.mark.parametrize(("first", "second"), [(2, 6), (4, 4)])
def test_replications_that_do_not_belong_together(first, second):
    rng = np.random.default_rng(0)
    wrong = []
    for _ in range(300):
        ease = 0.3 * rng.normal(size=(1, 200))
        rows = [
            sd * rng.normal(size=(n, 1)) + ease + 0.3 * rng.normal(size=(n, 200))
            for n, sd in ((first, 0.005), (second, 0.02))
        ]
        wrong.append(abs(rows[0].mean() - rows[1].mean()) > mean_variance(*rows).half_width(0.95))
    assert np.mean(wrong) <= 0.075


@pytest.mark.slow
@pytest.mark.parametrize("n", [10, 50, 200])
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((0.65, 0.55, 0.45), (0.6, 0.5, 0.4)),
        ((0.99, 0.98, 0.97), (0.99, 0.98, 0.97)),
        ((0.99, 0.98, 0.97), (0.95, 0.93, 0.91)),
        ((0.05, 0.02, 0.01), (0.03, 0.01, 0.003)),
    ],
)
def test_one_pair_of_networks_and_a_mean_over_budgets_covers(n, first, second):
    rng = np.random.default_rng(0)
    true = np.mean(first) - np.mean(second)
    covered = []
    for _ in range(1000):
        ease = 0.7**0.5 * rng.normal(size=n)
        scores = (ease + 0.3**0.5 * rng.normal(size=n) for _ in range(2))
        a, b = (np.mean([s < norm.ppf(p) for p in rates], 0) for s, rates in zip(scores, (first, second)))
        covered.append(abs((a - b).mean() - true) <= mean_variance((a - b)[None]).half_width(0.95))
    assert np.mean(covered) >= 0.935
