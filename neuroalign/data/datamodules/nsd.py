"""The paper's neural data: from the files of NSD to batches, for one subject or several."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from neuroalign.addresses import redacted
from neuroalign.data.datamodules.base import BatchDataModule
from neuroalign.data.datamodules.cache_names import plain, short_hash, source_states
from neuroalign.data.datamodules.joined import JoinedResponses, columns_of_heads
from neuroalign.data.datamodules.responses import responses_dataset
from neuroalign.data.nsd.extraction import extract_request
from neuroalign.data.nsd.layout import NSDError, NSDPaths
from neuroalign.data.nsd.opening import Access, FormerAccess, open_nsd, with_present_names
from neuroalign.data.nsd.reader import Request
from neuroalign.data.nsd.regions import Region, named
from neuroalign.data.nsd.stimuli import NSDImages
from neuroalign.data.nsd.stimulus_cache import CachedImages, cache_nsd_stimuli
from neuroalign.data.nsd.tree import Tree
from neuroalign.data.nsd.trials import SPLITS
from neuroalign.data.responses import Responses, standardize_parts
from neuroalign.data.standardization import constant_columns
from neuroalign.types import unknown

_log = logging.getLogger(__name__)


class NSDDataModule(BatchDataModule):
    """The paper's neural data: regions of one subject or several, from the files of NSD to batches.

    Reads single trials, z-scores every voxel within each session (by the training images' trials), averages repeats, and
    z-scores with mean and standard deviation of the training images. Test images enter no statistic. Images are read from
    the brick, or from a cache, when a batch needs them, so under DDP every process reads its own part.

    With several subjects a batch has a row an image and all subjects' voxels side by side, NaN where a subject didn't see the
    image; losses and metrics leave those out, and ``columns`` tells whose is what.

    Args:
        root: The folder that holds ``nsddata``, ``nsddata_betas`` and ``nsddata_stimuli``, or a URL.
        subject: 1 to 8, or several.
        roi: A region or several, expressions as in :func:`neuroalign.read_nsd`, or a mapping that names them.
        betas: Version of the betas.
        space: A volume or surface space.
        sessions: 1-based session numbers; default all there are.
        split: The test images: "shared1000", "shared515", "algonauts2023", or rows of the image brick.
        zscore_sessions: Whether to z-score within sessions. The paper's script doesn't; NSD's authors do.
        pca_variance: Replace voxels by principal components that hold this share of the variance, fitted on training;
            voxels with missing averages are left out then.
        shuffle_seed: The control of wrong responses: give every image another's, by :meth:`Responses.shuffled`, in
            training only; validation stays right, so that its correlation tells what such a predictor knows.
        labels: By image (row of the brick) its category, for a classifier that the responses guide; batches then have
            ``label``. Every image must have one.
        image_size: Height and width to resize to; default that of the brick.
        cache: A folder for prepared responses and resized images: written once, by one process a machine, and memory-mapped
            by all. Default none: everything is read anew, and images are resized when they are needed.
        cache_workers: Processes that resize images for the cache.
        accept_terms: For a URL, that NSD's Data Access Agreement is accepted.
        access: For a URL, other options of :func:`neuroalign.data.open_nsd`, such as ``download_folder`` and ``confirm``.
        batch_size: Images a batch; the paper's is 200.
        num_workers: Loader processes.
        augment: On training batches.
        seed: Of the order and the augmentation.
        drop_last: Leave out an incomplete last training batch.

    Attributes:
        responses: By subject (training, validation) :class:`Responses`, once set up.
        columns: By head, such as "V4", or "subj01/V4" with several subjects, the columns of ``response`` that belong to it:
            what :class:`neuroalign.MeasuredGuidance` takes.

    Raises:
        FileNotFoundError: If files are missing (named).
        NSDError: If files are damaged or contradict each other.
        ValueError: If a region or split is unknown; the message lists near matches.
        PermissionError: If the root is a URL and NSD's terms were not accepted.

    Example:
        >>> import tempfile
        >>> from neuroalign.data import write_simulated_nsd
        >>> root = tempfile.mkdtemp()
        >>> _ = write_simulated_nsd(root, np.random.rand(500, 3, 8, 8), np.arange(500) % 10)
        >>> data = NSDDataModule(root, subject=1, roi=["V1", "V4"], batch_size=50)
        >>> next(iter(data.train_dataloader()))["response"].shape
        torch.Size([50, 160])
        >>> {name: len(columns) for name, columns in data.columns.items()}
        {'V1': 80, 'V4': 80}

    Source:
        Shao et al. 2024, arXiv 2405.02564; Allen et al. 2022, Nature Neuroscience.
    """

    responses: dict[int, tuple[Responses, Responses]]
    columns: dict[str, list[int]]

    def __init__(
        self,
        root: str | os.PathLike[str],
        subject: int | list[int] = 1,
        roi: str | list[str] | dict[str, str] = "V4",
        *,
        betas: str = "betas_fithrf_GLMdenoise_RR",
        space: str = "func1pt8mm",
        sessions: list[int] | None = None,
        split: str | list[int] = "shared1000",
        zscore_sessions: bool = True,
        pca_variance: float | None = None,
        shuffle_seed: int | None = None,
        labels: Mapping[int, int] | None = None,
        image_size: int | None = None,
        cache: str | os.PathLike[str] | None = None,
        cache_workers: int = 0,
        accept_terms: bool = False,
        access: Access | FormerAccess | None = None,
        batch_size: int = 200,
        num_workers: int = 0,
        augment: nn.Module | Callable[[Tensor], Tensor] | None = None,
        seed: int = 0,
        drop_last: bool = False,
    ) -> None:
        super().__init__(
            batch_size=batch_size, num_workers=num_workers, augment=augment, seed=seed, drop_last=drop_last
        )
        self.subjects = [subject] if isinstance(subject, (int, np.integer)) else [int(s) for s in subject]
        if not self.subjects or len(set(self.subjects)) != len(self.subjects):
            raise ValueError(f"subject is a number or several different ones; got {subject}")
        if isinstance(split, str) and split not in SPLITS:
            raise ValueError(unknown("split", split, SPLITS))
        if image_size is not None and image_size < 1:
            raise ValueError(f"image_size must be at least 1; got {image_size}")
        self.labels = labels
        self.root, self.roi, self.betas, self.space, self.sessions = root, roi, betas, space, sessions
        self.split, self.zscore_sessions, self.pca_variance = split, zscore_sessions, pca_variance
        self.shuffle_seed, self.image_size = shuffle_seed, image_size
        self.cache = None if cache is None else Path(cache)
        self.cache_workers = cache_workers
        self.access: Access = {**with_present_names(access or {}), "accept_terms": accept_terms}
        self._opened: Tree | None = None
        self._states: dict[int, list[Any]] = {}

    @property
    def num_voxels(self) -> int:
        """V, of all subjects together, known once set up."""
        self.setup()
        return sum(train.num_voxels for train, _ in self.responses.values())

    @property
    def train_responses(self) -> Responses:
        """To the training images, of the one subject, once set up."""
        return self._only()[0]

    @property
    def val_responses(self) -> Responses:
        """To the test images, of the one subject, once set up."""
        return self._only()[1]

    def _only(self) -> tuple[Responses, Responses]:
        if len(self.subjects) > 1:
            raise ValueError(f"there are several subjects: look into responses, which holds {self.subjects}")
        return self.responses[self.subjects[0]]

    def prepare_data(self) -> None:
        """Fill the cache, where there is one; Lightning calls this in one process a machine."""
        if self.cache is None:
            return
        shown = self._shown({subject: self._prepared_parts(subject) for subject in self.subjects})
        cache_nsd_stimuli(
            self._tree(), self._image_cache(), image_size=self.image_size, rows=shown, workers=self.cache_workers
        )

    def _prepared_parts(self, subject: int) -> Sequence[Responses]:
        """Prepared responses from the cache; what is missing there, or damaged, is made."""
        assert self.cache is not None
        paths = self._prepared(subject)
        try:
            return [Responses.load(path) for path in paths]
        except FileNotFoundError:
            pass
        except ValueError as error:
            _log.warning("%s: making it again", error)
        trials = self.cache / f"subj{subject:02d}-{self._key(subject, reading=True)}.h5"
        request = self._request(subject)
        try:
            extract_request(request, trials, overwrite=True)
        except FileExistsError as error:  # damaged beyond recognition, in a folder of ours
            _log.warning("%s: making it again", error)
            trials.unlink()
            extract_request(request, trials)
        parts = self._prepare(Responses.load(trials), self._test_images(request))
        for path, part in zip(paths, parts):
            part.save(path)
        return parts

    def setup(self, stage: str | None = None) -> None:
        """Read and prepare, or map what was prepared, once."""
        if self.datasets:
            return
        images: Any
        if self.cache is None:
            self.responses = {s: self._read(s) for s in self.subjects}
            images = NSDImages(self._tree())
        else:
            prepared = [path for subject in self.subjects for path in self._prepared(subject)]
            if not all(path.exists() for path in [*prepared, self._image_cache() / "index.json"]):
                self.prepare_data()
            try:
                self.responses = {
                    s: tuple(Responses.load(path, mapped=True) for path in self._prepared(s))  # type: ignore[misc]
                    for s in self.subjects
                }
            except ValueError as error:
                raise NSDError(
                    f"the cache is damaged: {error}. Remove {self.cache} and it will be made again"
                ) from error
            images = CachedImages(self._image_cache())
        self.columns = columns_of_heads({s: self.responses[s][0].roi for s in self.subjects})
        for place, name in enumerate(("train", "val")):
            parts = [self.responses[s][place] for s in self.subjects]
            size = self.image_size  # a no-op on cached images
            stimulus = np.unique(np.concatenate([part.stimulus for part in parts]))
            columns = {} if self.labels is None else {"label": self._labels_of(stimulus)}
            self.datasets[name] = (
                responses_dataset(images, parts[0], size, **columns)
                if len(parts) == 1
                else JoinedResponses(images, parts, size, **columns)
            )

    def _labels_of(self, stimulus: np.ndarray) -> Tensor:
        assert self.labels is not None
        missing = [s for s in stimulus.tolist() if s not in self.labels]
        if missing:
            raise ValueError(f"{len(missing)} of {len(stimulus)} images have no label, image {missing[0]} for one")
        return torch.tensor([int(self.labels[s]) for s in stimulus.tolist()])

    def _read(self, subject: int) -> tuple[Responses, Responses]:
        request = self._request(subject)
        return self._prepare(request.read_all(), self._test_images(request))

    def _test_images(self, request: Request) -> Sequence[int] | np.ndarray:
        return request.split(self.split) if isinstance(self.split, str) else self.split

    def _prepare(self, responses: Responses, test: Sequence[int] | np.ndarray) -> tuple[Responses, Responses]:
        if self.zscore_sessions:
            responses = responses.zscore_sessions(without=test)
        train, val = responses.average_repeats().split(test)
        kept = ~constant_columns(train.values)  # nothing can be learned from a voxel that doesn't vary in training
        train, val = train.select(voxels=kept), val.select(voxels=kept)
        if self.pca_variance is not None:
            whole = np.isfinite(train.values).all(0) & np.isfinite(val.values).all(0)
            train, val = train.select(voxels=whole), val.select(voxels=whole)
            val, train = val.pca(self.pca_variance, reference=train), train.pca(self.pca_variance)
        train, val = standardize_parts(train, val, reference=train)
        return (train if self.shuffle_seed is None else train.shuffled(self.shuffle_seed)), val

    def _tree(self) -> Tree:
        if self._opened is None:  # once: behind a URL every new one would ask the server again what there is
            self._opened = open_nsd(self.root, **self.access)
        return self._opened

    @functools.cached_property
    def _regions(self) -> dict[str, Region]:
        return named(self.roi)

    def _request(self, subject: int) -> Request:
        return Request.plan(self._tree(), subject, regions=self._regions, **self._reading())

    def _reading(self) -> dict[str, Any]:
        return {"roi": self.roi, "betas": self.betas, "space": self.space, "sessions": self.sessions}

    def _key(self, subject: int, *, reading: bool = False) -> str:
        """A name for what was asked for: other options, or changed sources, are other files of the cache."""
        options: dict[str, Any] = {"root": redacted(str(self.root)), **self._reading(), "roi": plain(self.roi)}
        options["sources"] = self._sources(subject)
        if not reading:
            split = self.split if isinstance(self.split, str) else sorted(map(int, self.split))
            options |= {"split": split, "zscore": self.zscore_sessions, "pca": self.pca_variance}
            options |= {"shuffle": self.shuffle_seed, "repeats": "valid"}  # files with ceilings by rows are made again
        return short_hash(options)

    def _sources(self, subject: int) -> list[Any]:
        """What tells this subject's files from changed ones; looked at once."""
        if subject not in self._states:
            tree = self._tree()
            paths = NSDPaths(tree.root, subject, self.betas, self.space)
            self._states[subject] = source_states(tree, paths, self._regions)
        return self._states[subject]

    def _prepared(self, subject: int) -> list[Path]:
        assert self.cache is not None
        return [self.cache / f"subj{subject:02d}-{self._key(subject)}-{part}.h5" for part in ("train", "val")]

    def _image_cache(self) -> Path:
        assert self.cache is not None
        keys = "".join(self._key(subject, reading=True) for subject in self.subjects)
        subjects = "-".join(map(str, self.subjects))
        return (
            self.cache
            / f"stimuli-{self.image_size or 'full'}-{subjects}-{hashlib.sha256(keys.encode()).hexdigest()[:12]}"
        )

    def _shown(self, responses: Mapping[int, Sequence[Responses]]) -> np.ndarray:
        return np.unique(np.concatenate([part.stimulus for parts in responses.values() for part in parts]))
