"""Principal components of responses, against scikit-learn."""

import numpy as np
from sklearn.decomposition import PCA

from neuroalign.data.components import on_components, principal_components


def test_the_same_as_scikit_learn():
    values = np.random.default_rng(0).standard_normal((40, 6)) @ np.diag([5, 4, 3, 1, 0.1, 0.01])
    mean, components = principal_components(values, 0.95)
    expected = PCA(0.95, svd_solver="full").fit(values)
    assert components.shape == expected.components_.shape
    signs = np.sign((components * expected.components_).sum(1))
    np.testing.assert_allclose(components, expected.components_ * signs[:, None], atol=1e-10)
    projected = on_components(values, mean, components)
    assert projected.dtype == np.float32
    np.testing.assert_allclose(projected, expected.transform(values) * signs, atol=1e-5)


def test_the_largest_loading_is_positive():
    _, components = principal_components(np.random.default_rng(1).standard_normal((30, 5)), 1.0)
    assert (components[np.arange(len(components)), np.abs(components).argmax(1)] > 0).all()


def test_responses_that_do_not_vary_keep_one_component():
    assert principal_components(np.ones((4, 3)), 0.9)[1].shape == (1, 3)
