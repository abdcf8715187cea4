"""A simulated subject: a network is trained to be its object level, and noisy, shifted copies of images are shown to it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from neuroalign.data import GuidanceDataModule, ShiftFlip, write_simulated_nsd
from neuroalign.data.images import to_pixels
from neuroalign.data.simulated import STAGES
from neuroalign.files import write_csv
from neuroalign.models import GuidedNetwork
from neuroalign.study.fitting import fit_task, loading, seeded, settings_of
from neuroalign.study.settings.base import near_match
from neuroalign.study.stages.image_parts import ImagePart
from neuroalign.study.stages.images import read_images
from neuroalign.study.work import Work
from neuroalign.tasks import GuidedClassificationTask

__all__: list[str] = []

_PER_SESSION = 750  # trials of NSD's layout, whose design holds 30,000 trials, and 1,000 shared images of 10,000


class PixelNoise(nn.Module):
    """Shifts images and adds Gaussian noise.

    Args:
        sd: Standard deviation of the noise.
        shift: Largest shift in pixels.
    """

    def __init__(self, sd: float, shift: int) -> None:
        super().__init__()
        self.sd, self.shift = sd, ShiftFlip(shift, flip=False)

    def forward(self, images: Tensor) -> Tensor:
        """Noisy images (stimulus, channel, height, width), not clipped."""
        images = self.shift(images)
        return images + self.sd * torch.randn_like(images)


def make_subject(work: Work) -> None:
    """Train the teacher, and write the simulated subject's files in the layout of NSD to ``nsd``.

    Raises:
        ValueError: If a region is unknown, no images are set apart for the subject, or it would see more than NSD's layout
            holds.
    """
    settings, sets = work.settings, read_images(work.inputs["images"], work.sources.get("root"))
    if not {"neural_fit", "neural_val"} <= sets.parts.keys():
        raise ValueError("a simulated subject needs images of its own: set images.num_neural, such as [600, 100]")
    fit, val = sets.in_memory("neural_fit"), sets.in_memory("neural_val")
    _check(settings, len(fit.labels), len(val.labels))
    teacher = _teacher(work, fit, sets.image_shape)
    work.report("showing images to the subject", 0.9)
    copies = np.repeat(np.arange(len(val.labels)), settings["val_copies"])
    copies_fit = np.repeat(np.arange(len(fit.labels)), settings["copies"])
    shown = torch.cat([to_pixels(val.images)[copies], to_pixels(fit.images)[copies_fit]])
    labels = torch.cat([val.labels[copies], fit.labels[copies_fit]])
    write_simulated_nsd(
        work.out / "nsd",
        _seen(shown, settings),
        labels,
        regions=settings["regions"],
        num_voxels=settings["num_voxels"],
        num_shared=len(copies),
        object_stage=cast(nn.Module, teacher.trunk),
        seed=settings["seed"],
    )


def _check(settings: Mapping[str, Any], num_fit: int, num_val: int) -> None:
    for region in settings["regions"]:
        if region not in STAGES:
            raise ValueError(
                f"responses.regions: a simulated subject has no region {region!r}{near_match(region, STAGES)}; it has "
                f"{', '.join(STAGES)}"
            )
    shown, shared = num_fit * settings["copies"] + num_val * settings["val_copies"], num_val * settings["val_copies"]
    if shared > 1000 or shown - shared > 9000 or math.ceil(3 * shown / _PER_SESSION) > 40:
        raise ValueError(
            f"a simulated subject can see 9,000 images and 1,000 for validation; images.num_neural times copies are "
            f"{shown - shared} and {shared}: take fewer"
        )


def _teacher(work: Work, fit: ImagePart, image_shape: tuple[int, int, int]) -> GuidedNetwork:
    """The network whose features are the subject's object level."""
    settings = work.settings
    seed, training = settings["seed"], settings_of(settings["teacher"])
    arguments = loading(training, work, seed)
    if arguments["augment"] is None:
        arguments["augment"] = PixelNoise(settings["teacher_noise"], settings["shift"])
    num_classes = int(fit.labels.max()) + 1
    with seeded(seed):
        network = GuidedNetwork("small_resnet", num_classes, {"brain": (None, 1)}, image_shape=image_shape)
        data = GuidanceDataModule((to_pixels(fit.images), fit.labels), **arguments)
        log = fit_task(GuidedClassificationTask(network), data, training, work, share=(0.0, 0.9))
    write_csv(log, work.out / "teacher.csv")
    return network.eval()


def _seen(images: Tensor, settings: Mapping[str, Any]) -> Tensor:
    """Shifted copies under noise of many strengths, so that responses say much of what is in an image."""
    seed = settings["seed"]
    generator = torch.Generator().manual_seed(seed)
    with seeded(seed):
        stimuli = ShiftFlip(settings["shift"], flip=False)(images)
    strength = settings["stimulus_noise"] * torch.rand(len(stimuli), 1, 1, 1, generator=generator)
    return (stimuli + strength * torch.randn(stimuli.shape, generator=generator)).clamp(0, 1)
