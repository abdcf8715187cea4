"""How much memory a call takes, measured in a fresh process."""

from __future__ import annotations

import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import torch


def peak_growth(module: str, argument: str) -> float:
    """MiB that ``python -m module --memory argument`` says its call added to the peak."""
    command = [sys.executable, "-m", module, "--memory", argument]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])


def print_growth(call: Callable[[], object]) -> None:
    """Print the MiB that a call adds to this process's peak."""
    torch.randn(8, 8, requires_grad=True).sum().backward()  # what autograd and BLAS take once
    torch.bmm(torch.randn(2, 64, 64), torch.randn(2, 64, 64))
    # The peak so far includes what made the input; touching that much again shows where it stands.
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status = Path("/proc/self/status").read_text().splitlines()
    now = next(int(line.split()[1]) for line in status if line.startswith("VmRSS"))
    filler = torch.ones((before - now) * 256) if before > now else None  # 1 KiB = 256 floats
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    call()
    del filler
    print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024)
