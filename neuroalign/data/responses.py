"""The container of recorded responses, and the steps that prepare them for training."""

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
from neuroalign.data.repeats import average_rows, averaged_ceiling
from neuroalign.data.responses_checks import check_fields, check_same_voxels, check_split, convert_fields, refuse_again
from neuroalign.data.responses_file import damage_named, load_fields, save_fields
from neuroalign.data.selection import exchange_within, in_regions, stimulus_numbers
from neuroalign.data.standardization import constant_columns, in_standard_deviations, moments, zscore, zscore_within
from neuroalign.functional import noise_ceiling_of_trials

__all__ = ["Responses"]

_ROW_FIELDS = ("values", "stimulus", "session", "shared", "repeats")
_VOXEL_FIELDS = ("roi", "noise_ceiling", "voxel_index", "vertex_index")


@dataclass(frozen=True, eq=False)
class Responses:
    """Responses of voxels (or neurons) to stimuli: one row per trial, or one row per stimulus after averaging.

    Every method returns a new container. The usual steps, in this order::

        trials = read_nsd(root, subject=1, roi="V4")
        held_out = np.unique(trials.stimulus[trials.shared])
        averages = trials.zscore_sessions(without=held_out).average_repeats()
        train, validation = averages.split_shared()
        train, validation = train.standardize(train), validation.standardize(train)

    so that no trial of a held-out image enters a statistic by which training rows are scaled.

    Attributes:
        values: (trial, voxel) float32, NaN where missing.
        stimulus: (trial,) int64, the image's identity; for NSD the 0-based row of the stimulus set (``nsdId``).
        session: (trial,) int64, 1-based; -1 where trials of several sessions were averaged.
        roi: (voxel,) str, the region of each voxel.
        noise_ceiling: (voxel,) float32 in [0, 1], the noise ceiling of the current rows (of single trials, or of averages),
            or None. An estimate that was not clamped may be negative.
        shared: (trial,) bool, whether the image was shown to every subject.
        voxel_index: (voxel, 3) int64, place in the volume (x, y, z), or None.
        repeats: (trial,) int64, how many trials a row is the mean of; trials with a missing value count.
        vertex_index: (voxel, 2) int64, hemisphere (0 left, 1 right) and vertex of a surface, or None.
        behaviour: By name, (trial,) float32: what the subject did, NaN where the subject did nothing.
        maps: By name, (voxel,) float32: further values of each voxel, such as "R2".
        info: Where the responses come from, in plain values that JSON can hold: ``shape`` and ``affine`` of a volume, and
            under ``stimulus_id`` the names of the stimuli, if they have any, in the order of their numbers.
        valid_repeats: (trial, voxel) integers, how many trials each value is the mean of. None means ``repeats`` in every
            voxel; only averages of trials with missing values have an array here.
        history: The steps that were done, "zscore_sessions" and "average_repeats"; each is refused a second time.

    Raises:
        TypeError: If values are no real numbers, or identities are names.
        ValueError: If the fields don't fit together, a noise ceiling is above 1, or a row is the mean of no trial.

    Example:
        >>> values, stimulus = np.random.randn(6, 4), [0, 0, 1, 1, 2, 2]
        >>> responses = Responses.from_arrays(values, stimulus=stimulus)
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
        """Make a container from arrays of any recording. The arguments are the attributes of the class.

        Args:
            values: (trial, voxel).
            stimulus: (trial,); None gives each row a stimulus of its own, 0, 1, 2, ...
            session: (trial,); None means one session.
            roi: Region of each voxel, or one region of all.
            noise_ceiling: (voxel,) in [0, 1], of the current rows.
            shared: (trial,); None means no shared image.
            voxel_index: (voxel, 3).
            info: Where the responses come from.
            history: "average_repeats" if rows are averages, "zscore_sessions" if they were z-scored.

        Raises:
            TypeError: If values are no real numbers, or stimuli are names: number them first, as the message says.
            ValueError: If lengths don't fit together, nothing was recorded, a value is infinite, a stimulus or session is no
                whole number, or a ceiling is above 1.
        """
        fields = recorded_fields(values, stimulus, session, roi, noise_ceiling, shared, voxel_index)
        return cls(**fields, info=dict(info or {}), history=tuple(history))

    def __post_init__(self) -> None:
        for name, value in convert_fields(vars(self)).items():
            object.__setattr__(self, name, value)
        check_fields(vars(self))

    def __len__(self) -> int:
        return len(self.values)

    def __repr__(self) -> str:
        rois = ", ".join(dict.fromkeys(map(str, self.roi)))
        rois = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in rois)  # names may hold control characters
        stimuli = len(np.unique(self.stimulus))
        return f"Responses({len(self)} rows, {self.num_voxels} voxels, {stimuli} stimuli, roi: {rois})"

    @property
    def num_voxels(self) -> int:
        """Number of voxels."""
        return self.values.shape[1]

    def rows(self, index: np.ndarray) -> Responses:
        """Select rows by index or mask. The noise ceiling becomes that of averages over these rows' repeats."""
        valid = None if self.valid_repeats is None else self.valid_repeats[index]
        return replace(
            self,
            **{k: getattr(self, k)[index] for k in _ROW_FIELDS},
            noise_ceiling=averaged_ceiling(vars(self), self.repeats[index], valid),
            valid_repeats=valid,
            behaviour={k: v[index] for k, v in self.behaviour.items()},
        )

    def select(self, *, roi: str | Sequence[str] | None = None, voxels: np.ndarray | None = None) -> Responses:
        """Select voxels by region (one or several), or by index or mask.

        Raises:
            ValueError: If no voxel has that region; the message lists near matches.
        """
        if (roi is None) == (voxels is None):
            raise ValueError("give either roi or voxels")
        if roi is not None:
            voxels = in_regions(self.roi, [roi] if isinstance(roi, str) else list(roi))
        fields: dict[str, Any] = {k: None if (v := getattr(self, k)) is None else v[voxels] for k in _VOXEL_FIELDS}
        return replace(
            self,
            values=self.values[:, voxels],
            valid_repeats=None if self.valid_repeats is None else self.valid_repeats[:, voxels],
            **fields,
            maps={k: v[voxels] for k, v in self.maps.items()},
        )

    def on_vertices(self, vertex_index: np.ndarray) -> Responses:
        """Set the place of each voxel on a surface: (voxel, 2), hemisphere (0 left, 1 right) and vertex."""
        return replace(self, vertex_index=as_places(vertex_index), voxel_index=None)

    def drop_invalid(self) -> Responses:
        """Drop the voxels that are NaN in every row or constant over rows: nothing can be learned from them."""
        return self.select(voxels=~constant_columns(self.values))

    def zscore_sessions(self, *, without: Sequence[int] | np.ndarray = ()) -> Responses:
        """Scale each voxel to mean 0 and standard deviation 1 (ddof 0) within each session.

        This removes drifts of baseline and gain between sessions; do it before averaging. Missing values are left out. A
        voxel that is constant in a session (up to one unit in the last place of float32) becomes NaN there.

        Args:
            without: Stimuli, by number or name, whose trials don't enter means and standard deviations; they are scaled with
                those of the other trials. Give the test images, so that nothing of them reaches training.

        Raises:
            ValueError: If rows were already z-scored or averaged over sessions, or a session has no other trials.
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
        """Average the trials of each stimulus without missing values; rows are then in the order of ``stimulus``.

        The noise ceiling becomes that of the averages, with 1/n the mean of 1/repeats over stimuli. Where trials have missing
        values, n counts each voxel's valid trials, and ``valid_repeats`` keeps these counts.

        Raises:
            ValueError: If rows are already averages, or a stimulus is shared in one trial and not in another.
        """
        refuse_again(self.history, "average_repeats", "averaged over repeats")
        averages = average_rows({name: getattr(self, name) for name in (*_ROW_FIELDS, "behaviour", "valid_repeats")})
        return replace(
            self,
            **averages,
            noise_ceiling=averaged_ceiling(vars(self), averages["repeats"], averages["valid_repeats"]),
            history=(*self.history, "average_repeats"),
        )

    def estimate_noise_ceiling(self, *, clamp: bool = True) -> Responses:
        """Estimate the noise ceiling of single rows from repeated stimuli; for NSD z-score the sessions first.

        The formula is that of :func:`neuroalign.functional.noise_ceiling`, which also says how large its bias is.

        Args:
            clamp: Whether to raise negative estimates to 0. Only unclamped estimates have unbiased sums and means over
                voxels, and so an unbiased pooled normalised correlation; losses and weights need values in [0, 1].

        Raises:
            ValueError: If no stimulus has two rows.
        """
        values, stimulus = (
            torch.from_numpy(np.require(x, requirements=["C", "W"])) for x in (self.values, self.stimulus)
        )
        ceiling = noise_ceiling_of_trials(values, stimulus, num_averaged=1, clamp=clamp)
        return replace(self, noise_ceiling=ceiling.numpy())

    def split_shared(self) -> tuple[Responses, Responses]:
        """Split into the other images (training) and the shared images (validation).

        Raises:
            ValueError: If one of the two would be empty.
        """
        return self._divide(self.shared, "are shared images")

    def split(self, test: Sequence[int] | np.ndarray) -> tuple[Responses, Responses]:
        """Split into the other rows and the rows of the given stimuli.

        Stimuli are given by number, as :func:`neuroalign.read_nsd_split` returns them, or by their names in
        ``info["stimulus_id"]``.

        Raises:
            ValueError: If one of the two would be empty.
        """
        return self._divide(np.isin(self.stimulus, self.numbers_of(test)), "show a test stimulus")

    def _divide(self, inside: np.ndarray, what: str) -> tuple[Responses, Responses]:
        check_split(inside, what)
        return self.rows(~inside), self.rows(inside)

    def standardize(self, reference: Responses) -> Responses:
        """Subtract the reference's mean from each voxel, and divide by the reference's standard deviation (ddof 0).

        The reference is usually the training rows. A voxel that is constant (up to one unit in the last place of float32) or
        missing in the reference becomes NaN.

        Raises:
            ValueError: If the reference has other voxels.
        """
        check_same_voxels(self.roi, reference.roi)
        values = zscore(self.values, *moments(reference.values))
        return replace(self, values=values, info=in_standard_deviations(self.info))

    def pca(self, variance: float = 0.95, *, reference: Responses | None = None) -> Responses:
        """Replace voxels by the principal components that hold a share of the variance.

        Args:
            variance: Share to keep, in (0, 1].
            reference: Rows that the components are fitted on (the training rows); None means these rows.

        Raises:
            ValueError: If values are missing (drop those voxels first), or the reference has other voxels.
        """
        reference = reference or self
        check_same_voxels(self.roi, reference.roi)
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
        """Give every stimulus the responses of another one, all repeats together: the control of wrong responses.

        Shared images exchange responses among themselves, and so do the others. So a split keeps its stimuli, voxels keep
        their reliability, and no response keeps its image.

        Raises:
            ValueError: If there are fewer than two stimuli to exchange.
        """
        stimulus = exchange_within(self.stimulus, self.shared, seed)
        order = np.argsort(stimulus, kind="stable")
        return replace(self.rows(order), stimulus=stimulus[order])

    def numbers_of(self, stimuli: Sequence[int] | Sequence[str] | np.ndarray) -> np.ndarray:
        """The identities of stimuli that are given by number or by their names in ``info["stimulus_id"]``.

        Raises:
            TypeError: If they are names, and these responses have none.
            ValueError: If a name is unknown; the message lists near matches.

        Example:
            >>> info = {"stimulus_id": ["car.png", "cat.png"]}
            >>> responses = Responses.from_arrays(np.zeros((2, 3)), info=info)
            >>> responses.numbers_of(["cat.png"])
            array([1])
        """
        return stimulus_numbers(stimuli, self.info.get("stimulus_id"))

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write an HDF5 file; it appears only when it is complete."""
        save_fields(vars(self), path)

    @classmethod
    def load(cls, path: str | os.PathLike[str], *, verify: bool = True, mapped: bool = False) -> Responses:
        """Read what :meth:`save` or ``neuroalign nsd extract`` wrote.

        Args:
            path: The file.
            verify: Compare the file with its checksum. False accepts a file that somebody changed on purpose.
            mapped: Leave the values on disk and read them when they are needed; processes on one machine then share them.

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
        """Read an xarray assembly, the form of Brain-Score's recordings (extra ``xarray``).

        Its axes are presentation and neuroid (and time_bin, if there is only one). ``stimulus_id`` is required; ``session``
        and ``shared`` of presentations, ``region`` and ``noise_ceiling`` of neuroids are used where they exist. Ids that are
        names are numbered in sorted order, and the names are kept in ``info["stimulus_id"]``.

        Args:
            assembly: A DataArray, such as ``xarray.open_dataarray(path)`` reads from NetCDF.

        Raises:
            TypeError: If it is no DataArray, its values are no real numbers, or sessions are names.
            ValueError: If its axes are others, it has no ``stimulus_id``, a ``stimulus_id`` or ``region`` is missing, or a
                ``noise_ceiling`` is above 1.

        Example:
            >>> import xarray
            >>> data = np.random.randn(4, 3)
            >>> ids = ("presentation", ["face", "face", "house", "car"])
            >>> assembly = xarray.DataArray(
            ...     data, dims=("presentation", "neuroid"), coords={"stimulus_id": ids}
            ... )
            >>> responses = Responses.from_xarray(assembly)
            >>> responses.stimulus, responses.info["stimulus_id"]
            (array([1, 1, 2, 0]), ['car', 'face', 'house'])
        """
        recorded, further = read_assembly(assembly)
        return replace(cls.from_arrays(**recorded), **further)

    def to_xarray(self) -> Any:
        """Make an xarray assembly (presentation, neuroid) that :meth:`from_xarray` reads, and that NetCDF can hold.

        Example:
            >>> values, stimulus = np.random.randn(6, 2), [0, 0, 1, 1, 2, 2]
            >>> responses = Responses.from_arrays(values, stimulus=stimulus, roi="V4")
            >>> assembly = responses.to_xarray()
            >>> assembly.dims, assembly.coords["region"].values.tolist()
            (('presentation', 'neuroid'), ['V4', 'V4'])
        """
        return make_assembly(vars(self))
