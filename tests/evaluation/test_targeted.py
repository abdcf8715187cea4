"""How many images reach their target: as a direct count, for any batches, on one process or two."""

import pytest
import torch

from neuroalign import APGD, FMN, PGD, CarliniWagner, RobustnessCallback, evaluate_robustness, targeted_success
from neuroalign.perturbations.classifier import Classifier
from tests.distributed import run_on_ranks
from tests.evaluation.test_curve import images, loader, network, with_errors

GRID = [0.0, 0.01, 0.04]


@pytest.mark.parametrize(
    "attack", [PGD(targeted=True), APGD("l2", steps=20, loss="margin", targeted="least-likely")], ids=repr
)
def test_a_direct_count(attack):
    model, x = network(), images(80)
    labels = with_errors(model, x)
    right = model(x).argmax(1) == labels
    table = targeted_success(model, loader(x, labels, 80), attack, GRID)
    targets = attack.targets(model, x, labels)
    for eps, row in zip(GRID, table.itertuples()):
        found = attack(model, x[right], labels[right], eps, index=torch.arange(80)[right])
        arrived = model(found).argmax(1) == targets[right]
        assert (row.eps, row.num_images, row.num_reached) == (eps, int(right.sum()), int(arrived.sum()))
        assert row.success_rate == pytest.approx(float(arrived.float().mean()))
        assert row.ci_low <= row.success_rate <= row.ci_high
        assert (row.perturbation, row.norm, row.settings) == (attack.name, attack.norm, repr(attack))
    assert table["num_reached"][0] == 0 < table["num_reached"][2]
    accuracy = evaluate_robustness(model, loader(x, labels), attack, GRID)
    lost = int(right.sum()) - accuracy["num_correct"]
    assert (lost >= table["num_reached"]).all()


@pytest.mark.parametrize("attack", [FMN("linf", targeted=True), CarliniWagner(steps=30, targeted=True)], ids=repr)
def test_shortest_perturbations_count_from_their_length_on(attack):
    model, x = network(), images(20)
    labels = model(x).argmax(1)
    found, arrived = attack.minimize(Classifier(model), x, labels, torch.arange(20))
    assert torch.equal(model(found).argmax(1) == attack.targets(model, x, labels), arrived)
    delta = (found - x).flatten(1)
    size = delta.abs().amax(1) if attack.norm == "linf" else delta.norm(dim=1)
    grid = [1.0, 0.001, float(size[arrived].median())]
    table = targeted_success(model, [(x, labels)], attack, grid)
    assert table["eps"].tolist() == grid
    assert table["num_reached"].tolist() == [int((arrived & (size <= eps * (1 + 1e-5))).sum()) for eps in grid]
    assert 0 < table["num_reached"][2] < table["num_reached"][0]


def test_the_same_for_any_batches():
    model, x = network(), images(80)
    labels = with_errors(model, x)
    whole = targeted_success(model, loader(x, labels, 80), PGD.madry(targeted=True), GRID)
    parts = targeted_success(model, loader(x, labels, 7), PGD.madry(targeted=True), GRID, progress=True)
    assert (whole["num_reached"] - parts["num_reached"]).abs().max() <= 1
    some = targeted_success(model, loader(x, labels, 10), PGD(targeted=True), 0.01, limit_batches=2)
    assert some["num_images"].tolist() == [int((model(x[:20]).argmax(1) == labels[:20]).sum())]


def counted(rank: int, world: int) -> torch.Tensor:
    model, x = network(), images(37)
    table = targeted_success(model, loader(x, with_errors(model, x), 8), PGD(targeted=True), GRID)
    return torch.tensor(table[["num_images", "num_reached"]].to_numpy())


@pytest.mark.slow
def test_two_processes_equal_one():
    expected = counted(0, 1)
    for found in run_on_ranks(counted, 2):
        assert torch.equal(found, expected)


def test_a_network_that_returns_more_and_takes_normalised_images():
    model, x = network(), images(20)
    labels = model(x).argmax(1)
    expected = targeted_success(model, [(x, labels)], PGD(targeted=True), GRID)

    class Foreign(torch.nn.Module):
        def forward(self, z):
            return {"logits": model(z * 0.25 + 0.5)}

    found = targeted_success(
        Foreign(), [((x - 0.5) / 0.25, labels)], PGD(targeted=True), GRID, logits="logits", mean=[0.5], std=[0.25]
    )
    assert found["num_reached"].tolist() == expected["num_reached"].tolist()


def test_callbacks_log_both_kinds():
    callback = RobustnessCallback([PGD(), PGD(targeted=True), PGD(targeted="least-likely")], 0.1)
    assert len(set(callback.keys)) == 3


def test_refusals():
    model, x = network(), images(4)
    labels = model(x).argmax(1)
    with pytest.raises(ValueError, match=r"is not targeted: make it with targeted=True, PGD\(targeted=True\)"):
        targeted_success(model, [(x, labels)], PGD(), 0.1)
    with pytest.raises(ValueError, match="None is not targeted"):
        targeted_success(model, [(x, labels)], None, 0.1)
    with pytest.raises(TypeError, match="must be an Attack"):
        targeted_success(model, [(x, labels)], lambda m, i, y, eps: i, 0.1)
    with pytest.raises(TypeError, match="is a class"):
        targeted_success(model, [(x, labels)], PGD, 0.1)
    with pytest.raises(ValueError, match="no image is classified right"):
        targeted_success(model, [(x, (labels + 1) % 5)], PGD(targeted=True), 0.1)
    with pytest.raises(ValueError, match="labels run from"):
        targeted_success(model, [(x, labels + 5)], PGD(targeted=True), 0.1)
    with pytest.raises(ValueError, match="divide by 255"):
        targeted_success(model, [(x, labels)], PGD(targeted=True), 8)
