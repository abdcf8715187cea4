"""Averages over repeats of sessions that are read one after the other, so that one session is in memory at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from neuroalign.data.repeats import average_labels, averaged_ceiling
from neuroalign.data.responses import Responses
from neuroalign.data.responses_checks import check_split
from neuroalign.data.standardization import check_reference, in_standard_deviations, zscore_rows

__all__: list[str] = []


class StimulusMeans:
    """Means over the trials of some stimuli, which are added session by session.

    Args:
        stimulus: (trial,) the stimuli of all trials to come; others are ignored.
        num_voxels: Number of voxels.

    Attributes:
        stimuli: (stimulus,) increasing.
        repeats: (stimulus,) number of trials.
        values: (stimulus, voxel) float32, the sum of a stimulus until its last trial is added, then its mean without missing
            values; NaN where all are missing.
        missing: (stimulus, voxel) how many trials are missing; None until there is one.

    Example:
        >>> means = StimulusMeans(np.array([4, 2, 4]), 1)
        >>> means.add(np.array([[1.0], [5.0]], dtype=np.float32), np.array([4, 2]))
        >>> means.add(np.array([[2.0]], dtype=np.float32), np.array([4]))
        >>> means.stimuli, means.values.ravel()
        (array([2, 4]), array([5. , 1.5], dtype=float32))
    """

    def __init__(self, stimulus: np.ndarray, num_voxels: int) -> None:
        self.stimuli, self.repeats = np.unique(stimulus, return_counts=True)
        self.values = np.zeros((len(self.stimuli), num_voxels), dtype=np.float32)
        self.missing: np.ndarray | None = None
        self._to_come = self.repeats.copy()

    def add(self, values: np.ndarray, stimulus: np.ndarray) -> None:
        """Add trials: values (trial, voxel), NaN where missing, and stimulus (trial,)."""
        trials = np.flatnonzero(np.isin(stimulus, self.stimuli))
        for trial, place in zip(trials.tolist(), np.searchsorted(self.stimuli, stimulus[trials]).tolist()):
            row = values[trial]
            missing = np.isnan(row)
            if missing.any():
                self._missing()[place] += missing
                row = np.where(missing, np.float32(0), row)
            self._to_come[place] -= 1
            if self._to_come[place]:
                self.values[place] += row
            else:
                self._finish(place, row)

    def _finish(self, place: int, last: np.ndarray) -> None:
        mean = self.values[place].astype(np.float64)  # rounded to float32 once, not after the sum and the division
        mean += last
        valid = self.repeats[place]
        if self.missing is not None:
            valid = valid - self.missing[place].astype(np.int64)
        with np.errstate(invalid="ignore"):  # where all trials are missing
            mean /= valid
        self.values[place] = mean

    def _missing(self) -> np.ndarray:
        if self.missing is None:
            self.missing = np.zeros(self.values.shape, dtype=np.min_scalar_type(int(self.repeats.max())))
        return self.missing

    def valid_repeats(self) -> np.ndarray:
        """(stimulus, voxel) how many trials each mean is of."""
        missing = self._missing()
        return self.repeats[:, None].astype(missing.dtype) - missing


def averages_of_sessions(
    trials: Responses,
    sessions: Iterable[np.ndarray],
    *,
    test: Sequence[int] | np.ndarray,
    zscore: bool = True,
) -> tuple[Responses, Responses]:
    """Z-score sessions, average repeats and split, while sessions are read: the averages of the other and of test stimuli.

    The result is that of :meth:`Responses.zscore_sessions` (``without=test``), :meth:`Responses.average_repeats` and
    :meth:`Responses.split`, up to rounding: the sum of a stimulus's trials before its last one is float32, so that means of
    three z-scores differ by about 1e-7.

    Args:
        trials: Single trials with ``values`` of which only the shape counts, such as zeros that take no memory, or a file's.
        sessions: The values (trial, voxel) of each session, in the order of the rows, in float32 memory that may be changed.
        test: The test stimuli, by number or name.
        zscore: Whether to z-score within sessions, with the statistics of the other stimuli's trials.

    Raises:
        ValueError: If no stimulus, or every one, is a test stimulus, a session shows only test stimuli, or a stimulus is
            shared in one trial and not in another.
    """
    is_test = np.isin(trials.stimulus, trials.numbers_of(test))
    labels = average_labels(vars(trials))
    check_split(np.isin(labels["stimulus"], trials.stimulus[is_test]), "show a test stimulus")
    means = [StimulusMeans(trials.stimulus[rows], trials.num_voxels) for rows in (~is_test, is_test)]
    start = 0
    for values in sessions:
        rows = slice(start, start := start + len(values))
        if zscore:
            check_reference(~is_test[rows], int(trials.session[rows][0]))
            zscore_rows(values, ~is_test[rows], values)
        for part in means:
            part.add(values, trials.stimulus[rows])
        del values  # before the next session is read
    history = ("zscore_sessions", "average_repeats") if zscore else ("average_repeats",)
    described = replace(
        trials,
        history=(*trials.history, *history),
        info=in_standard_deviations(trials.info) if zscore else trials.info,
    )
    any_missing = any(part.missing is not None for part in means)
    rest, tests = (_averages(described, labels, part, any_missing) for part in means)
    return rest, tests


def _averages(trials: Responses, labels: Mapping[str, Any], means: StimulusMeans, any_missing: bool) -> Responses:
    mine = np.isin(labels["stimulus"], means.stimuli)
    valid = means.valid_repeats() if any_missing else None
    return replace(
        trials,
        values=means.values,
        valid_repeats=valid,
        noise_ceiling=averaged_ceiling(vars(trials), means.repeats, valid),
        behaviour={name: column[mine] for name, column in labels["behaviour"].items()},
        **{name: labels[name][mine] for name in ("stimulus", "session", "shared", "repeats")},
    )
