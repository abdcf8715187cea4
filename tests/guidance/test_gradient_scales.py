"""How hard guidance pulls, and controls that pull alike."""

import pytest
import torch

from neuroalign import (
    CategoryManifolds,
    GuidedNetwork,
    LabelOnlyGuidance,
    ManifoldGuidance,
    MeasuredGuidance,
    NonNeuralManifoldLoss,
    ShuffledGuidance,
    WeightedGuidance,
)
from neuroalign.config import build
from neuroalign.guidance import Ramp, gradient_scale, match_gradient_scale

VOXELS = 12


def network(seed=0, **options):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return GuidedNetwork("small_resnet", 10, heads={"V4": (None, VOXELS)}, image_shape=(3, 8, 8), **options)


def batches(num=3, size=20):
    g = torch.Generator().manual_seed(0)
    return [
        {
            "image": torch.rand(size, 3, 8, 8, generator=g),
            "label": torch.arange(size) % 10,
            "response": torch.randn(size, VOXELS, generator=g),
        }
        for _ in range(num)
    ]


def test_scale_against_a_loop():
    net, guidance, found = network(), MeasuredGuidance("V4"), []
    for batch in batches():
        net.zero_grad()
        _, responses = net.train()(batch["image"], with_responses=True)
        sum(guidance(responses, batch).values()).backward()
        flat = torch.cat([p.grad.flatten() for p in net.trunk.parameters() if p.grad is not None])
        found.append(float(flat.double().square().sum()))
    expected = (sum(found) / 3) ** 0.5
    assert gradient_scale(guidance, network(), batches()) == pytest.approx(expected, rel=1e-5)
    one = gradient_scale(guidance, network(), batches(), num_batches=1)
    assert one == pytest.approx(found[0] ** 0.5, rel=1e-5)
    assert gradient_scale(WeightedGuidance(guidance, {"*": 3.0}), network(), batches()) == pytest.approx(
        3 * expected, rel=1e-5
    )


def controls():
    manifolds = CategoryManifolds.from_features(torch.randn(200, VOXELS), torch.arange(200) % 10)
    return {
        "label only": LabelOnlyGuidance(10, {"V4": VOXELS}),
        "shuffled": ShuffledGuidance(MeasuredGuidance("V4")),
        "no brain": ManifoldGuidance({"V4": NonNeuralManifoldLoss()}),
        "no brain, paper": ManifoldGuidance({"V4": NonNeuralManifoldLoss(normalized=False)}),
        "random geometry": ManifoldGuidance({"V4": manifolds.randomized()}),
        "several terms": WeightedGuidance([MeasuredGuidance("V4"), LabelOnlyGuidance(10, {"V4": VOXELS}, loss="cka")]),
    }


@pytest.mark.parametrize("name", list(controls()))
def test_a_matched_control_pulls_alike(name):
    treatment, net = MeasuredGuidance("V4"), network()
    control = controls()[name]
    before = gradient_scale(control, net, batches())
    matched = match_gradient_scale(control, treatment, net, batches())
    wanted = gradient_scale(treatment, net, batches())
    assert gradient_scale(matched, net, batches()) == pytest.approx(wanted, rel=1e-5)
    assert matched.weights["*"] == pytest.approx(wanted / before, rel=1e-6)
    assert build(matched.config).weights == matched.weights  # so that a checkpoint keeps it


def test_everything_is_left_as_it_was():
    class Remembers(torch.nn.Module):
        calls = []

        def forward(self, preds, batch):
            self.calls.append(self.training)
            return {"V4/a": preds["V4"].square().mean()}

    net = network().eval()
    net.trunk.stem.train() if hasattr(net.trunk, "stem") else None
    modes = [m.training for m in net.modules()]
    state = {k: v.clone() for k, v in net.state_dict().items()}
    guidance = WeightedGuidance(Remembers(), {"*": Ramp(start=0.5)}).train()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    gradient_scale(guidance, net, batches())
    torch.testing.assert_close(torch.rand(3), expected, rtol=0, atol=0)
    assert [m.training for m in net.modules()] == modes
    torch.testing.assert_close(net.state_dict(), state, rtol=0, atol=0)
    assert all(p.grad is None for p in net.parameters())
    assert int(guidance.step) == 0 and guidance.training
    assert Remembers.calls == [False] * 3


def test_pairs_and_modules_without_a_trunk():
    class Plain(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = torch.nn.Linear(192, 3)

        def forward(self, images, with_responses=False):
            out = self.layer(images.flatten(1))
            return (out, {"V4": out}) if with_responses else out

    pairs = [(b["image"], b["label"]) for b in batches()]
    assert gradient_scale(LabelOnlyGuidance(10, {"V4": 3}), Plain(), pairs) > 0


def test_errors():
    net, treatment = network(), MeasuredGuidance("V4")
    with pytest.raises(ValueError, match="no batch to take a gradient from"):
        gradient_scale(treatment, net, [])
    with pytest.raises(ValueError, match="num_batches must be at least 1; got 0"):
        gradient_scale(treatment, net, batches(), num_batches=0)
    nothing = WeightedGuidance(treatment, {"*": 0.0})
    with pytest.raises(ValueError, match=r"the control \(WeightedGuidance\) sends no gradient"):
        match_gradient_scale(nothing, treatment, net, batches())
    with pytest.raises(ValueError, match=r"the treatment \(WeightedGuidance\) sends no gradient"):
        match_gradient_scale(treatment, nothing, net, batches())
    with pytest.raises(ValueError, match="no weight of the network's trunk is trained"):
        gradient_scale(treatment, network().requires_grad_(False), batches())
