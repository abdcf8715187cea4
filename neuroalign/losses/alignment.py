"""The alignment loss: how far a network's responses are from a brain's, by any measure."""

from __future__ import annotations

import inspect
from typing import Any, Literal

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.autograd import forward_ad

from neuroalign.config import Described
from neuroalign.functional.checks import (
    all_finite,
    check_ceiling,
    check_choice,
    check_devices,
    check_enough,
    check_infinite,
    check_pair,
    check_sets,
    has_nan,
    widen,
)
from neuroalign.functional.distributed import gather_batch, reduce_sum, total, world_size
from neuroalign.functional.host import FirstBatch, readable, without_autocast
from neuroalign.functional.missing import prepare
from neuroalign.functional.repeats import (
    average_repeats,
    check_identities,
    count_stimuli,
    group_rows,
    group_valid_rows,
)
from neuroalign.losses.masked_sets import masked_value
from neuroalign.losses.registry import (
    MEASURES,
    AveragesOver,
    HostValue,
    Measure,
    MeasureFunction,
    known_measure,
    make_measure,
)

__all__ = ["NeuralAlignmentLoss"]


def _flag(valid: bool | Tensor, like: Tensor) -> Tensor:
    # Filled on the device: copying a Python value to the device would make the host wait.
    return valid.detach() if isinstance(valid, Tensor) else like.new_full((), valid, dtype=torch.bool)


def _plain(x: Tensor) -> bool:
    """Whether it is an ordinary tensor on the CPU, outside compilation, ``torch.func``'s transforms and forward mode."""
    if type(x) not in (Tensor, nn.Parameter) or not readable(x) or torch._C._are_functorch_transforms_active():
        return False
    return forward_ad.unpack_dual(x).tangent is None


class NeuralAlignmentLoss(Described, nn.Module):
    r"""Misalignment between predicted and target responses, a scalar to minimise.

    ===================  ==============================================================  ==============================
    measure              value                                                           unchanged by
    ===================  ==============================================================  ==============================
    ``"mse"``            mean squared difference over valid entries                      nothing
    ``"pearson"``        1 - mean correlation, ``over="stimuli"`` of each voxel (the     shift, scale per voxel
                         default) or ``over="voxels"`` of each stimulus                  (per stimulus)
    ``"cosine"``         1 - mean over stimuli of the cosine over voxels                 scale per stimulus
    ``"gaussian_nll"``   negative log likelihood; ``variance`` "learned" or given        nothing
    ``"poisson_nll"``    half the Poisson deviance of counts from (log) rates            nothing
    ``"cka"``            1 - linear CKA, debiased                                        rotation, shift, scale
    ``"rbf_cka"``        1 - CKA with Gaussian kernels                                   rotation, shift, scale
    ``"rsa"``            1 - similarity of RDMs; ``dissimilarity``, ``comparison``       depends on the dissimilarity
    ``"procrustes"``     1 - Procrustes similarity; ``alpha``, ``angular``               rotation, shift, scale; with
                                                                                         ``alpha=0`` any invertible map
    ``"soft_matching"``  1 - best pairing of units with voxels; ``temperature``          shift, scale per column
    ``"ridge"``          1 - mean held-out correlation of a ridge readout of preds       rotation, shift, scale of preds
    ===================  ==============================================================  ==============================

    The first five compare voxel by voxel, so preds has the target's width; the others compare whole sets, whose widths may
    differ. The options of a measure are those of its class in ``neuroalign.losses.voxel_measures`` or ``set_measures``, given
    as further keywords.

    Lower is better and 0 is perfect alignment, except for "gaussian_nll" (the mean of :math:`\tfrac12\log\sigma^2`, or half
    the log of ``min_variance`` where the variance is learned), "soft_matching" (about its temperature times the log of the
    number of voxels), "ridge" (what shrinkage loses) and "cka" with ``voxel_corrected=True`` (which has no bound). The value
    is computed in float32 or wider, also under autocast. Neither argument is detached: gradients flow to each argument that
    requires them. NaN in ``preds`` makes the loss NaN.

    **Missing values.** NaN in ``target`` marks a missing value. Voxel-wise measures leave the entry out. Measures of sets
    leave out a voxel or stimulus that is wholly missing; then each pair of stimuli ("cka", "rbf_cka", "rsa"), each voxel
    ("ridge", "soft_matching") or each sum ("procrustes") is computed from the values that are present; the docstring of each
    formula says how. All valid entries have the same weight: in a mean over entries ("mse", the likelihoods) a voxel weighs
    by the share of its entries that are valid. Infinite targets are refused.

    **Nothing to compare.** Where nothing, or too little, is valid the loss is 0 and keeps its graph; ``last_valid``
    distinguishes this 0 from a perfect alignment. For sets, "too little" means fewer stimuli with a valid value than
    ``min_valid``. "pearson" over stimuli counts the voxels with at least 3 valid stimuli: through two points every
    correlation is 1 or -1 and sends no gradient.

    An undefined similarity (a constant voxel, stimulus or set) counts as 0 and its gradient is exactly 0; so a readout that
    starts with zero weights stays there unless another term, such as "mse", has a gradient.

    **Repeated stimuli.** A stimulus that occurs twice in a batch is similar to itself in preds and in target, so a comparison
    of sets finds similarity even if the two are independent. The third argument ``stimulus``, the identity of each row,
    prevents this: "rsa" leaves out such pairs, the other measures of sets see the mean of a stimulus's rows. Voxel-wise
    measures ignore it.

    **Noise ceilings** weight voxels of the target: an integer weight k is the same as repeating the voxel k times, and 0 or
    NaN leaves it out.

    In distributed training the loss is exactly that of the global batch, also where the processes' last batches differ in
    size. Sets are gathered with their gradients; "pearson" exchanges a few sums per voxel, the other voxel-wise measures one
    number. Every process must then call the loss equally often; ``distributed=False`` uses the local batch only.

    Args:
        measure: A registered name, or a callable ``(preds, target) -> scalar``. A callable that has a third parameter named
            ``weight`` handles missing values and voxel weights itself; for any other callable, voxels that are wholly missing
            and then stimuli that have missing values are removed first. An attribute ``paired = False`` says that it compares
            sets whose widths may differ.
        noise_ceiling: (voxel,) in [0, 1]: weights voxels, so that means become weighted means. A weight of 0 or NaN
            leaves the voxel out; the overall scale of the weights doesn't matter.
        voxel_reduction: "mean" over voxels (the paper's guidance loss), or "sum" over voxels and mean over stimuli (the
            paper's predictor loss): "sum" is "mean" times the number of voxels that are not left out. With missing values it
            is therefore the mean over valid *entries* times that number, not the sum of each voxel's own mean.
        distributed: Whether to compute the loss of the global batch in distributed training.
        **options: Options of the measure.

    Attributes:
        last_valid: Whether the last call had something to compare, a scalar bool tensor on the target's device; None
            before the first. In distributed training it is that of the global batch.

    Shapes:
        preds (stimulus, voxel) or (stimulus, feature), target (stimulus, voxel), and optionally integer identities
        (stimulus,) -> scalar.

    Raises:
        TypeError: If an argument is not a floating-point tensor, the identities are not integers, or the measure has no such
            option.
        ValueError: If the measure or the value of an option is unknown, the noise ceiling is outside [0, 1] (perhaps it is in
            percent) or has another length, the target has an infinite value, the two arguments differ in their number of
            stimuli (or, voxel by voxel, of voxels), or the stimuli are too few for the measure.

    Example:
        >>> preds, target = torch.randn(8, 20), torch.randn(8, 20)
        >>> target[0, 3] = torch.nan  # a missing value
        >>> loss = NeuralAlignmentLoss("pearson")(preds, target)
        >>> loss.shape, bool(loss > 0)
        (torch.Size([]), True)
        >>> features = torch.randn(8, 50)  # a layer, without any head
        >>> NeuralAlignmentLoss("rsa", dissimilarity="correlation")(features, target).shape
        torch.Size([])

    Source:
        Shao et al. 2024, arXiv 2405.02564 (neural guidance loss); the docstring of each formula names its own source.
    """

    higher_is_better = False
    noise_ceiling: Tensor | None

    def __init__(
        self,
        measure: str | MeasureFunction = "mse",
        *,
        noise_ceiling: Tensor | None = None,
        voxel_reduction: Literal["mean", "sum"] = "mean",
        distributed: bool = True,
        **options: Any,
    ) -> None:
        super().__init__()
        if isinstance(measure, str):
            known, self._function, self._name = known_measure(measure), make_measure(measure, options), measure
        elif not callable(measure):
            raise TypeError(f"measure must be a name or a callable; got {type(measure).__name__}")
        elif getattr(measure, "__module__", "").startswith("neuroalign.functional."):
            raise ValueError(
                f"functional.{getattr(measure, '__name__', measure)} is a similarity or a formula, not a loss: give the "
                f"measure by name, one of {', '.join(map(repr, sorted(MEASURES)))}"
            )
        elif options:
            raise TypeError(f"options go with a measure given by name; got {', '.join(map(repr, options))}")
        else:
            own = getattr(measure, "__name__", type(measure).__name__)
            registered = ((n, m) for n, m in MEASURES.items() if m.function in (measure, type(measure)))
            self._name, known = next(registered, (own, Measure(measure)))
            self._function = measure
        check_choice("voxel_reduction", voxel_reduction, ("mean", "sum"))
        self.options = options
        self.voxel_reduction = voxel_reduction
        self.distributed = distributed
        self.last_valid: Tensor | None = None
        self._looks = FirstBatch()
        self._traits = known
        # Third, and with this name: torch's own losses have a `weight` too, in another position and with another meaning.
        call: Any = getattr(measure, "forward", measure)
        self._takes_weight = isinstance(measure, str) or list(inspect.signature(call).parameters)[2:3] == ["weight"]
        function = getattr(self._function, "forward", self._function)
        takes = inspect.signature(function).parameters if self._takes_weight else ()
        self._takes_stimulus, self._takes_kept = "stimulus" in takes, "kept" in takes
        if noise_ceiling is not None:
            noise_ceiling = check_ceiling(torch.as_tensor(noise_ceiling))
            if not self._takes_weight:
                raise ValueError(
                    "this measure takes no `weight`, so a noise ceiling can't reach it: give it a third parameter "
                    "named `weight` (stimulus, voxel), or leave noise_ceiling out"
                )
        self.register_buffer("noise_ceiling", noise_ceiling)

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any] | None:
        return None if arguments.pop("noise_ceiling") is not None else arguments

    def _trait(self, name: str) -> Any:
        """A trait of the measure: its own attribute, which may depend on options, or else what was registered."""
        return getattr(self._function, name, getattr(self._traits, name))

    @property
    def name(self) -> str:
        """Name of the measure, as it appears in logs."""
        return self._name

    @property
    def stateful(self) -> bool:
        """Whether it has parameters or running averages, so that each head needs its own instance."""
        own = isinstance(self._function, nn.Module) and bool(self._function.state_dict())
        return getattr(self._function, "stateful", own)

    @property
    def min_valid(self) -> int:
        """Smallest number of stimuli with a valid response that can be compared."""
        least: int = getattr(self._function, "min_valid", self._trait("min_stimuli"))
        return least

    @property
    def compares_sets(self) -> bool:
        """Whether it compares sets of stimuli, so that it matters which rows belong to the same stimulus."""
        return not self._trait("paired")

    def forward(
        self,
        preds: Float[Tensor, "stimulus feature"],
        target: Float[Tensor, "stimulus voxel"],
        stimulus: Int[Tensor, " stimulus"] | None = None,
    ) -> Float[Tensor, ""]:
        """The loss of predicted responses (stimulus, voxel) against target responses (stimulus, voxel)."""
        paired = self._trait("paired")
        check_pair(preds, target) if paired else check_sets(preds, target)
        if stimulus is not None:
            check_identities(stimulus, len(preds))
        check_devices(target=target, noise_ceiling=self.noise_ceiling)
        if self.noise_ceiling is not None and self.noise_ceiling.shape[0] != target.shape[1]:
            raise ValueError(f"noise_ceiling has {self.noise_ceiling.shape[0]} voxels, the responses {target.shape[1]}")
        with without_autocast(preds):
            spread = self.distributed and world_size() > 1
            quick = None if spread or not len(target) else self._on_host(*widen(preds, target))
            if quick is not None:
                return quick
            look = self._looks(target)
            if look:
                check_infinite(target=target, squared=self._trait("squares") and self.noise_ceiling is None)
            preds, target = widen(preds, target)
            over: AveragesOver = self._trait("averages_over")
            if spread and over == "set":
                preds, target = gather_batch(preds), gather_batch(target)
                stimulus = None if stimulus is None else gather_batch(stimulus.to(target.device))
            if not len(target) and not spread:  # but with other processes it must still take part in their exchange
                self.last_valid = _flag(False, target)
                return 0 * preds.sum()
            if not self._takes_weight:
                return self._call_plain(preds, target, stimulus)
            if paired:
                value, weight, valid = self._voxel_by_voxel(preds, target, over, spread, look)
            else:
                value, weight, valid = self._sets(preds, target, stimulus)
            self.last_valid = _flag(valid, target)
            if self.voxel_reduction == "sum":
                voxels = (weight > 0).any(0).to(target.dtype)
                value = value * (reduce_sum(voxels) if spread and over != "set" else voxels).gt(0).sum()
            return value

    def _call(self, preds: Tensor, target: Tensor, weight: Tensor, **more: Any) -> Tensor:
        options = {} if isinstance(self._function, nn.Module) else self.options
        return self._scalar(self._function(preds, target, weight, **options, **more))

    def _on_host(self, preds: Tensor, target: Tensor) -> Tensor | None:
        """The value by the measure's form for the CPU; None where it has none, or it can't serve."""
        form = self._trait("on_host")
        if form is None or target.requires_grad or not (_plain(preds) and _plain(target)):
            return None
        ceiling = None if self.noise_ceiling is None else self.noise_ceiling.to(target.dtype)
        found: HostValue | None = form(preds, target, ceiling)
        if found is None:
            return None
        value, voxels = found
        if self.voxel_reduction == "sum":
            if voxels is None:
                return None
            value = value * voxels
        self.last_valid = _flag(True, target)
        return value

    def _voxel_by_voxel(
        self, preds: Tensor, target: Tensor, over: str, spread: bool, look: bool
    ) -> tuple[Tensor, Tensor, bool | Tensor]:
        """The value, the weights of the entries, and whether there was something to compare."""
        weight = target.new_ones(()) if self.noise_ceiling is None else self.noise_ceiling.to(target.dtype)
        weight = weight.expand_as(target)
        # Our own measures need no branch: elsewhere than on the CPU, responses are taken for incomplete without a look.
        branches = readable(target) or self._trait("on_host") is None
        missing = has_nan(target) if branches else True
        valid: bool | Tensor = len(target) > 0
        if missing or self.noise_ceiling is not None:
            used = ~target.isnan() & (weight > 0)
            # A missing target must not reach a product: 0 * NaN is NaN, in the gradient too.
            weight, preds, target = (torch.where(used, x, 0) for x in (weight, preds, target))
            if look and self.noise_ceiling is not None and self._trait("squares"):  # left-out voxels may hold anything
                check_infinite(target=target, squared=True)
            valid = used.any() if missing else valid
        more = {"total": total} if spread and over == "voxel" else {}
        if missing and branches and over != "voxel" and not bool(valid):
            value = 0 * preds.sum()  # a measure's own value without data may be anything
        else:
            value = self._call(preds, target, weight, **more)
            known = getattr(self._function, "last_valid", None)
            valid = (reduce_sum(weight.sum()) > 0 if more else valid) if known is None else known
        if spread and over in ("entry", "stimulus"):  # so that the ranks' mean is the global batch's value
            if over == "entry":
                ours = weight.sum()
            else:
                counted = getattr(self._function, "counted_stimuli", lambda w: (w > 0).any(1))
                ours = counted(weight).sum().to(target.dtype)
            every = reduce_sum(ours)
            value = value * world_size() * ours / every.clamp_min(torch.finfo(target.dtype).tiny)
            valid = every > 0
        return value, weight, valid

    def _sets(self, preds: Tensor, target: Tensor, stimulus: Tensor | None) -> tuple[Tensor, Tensor, bool | Tensor]:
        check_enough(len(preds), self._trait("min_stimuli"), f"the measure {self.name!r}")
        # (Without "mps", which has no float64: similarities over common voxels need it.)
        if self._takes_kept and not readable(target) and target.device.type != "mps":
            value, weight, valid = masked_value(
                self._call, preds, target, self.noise_ceiling, stimulus, self.min_valid, self._takes_stimulus
            )
            known = getattr(self._function, "last_valid", None)
            return value, weight, valid if known is None else valid & known
        if not all_finite(preds):  # an eigendecomposition would raise, a median would hide it
            return preds.sum() * torch.nan, torch.ones_like(target), True
        group = group_valid_rows(stimulus, target, self.noise_ceiling)
        kept_preds, target, weight = prepare(preds, target, self.noise_ceiling, checked=True)
        if count_stimuli(len(kept_preds), group) < self.min_valid:
            return 0 * preds.sum(), weight, False
        if group is not None and self._takes_stimulus:
            value = self._call(kept_preds, target, weight, stimulus=group)
        else:
            kept_preds, target, weight = average_repeats(kept_preds, target, weight, group)
            value = self._call(kept_preds, target, weight)
        known = getattr(self._function, "last_valid", None)  # a measure may find out more
        return value, weight, True if known is None else known

    def _call_plain(self, preds: Tensor, target: Tensor, stimulus: Tensor | None) -> Tensor:
        valid = ~target.isnan()
        some = valid.any(0)
        # Numbers and not masks: each index by a mask would make a device's host wait, also in the backward pass.
        stimuli, voxels = ((valid | ~some).all(1) & some.any()).nonzero()[:, 0], some.nonzero()[:, 0]
        self.last_valid = _flag(len(stimuli) > 0, target)
        if not len(stimuli):
            return 0 * preds.sum()
        preds, target = preds[stimuli], target[stimuli][:, voxels]
        if not self.compares_sets:
            preds = preds[:, voxels]
        elif stimulus is not None:
            group = group_rows(stimulus.to(target.device)[stimuli])
            preds, target, _ = average_repeats(preds, target, target.new_ones(()).expand_as(target), group)
        value = self._scalar(self._function(preds, target))
        return value * len(voxels) if self.voxel_reduction == "sum" else value

    def _scalar(self, value: Tensor) -> Tensor:
        if not isinstance(value, Tensor) or value.ndim != 0:
            got = tuple(value.shape) if isinstance(value, Tensor) else type(value).__name__
            raise ValueError(f"measure {self.name!r} must return a scalar tensor; got {got}")
        return value

    def extra_repr(self) -> str:
        """Shown in ``repr``."""
        options = "".join(f", {key}={value!r}" for key, value in self.options.items())
        weighted = "" if self.noise_ceiling is None else f", noise_ceiling=({len(self.noise_ceiling)},)"
        return f"{self.name!r}{options}, voxel_reduction={self.voxel_reduction!r}{weighted}"
