"""The registry of alignment measures: the names that NeuralAlignmentLoss accepts, and the traits of each measure."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeVar, get_args

from torch import Tensor, nn

from neuroalign import plugins
from neuroalign.functional.checks import check_choice
from neuroalign.types import unknown

__all__ = ["MEASURES", "Measure", "register_measure"]

AveragesOver = Literal["entry", "stimulus", "voxel", "set"]
MeasureFunction = Callable[..., Tensor]
_METRICS_ONLY = ("cca", "svcca", "pwcca")
_F = TypeVar("_F", bound=Callable[..., Any])


class HostValue(NamedTuple):
    """What the form of a measure for the CPU gives.

    Attributes:
        value: The loss, a scalar.
        voxels: Number of voxels that have a valid entry and aren't left out; None where it was not counted.
    """

    value: Tensor
    voxels: int | None


@dataclass(frozen=True)
class Measure:
    """A registered measure.

    Args:
        function: A function ``(preds, target, weight, **options) -> scalar``, or a class of modules whose constructor takes
            the options and whose objects are called with the three tensors.
        averages_over: See :func:`register_measure` for this and the following.
        paired: Whether column v of preds predicts column v of target.
        min_stimuli: Smallest number of stimuli that a measure of sets accepts.
        counts: Whether the target holds counts.
        attains_zero: Whether the value is 0 at perfect alignment.
        order_matters: Whether the value depends on the order of the stimuli.
        scale_free: Whether the units of preds and target don't matter.
        exact_options: Options under which the gradient is the exact derivative.
        squares: Whether the responses are squared without being rescaled first.
        on_host: A faster form for the CPU.
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
    on_host: Callable[..., HostValue | None] | None = None


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
    on_host: Callable[..., HostValue | None] | None = None,
) -> Callable[[_F], _F]:
    """Register a measure under a name that :class:`NeuralAlignmentLoss` then accepts.

    The decorated function or module is called as ``measure(preds, target, weight)``: preds (stimulus, feature) and target
    (stimulus, voxel) in float32 or wider, the target without NaN, and weight (stimulus, voxel) >= 0, which is 0 where the
    target is missing and the noise ceiling elsewhere. It returns a scalar, lower is better. Decorate a function, whose
    further parameters are options that can be given to the loss, or a class of ``nn.Module`` whose constructor takes the
    options. If the loss gets identities and a stimulus occurs twice, a measure of sets gets the mean of the stimulus's rows;
    if the measure has a parameter ``stimulus``, it gets all rows and the number of each row's stimulus (stimulus,). A measure
    of sets that has a parameter ``kept`` must not look at values: off the CPU, and in compiled graphs, it gets all rows, 0
    where they are left out, and ``kept`` (stimulus,), which says the rows that count; else None, which means all.

    The same tests run for every registered measure (``tests/losses/test_table.py``); the arguments below say which
    properties the tests and the loss expect.

    Args:
        name: The name; an existing one is an error.
        averages_over: The units over which the value is a mean; this decides how it is made exact in distributed training.
            "entry" (a weighted mean over entries) and "stimulus" (a mean over stimuli with a valid entry) exchange one
            number. "voxel" (computed from sums over stimuli per voxel) is called with ``total``, a function that sums a (...,
            voxel) tensor over all processes. "set" (anything else) gets the gathered batches of all processes and is always
            right.
        paired: Whether column v of preds predicts column v of target, so that both have the same width. If not, stimuli
            without any valid response are left out before the measure is called.
        min_stimuli: For a measure of sets, a batch of fewer stimuli is an error; a batch in which fewer stimuli have a valid
            response counts as a batch without any. A module may require more stimuli with a valid response by an attribute
            ``min_valid``; and it may report whether there was something to compare by an attribute ``last_valid``, a scalar
            bool tensor that each call sets.
        counts: Whether the target holds counts, which are never negative.
        attains_zero: Whether the value is 0 at perfect alignment.
        order_matters: Whether the value depends on the order of the stimuli.
        scale_free: Whether the units of preds and target don't matter, and an undefined similarity has no gradient.
        exact_options: Options with which the gradient is the exact derivative, for a measure that detaches a part by default.
        squares: Whether the responses are squared without being rescaled first: a target too large for that is refused.
        on_host: A faster form of a measure with ``paired=True``, for responses on the CPU; a class has it as a method. It is
            called as ``on_host(preds, target, ceiling)``, with NaN where the target is missing, and the ceiling (voxel,) or
            None. It returns a :class:`HostValue`, or None where it can't serve: for infinite values, for instance, or without
            any valid response. A measure that has it must do without Python branches on values in its general form.

    Returns:
        A decorator.

    Raises:
        TypeError: If the decorated object can't be called as ``(preds, target, weight)``.
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
            on_host=on_host,
        )
        return function

    return decorate


def known_measure(name: str) -> Measure:
    """The measure of a name, registered here or published by another installed package, which is imported then.

    Raises:
        ImportError: If the package that publishes it can't be used, or two do.
        ValueError: If there is none.

    Warns:
        UserWarning: If another package publishes the name of one of ours, which is used.
    """
    if name in MEASURES:
        if is_ours(name):
            plugins.warn_of_hidden("measures", [name])
        return MEASURES[name]
    if name in plugins.installed("measures"):
        return _published(name)
    if name in _METRICS_ONLY:
        raise ValueError(
            f"{name!r} is a metric only (neuroalign.functional.{name}): it inverts covariances that a batch can't estimate. "
            "To minimise, use 'cka' or 'ridge'"
        )
    known = unknown("measure", name, {*MEASURES, *plugins.installed("measures")})
    raise ValueError(f"{known} (A measure of another package is known where that package is installed.)")


def is_ours(name: str) -> bool:
    """Whether a registered measure is one of neuroalign's own."""
    return str(getattr(MEASURES[name].function, "__module__", "")).startswith("neuroalign.")


def _published(name: str) -> Measure:
    function = plugins.load("measures", name)  # its module may register it
    if name not in MEASURES:
        try:
            register_measure(name, paired=bool(getattr(function, "paired", True)))(function)
        except (TypeError, ValueError) as error:
            raise plugins.broken("measures", name, error) from error
    return MEASURES[name]


def make_measure(name: str, options: Mapping[str, Any]) -> MeasureFunction:
    """The function of a measure; of a measure that is a class, an object with these options.

    Raises:
        TypeError: If the measure has no such option.
        ValueError: If there is no such measure.
    """
    function = known_measure(name).function
    parameters = inspect.signature(function).parameters
    own = list(parameters)[0 if inspect.isclass(function) else 3 :]
    allowed = [option for option in own if option not in ("stimulus", "kept")]  # these come with the batch
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    for option in options:
        if option not in allowed and not takes_any:
            message = unknown(f"option of measure {name!r}:", option, allowed)
            raise TypeError(message if allowed else f"measure {name!r} takes no options; got {option!r}")
    if not inspect.isclass(function):
        return function
    kind: Any = function  # a class; its objects are called as functions
    made: MeasureFunction = kind(**options)
    return made
