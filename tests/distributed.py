"""Run a function in several gloo processes and bring back what each returns."""

import multiprocessing
import os
import socket
import tempfile
from pathlib import Path

import torch
import torch.distributed as dist
import torch.multiprocessing as mp


def _work(rank, world, port, folder, function, args):
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=world)
    try:
        torch.save(function(rank, world, *args), Path(folder) / f"{rank}.pt")
        dist.barrier()  # gloo of torch 2.6 may wait for ever for a peer that left first
    finally:
        dist.destroy_process_group()


def run_on_ranks(function, world, *args):
    """[function(rank, world, *args) for each rank], each in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory() as folder:
        # A fork of this process would inherit autograd's threads; a fork of a server that only imported doesn't.
        multiprocessing.get_context("forkserver").set_forkserver_preload(["torch", "neuroalign.losses", "hypothesis"])
        mp.start_processes(_work, (world, port, folder, function, args), nprocs=world, start_method="forkserver")
        return [torch.load(Path(folder) / f"{rank}.pt", weights_only=True) for rank in range(world)]


def averaged(gradients):
    """What DistributedDataParallel makes of the ranks' gradients."""
    return torch.stack(gradients).mean(0)
