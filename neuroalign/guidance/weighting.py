"""Weights of many guidance terms (layers x regions x subjects); each weight is fixed, scheduled or learned."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neuroalign.config import Described, build, is_description
from neuroalign.functional.host import FirstBatch, readable, spoil
from neuroalign.types import Batch, unknown

__all__ = ["Ramp", "WeightedGuidance"]

_LARGEST_LOG_VARIANCE = 4.0


@dataclass(frozen=True)
class Ramp:
    """A weight that changes over training: ``start`` during the delay, then a linear change to ``end``.

    Args:
        end: Weight after the change.
        delay: Number of training batches before the change begins.
        duration: Number of training batches that the change takes; 0 means a step.
        start: Weight before the change.

    Example:
        >>> ramp = Ramp(delay=100, duration=50)
        >>> [ramp(step) for step in (0, 100, 125, 150, 1000)]
        [0.0, 0.0, 0.5, 1.0, 1.0]
    """

    end: float = 1.0
    delay: int = 0
    duration: int = 0
    start: float = 0.0

    def __post_init__(self) -> None:
        if not (0 <= self.delay < math.inf and 0 <= self.duration < math.inf):
            raise ValueError(
                f"delay and duration count training batches, at least 0; got {self.delay}, {self.duration}"
            )
        if not (0 <= self.start < math.inf and 0 <= self.end < math.inf):
            raise ValueError(f"weights must be at least 0 and finite; got {self.start} and {self.end}")

    def __call__(self, step: int) -> float:
        """The weight after ``step`` training batches."""
        if step < self.delay:
            return float(self.start)
        share = 1.0 if self.duration == 0 else min(1.0, (step - self.delay) / self.duration)
        return float(self.start + (self.end - self.start) * share)


def _ramped(ramp: Ramp, step: Tensor) -> Tensor:
    """A ramp's weight at a step (an integer scalar) that is on a device and not to be read."""
    share = ((step - ramp.delay) / ramp.duration).clamp(0, 1) if ramp.duration else (step >= ramp.delay).float()
    return ramp.start + (ramp.end - ramp.start) * share


class WeightedGuidance(Described, nn.Module):
    r"""Several guidances together, with one weight per term.

    Called as ``guidance(preds, batch)``; returns the weighted terms by name, to be summed. A term's weight is that of the
    first name or pattern (``*`` and ``?``) that fits it, and 1 if none fits. A weight is a number, or a :class:`Ramp` over
    the training batches that this module has seen (their number is in the state dict, so that a resumed run continues).

    ``weights="learned"`` learns a variance :math:`\sigma^2` per term instead and returns
    :math:`L / (2\sigma^2) + \tfrac12 \log\sigma^2` (homoscedastic uncertainty): terms that stay large get less weight. The
    learned weights are parameters of this module, so give them to the optimiser (the tasks here do). At the optimum
    :math:`\sigma^2 = L`, so a term's weight is :math:`1/(2L)` and grows as the term is learned. The task's own loss keeps
    the share 1 - alpha, so guidance that can be fitted well comes to dominate. ``weigh_task=True`` learns a weight for the
    task's loss by the same rule, as the source does. :math:`\log\sigma^2` stays in [-4, 4], so weights stay between 0.009
    and 27. For a term that can be negative the rule has no minimum, so negative terms are refused. A term that had nothing to
    compare in a batch, as its guidance reports in ``last_valid``, is left out of that batch and changes no weight.

    ``last_weights`` holds the factors of the last call by term, and the tasks log them as ``alignment_weight/...``: numbers
    on the CPU. On another device the factors that depend on the step or are learned are scalar tensors there, since reading
    them would make the host wait. There a negative term is refused at the first batch, and a later one becomes NaN.

    Args:
        guidances: One guidance or a list.
        weights: Weights by term name or pattern, or "learned"; None gives every term the weight 1.
        terms: Names of all terms; "learned" needs them if the terms of a guidance are not known before it is called.
        weigh_task: Whether "learned" also learns the weight of the task's own loss: see :meth:`weighted_task`.

    Raises:
        TypeError: If a weight is neither a number nor a ramp.
        ValueError: If two guidances return a term of the same name, a pattern fits no term, a weight is negative,
            the terms of "learned" are not known or one is negative, or ``weigh_task`` is set without "learned".

    Example:
        >>> from neuroalign import MeasuredGuidance
        >>> both = MeasuredGuidance({"V1": [0, 1], "TO": [2]})
        >>> guidance = WeightedGuidance(both, {"V1/*": 0.5, "TO/mse": Ramp(delay=100)})
        >>> preds = {"V1": torch.zeros(4, 2), "TO": torch.zeros(4, 1)}
        >>> terms = guidance(preds, {"response": torch.ones(4, 3)})
        >>> {name: float(term) for name, term in terms.items()}
        {'V1/mse': 0.5, 'TO/mse': 0.0}

    Source:
        Kendall, Gal & Cipolla 2018, arXiv 1705.07115 (learned weights).
    """

    step: Tensor

    def __init__(
        self,
        guidances: nn.Module | Sequence[nn.Module | dict[str, Any]] | dict[str, Any],
        weights: Mapping[str, float | Ramp | Mapping[str, Any]] | Literal["learned"] | None = None,
        *,
        terms: Sequence[str] | None = None,
        weigh_task: bool = False,
    ) -> None:
        super().__init__()
        if isinstance(guidances, nn.Module) or is_description(guidances):
            given: Iterable[Any] = [guidances]
        else:
            given = guidances
        self.guidances = nn.ModuleList([build(g, nn.Module) for g in given])
        if not len(self.guidances):
            raise ValueError("give at least one guidance")
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.weigh_task = bool(weigh_task)
        self.last_task_weight: float | Tensor = 1.0
        self.last_weights: dict[str, float | Tensor] = {}
        self._looks, self._looks_at_task = FirstBatch(), FirstBatch()
        self.weights: dict[str, float | Ramp] = {}
        self._fitting: dict[tuple[tuple[str, ...], tuple[str, ...]], tuple[str | None, ...]] = {}
        self.log_variance: nn.Parameter | None = None
        self.names: tuple[str, ...] = tuple(terms) if terms is not None else self.terms or ()
        if weigh_task and weights != "learned":
            raise ValueError(
                "weigh_task=True goes with weights='learned': given weights leave the task's loss as it is"
            )
        if weights == "learned":
            if not self.names:
                raise ValueError("learned weights need the terms' names beforehand: terms=['V4/mse', ...]")
            self.log_variance = nn.Parameter(torch.zeros(len(self.names) + weigh_task))
        elif isinstance(weights, str):
            raise ValueError(f"weights must be by term name, or 'learned'; got {weights!r}")
        else:
            self.weights = {pattern: self._weight(pattern, value) for pattern, value in (weights or {}).items()}
            with suppress(ValueError):  # a pattern that fits no term is refused at the first batch
                self._patterns_of(self.names)

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {**arguments, "guidances": list(self.guidances)}

    @staticmethod
    def _weight(pattern: str, value: Any) -> float | Ramp:
        if isinstance(value, Mapping):
            value = Ramp(**value)
        if isinstance(value, Ramp):
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"the weight of {pattern!r} must be a number or a Ramp; got {type(value).__name__}")
        if not 0 <= value < math.inf:
            raise ValueError(f"the weight of {pattern!r} must be at least 0 and finite; got {value}")
        return float(value)

    @property
    def terms(self) -> tuple[str, ...] | None:
        """Names of the terms; None if a guidance doesn't know its terms before it is called."""
        names: list[str] = []
        for guidance in self.guidances:
            own = getattr(guidance, "terms", None)
            if own is None:
                return None
            names += own
        return tuple(names)

    def forward(self, preds: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Weighted terms by name, for outputs by head (stimulus, feature) and the batch they came from."""
        terms: dict[str, Tensor] = {}
        for guidance in self.guidances:
            for name, value in guidance(preds, batch).items():
                if name in terms:
                    raise ValueError(
                        f"two guidances return a term {name!r}: give them heads of different names, such as 'layer3/V4'"
                    )
                terms[name] = value
        out = self._learned(terms) if self.log_variance is not None else self._given(terms)
        if self.training:
            self.step += 1
        return out

    def _given(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        self.last_weights, out = {}, {}
        for (name, value), pattern in zip(terms.items(), self._patterns_of(tuple(terms))):
            weight = self.last_weights[name] = self._now(1.0 if pattern is None else self.weights[pattern])
            out[name] = (weight.to(value) if isinstance(weight, Tensor) else weight) * value
        return out

    def _patterns_of(self, names: tuple[str, ...]) -> tuple[str | None, ...]:
        """For each term the first pattern that fits it; remembered, since a graph can't be compiled of the search."""
        key = (names, tuple(self.weights))
        if key not in self._fitting:
            for pattern in self.weights:
                if not any(fnmatchcase(name, pattern) for name in names):
                    raise ValueError(unknown("term", pattern, names))
            found = (next((p for p in self.weights if fnmatchcase(name, p)), None) for name in names)
            self._fitting = {key: tuple(found)}
        return self._fitting[key]

    def _now(self, weight: float | Ramp) -> float | Tensor:
        """A given weight at the present step."""
        if not isinstance(weight, Ramp):
            return weight
        return weight(int(self.step)) if readable(self.step) else _ramped(weight, self.step)

    def _learned(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        assert self.log_variance is not None
        if self.training:  # the optimiser's last step may have left the bounds
            with torch.no_grad():
                self.log_variance.clamp_(-_LARGEST_LOG_VARIANCE, _LARGEST_LOG_VARIANCE)
        log_variance = self.log_variance
        if set(terms) != set(self.names):
            raise ValueError(
                f"learned weights were made for {sorted(self.names)}, the guidances return {sorted(terms)}"
            )
        factors = {name: (-s).exp() / 2 for name, s in zip(self.names, log_variance)}
        if looks := self._looks(log_variance):
            self._refuse_negative(terms, log_variance)
        self.last_weights = {name: _number(factor) for name, factor in factors.items()}
        valid = self.last_valid
        out = {}
        for name, s in zip(self.names, log_variance):
            weighted = factors[name] * terms[name] + s / 2
            if not looks:
                weighted = spoil(weighted, terms[name].detach() < 0)
            out[name] = weighted if name not in valid else torch.where(valid[name], weighted, 0 * weighted)
        return {name: out[name] for name in terms}

    @staticmethod
    def _refuse_negative(terms: Mapping[str, Tensor], like: Tensor) -> None:
        for name, value in zip(terms, torch.stack([x.detach().to(like) for x in terms.values()]).tolist()):
            if value < 0:
                raise ValueError(
                    f"the term {name!r} is negative ({value:.3g}), and a learned weight would grow without end: give it a "
                    "fixed weight, WeightedGuidance(guidance, {...})"
                )

    def weighted_task(self, loss: Tensor) -> Tensor:
        """The task's own loss with its learned weight; unchanged without ``weigh_task``. The tasks here call it.

        Raises:
            ValueError: If a weight is learned and the loss is negative.
        """
        if self.log_variance is None or not self.weigh_task:
            return loss
        s = self.log_variance[-1]
        factor = (-s).exp() / 2
        self.last_task_weight = _number(factor)
        weighted = factor * loss + s / 2
        if not self._looks_at_task(factor):
            return spoil(weighted, loss.detach() < 0)
        if (value := float(loss.detach().to(factor))) < 0:
            raise ValueError(f"the task's loss is negative ({value:.3g}), and a learned weight would grow without end")
        return weighted

    @property
    def last_valid(self) -> dict[str, Tensor]:
        """By term whether the last call had something to compare (scalar bool tensors), for guidances that report it."""
        return {name: valid for g in self.guidances for name, valid in getattr(g, "last_valid", {}).items()}


def _number(factor: Tensor) -> float | Tensor:
    return float(factor.detach()) if readable(factor) else factor.detach()
