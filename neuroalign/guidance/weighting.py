"""Many guidance terms at once: layers x regions x subjects, each with a weight that is fixed, scheduled or learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, Literal

import torch
from torch import Tensor, nn

from neuroalign.config import build, describe, is_description
from neuroalign.types import Batch, unknown


@dataclass(frozen=True)
class Ramp:
    """A weight that changes over training: ``start`` during the delay, then linearly to ``end``.

    Args:
        end: The weight at last.
        delay: Training batches before anything changes.
        duration: Training batches that the change takes; 0 is a step.
        start: The weight at first.

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
        if self.delay < 0 or self.duration < 0:
            raise ValueError(
                f"delay and duration count training batches, at least 0; got {self.delay}, {self.duration}"
            )
        if min(self.start, self.end) < 0:
            raise ValueError(f"weights must be at least 0; got {self.start} and {self.end}")

    def __call__(self, step: int) -> float:
        """The weight after so many training batches."""
        if step < self.delay:
            return float(self.start)
        share = 1.0 if self.duration == 0 else min(1.0, (step - self.delay) / self.duration)
        return float(self.start + (self.end - self.start) * share)


class WeightedGuidance(nn.Module):
    r"""Several guidances at once, and a weight for each of their terms.

    Called as ``guidance(preds, batch)``; returns the weighted terms by name, to be added up. A term's weight is that of
    the first name or pattern (``*`` and ``?``) that fits it, 1 if none does: a number, or a :class:`Ramp` over the training
    batches that this module has seen (they are counted in the state dict, so that a resumed run goes on where it was).

    ``weights="learned"`` learns a variance :math:`\sigma^2` for each term instead and returns
    :math:`L / (2\sigma^2) + \tfrac12 \log\sigma^2` (homoscedastic uncertainty): terms that stay large get less weight. The
    learned weights are parameters of this module, so give them to the optimiser (the tasks here do).

    ``last_weights`` holds the factors of the last call by term, and the tasks log them as ``alignment_weight/...``.

    Args:
        guidances: One guidance or a list.
        weights: By term name or pattern, or "learned"; None for 1.
        terms: Names of all terms, needed by "learned" if a guidance can't tell them before it is called.

    Raises:
        TypeError: If a weight is neither a number nor a ramp.
        ValueError: If two guidances return a term of the same name, a pattern fits no term, a weight is negative, or
            "learned" doesn't know the terms.

    Example:
        >>> from neuroalign import MeasuredGuidance
        >>> both = MeasuredGuidance({"V1": [0, 1], "TO": [2]})
        >>> guidance = WeightedGuidance(both, {"V1/*": 0.5, "TO/mse": Ramp(delay=100)})
        >>> preds = {"V1": torch.zeros(4, 2), "TO": torch.zeros(4, 1)}
        >>> {name: float(term) for name, term in guidance(preds, {"response": torch.ones(4, 3)}).items()}
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
    ) -> None:
        super().__init__()
        if isinstance(guidances, nn.Module) or is_description(guidances):
            guidances = [guidances]  # type: ignore[list-item]
        self.guidances = nn.ModuleList([build(g) for g in guidances])
        if not len(self.guidances):
            raise ValueError("give at least one guidance")
        self.register_buffer("step", torch.zeros((), dtype=torch.long))
        self.last_weights: dict[str, float] = {}
        self.weights: dict[str, float | Ramp] = {}
        self.log_variance: nn.Parameter | None = None
        self.names: tuple[str, ...] = tuple(terms) if terms is not None else self.terms or ()
        if weights == "learned":
            if not self.names:
                raise ValueError("learned weights need the terms' names beforehand: terms=['V4/mse', ...]")
            self.log_variance = nn.Parameter(torch.zeros(len(self.names)))
        elif isinstance(weights, str):
            raise ValueError(f"weights must be by term name, or 'learned'; got {weights!r}")
        else:
            self.weights = {pattern: self._weight(pattern, value) for pattern, value in (weights or {}).items()}
        self.config = describe(
            "neuroalign.guidance.WeightedGuidance",
            guidances=list(self.guidances),
            weights=weights,
            terms=None if terms is None else list(terms),
        )

    @staticmethod
    def _weight(pattern: str, value: Any) -> float | Ramp:
        if isinstance(value, Mapping):
            value = Ramp(**value)
        if isinstance(value, Ramp):
            return value
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise TypeError(f"the weight of {pattern!r} must be a number or a Ramp; got {type(value).__name__}")
        if value < 0:
            raise ValueError(f"the weight of {pattern!r} must be at least 0; got {value}")
        return float(value)

    @property
    def terms(self) -> tuple[str, ...] | None:
        """Names of the terms, None if a guidance can't tell them before it is called."""
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
        for pattern in self.weights:
            if not any(fnmatchcase(name, pattern) for name in terms):
                raise ValueError(unknown("term", pattern, terms))
        step = int(self.step) if any(isinstance(w, Ramp) for w in self.weights.values()) else 0
        self.last_weights = {}
        for name in terms:
            fitting = (w for pattern, w in self.weights.items() if fnmatchcase(name, pattern))
            weight = next(fitting, 1.0)
            self.last_weights[name] = weight(step) if isinstance(weight, Ramp) else weight
        return {name: self.last_weights[name] * value for name, value in terms.items()}

    def _learned(self, terms: dict[str, Tensor]) -> dict[str, Tensor]:
        assert self.log_variance is not None
        if set(terms) != set(self.names):
            raise ValueError(
                f"learned weights were made for {sorted(self.names)}, the guidances return {sorted(terms)}"
            )
        log_variance = dict(zip(self.names, self.log_variance))
        factors = {name: (-s).exp() / 2 for name, s in log_variance.items()}
        self.last_weights = dict(zip(factors, torch.stack(list(factors.values())).tolist()))
        return {name: factors[name] * value + log_variance[name] / 2 for name, value in terms.items()}
