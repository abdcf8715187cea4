"""Error consistency and shape bias: hand-computed cases, simulated observers, undefined cases."""

import numpy as np
import pytest
import torch

from neuroalign import ShapeBias
from neuroalign.functional import (
    SIXTEEN_CLASSES,
    error_consistency,
    shape_bias,
    sixteen_class_probabilities,
)


def test_by_hand():
    a = torch.tensor([1, 1, 1, 0, 0, 1, 1, 0], dtype=torch.bool)
    b = torch.tensor([1, 1, 0, 0, 1, 1, 0, 0], dtype=torch.bool)
    found = error_consistency(a, b)
    p, q = 5 / 8, 4 / 8
    expected = p * q + (1 - p) * (1 - q)
    assert found.observed == 5 / 8
    assert found.expected == expected
    assert float(found.kappa) == pytest.approx((5 / 8 - expected) / (1 - expected))
    assert found.num_images == 8


def test_same_independent_and_opposite_observers():
    rng = np.random.default_rng(0)
    a, b = (torch.from_numpy(rng.random(20000) < p) for p in (0.7, 0.4))
    assert float(error_consistency(a, a).kappa) == 1
    assert float(error_consistency(a, b).kappa) == pytest.approx(0, abs=0.02)
    assert float(error_consistency(a, ~a).kappa) < -0.7
    assert float(error_consistency(a, b).kappa) == float(error_consistency(b, a).kappa)
    with pytest.warns(UserWarning, match="kappa is not defined"):
        assert error_consistency(torch.ones(4) > 0, torch.ones(4) > 0).kappa.isnan()
    assert float(error_consistency(torch.ones(4) > 0, torch.zeros(4) > 0).kappa) == 0
    with pytest.raises(ValueError, match="of the same images"):
        error_consistency(a, b[:5])
    with pytest.raises(ValueError, match="look like decided classes"):
        error_consistency(torch.arange(4), torch.arange(4))


def test_shape_bias_by_hand():
    shapes, textures = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([1, 1, 2, 0, 1, 0])
    decisions = torch.tensor([0, 1, 0, 3, 1, 2])  # shape, texture, shape, neither, (congruent), shape
    found = shape_bias(decisions, shapes, textures)
    assert (found.num_shape, found.num_texture, found.num_images) == (3, 1, 5)
    assert found.shape_bias == 0.75
    assert found.shape_rate == 0.6
    assert found.texture_rate == 0.2
    assert shape_bias(torch.full((6,), 9), shapes, textures).shape_bias.isnan()
    with pytest.raises(ValueError, match="no image has a shape of one class"):
        shape_bias(decisions, shapes, shapes)
    with pytest.raises(ValueError, match="of the same images"):
        shape_bias(decisions[:2], shapes, textures)


def test_the_mapping_has_207_classes_of_its_own():
    every = [i for indices in SIXTEEN_CLASSES.values() for i in indices]
    assert len(every) == len(set(every)) == 207
    assert len(SIXTEEN_CLASSES["dog"]) == 109
    assert list(SIXTEEN_CLASSES) == sorted(SIXTEEN_CLASSES)


def test_probabilities_are_means_after_softmax():
    logits = torch.full((2, 1000), -20.0)
    logits[0, 499] = 5  # knife
    logits[0, list(SIXTEEN_CLASSES["dog"])] = 1  # their sum of probabilities is above knife's, their mean is not
    logits[1, 281] = 1
    found = sixteen_class_probabilities(logits)
    names = list(SIXTEEN_CLASSES)
    assert [names[i] for i in found.argmax(1)] == ["knife", "cat"]
    assert float(found[1, names.index("cat")]) == pytest.approx(float(logits[1].softmax(0)[281:287].mean()))
    with pytest.raises(ValueError, match=r"\(stimulus, 1000\)"):
        sixteen_class_probabilities(torch.rand(2, 10))


def test_metric_in_batches_and_from_logits():
    shapes, textures = torch.tensor([0, 0, 0, 1, 1, 2]), torch.tensor([1, 1, 2, 0, 1, 0])
    decisions = torch.tensor([0, 1, 0, 3, 1, 2])
    metric = ShapeBias()
    for part in torch.arange(6).split(4):
        metric.update(torch.eye(16)[decisions[part]], shapes[part], textures[part])
    found = {k: float(v) for k, v in metric.compute().items() if k not in ("low", "high")}
    assert found == {"shape_bias": 0.75, "shape_rate": 0.6, "texture_rate": 0.2, "num_shape": 3, "num_texture": 1,
                     "num_images": 5}  # fmt: skip
    many = torch.zeros(6, 1000)
    for i, d in enumerate(decisions):
        many[i, SIXTEEN_CLASSES[list(SIXTEEN_CLASSES)[d]][0]] = 50
    other = ShapeBias()
    other.update(many, shapes, textures)
    assert float(other.compute()["shape_bias"]) == 0.75
    empty = ShapeBias()
    empty.update(decisions, shapes, shapes)
    with pytest.raises(ValueError, match="was seen"):
        empty.compute()


# (accuracy, other accuracy, kappa), cells of "both right, one alone, the other alone, both wrong" of which all exist.
PAIRS = [(0.7, 0.5, 0.0), (0.7, 0.6, 0.4), (0.9, 0.9, 0.0), (0.9, 0.9, 0.5), (0.98, 0.9, 0.0)]


def shares_of(p, q, kappa):
    expected = p * q + (1 - p) * (1 - q)
    both = (expected + kappa * (1 - expected) + p + q - 1) / 2
    return np.array([both, p - both, q - both, 1 - p - q + both])


def observers(counts):
    counts = torch.as_tensor(counts)
    return (torch.tensor(x, dtype=torch.bool).repeat_interleave(counts) for x in ([1, 1, 0, 0], [1, 0, 1, 0]))


@pytest.mark.slow
@pytest.mark.parametrize("num_images", [50, 500])
def test_the_interval_of_kappa_covers(num_images):
    rng = np.random.default_rng(0)
    for p, q, kappa in PAIRS:
        covered = []
        for counts in rng.multinomial(num_images, shares_of(p, q, kappa), 250):
            if counts[0] == num_images:
                continue  # both right always: no kappa
            found = error_consistency(*observers(counts), num_samples=1000)
            covered.append(bool(found.low <= kappa <= found.high))
        assert 0.9 <= np.mean(covered) <= 0.99, (p, q, kappa)  # .95 within 3 standard errors and a percent


def test_the_interval_of_kappa():
    counts = [60, 15, 10, 15]
    found = error_consistency(*observers(counts))
    rng = np.random.default_rng(0)
    drawn = rng.dirichlet(np.array(counts) + 0.5, 200_000)
    p, q = drawn[:, 0] + drawn[:, 1], drawn[:, 0] + drawn[:, 2]
    kappas = 1 - (drawn[:, 1] + drawn[:, 2]) / (p * (1 - q) + q * (1 - p))
    assert [float(found.low), float(found.high)] == pytest.approx(np.quantile(kappas, [0.025, 0.975]), abs=0.01)
    assert found.low == error_consistency(*observers(counts)).low  # seeded
    same = error_consistency(*observers([30, 0, 0, 10]))
    assert same.high == same.kappa == 1
    assert 0.7 < float(same.low) < 1
    with pytest.warns(UserWarning, match="kappa is not defined"):
        nothing = error_consistency(*observers([5, 0, 0, 0]))
    assert nothing.low.isnan() and nothing.high.isnan()


def test_the_interval_of_the_shape_bias():
    shapes, textures = torch.zeros(60, dtype=torch.long), torch.ones(60, dtype=torch.long)
    decisions = torch.tensor([0] * 30 + [1] * 10 + [2] * 20)
    found = shape_bias(decisions, shapes, textures)
    n, p, z = 40, 0.75, 1.959964
    middle, half = p + z**2 / (2 * n), z * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    expected = [(middle + s * half) / (1 + z**2 / n) for s in (-1, 1)]
    assert [float(found.low), float(found.high)] == pytest.approx(expected, rel=1e-6)
    metric = ShapeBias()
    for part in torch.arange(60).split(17):
        metric.update(decisions[part], shapes[part], textures[part])
    assert [float(metric.compute()[k]) for k in ("low", "high")] == pytest.approx(expected, rel=1e-6)
    neither = shape_bias(torch.full((60,), 5), shapes, textures)
    assert neither.low.isnan() and neither.high.isnan()


@pytest.mark.parametrize("num_images", [50, 500])
@pytest.mark.parametrize("bias", [0.2, 0.6])
def test_the_interval_of_the_shape_bias_covers(num_images, bias):
    """A third of the images is decided by neither cue, so that the number decided varies."""
    rng = np.random.default_rng(1)
    shapes, textures = torch.zeros(num_images, dtype=torch.long), torch.ones(num_images, dtype=torch.long)
    covered = []
    for _ in range(400):
        drawn = rng.choice(3, num_images, p=[bias * 2 / 3, (1 - bias) * 2 / 3, 1 / 3])
        found = shape_bias(torch.from_numpy(drawn), shapes, textures)
        covered.append(bool(found.low <= bias <= found.high))
    assert 0.91 <= np.mean(covered) <= 0.985
