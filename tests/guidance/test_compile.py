"""A guided step's loss compiles as one graph, forward and backward, with the values of the uncompiled step."""

import copy
import shutil

import pytest
import torch
from torch import nn

import neuroalign as na
from neuroalign.guidance import PrincipalGains

pytestmark = pytest.mark.one_graph

N = 6
SMALL = {"image_shape": (3, 8, 8)}
WIDTHS = {"V1": 4, "V4": 3}


def batch():
    return {
        "image": torch.rand(N, 3, 8, 8),
        "label": torch.arange(N) % 3,
        "response": torch.randn(N, 7),
        "stimulus": torch.arange(N),
    }


class Linear(nn.Module):
    """Heads on the pixels, which are quicker to compile than a network."""

    def __init__(self):
        super().__init__()
        self.heads = nn.ModuleDict({h: nn.Linear(192, width) for h, width in WIDTHS.items()})

    def forward(self, images, with_responses):
        features = images.flatten(1)
        return features[:, :10], {h: head(features) for h, head in self.heads.items()}


def network():
    return na.GuidedNetwork("small_resnet", 10, heads={h: (None, width) for h, width in WIDTHS.items()}, **SMALL)


def predicted(loss):
    return na.PredictedGuidance({h: na.NeuralPredictor("small_resnet", n, **SMALL) for h, n in WIDTHS.items()}, loss)


def measured():
    return na.MeasuredGuidance({"V1": [0, 1, 2, 3], "V4": [4, 6, 5]}, "mse")


GUIDANCES = {
    "predicted": lambda: predicted("mse"),
    "pearson": lambda: predicted("pearson"),
    "measured": measured,
    "manifolds": lambda: na.ManifoldGuidance(
        {"V1": na.CategoryManifolds.from_features(torch.randn(40, 4), torch.arange(40) % 3)}
    ),
    "label only": lambda: na.LabelOnlyGuidance(3, WIDTHS, loss="mse"),
    "matched rank": lambda: na.MatchedGuidance(measured(), {"V1": PrincipalGains.of_rank(torch.randn(9, 4), 2)}),
    "weighted": lambda: na.WeightedGuidance(measured(), {"V1/*": 0.5}),
    "ramp": lambda: na.WeightedGuidance(measured(), {"V1/*": na.Ramp(duration=4)}),
    "learned": lambda: na.WeightedGuidance(measured(), "learned"),
}


def check(guidance, backend, steps=3, make=Linear):
    """Compare ``steps`` steps of gradient descent, compiled and not."""
    task = nn.ModuleDict({"network": make(), "guidance": guidance})
    compiled = copy.deepcopy(task)

    def loss_of(modules, given):
        logits, responses = modules["network"](given["image"], with_responses=True)
        guided = sum(modules["guidance"](responses, given).values())
        return guided + nn.functional.cross_entropy(logits, given["label"])

    torch.compiler.reset()
    whole = torch.compile(lambda given: loss_of(compiled, given), backend=backend, fullgraph=True)
    for _ in range(steps):
        given = batch()
        expected, got = loss_of(task, given), whole(given)
        torch.testing.assert_close(got, expected, rtol=1e-4, atol=1e-5)
        for modules, loss in ((task, expected), (compiled, got)):
            modules.zero_grad()
            loss.backward()
        with torch.no_grad():
            for (name, a), b in zip(task.named_parameters(), compiled.parameters()):
                if a.grad is not None:
                    torch.testing.assert_close(b.grad, a.grad, rtol=1e-3, atol=1e-5, msg=lambda m, n=name: f"{n}: {m}")
                    a -= 0.01 * a.grad
                    b.copy_(a)


@pytest.mark.parametrize("name", GUIDANCES)
def test_guidance_compiles_as_one_graph(name):
    check(GUIDANCES[name](), "aot_eager")


def test_a_guided_step_compiles_as_one_graph():
    check(predicted("mse"), "aot_eager", steps=2, make=network)


def test_a_ramp_does_not_compile_anew_at_every_step():
    check(GUIDANCES["ramp"](), counting := Counting(), steps=6)
    assert counting.graphs <= 2


class Counting:
    """A backend that counts the graphs it is given."""

    def __init__(self):
        self.graphs = 0

    def __call__(self, graph, inputs):
        self.graphs += 1
        return graph.forward


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="inductor compiles with g++, which is not here")
def test_a_guided_step_compiles_by_inductor():
    check(predicted("mse"), "inductor", steps=2, make=network)
