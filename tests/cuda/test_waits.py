"""On a real GPU, torch itself raises an error where the host would wait in a step that must not."""

import pytest
import torch
from torch import nn

import neuroalign as na
from tests.guidance.test_waits import GUIDANCES, HEADS, N, batch

pytestmark = pytest.mark.cuda
NEVER_WAIT = [name for name, (_, allowed) in GUIDANCES.items() if not allowed]


def there(x):
    return {k: v.cuda() for k, v in x.items()}


@pytest.fixture
def refuses_waits():
    """A switch: after it is called, torch raises an error where the host would wait for the GPU."""
    yield lambda: torch.cuda.set_sync_debug_mode("error")
    torch.cuda.set_sync_debug_mode("default")


@pytest.mark.parametrize("name", NEVER_WAIT)
def test_guidance(name, refuses_waits):
    guidance = GUIDANCES[name][0](nn.MSELoss()).cuda()
    preds = {head: torch.randn(N, width, device="cuda", requires_grad=True) for head, width in HEADS.items()}
    given = there(batch(True))
    for step in range(3):
        if step:
            refuses_waits()
        sum(guidance(preds, given).values()).backward()


def test_a_guided_training(refuses_waits):
    network = na.GuidedNetwork(
        "small_resnet", 10, heads={h: (None, w) for h, w in HEADS.items()}, image_shape=(3, 8, 8)
    )
    guidance = GUIDANCES["PredictedGuidance"][0](nn.MSELoss())
    network, guidance, given = network.cuda(), guidance.cuda(), there(batch(False))
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    for step in range(3):
        if step:
            refuses_waits()
        logits, responses = network(given["image"], with_responses=True)
        loss = nn.functional.cross_entropy(logits, given["label"]) + sum(guidance(responses, given).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
