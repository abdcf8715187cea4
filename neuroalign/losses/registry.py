"""The registry of alignment measures: what NeuralAlignmentLoss knows by name, and what it must know of each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, get_args

from torch import Tensor, nn

from neuroalign.functional.checks import check_choice

AveragesOver = Literal["entry", "stimulus", "voxel", "set"]
MeasureFunction = Callable[..., Tensor]
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass(frozen=True)
class Measure:
    """A registered measure.

    Args:
        function: A function ``(preds, target, weight, **options) -> scalar``, or a class of modules whose constructor takes
            the options and which are called so.
        averages_over: See :func:`register_measure`, as all below.
        paired: Whether column v of preds predicts column v of target.
        min_stimuli: Of a measure of sets: fewer stimuli are refused.
        counts: Whether the target holds counts.
        attains_zero: Whether the value is 0 at perfect alignment.
        order_matters: Whether the value depends on the order of the stimuli.
        scale_free: Whether either side's unit plays no part.
        exact_options: Options under which the gradient is the exact derivative.
        squares: Whether the responses are squared as they are.
    """

    function: MeasureFunction
    averages_over: AveragesOver = "set"
    paired: bool = True
    min_stimuli: int = 1
    counts: bool = False
    attains_zero: bool = True
    order_matters: bool = False
    scale_free: bool = False
    exact_options: Mapping[str, Any] = field(default_factory=dict)
    squares: bool = False


MEASURES: dict[str, Measure] = {}
"""Registered measures by name."""


def register_measure(
    name: str,
    *,
    averages_over: AveragesOver = "set",
    paired: bool = True,
    min_stimuli: int = 1,
    counts: bool = False,
    attains_zero: bool = True,
    order_matters: bool = False,
    scale_free: bool = False,
    exact_options: Mapping[str, Any] | None = None,
    squares: bool = False,
) -> Callable[[_F], _F]:
    """Register a measure under a name that :class:`NeuralAlignmentLoss` then accepts.

    What is decorated is called as ``measure(preds, target, weight)``: preds (stimulus, feature) and target (stimulus, voxel)
    in float32 or wider, the target without NaN, and weight (stimulus, voxel) >= 0, which is 0 where the target is missing and
    the noise ceiling elsewhere. It returns a scalar, lower is better. It is a function, whose further parameters are options
    that can be given to the loss, or a class of ``nn.Module`` whose constructor takes the options. Where the batch has a
    stimulus twice and the loss is told so, a measure of sets gets the mean of its rows; or all rows, if it has a parameter
    ``stimulus``, which then numbers their stimuli (stimulus,).

    The tests ask every registered measure the same questions (``tests/losses/test_table.py``); the arguments below tell
    them, and the loss, what to expect.

    Args:
        name: The name; an existing one is an error.
        averages_over: What the value is a mean of, which decides how it is made exact in distributed training. "entry"
            (a weighted mean over entries) and "stimulus" (a mean over stimuli with a valid entry) exchange one number.
            "voxel" (made of sums over stimuli for each voxel) is called with ``total``, a function that adds such a sum
            (..., voxel) up over the processes. "set" (anything else) sees the gathered batches of all processes and is
            always right.
        paired: Whether column v of preds predicts column v of target, so that the two are of one width. If not, stimuli
            without any valid response are left out before the measure is called.
        min_stimuli: Of a measure of sets: a batch of fewer stimuli is an error; a batch in which fewer have a valid response
            counts as one without any. A module may ask for more of those by an attribute ``min_valid``; and if it
            finds by itself that there is nothing to compare, it says so by an attribute ``last_valid``, a scalar bool tensor
            that each call sets.
        counts: Whether the target holds counts, never negative.
        attains_zero: Whether the value is 0 at perfect alignment.
        order_matters: Whether the value depends on the order of the stimuli.
        scale_free: Whether the unit of either side plays no part, and an undefined similarity sends no gradient.
        exact_options: Options under which the gradient is the exact derivative, where by default part of the measure is
            detached.
        squares: Whether the responses are squared in the unit they come in: a target too large for that is refused.

    Returns:
        A decorator.

    Raises:
        TypeError: If what is decorated can't be called as ``(preds, target, weight)``.
        ValueError: If the name is taken, or ``averages_over`` unknown.

    Example:
        >>> from neuroalign.losses import NeuralAlignmentLoss
        >>> @register_measure("mae", averages_over="entry")
        ... def mae(preds, target, weight):
        ...     return (weight * (preds - target).abs()).sum() / weight.sum()
        >>> NeuralAlignmentLoss("mae")(torch.zeros(2, 3), torch.ones(2, 3))
        tensor(1.)
        >>> del MEASURES["mae"]
    """
    check_choice("averages_over", averages_over, get_args(AveragesOver))

    def decorate(function: _F) -> _F:
        if name in MEASURES:
            raise ValueError(f"a measure named {name!r} is registered already")
        if inspect.isclass(function) and not issubclass(function, nn.Module):
            raise TypeError(f"a measure is a function or a class of nn.Module; {function.__name__} is neither")
        call: Callable[..., Any] = getattr(function, "forward", function) if inspect.isclass(function) else function
        if list(inspect.signature(call).parameters)[inspect.isclass(function) :][:3] != ["preds", "target", "weight"]:
            raise TypeError(f"a measure is called as (preds, target, weight); {name!r} takes {inspect.signature(call)}")
        measure: Any = function
        MEASURES[name] = Measure(
            measure,
            averages_over=averages_over,
            paired=paired,
            min_stimuli=min_stimuli,
            counts=counts,
            attains_zero=attains_zero,
            order_matters=order_matters,
            scale_free=scale_free,
            exact_options=exact_options or {},
            squares=squares,
        )
        return function

    return decorate
