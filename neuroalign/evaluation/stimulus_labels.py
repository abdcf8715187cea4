"""Categories of the stimuli of recorded responses, in the forms in which people have them."""

from __future__ import annotations

import numbers
import operator
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from neuroalign.data import Responses
from neuroalign.types import unknown

__all__: list[str] = []


def categories_by_number(responses: Responses, labels: Any) -> dict[int, int]:
    """Categories by the stimulus's number.

    Args:
        responses: The responses.
        labels: By the stimulus's number or name, its category, a whole number; or a list or array with one category for each
            row of ``responses``, or for each stimulus, if the rows come in ascending order of the stimuli's numbers.

    Raises:
        TypeError: If they are nothing of that, or a category is no whole number.
        ValueError: If there is another number of them, no name is one of the stimuli's, or a stimulus has two categories.

    Example:
        >>> responses = Responses.from_arrays(np.zeros((3, 2)), stimulus=[7, 8, 9], info={})
        >>> categories_by_number(responses, [0, 0, 1])
        {7: 0, 8: 0, 9: 1}
    """
    if getattr(labels, "ndim", None) == 1 and hasattr(labels, "to_dict"):  # a series of pandas says by its index
        labels = labels.to_dict()
    if isinstance(labels, Mapping):
        return _from_mapping(responses, labels)
    if isinstance(labels, (str, bytes)) or not (isinstance(labels, Sequence) or hasattr(labels, "__array__")):
        raise TypeError(
            "labels give the category of each stimulus, in a dict by the stimulus's number or name, or in a list or array in "
            f"the order of the stimuli; got {type(labels).__name__}"
        )
    return _from_list(responses, labels)


def _from_mapping(responses: Responses, labels: Mapping[Any, Any]) -> dict[int, int]:
    named = [isinstance(key, str) for key in labels]
    if any(named):
        if not all(named):
            raise TypeError("labels are by the stimuli's numbers or by their names; this dict has keys of both kinds")
        names = responses.info.get("stimulus_id")
        if names is not None:  # images that were not shown may have a label as well
            known = set(map(str, names))
            shown = {name: label for name, label in labels.items() if name in known}
            if not shown:
                raise ValueError(
                    f"no label is for a stimulus of these responses: {unknown('stimulus', next(iter(labels)), known)}"
                )
            labels = shown
        labels = dict(zip(responses.numbers_of(list(labels)).tolist(), labels.values()))
    for key in labels:
        if not isinstance(key, numbers.Real):
            raise TypeError(f"labels are by the stimuli's numbers or names; got the key {str(key)[:60]!r}")
    return {int(key): _whole(label) for key, label in labels.items()}


def _from_list(responses: Responses, labels: Any) -> dict[int, int]:
    values = np.asarray(labels)
    stimulus = responses.stimulus
    distinct, first = np.unique(stimulus, return_index=True)
    if values.shape == stimulus.shape:
        owners = stimulus
    elif values.shape == distinct.shape and (np.diff(first) > 0).all():
        owners = distinct
    elif values.shape == distinct.shape:
        raise ValueError(
            "the order of the labels is not clear, since the responses' rows are not in the order of the stimuli's numbers: "
            "give one label per row, or a dict by the stimulus's number"
        )
    else:
        raise ValueError(
            f"labels need one category for each of {len(distinct)} stimuli"
            + (f", or of {len(stimulus)} rows" if len(stimulus) > len(distinct) else "")
            + f"; got the shape {values.shape}"
        )
    found: dict[int, int] = {}
    for number, label in zip(owners.tolist(), map(_whole, values.tolist())):
        if found.setdefault(number, label) != label:
            raise ValueError(f"stimulus {number} has two labels, {found[number]} and {label}")
    return found


def _whole(label: Any) -> int:
    if isinstance(label, (float, np.floating)) and float(label).is_integer():
        return int(label)
    try:
        return operator.index(label)
    except TypeError:
        raise TypeError(
            f"categories are whole numbers; got {str(label)[:60]!r}: pandas.factorize(labels, sort=True)[0] numbers names"
        ) from None
