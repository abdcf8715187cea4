"""How Auto-PGD adapts: the reference implementation step by step and in the loss it reaches, and its rules one by one."""

import pytest
import torch
from pyautoattack.autopgd_base import APGDAttack

from neuroalign import APGD, PGD
from neuroalign.perturbations.attacks.apgd import _State
from neuroalign.perturbations.attacks.budget import per_sample, random_points
from neuroalign.perturbations.attacks.objectives import cross_entropy
from neuroalign.perturbations.classifier import Classifier
from tests.evaluation.test_curve import images, network

EPS = {"linf": 0.02, "l2": 0.07}


class Recorded(torch.nn.Module):
    """A network that keeps what it is asked."""

    def __init__(self, model):
        super().__init__()
        self.model, self.asked = model, []

    def forward(self, x):
        self.asked.append(x.detach().clone())
        return self.model(x)

    @torch.no_grad()
    def losses(self, labels):
        return torch.stack([cross_entropy(self.model(x), labels) for x in self.asked])


@torch.no_grad()
def both(norm, steps):
    """What our run and the reference's ask the network about, on images that resist both; and the labels."""
    model, x = network(), images(200)
    labels = model(x).argmax(1)
    radius = per_sample(EPS[norm], x, norm)
    start = random_points(x, radius, norm, torch.arange(200), seed=0, stream=0)

    def ours(rows):
        recorded = Recorded(model)
        attack = APGD(norm, steps=steps)
        arguments = x[rows], start[rows], labels[rows], radius[rows], cross_entropy, None
        return recorded, attack.run(Classifier(recorded), *arguments)[1]

    def theirs(rows):
        recorded = Recorded(model)
        attack = APGDAttack(
            recorded,
            n_iter=steps,
            norm={"linf": "Linf", "l2": "L2"}[norm],
            eps=EPS[norm],
            loss="ce",
            seed=0,
            device="cpu",
        )
        attack.init_hyperparam(x[rows])
        return recorded, ~attack.attack_single_run(x[rows], labels[rows], x_init=start[rows])[1]

    resist = (~ours(slice(None))[1] & ~theirs(slice(None))[1]).nonzero()[:, 0]
    assert len(resist) > 10
    return ours(resist)[0], theirs(resist)[0], labels[resist]


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_points_before_the_first_check_are_the_references(norm):
    ours, theirs, _ = both(norm, 50)
    first_check = int(0.22 * 50)
    assert len(ours.asked) == len(theirs.asked) == 51
    for mine, reference in zip(ours.asked[: first_check + 1], theirs.asked):
        torch.testing.assert_close(mine, reference, atol=2e-6, rtol=0)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_highest_loss_met_is_the_references(norm):
    ours, theirs, labels = both(norm, 30)
    best, reference = (found.losses(labels).amax(0) for found in (ours, theirs))
    assert (reference - best).max() < 1e-3
    assert float(best.mean()) == pytest.approx(float(reference.mean()), abs=2e-4)


def state(**changes):
    """Three images of one pixel with radius 1, at 0.5, whose best point so far is 0.9."""
    new = _State(*(torch.zeros(3, 1, 1, 1) for _ in range(2)), torch.zeros(3, dtype=torch.long),
                 torch.ones(3, 1, 1, 1), None, torch.zeros(3), torch.ones(3, 1, 1, 1))  # fmt: skip
    new.x, new.best, new.best_gradient = (torch.full((3, 1, 1, 1), v) for v in (0.5, 0.9, -7.0))
    for name, value in changes.items():
        setattr(new, name, torch.tensor(value))
    return new


def test_steps_halve_from_the_best_point_on_where_the_loss_rose_too_seldom():
    found = state(rises=[4, 2, 0], best_value=[1.0, 1.0, 1.0])
    found.halve(4)  # three quarters of 4 rises are asked for
    assert found.step_size.flatten().tolist() == [2, 1, 1]
    torch.testing.assert_close(found.x.flatten(), torch.tensor([0.5, 0.9, 0.9]))
    assert found.gradient.flatten().tolist() == [1, -7, -7]
    assert found.rises.tolist() == [0, 0, 0]


def test_steps_halve_where_the_best_value_stands_still_unless_they_just_halved():
    found = state(rises=[4, 4, 4], best_value=[1.0, 1.5, 1.0], value_at_check=[1.0, 1.0, 1.0],
                  was_halved=[False, False, True])  # fmt: skip
    found.halve(4)
    assert found.step_size.flatten().tolist() == [1, 2, 2]
    assert found.was_halved.tolist() == [True, False, False]
    found.rises = torch.tensor([4, 4, 4])
    found.halve(4)
    assert found.step_size.flatten().tolist() == [1, 1, 1]


def test_a_start_that_fools_is_kept_and_counts():
    model, x = network(), images(20)
    labels = model(x).argmax(1)
    start = PGD(steps=40)(model, x, labels, 0.05)
    assert (model(start).argmax(1) != labels).all()
    found, fooled = APGD(steps=5).search(
        Classifier(model), x, labels, per_sample(0.05, x, "linf"), torch.arange(20), start=start
    )
    assert fooled.all()
    assert torch.equal(found, start)
