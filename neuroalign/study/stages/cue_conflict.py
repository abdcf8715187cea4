"""Shape bias of a study's network on cue-conflict stimuli: images with the shape of one class and the texture of another."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from neuroalign.data import resize
from neuroalign.files import check_source
from neuroalign.metrics import ShapeBias
from neuroalign.state import evaluating
from neuroalign.study.stages.measuring import device_of, images_of, network_of
from neuroalign.study.work import Work
from neuroalign.types import unknown

__all__: list[str] = []

_NAME = re.compile(r"(?:.*/)?([a-z_]+)/\1\d*-([a-z_]+?)\d*\.(?:png|jpe?g)", re.IGNORECASE)


class Stimulus(NamedTuple):
    """One file of the archive, and the classes of its shape and its texture."""

    file: str
    shape: str
    texture: str


def measure_shape_bias(work: Work) -> list[tuple[str, float | None, float, int]]:
    """Rows of the shape bias, with its interval.

    The network decides among the classes that it shares with the stimuli: its largest logit of these counts.

    Args:
        work: The stage, with the archive as its source "stimuli".

    Raises:
        FileNotFoundError: If there is no such archive.
        ValueError: If a class is unknown to the network or the archive, or two classes of stimuli stand for one.
    """
    sets, classes = images_of(work), work.settings["classes"]
    path = check_source(work.sources["stimuli"], "archive of cue-conflict stimuli")
    columns = _columns(classes, [str(name) for name in sets.classes])
    order = list(classes)
    with zipfile.ZipFile(path) as archive:
        stimuli = _conflicts(archive, order, str(path))
        metric, network, device = ShapeBias(), network_of(work), device_of(work)
        with evaluating(network), torch.no_grad():
            for part in _parts(stimuli, int(work.settings.get("batch_size", 256)), work):
                logits = network(_images(archive, part, sets.image_shape).to(device))[:, columns].cpu()
                shapes, textures = (torch.tensor([order.index(s[k]) for s in part]) for k in (1, 2))
                metric.update(logits.argmax(1), shapes, textures)
    found = {name: float(value) for name, value in metric.compute().items()}
    decided = int(found["num_shape"] + found["num_texture"])
    return [
        ("shape bias", None, found["shape_bias"], decided),
        ("shape bias, low", None, found["low"], decided),
        ("shape bias, high", None, found["high"], decided),
        ("decisions for shape or texture", None, decided / found["num_images"], int(found["num_images"])),
    ]


def _columns(classes: Mapping[str, str], known: list[str]) -> list[int]:
    """The network's class of each class of stimuli."""
    for name in classes.values():
        if name not in known:
            raise ValueError(unknown("class of the networks in shape_bias.classes:", name, known))
    if len(set(classes.values())) < len(classes):
        raise ValueError("shape_bias.classes gives two classes of stimuli the same class of the networks")
    return [known.index(name) for name in classes.values()]


def _conflicts(archive: zipfile.ZipFile, wanted: list[str], path: str) -> list[Stimulus]:
    """The stimuli whose shape and texture are two of the wanted classes, in the order of their names."""
    matches = [(name, _NAME.fullmatch(name)) for name in sorted(archive.namelist())]
    found = [Stimulus(name, match[1], match[2]) for name, match in matches if match is not None]
    if not found:
        raise ValueError(f"{path} holds no cue-conflict stimuli: their names are SHAPE/SHAPE1-TEXTURE2.png")
    there = {s.shape for s in found} | {s.texture for s in found}
    for name in wanted:
        if name not in there:
            raise ValueError(f"{path}: {unknown('class of stimuli', name, there)}")
    return [s for s in found if s.shape != s.texture and s.shape in wanted and s.texture in wanted]


def _parts(stimuli: list[Stimulus], size: int, work: Work) -> Iterator[list[Stimulus]]:
    for start in range(0, len(stimuli), size):
        work.report("cue conflicts", start / len(stimuli))
        yield stimuli[start : start + size]


def _images(archive: zipfile.ZipFile, stimuli: list[Stimulus], shape: tuple[int, ...]) -> Tensor:
    """Pixels (stimulus, channel, height, width) at the size of the network's images."""
    from PIL import Image

    mode = "L" if shape[0] == 1 else "RGB"
    images = []
    for stimulus in stimuli:
        with Image.open(io.BytesIO(archive.read(stimulus.file))) as image:
            pixels = np.asarray(image.convert(mode), dtype=np.float32) / 255
        pixels = pixels.reshape(*pixels.shape[:2], -1).transpose(2, 0, 1)
        images.append(resize(torch.from_numpy(pixels.copy())[None], shape[1:]))
    return torch.cat(images)
