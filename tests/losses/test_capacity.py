"""Capacity as a loss: its value, its gradient, what it does to a representation, and several processes."""

import copy

import pytest
import torch

from neuroalign import CapacityLoss, ManifoldGuidance
from neuroalign.config import build
from neuroalign.functional import glue, linear_separability, manifold_capacity
from neuroalign.functional.center_correlation import mean_absolute_cosine
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
