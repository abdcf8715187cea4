"""Guidance in other people's data parallelism: plain DDP, Accelerate and Fabric synchronise what the whole batch asks."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from neuroalign import (
    FGSM,
    GuidedClassificationTask,
    GuidedNetwork,
    NeuralPredictor,
    PredictedGuidance,
    evaluate_robustness,
    evaluate_smoothness,
)
from neuroalign.evaluation import per_image_robustness, transfer_matrix
from tests.distributed import run_on_ranks

SHAPE, N = (3, 8, 8), 12


def backbone(seed):
    """Without BatchNorm, whose statistics are those of each process's own batch."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(3, 6, 3), nn.Tanh(), nn.Flatten(), nn.Linear(216, 8), nn.Tanh())


def made():
    network = GuidedNetwork(backbone(0), 4, {"V4": ("4", 5), "V1": ("1", 5)}, image_shape=SHAPE)
    predictor = NeuralPredictor(backbone(1), 5, image_shape=SHAPE)
    return network, PredictedGuidance({"V4": predictor, "V1": predictor}, loss={"V4": "cka", "V1": "mse"})


def data():
    g = torch.Generator().manual_seed(2)
    return torch.rand(N, *SHAPE, generator=g), torch.randint(4, (N,), generator=g)


def loss_of(network, guidance, images, labels):
    logits, responses = network(images, with_responses=True)
    terms = guidance(responses, {"image": images, "label": labels})
    return nn.functional.cross_entropy(logits, labels) + sum(terms.values())


def gradients(network):
    return torch.cat([p.grad.flatten() for p in network.parameters()])


def expected():
    network, guidance = made()
    loss_of(network, guidance, *data()).backward()
    return gradients(network)


def test_the_method_is_the_call_under_another_name():
    network, _ = made()
    images, _ = data()
    logits, responses = network(images, with_responses=True)
    again, others = network.forward_with_responses(images)
    assert torch.equal(logits, again) and torch.equal(network(images), logits)
    assert {k: v.shape for k, v in responses.items()} == {"V4": (N, 5), "V1": (N, 5)}
    assert all(torch.equal(responses[k], others[k]) for k in responses)


def test_hooks_of_the_network_see_both():
    network, _ = made()
    seen = []
    network.register_forward_hook(lambda module, inputs, output: seen.append(type(output)))
    network.forward_with_responses(data()[0])
    task = GuidedClassificationTask(network)
    task._forward_with_responses(data()[0])
    assert seen == [tuple, tuple]


def _plain_ddp(rank, world):
    network, guidance = made()
    images, labels = (x[rank * N // world : (rank + 1) * N // world] for x in data())
    wrapped = DistributedDataParallel(network)
    loss_of(wrapped, guidance, images, labels).backward()
    return gradients(network)


def _around_ddp(rank, world):
    """The obvious cure, which isn't one: the module inside has no gradient averaged."""
    network, guidance = made()
    images, labels = (x[rank * N // world : (rank + 1) * N // world] for x in data())
    wrapped = DistributedDataParallel(network)
    loss_of(wrapped.module, guidance, images, labels).backward()
    return gradients(network)


@pytest.mark.slow
def test_plain_ddp():
    for found in run_on_ranks(_plain_ddp, 2):
        torch.testing.assert_close(found, expected(), rtol=1e-5, atol=1e-6)
    a, b = run_on_ranks(_around_ddp, 2)
    assert float((a - b).abs().max()) > 1e-3  # else this test could not fail


def _fsdp(rank, world):
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    network, guidance = made()
    mesh = init_device_mesh("cpu", (world,))
    fully_shard(network.trunk, mesh=mesh)
    fully_shard(network, mesh=mesh)
    images, labels = (x[rank * N // world : (rank + 1) * N // world] for x in data())
    loss_of(network, guidance, images, labels).backward()
    return torch.cat([p.grad.full_tensor().flatten() for p in network.parameters()])


@pytest.mark.slow
def test_sharded_parameters():
    pytest.importorskip("torch.distributed.fsdp", reason="this torch has no fully_shard")
    for found in run_on_ranks(_fsdp, 2):
        torch.testing.assert_close(found, expected(), rtol=1e-5, atol=1e-6)


def _accelerate(rank, world):
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world))
    from accelerate import Accelerator
    from torch.utils.data import DataLoader, TensorDataset

    accelerator = Accelerator(cpu=True)
    network, guidance = made()
    optimizer = torch.optim.SGD(network.parameters(), 0.05)
    loader = DataLoader(TensorDataset(*data()), N // world)
    network, optimizer, prepared = accelerator.prepare(network, optimizer, loader)
    first = None
    for _ in range(3):
        for images, labels in prepared:
            optimizer.zero_grad()
            accelerator.backward(loss_of(network, guidance, images, labels))
            first = gradients(network) if first is None else first
            optimizer.step()
    weights = torch.cat([p.detach().flatten() for p in network.parameters()])
    try:
        evaluate_robustness(network, prepared, FGSM(), [0.0, 0.02])
        message = ""
    except ValueError as error:
        message = str(error)
    whole = evaluate_robustness(network, loader, FGSM(), [0.0, 0.02])
    named = DataLoader(Named(), 3)
    smooth = evaluate_smoothness(network, accelerator.prepare(named))
    each = per_image_robustness(network, accelerator.prepare(named), FGSM(), [0.02])
    pairs = transfer_matrix({"a": network}, accelerator.prepare(named), FGSM(), 0.02)
    return {
        "gradients": first, "weights": weights, "message": message,
        "num_images": [whole["num_images"].tolist(), [smooth.num_images, len(each)]],
        "accuracy": whole["accuracy"].tolist(), "clean": smooth.clean, "right": int(pairs["num_images"][0]),
    }  # fmt: skip


class Named(torch.utils.data.Dataset):
    """Eleven images with their identities: two processes don't share them out evenly."""

    def __len__(self):
        return 11

    def __getitem__(self, i):
        images, labels = data()
        return {"image": images[i], "label": labels[i], "stimulus": i}


@pytest.mark.slow
def test_accelerate():
    pytest.importorskip("accelerate", reason="accelerate is not installed (pip install neuroalign[tests])")
    one, two = run_on_ranks(_accelerate, 2)
    torch.testing.assert_close(one["gradients"], expected(), rtol=1e-5, atol=1e-6)
    assert torch.equal(one["weights"], two["weights"])
    alone = {"image": [], "label": [], "stimulus": []}
    for i in range(11):
        for key, value in Named()[i].items():
            alone[key].append(torch.as_tensor(value))
    network, _ = made()
    torch.nn.utils.vector_to_parameters(one["weights"], network.parameters())
    images, labels = data()
    truth = evaluate_robustness(network, [(images, labels)], FGSM(), [0.0, 0.02])
    smooth = evaluate_smoothness(network, [{key: torch.stack(value) for key, value in alone.items()}])
    for found in (one, two):
        assert "split by other means than an unshuffled DistributedSampler" in found["message"].replace("\n", " ")
        assert found["num_images"] == [[N, N], [11, 11]]
        assert found["accuracy"] == pytest.approx(truth["accuracy"].tolist())
        assert found["clean"] == pytest.approx(smooth.clean, rel=1e-4)
        assert found["right"] == int((network(images[:11]).argmax(1) == labels[:11]).sum())


@pytest.mark.slow
def test_fabric(tmp_path):
    script = [sys.executable, "-W", "ignore", "-m", "tests.guidance.fabric_script", str(tmp_path / "found.json")]
    done = subprocess.run(script, capture_output=True, text=True, cwd=Path(__file__).parents[2])
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((tmp_path / "found.json").read_text())
    torch.testing.assert_close(torch.tensor(found["gradients"]), expected(), rtol=1e-5, atol=1e-6)
    assert found["num_images"] == N


def _shuffled(rank, world):
    """Loaders that every process shuffles on its own."""
    network, _ = made()
    named, pairs = (
        torch.utils.data.DataLoader(data, 4, shuffle=True, generator=torch.Generator().manual_seed(rank))
        for data in (Named(), torch.utils.data.TensorDataset(*data()))
    )
    found = evaluate_robustness(network, named, FGSM(), [0.0])
    try:
        evaluate_robustness(network, pairs, FGSM(), [0.0])
        message = ""
    except ValueError as error:
        message = str(error)
    alike = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(*data()), 4, shuffle=True)
    return (
        int(found["num_images"][0]),
        float(found["accuracy"][0]),
        message,
        evaluate_smoothness(network, alike).num_images,
    )


@pytest.mark.slow
def test_a_shuffled_loader_loses_no_image_or_is_refused():
    network, _ = made()
    images, labels = (x[:11] for x in data())
    accuracy = float((network(images).argmax(1) == labels).float().mean())
    for num_images, found, message, alike in run_on_ranks(_shuffled, 2):
        assert num_images == 11
        assert found == pytest.approx(accuracy)
        assert "it is shuffled" in message
        assert alike == N  # the evaluation seeds the generator that shuffles: all processes have one order
