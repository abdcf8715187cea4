"""The responses of a study: a simulated subject, the images that subjects saw, and their responses to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from neuroalign.files import check_source
from neuroalign.study.stages.picture_files import Pictures, resized
from neuroalign.study.stages.recordings import image_names, read_region
from neuroalign.study.stages.result_files import read_tensors, write_json, write_tensors
from neuroalign.study.work import Work

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from neuroalign.data import Responses

__all__: list[str] = []

VERSION = 1

# NSD's own option names, where a simulated subject has none: it was written with the defaults.
_NSD = {
    "betas": "betas_fithrf_GLMdenoise_RR",
    "space": "func1pt8mm",
    "sessions": None,
    "split": "shared1000",
    "zscore_sessions": True,
    "pca_variance": None,
}


class Stimuli(NamedTuple):
    """Images that a subject saw.

    Args:
        images: (stimulus, channel, height, width) uint8.
        stimulus: (stimulus,) int64, increasing: the numbers that the responses have for them.
    """

    images: Tensor
    stimulus: Tensor

    def places(self, stimulus: np.ndarray) -> np.ndarray:
        """Rows of ``images`` (stimulus,) of some stimuli, in their order.

        Raises:
            ValueError: If there is no image of one.
        """
        import numpy as np

        known = self.stimulus.numpy()
        rows = np.searchsorted(known, stimulus).clip(max=len(known) - 1)
        missing = np.asarray(stimulus)[known[rows] != stimulus]
        if len(missing):
            raise ValueError(
                f"there are responses to {len(missing)} stimuli without an image, such as number {missing[0]}"
            )
        return rows

    def of(self, stimulus: np.ndarray) -> Tensor:
        """The images of some stimuli, in their order.

        Raises:
            ValueError: If there is no image of one.
        """
        return self.images[self.places(stimulus)]


def make_subject(work: Work) -> None:
    """Make a simulated subject: see :func:`neuroalign.study.stages.simulated.make_subject`."""
    from neuroalign.study.stages import simulated

    simulated.make_subject(work)


def make_stimuli(work: Work) -> None:
    """Write the images that a subject saw, ``stimuli.safetensors``: see :func:`read_stimuli`."""
    import torch

    settings = work.settings
    work.report("reading images", 0.0)
    if settings["source"] in ("simulated", "nsd"):
        root, subject = _nsd_of(work)
        images, stimulus = _seen(root, subject, settings)
    else:
        pictures, names = image_names(settings, work.sources)
        images = pictures.read(names, settings["image_size"], settings.get("crop"))
        stimulus = torch.arange(len(images))
    write_tensors(work.out / "stimuli.safetensors", {"image": images, "stimulus": stimulus})


def read_stimuli(folder: Path) -> Stimuli:
    """Read the images of :func:`make_stimuli`.

    Raises:
        FileNotFoundError: If there is no such result.
        DamagedFileError: If it is damaged.
    """
    found = read_tensors(folder / "stimuli.safetensors", "stimuli")
    return Stimuli(found["image"], found["stimulus"])


def make_responses(work: Work) -> None:
    """Write a region's responses: ``responses.h5`` and ``responses.json``, or ``rdm.safetensors``.

    Responses are averaged over repeats, z-scored within sessions where that is asked for, and not yet standardised;
    ``shared`` marks the stimuli for validation.
    """
    settings = work.settings
    work.report("reading responses", 0.0)
    if settings["source"] == "rdms":
        return _make_rdm(work)
    if settings["source"] == "recording":
        responses, ceiling_from = read_region(settings, work.sources)
    else:
        responses, ceiling_from = _read_nsd(work)
    responses.save(work.out / "responses.h5")
    about = {
        "subject": settings["subject"],
        "region": settings["region"],
        "num_voxels": responses.num_voxels,
        "num_stimuli": len(responses),
        "num_val": int(responses.shared.sum()),
        "noise_ceiling_from": ceiling_from,
    }
    write_json(work.out / "responses.json", about)
    return None


def read_responses(folder: Path) -> Responses:
    """Read the responses of :func:`make_responses`.

    Raises:
        FileNotFoundError: If there is no such result.
    """
    from neuroalign.data import Responses

    return Responses.load(folder / "responses.h5")


def read_rdm(folder: Path) -> Tensor:
    """Read the dissimilarities (stimulus, stimulus) of :func:`make_responses`, float32.

    Raises:
        FileNotFoundError: If there is no such result.
    """
    return read_tensors(folder / "rdm.safetensors", "dissimilarities")["rdm"]


def _nsd_of(work: Work) -> tuple[str, int]:
    """Root of a subject's files in the layout of NSD, and the subject's number."""
    if work.settings["source"] == "simulated":
        return str(work.inputs["subject"] / "nsd"), 1
    return work.sources["root"], int(work.settings["subject"].removeprefix("subj"))


def _seen(root: str, subject: int, settings: Mapping[str, Any]) -> tuple[Tensor, Tensor]:
    """All images that a subject saw in the sessions of a study, and their rows in the stimulus set."""
    import numpy as np
    import torch

    from neuroalign.data.nsd.opening import open_nsd
    from neuroalign.data.nsd.stimuli import NSDImages

    tree = open_nsd(root)
    stimulus = _stimuli_of(tree, subject, settings)
    images, size = NSDImages(tree), settings.get("image_size")
    parts = [
        resized(torch.from_numpy(images[rows]).permute(0, 3, 1, 2).contiguous(), size)
        for rows in np.array_split(stimulus, max(1, len(stimulus) // 256))
    ]
    return torch.cat(parts), torch.from_numpy(stimulus)


def _stimuli_of(tree: Any, subject: int, settings: Mapping[str, Any]) -> np.ndarray:
    import numpy as np

    from neuroalign.data.nsd.reader import Request

    given = {**_NSD, **settings}
    wanted = {name: given[name] for name in ("betas", "space", "sessions")}
    request = Request.plan(tree, subject, roi="nsdgeneral", behaviour=False, maps=[], **wanted)
    stimulus: np.ndarray = np.unique(request.labels().stimulus)
    return stimulus


def _read_nsd(work: Work) -> tuple[Responses, str]:
    import numpy as np

    from neuroalign.data import read_nsd, read_nsd_split

    settings = {**_NSD, **work.settings}
    root, subject = _nsd_of(work)
    wanted = {name: settings[name] for name in ("betas", "space", "sessions")}
    trials = read_nsd(root, subject, roi=settings["region"], behaviour=False, **wanted)
    held_out = read_nsd_split(root, subject, settings["split"])
    if settings["zscore_sessions"]:
        trials = trials.zscore_sessions(without=held_out)
    responses = trials.average_repeats()
    responses = replace(responses, shared=np.isin(responses.stimulus, held_out))
    ceiling_from = "NSD's ncsnr" if responses.noise_ceiling is not None else ""
    if settings["pca_variance"] is not None:
        whole = responses.select(voxels=np.isfinite(responses.values).all(0))
        return whole.pca(settings["pca_variance"], reference=whole.split_shared()[0]), ""
    return responses, ceiling_from


def _make_rdm(work: Work) -> None:
    import torch

    settings = work.settings
    rdm = torch.from_numpy(_mean_rdm(check_source(work.sources["file"], "dissimilarities"), settings))
    num_images = len(Pictures(work.sources["images"]).names)
    if len(rdm) != num_images:
        raise ValueError(
            f"{work.sources['file']} has dissimilarities of {len(rdm)} stimuli, but {work.sources['images']} holds "
            f"{num_images} images: they must be the same, in the same order"
        )
    write_tensors(work.out / "rdm.safetensors", {"rdm": rdm})
    about = {"subject": settings["subject"], "region": settings["region"], "num_stimuli": len(rdm)}
    write_json(work.out / "responses.json", about)


def _mean_rdm(path: Path, settings: Mapping[str, Any]) -> np.ndarray:
    """Dissimilarities (stimulus, stimulus) float32, averaged over subjects."""
    import numpy as np
    from scipy.spatial.distance import squareform

    from neuroalign.data.array_files import load_member, load_numpy
    from neuroalign.study.settings.base import near_match

    key = settings["arrays"][settings["region"]]
    file = load_numpy(path)
    if isinstance(file, np.ndarray):
        raise ValueError(f"{path} is one array: dissimilarities are read from .npz files with an array for each region")
    with file:
        if key not in file.files:
            raise ValueError(
                f"{path} has no array {key!r}{near_match(key, file.files)}; it has {', '.join(file.files)}"
            )
        values = load_member(path, file, key).astype(np.float64)
    square = values.ndim >= 2 and values.shape[-1] == values.shape[-2]
    mean = values.mean(axis=tuple(range(values.ndim - (2 if square else 1))))
    if not np.isfinite(mean).all():
        raise ValueError(f"{path}: the array {key!r} has missing or infinite dissimilarities")
    if not square:
        try:
            return squareform(mean).astype(np.float32)
        except ValueError:
            raise ValueError(
                f"{path}: the array {key!r} of shape {values.shape} holds neither (stimulus, stimulus) nor the n(n-1)/2 "
                "dissimilarities above the diagonal, with subjects as first axis"
            ) from None
    if not np.allclose(mean, mean.T) or np.abs(np.diag(mean)).max() > 1e-6 * max(1e-12, np.abs(mean).max()):
        raise ValueError(
            f"{path}: the array {key!r} is not symmetric with zeros on the diagonal, as dissimilarities are"
        )
    return mean.astype(np.float32)
