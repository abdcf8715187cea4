"""Real recordings in one container: macaque V4 and human visual cortex.

Two of the three are predicted from images.

NEUROALIGN_DATA=DIR python examples/recordings.py

(or --data DIR; --out FOLDER for maps and figures)

DIR holds v4_cowley2023 (macaque V4 and the images shown; Cowley et al. 2023), digits69
(human early visual cortex and the handwritten digits shown; van Gerven et al. 2010) and
haxby_slice (one slice of Haxby et al. 2001). None is part of this project. About half a
minute on a CPU.
"""

from __future__ import annotations

import argparse
import io
import os
import re
import sys
import zipfile
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from neuroalign import RidgePredictor
from neuroalign.data import (
    Responses,
    ResponsesDataModule,
    from_axes,
    read_nifti,
    read_recording,
    save_map,
)
from neuroalign.files import write_png
from neuroalign.functional import pearson
from neuroalign.models import VisualFeatures
from neuroalign.plot import plot_volume


def unzip(path: Path) -> np.ndarray:
    """Images of a zip file, (image, height, width, 3) uint8, ordered by name."""
    with zipfile.ZipFile(path) as archive:
        names = [n for n in archive.namelist() if re.search(r"\.jpe?g$|\.png$", n)]
        files = [io.BytesIO(archive.read(name)) for name in sorted(names)]
    return np.stack([np.asarray(Image.open(file).convert("RGB")) for file in files])


def held_out(
    images: np.ndarray, responses: Responses, features: torch.nn.Module
) -> torch.Tensor:
    """Correlation (voxel,) of a ridge prediction with held-out responses."""
    data = ResponsesDataModule(images, responses, val_fraction=0.2, batch_size=10_000)
    (train,), (val,) = list(data.train_dataloader()), list(data.val_dataloader())
    predictor = RidgePredictor(features, data.num_voxels)
    predictor.fit(train["image"], train["response"])
    return pearson(predictor(val["image"]), val["response"])


def report(name: str, r: torch.Tensor, shuffled: torch.Tensor) -> None:
    """Print how well held-out responses are predicted, and by a shuffled fit."""
    print(
        f"{name}: median r {r.nanquantile(0.5):.2f} over {len(r)} "
        f"(best tenth {r.nanquantile(0.9):.2f}); "
        f"fitted to shuffled responses {shuffled.nanquantile(0.5):.2f}"
    )


def macaque_v4(folder: Path) -> None:
    """Utah-array spike counts: averages, and another session with all repeats."""
    averages = read_recording(
        folder / "avg_201025.npy", axes="voxel stimulus", roi="V4", averaged=True
    )
    features = VisualFeatures(image_size=32)
    images = unzip(folder / "images_201025.zip")
    report(
        "macaque V4",
        held_out(images, averages, features),
        held_out(images, averages.shuffled(0), features),
    )
    repeats = read_recording(
        folder / "raw_210325.npy", axes="voxel stimulus repeat", roi="V4"
    )
    ceiling = repeats.estimate_noise_ceiling().average_repeats().noise_ceiling
    print(
        f"  another session, {repeats}: {np.median(ceiling):.2f} of the averages' "
        "variance is signal (median neuron)"
    )


def human_digits(folder: Path) -> None:
    """Early visual cortex of one subject: voxels by digits, one row per digit."""
    with np.load(folder / "digits69.npz") as file:
        images = np.repeat(file["images"][..., None], 3, axis=-1)
        recorded = file["responses"]
    responses = from_axes(recorded, "voxel stimulus", roi="early visual cortex")
    features = VisualFeatures(image_size=28, color=False, second_order=False)
    report(
        "human early visual cortex",
        held_out(images, responses, features),
        held_out(images, responses.shuffled(0), features),
    )


def human_slice(folder: Path, out: Path | None) -> None:
    """Eight categories, twelve fMRI runs: how well profiles of voxels repeat."""
    label, run = np.loadtxt(folder / "attributes.txt", dtype=int).T
    volumes = read_nifti(
        folder / "bold.nii.gz", folder / "mask.nii.gz", stimulus=label, session=run + 1
    )
    shown = volumes.rows(label > 0).zscore_sessions()
    odd = shown.rows(shown.session % 2 == 1).average_repeats().values
    even = shown.rows(shown.session % 2 == 0).average_repeats().values
    r = pearson(torch.from_numpy(odd), torch.from_numpy(even))
    print(
        f"human slice, {shown}: profiles over categories in odd and even fMRI runs "
        f"correlate by {r.nanquantile(0.5):.2f} (median voxel), "
        f"{r.nanquantile(0.9):.2f} (best tenth)"
    )
    if out is not None:
        (path,) = save_map(shown, r, out / "haxby_reliability.nii.gz")
        figure = plot_volume(
            path,
            title="Haxby et al. 2001, one slice: do responses to 8 categories repeat?",
            unit="split-half correlation r",
        )
        write_png(figure, out / "haxby_reliability.png")
        print(f"  map and figure in {out}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--data", type=Path, default=os.environ.get("NEUROALIGN_DATA") or None
    )
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    if args.data is None or not args.data.is_dir():
        parser.error("the folder of recordings is needed: --data or NEUROALIGN_DATA")
    sets = {
        "v4_cowley2023": macaque_v4,
        "digits69": human_digits,
        "haxby_slice": lambda folder: human_slice(folder, args.out),
    }
    for name, show in sets.items():
        if (args.data / name).is_dir():
            show(args.data / name)
        else:
            print(f"{name} is not in {args.data}: skipped", file=sys.stderr)


if __name__ == "__main__":
    main()
