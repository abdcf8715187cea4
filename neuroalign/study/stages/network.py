"""Stage of the networks: train the classifier of one condition, guided or not."""

from __future__ import annotations

from neuroalign.study.work import Work

__all__: list[str] = []

VERSION = 1


def train(work: Work) -> None:
    """Train the network of a condition, and write ``network.safetensors``, ``log.csv`` and ``network.json``.

    Raises:
        ValueError: If the settings and the results that are needed don't fit, or the loss is not finite.
    """
    from neuroalign.study.stages.classifier import train_network

    train_network(work)
