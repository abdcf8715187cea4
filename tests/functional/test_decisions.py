"""Error consistency and shape bias: hand-computed cases, simulated deciders, undefined cases."""

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


def test_same_independent_and_opposite_deciders():
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
    found = {k: float(v) for k, v in metric.compute().items()}
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
