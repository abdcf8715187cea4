"""A simulated subject whose responses are written as files in NSD's layout.

Nothing here was recorded. All results from such a folder are simulated and must be called so; the file ``SIMULATED`` in the
folder says it too. The subject is useful because its noise ceilings, images and processing stages are known.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from neuroalign.data.nsd.layout import NUM_SHARED, PSC_SCALE, TRIALS_PER_SESSION, NSDPaths
from neuroalign.data.nsd.writer import (
    shown_images,
    write_anatomy,
    write_behaviour,
    write_brick,
    write_design,
    write_session,
)
from neuroalign.functional.checks import check_choice
from neuroalign.functional.gabor import gabor_energy, gabor_filters
from neuroalign.types import unknown

__all__ = ["SimulatedSubject", "write_simulated_nsd"]

STAGES: dict[str, dict[str, float]] = {
    "V1": {"energy": 1.0},
    "V2": {"energy": 0.5, "texture": 0.5},
    "V3": {"energy": 0.25, "texture": 0.75},
    "V4": {"texture": 0.5, "object": 0.5},
    "VO": {"texture": 0.25, "object": 0.75},
    "PHC": {"texture": 0.25, "object": 0.75},
    "LO": {"texture": 0.25, "object": 0.75},
    "TO": {"object": 1.0},
}
"""Share of each region's voxels that respond to the features of each stage."""

NCSNR = {"V1": 0.8, "V2": 0.75, "V3": 0.7, "V4": 0.7, "VO": 0.6, "PHC": 0.6, "LO": 0.6, "TO": 0.6}
"""Typical ratio of signal to noise (standard deviations, one trial) of each region's voxels."""


@dataclass(frozen=True)
class SimulatedSubject:
    """The truth about a simulated subject.

    Attributes:
        root: The folder in NSD's layout.
        subject: Number of the subject.
        stimulus: (image,) int64, row of each image in the stimulus set, in the order in which images were given.
        signals: By region, (image, voxel) noise-free responses, z-scored over images.
        ncsnr: By region, (voxel,) true ratio of signal to noise of one trial.
    """

    root: Path
    subject: int
    stimulus: np.ndarray
    signals: Mapping[str, np.ndarray] = field(repr=False)
    ncsnr: Mapping[str, np.ndarray] = field(repr=False)

    def index_of(self, stimulus: np.ndarray) -> np.ndarray:
        """Positions (trial,) of images in the order in which they were given, from their rows in the stimulus set."""
        order = np.argsort(self.stimulus)
        return order[np.searchsorted(self.stimulus[order], stimulus)]


def energy_stage(images: Tensor) -> Tensor:
    """V1: divisively normalised Gabor energy, 4 orientations at 2 scales, (stimulus, 8, height, width)."""
    scales = [gabor_energy(images, gabor_filters(s, w, 4), normalize=0.2) for s, w in ((5, 3.0), (7, 5.0))]
    return torch.cat(scales, 1)


def texture_stage(images: Tensor) -> Tensor:
    """V2 to V4: products of energies at one place, averaged over quadrants, (stimulus, 36 * 4)."""
    energy = energy_stage(images)
    i, j = torch.triu_indices(energy.shape[1], energy.shape[1])
    return F.adaptive_avg_pool2d(energy[:, i] * energy[:, j], 2).flatten(1)


def discriminant_stage(images: Tensor, labels: np.ndarray) -> Tensor:
    """A default object level: rectified linear discriminants of the texture stage, one per category."""
    from sklearn.linear_model import RidgeClassifier

    x = torch.cat([F.adaptive_avg_pool2d(energy_stage(images), 4).flatten(1), texture_stage(images)], 1).double()
    x = (x - x.mean(0)) / x.std(0).clamp_min(1e-8)
    scores = RidgeClassifier(alpha=100.0).fit(x.numpy(), labels).decision_function(x.numpy())
    return torch.from_numpy(np.atleast_2d(scores.T).T).relu().float()


def write_simulated_nsd(
    root: str | os.PathLike[str],
    images: np.ndarray | Tensor,
    labels: np.ndarray | Tensor,
    *,
    regions: Sequence[str] = ("V1", "V4", "TO"),
    num_voxels: int = 80,
    num_shared: int | None = None,
    sessions: int | None = None,
    subject: int = 1,
    object_stage: Callable[[Tensor], Tensor] | None = None,
    ncsnr: Mapping[str, float] | None = None,
    container: str = "hdf5",
    betas: str = "betas_fithrf_GLMdenoise_RR",
    seed: int = 0,
) -> SimulatedSubject:
    """Show images to a simulated subject, and write its responses in the exact layout of NSD.

    The subject has linear-nonlinear stages: Gabor energy with small receptive fields (V1), second-order texture, and an
    object level (TO). Each region's voxels mix the features of its stages at random. Each trial adds Gaussian noise of
    standard deviation 1 / ncsnr to the z-scored signal; each session has its own baseline and gain for every voxel. The
    files are the stimulus set, the design file, betas, ncsnr, region files, brain mask and behaviour table, with 750 trials
    per session; ids count from 0 or 1 as in NSD. Only the volume and the images are smaller than in NSD.

    Args:
        root: Folder to write to; must be empty or absent.
        images: (image, channel, height, width), in [0, 1] or uint8, with 1 or 3 channels, at most 10,000.
        labels: (image,) integers, categories for the object level.
        regions: Names of regions in ``STAGES``.
        num_voxels: Number of voxels per region.
        num_shared: Number of "shared" images (validation), at most 1,000: the first ones. None means a quarter.
        sessions: Number of sessions of 750 trials; None means enough for three trials per image. The numbers of trials of
            two images differ by at most one.
        subject: 1 to 8.
        object_stage: Maps images (image, 3, height, width) to features (image, feature); None means discriminants of texture.
        ncsnr: By region, in place of ``NCSNR``.
        container: "hdf5" or "nii.gz".
        betas: Name of the version to write.
        seed: Seed of all random numbers.

    Returns:
        The known truth about the subject.

    Raises:
        FileExistsError: If ``root`` is not empty.
        ValueError: If a region is unknown, or images and labels don't fit the layout.

    Example:
        >>> import tempfile
        >>> images, labels = np.random.rand(500, 3, 8, 8), np.arange(500) % 10
        >>> subject = write_simulated_nsd(tempfile.mkdtemp(), images, labels)
        >>> subject.signals["V4"].shape, subject.stimulus.shape
        ((500, 80), (500,))
    """
    brick = _as_uint8(images)
    n = len(brick)
    labels = np.asarray(labels)
    if len(labels) != n:
        raise ValueError(f"{n} images but {len(labels)} labels")
    for region in regions:
        if region not in STAGES:
            raise ValueError(unknown("region", region, STAGES))
    num_shared = n // 4 if num_shared is None else num_shared
    if not 0 <= num_shared <= min(n, NUM_SHARED) or n - num_shared > 10_000 - NUM_SHARED:
        raise ValueError(
            f"NSD's design holds 1,000 shared and 9,000 other images; got {num_shared} and {n - num_shared}"
        )
    sessions = -(-3 * n // TRIALS_PER_SESSION) if sessions is None else sessions
    if not n <= sessions * TRIALS_PER_SESSION <= 30_000:
        raise ValueError(f"{sessions} sessions of 750 trials can't show {n} images (at most 40 sessions)")
    check_choice("container", container, ("hdf5", "nii.gz"))
    paths = NSDPaths(Path(root), subject, betas)
    if paths.root.exists() and any(paths.root.iterdir()):
        raise FileExistsError(f"{paths.root} is not empty")
    rng = np.random.default_rng(seed)

    ten_k = np.concatenate([np.arange(num_shared), NUM_SHARED + np.arange(n - num_shared)])  # 0-based, of each image
    subjectim = write_design(paths, sessions, ten_k, rng)
    stimulus = subjectim[subject - 1, ten_k] - 1
    write_brick(paths, brick, stimulus)

    truth = _signals(brick, labels, regions, num_voxels, object_stage, rng)
    level = {**NCSNR, **(ncsnr or {})}
    snr = {r: level[r] * np.exp(0.15 * rng.standard_normal(num_voxels)) for r in regions}
    places, shape = write_anatomy(paths, regions, num_voxels, snr, rng)
    shown = shown_images(paths, sessions, ten_k)
    signal = np.concatenate([truth[r] for r in regions], 1)
    noise = np.concatenate([1 / snr[r] for r in regions])
    for session in range(1, sessions + 1):
        rows = shown[(session - 1) * TRIALS_PER_SESSION : session * TRIALS_PER_SESSION]
        trial = signal[rows] + noise * rng.standard_normal((TRIALS_PER_SESSION, signal.shape[1]))
        gain, baseline = np.exp(0.2 * rng.standard_normal(len(noise))), 0.5 * rng.standard_normal(len(noise))
        volume = rng.normal(0, 1, (TRIALS_PER_SESSION, *shape)).astype(
            np.float32
        )  # voxels outside all regions are noise
        volume[:, places[:, 0], places[:, 1], places[:, 2]] = 0.7 * gain * trial + baseline
        write_session(paths, session, np.clip(np.rint(volume * PSC_SCALE), -32767, 32767).astype(np.int16), container)
    write_behaviour(paths, sessions, ten_k, stimulus, shown)
    (paths.root / "SIMULATED").write_text("Simulated responses in the layout of the Natural Scenes Dataset.\n")
    return SimulatedSubject(paths.root, subject, stimulus, truth, snr)


def _as_uint8(images: np.ndarray | Tensor) -> np.ndarray:
    """(image, height, width, 3) uint8, as the stimulus set stores images."""
    images = np.asarray(images)
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images must be (image, 1 or 3, height, width); got {images.shape}")
    if images.dtype != np.uint8:
        if not (images.min() >= 0 and images.max() <= 1):
            raise ValueError("images must be uint8, or floats in [0, 1]")
        images = np.rint(images * 255).astype(np.uint8)
    return np.array(np.broadcast_to(images, (len(images), 3, *images.shape[2:])).transpose(0, 2, 3, 1), order="C")


def _signals(
    brick: np.ndarray,
    labels: np.ndarray,
    regions: Sequence[str],
    num_voxels: int,
    object_stage: Callable[[Tensor], Tensor] | None,
    rng: np.random.Generator,
) -> dict[str, np.ndarray]:
    """Noise-free responses (image, voxel) of every region, z-scored over images."""
    # The subject sees what is stored: images rounded to 8 bits.
    seen = torch.from_numpy(brick).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        objects = object_stage(seen) if object_stage is not None else discriminant_stage(seen, labels)
        stages = {
            "energy": F.adaptive_avg_pool2d(energy_stage(seen), min(8, *seen.shape[2:])),
            "texture": texture_stage(seen),
            "object": objects.flatten(1).float(),
        }
    features = {k: _scaled(v.double().numpy()) for k, v in stages.items()}
    signals = {}
    for region in regions:
        shares = STAGES[region]
        counts = np.floor(np.cumsum(list(shares.values())) * num_voxels + 1e-9).astype(int)
        counts = np.diff(counts, prepend=0)
        parts = [_voxels(features[stage], count, rng) for stage, count in zip(shares, counts)]
        signals[region] = _scaled(np.concatenate(parts, 1)).astype(np.float32)
    return signals


def _scaled(x: np.ndarray) -> np.ndarray:
    std = x.std(0)
    return (x - x.mean(0)) / np.where(std > 1e-9, std, 1)


def _voxels(features: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Voxels that mix features at random; spatial features are weighted by a small Gaussian receptive field."""
    if features.ndim == 2:
        return features @ (rng.standard_normal((features.shape[1], count)) / np.sqrt(features.shape[1]))
    _, channels, height, width = features.shape
    y, x = np.mgrid[:height, :width]
    center = rng.uniform(0.15, 0.85, (count, 2)) * (height, width)
    sigma = 0.1 * max(height, width)
    distance = (y - center[:, 0, None, None]) ** 2 + (x - center[:, 1, None, None]) ** 2
    field = np.exp(-distance / (2 * sigma**2))
    tuning = np.exp(rng.standard_normal((count, channels)))
    return np.einsum("nchw,vc,vhw->nv", features, tuning, field, optimize=True)
