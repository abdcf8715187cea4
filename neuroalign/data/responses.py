"""The container of recorded responses, and what is done to them before a network sees them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from neuroalign.data.assemblies import make_assembly, read_assembly
from neuroalign.data.components import on_components, principal_components
from neuroalign.data.fields import as_places, recorded_fields
from neuroalign.data.repeats import average_rows, ceiling_with_noise, mean_inverse
from neuroalign.data.responses_checks import check_fields, check_same_voxels, convert_fields, refuse_again
from neuroalign.data.responses_file import damage_named, load_fields, save_fields
from neuroalign.data.selection import exchange_within, in_regions, stimulus_numbers
from neuroalign.data.standardization import constant_columns, in_standard_deviations, moments, zscore, zscore_within
from neuroalign.functional import noise_ceiling_of_trials

_ROW_FIELDS = ("values", "stimulus", "session", "shared", "repeats")
_VOXEL_FIELDS = ("roi", "noise_ceiling", "voxel_index", "vertex_index")


@dataclass(frozen=True, eq=False)
class Responses:
    """Responses of voxels (or neurons) to stimuli: a row a trial, or a row a stimulus once averaged.

    Every method returns a new container. The usual way, in this order::

        trials = read_nsd(root, subject=1, roi="V4")
        held_out = np.unique(trials.stimulus[trials.shared])
        train, validation = trials.zscore_sessions(without=held_out).average_repeats().split_shared()
        train, validation = train.standardize(train), validation.standardize(train)

    so that no trial of a held-out image enters a statistic by which training rows are scaled.

    Attributes:
        values: (trial, voxel) float32, NaN where missing.
        stimulus: (trial,) int64, the image's identity; for NSD the 0-based row of the image brick (``nsdId``).
        session: (trial,) int64, 1-based; -1 where trials of several sessions were averaged.
        roi: (voxel,) str, the region of each voxel.
        noise_ceiling: (voxel,) float32 in [0, 1] of rows as they stand (a single trial's, or the average's), or None. May
            be negative where it was estimated so, unclamped.
        shared: (trial,) bool, whether the image was shown to every subject.
        voxel_index: (voxel, 3) int64, place in the volume (x, y, z), or None.
        repeats: (trial,) int64, how many trials a row is the mean of, missing values counted.
        vertex_index: (voxel, 2) int64, hemisphere (0 left, 1 right) and vertex of a surface, or None.
        behaviour: By name (trial,) float32: what the subject did, NaN where it did nothing.
        maps: By name (voxel,) float32: what else is known of each voxel, such as "R2".
        info: Where the responses come from; plain values that JSON can hold. For a volume ``shape`` and ``affine``; where
            stimuli have names, these under ``stimulus_id``, in the order of their numbers.
        valid_repeats: (trial, voxel) integers, how many trials each value is the mean of, or None where that is ``repeats``
            in every voxel: averages of trials that hold missing values have it.
        history: What was done already, "zscore_sessions" or "average_repeats", and is refused a second time.

    Raises:
        TypeError: If values are no real numbers, or identities are names.
        ValueError: If the fields don't fit together, a noise ceiling is above 1, or a row is the mean of no trial.

    Example:
        >>> responses = Responses.from_arrays(np.random.randn(6, 4), stimulus=[0, 0, 1, 1, 2, 2])
        >>> responses.average_repeats()
        Responses(3 rows, 4 voxels, 3 stimuli, roi: unknown)
    """

    values: np.ndarray
    stimulus: np.ndarray
    session: np.ndarray
    roi: np.ndarray
    noise_ceiling: np.ndarray | None
    shared: np.ndarray
    voxel_index: np.ndarray | None
    repeats: np.ndarray
    vertex_index: np.ndarray | None = None
    behaviour: Mapping[str, np.ndarray] = field(default_factory=dict)
    maps: Mapping[str, np.ndarray] = field(default_factory=dict)
    info: Mapping[str, Any] = field(default_factory=dict)
    history: tuple[str, ...] = ()
    valid_repeats: np.ndarray | None = None

    @classmethod
    def from_arrays(
        cls,
        values: np.ndarray | torch.Tensor,
        *,
        stimulus: Sequence[int] | np.ndarray | None = None,
        session: Sequence[int] | np.ndarray | None = None,
        roi: Sequence[str] | str = "unknown",
        noise_ceiling: Sequence[float] | np.ndarray | None = None,
        shared: Sequence[bool] | np.ndarray | None = None,
        voxel_index: np.ndarray | None = None,
        info: Mapping[str, Any] | None = None,
        history: Sequence[str] = (),
    ) -> Responses:
        """Any recording: values (trial, voxel), with what is known about its rows and columns.

        Args:
            values: (trial, voxel).
            stimulus: (trial,), default each row its own stimulus, 0, 1, 2, ...
            session: (trial,), default one session.
            roi: Region of each voxel, or of all.
            noise_ceiling: (voxel,) in [0, 1], of rows as they stand.
            shared: (trial,), default none.
            voxel_index: (voxel, 3).
            info: Where they come from.
            history: "average_repeats" if rows are averages already, "zscore_sessions" if they were z-scored.

        Raises:
            TypeError: If values are no real numbers, or stimuli are names: number them first, as the message says.
            ValueError: If lengths don't fit together, nothing was recorded, a value is infinite, a stimulus or session is no
                whole number, or a ceiling is above 1.
        """
        fields = recorded_fields(
            values,
            stimulus=stimulus,
            session=session,
            roi=roi,
            noise_ceiling=noise_ceiling,
            shared=shared,
            voxel_index=voxel_index,
        )
        return cls(**fields, info=dict(info or {}), history=tuple(history))

    def __post_init__(self) -> None:
        convert_fields(self)
        check_fields(self)

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        rois = ", ".join(dict.fromkeys(map(str, self.roi)))
        rois = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in rois)  # a file's names may command a terminal
        stimuli = len(np.unique(self.stimulus))
        return f"Responses({len(self)} rows, {self.num_voxels} voxels, {stimuli} stimuli, roi: {rois})"

    @property
    def num_voxels(self) -> int:
        """V."""
        return self.values.shape[1]

    def rows(self, index: np.ndarray) -> Responses:
        """Some rows, by index or mask. The noise ceiling of averages becomes that of these rows' repeats."""
        valid = None if self.valid_repeats is None else self.valid_repeats[index]
        return replace(
            self,
            **{k: getattr(self, k)[index] for k in _ROW_FIELDS},
            noise_ceiling=self._averaged_ceiling(self.repeats[index], valid),
            valid_repeats=valid,
            behaviour={k: v[index] for k, v in self.behaviour.items()},
        )

    def select(self, *, roi: str | Sequence[str] | None = None, voxels: np.ndarray | None = None) -> Responses:
        """Some voxels: those of a region (or several), or by index or mask.

        Raises:
            ValueError: If no voxel has that region; the message lists near matches.
        """
        if (roi is None) == (voxels is None):
            raise ValueError("give either roi or voxels")
        if roi is not None:
            voxels = in_regions(self.roi, [roi] if isinstance(roi, str) else list(roi))
        return replace(
            self,
            values=self.values[:, voxels],
            valid_repeats=None if self.valid_repeats is None else self.valid_repeats[:, voxels],
            **{k: None if getattr(self, k) is None else getattr(self, k)[voxels] for k in _VOXEL_FIELDS},
            maps={k: v[voxels] for k, v in self.maps.items()},
        )

    def on_vertices(self, vertex_index: np.ndarray) -> Responses:
        """With the place of each voxel on a surface: (voxel, 2), hemisphere (0 left, 1 right) and vertex."""
        return replace(self, vertex_index=as_places(vertex_index), voxel_index=None)

    def drop_invalid(self) -> Responses:
        """Without the voxels that are NaN in every row or constant over rows: nothing can be learned from them."""
        return self.select(voxels=~constant_columns(self.values))

    def zscore_sessions(self, *, without: Sequence[int] | np.ndarray = ()) -> Responses:
        """Each voxel to mean 0 and standard deviation 1 (ddof 0) within each session.

        Removes drifts of baseline and gain between sessions; do it before averaging. Missing values are left out; a
        voxel that is constant in a session, but for one unit in the last place of float32, is NaN there.

        Args:
            without: Stimuli, by number or name, whose trials don't enter means and standard deviations (they are z-scored by
                the others'): the test images, so that nothing of them reaches training.

        Raises:
            ValueError: If rows were z-scored, or averaged over sessions, already, or a session has no other trials.
        """
        refuse_again(self.history, "zscore_sessions", "z-scored within sessions")
        if (self.session < 0).any() or "average_repeats" in self.history:
            raise ValueError("rows are averages over sessions already: z-score sessions before average_repeats")
        left_out = self.numbers_of(without) if len(without) else np.zeros(0, dtype=np.int64)
        values = zscore_within(self.values, self.session, ~np.isin(self.stimulus, left_out))
        return replace(
            self, values=values, history=(*self.history, "zscore_sessions"), info=in_standard_deviations(self.info)
        )

    def average_repeats(self) -> Responses:
        """Mean over the trials of each stimulus (missing values left out), rows in the order of ``stimulus``.

        The noise ceiling becomes that of the averages, with 1/n the mean of 1/repeats over stimuli; where trials hold missing
        values, each voxel's valid ones are counted, and ``valid_repeats`` keeps the counts.

        Raises:
            ValueError: If rows are averages already, or a stimulus is shared in one trial and not in another.
        """
        refuse_again(self.history, "average_repeats", "averaged over repeats")
        averages = average_rows({name: getattr(self, name) for name in (*_ROW_FIELDS, "behaviour", "valid_repeats")})
        return replace(
            self,
            **averages,
            noise_ceiling=self._averaged_ceiling(averages["repeats"], averages["valid_repeats"]),
            history=(*self.history, "average_repeats"),
        )

    def _averaged_ceiling(self, repeats: np.ndarray, valid: np.ndarray | None) -> np.ndarray | None:
        if self.noise_ceiling is None or not len(repeats):
            return self.noise_ceiling
        noise = mean_inverse(repeats, valid) / mean_inverse(self.repeats, self.valid_repeats)
        return ceiling_with_noise(self.noise_ceiling, noise)

    def estimate_noise_ceiling(self, *, clamp: bool = True) -> Responses:
        """The noise ceiling of single rows from repeated ones; for NSD z-score the sessions first.

        The formula is that of :func:`neuroalign.functional.noise_ceiling`, which also says how large its bias is.

        Args:
            clamp: Whether to raise negative estimates to 0. Sums and means over voxels, and so the pooled normalised
                correlation, are unbiased only without; losses and weights want [0, 1].

        Raises:
            ValueError: If no stimulus comes twice.
        """
        values, stimulus = (torch.from_numpy(np.require(x, requirements="CW")) for x in (self.values, self.stimulus))
        ceiling = noise_ceiling_of_trials(values, stimulus, num_averaged=1, clamp=clamp)
        return replace(self, noise_ceiling=ceiling.numpy())

    def split_shared(self) -> tuple[Responses, Responses]:
        """The rest and the shared images: training and validation.

        Raises:
            ValueError: If one of the two would be empty.
        """
        return self._divide(self.shared, "are shared images")

    def split(self, test: Sequence[int] | np.ndarray) -> tuple[Responses, Responses]:
        """The rest, and the rows of the given stimuli, such as :func:`neuroalign.data.read_nsd_split` names them.

        They are numbers, or names of ``info["stimulus_id"]``.

        Raises:
            ValueError: If one of the two would be empty.
        """
        return self._divide(np.isin(self.stimulus, self.numbers_of(test)), "show a test stimulus")

    def _divide(self, inside: np.ndarray, what: str) -> tuple[Responses, Responses]:
        if inside.all() or not inside.any():
            raise ValueError(f"{int(inside.sum())} of {len(self)} rows {what}: a split needs some of each")
        return self.rows(~inside), self.rows(inside)

    def standardize(self, reference: Responses) -> Responses:
        """Each voxel minus the mean, over the standard deviation (ddof 0), of the reference: the training rows.

        A voxel that is constant (but for one unit in the last place of float32) or missing in the reference becomes NaN.

        Raises:
            ValueError: If the reference has other voxels.
        """
        return standardize_parts(self, reference=reference)[0]

    def pca(self, variance: float = 0.95, *, reference: Responses | None = None) -> Responses:
        """Principal components that hold a share of the variance, in place of voxels.

        Args:
            variance: Share to keep, in (0, 1].
            reference: Rows that the components are fitted on (the training rows); default these.

        Raises:
            ValueError: If values are missing (drop those voxels first), or the reference has other voxels.
        """
        if not 0 < variance <= 1:
            raise ValueError(f"variance must be in (0, 1]; got {variance}")
        reference = reference or self
        check_same_voxels(self, reference)
        if np.isnan(self.values).any() or np.isnan(reference.values).any():
            raise ValueError("values are missing, which a PCA can't take: drop those voxels or rows first")
        values = on_components(self.values, *principal_components(reference.values, variance))
        rois = "+".join(dict.fromkeys(map(str, self.roi)))
        return replace(
            self,
            values=values,
            roi=np.full(values.shape[1], f"pca:{rois}"),
            noise_ceiling=None,
            valid_repeats=None,
            voxel_index=None,
            vertex_index=None,
            maps={},
        )

    def shuffled(self, seed: int = 0) -> Responses:
        """The control of wrong responses: every stimulus gets another stimulus's responses, all repeats together.

        Shared images exchange among themselves, and so do the rest: a split keeps its stimuli, voxels keep their
        reliability, nothing keeps its image.

        Raises:
            ValueError: If there are fewer than two stimuli to exchange.
        """
        stimulus = exchange_within(self.stimulus, self.shared, seed)
        order = np.argsort(stimulus, kind="stable")
        return replace(self.rows(order), stimulus=stimulus[order])

    def numbers_of(self, stimuli: Sequence[int] | Sequence[str] | np.ndarray) -> np.ndarray:
        """The identities of some stimuli, given by number or by the names in ``info["stimulus_id"]``.

        Raises:
            TypeError: If they are names, and these responses know none.
            ValueError: If a name is unknown; the message lists near matches.

        Example:
            >>> responses = Responses.from_arrays(np.zeros((2, 3)), info={"stimulus_id": ["car.png", "cat.png"]})
            >>> responses.numbers_of(["cat.png"])
            array([1])
        """
        return stimulus_numbers(stimuli, self.info.get("stimulus_id"))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an HDF5 file: whole, or not at all."""
        save_fields(vars(self), path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, verify: bool = True, mapped: bool = False) -> Responses:
        """Read what :meth:`save` or ``neuroalign nsd extract`` wrote.

        Args:
            path: The file.
            verify: Compare the file with its checksum; False takes it as it is, where somebody changed it on purpose.
            mapped: Leave the values on disk and read them by the page: processes on one machine then share them.

        Raises:
            FileNotFoundError: If there is no such file.
            ValueError: If the file holds something else, takes values from other files, is cut short, or differs from its
                checksum.
        """
        fields = load_fields(path, verify=verify, mapped=mapped)
        with damage_named(path):
            return cls(**fields)

    @classmethod
    def from_xarray(cls, assembly: Any) -> Responses:
        """From an xarray assembly, as Brain-Score keeps recordings; extra ``xarray``.

        Its axes are presentation and neuroid (and time_bin, if there is only one). Coordinates that are used where there are
        any: ``stimulus_id``, ``session`` and ``shared`` of presentations, ``region`` and ``noise_ceiling`` of neuroids. Ids
        that are names are numbered in sorted order, and kept in ``info["stimulus_id"]``.

        Args:
            assembly: A DataArray, such as ``xarray.open_dataarray(path)`` gives from NetCDF.

        Raises:
            TypeError: If it is no DataArray, its values are no real numbers, or sessions are names.
            ValueError: If its axes are others, it has no ``stimulus_id``, a ``stimulus_id`` or ``region`` is missing, or a
                ``noise_ceiling`` is above 1.

        Example:
            >>> import xarray
            >>> data = np.random.randn(4, 3)
            >>> ids = ("presentation", ["face", "face", "house", "car"])
            >>> assembly = xarray.DataArray(data, dims=("presentation", "neuroid"), coords={"stimulus_id": ids})
            >>> responses = Responses.from_xarray(assembly)
            >>> responses.stimulus, responses.info["stimulus_id"]
            (array([1, 1, 2, 0]), ['car', 'face', 'house'])
        """
        recorded, further = read_assembly(assembly)
        return replace(cls.from_arrays(**recorded), **further)

    def to_xarray(self) -> Any:
        """As an xarray assembly (presentation, neuroid) that :meth:`from_xarray` reads, and that NetCDF can hold.

        Example:
            >>> responses = Responses.from_arrays(np.random.randn(6, 2), stimulus=[0, 0, 1, 1, 2, 2], roi="V4")
            >>> assembly = responses.to_xarray()
            >>> assembly.dims, assembly.coords["region"].values.tolist()
            (('presentation', 'neuroid'), ['V4', 'V4'])
        """
        return make_assembly(vars(self))


def standardize_parts(*parts: Responses, reference: Responses) -> tuple[Responses, ...]:
    """Standardize several sets of rows with the mean and standard deviation (ddof 0) of one reference, computed once.

    Args:
        *parts: Responses of the same voxels, such as training and validation.
        reference: The training rows.

    Raises:
        ValueError: If the reference has other voxels than a part.
    """
    for part in parts:
        check_same_voxels(part, reference)
    mean, std = moments(reference.values)
    return tuple(
        replace(part, values=zscore(part.values, mean, std), info=in_standard_deviations(part.info)) for part in parts
    )
