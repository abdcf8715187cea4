"""The stand-in device finds waits, copies and mixes that are planted, and computes what the CPU computes."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.stand_in_device import StandIn, StandInTensor, on_stand_in, stand_in

ROOT = Path(__file__).parent.parent
X = torch.tensor([[4.0, 1.0], [1.0, 3.0]])
WHOLE = torch.tensor([0, 1, 1, 3])
WAITS = {
    "bool": (lambda x, i: bool(x.sum()), 1),
    "int": (lambda x, i: int(i[0]), 1),
    "float": (lambda x, i: float(x[0, 0]), 1),
    "item": (lambda x, i: x[0, 0].item(), 1),
    "if": (lambda x, i: 1 if (x > 0).all() else 0, 1),
    "format": (lambda x, i: f"{x[0, 0]:.3g}", 1),
    "equal": (lambda x, i: torch.equal(x, x), 1),
    "allclose": (lambda x, i: torch.allclose(x, x), 1),
    "tolist": (lambda x, i: x.tolist(), 1),
    "cpu": (lambda x, i: x.cpu().numpy(), 1),
    "to": (lambda x, i: x.to("cpu"), 1),
    "copy_": (lambda x, i: torch.zeros(2, 2).copy_(x), 1),
    "nonzero": (lambda x, i: i.nonzero(), 1),
    "where": (lambda x, i: torch.where(i > 0), 1),
    "masked_select": (lambda x, i: x.masked_select(x > 1), 1),
    "index": (lambda x, i: x[x > 1], 1),
    "index of an axis": (lambda x, i: x[:, x[0] > 1], 1),
    "assignment": (lambda x, i: x.clone().index_put_((x > 1,), x[0, 0]), 1),
    "unique": (lambda x, i: i.unique(), 1),
    "unique of rows": (lambda x, i: i[:, None].unique(dim=0), 1),
    "unique_consecutive": (lambda x, i: i.unique_consecutive(), 1),
    "bincount": (lambda x, i: i.bincount(), 2),
    "repeat_interleave": (lambda x, i: i.repeat_interleave(i), 1),
    "eigh": (lambda x, i: torch.linalg.eigh(x), 1),
    "eigvalsh": (lambda x, i: torch.linalg.eigvalsh(x), 1),
    "svd": (lambda x, i: torch.linalg.svd(x), 1),
    "lstsq": (lambda x, i: torch.linalg.lstsq(x, x).solution, 1),
    "cholesky": (lambda x, i: torch.linalg.cholesky(x), 1),
    "cholesky_ex that checks": (lambda x, i: torch.linalg.cholesky_ex(x, check_errors=True), 1),
    "solve": (lambda x, i: torch.linalg.solve(x, x), 1),
    "inv": (lambda x, i: torch.linalg.inv(x), 1),
}
FREE = {
    "arithmetic": lambda x, i: (x @ x + 2 * x.exp()).sum(0),
    "where": lambda x, i: torch.where(x > 1, x, 0.0),
    "masked_fill": lambda x, i: x.masked_fill(x > 1, 0.0),
    "index": lambda x, i: x[i[:2]],
    "slice": lambda x, i: x[:, 1:],
    "new": lambda x, i: x.new_full((), 2.0),
    "arange": lambda x, i: torch.arange(3, device=x.device),
    "draws": lambda x, i: torch.rand(3, device=x.device),
    "scatter": lambda x, i: x.new_zeros(4).index_add(0, i, i.float()),
    "median": lambda x, i: x.median(0).values,
    "sort": lambda x, i: x.argsort(1),
    "cholesky_ex": lambda x, i: torch.linalg.cholesky_ex(x)[0],
    "solve_ex": lambda x, i: torch.linalg.solve_ex(x, x)[0],
    "repeat_interleave": lambda x, i: i.repeat_interleave(i, output_size=5),
    "a scalar of the host": lambda x, i: x * torch.tensor(2.0),
    "autocast": lambda x, i: without_autocast(x),
    "conjugate": lambda x, i: (torch.fft.fft(x) * torch.fft.fft(x).conj()).real,
    "in place": lambda x, i: x.clone().mul_(2),
}
COPIES = {
    "tensor": (lambda x, i: torch.tensor(2.0, device=x.device), 1),
    "as_tensor": (lambda x, i: torch.as_tensor([1.0, 2.0], device=x.device), 1),
    "to": (lambda x, i: torch.zeros(2).to(x.device), 1),
    "to that doesn't wait": (lambda x, i: torch.zeros(2).to(x.device, non_blocking=True), 0),
    "list as index": (lambda x, i: x[:, [0, 1]], 1),
    "copy_": (lambda x, i: x.clone().copy_(torch.zeros(2, 2)), 1),
}
MIXES = {
    "sum": lambda x, i: x + torch.ones(2),
    "product": lambda x, i: torch.eye(2) @ x,
    "where": lambda x, i: torch.where(x > 1, x, torch.zeros(2, 2)),
    "stack": lambda x, i: torch.stack([x.sum(), torch.tensor(1.0)]),
    "gather": lambda x, i: x.gather(1, torch.zeros(2, 1, dtype=torch.long)),
    "generator": lambda x, i: torch.rand(2, device=x.device, generator=torch.Generator()),
}


def without_autocast(x):
    with torch.autocast(x.device.type, enabled=False):
        return x @ x


def back(x):
    """Results of a planted function as tensors of the CPU."""
    return torch.utils._pytree.tree_map(lambda t: t.inner if isinstance(t, StandInTensor) else t, x)


@pytest.mark.parametrize("kind", WAITS)
def test_waits_are_counted(kind):
    function, number = WAITS[kind]
    x, i = on_stand_in((X, WHOLE))
    with StandIn() as device:
        out = function(x, i)
    assert device.waits.total() == number, device.waits
    assert not device.mixes and not device.copies
    if kind != "format":
        torch.testing.assert_close(back(out), function(X, WHOLE))


@pytest.mark.parametrize("kind", FREE)
def test_what_needs_no_wait(kind):
    x, i = on_stand_in((X, WHOLE))
    torch.manual_seed(1)
    with StandIn() as device:
        out = FREE[kind](x, i)
    assert out.device == stand_in() and device.operations
    assert not device.waits and not device.mixes and not device.copies
    torch.manual_seed(1)
    torch.testing.assert_close(out.inner, FREE[kind](X, WHOLE))


@pytest.mark.parametrize("kind", COPIES)
def test_copies_to_the_device(kind):
    function, number = COPIES[kind]
    x, i = on_stand_in((X, WHOLE))
    with StandIn() as device:
        out = function(x, i)
    assert out.device == stand_in()
    assert device.copies.total() == number and not device.waits and not device.mixes
    torch.testing.assert_close(out.inner, function(X, WHOLE))


@pytest.mark.parametrize("kind", MIXES)
def test_mixes_of_host_and_device(kind):
    x, i = on_stand_in((X, WHOLE))
    with StandIn() as device:
        MIXES[kind](x, i)
    assert device.mixes.total() == 1


def test_backward_waits_for_boolean_indices_too():
    x = on_stand_in(X.clone().requires_grad_())
    with StandIn() as device:
        mask = x.detach() > 1
        x[mask].square().sum().backward()
    assert device.waits.total() == 2 and any("IndexBackward" in line for _, line in device.waits)
    torch.testing.assert_close(x.grad.inner, torch.where(X > 1, 2 * X, 0.0))


def test_backward_outside_of_inference_mode():
    with StandIn(), torch.inference_mode():
        x = on_stand_in(X)
        with torch.inference_mode(False), torch.enable_grad():
            x = x.clone().requires_grad_()
            (gradient,) = torch.autograd.grad(x.square().sum(), x)
    torch.testing.assert_close(gradient.inner, 2 * X)


def test_the_line_of_the_package_is_named():
    from neuroalign.types import check_images

    with StandIn() as device:
        check_images(on_stand_in(torch.rand(2, 3, 4, 4)))
    ((_, line),) = device.waits
    assert line.startswith("types.py:")


def test_a_network_trains_as_on_the_cpu():
    def trained(place):
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 2))
        net, x, y = place((net, torch.rand(5, 3, 4, 4), torch.arange(5) % 2))
        optimizer = torch.optim.SGD(net.parameters(), 0.1, momentum=0.9)
        for _ in range(3):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
        return net.state_dict()

    with StandIn() as device:
        there = trained(on_stand_in)
    assert not device.waits and not device.mixes
    assert all(value.device == stand_in() for value in there.values())
    for name, value in trained(lambda x: x).items():
        torch.testing.assert_close(there[name].inner, value)


def test_nothing_stays_on():
    threads, lifted = torch.autograd.is_multithreading_enabled(), torch._C._only_lift_cpu_tensors()
    with pytest.raises(ZeroDivisionError), StandIn():
        _ = 1 / (threads and torch.autograd.is_multithreading_enabled())
    assert torch.autograd.is_multithreading_enabled() == threads and torch._C._only_lift_cpu_tensors() == lifted
    assert not torch.accelerator.is_available() or torch.cuda.is_available()
    assert type(torch.zeros(2)) is torch.Tensor
    with torch.random.fork_rng():  # of the accelerators that there are
        torch.rand(1)


@pytest.mark.slow
def test_processes_can_be_forked_after_it():
    script = """
import os, torch
from tests.stand_in_device import StandIn, on_stand_in
with StandIn():
    on_stand_in(torch.ones(2, requires_grad=True)).square().sum().backward()
if (child := os.fork()) == 0:
    torch.ones(2, requires_grad=True).square().sum().backward()
    os._exit(7)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, check=True)
    assert done.stdout.strip() == "7", done.stderr


def test_batches_are_moved_with_what_is_in_them():
    batch = on_stand_in({"image": torch.zeros(2), "more": [torch.ones(1), "name", 3], "pair": (torch.ones(1), None)})
    assert batch["image"].device == batch["more"][0].device == batch["pair"][0].device == stand_in()
    assert batch["more"][1:] == ["name", 3] and batch["pair"][1] is None
