"""Attacks toward a class: closed forms, other libraries' targeted attacks, which targets, refusals."""

import numpy as np
import pytest
import torch
from torch import nn

from neuroalign import (
    APGD,
    FGSM,
    FMN,
    PGD,
    AutoAttack,
    CarliniWagner,
    DeepFool,
    SquareAttack,
    robustness_curve,
)
from neuroalign.perturbations.attacks.objectives import objective
from neuroalign.perturbations.attacks.targets import check_targeting
from neuroalign.perturbations.classifier import Classifier
from tests.evaluation.test_curve import arrays, images, linear, network
from tests.perturbations.attacks import linear_references as exact

TARGETED = [
    FGSM(targeted=True), FGSM("l2", targeted="least-likely"), PGD(targeted=True),
    PGD("l2", targeted="least-likely", restarts=2), PGD.two_losses(targeted=True), PGD.madry(steps=10, targeted=True),
    PGD(early_stop=False, steps=5, targeted=True), APGD(steps=10, targeted=True),
    APGD("l2", steps=10, loss="margin", targeted=True), APGD(steps=10, loss="dlr", targeted="least-likely"),
    CarliniWagner(steps=30, search_steps=4, targeted=True), FMN("linf", steps=20, targeted=True),
    FMN("l2", steps=20, targeted="least-likely"),
]  # fmt: skip


def sizes(found, x, norm):
    delta = (found - x).flatten(1)
    return delta.abs().amax(1) if norm == "linf" else delta.norm(dim=1)


def closest(attack, model, x, labels, targets):
    """Lengths (stimulus,) of what an attack on the shortest perturbation finds toward targets of ours; all must arrive."""
    found, arrived = attack.minimize(Classifier(model), x, labels, torch.arange(len(x)), targets)
    assert arrived.all()
    assert torch.equal(model(found).argmax(1), targets)
    return sizes(found, x, attack.norm).numpy()


def test_the_reference_is_that_of_half_spaces():
    """Of two classes, with the box and without: gap over the dual norm, and what another solver found."""
    model, x = linear(2), images(12)
    labels = model(x).argmax(1)
    weight, bias, flat, _ = arrays(model, x, labels)
    targets = 1 - labels.numpy()
    gap = np.abs((weight[0] - weight[1]) @ flat.T + bias[0] - bias[1])
    for norm, dual in (("linf", 1), ("l2", 2)):
        found = exact.minimal_norm_to_target(weight, bias, flat, targets, norm, box=False)
        np.testing.assert_allclose(found, gap / np.linalg.norm(weight[0] - weight[1], dual), rtol=1e-6)
        boxed = exact.minimal_norm_to_target(weight, bias, flat, targets, norm)
        np.testing.assert_allclose(boxed, exact.minimal_norm(weight, bias, flat, labels, norm), rtol=1e-6)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize(
    "make",
    [
        lambda n: FGSM(n, targeted=True), lambda n: PGD(n, targeted=True), lambda n: PGD(n, loss="ce", targeted=True),
        lambda n: PGD.two_losses(n, targeted=True), lambda n: APGD(n, targeted=True), lambda n: FMN(n, targeted=True),
    ],
)  # fmt: skip
def test_of_two_classes_the_target_is_reached_from_the_smallest_budget_on(make, norm):
    model, x, attack = linear(2), images(30), make(norm)
    labels = model(x).argmax(1)
    least = torch.tensor(exact.minimal_norm(*arrays(model, x, labels), norm)).float()
    for share, arrives in ((0.999, False), (1.001, True)):
        for target in (None, 1 - labels):  # the one other class, chosen and given
            found = attack(model, x, labels, share * least, target=target)
            assert bool(((model(found).argmax(1) == 1 - labels) == arrives).all())


def target_truth(num_images, norm, num_classes=5):
    model, x = linear(num_classes), images(num_images)
    labels = model(x).argmax(1)
    targets = (labels + 1 + torch.arange(num_images) % (num_classes - 1)) % num_classes
    weight, bias, flat, _ = arrays(model, x, labels)
    return model, x, labels, targets, exact.minimal_norm_to_target(weight, bias, flat, targets, norm)


@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("loss", ["margin", "ce", "dlr"])
def test_of_several_classes_nothing_is_reached_that_no_perturbation_reaches(norm, loss):
    model, x, labels, targets, least = target_truth(40, norm)
    for eps in np.quantile(least, [0.3, 0.6, 0.9]):
        for attack in (PGD(norm, loss=loss, steps=40), APGD(norm, loss=loss, steps=40)):
            arrived = model(attack(model, x, labels, float(eps), target=targets)).argmax(1) == targets
            assert not (arrived.numpy() & (least > eps + 1e-6)).any()
            assert arrived.float().mean() >= 0.7 * (least <= eps).mean(), "far from what can be reached"


def test_pgd_along_the_margin_is_exact_in_l2():
    model, x, labels, targets, least = target_truth(60, "l2")
    for eps in np.quantile(least, [0.3, 0.6, 0.9]) * 1.001:
        found = PGD("l2", steps=200)(model, x, labels, float(eps), target=targets)
        np.testing.assert_array_equal((model(found).argmax(1) == targets).numpy(), least <= eps)


@pytest.mark.parametrize("attack", [FMN("linf", steps=500), FMN("l2", steps=500), CarliniWagner(steps=300)], ids=repr)
def test_shortest_perturbations_toward_targets(attack):
    model, x, labels, targets, least = target_truth(40, attack.norm)
    ratio = closest(attack, model, x, labels, targets) / least
    assert ratio.min() >= 1 - 1e-4
    assert np.median(ratio) == pytest.approx(1, abs=0.01)


def test_fgsm_and_pgd_are_torchattacks_image_by_image():
    torchattacks = pytest.importorskip("torchattacks", reason="torchattacks is not installed")
    model, x = network(), images(100)
    labels = model(x).argmax(1)
    targets = (labels + 1 + torch.arange(100) % 4) % 5
    for eps in (0.003, 0.01):
        theirs = torchattacks.FGSM(model, eps=eps)
        theirs.set_mode_targeted_by_label(quiet=True)
        expected = theirs(x, targets)
        model.eval()
        torch.testing.assert_close(FGSM()(model, x, labels, eps, target=targets), expected, atol=1e-6, rtol=0)
        theirs = torchattacks.PGD(model, eps=eps, alpha=0.25 * eps, steps=10, random_start=False)
        theirs.set_mode_targeted_by_label(quiet=True)
        expected = theirs(x, targets)
        model.eval()
        ours = PGD(steps=10, loss="ce", rel_step_size=0.25, early_stop=False)
        torch.testing.assert_close(ours(model, x, labels, eps, target=targets), expected, atol=2e-6, rtol=0)
        ours = PGD(steps=10, loss="ce", rel_step_size=0.25)  # what it met on the way counts as well
        arrived = model(ours(model, x, labels, eps, target=targets)).argmax(1) == targets
        assert (arrived >= (model(expected).argmax(1) == targets)).all()


def test_stronger_than_torchattacks_and_foolboxs_pgd():
    torchattacks = pytest.importorskip("torchattacks", reason="torchattacks is not installed")
    foolbox = pytest.importorskip("foolbox", reason="foolbox is not installed")
    model, x = network(), images(150)
    labels = model(x).argmax(1)
    targets = (labels + 1 + torch.arange(150) % 4) % 5
    shares = []
    for eps in (0.01, 0.02, 0.04):
        theirs = torchattacks.PGD(model, eps=eps, alpha=eps / 4, steps=20)
        theirs.set_mode_targeted_by_label(quiet=True)
        other = foolbox.attacks.LinfPGD(steps=20, rel_stepsize=0.25)
        found = theirs(x, targets)
        model.eval()
        criterion = foolbox.criteria.TargetedMisclassification(targets)
        _, others, _ = other(foolbox.PyTorchModel(model, bounds=(0, 1)), x, criterion, epsilons=eps)
        ours = PGD.two_losses()(model, x, labels, eps, target=targets)
        mine, *peers = (float((model(z).argmax(1) == targets).float().mean()) for z in (ours, found, others))
        assert mine >= max(peers)
        shares.append(mine)
    assert 0.05 < shares[0] < shares[-1]


@pytest.mark.slow
def test_carlini_wagner_and_fmn_are_as_short_as_foolboxs():
    foolbox = pytest.importorskip("foolbox", reason="foolbox is not installed")
    model, x = network(), images(40)
    labels = model(x).argmax(1)
    targets = (labels + 1 + torch.arange(40) % 4) % 5
    criterion = foolbox.criteria.TargetedMisclassification(targets)
    for ours, theirs in (
        (CarliniWagner(steps=200), foolbox.attacks.L2CarliniWagnerAttack(steps=200)),
        (FMN("l2", steps=200), foolbox.attacks.L2FMNAttack(steps=200)),
        (FMN("linf", steps=200), foolbox.attacks.LInfFMNAttack(steps=200)),
    ):
        _, found, arrived = theirs(foolbox.PyTorchModel(model, bounds=(0, 1)), x, criterion, epsilons=None)
        assert arrived.all()
        mine = closest(ours, model, x, labels, targets)
        assert np.median(mine) <= 1.03 * float(sizes(found, x, ours.norm).median())


@pytest.mark.parametrize("attack", TARGETED, ids=repr)
@pytest.mark.parametrize("eps", [0.0, 0.02, 0.5])
def test_in_the_ball_and_the_box(attack, eps):
    x = torch.rand(8, 3, 4, 4)
    x[0], x[1] = 0, 1
    model, labels = linear(5), torch.arange(8) % 5
    for target in (None, (labels + 2) % 5):
        found = attack(model, x, labels, eps, target=target)
        assert sizes(found, x, attack.norm).max() <= eps + 1e-6
        assert found.min() >= 0
        assert found.max() <= 1
    assert all(p.grad is None for p in model.parameters())


@pytest.mark.parametrize("attack", TARGETED, ids=repr)
def test_the_same_for_any_batches_and_order(attack):
    model, x = network(), images(30)
    labels = model(x).argmax(1)
    state = torch.get_rng_state()
    index = torch.arange(30) + 100
    targets = attack.targets(model, x, labels, index=index)
    arrived = model(attack(model, x, labels, 0.05, index=index)).argmax(1) == targets
    assert torch.equal(torch.get_rng_state(), state)
    differing = 0
    for part in torch.randperm(30).split(7):
        assert torch.equal(attack.targets(model, x[part], labels[part], index=index[part]), targets[part])
        found = attack(model, x[part], labels[part], 0.05, index=index[part])
        differing += int(((model(found).argmax(1) == targets[part]) != arrived[part]).sum())
    assert differing <= 1


@pytest.mark.parametrize("attack", TARGETED, ids=repr)
def test_chosen_targets_are_those_that_are_told(attack):
    model, x = network(), images(20)
    labels = model(x).argmax(1)
    targets = attack.targets(model, x, labels)
    assert torch.equal(attack(model, x, labels, 0.05), attack(model, x, labels, 0.05, target=targets))
    other = targets.new_tensor([next(c for c in range(5) if c not in pair) for pair in zip(labels, targets)])
    assert not torch.equal(attack(model, x, labels, 0.05), attack(model, x, labels, 0.05, target=other))


def test_random_targets_are_each_other_class_alike():
    model, x = linear(5), images(1).expand(4000, -1, -1, -1)
    labels = torch.arange(4000) % 5
    targets = PGD(targeted=True).targets(model, x, labels)
    assert not (targets == labels).any()
    counts = ((targets - labels) % 5).bincount(minlength=5)[1:]
    assert ((counts - 1000).abs() < 4 * (4000 * 0.25 * 0.75) ** 0.5).all()
    assert torch.equal(FMN(targeted="random").targets(model, x, labels), targets), (
        "the image's own, whatever the attack"
    )
    assert 0.2 < (PGD(targeted=True, seed=1).targets(model, x, labels) == targets).float().mean() < 0.3
    shifted = PGD(targeted=True).targets(model, x, labels, index=torch.arange(4000) + 1)
    assert torch.equal((shifted - labels)[:-1] % 5, (targets - labels)[1:] % 5)


def test_the_least_likely_class_is_the_one_of_lowest_logit_but_for_the_label():
    model, x = linear(5), images(200)
    labels = torch.arange(200) % 5
    logits = model(x).detach().numpy()
    expected = [min((c for c in range(5) if c != y), key=lambda c: row[c]) for row, y in zip(logits, labels.tolist())]
    assert PGD(targeted="least-likely").targets(model, x, labels).tolist() == expected


def test_an_image_that_is_already_taken_for_its_target_stays():
    model, x = linear(5), images(10)
    predicted = model(x).argmax(1)
    labels = (predicted + 1) % 5
    for attack in (PGD(), PGD("l2", loss="ce"), FMN(steps=5)):
        assert torch.equal(attack(model, x, labels, 0.3, target=predicted), x)
    assert (closest(FMN(steps=5), model, x, labels, predicted) == 0).all()


def test_a_third_class_is_no_success():
    """Between label and target lies a third class: untargeted attacks stop there, targeted ones go on."""
    model = nn.Sequential(nn.Flatten(), nn.Linear(1, 3)).eval()
    with torch.no_grad():
        model[1].weight.copy_(torch.tensor([[-2.0], [0.0], [1.0]]))
        model[1].bias.copy_(torch.tensor([1.0, 0.5, 0.0]))  # label below .25, third class up to .5, target above
    x, labels, target = torch.full((1, 1, 1, 1), 0.1), torch.tensor([0]), torch.tensor([2])
    for attack in (PGD(), PGD(loss="ce"), APGD(steps=30), FMN(), CarliniWagner(steps=100, lr=0.05)):
        assert model(attack(model, x, labels, 0.3)).argmax(1).tolist() == [1]
        assert model(attack(model, x, labels, 0.45, target=target)).argmax(1).tolist() == [2]
        assert model(attack(model, x, labels, 0.3, target=target)).argmax(1).tolist() != [2]


def test_no_image_is_abandoned_on_its_way_to_a_target():
    """The rate at which the margin to the label rises says nothing of when the target is reached."""
    model, x = network(), images(60)
    labels = model(x).argmax(1)
    patient = PGD(momentum=0.25, targeted=True)(model, x, labels, 0.03)
    assert torch.equal(PGD(momentum=0.25, patience=2, targeted=True)(model, x, labels, 0.03), patient)
    untargeted = [PGD(loss="ce", steps=20, patience=p) for p in (None, 2)]
    one, other = (attack(model, x, labels, 0.001) for attack in untargeted)
    assert not torch.equal(one, other), "patience plays a part without targets"


def test_confidence_is_a_lead_over_all_others():
    model, x = network(), images(20)
    labels = model(x).argmax(1)
    targets = (labels + 2) % 5
    found, arrived = CarliniWagner(steps=200, confidence=1.0).minimize(
        Classifier(model), x, labels, torch.arange(20), targets
    )
    logits = model(found)
    lead = logits.gather(1, targets[:, None])[:, 0] - logits.scatter(1, targets[:, None], -torch.inf).amax(1)
    assert arrived.all()
    assert (lead > 1 - 1e-4).all()


def test_targeted_losses_written_out():
    g = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(50, 6, generator=g)
    labels = torch.randint(6, (50,), generator=g)
    targets = (labels + torch.randint(1, 6, (50,), generator=g)) % 6
    for name in ("margin", "ce", "dlr"):
        found = objective(name, targeted=True)(logits, labels, targets).numpy()
        for z, y, t, value in zip(logits.double().numpy(), labels.tolist(), targets.tolist(), found):
            ranked = np.sort(z)[::-1]
            expected = {
                "margin": z[t] - max(np.delete(z, t)),
                "ce": z[t] - np.log(np.exp(z).sum()),
                "dlr": -(z[y] - z[t]) / (ranked[0] - (ranked[2] + ranked[3]) / 2),
            }[name]
            assert value == pytest.approx(expected, rel=1e-4, abs=1e-5)


def test_names_and_descriptions_tell():
    assert PGD.madry(targeted=True).name == "pgd40-linf-targeted-random"
    assert APGD(loss="dlr", targeted=True).name == "apgd-dlr-linf-targeted-random"
    assert APGD(loss="dlr-targeted").name == "apgd-dlr-targeted-linf"
    names = [
        a.name
        for a in (FGSM, PGD, APGD, CarliniWagner, FMN)
        for a in (a(), a(targeted=True), a(targeted="least-likely"))
    ]
    assert len(set(names)) == 15
    for attack in TARGETED:
        assert attack.name.endswith(("-targeted-random", "-targeted-least-likely"))
        assert f"targeted={attack.targeted!r}" in repr(attack)
        assert "seed=0" in repr(attack)
    assert not any("targeted" in repr(a()) for a in (FGSM, PGD, APGD, CarliniWagner, FMN))
    assert check_targeting(True) == check_targeting("random") == "random"
    assert check_targeting(False) is check_targeting(None) is None


def test_the_curve_of_a_targeted_attack_counts_labels():
    """An image taken for a third class has lost its label; each budget is attacked on its own."""
    model, x = network(), images(60)
    labels = model(x).argmax(1)
    attack, grid = PGD(targeted=True, steps=10), [0.005, 0.02]
    curve = robustness_curve(model, [(x, labels)], attack, grid)
    found = [model(attack(model, x, labels, e)).argmax(1) for e in grid]
    expected = np.logical_and.accumulate(torch.stack([f == labels for f in found], 1).numpy(), 1)
    np.testing.assert_array_equal(curve.correct(), expected)
    lost = found[1] != labels
    assert 0 < int((found[1] == attack.targets(model, x, labels)).sum()) < int(lost.sum())


X, Y = images(4), torch.tensor([0, 1, 2, 3])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda m: PGD(targeted="nearest"),
            "targeted must be True or 'random', 'least-likely', or False; got 'nearest'",
        ),
        (lambda m: PGD(targeted=3), "call the attack with target=classes"),
        (
            lambda m: PGD()(m, X, Y, 0.1, target=Y),
            r"the target of 4 of 4 images is their own label \(the first: image 0",
        ),
        (lambda m: FMN()(m, X, Y, 0.1, target=[1, 2, 2, 0]), r"of 1 of 4 images is their own .*image 2, class 2\)"),
        (lambda m: FGSM()(m, X, Y, 0.1, target=Y + 2), "targets run from 2 to 5, but there are 5 classes"),
        (lambda m: APGD()(m, X, Y, 0.1, target=[-1, 0, 0, 0]), r"targets run from -1 to 0, .*in 0\.\.C-1$"),
        (lambda m: PGD()(m, X, Y, 0.1, target=Y[:3]), "4 images but 3 targets"),
        (
            lambda m: CarliniWagner()(m, X, Y, 0.1, target=torch.rand(4)),
            r"targets must be \(stimulus,\) int64.*float32",
        ),
        (lambda m: PGD()(m, X, Y, 0.1, target=3), r"targets must be \(stimulus,\) int64 in 0..C-1; got 3"),
        (lambda m: DeepFool()(m, X, Y, 0.1, target=Y + 1), "DeepFool has no targeted form: FGSM, PGD"),
        (lambda m: SquareAttack()(m, X, Y, 0.1, target=Y + 1), "SquareAttack has no targeted form"),
        (lambda m: AutoAttack()(m, X, Y, 0.1, target=Y + 1), "AutoAttack has no targeted form"),
        (lambda m: APGD(loss="dlr-targeted", targeted=True), "tries several target classes of its own"),
        (lambda m: APGD(loss="dlr-targeted")(m, X, Y, 0.1, target=Y + 1), "tries several target classes of its own"),
        (lambda m: APGD(loss="dlr", targeted=True)(linear(3), X, Y % 3, 0.1), "at least 4 classes"),
        (lambda m: PGD().targets(m, X, Y), "is untargeted: make it with targeted=True"),
        (lambda m: PGD(targeted=True).targets(m, X, Y + 4), "labels run from 4 to 7"),
        (lambda m: PGD(targeted=True).targets(m, X, Y[:, None]), "labels must be"),
        (lambda m: PGD(targeted=True).targets(m, X, Y, index=[1]), "4 images but 1 index values"),
    ],
)
def test_refusals(call, message):
    with pytest.raises(ValueError, match=message):
        call(linear(5))
