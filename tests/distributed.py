"""Run a function in several gloo processes and bring back what each returns."""

import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _work(rank, world, folder, function, args):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=world)
    torch.save(function(rank, world, *args), folder / f"{rank}.part")
    (folder / f"{rank}.part").rename(folder / f"{rank}.pt")
    # In torch 2.6 gloo may wait for ever, in a barrier or at its own end, for a peer that left first. So nobody leaves before
    # all are done, and then without gloo's end. If a peer fails, start_processes ends the others.
    while not all((folder / f"{other}.pt").exists() for other in range(world)):
        time.sleep(0.005)
    os._exit(0)


def run_on_ranks(function, world, *args):
    """[function(rank, world, *args) for each rank], each in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # A fork of this process would inherit autograd's threads; a fork of a server that only imported doesn't.
        multiprocessing.get_context("forkserver").set_forkserver_preload(["torch", "neuroalign.losses", "hypothesis"])
        mp.start_processes(_work, (world, folder, function, args), nprocs=world, start_method="forkserver")
        return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(world)]


def averaged(gradients):
    """What DistributedDataParallel makes of the ranks' gradients."""
    return torch.stack(gradients).mean(0)
