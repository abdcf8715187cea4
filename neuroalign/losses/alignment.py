"""The alignment loss: how far a network's responses are from a brain's, by any measure."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Literal

import torch
from torch import Tensor, nn

from neuroalign.config import describe
from neuroalign.functional.correlation import check_pair, masked_correlation
from neuroalign.functional.distributed import gather_batch, reduce_sum, world_size
from neuroalign.types import unknown

Measure = Callable[..., Tensor]

MEASURES: dict[str, Measure] = {}
"""Registered measures by name. Each takes ``(preds, target, weight)`` of one shape and returns a scalar."""

AveragesOver = Literal["entry", "stimulus", "set"]
_AVERAGES_OVER: dict[str, AveragesOver] = {}


def register_measure(name: str, *, averages_over: AveragesOver = "set") -> Callable[[Measure], Measure]:
    """Register a measure under a name that :class:`NeuralAlignmentLoss` then accepts.

    Args:
        name: The name; an existing one is an error.
        averages_over: What the value is a mean of, which decides how it is made exact in distributed training:
            "entry" (a weighted mean over entries) and "stimulus" (a mean over stimuli with a valid entry) exchange one
            number; "set" (anything that depends on the batch as a whole, such as a correlation over stimuli) sees the
            gathered batches of all processes and is always right.

    Returns:
        A decorator for ``(preds, target, weight) -> scalar``: preds and target (stimulus, voxel) in float32 or wider,
        target without NaN, and weight (stimulus, voxel) >= 0, which is 0 where the target is missing.

    Raises:
        ValueError: If the name is taken.

    Example:
        >>> @register_measure("mae")
        ... def mae(preds, target, weight):
        ...     return (weight * (preds - target).abs()).sum() / weight.sum()
        >>> NeuralAlignmentLoss("mae")(torch.zeros(2, 3), torch.ones(2, 3))
        tensor(1.)
        >>> del MEASURES["mae"]
    """

    def decorate(measure: Measure) -> Measure:
        if name in MEASURES:
            raise ValueError(f"a measure named {name!r} is registered already")
        MEASURES[name] = measure
        _AVERAGES_OVER[name] = averages_over
        return measure

    return decorate


def _weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    return (weight * values).sum() / weight.sum().clamp_min(torch.finfo(weight.dtype).tiny)


@register_measure("mse", averages_over="entry")
def _mse(preds: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    return _weighted_mean((preds - target).square(), weight)


@register_measure("pearson")
def _pearson(preds: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    r, _ = masked_correlation(preds, target, 0, (weight > 0).to(preds.dtype), centered=True)
    # A voxel's weight is that of its valid entries; with one valid stimulus there is nothing to correlate.
    voxel_weight = torch.where((weight > 0).sum(0) >= 2, weight.amax(0), 0)
    return _weighted_mean(1 - r, voxel_weight)


@register_measure("cosine", averages_over="stimulus")
def _cosine(preds: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    r, _ = masked_correlation(preds, target, 1, weight, centered=False)
    return _weighted_mean(1 - r, (weight > 0).any(1).to(r.dtype))


class NeuralAlignmentLoss(nn.Module):
    r"""Misalignment between predicted and target responses, a scalar to minimise.

    =============  =====================================================================  =====================
    measure        value                                                                  unchanged by
    =============  =====================================================================  =====================
    ``"mse"``      mean squared difference over valid entries                             nothing
    ``"pearson"``  1 - mean over voxels of the correlation over stimuli                   shift, scale per voxel
    ``"cosine"``   1 - mean over stimuli of the cosine over voxels                        scale per stimulus
    =============  =====================================================================  =====================

    Lower is better and 0 is perfect alignment. The value is computed in float32 or wider, also under autocast. NaN in
    ``target`` marks a missing value and is left out; where nothing is valid the loss is 0 and keeps its graph. It never
    detaches: gradients flow to whatever of its two arguments requires them. A constant voxel (stimulus, for "cosine")
    has no correlation: it counts as 0 and sends no gradient.

    In distributed training the loss is that of the global batch: "pearson" gathers the batches, the others exchange one
    number. Every process must then call it equally often; ``distributed=False`` keeps it local.

    Args:
        measure: A registered name, or a callable ``(preds, target) -> scalar``. A callable that has a third parameter
            named ``weight`` handles missing values and voxel weights itself; from one that has not, stimuli or voxels
            with missing values are removed first (voxels that are wholly missing, then stimuli that are partly).
        noise_ceiling: (voxel,) in [0, 1]: weights voxels, so that means become weighted means. A weight of 0 or NaN
            leaves the voxel out; the overall scale of the weights doesn't matter.
        voxel_reduction: "mean" over voxels (the paper's guidance loss), or "sum" over voxels and mean over stimuli
            (the paper's predictor loss): the same times the number of voxels that are not left out.
        distributed: Whether to see the global batch where training is distributed.

    Shapes:
        preds (stimulus, voxel), target (stimulus, voxel) -> scalar.

    Raises:
        ValueError: If the measure is unknown, the noise ceiling is outside [0, 1] (per cent, perhaps), or the two
            arguments differ in their number of stimuli or voxels.

    Example:
        >>> preds, target = torch.randn(8, 20), torch.randn(8, 20)
        >>> target[0, 3] = torch.nan  # a missing value
        >>> loss = NeuralAlignmentLoss("pearson")(preds, target)
        >>> loss.shape, bool(loss > 0)
        (torch.Size([]), True)

    Source:
        Shao et al. 2024, arXiv 2405.02564 (neural guidance loss).
    """

    noise_ceiling: Tensor | None

    def __init__(
        self,
        measure: str | Measure = "mse",
        *,
        noise_ceiling: Tensor | None = None,
        voxel_reduction: Literal["mean", "sum"] = "mean",
        distributed: bool = True,
    ) -> None:
        super().__init__()
        if isinstance(measure, str):
            if measure not in MEASURES:
                raise ValueError(unknown("measure", measure, MEASURES))
        elif not callable(measure):
            raise TypeError(f"measure must be a name or a callable; got {type(measure).__name__}")
        if voxel_reduction not in ("mean", "sum"):
            raise ValueError(f"voxel_reduction must be 'mean' or 'sum'; got {voxel_reduction!r}")
        self.measure = measure
        self.voxel_reduction = voxel_reduction
        self.distributed = distributed
        self._function: Measure = MEASURES[measure] if isinstance(measure, str) else measure
        # Third and so named: torch's own losses have a `weight` too, further back and of another meaning.
        parameters = [] if isinstance(measure, str) else list(inspect.signature(measure).parameters)
        self._takes_weight = isinstance(measure, str) or parameters[2:3] == ["weight"]
        if noise_ceiling is not None:
            noise_ceiling = self._check_ceiling(torch.as_tensor(noise_ceiling))
            if not self._takes_weight:
                raise ValueError(
                    "this measure takes no `weight`, so a noise ceiling can't reach it: give it a third parameter "
                    "named `weight` (stimulus, voxel), or leave noise_ceiling out"
                )
        self.register_buffer("noise_ceiling", noise_ceiling)
        plain = noise_ceiling is None and isinstance(measure, str)
        self.config = describe(
            "neuroalign.losses.NeuralAlignmentLoss",
            measure=measure if plain else object(),
            voxel_reduction=voxel_reduction,
            distributed=distributed,
        )

    @staticmethod
    def _check_ceiling(ceiling: Tensor) -> Tensor:
        if ceiling.ndim != 1:
            raise ValueError(f"noise_ceiling must be (voxel,); got shape {tuple(ceiling.shape)}")
        ceiling = torch.nan_to_num(ceiling.float(), nan=0.0, posinf=torch.inf)
        if bool((ceiling < 0).any()) or bool((ceiling > 1).any()):
            raise ValueError(
                f"noise_ceiling must be in [0, 1]; got {float(ceiling.min()):.3g} to {float(ceiling.max()):.3g} "
                "(divide per cent by 100; turn ncsnr into a ceiling with ncsnr^2 / (ncsnr^2 + 1/n))"
            )
        if not bool((ceiling > 0).any()):
            raise ValueError("noise_ceiling is 0 or NaN everywhere: every voxel would be left out")
        return ceiling

    @property
    def name(self) -> str:
        """Name of the measure, as it appears in logs."""
        return self.measure if isinstance(self.measure, str) else getattr(self.measure, "__name__", "custom")

    def forward(self, preds: Tensor, target: Tensor) -> Tensor:
        """The loss of predicted responses (stimulus, voxel) against target responses (stimulus, voxel)."""
        check_pair(preds, target)
        with torch.autocast(preds.device.type, enabled=False):
            dtype = torch.promote_types(torch.promote_types(preds.dtype, target.dtype), torch.float32)
            preds, target = preds.to(dtype), target.to(dtype)
            over = _AVERAGES_OVER[self.measure] if isinstance(self.measure, str) else "set"
            spread = self.distributed and world_size() > 1
            if spread and over == "set":
                preds, target = gather_batch(preds), gather_batch(target)
            if not len(target):
                return 0 * preds.sum()
            valid = ~target.isnan()
            if not self._takes_weight:
                return self._call_plain(preds, target, valid)
            weight = valid.to(dtype)
            if self.noise_ceiling is not None:
                if self.noise_ceiling.shape[0] != target.shape[1]:
                    raise ValueError(
                        f"noise_ceiling has {self.noise_ceiling.shape[0]} voxels, the responses {target.shape[1]}"
                    )
                weight = weight * self.noise_ceiling.to(weight)
            used = weight > 0
            # A missing target must not reach a product: 0 * NaN is NaN, in the gradient too.
            preds_used, target_used = torch.where(used, preds, 0), torch.where(used, target, 0)
            value = self._scalar(self._function(preds_used, target_used, weight))
            if spread and over != "set":  # so that the mean of the ranks' values is the value of the whole batch
                ours = weight.sum() if over == "entry" else used.any(1).sum().to(dtype)
                value = value * world_size() * ours / reduce_sum(ours).clamp_min(torch.finfo(dtype).tiny)
            if self.voxel_reduction == "sum":
                voxels = used.any(0).to(dtype)
                value = value * (reduce_sum(voxels) if spread else voxels).gt(0).sum()
            return value

    def _call_plain(self, preds: Tensor, target: Tensor, valid: Tensor) -> Tensor:
        voxels = valid.any(0)
        stimuli = valid[:, voxels].all(1) & voxels.any()
        if not bool(stimuli.any()):
            return 0 * preds.sum()
        value = self._scalar(self._function(preds[stimuli][:, voxels], target[stimuli][:, voxels]))
        return value * voxels.sum() if self.voxel_reduction == "sum" else value

    def _scalar(self, value: Tensor) -> Tensor:
        if not isinstance(value, Tensor) or value.ndim != 0:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"measure {self.name!r} must return a scalar tensor; got {got}")
        return value

    def extra_repr(self) -> str:
        """Shown in ``repr``."""
        weighted = "" if self.noise_ceiling is None else f", noise_ceiling=({len(self.noise_ceiling)},)"
        return f"{self.name!r}, voxel_reduction={self.voxel_reduction!r}{weighted}"
