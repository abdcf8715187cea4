"""RDMs and responses to and from rsatoolbox (extra ``peers``), pair by pair in the same order and scale."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from neuroalign.data import Responses
from neuroalign.data.fields import number_names

__all__ = ["RDMSet", "from_rsatoolbox", "to_rsatoolbox"]

_MEASURES = {"sqeuclidean": "squared euclidean"}
"""Names of dissimilarities that rsatoolbox calls otherwise; both divide by the number of channels."""
_OURS = {theirs: ours for ours, theirs in _MEASURES.items()}


class RDMSet(NamedTuple):
    """RDMs of the same stimuli.

    Attributes:
        rdms: (rdm, pair) float; the pairs (0, 1), (0, 2), ..., (1, 2), ... as in :func:`neuroalign.functional.rdm`. NaN where
            a pair is not defined.
        stimuli: Names of the stimuli in order; None if there are none.
        dissimilarity: "sqeuclidean", "correlation", ... ; any other name is kept as it is, None if it isn't known.
        rdm_descriptors: By name, one value per RDM, such as its region or subject.
        stimulus_descriptors: By name, one value per stimulus.

    Example:
        >>> RDMSet(torch.zeros(2, 6)).rdms.shape
        torch.Size([2, 6])
    """

    rdms: Tensor
    stimuli: tuple[Any, ...] | None = None
    dissimilarity: str | None = None
    rdm_descriptors: Mapping[str, list[Any]] = {}
    stimulus_descriptors: Mapping[str, list[Any]] = {}


def to_rsatoolbox(
    rdms: Tensor | np.ndarray | RDMSet | Responses,
    stimuli: Sequence[Any] | None = None,
    *,
    dissimilarity: str | None = None,
    rdm_descriptors: Mapping[str, Sequence[Any]] | None = None,
    stimulus_descriptors: Mapping[str, Sequence[Any]] | None = None,
) -> Any:
    """RDMs as ``rsatoolbox.rdm.RDMs``, or responses as ``rsatoolbox.data.Dataset`` (extra ``peers``).

    Values are not rescaled: "sqeuclidean" is the squared distance divided by the number of channels here and in rsatoolbox,
    which calls it "squared euclidean" (and its method "euclidean"). NaN stays NaN.

    Args:
        rdms: One RDM (pair,) or several (rdm, pair) of :func:`neuroalign.functional.rdm`; what :func:`from_rsatoolbox` gave;
            or :class:`Responses`, which become a data set with the descriptors ``stimulus``, ``session``, ``repeats``,
            ``shared`` and behaviour of observations, and ``roi``, ``noise_ceiling`` and maps of channels.
        stimuli: Names of the stimuli, in order; rsatoolbox's pattern descriptor ``stimulus``.
        dissimilarity: How the RDMs were computed, such as "sqeuclidean".
        rdm_descriptors: By name, one value per RDM, such as ``{"region": ["V1", "V4"]}``.
        stimulus_descriptors: By name, one value per stimulus.

    Raises:
        ImportError: If rsatoolbox is missing.
        ValueError: If the number of pairs is that of no number of stimuli, descriptors have another length, or two of
            ``stimuli`` have the same name.

    Example:
        >>> from neuroalign.functional import rdm
        >>> v1, v4 = rdm(torch.randn(8, 100)), rdm(torch.randn(8, 300))
        >>> theirs = to_rsatoolbox(torch.stack([v1, v4]), dissimilarity="sqeuclidean",
        ...                        rdm_descriptors={"region": ["V1", "V4"]})
    """
    rsatoolbox = _rsatoolbox()
    if stimuli is not None:
        _check_distinct(stimuli)
    if isinstance(rdms, Responses):
        if any(x is not None for x in (stimuli, dissimilarity, rdm_descriptors, stimulus_descriptors)):
            raise ValueError("responses bring their descriptors with them: give no others")
        return _dataset(rsatoolbox, rdms)
    if isinstance(rdms, RDMSet):
        stimuli = rdms.stimuli if stimuli is None else stimuli
        dissimilarity = dissimilarity or rdms.dissimilarity
        rdm_descriptors = {**rdms.rdm_descriptors, **(rdm_descriptors or {})}
        stimulus_descriptors = {**rdms.stimulus_descriptors, **(stimulus_descriptors or {})}
        rdms = rdms.rdms
    values = torch.as_tensor(rdms).detach().cpu()
    values = values[None] if values.ndim == 1 else values
    if values.ndim != 2 or not values.is_floating_point():
        raise ValueError(f"RDMs are (pair,) or (rdm, pair), floating point; got {tuple(values.shape)} {values.dtype}")
    count = _num_stimuli(values.shape[1])
    patterns = dict(stimulus_descriptors or {})
    if stimuli is not None:
        patterns["stimulus"] = stimuli
    return rsatoolbox.rdm.RDMs(
        values.double().numpy(),
        dissimilarity_measure=None if dissimilarity is None else _MEASURES.get(dissimilarity, dissimilarity),
        rdm_descriptors=_checked(rdm_descriptors or {}, len(values), "RDMs"),
        pattern_descriptors=_checked(patterns, count, "stimuli"),
    )


def from_rsatoolbox(found: Any) -> RDMSet | Responses:
    """The RDMs in an ``rsatoolbox.rdm.RDMs``, or the responses in an ``rsatoolbox.data.Dataset``.

    Values are not rescaled, and NaN stays NaN. rsatoolbox's own numbering, its descriptor ``index``, is left out where it
    only counts.

    Args:
        found: The object of rsatoolbox. In a data set, the observation descriptor ``stimulus`` says which stimulus was shown
            (numbers or names; without it every row is a stimulus of its own), and ``roi`` the region of each channel; further
            descriptors that are numbers become behaviour and maps.

    Returns:
        An :class:`RDMSet` with RDMs (rdm, pair) in float64, or :class:`Responses`.

    Raises:
        TypeError: If it is neither.

    Example:
        >>> import rsatoolbox
        >>> dataset = rsatoolbox.data.Dataset(np.random.randn(8, 100))
        >>> theirs = rsatoolbox.rdm.calc_rdm(dataset, method="correlation")
        >>> from_rsatoolbox(theirs).dissimilarity
        'correlation'
    """
    if hasattr(found, "measurements") and hasattr(found, "obs_descriptors"):
        return _responses(found)
    if not hasattr(found, "dissimilarities"):
        raise TypeError(f"from_rsatoolbox takes RDMs or a Dataset of rsatoolbox; got a {type(found).__name__}")
    values = torch.from_numpy(np.array(found.dissimilarities, dtype=np.float64))
    measure = found.dissimilarity_measure
    patterns = _without_count(found.pattern_descriptors)
    names = patterns.pop("stimulus", None)
    return RDMSet(
        values,
        None if names is None else tuple(names),
        None if measure is None else _OURS.get(str(measure), str(measure)),
        _without_count(found.rdm_descriptors),
        patterns,
    )


def _rsatoolbox() -> Any:
    try:
        import rsatoolbox
    except ImportError as error:
        raise ImportError("rsatoolbox is missing: pip install rsatoolbox, or the extra 'peers': "
                          "pip install 'neuroalign[peers]'") from error  # fmt: skip
    return rsatoolbox


def _num_stimuli(pairs: int) -> int:
    count = (1 + math.isqrt(1 + 8 * pairs)) // 2
    if pairs < 1 or count * (count - 1) // 2 != pairs:
        near = count * (count - 1) // 2, (count + 1) * count // 2
        raise ValueError(f"{pairs} pairs are those of no number of stimuli: n have n(n-1)/2, such as {near[0]} or {near[1]}; "
                         "an RDM is the vector that rdm() returns, not a square")  # fmt: skip
    return count


def _check_distinct(stimuli: Sequence[Any]) -> None:
    names = [str(name) for name in stimuli]
    twice = next((name for name, count in Counter(names).items() if count > 1), None)
    if twice is not None:
        raise ValueError(
            f"two stimuli are called {twice[:60]!r}: an RDM has each of its stimuli once, under its own name"
        )


def _checked(descriptors: Mapping[str, Sequence[Any]], count: int, what: str) -> dict[str, list[Any]]:
    found = {}
    for name, values in descriptors.items():
        if isinstance(values, str) or len(values) != count:
            raise ValueError(f"descriptor {name!r} needs one value for each of {count} {what}; got {str(values)[:60]}")
        found[name] = [v.item() if isinstance(v, (np.generic, Tensor)) else v for v in values]
    return found


def _without_count(descriptors: Mapping[str, Any]) -> dict[str, list[Any]]:
    found = {
        name: [v.item() if isinstance(v, np.generic) else v for v in values] for name, values in descriptors.items()
    }
    if found.get("index") == list(range(len(found.get("index", ())))):
        del found["index"]
    return found


def _dataset(rsatoolbox: Any, responses: Responses) -> Any:
    names = responses.info.get("stimulus_id")
    stimulus = responses.stimulus if names is None else np.asarray(names, dtype=object)[responses.stimulus]
    rows = {
        "stimulus": stimulus,
        "session": responses.session,
        "repeats": responses.repeats,
        "shared": responses.shared,
    }
    channels = {"roi": responses.roi, "noise_ceiling": responses.noise_ceiling}
    return rsatoolbox.data.Dataset(
        responses.values.astype(np.float64),
        descriptors={"history": list(responses.history)},
        obs_descriptors={k: v.tolist() for k, v in {**rows, **responses.behaviour}.items()},
        channel_descriptors={k: v.tolist() for k, v in {**channels, **responses.maps}.items() if v is not None},
    )


def _responses(found: Any) -> Responses:
    rows, channels = found.obs_descriptors, found.channel_descriptors
    info: dict[str, Any] = {}
    stimulus = None
    if "stimulus" in rows:
        stimulus, names = number_names(np.asarray(rows["stimulus"]), "stimulus")
        if names is not None:
            info["stimulus_id"] = names
    responses = Responses.from_arrays(
        np.asarray(found.measurements),
        stimulus=stimulus,
        session=rows.get("session"),
        roi=list(channels["roi"]) if "roi" in channels else "unknown",
        noise_ceiling=channels.get("noise_ceiling"),
        shared=rows.get("shared"),
        info=info,
        history=tuple(found.descriptors.get("history", ())),
    )
    return replace(
        responses,
        repeats=np.asarray(rows["repeats"]) if "repeats" in rows else responses.repeats,
        behaviour=_numeric(rows, {"stimulus", "session", "shared", "repeats", "index"}),
        maps=_numeric(channels, {"roi", "noise_ceiling", "index"}),
    )


def _numeric(descriptors: Mapping[str, Any], known: set[str]) -> dict[str, np.ndarray]:
    """Further descriptors that are numbers."""
    arrays = {name: np.asarray(values) for name, values in descriptors.items() if name not in known}
    return {name: array.astype(np.float32) for name, array in arrays.items() if array.dtype.kind in "fiub"}
