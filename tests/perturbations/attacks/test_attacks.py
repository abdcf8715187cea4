"""Every attack: in the ball and the box, seeded by image, closed forms, refusals; APGD, Square and AutoAttack in detail."""

import sys

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from neuroalign import (
    APGD,
    FGSM,
    FMN,
    PGD,
    AutoAttack,
    BrendelBethge,
    CarliniWagner,
    DeepFool,
    RotationTranslation,
    SquareAttack,
    robustness_curve,
)
from neuroalign.state import evaluating
from tests.evaluation.test_curve import GRIDS, arrays, images, linear, loader, network, with_errors
from tests.perturbations.attacks import linear_references as exact

ATTACKS = [
    FGSM(), FGSM("l2", loss="ce"), PGD(), PGD("l2", restarts=2), PGD(loss="dlr", random_start=True), PGD.two_losses(),
    APGD(steps=10), APGD("l2", steps=10, loss="dlr"), APGD(steps=5, loss="dlr-targeted"), DeepFool(),
    CarliniWagner(steps=30), FMN("linf", steps=20), FMN("l2", steps=20), SquareAttack(num_queries=30),
    SquareAttack("l2", num_queries=30), AutoAttack(version="fast"),
]  # fmt: skip


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
@pytest.mark.parametrize("eps", [0.0, 0.02, 0.5])
def test_in_the_ball_and_the_box(attack, eps):
    x = torch.rand(8, 3, 4, 4)
    x[0], x[1] = 0, 1
    model = linear(5)
    found = attack(model, x, torch.arange(8) % 5, eps)
    delta = (found - x).flatten(1)
    size = delta.abs().amax(1) if attack.norm == "linf" else delta.norm(dim=1)
    assert size.max() <= eps + 1e-6
    assert found.min() >= 0
    assert found.max() <= 1
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("attack", ATTACKS[:-1], ids=repr)
def test_random_numbers_are_the_images_own(attack):
    model, x = network(), images(30)
    labels = with_errors(model, x)
    state = torch.get_rng_state()
    whole = attack(model, x, labels, 0.02)
    assert torch.equal(torch.get_rng_state(), state)
    fooled = model(whole).argmax(1) != labels
    differing = 0
    for part in torch.randperm(30).split(7):
        found = attack(model, x[part], labels[part], 0.02, index=part)
        differing += int(((model(found).argmax(1) != labels[part]) != fooled[part]).sum())
    assert differing <= 1


@pytest.mark.parametrize("attack", ATTACKS, ids=repr)
def test_names_and_descriptions(attack):
    assert attack.norm in attack.name or attack.name.endswith(("-x2", "-fast"))
    assert repr(attack).startswith(type(attack).__name__ + "(")
    assert "object at" not in repr(attack)


@pytest.mark.parametrize("loss", ["ce", "dlr", "margin", "dlr-targeted"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_apgd_on_linear_models(norm, loss):
    model, x = linear(5), images(60)
    labels = with_errors(model, x)
    grid = GRIDS[norm][2:8:3]
    curve = robustness_curve(model, loader(x, labels), APGD(norm, loss=loss, steps=50), grid)
    truth = exact.minimal_norm(*arrays(model, x, labels), norm, True)[:, None] > np.array(grid)
    assert not (truth & ~curve.correct()).any()
    if loss in ("margin", "dlr-targeted"):
        assert (curve.accuracy - truth.mean(0)).max() <= 0.02
        return
    from pyautoattack.autopgd_base import APGDAttack  # these two pull toward all classes at once, theirs no less

    for e, accuracy in zip(grid, curve.accuracy):
        theirs = APGDAttack(
            model, n_iter=50, norm={"linf": "Linf", "l2": "L2"}[norm], eps=e, seed=0, loss=loss, device="cpu"
        )
        fooled = model(theirs.perturb(x, labels)).argmax(1) != labels
        assert accuracy <= 1 - float(fooled.float().mean()) + 0.02


def test_square_needs_no_gradient():
    """A network without gradients: the white box finds nothing, the black box does."""
    model, x = linear(5), images(60)
    labels = model(x).argmax(1)

    class Rounded(nn.Module):
        def forward(self, z):
            return model((z * 64).round() / 64) + 0 * z.sum()

    masked = Rounded().eval()
    with pytest.warns(UserWarning, match="train mode"):  # and says so where it is called outside an evaluation
        PGD()(Rounded().train(), x, labels, 0.02)
    white, black = (
        (masked(attack(masked, x, labels, 0.05)).argmax(1) == labels).float().mean()
        for attack in (PGD(), SquareAttack(num_queries=500))
    )
    assert white == 1
    assert black < 0.5


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_square_comes_near_the_truth(norm):
    model, x = linear(3), images(40)
    labels = model(x).argmax(1)
    eps = {"linf": 0.01, "l2": 0.12}[norm]
    found = SquareAttack(norm, num_queries=2000)(model, x, labels, eps)
    truth = exact.minimal_norm(*arrays(model, x, labels), norm, True) <= eps
    fooled = (model(found).argmax(1) != labels).numpy()
    assert not (fooled & ~truth).any()
    assert fooled.sum() >= 0.8 * truth.sum() > 10


@pytest.mark.parametrize(
    "num_classes", [pytest.param(2, marks=pytest.mark.slow), 3, 5, pytest.param(12, marks=pytest.mark.slow)]
)
def test_autoattack_for_any_number_of_classes(num_classes):
    model, x = linear(num_classes), images(6)
    labels = model(x).argmax(1)
    attack = AutoAttack(version="standard" if num_classes == 2 else "fast", seed=3)
    found = attack(model, x, labels, 0.02)
    truth = exact.minimal_norm(*arrays(model, x, labels), "linf", True) <= 0.02
    np.testing.assert_array_equal((model(found).argmax(1) != labels).numpy(), truth)
    assert attack.ran.endswith(f" with {min(9, num_classes - 1)} targets")
    assert ("apgd-t" in attack.ran) == (num_classes >= 4)


def test_autoattack_says_what_ran_and_goes_on_from_a_checkpoint(tmp_path):
    model, x = linear(3), images(6)
    labels, attack = model(x).argmax(1), AutoAttack(version="fast")
    first = robustness_curve(model, loader(x, labels), attack, [0.01], checkpoint=tmp_path / "aa.csv")
    assert "apgd-ce, fab with 2 targets" in first.settings
    again = robustness_curve(model, loader(x, labels), attack, [0.01], checkpoint=tmp_path / "aa.csv")
    assert again.images.equals(first.images), "an object that ran is the same attack still"


@pytest.mark.slow
def test_autoattack_leaves_no_trace(capsys):
    model, x = linear(3), images(6)
    labels = model(x).argmax(1)
    torch.nn.functional.cross_entropy(model(x), labels).backward()
    gradients = [p.grad.clone() for p in model.parameters()]
    state = torch.get_rng_state()
    before = sys.gettrace()

    def trace(*_):
        return None

    sys.settrace(trace)
    try:
        first = AutoAttack()(model, x, labels, torch.tensor([0.0, 0.01, 0.01, 0.02, 0.02, 0.02]))
        assert sys.gettrace() is trace
    finally:
        sys.settrace(before)
    torch.rand(3)
    torch.testing.assert_close(AutoAttack()(model, x, labels, torch.tensor([0.0, 0.01, 0.01, 0.02, 0.02, 0.02])), first)
    torch.set_rng_state(state)
    for p, gradient in zip(model.parameters(), gradients):
        assert torch.equal(p.grad, gradient)
        assert p.requires_grad
    assert capsys.readouterr() == ("", "")


def test_autoattack_refuses_nan():
    model, x = linear(3), images(6)

    class Broken(nn.Module):
        def forward(self, z):
            return model(z) * torch.nan

    with pytest.raises(ValueError, match="NaN or infinite"):
        AutoAttack()(Broken().eval(), x, torch.zeros(6, dtype=torch.long), 0.1)


@pytest.mark.slow
def test_brendel_bethge():
    pytest.importorskip("foolbox", reason="foolbox is not installed")
    pytest.importorskip("numba", reason="numba, which foolbox compiles with, is not installed")
    model, x = linear(3), images(6)
    labels = with_errors(model, x)
    with pytest.warns(UserWarning, match="needs to be compiled"):
        curve = robustness_curve(model, loader(x, labels), BrendelBethge("l2", steps=100), [0.05, 0.2])
    truth = exact.minimal_norm(*arrays(model, x, labels), "l2", True)
    np.testing.assert_allclose(curve.images["distance"], truth, rtol=0.03, atol=1e-4)


def test_brendel_bethge_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "foolbox", None)
    model, x = linear(3), images(2)
    with pytest.raises(ImportError, match=r"neuroalign\[foolbox\]"):
        BrendelBethge()(model, x, model(x).argmax(1), 0.1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PGD(momentum=1.0), r"momentum must be in \[0, 1\)"),
        (lambda: PGD(patience=1), "patience must be at least 2"),
        (lambda: PGD(rel_step_size=0), "positive share of eps, or None for the cosine schedule"),
        (lambda: PGD(rel_step_size=-0.1), "positive share of eps"),
        (lambda: PGD.madry(steps=0), "must be at least 1"),
        (lambda: APGD(steps=0), "must be at least 1"),
        (lambda: APGD(loss="dlr-target"), "unknown attack loss"),
        (lambda: DeepFool(candidates=1), "candidates at least 2"),
        (lambda: CarliniWagner(lr=0), "lr and initial_weight positive"),
        (lambda: FMN(gamma=2), r"gamma in \(0, 1\)"),
        (lambda: SquareAttack(share=0), r"share in \(0, 1\]"),
        (lambda: AutoAttack(version="plus"), "must be 'standard' or 'fast'"),
        (lambda: BrendelBethge(steps=0), "steps must be at least 1"),
        (lambda: PGD(loss="dlr")(linear(2), images(2), torch.zeros(2, dtype=torch.long), 0.1), "at least 3 classes"),
        (
            lambda: APGD(loss="dlr-targeted")(linear(3), images(2), torch.zeros(2, dtype=torch.long), 0.1),
            "at least 4 cl",
        ),
    ],
)
def test_refusals(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("attack", "option"),
    [
        (CarliniWagner, "confidence"),  # no image ever fooled: the network looked robust
        (CarliniWagner, "lr"),
        (CarliniWagner, "initial_weight"),
        (DeepFool, "overshoot"),
        (FMN, "step_size"),
        (FMN, "gamma"),
        (PGD, "rel_step_size"),
        (PGD, "momentum"),
        (SquareAttack, "share"),
        (RotationTranslation, "max_rotation"),
        (RotationTranslation, "max_translation"),
    ],
)
def test_options_are_finite(attack, option, value):
    with pytest.raises(ValueError, match=rf"{option}.* got .*{value}"):
        attack(**{option: value})


@pytest.mark.parametrize("value", ["5", 2.5, True])
@pytest.mark.parametrize(
    "make",
    [PGD, PGD.madry, PGD.two_losses, APGD, DeepFool, CarliniWagner, FMN, BrendelBethge],
    ids=lambda make: getattr(make, "__qualname__", ""),
)
def test_steps_are_a_whole_number(make, value):
    with pytest.raises(TypeError, match=r"^steps must be a whole number; got"):
        make(steps=value)
    assert make(steps=np.int64(5)).steps == 5


@pytest.mark.parametrize(
    "make",
    [
        lambda: PGD(restarts=1.5),
        lambda: PGD(patience="2"),
        lambda: SquareAttack(num_queries="200"),
        lambda: RotationTranslation(num_rotations=2.5),
    ],
)
def test_other_counts_are_whole_numbers(make):
    with pytest.raises(TypeError, match="must be a whole number; got"):
        make()


def test_attacks_of_ones_own_that_leave_the_ball_are_told():
    class Cheat(FGSM):
        def search(self, classifier, images, labels, eps, index, start=None):
            return 1 - images, classifier.fooled(1 - images, labels)

    model, x = linear(3), images(4)
    with pytest.raises(RuntimeError, match="left the ball by"):
        Cheat()(model, x, model(x).argmax(1), 0.01)


def test_inside_the_state_of_attack_gradients_of_parameters_are_off():
    model = linear(3)
    with evaluating(model):
        assert not any(p.requires_grad for p in model.parameters())


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_fmn_reaches_every_boundary(norm):
    """Its steps are longer than these balls: they must grow until something fools."""
    model, x = network(), images(60)
    labels = model(x).argmax(1)
    curve = robustness_curve(model, loader(x, labels), FMN(norm), [{"linf": 0.1, "l2": 1.0}[norm]])
    assert curve.accuracy[0] == 0
    pgd = robustness_curve(model, loader(x, labels), PGD.two_losses(norm), GRIDS[norm])
    fmn = robustness_curve(model, loader(x, labels), FMN(norm), GRIDS[norm])
    assert np.abs(fmn.accuracy - pgd.accuracy).max() <= 0.05


def foolbox_model(model):
    foolbox = pytest.importorskip("foolbox", reason="foolbox is not installed")
    return foolbox, model, foolbox.PyTorchModel(model, bounds=(0, 1))


def test_fgsm_is_foolboxs_image_by_image():
    foolbox, net, model = foolbox_model(network())
    x = images(100)
    labels = with_errors(net, x)
    for eps in (0.003, 0.01):
        _, theirs, _ = foolbox.attacks.LinfFastGradientAttack()(model, x, labels, epsilons=eps)
        ours = FGSM(loss="ce")(net, x, labels, eps)
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=0)
        _, theirs, _ = foolbox.attacks.L2FastGradientAttack()(model, x, labels, epsilons=10 * eps)
        torch.testing.assert_close(FGSM("l2", loss="ce")(net, x, labels, 10 * eps), theirs, atol=1e-5, rtol=0)


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_never_above_foolboxs_pgd(norm):
    foolbox, net, model = foolbox_model(network())
    x = images(200)
    labels = with_errors(net, x)
    curve = robustness_curve(net, loader(x, labels), PGD.two_losses(norm), GRIDS[norm])
    kind = {"linf": foolbox.attacks.LinfPGD, "l2": foolbox.attacks.L2PGD}[norm]
    for attack in (kind(), kind(steps=10, rel_stepsize=0.25)):
        _, _, fooled = attack(model, x, labels, epsilons=GRIDS[norm])
        assert (curve.accuracy - (1 - fooled.float().mean(1).numpy())).max() <= 0.005


def test_never_above_torchattacks_pgd():
    torchattacks = pytest.importorskip("torchattacks", reason="torchattacks is not installed")
    model, x = network(), images(200)
    labels = with_errors(model, x)
    grid = GRIDS["linf"][::3]
    curve = robustness_curve(model, loader(x, labels), PGD.two_losses(), grid)
    for e, accuracy in zip(grid, curve.accuracy):
        for steps, share in ((40, 1 / 30), (10, 1 / 4)):
            found = torchattacks.PGD(model, eps=e, alpha=share * e, steps=steps)(x, labels)
            model.eval()
            assert accuracy <= float((model(found).argmax(1) == labels).float().mean()) + 0.005
        found = torchattacks.FGSM(model, eps=e)(x, labels)
        model.eval()
        torch.testing.assert_close(FGSM(loss="ce")(model, x, labels, e), found, atol=1e-6, rtol=0)


def test_deepfool_and_carlini_wagner_are_as_short_as_foolboxs():
    foolbox, net, model = foolbox_model(network())
    x = images(60)
    labels = net(x).argmax(1)
    batches = DataLoader(TensorDataset(x, labels), 60)
    for ours, theirs in (
        (DeepFool(), foolbox.attacks.L2DeepFoolAttack(loss="logits")),
        (CarliniWagner(steps=200), foolbox.attacks.L2CarliniWagnerAttack(steps=200)),
    ):
        _, found, fooled = theirs(model, x, labels, epsilons=None)
        size = (found - x).flatten(1).norm(dim=1)
        assert fooled.all()
        distance = robustness_curve(net, batches, ours, [0.1]).images["distance"]
        assert np.median(distance) == pytest.approx(np.median(size), rel=0.03)
        assert distance.mean() == pytest.approx(float(size.mean()), rel=0.03)
