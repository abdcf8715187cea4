"""Attacks against closed forms, and within their budgets."""

import numpy as np
import pytest
import torch
from torch import nn

from neuroalign import FGSM, PGD
from tests import references as ref


def linear(num_classes, seed=0, shape=(3, 4, 4)):
    g = torch.Generator().manual_seed(seed)
    size = int(np.prod(shape))
    layer = nn.Linear(size, num_classes)
    with torch.no_grad():
        layer.weight.copy_(torch.randn(num_classes, size, generator=g))
        layer.bias.copy_(0.1 * torch.randn(num_classes, generator=g) - layer.weight.sum(1) * 0.5)
    return nn.Sequential(nn.Flatten(), layer).eval()


def images(n=200, seed=1, shape=(3, 4, 4)):
    """Far enough from 0 and 1 that the box never binds."""
    return 0.35 + 0.3 * torch.rand(n, *shape, generator=torch.Generator().manual_seed(seed))


def closed_form(model, x, labels, eps, norm):
    layer = model[1]
    arrays = (layer.weight, layer.bias, x.flatten(1))
    weight, bias, flat = (a.detach().double().numpy() for a in arrays)
    return ref.linear_robust(weight, bias, flat, labels.numpy(), eps, norm)


BUDGETS = [("linf", 0.003), ("linf", 0.008), ("l2", 0.03), ("l2", 0.08)]


@pytest.mark.parametrize(("num_classes", "loss"), [(2, "margin"), (2, "ce"), (5, "margin")])
@pytest.mark.parametrize(("norm", "eps"), BUDGETS)
def test_pgd_on_a_linear_model_is_exact(num_classes, loss, norm, eps):
    model, x = linear(num_classes), images()
    labels = model(x).argmax(1)
    labels[::5] = (labels[::5] + 1) % num_classes  # clean errors stay errors
    expected = closed_form(model, x, labels, eps, norm)
    perturbed = PGD(norm, steps=40, loss=loss)(model, x, labels, eps)
    robust = (model(perturbed).argmax(1) == labels).numpy()
    assert not (robust < expected).any(), "fooled an image that nothing in the ball can fool: it left the ball"
    assert (robust != expected).mean() <= 0.005
    assert 0.1 < expected.mean() < 0.9


@pytest.mark.parametrize(("norm", "eps"), BUDGETS)
def test_cross_entropy_of_several_classes_is_no_stronger_than_the_truth(norm, eps):
    """It pulls toward all classes at once, so it may miss: never the other way round."""
    model, x = linear(5), images()
    labels = model(x).argmax(1)
    robust = (model(PGD(norm, steps=40, loss="ce")(model, x, labels, eps)).argmax(1) == labels).numpy()
    assert (robust >= closed_form(model, x, labels, eps, norm)).all()


@pytest.mark.parametrize(("norm", "eps"), [("linf", 0.01), ("l2", 0.1)])
def test_fgsm_is_exact_for_two_classes(norm, eps):
    model, x = linear(2), images()
    labels = model(x).argmax(1)
    robust = (model(FGSM(norm)(model, x, labels, eps)).argmax(1) == labels).numpy()
    np.testing.assert_array_equal(robust, closed_form(model, x, labels, eps, norm))


@pytest.mark.parametrize("attack", [FGSM(), FGSM("l2"), PGD(steps=7), PGD("l2", steps=7), PGD(steps=3, restarts=3),
                                    PGD("l2", steps=3, restarts=3), PGD(steps=4, rel_step_size=0.25)], ids=repr)  # fmt: skip
@pytest.mark.parametrize("eps", [0.0, 0.03, 0.7])
def test_stays_in_the_ball_and_the_box(attack, eps):
    x = torch.rand(20, 3, 4, 4)
    x[0], x[1] = 0, 1
    labels = torch.arange(20) % 4
    perturbed = attack(linear(4), x, labels, eps)
    delta = perturbed - x
    size = delta.abs().flatten(1).amax(1) if attack.norm == "linf" else delta.flatten(1).norm(dim=1)
    assert size.max() <= eps + 1e-6
    assert perturbed.min() >= 0
    assert perturbed.max() <= 1
    assert not perturbed.requires_grad


def test_a_budget_for_each_image():
    x, model = images(4), linear(3)
    eps = torch.tensor([0.0, 0.01, 0.02, 0.03])
    delta = (FGSM()(model, x, model(x).argmax(1), eps) - x).abs().flatten(1).amax(1)
    torch.testing.assert_close(delta, eps, atol=1e-6, rtol=0)


def test_confident_networks_are_attacked_all_the_same():
    """Logits times 1000: cross-entropy's gradient underflows to 0, the margin's does not."""
    plain, x = linear(3), images()
    labels = plain(x).argmax(1)

    class Confident(nn.Module):
        def forward(self, z):
            return 1000 * plain(z)

    def accuracy(attack):
        return float((plain(attack(Confident().eval(), x, labels, 0.02)).argmax(1) == labels).float().mean())

    honest = closed_form(plain, x, labels, 0.02, "linf").mean()
    assert accuracy(PGD(steps=20, loss="margin")) == pytest.approx(honest, abs=0.01)
    assert accuracy(PGD(steps=20, loss="ce")) > honest + 0.1, "if this fails, ce is safe and the default may change"


def test_random_starts_depend_on_the_image_alone():
    model, x = linear(4), images(30)
    labels = (model(x).argmax(1) + 0) % 4
    attack = PGD(steps=2, restarts=3, seed=5)
    whole = attack(model, x, labels, 0.001)
    order = torch.randperm(30)
    for part in order.split(7):
        torch.testing.assert_close(attack(model, x[part], labels[part], 0.001, index=part), whole[part])
    assert not torch.equal(PGD(steps=2, restarts=3, seed=6)(model, x, labels, 0.001), whole)


def test_restarts_never_hurt():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Flatten(), nn.Linear(48, 64), nn.Tanh(), nn.Linear(64, 4)).eval()
    x = images()
    labels = model(x).argmax(1)

    def fooled(attack):
        return model(attack(model, x, labels, 0.05)).argmax(1) != labels

    once, thrice = fooled(PGD(steps=3)), fooled(PGD(steps=3, restarts=3))
    assert (thrice >= once).all()
    assert once.any()


def test_an_image_is_abandoned_when_three_times_its_rate_would_not_fool_it():
    attack = PGD(steps=20, patience=5)
    best = torch.tensor([-1.0, -1.0, -1.0])
    margins = [
        torch.tensor([-1.2, -1.0, -0.8]),
        torch.tensor([-1.1, -1.0, -0.9]),
        best,
    ]  # rising by 0.1, still, falling
    for t, hopeless in ((4, [False] * 3), (16, [False, True, True]), (17, [True, True, True])):
        assert attack._is_hopeless(best, margins, t).tolist() == hopeless
    assert not PGD(steps=20)._is_hopeless(best, margins, 19).any()


def test_gradients_of_parameters_are_left_alone():
    model = linear(3)
    PGD(steps=2)(model, images(5), torch.zeros(5, dtype=torch.long), 0.01)
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: FGSM()(m, 2 * images(2) - 1, torch.zeros(2, dtype=torch.long), 0.1), "normalised"),
        (lambda m: PGD()(m, images(2), torch.zeros(3, dtype=torch.long), 0.1), "2 images but 3 labels"),
        (lambda m: PGD()(m, images(2), torch.zeros(2, dtype=torch.long), -0.1), "must not be negative"),
        (lambda m: PGD()(m, images(2), torch.zeros(2, dtype=torch.long), torch.ones(3)), "one value per image"),
        (lambda m: PGD("l1"), "must be 'linf' or 'l2'"),
        (lambda m: PGD(loss="dlrr"), "unknown attack loss 'dlrr'"),
        (lambda m: PGD(steps=0), "at least 1"),
        (lambda m: FGSM()(lambda z: m(z) * torch.nan, images(2), torch.zeros(2, dtype=torch.long), 0.1), "NaN or infinite"),
        (lambda m: FGSM()(lambda z: m(z.detach()).detach(), images(2), torch.zeros(2, dtype=torch.long), 0.1),
         "no gradient reaches"),
    ],
)  # fmt: skip
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call(linear(3))
