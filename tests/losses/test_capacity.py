"""Capacity as a loss: its value, its gradient, what it does to a representation, and several processes."""

import copy

import numpy as np
import pytest
import torch
from scipy.optimize import linprog, nnls

from neuroalign import CapacityLoss, ManifoldGuidance
from neuroalign.config import build
from neuroalign.functional import glue, linear_separability, manifold_capacity
from neuroalign.functional.center_correlation import mean_absolute_cosine
from neuroalign.functional.cone import fills_span
from tests.distributed import averaged, run_on_ranks

D = torch.float64
FORMS = ["joint", "per_manifold"]


def clouds(seed=0, n=48, d=10, c=4, spread=0.7):
    g = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % c
    return torch.randn(c, d, generator=g, dtype=D)[labels] + spread * torch.randn(n, d, generator=g, dtype=D), labels


def loss(form="joint", **kwargs):
    return CapacityLoss(form, **kwargs).eval()


def test_value_is_the_inverse_capacity():
    x, y = clouds()
    many = {"num_samples": 4000}
    joint = float(loss(**many).terms(x, y)["capacity"])
    assert joint == pytest.approx(1 / float(glue(x, y, **many).capacity), rel=0.02)
    per_manifold = loss("per_manifold", **many).terms(x, y)
    expected = manifold_capacity(x, y, center_correlation="keep", **many)
    assert float(per_manifold["capacity"]) == pytest.approx(1 / float(expected.capacity), rel=0.02)
    margin = float(loss("per_manifold", kappa=0.5, **many).terms(x, y)["capacity"])
    wide = manifold_capacity(x, y, center_correlation="keep", kappa=0.5, **many)
    assert margin == pytest.approx(1 / float(wide.capacity), rel=0.02)


def test_center_correlation_is_the_mean_squared_cosine():
    x, y = clouds()
    centers = torch.stack([x[y == c].mean(0) for c in range(4)])
    unit = torch.nn.functional.normalize(centers - centers.mean(0), dim=1)
    cosine2 = (unit @ unit.T).square()
    expected = (cosine2.sum() - 4) / 12
    assert float(loss("per_manifold").terms(x, y)["center_correlation"]) == pytest.approx(float(expected))


@pytest.mark.parametrize(("form", "kappa"), [("joint", 0.0), ("per_manifold", 0.0), ("per_manifold", 0.4)])
def test_gradient(form, kappa):
    """Exact, although the projection itself is not differentiated."""
    x, y = clouds(n=14, d=6, c=3)
    x.requires_grad_()
    assert torch.autograd.gradcheck(lambda z: loss(form, num_samples=9, kappa=kappa)(z, y), (x,), atol=1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_invariances(form):
    """Value: rotation only in distribution; translation and scale exactly. So the gradient is orthogonal to both."""
    x, y = clouds()
    value = loss(form, num_samples=16)
    torch.testing.assert_close(value(x, y), value(3 * x + 5, y))
    x.requires_grad_()
    (grad,) = torch.autograd.grad(value(x, y), x)
    assert float(grad.sum(0).abs().max()) < 1e-10 and abs(float((grad * x).sum())) < 1e-10


def _train(network, x, y, steps, form, **kwargs):
    optimizer = torch.optim.Adam(network.parameters(), lr=0.005)
    criterion = CapacityLoss(form, num_samples=32, **kwargs)
    for _ in range(steps):
        optimizer.zero_grad()
        criterion(network(x), y).backward()
        optimizer.step()


def _correlation(x, y):
    centers = torch.stack([x[y == c].mean(0) for c in y.unique()])
    centers = centers - centers.mean(0)
    return float(mean_absolute_cosine(centers @ centers.T))


def test_joint_form_raises_the_capacity_of_new_points():
    x, y = clouds(n=360, d=20, c=6, spread=1.0)
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(20, 128), torch.nn.ReLU(), torch.nn.Linear(128, 64)).double()
    new = slice(60, 120)
    before = float(glue(network(x[new]), y[new]).capacity)
    _train(network, x[:60], y[:60], 60, "joint")
    after = network(x).detach()
    assert float(glue(after[new], y[new]).capacity) > 1.4 * before
    assert _correlation(after, y) < 0.4
    assert float(linear_separability(after[60:], y[60:])) > 0.9


@pytest.mark.slow
def test_per_manifold_form_collapses_without_its_second_term():
    """The negative control: capacity of each manifold alone is best with all centres on one line."""
    x, y = clouds(n=120, d=12, c=6, spread=1.0)
    correlation, accuracy = {}, {}
    for weight in (0.0, 1.0):
        torch.manual_seed(0)
        network = torch.nn.Linear(12, 12, bias=False).double()
        start = float(linear_separability(network(x).detach(), y))
        _train(network, x, y, 400, "per_manifold", center_correlation_weight=weight)
        z = network(x).detach()
        correlation[weight], accuracy[weight] = _correlation(z, y), float(linear_separability(z, y))
    assert correlation[0.0] > 0.98 and correlation[1.0] < 0.6
    assert accuracy[0.0] < 0.6 < start and accuracy[1.0] > accuracy[0.0] + 0.2


def test_nothing_to_learn_is_said():
    """More points than features: the cone is the whole space."""
    x, y = clouds(n=80, d=3, c=4, spread=3.0)
    criterion, x = CapacityLoss(num_samples=8), x.requires_grad_()
    with pytest.warns(UserWarning, match="no half of the 4 classes can be separated"):
        criterion(x, y).backward()
    assert float(x.grad.abs().max()) < 1e-10
    criterion(x, y)  # said once


def embeddings():
    """Of one data set of 40 points in 4 classes, from what no hyperplane separates to what every one does."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(40) % 4
    x = torch.randn(4, 64, generator=g)[labels] + torch.randn(40, 64, generator=g)
    u, s, v = torch.linalg.svd(x - x.mean(0), full_matrices=False)
    return labels, {
        "constant": torch.full((40, 64), 0.3),
        "line": s[0] * u[:, :1] @ v[:1],
        "plane": torch.randn(40, 2, generator=g) @ torch.randn(2, 64, generator=g),
        "clouds": x,
        "simplex": torch.eye(4, 64)[labels],
    }


@pytest.mark.filterwarnings("ignore:.*of the 4 classes can be separated")
def test_what_nothing_separates_is_never_lower():
    """It would be the rank over the number of classes, and 0 for a constant embedding."""
    labels, given = embeddings()
    values = {name: float(loss(num_samples=200)(z, labels)) for name, z in given.items()}
    limit = 39 / 4
    assert values["constant"] == values["plane"] == pytest.approx(limit)
    assert values["simplex"] < values["clouds"] < limit / 2 < values["line"]
    one_shift = given["constant"] + 1000
    assert float(loss()(one_shift, labels)) == pytest.approx(limit)


def separable(x, labels, positive):
    """Whether a hyperplane through the mean of all points has the positive classes on one side, by a linear program."""
    side = np.where(np.isin(labels, positive), 1.0, -1.0)
    rows = side[:, None] * (x - x.mean(0))
    width = rows.shape[1]
    found = linprog(
        np.append(np.zeros(width), -1.0), np.hstack([-rows, np.ones((len(x), 1))]), np.zeros(len(x)),
        bounds=[(-1, 1)] * width + [(None, 1)],
    )  # fmt: skip
    return -found.fun > 1e-7


@pytest.mark.parametrize("width", [1, 2, 3, 6])
@pytest.mark.parametrize("seed", range(4))
def test_separable_halves_are_those_of_a_linear_program(width, seed):
    x, labels = clouds(seed, n=16, d=width, spread=0.5)
    halves = [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    signs = torch.stack([torch.isin(labels, torch.tensor(h)).double() * 2 - 1 for h in halves])
    centered = x - x.mean(0)
    gram = centered @ centered.T
    expected = torch.tensor([separable(x.numpy(), labels.numpy(), h) for h in halves])
    assert torch.equal(~fills_span(gram, signs), expected)
    t = torch.randn(6, width, generator=torch.Generator().manual_seed(seed), dtype=D)
    criterion = CapacityLoss()
    for expects in (True, False):  # the order of the two questions changes nothing
        criterion._expects_separable = expects
        a, found = criterion._project(centered, t, signs, 1e-5)
        assert torch.equal(found, expected)
        projected = [nnls((centered * s[:, None]).T.numpy(), b.numpy())[0] for s, b in zip(signs, t)]
        p = [(centered * s[:, None]).T.numpy() @ y for s, y in zip(signs, projected)]
        ours = ((a * signs) @ centered).numpy()
        for mine, theirs, known in zip(ours, p, expected):
            np.testing.assert_allclose(mine, theirs if known else 0, atol=1e-9)


def test_gradient_has_no_noise_outside_of_the_span():
    """Features of rank 12 in 100 dimensions: their gradient stays in those 12, and one step's is mostly signal."""
    g = torch.Generator().manual_seed(0)
    labels = torch.arange(32) % 4
    x = torch.randn(4, 12, generator=g)[labels] + torch.randn(32, 12, generator=g)
    weight = (torch.randn(12, 100, generator=g) / 12**0.5).requires_grad_()
    criterion = CapacityLoss()
    steps = torch.stack([torch.autograd.grad(criterion(x @ weight, labels), weight)[0] for _ in range(16)])
    inside = torch.linalg.qr(weight.detach().T).Q
    outside = steps - steps @ inside @ inside.T
    assert float(outside.norm()) < 1e-3 * float(steps.norm())
    steps = steps.flatten(1)
    noise = steps.var(0).sum()
    assert float((steps.mean(0).square().sum() - noise / 16) / noise) > 0.1


def test_rank_below_the_width_is_said_too():
    """The points fill the plane that they span, not the space around it."""
    labels, given = embeddings()
    weight = torch.eye(64, requires_grad=True)
    with pytest.warns(UserWarning, match="no half of the 4 classes can be separated: 40 points in 64 features"):
        CapacityLoss()(given["plane"] @ weight, labels).backward()
    assert not bool(weight.grad.any())


def test_draws_change_in_training_and_stay_in_evaluation():
    x, y = clouds()
    criterion = CapacityLoss(num_samples=8)
    assert float(criterion(x, y)) != float(criterion(x, y))
    assert int(criterion.calls) == 2
    criterion.eval()
    assert float(criterion(x, y)) == float(criterion(x, y)) and int(criterion.calls) == 2
    fixed = CapacityLoss(num_samples=8, resample=False)
    assert float(fixed(x, y)) == float(fixed(x, y))
    state = torch.random.get_rng_state()
    criterion.train()(x, y)
    assert torch.equal(state, torch.random.get_rng_state())


def test_a_resumed_run_goes_on_where_it_was():
    x, y = clouds()
    whole, resumed = CapacityLoss(num_samples=8), CapacityLoss(num_samples=8)
    whole(x, y)
    resumed.load_state_dict(copy.deepcopy(whole.state_dict()))
    assert float(whole(x, y)) == float(resumed(x, y))


@pytest.mark.parametrize("form", FORMS)
def test_few_classes_and_few_points(form):
    x, y = clouds()
    one = x[y == 0].requires_grad_()
    value = loss(form)(one, y[y == 0])
    value.backward()
    assert float(value) == 0 and not bool(one.grad.any())
    single = x[:4].requires_grad_()  # one point each
    value = loss(form)(single, y[:4])
    value.backward()
    assert bool(single.grad.isfinite().all()) and float(value) > 0
    empty = x[:0].requires_grad_()
    assert float(loss(form)(empty, y[:0])) == 0


@pytest.mark.parametrize("form", FORMS)
def test_low_precision_input(form):
    x, y = clouds()
    value = loss(form)(x, y)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert float(loss(form)(x.bfloat16(), y)) == pytest.approx(float(value), rel=0.05)
    assert float(loss(form)(x.float(), y)) == pytest.approx(float(value), rel=1e-4)


def test_is_rebuilt_from_its_config_and_guides():
    criterion = CapacityLoss("per_manifold", num_samples=5, kappa=0.1, seed=3)
    assert build(criterion.config).config == criterion.config
    x, y = clouds()
    terms = ManifoldGuidance({"TO": criterion})({"TO": x}, {"label": y})
    assert sorted(terms) == ["TO/capacity", "TO/center_correlation"]


@pytest.mark.parametrize(
    "kwargs", [{"form": "both"}, {"num_samples": 0}, {"kappa": -1.0}, {"kappa": 0.5}, {"capacity_weight": -1.0}]
)
def test_bad_arguments(kwargs):
    with pytest.raises(ValueError, match=r"form|num_samples|kappa|capacity_weight"):
        CapacityLoss(**kwargs)


def _rank_gradient(rank, world, sizes, form):
    x, y = clouds(seed=3, n=sum(sizes))
    start = sum(sizes[:rank])
    z = x[start : start + sizes[rank]].clone().requires_grad_()
    weight = torch.nn.Parameter(torch.eye(10, dtype=D))
    CapacityLoss(form, num_samples=8)(z @ weight, y[start : start + sizes[rank]]).backward()
    return weight.grad


@pytest.mark.parametrize("form", FORMS)
def test_several_processes_equal_one(form):
    ranks = run_on_ranks(_rank_gradient, 2, (17, 6), form)
    torch.testing.assert_close(averaged(ranks), _rank_gradient(0, 1, (23,), form), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("value", [0.5, 1.0, 40.0])
def test_a_constant_embedding_in_float64_counts_as_inseparable(value):
    """Rounding relative to no extent at all is too large a number to be squared."""
    z = torch.full((12, 6), value, dtype=torch.float64, requires_grad=True)
    with pytest.warns(UserWarning, match="no half of the 3 classes"):
        value = CapacityLoss(num_samples=4)(z, torch.arange(12) % 3)
    value.backward()
    assert float(value) == pytest.approx(6 / 3)
    assert bool((z.grad == 0).all())
