"""Writing files in NSD's layout for a simulated subject."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from neuroalign.data.nsd.layout import NUM_SHARED, TRIALS_PER_SESSION, NSDPaths
from neuroalign.data.nsd.regions import REGIONS

__all__: list[str] = []


def write_design(paths: NSDPaths, sessions: int, ten_k: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Write the design file of all subjects, and return subjectim (8, 10000), 1-based."""
    from scipy.io import savemat

    trials = sessions * TRIALS_PER_SESSION
    whole, extra = divmod(trials, len(ten_k))
    shown = np.concatenate([np.repeat(ten_k, whole), rng.permutation(ten_k)[:extra]])
    rest = np.setdiff1d(np.arange(10_000), ten_k)
    rest = np.resize(rest if len(rest) else ten_k, 30_000 - trials)
    ordering = np.concatenate([rng.permutation(shown), rest]) + 1
    shared = np.sort(rng.choice(73_000, NUM_SHARED, replace=False)) + 1
    others = np.setdiff1d(np.arange(1, 73_001), shared)
    subjectim = np.empty((8, 10_000), dtype=np.int64)
    subjectim[:, :NUM_SHARED] = shared
    subjectim[:, NUM_SHARED:] = rng.permutation(others).reshape(8, -1)[:, :9000]
    pattern = np.zeros((40, 12, 75), dtype=np.uint8)
    for run in range(12):  # 63 stimulus trials in odd runs, 62 in even ones
        pattern[:, run, : 63 - run % 2] = 1
    paths.expdesign.parent.mkdir(parents=True)
    savemat(
        paths.expdesign,
        {
            "masterordering": ordering[None].astype(np.uint16),
            "subjectim": subjectim.astype(np.uint32),
            "sharedix": shared[None].astype(np.uint32),
            "stimpattern": pattern,
            "basiccnt": np.zeros((3, 40), dtype=np.uint16),
        },
        do_compression=True,
    )
    return subjectim


def shown_images(paths: NSDPaths, sessions: int, ten_k: np.ndarray) -> np.ndarray:
    """The image that each trial shows, as its position in the given order."""
    from scipy.io import loadmat

    ordering = loadmat(paths.expdesign)["masterordering"].ravel().astype(int) - 1
    position = np.full(10_000, -1)
    position[ten_k] = np.arange(len(ten_k))
    return position[ordering[: sessions * TRIALS_PER_SESSION]]


def write_brick(paths: NSDPaths, brick: np.ndarray, stimulus: np.ndarray) -> None:
    """Write images (image, height, width, 3) at their rows of the stimulus set."""
    import h5py

    paths.stimuli.parent.mkdir(parents=True)
    order = np.argsort(stimulus)
    with h5py.File(paths.stimuli, "w") as file:  # chunks that are never written take no space
        dataset = file.create_dataset("imgBrick", (73_000, *brick.shape[1:]), "uint8", chunks=(1, *brick.shape[1:]))
        dataset[stimulus[order]] = brick[order]


def write_anatomy(
    paths: NSDPaths,
    regions: Sequence[str],
    num_voxels: int,
    snr: Mapping[str, np.ndarray],
    rng: np.random.Generator,
) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Write region files, brain mask and ncsnr; return the places of the voxels, region by region, and the volume's shape."""
    outside = 5  # voxels per region that have its label but lie outside nsdgeneral
    need = len(regions) * (num_voxels + outside) * 1.5
    x = int(np.ceil(need ** (1 / 3)))
    shape = (x, x + 2, x + 1)  # three different lengths, so that exchanged axes are detected
    labels, general = np.full(shape, -1.0), np.full(shape, -1.0)
    inner = np.argwhere(np.ones(shape, dtype=bool))
    inner = inner[rng.permutation(len(inner))]
    labels[tuple(inner[: len(inner) * 9 // 10].T)] = 0
    general[labels == 0] = 0
    ncsnr = np.where(labels >= 0, 0.05, np.nan).astype(np.float32)
    places, start = [], 0
    for region in regions:
        place = inner[start : start + num_voxels]
        # the order of argwhere, in which the reader finds the voxels of a region
        place = place[np.lexsort(place.T[::-1])]
        extra = inner[start + num_voxels : start + num_voxels + outside]
        start += num_voxels + outside
        labels[tuple(place.T)] = rng.choice(REGIONS[region], num_voxels)
        labels[tuple(extra.T)] = REGIONS[region][0]
        general[tuple(place.T)] = 1
        ncsnr[tuple(place.T)] = snr[region]
        places.append(place)
    (paths.anatomy / "roi").mkdir(parents=True)
    paths.beta_folder.mkdir(parents=True)
    _save_volume(paths.roi("Kastner2015"), labels)
    _save_volume(paths.roi("nsdgeneral"), general)
    _save_volume(paths.anatomy / "brainmask.nii.gz", (labels >= 0).astype(np.int16))
    _save_volume(paths.beta_folder / "ncsnr.nii.gz", ncsnr)
    return np.concatenate(places), shape


def _save_volume(path: Path, volume: np.ndarray) -> None:
    import nibabel

    affine = np.diag([1.8, 1.8, 1.8, 1.0])
    affine[:3, 3] = -1.8 * (np.array(volume.shape[:3]) - 1) / 2
    nibabel.save(nibabel.Nifti1Image(volume, affine), path)


def write_session(paths: NSDPaths, session: int, volume: np.ndarray, container: str) -> None:
    """Write one session (750, x, y, z) int16."""
    path = paths.session(session, container)
    if container == "nii.gz":
        _save_volume(path, np.moveaxis(volume, 0, -1))
        return
    import h5py

    with h5py.File(path, "w") as file:
        file.create_dataset("betas", data=volume.transpose(0, 3, 2, 1), chunks=(TRIALS_PER_SESSION, 1, 1, 1))


def write_behaviour(paths: NSDPaths, sessions: int, ten_k: np.ndarray, stimulus: np.ndarray, shown: np.ndarray) -> None:
    """Write the behaviour table: the image of each trial; button presses are missing."""
    import pandas as pd

    columns = ["SUBJECT", "SESSION", "RUN", "TRIAL", "73KID", "10KID", "TIME", "ISOLD", "ISCORRECT", "RT", "CHANGEMIND"]
    columns += ["MEMORYRECENT", "MEMORYFIRST", "ISOLDCURRENT", "ISCORRECTCURRENT", "TOTAL1", "TOTAL2", "BUTTON"]
    columns += ["MISSINGDATA"]
    run_of_trial = np.repeat(np.arange(1, 13), [63 - run % 2 for run in range(12)])
    trial_in_run = np.concatenate([np.arange(1, 64 - run % 2) for run in range(12)])
    table = pd.DataFrame(
        {
            "SUBJECT": paths.subject,
            "SESSION": np.repeat(np.arange(1, sessions + 1), TRIALS_PER_SESSION),
            "RUN": np.tile(run_of_trial, sessions),
            "TRIAL": np.tile(trial_in_run, sessions),
            "73KID": stimulus[shown] + 1,
            "10KID": ten_k[shown] + 1,
            "ISOLD": pd.Series(shown).duplicated().astype(int).to_numpy(),
        }
    ).reindex(columns=columns)
    folder = paths.anatomy.parent / "behav"
    folder.mkdir(parents=True)
    table.to_csv(folder / "responses.tsv", sep="\t", index=False)
