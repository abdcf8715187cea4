"""The curve in one pass: closed forms, agreement with the plain sweep, the same for any batches, resumed, distributed."""

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
    CarliniWagner,
    DeepFool,
    RobustnessCurve,
    evaluate_robustness,
    robustness_curve,
)
from neuroalign.evaluation.measurement import measure
from neuroalign.evaluation.passes import PassOptions
from tests.distributed import run_on_ranks
from tests.perturbations.attacks import linear_references as exact
from tests.perturbations.attacks.test_gradient import images, linear

GRIDS = {"linf": np.linspace(0.001, 0.012, 10).tolist(), "l2": np.linspace(0.01, 0.1, 10).tolist()}


class Scaled(nn.Module):
    def __init__(self, model, factor):
        super().__init__()
        self.model, self.factor = model, factor

    def forward(self, x):
        return self.factor * self.model(x)


def arrays(model, x, labels):
    layer = model[1]
    weight, bias = (a.detach().double().numpy() for a in (layer.weight, layer.bias))
    return weight, bias, x.flatten(1).double().numpy(), labels.numpy()


def network(seed=0):
    """Of weights large enough that its classes lie close together."""
    torch.manual_seed(seed)
    layers = nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 32), nn.Tanh(), nn.Linear(32, 5)
    model = nn.Sequential(*layers).eval()
    with torch.no_grad():
        for p in model.parameters():
            p.mul_(4)
        logits = model(images(200))
        model[-1].bias.sub_(logits.mean(0))
    return model


def loader(x, labels, batch_size=64):
    return DataLoader(TensorDataset(x, labels), batch_size)


def with_errors(model, x):
    logits = model(x)
    labels = logits.argmax(1)
    labels[::6] = (labels[::6] + 1) % logits.shape[1]
    return labels


@pytest.mark.parametrize("factor", [1, 1000], ids=["plain", "logits x 1000"])
@pytest.mark.parametrize("box", [False, True], ids=["inside the box", "at the box"])
@pytest.mark.parametrize("norm", ["linf", "l2"])
@pytest.mark.parametrize("num_classes", [2, 5])
def test_linear_models_are_matched(num_classes, norm, box, factor):
    model, x = linear(num_classes), images()
    if box:  # a third of the values sit on a border, so that the box binds
        g = torch.Generator().manual_seed(3)
        x = torch.where(torch.rand(x.shape, generator=g) < 0.33, x.round(), x)
    labels = with_errors(model, x)
    curve = robustness_curve(Scaled(model, factor), loader(x, labels), PGD.two_losses(norm), GRIDS[norm])
    minimal = exact.minimal_norm(*arrays(model, x, labels), norm, True)
    truth = minimal[:, None] > np.array(GRIDS[norm])[None]
    # Images on the border of a budget are rounding's; they are few, and counted.
    border = np.abs(minimal[:, None] - np.array(GRIDS[norm])) < 1e-6
    assert border.mean() < 0.005
    found = curve.correct()
    assert not (truth & ~found & ~border).any(), "fooled what nothing in the ball and the box can fool"
    assert (found.mean(0) - truth.mean(0)).max() <= 0.01
    assert 0.05 < truth.mean() < 0.8
    assert (curve.images["threshold"] == 0).sum() == (labels != model(x).argmax(1)).sum() > 0


@pytest.mark.parametrize("attack", [DeepFool(), CarliniWagner(steps=300), FMN("l2"), FMN("linf")], ids=lambda a: a.name)
def test_shortest_perturbations_of_linear_models(attack):
    model, x = linear(4), images(60)
    labels = with_errors(model, x)
    curve = robustness_curve(model, loader(x, labels), attack, GRIDS[attack.norm])
    truth = exact.minimal_norm(*arrays(model, x, labels), attack.norm, True)
    found = curve.images["distance"].to_numpy()
    assert (found >= truth - 1e-5).all()
    np.testing.assert_allclose(np.median(found / np.where(truth > 0, truth, 1)), 1, atol=0.03)
    assert (found[truth == 0] == 0).all()


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_the_plain_sweep_agrees(norm):
    model, x = network(), images(200)
    labels = with_errors(model, x)
    grid = GRIDS[norm]
    fast = robustness_curve(model, loader(x, labels), PGD.two_losses(norm), grid)
    plain = robustness_curve(model, loader(x, labels), PGD.two_losses(norm), grid, exhaustive=True)
    assert np.abs(fast.accuracy - plain.accuracy).max() <= 0.01
    assert (fast.images["threshold"] != plain.images["threshold"]).mean() <= 0.02
    assert fast.num_backward < 0.5 * plain.num_backward
    assert 0.2 < fast.accuracy.mean() < 0.8
    assert np.ptp(fast.accuracy) > 0.2


def test_the_same_for_any_batches_order_and_workers():
    model, x = network(), images(200)
    labels = with_errors(model, x)
    grid = GRIDS["linf"]
    whole = robustness_curve(model, loader(x, labels, 200), PGD.two_losses(), grid).images["threshold"].to_numpy()
    order = torch.randperm(200)
    shuffled = [{"image": x[i], "label": labels[i], "stimulus": i} for i in order.split(37)]
    workers = DataLoader(TensorDataset(x, labels), 23, num_workers=2)
    for batches in (shuffled, workers):
        again = robustness_curve(model, batches, PGD.two_losses(), grid).images
        assert (again["threshold"].to_numpy() != whole).sum() <= 1
        assert again["stimulus"].tolist() == list(range(200))


def test_counts_of_passes_are_few():
    """Ten budgets, at most twice the passes of one."""
    model, x = network(), images(100)
    labels = with_errors(model, x)
    grid = GRIDS["linf"]
    ten = robustness_curve(model, loader(x, labels), PGD.two_losses(), grid)
    one = robustness_curve(model, loader(x, labels), PGD.two_losses(), grid[-1:])
    plain = robustness_curve(model, loader(x, labels), PGD(steps=40, rel_step_size=1 / 30), grid, exhaustive=True)
    assert ten.num_backward + ten.num_forward < 6 * (one.num_backward + one.num_forward)
    assert ten.num_forward < plain.num_forward / 4


def test_worst_case_is_the_union():
    model, x = network(), images(80)
    labels = with_errors(model, x)
    grid = (np.array(GRIDS["l2"]) * 2).tolist()
    curves = [robustness_curve(model, loader(x, labels), a, grid) for a in (FGSM("l2"), PGD("l2", steps=3), DeepFool())]
    union = RobustnessCurve.worst_case(curves)
    np.testing.assert_array_equal(union.correct(), np.logical_and.reduce([c.correct() for c in curves]))
    one = robustness_curve(model, loader(x, labels), PGD.two_losses("l2"), grid[4:5])
    both = RobustnessCurve.worst_case([curves[0], one])
    assert both.eps == curves[0].eps
    assert (both.accuracy <= curves[0].accuracy).all()
    assert both.accuracy[4] == np.logical_and(one.correct()[:, 0], curves[0].correct()[:, 4]).mean()
    with pytest.raises(ValueError, match="differ in norm: linf and l2"):
        RobustnessCurve.worst_case([curves[0], robustness_curve(model, loader(x, labels), FGSM(), grid)])


def test_evaluate_robustness_counts_the_curve():
    model, x = network(), images(60)
    labels = with_errors(model, x)
    curve = robustness_curve(model, loader(x, labels), PGD(steps=5), [0.01, 0.02])
    table = evaluate_robustness(model, loader(x, labels), PGD(steps=5), [0.02, 0.01])
    np.testing.assert_array_equal(table["accuracy"], curve.accuracy[::-1])
    assert curve.table()["num_correct"].tolist() == table["num_correct"].tolist()[::-1]
    success = table["attack_success_rate"] * (table["clean_accuracy"] * 60)
    np.testing.assert_allclose(success, table["clean_accuracy"] * 60 - table["num_correct"])


def test_root_mean_square_budgets():
    model, x = network(), images(60)
    labels = with_errors(model, x)
    root = np.sqrt(x[0].numel())
    absolute = robustness_curve(model, loader(x, labels), PGD("l2"), [0.05, 0.1])
    relative = robustness_curve(model, loader(x, labels), PGD("l2"), [0.05 / root, 0.1 / root], l2_scale="rms")
    np.testing.assert_array_equal(absolute.accuracy, relative.accuracy)
    with pytest.raises(ValueError, match="is for L2 attacks"):
        robustness_curve(model, loader(x, labels), PGD(), [0.05], l2_scale="rms")


class Killed(Exception):
    pass


def test_goes_on_after_a_kill(tmp_path):
    model, x = network(), images(100)
    labels = with_errors(model, x)
    path = tmp_path / "part.csv"
    whole = robustness_curve(model, loader(x, labels, 20), PGD(steps=3), [0.01, 0.02])

    def dying():
        for i, batch in enumerate(loader(x, labels, 20)):
            if i == 3:
                raise Killed
            yield batch

    with pytest.raises(Killed):
        robustness_curve(model, dying(), PGD(steps=3), [0.01, 0.02], checkpoint=path)
    seen = []

    class Counting(PGD):
        def __repr__(self):
            return repr(PGD(steps=3))

        def search(self, classifier, images, labels, eps, index, start=None):
            seen.extend(index.tolist())
            return super().search(classifier, images, labels, eps, index, start)

    resumed = robustness_curve(model, loader(x, labels, 30), Counting(steps=3), [0.01, 0.02], checkpoint=path)
    assert min(seen) >= 60, "an image that was done was attacked again"
    assert (resumed.images["threshold"] != whole.images["threshold"]).sum() <= 1
    assert resumed.images["stimulus"].tolist() == list(range(100))
    with pytest.raises(ValueError, match="another model, other perturbations or other settings"):
        robustness_curve(network(1), loader(x, labels, 30), PGD(steps=3), [0.01, 0.02], checkpoint=path)

    with pytest.raises(ValueError, match="other images or labels"):
        robustness_curve(model, loader(x, labels.roll(1), 30), PGD(steps=3), [0.01, 0.02], checkpoint=path)
    with pytest.raises(ValueError, match="other images or labels"):
        robustness_curve(model, loader(x.roll(1, 0), labels, 30), PGD(steps=3), [0.01, 0.02], checkpoint=path)


def test_a_finished_checkpoint_serves_a_part_of_its_images(tmp_path):
    model, x = network(), images(60)
    labels, path = with_errors(model, x), tmp_path / "part.csv"
    whole = robustness_curve(model, loader(x, labels, 20), PGD(steps=3), [0.01], checkpoint=path)
    part = robustness_curve(model, loader(x, labels, 20), PGD(steps=3), [0.01], limit_batches=1, checkpoint=path)
    assert part.images.equals(whole.images.iloc[:20])
    assert part.num_forward > 0, "passes of the runs it goes on from are counted"


def test_a_changed_forward_is_noticed_though_the_weights_are_the_same(tmp_path):
    model, x = network(), images(20)
    labels, path = with_errors(model, x), tmp_path / "part.csv"
    robustness_curve(Scaled(model, 1), loader(x, labels), PGD(), [0.01], checkpoint=path)
    with pytest.raises(ValueError, match="gave other logits"):
        robustness_curve(Scaled(model, 2), loader(x, labels), PGD(), [0.01], checkpoint=path)


def test_shuffled_and_repeated_images_are_refused():
    model, x = network(), images(40)
    labels = with_errors(model, x)
    shuffled = DataLoader(TensorDataset(x, labels), 20, shuffle=True, generator=torch.Generator().manual_seed(0))
    curves = [robustness_curve(model, shuffled, PGD(steps=3), [0.01]) for _ in range(2)]
    with pytest.raises(ValueError, match="don't shuffle the loader"):
        RobustnessCurve.worst_case(curves)
    repeated = [{"image": x, "label": labels, "stimulus": torch.zeros(40)}]
    with pytest.raises(ValueError, match="stimulus 0 occurs twice"):
        robustness_curve(model, repeated, PGD(steps=3), [0.01])


def _on_rank(rank, world, sampled):
    model, x = network(), images(101)
    labels = with_errors(model, x)
    batches = loader(x, labels, 16)
    if sampled:
        sampler = torch.utils.data.DistributedSampler(batches.dataset, world, rank, shuffle=False)
        batches = DataLoader(batches.dataset, 16, sampler=sampler)
    curve = robustness_curve(model, batches, PGD(steps=4, restarts=2), [0.01, 0.02])
    return torch.tensor(curve.images[["stimulus", "threshold"]].to_numpy()), curve.num_forward


@pytest.mark.slow
@pytest.mark.parametrize("sampled", [False, True], ids=["plain loader", "distributed sampler"])
def test_two_processes_equal_one(sampled):
    (alone, _), *_ = [_on_rank(0, 1, False)]
    for images_of_rank, _ in run_on_ranks(_on_rank, 2, sampled):
        assert images_of_rank.shape == alone.shape, "every image once"
        assert (images_of_rank != alone).any(1).sum() <= 1


def test_bfloat16_autocast_and_inference_mode_change_nothing():
    model, x = network(), images(60)
    labels = with_errors(model, x)
    expected = robustness_curve(model, loader(x, labels), PGD.two_losses(), [0.01, 0.02]).images
    with torch.autocast("cpu", torch.bfloat16):
        mixed = robustness_curve(model, loader(x, labels), PGD.two_losses(), [0.01, 0.02]).images
    with torch.inference_mode():
        inference = robustness_curve(model, loader(x, labels), PGD.two_losses(), [0.01, 0.02]).images
    assert mixed.equals(expected)
    assert inference.equals(expected)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_models_in_other_precisions(dtype):
    model, x = network(), images(60)
    labels = with_errors(model, x)
    expected = robustness_curve(model, loader(x, labels), PGD(), [0.005, 0.01])
    found = robustness_curve(model.to(dtype), loader(x.to(dtype), labels), PGD(), [0.005, 0.01])
    tolerance = 0.02 if dtype == torch.float64 else 0.15  # bfloat16 is another network, with its own decisions
    np.testing.assert_allclose(found.accuracy, expected.accuracy, atol=tolerance)


def test_an_attack_that_finds_nothing_shorter_still_ends():
    class Long(PGD):
        """Returns what lies a little outside of its ball, as rounding may make it."""

        def search(self, classifier, images, labels, eps, index, start=None):
            found, fooled = super().search(classifier, images, labels, eps, index, start)
            return images + (found - images) * 1.001, fooled

    model, x = linear(2), images(20)
    curve = robustness_curve(model, loader(x, model(x).argmax(1)), Long(), GRIDS["linf"])
    assert curve.accuracy[0] > curve.accuracy[-1]


def test_fewer_images_than_classes():
    model, x = linear(5), images(2)
    curve = robustness_curve(model, loader(x, model(x).argmax(1)), PGD.two_losses(), [0.001, 0.1])
    assert curve.images["threshold"].shape == (2,)


def test_refusals():
    model, x = linear(3), images(8)
    labels = model(x).argmax(1)
    with pytest.raises(ValueError, match="increasing budgets"):
        robustness_curve(model, loader(x, labels), PGD(), [0.2, 0.1])
    with pytest.raises(ValueError, match="must not be negative"):
        robustness_curve(model, loader(x, labels), PGD(), [-0.1, 0.1])
    with pytest.raises(ValueError, match="divide by 255"):
        robustness_curve(model, loader(x, labels), PGD(), [1.0, 8.0])
    with pytest.raises(ValueError, match="labels run from"):
        robustness_curve(model, loader(x, labels + 3), PGD(), [0.1])
    with pytest.raises(ValueError, match="floating point"):
        robustness_curve(model, loader((x * 255).byte(), labels), PGD(), [0.1])
    with pytest.raises(TypeError, match="returns a tuple"):
        robustness_curve(Wrapped(model, lambda z: (z, z)), loader(x, labels), PGD(), [0.1])
    with pytest.raises(ValueError, match=r"logits \(stimulus, class\)"):
        robustness_curve(Wrapped(model, lambda z: z[:, 0]), loader(x, labels), PGD(), [0.1])
    with pytest.warns(UserWarning, match="rows sum to 1"):
        robustness_curve(Wrapped(model, lambda z: z.softmax(1)), loader(x, labels), PGD(), [0.1])
    with pytest.warns(UserWarning, match="in train mode"):
        PGD()(linear(3).train(), x, labels, 0.1)
    with pytest.raises(ValueError, match="eps is missing: pgd20-linf-margin-cosine need budgets"):
        evaluate_robustness(model, loader(x, labels), PGD())
    with pytest.raises(ValueError, match="a batch needs 'image' and 'label'"):
        robustness_curve(model, [{"images": x, "labels": labels}], PGD(), [0.1])
    with pytest.raises(TypeError, match="the model is a class"):
        robustness_curve(Scaled, loader(x, labels), PGD(), [0.1])
    with pytest.raises(ValueError, match="eps has no budgets for pgd20-linf-margin-cosine"):
        evaluate_robustness(model, loader(x, labels), [PGD(), FGSM()], {"fgsm-linf": 0.1})
    with pytest.raises(ValueError, match="unknown perturbation in eps 'pgd'"):
        evaluate_robustness(model, loader(x, labels), [PGD()], {"pgd": 0.1})


class Wrapped(nn.Module):
    def __init__(self, model, change):
        super().__init__()
        self.model, self.change = model, change

    def forward(self, x):
        return self.change(self.model(x))


def test_revived_images_are_counted():
    class Wavering(FGSM):  # fools at the smaller budget only
        def search(self, classifier, images, labels, eps, index, start=None):
            found = images if float(eps[0, 0, 0, 0]) > 0.05 else 1 - images
            return found, torch.full_like(labels, float(eps[0, 0, 0, 0]) <= 0.05, dtype=torch.bool)

    model, x = linear(3), images(8)
    curve = robustness_curve(model, loader(x, model(x).argmax(1)), Wavering(), [0.01, 0.1])
    assert curve.num_revived == 8
    assert curve.accuracy.tolist() == [0, 0]


def test_one_pass_measures_several():
    model, x = linear(3), images(8)
    batches, eps = loader(x, model(x).argmax(1)), {"a": [0.01], "b": [0.01, 0.02]}
    found = measure(model, batches, {"a": FGSM(), "b": PGD()}, eps, PassOptions())
    assert [m.correct.shape for m in found] == [(8, 1), (8, 2)]


class Spy:
    """Notes how far from the image, in shares of the budget, each search begins."""

    def run(self, classifier, images, x, labels, radius, loss, targets):
        self.begins = getattr(self, "begins", [])
        self.begins.append(((x - images).abs().flatten(1).amax(1) / radius.flatten()).median().item())
        return super().run(classifier, images, x, labels, radius, loss, targets)


class Spied(Spy, PGD):
    pass


class SpiedAPGD(Spy, APGD):
    pass


def test_the_first_run_begins_where_the_attack_does():
    model, x = network(), images(60)
    labels = model(x).argmax(1)
    for make in (lambda: Spied(steps=3, random_start=True, loss="ce", rel_step_size=0.1), lambda: SpiedAPGD(steps=3)):
        for exhaustive in (False, True):
            attack = make()
            robustness_curve(model, loader(x, labels), attack, [0.004, 0.008], exhaustive=exhaustive)
            assert attack.begins[0] > 0.9  # a random point lies near the border of so many dimensions
    attack = Spied(steps=3)
    robustness_curve(model, loader(x, labels), attack, [0.004, 0.008])
    assert attack.begins[0] == 0


def test_of_one_budget_both_ways_are_one():
    model, x = network(), images(100)
    labels = with_errors(model, x)
    for attack in (PGD.madry(steps=5), PGD(steps=2), APGD(steps=5), FGSM()):
        curves = [robustness_curve(model, loader(x, labels), attack, [0.008], exhaustive=e) for e in (False, True)]
        assert curves[0].images["threshold"].equals(curves[1].images["threshold"])


def test_a_weak_attack_is_stronger_in_one_pass_and_a_converged_one_the_same():
    """What the pages say of agreement: warm starts help where an attack by itself does not arrive."""
    model, x = network(), images(200)
    labels = with_errors(model, x)
    grid = np.linspace(0.002, 0.02, 10).tolist()

    def both(attack):
        return [robustness_curve(model, loader(x, labels), attack, grid, exhaustive=e).accuracy for e in (False, True)]

    # Steps that add up to less than the ball: from a random point the border is out of reach.
    one, plain = both(PGD(steps=4, loss="ce", rel_step_size=1 / 10, random_start=True))
    assert (one <= plain + 0.01).all()
    assert (plain - one).max() > 0.05
    one, plain = both(PGD.two_losses())
    assert np.abs(one - plain).max() <= 0.011
