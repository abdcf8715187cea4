"""Ratios of time and memory on a session of NSD's true size: ``python -m tests.benchmarks.nsd``.

One session of subject 1's shape (81 x 104 x 83 voxels, 750 trials) is written as HDF5 and as nii.gz (noise: nothing of NSD is
in it), 2 GB in all. Every reading runs in a process of its own, files warm in the system's cache: seconds of CPU, and the
growth of the process's peak memory. The peer of reading a session is ``nibabel.load(...).get_fdata()`` followed by a mask;
that of the DataModule is the container's own steps, with all trials in memory; the limit of a region is a loop over
``read_direct_chunk``, HDF5's cheapest call, and the conversion. Forty sessions are links to one file.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import h5py
import nibabel
import numpy as np

from neuroalign import NSDDataModule
from neuroalign.data import NSDImages, cache_nsd_stimuli, extract_nsd, open_nsd, read_nsd, read_nsd_split
from neuroalign.data.nsd import FACTS, PSC_SCALE, TRIALS_PER_SESSION, NSDPaths
from neuroalign.data.nsd.reader import Request
from neuroalign.data.nsd.writer import write_design
from tests.benchmarks.memory import print_growth

SHAPE = FACTS[1].shape
ROI_VOXELS, GENERAL_VOXELS = 1350, FACTS[1].nsdgeneral
IMAGES, IMAGE_SIZE, BATCH = 640, 224, 64


def write_tree(root: Path) -> None:
    """A tree with one true-sized session in both containers, under two roots that share the rest."""
    paths = NSDPaths(root / "hdf5", 1)
    rng = np.random.default_rng(0)
    write_design(paths, 40, np.arange(10_000), rng)
    (paths.anatomy / "roi").mkdir(parents=True)
    paths.beta_folder.mkdir(parents=True)
    # Cortex as a blob: the voxels nearest to a point at the back, the region nearest of all.
    distance = np.linalg.norm(np.indices(SHAPE).reshape(3, -1).T - np.array([40, 20, 30]), axis=1).reshape(SHAPE)
    order = np.sort(distance.ravel())
    general = np.where(distance < order[GENERAL_VOXELS], 1.0, -1.0)
    labels = np.where(distance < order[ROI_VOXELS], 1.0, np.where(general > 0, 0.0, -1.0))
    affine = np.diag([1.8, 1.8, 1.8, 1.0])
    for name, values in (("Kastner2015", labels), ("nsdgeneral", general)):
        nibabel.save(nibabel.Nifti1Image(values, affine), paths.roi(name))
    betas = np.empty((TRIALS_PER_SESSION, *SHAPE[::-1]), dtype=np.int16)  # (trial, z, y, x)
    for trial in range(TRIALS_PER_SESSION):
        betas[trial] = 600 * rng.standard_normal(SHAPE[::-1], dtype=np.float32)
    with h5py.File(paths.session(1, "hdf5"), "w") as file:
        data = file.create_dataset("betas", betas.shape, "int16", chunks=(TRIALS_PER_SESSION, 1, 1, 1))
        for z in range(SHAPE[2]):
            data[:, z] = betas[:, z]
    other = NSDPaths(root / "nifti", 1)
    other.beta_folder.mkdir(parents=True)
    (root / "nifti/nsddata").symlink_to(root / "hdf5/nsddata")
    nibabel.openers.Opener.default_compresslevel = 1
    nibabel.save(nibabel.Nifti1Image(betas.T, affine), other.session(1, "nii.gz"))
    for session in range(2, 41):
        paths.session(session, "hdf5").symlink_to(paths.session(1, "hdf5"))


def write_images(root: Path) -> None:
    """A brick of smooth random images, each a gzip chunk of its own."""
    path = NSDPaths(root / "hdf5", 1).stimuli
    path.parent.mkdir(parents=True)
    rng = np.random.default_rng(0)
    with h5py.File(path, "w") as file:
        shape = (IMAGES, 425, 425, 3)
        data = file.create_dataset("imgBrick", shape, "uint8", chunks=(1, *shape[1:]), compression="gzip")
        for i in range(IMAGES):
            coarse = rng.integers(0, 256, (54, 54, 3)).repeat(8, 0).repeat(8, 1)[:425, :425]
            data[i] = np.clip(coarse + rng.integers(-3, 4, coarse.shape), 0, 255)


def ours_hdf5(root: Path) -> np.ndarray:
    return read_nsd(root / "hdf5", 1, roi="V1", sessions=[1], maps=[]).values


def ours_nifti(root: Path) -> np.ndarray:
    return read_nsd(root / "nifti", 1, roi="V1", sessions=[1], maps=[]).values


def peer(root: Path) -> np.ndarray:
    paths = NSDPaths(root / "nifti", 1)
    mask = nibabel.load(paths.roi("Kastner2015")).get_fdata() > 0
    return nibabel.load(paths.session(1, "nii.gz")).get_fdata()[mask].T / 300


def extract(root: Path, sessions: int) -> None:
    out = root / f"extracted{sessions}.h5"
    extract_nsd(root / "hdf5", out, 1, roi="nsdgeneral", sessions=range(1, sessions + 1), progress=False)
    out.unlink()


def module(root: Path) -> NSDDataModule:
    data = NSDDataModule(root / "hdf5", 1, "nsdgeneral")
    data.setup()
    return data


def steps(root: Path) -> np.ndarray:
    test = read_nsd_split(root / "hdf5", 1)
    trials = read_nsd(root / "hdf5", 1, roi="nsdgeneral").zscore_sessions(without=test)
    train = trials.average_repeats().split(test)[0].drop_invalid()
    return train.standardize(train).values


def limit(request: Request) -> np.ndarray:
    """A region's voxels of session 1 by HDF5's cheapest call, into one array, and converted."""
    raw = np.empty((len(request.voxels.index), TRIALS_PER_SESSION), dtype=np.int16)
    rows = raw.view(np.uint8)
    with h5py.File(request.files(1)[0]) as file:
        read = file["betas"].id.read_direct_chunk
        for row, place in zip(rows, request.voxels.index[:, ::-1].tolist()):
            read((0, *place), None, row)
    return raw.T.astype(np.float32) / np.float32(PSC_SCALE)


def regions(root: Path, repeats: int = 7) -> None:
    for name in ("V1", "nsdgeneral"):
        request = Request.plan(open_nsd(root / "hdf5"), 1, roi=name, sessions=[1], maps=[])
        np.testing.assert_array_equal(request.read(1), limit(request))
        ratios = []
        for _ in range(repeats):
            start = time.process_time()
            request.read(1)
            middle = time.process_time()
            limit(request)
            ratios.append((middle - start) / (time.process_time() - middle))
        print(f"a session of {name}: {np.median(ratios):.2f} of the time of read_direct_chunk alone (limit: 2)")


CALLS: dict[str, Callable[[Path], object]] = {
    "ours_hdf5": ours_hdf5,
    "ours_nifti": ours_nifti,
    "peer": peer,
    "extract4": lambda root: extract(root, 4),
    "extract40": lambda root: extract(root, 40),
    "module40": module,
    "steps40": steps,
}


def measure(root: Path, name: str) -> tuple[float, float]:
    """CPU seconds and MiB of a call, each the smaller of two processes (one for long calls)."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.benchmarks.nsd", "--root", str(root), "--call", name]
    runs = []
    for _ in range(1 if name in ("peer", "extract40", "module40", "steps40") else 2):
        seconds, growth = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-2:]
        runs.append((float(seconds), float(growth)))
    return min(r[0] for r in runs), min(r[1] for r in runs)


def call(root: Path, name: str) -> None:
    """What a measuring process does."""
    import scipy.io  # noqa: F401  imports are not what is measured

    def timed() -> None:
        before = time.process_time()
        CALLS[name](root)
        print(time.process_time() - before)

    print_growth(timed)


def stimuli(root: Path) -> None:
    brick = NSDImages(root / "hdf5")
    cache = cache_nsd_stimuli(
        root / "hdf5", root / "cache", image_size=IMAGE_SIZE, workers=os.cpu_count() or 1, progress=False
    )
    batches = np.random.default_rng(0).permutation(IMAGES).reshape(-1, BATCH)

    def rate(images: NSDImages | object) -> float:
        best = 0.0
        for _ in range(3):
            before = time.process_time()
            for rows in batches:
                images[rows]  # type: ignore[index]
            best = max(best, IMAGES / (time.process_time() - before))
        return best

    slow, fast = rate(brick), rate(cache)
    print(f"shuffled images per second of CPU: brick (425 px, gzip, not resized) {slow:,.0f}, cache ({IMAGE_SIZE} px) "
          f"{fast:,.0f}: {fast / slow:.0f}x (asked: 20x)")  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--call", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.call:
        call(args.root, args.call)
        return
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        write_tree(root)
        write_images(root)
        regions(root)
        assert np.abs(ours_hdf5(root) - peer(root)).max() < 1e-4, "the sides differ"
        np.testing.assert_array_equal(ours_hdf5(root), ours_nifti(root))
        results = {name: measure(root, name) for name in CALLS}
        for name, (seconds, growth) in results.items():
            print(f"{name:<12} {seconds:8.2f} s of CPU {growth:8.0f} MiB")
        (peer_s, peer_m), (h_s, h_m), (n_s, n_m) = (results[k] for k in ("peer", "ours_hdf5", "ours_nifti"))
        print(f"{ROI_VOXELS} voxels of a session, peer / ours: hdf5 time {peer_s / h_s:.0f}x (asked: 100x), memory "
              f"{peer_m / h_m:.0f}x (asked: 20x); nii.gz time {peer_s / n_s:.1f}x (asked: 3x), memory {peer_m / n_m:.0f}x "
              "(asked: 4x)")  # fmt: skip
        print(f"extracting nsdgeneral, {GENERAL_VOXELS} voxels: peak {results['extract4'][1]:.0f} MiB for 4 sessions, "
              f"{results['extract40'][1]:.0f} MiB for 40 (asked: under 1500)")  # fmt: skip
        (module_s, module_m), (steps_s, steps_m) = results["module40"], results["steps40"]
        print(f"nsdgeneral averaged, 40 sessions: {module_m:.0f} MiB (asked: under 1300; steps {steps_m:.0f}), "
              f"{steps_s / module_s:.1f}x faster than the steps (asked: 1.7x)")  # fmt: skip
        stimuli(root)


if __name__ == "__main__":
    main()
