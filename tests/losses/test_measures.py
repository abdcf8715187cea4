"""What single measures add: memory over batches, learned variances, options at the door, memory use."""

import math
import pickle
import subprocess
import sys

import pytest
import torch

from neuroalign import NeuralAlignmentLoss, functional
from neuroalign.config import build
from neuroalign.losses import MEASURES, register_measure, set_measures


def batches(n, count, related, seed=0, p=20, v=30):
    g = torch.Generator().manual_seed(seed)
    weights = torch.randn(5, p, generator=g), torch.randn(5, v, generator=g)
    for _ in range(count):
        signal = torch.randn(n, 5, generator=g)
        x = signal @ weights[0] + torch.randn(n, p, generator=g)
        y = (signal if related else torch.randn(n, 5, generator=g)) @ weights[1] + torch.randn(n, v, generator=g)
        yield x, y


def test_averaged_hsic_halves_the_spread_of_small_batches():
    plain, averaged = NeuralAlignmentLoss("cka"), NeuralAlignmentLoss("cka", momentum=0.9)
    values = torch.tensor([[float(plain(x, y)), float(averaged(x, y))] for x, y in batches(16, 300, related=True)])
    spread = values[50:].std(0)
    assert spread[1] <= spread[0] / 2
    x, y = next(batches(4000, 1, related=True))
    assert abs(float(values[50:, 1].mean()) - float(plain(x, y))) < 3 * float(spread[0]) / 250**0.5 + 0.01


def test_averaged_hsic_is_unbiased_on_independent_data():
    averaged = NeuralAlignmentLoss("cka", momentum=0.9)
    values = torch.tensor([float(averaged(x, y)) for x, y in batches(16, 400, related=False)])[50:]
    # Neighbours share most of their average: of 350 values some 350 / 19 are independent.
    assert abs(float(values.mean()) - 1) < 3 * float(values.std()) / (350 / 19) ** 0.5


def test_averaged_hsic_is_the_bias_corrected_mean():
    loss = NeuralAlignmentLoss("cka", momentum=0.5)
    pairs = list(batches(12, 3, related=True))
    value = [float(loss(x, y)) for x, y in pairs][-1]
    terms = []
    for x, y in pairs:
        x, y = x - x.mean(0), y - y.mean(0)
        k, l = x @ x.T / x.square().sum() * 12, y @ y.T / y.square().sum() * 12  # noqa: E741
        terms.append(torch.stack([functional.hsic(a, b) for a, b in ((k, l), (k, k), (l, l))]))
    w = torch.tensor([0.125, 0.25, 0.5]) / 0.875
    cross, own_k, own_l = (w[:, None] * torch.stack(terms)).sum(0)
    assert value == pytest.approx(float(1 - cross / (own_k * own_l).sqrt()), rel=1e-4)


def test_averaged_hsic_is_saved_and_rests_in_eval():
    loss = NeuralAlignmentLoss("cka", momentum=0.9)
    pairs = list(batches(12, 4, related=True))
    for x, y in pairs[:3]:
        loss(x, y)
    assert loss.stateful
    copy = pickle.loads(pickle.dumps(loss)).eval()
    fresh = build(loss.config).eval()
    fresh.load_state_dict(loss.state_dict())
    x, y = pairs[3]
    values = [float(copy(x, y)), float(copy(x, y)), float(fresh(x, y)), float(loss(x, y))]
    assert values == [values[0]] * 4


def test_averaged_hsic_has_the_gradient_of_cka_at_the_average():
    loss = NeuralAlignmentLoss("cka", momentum=0.99).double()
    pairs = [(x.double(), y.double()) for x, y in batches(12, 40, related=True)]
    for x, y in pairs:
        z = x.requires_grad_()
        value = loss(z, y)
    gradient = torch.autograd.grad(value, z)[0]
    assert float(gradient.norm()) > 0.1 * float(torch.autograd.grad(NeuralAlignmentLoss("cka")(z, y), z)[0].norm())


def test_a_constant_batch_leaves_the_average_alone():
    loss = NeuralAlignmentLoss("cka", momentum=0.9)
    x, y = next(batches(12, 1, related=True))
    loss(x, y)
    before = loss.state_dict()["_function.average.mean"].clone()
    assert float(loss(torch.ones_like(x), y)) == 1
    assert torch.equal(loss.state_dict()["_function.average.mean"], before)


@pytest.mark.parametrize("num_voxels", [None, 3])
def test_the_learned_variance_becomes_the_residual_variance(num_voxels):
    g = torch.Generator().manual_seed(0)
    noise = torch.randn(2000, 3, generator=g) * torch.tensor([0.5, 1.0, 2.0])
    loss = NeuralAlignmentLoss("gaussian_nll", num_voxels=num_voxels)
    optimizer = torch.optim.Adam(loss.parameters(), 0.05)
    for _ in range(300):
        optimizer.zero_grad()
        loss(torch.zeros_like(noise), noise).backward()
        optimizer.step()
    variance = next(loss.parameters()).detach().exp()
    expected = noise.square().mean() if num_voxels is None else noise.square().mean(0)
    torch.testing.assert_close(variance, expected, rtol=1e-2, atol=0)


def test_objects_are_measures_too():
    x, y = next(batches(20, 1, related=True))
    given = NeuralAlignmentLoss(set_measures.RSAMeasure(dissimilarity="correlation"), noise_ceiling=torch.rand(30))
    assert given.name == "rsa"
    assert given(x, y) > 0

    class Mine(torch.nn.Module):
        paired = False

        def forward(self, preds, target, weight):
            return 1 - functional.linear_cka(preds, target, weight=weight)

    torch.testing.assert_close(NeuralAlignmentLoss(Mine())(x, y), NeuralAlignmentLoss("cka")(x, y))
    assert NeuralAlignmentLoss(Mine()).name == "Mine"


@pytest.mark.parametrize("measure", [m for m in MEASURES if not MEASURES[m].paired])
@pytest.mark.slow
def test_no_matrix_of_voxels_is_formed(measure):
    """Of 20,000 voxels and 128 stimuli, the voxels' own matrix would take 1.6 GB and a cube over pairs 1.3 GB."""
    code = f"""
import resource, torch
from neuroalign import NeuralAlignmentLoss
loss = NeuralAlignmentLoss({measure!r})
x, y = torch.randn(128, 64, requires_grad=True), torch.randn(128, 20_000)
y[3, :100] = torch.nan
loss(x[:8], y[:8, :50]).backward()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
loss(x, y).backward()
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    grown = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    assert grown < 300_000  # KiB


@pytest.mark.parametrize(
    ("measure", "options", "error", "message"),
    [
        ("mse", {"alpha": 1}, TypeError, "measure 'mse' takes no options; got 'alpha'"),
        ("rsa", {"dissimilarty": "cosine"}, TypeError, "did you mean 'dissimilarity'"),
        ("rsa", {"comparison": "spearman"}, ValueError, "no gradient: train with 'soft_spearman'"),
        (
            "rsa",
            {"dissimilarity": "euclidean"},
            ValueError,
            "unknown dissimilarity 'euclidean': it must be 'sqeuclidean', 'correlation' or 'cosine'",
        ),
        ("cka", {"momentum": 1.0}, ValueError, r"momentum must be in \[0, 1\); got 1.0"),
        ("procrustes", {"alpha": 2}, ValueError, r"alpha must be in \[0, 1\]"),
        ("soft_matching", {"temperature": 0}, ValueError, "temperature must be positive"),
        ("rbf_cka", {"bandwidth": -1}, ValueError, "bandwidth must be positive"),
        ("ridge", {"penalty": 0}, ValueError, "penalty must be positive"),
        ("ridge", {"num_folds": 1}, ValueError, "num_folds must be at least 2"),
        ("pearson", {"over": "time"}, ValueError, "unknown over 'time': it must be 'stimuli' or 'voxels'"),
        ("gaussian_nll", {"variance": -1.0}, ValueError, "variance must be a positive number"),
        ("gaussian_nll", {"variance": [1.0, 0.0]}, ValueError, r"got \(2,\), smallest 0$"),
        ("gaussian_nll", {"min_variance": 0}, ValueError, "min_variance must be a positive number; got 0"),
        ("gaussian_nll", {"variance": "known"}, ValueError, "'learned' or positive numbers; got 'known'"),
        ("cca", {}, ValueError, "'cca' is a metric only.*use 'cka' or 'ridge'"),
        ("ckaa", {}, ValueError, "did you mean 'cka'"),
    ],
)
def test_bad_options(measure, options, error, message):
    with pytest.raises(error, match=message):
        NeuralAlignmentLoss(measure, **options)


def test_options_go_with_names():
    with pytest.raises(TypeError, match="options go with a measure given by name; got 'alpha'"):
        NeuralAlignmentLoss(torch.nn.functional.mse_loss, alpha=1)


@pytest.mark.parametrize("measure", [m for m in MEASURES if MEASURES[m].min_stimuli > 2])
def test_too_few_stimuli(measure):
    minimum = MEASURES[measure].min_stimuli
    with pytest.raises(
        ValueError, match=rf"'{measure}' needs at least {minimum} stimuli; got {minimum - 1}.*drop_last"
    ):
        NeuralAlignmentLoss(measure)(torch.rand(minimum - 1, 3), torch.rand(minimum - 1, 3))


def test_negative_counts_and_wrong_variances():
    with pytest.raises(ValueError, match="counts, which can't be negative"):
        NeuralAlignmentLoss("poisson_nll")(torch.zeros(2, 2), -torch.ones(2, 2))
    with pytest.raises(ValueError, match="noise variance has 3 voxels, the responses 2"):
        NeuralAlignmentLoss("gaussian_nll", variance=[1.0, 2.0, 3.0])(torch.zeros(2, 2), torch.ones(2, 2))
    with pytest.raises(ValueError, match="has no voxels"):
        NeuralAlignmentLoss("cka")(torch.zeros(5, 2), torch.ones(5, 0))


@pytest.mark.parametrize("measure", MEASURES)
def test_nan_predictions_make_the_loss_nan(measure):
    x, y = next(batches(20, 1, related=True, p=6, v=6))
    target = y.abs().round() if MEASURES[measure].counts else y
    x[3, 2] = torch.nan
    assert torch.isnan(NeuralAlignmentLoss(measure)(x, target))


def test_voxel_correction_without_complete_voxels():
    x, y = next(batches(20, 1, related=True))
    y[torch.arange(30) % 20, torch.arange(30)] = torch.nan
    loss = NeuralAlignmentLoss("cka", voxel_corrected=True)(x.requires_grad_(), y)
    loss.backward()
    assert float(loss) == 0
    with pytest.raises(ValueError, match="there are none: drop the stimuli"):
        functional.linear_cka(x, y, voxel_corrected=True)


def test_a_similarity_is_no_loss():
    with pytest.raises(ValueError, match=r"functional.linear_cka is a similarity.*'cka'"):
        NeuralAlignmentLoss(functional.linear_cka)


def test_a_measure_that_divides_by_nothing_is_not_asked():
    @register_measure("test-mae", averages_over="entry")
    def mae(preds, target, weight):
        return (weight * (preds - target).abs()).sum() / weight.sum()

    try:
        assert float(NeuralAlignmentLoss("test-mae")(torch.zeros(2, 3), torch.full((2, 3), torch.nan))) == 0
    finally:
        del MEASURES["test-mae"]


class NotAModule:
    def __init__(self):
        pass


@pytest.mark.parametrize(
    ("function", "options", "error", "message"),
    [
        (lambda preds, target: 0, {}, TypeError, r"called as \(preds, target, weight\)"),
        (NotAModule, {}, TypeError, "a class of nn.Module; NotAModule is neither"),
        (
            lambda preds, target, weight: 0,
            {"averages_over": "voxels"},
            ValueError,
            "unknown averages_over 'voxels'",
        ),
    ],
)
def test_bad_registrations(function, options, error, message):
    with pytest.raises(error, match=message):
        register_measure("test-bad", **options)(function)
    assert "test-bad" not in MEASURES


@pytest.mark.filterwarnings("ignore:.*instantiate_classes")
def test_from_a_configuration_file():
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False)
    parser.add_argument("--loss", type=torch.nn.Module)
    text = (
        '{"class_path": "neuroalign.NeuralAlignmentLoss", "init_args": {"measure": "rsa"}, '
        '"dict_kwargs": {"dissimilarity": "cosine"}}'
    )
    loss = parser.instantiate_classes(parser.parse_args([f"--loss={text}"])).loss
    assert loss.options == {"dissimilarity": "cosine"}


def test_repr_and_config():
    loss = NeuralAlignmentLoss("rsa", dissimilarity="cosine")
    assert "'rsa', dissimilarity='cosine'" in repr(loss)
    x, y = next(batches(20, 1, related=True))
    torch.testing.assert_close(build(loss.config)(x, y), loss(x, y))


def test_a_learned_variance_stops_at_its_floor_and_comes_back():
    """Where a voxel can be fitted exactly the loss has a minimum: half the log of the floor."""
    loss = NeuralAlignmentLoss("gaussian_nll", num_voxels=2, min_variance=0.05)
    optimizer = torch.optim.Adam(loss.parameters(), 0.1)
    target = torch.stack([torch.zeros(400), torch.randn(400, generator=torch.Generator().manual_seed(0))], 1)
    variance = next(loss.parameters())

    def descend(preds):
        for _ in range(300):
            optimizer.zero_grad()
            value = loss(preds, target)
            value.backward()
            optimizer.step()
        return float(value.detach())

    expected = (math.log(0.05) + math.log(float(target[:, 1].square().mean())) + 1) / 4
    assert descend(torch.zeros(400, 2)) == pytest.approx(expected, abs=1e-3)
    low = float(variance[0].detach())
    assert descend(torch.zeros(400, 2)) == pytest.approx(expected, abs=1e-3)
    assert float(variance[0].detach()) == pytest.approx(low, abs=1e-3), "it ran on"
    descend(torch.full((400, 2), 0.5))  # the voxel is no longer fitted
    assert float(variance[0].detach().exp()) == pytest.approx(0.25, rel=0.01)
    perfect = NeuralAlignmentLoss("gaussian_nll", min_variance=0.05)
    with torch.no_grad():
        next(perfect.parameters()).fill_(-10)  # as in a file from before there was a floor
    assert float(perfect(target, target)) == pytest.approx(math.log(0.05) / 2)


def test_a_dead_voxel_does_not_take_the_gradient_of_the_head():
    """One voxel of 20 is 0 in all stimuli. Without a floor its share of the gradient norm ends near 1."""
    g = torch.Generator().manual_seed(0)
    x = torch.randn(600, 10, generator=g)
    y = x @ torch.randn(10, 20, generator=g) / 10**0.5 + torch.randn(600, 20, generator=g)
    y[:, 0] = 0
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(10, 32), torch.nn.ReLU(), torch.nn.Linear(32, 20))
    loss = NeuralAlignmentLoss("gaussian_nll", num_voxels=20)
    optimizer = torch.optim.Adam([*network.parameters(), *loss.parameters()], 0.01)
    shares = []
    for _ in range(1000):
        rows = torch.randint(600, (64,), generator=g)
        optimizer.zero_grad()
        loss(network(x[rows]), y[rows]).backward()
        norms = network[2].weight.grad.norm(dim=1)
        shares.append(float(norms[0] / norms.norm()))
        optimizer.step()
    assert sum(shares[-300:]) / 300 < 0.25  # of 20 voxels alike each has 0.22


def test_responses_below_the_floor_are_said():
    loss = NeuralAlignmentLoss("gaussian_nll")
    target = 0.01 * torch.randn(50, 3, generator=torch.Generator().manual_seed(0))
    with pytest.warns(UserWarning, match=r"variance is 0.000\d+, below min_variance=0.03.*standardise"):
        loss(torch.zeros(50, 3), target)
    loss(torch.zeros(50, 3), target)  # said once
    NeuralAlignmentLoss("gaussian_nll", min_variance=1e-6)(torch.zeros(50, 3), target)
    NeuralAlignmentLoss("gaussian_nll", variance=1e-4)(torch.zeros(50, 3), target)


@pytest.mark.parametrize(
    ("alpha", "stimuli", "features", "voxels", "message"),
    [
        (0.0, 20, 19, 6, "the same whatever they were: no gradient"),
        (0.0, 20, 40, 30, "the same whatever they were: no gradient"),
        (0.0, 20, 8, 6, "more than the 6 voxels, it stays above its minimum"),
        (0.5, 20, 8, 6, "more than the 6 voxels, it stays above its minimum"),
        (0.5, 20, 40, 6, "more than the 6 voxels, it stays above its minimum"),
        (0.5, 20, 6, 6, None),
        (0.0, 20, 6, 6, None),
        (0.5, 20, 40, 30, None),  # both fill what 20 stimuli can differ in: it goes to 0
        (1.0, 20, 40, 6, None),
    ],
)
def test_whitening_that_cannot_be_minimised_is_said(alpha, stimuli, features, voxels, message):
    g = torch.Generator().manual_seed(0)
    z = torch.randn(stimuli, features, generator=g).requires_grad_()
    y = torch.randn(stimuli, 3, generator=g) @ torch.randn(3, voxels, generator=g)
    y = y + 0.3 * torch.randn(stimuli, voxels, generator=g)
    loss = NeuralAlignmentLoss("procrustes", alpha=alpha)
    if message is None:
        value = loss(z, y)
    else:
        with pytest.warns(UserWarning, match=f"alpha={alpha:g} can't be minimised here: .*{message}.*'cka' or 'ridge'"):
            value = loss(z, y)
    assert torch.equal(loss(z, y), value)  # said once
    NeuralAlignmentLoss("procrustes", alpha=alpha)(z.detach(), y)  # as a measurement it is well
    optimizer = torch.optim.Adam([z], 0.03)
    for _ in range(300):
        optimizer.zero_grad()
        now = loss(z, y)
        now.backward()
        optimizer.step()
    if message is None:
        assert float(now) < 0.01
    elif "no gradient" in message:
        assert float(now) == pytest.approx(float(value), abs=2e-3)
    else:
        assert float(now) > 0.03
