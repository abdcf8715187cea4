"""The paper's neural data: batches from the files of NSD, for one subject or several."""

from __future__ import annotations

import functools
import hashlib
import logging
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from neuroalign.data.datamodules.standardized import keep_voxels, standardize_parts
from neuroalign.data.nsd.extraction import extract_request
from neuroalign.data.nsd.layout import NSDError, NSDPaths
from neuroalign.data.nsd.opening import Access, FormerAccess, open_nsd, with_present_names
from neuroalign.data.nsd.reader import Request
from neuroalign.data.nsd.regions import Region, named
from neuroalign.data.nsd.stimuli import NSDImages
from neuroalign.data.nsd.stimulus_cache import CachedImages, cache_nsd_stimuli
from neuroalign.data.nsd.tree import Tree
from neuroalign.data.nsd.trials import SPLITS
from neuroalign.data.responses import Responses
from neuroalign.data.responses_file import stored_sessions
from neuroalign.data.standardization import constant_columns
from neuroalign.data.streaming import averages_of_sessions
from neuroalign.types import unknown

__all__ = ["NSDDataModule"]

_log = logging.getLogger(__name__)


class NSDDataModule(BatchDataModule):
    """The paper's neural data: batches of images and responses of one subject or several, from the files of NSD.

    The module reads single trials, z-scores every voxel within each session (with statistics of the training images'
    trials), averages repeats, and z-scores with the mean and standard deviation of the training images. Test images enter no
    statistic. One session's trials are in memory at a time. Images are read from the stimulus set, or from a cache, when a
    batch needs them, so under DDP every process reads its own part.

    With several subjects a batch has one row per image, with all subjects' voxels side by side, and NaN for a subject that
    didn't see the image. Losses and metrics leave out NaN, and ``columns`` names the columns of each subject and region.

    Args:
        root: The folder that holds ``nsddata``, ``nsddata_betas`` and ``nsddata_stimuli``, or a URL.
        subject: 1 to 8, or several.
        roi: A region or several, expressions as in :func:`neuroalign.read_nsd`, or a mapping from names to them.
        betas: Version of the betas.
        space: A volume or surface space.
        sessions: 1-based session numbers; None means all that are there.
        split: The test images: "shared1000", "shared515", "algonauts2023", or rows of the stimulus set.
        zscore_sessions: Whether to z-score within sessions. The paper's script doesn't; NSD's authors do.
        pca_variance: Replace voxels by the principal components that hold this share of the variance, fitted on training
            images; voxels with missing averages are then left out. None keeps voxels.
        shuffle_seed: Seed of the control of wrong responses: in training every image gets the responses of another one, by
            :meth:`Responses.shuffled`. Validation keeps the right responses, so its correlation shows what a predictor
            learns without them. None keeps the right responses.
        labels: The category of each image by its row in the stimulus set, for a classifier that the responses guide;
            batches then have ``label``. Every image needs one. None means no labels.
        image_size: Height and width in pixels to resize to; None means those of the stimulus set.
        cache: A folder for prepared responses and resized images. One process per machine writes them once, and all processes
            memory-map them. None means no cache: everything is read again, and images are resized when they are needed.
        cache_workers: Number of processes that resize images for the cache; 0 resizes in this one.
        accept_terms: For a URL, whether you accept NSD's Data Access Agreement.
        access: For a URL, other options of :func:`neuroalign.data.open_nsd`, such as ``download_folder`` and ``confirm``.
        batch_size: Images per batch; the paper's is 200.
        num_workers: Number of loader processes.
        augment: Augmentation of training batches; None means none.
        seed: Seed of the order and of the augmentation.
        drop_last: Whether to leave out an incomplete last training batch.

    Attributes:
        responses: By subject, the (training, validation) :class:`Responses`; available after ``setup``.
        columns: By head, such as "V4", or "subj01/V4" with several subjects, the columns of ``response`` that belong to it,
            as :class:`neuroalign.MeasuredGuidance` takes them; available after ``setup``.

    Raises:
        FileNotFoundError: If a file is missing; the message names it.
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
        """Number of voxels of all subjects together; reads the data if necessary."""
        self.setup()
        return sum(train.num_voxels for train, _ in self.responses.values())

    @property
    def train_responses(self) -> Responses:
        """Responses of the only subject to the training images, after ``setup``."""
        return self._only()[0]

    @property
    def val_responses(self) -> Responses:
        """Responses of the only subject to the test images, after ``setup``."""
        return self._only()[1]

    def _only(self) -> tuple[Responses, Responses]:
        if len(self.subjects) > 1:
            raise ValueError(f"there are several subjects: look into responses, which holds {self.subjects}")
        return self.responses[self.subjects[0]]

    def prepare_data(self) -> None:
        """Fill the cache, if there is one. Lightning calls this in one process per machine."""
        if self.cache is None:
            return
        shown = self._shown({subject: self._prepared_parts(subject) for subject in self.subjects})
        cache_nsd_stimuli(
            self._tree(), self._image_cache(), image_size=self.image_size, rows=shown, workers=self.cache_workers
        )

    def _prepared_parts(self, subject: int) -> Sequence[Responses]:
        """Prepared responses from the cache; those that are missing or damaged are made again."""
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
        except FileExistsError as error:  # the damaged file is not recognised as ours, but lies in our folder
            _log.warning("%s: making it again", error)
            trials.unlink()
            extract_request(request, trials)
        stored = Responses.load(trials, mapped=True)
        parts = self._prepare(stored, stored_sessions(trials, stored.session), self._test_images(request))
        for path, part in zip(paths, parts):
            part.save(path)
        return parts

    def setup(self, stage: str | None = None) -> None:
        """Read and prepare the responses, or map those of the cache; done once."""
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
            size = self.image_size  # cached images have this size already
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
        return self._prepare(request.labels(), request.read_each(), self._test_images(request))

    def _test_images(self, request: Request) -> Sequence[int] | np.ndarray:
        return request.split(self.split) if isinstance(self.split, str) else self.split

    def _prepare(
        self, trials: Responses, sessions: Iterable[np.ndarray], test: Sequence[int] | np.ndarray
    ) -> tuple[Responses, Responses]:
        train, val = averages_of_sessions(trials, sessions, test=test, zscore=self.zscore_sessions)
        kept = ~constant_columns(train.values)  # nothing can be learned from a voxel that doesn't vary in training
        train, val = keep_voxels(train, kept), keep_voxels(val, kept)
        if self.pca_variance is not None:
            whole = np.isfinite(train.values).all(0) & np.isfinite(val.values).all(0)
            train, val = train.select(voxels=whole), val.select(voxels=whole)
            val, train = val.pca(self.pca_variance, reference=train), train.pca(self.pca_variance)
        train, val = standardize_parts(train, val, reference=train, in_place=True)
        return (train if self.shuffle_seed is None else train.shuffled(self.shuffle_seed)), val

    def _tree(self) -> Tree:
        if self._opened is None:  # opened once: a second one would ask the server for the same listings again
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
        """A name for the cache files of these options and source files; other options or changed files get another name."""
        options: dict[str, Any] = {"root": redacted(str(self.root)), **self._reading(), "roi": plain(self.roi)}
        options["sources"] = self._sources(subject)
        if not reading:
            split = self.split if isinstance(self.split, str) else sorted(map(int, self.split))
            options |= {"split": split, "zscore": self.zscore_sessions, "pca": self.pca_variance}
            # "repeats" gives files of older versions, whose ceilings ignored missing trials, another name.
            options |= {"shuffle": self.shuffle_seed, "repeats": "valid"}
        return short_hash(options)

    def _sources(self, subject: int) -> list[Any]:
        """The subject's files, each with the values that differ once it has changed; looked up once."""
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
