"""Guidance by responses: match a region's responses, predicted by a predictor or measured."""

from __future__ import annotations

import os
import warnings
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from neuroalign.config import Described, DescriptionError, build, is_description, refuse_if_described
from neuroalign.config.own_modules import import_allowed, lacking
from neuroalign.losses import NeuralAlignmentLoss
from neuroalign.models import Frozen, NeuralPredictor, StandardizedPredictor
from neuroalign.models.pretraining import own_shape
from neuroalign.types import Batch, check_images, unknown

__all__ = ["MeasuredGuidance", "PredictedGuidance", "TargetGuidance"]

_NORMALIZED = (
    "If they were normalised with a mean and standard deviation: a predictor normalises by itself, so give guidance the "
    "pixels, {**batch, 'image': batch['image'] * std + mean}, or leave the normalisation out of the data (a network has "
    "it in its first layer). For predictors of your own that want other images, set guidance.checks_images = False."
)


def check_heads(preds: Mapping[str, Any], wanted: Iterable[str]) -> None:
    """Refuse guidance of a head that the network doesn't have.

    Raises:
        ValueError: If a name in ``wanted`` is not in ``preds``.
    """
    for name in wanted:
        if name not in preds:
            raise ValueError(
                unknown("response head", name, preds)
                + ". The network needs a head for every name that guides it: GuidedNetwork(heads={...})"
            )


def class_labels(batch: Batch) -> Tensor:
    """A batch's labels (stimulus,), for guidance that depends on an image's class.

    Raises:
        ValueError: If they are soft: an image of two classes has the target of neither.
    """
    labels = batch["label"]
    if labels.ndim != 1 or labels.is_floating_point():
        raise ValueError(
            f"guidance by class needs labels (stimulus,) int64; got {tuple(labels.shape)} "
            f"{str(labels.dtype).removeprefix('torch.')}: leave MixUp and CutMix out"
        )
    return labels


LossLike: TypeAlias = "str | nn.Module | dict[str, Any]"


def _as_loss(loss: LossLike) -> nn.Module:
    return NeuralAlignmentLoss(loss) if isinstance(loss, str) else build(loss, nn.Module)


def _name(loss: nn.Module) -> str:
    return getattr(loss, "name", type(loss).__name__)


class TargetGuidance(Described, nn.Module, ABC):
    """Base class of guidance toward target responses: subclasses return the targets from ``targets``.

    Called as ``guidance(preds, batch)`` with the network's responses by head and the batch; returns the loss terms by
    name, ``<head>/<measure>``. If the batch has ``stimulus``, a loss that compares sets gets it, to know which rows are of
    one stimulus. Depends on no trainer: use it in any LightningModule or plain loop.

    Args:
        loss: A measure's name or a loss ``(preds, target) -> scalar``; or one of these per head, by the head's name. Losses
            with learned weights or running averages, and losses with a noise ceiling (one value per voxel of the region),
            need one loss per head.

    Attributes:
        last_valid: By the term's name whether the last call had something to compare, a scalar bool tensor. If not, because
            too many responses are missing, the term is 0 and keeps its graph; that 0 doesn't mean perfect alignment.
    """

    def __init__(self, loss: LossLike | Mapping[str, LossLike] = "mse") -> None:
        super().__init__()
        self.last_valid: dict[str, Tensor] = {}
        if isinstance(loss, Mapping) and not is_description(loss):
            self.loss: nn.Module = nn.ModuleDict({head: _as_loss(value) for head, value in loss.items()})
        else:
            self.loss = _as_loss(loss)

    @abstractmethod
    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """Target responses (stimulus, voxel) by head; NaN where there is none."""

    def held_out_targets(self, batch: Batch) -> dict[str, Tensor]:
        """Targets (stimulus, voxel) of a validation or test batch by head; empty if such a batch has none."""
        try:
            return self.targets(batch)
        except (KeyError, ValueError):  # mostly measured responses, which only training batches have
            return {}

    def ceiling_of(self, head: str) -> Tensor | None:
        """Noise ceiling (voxel,) of a head's targets; None if they are not measured or it is not known."""
        return None

    def forward(self, preds: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        """Loss terms by name, for responses by head (stimulus, voxel) and the batch they came from."""
        targets = self.targets(batch)
        check_heads(preds, targets)
        if len(targets) > 1 and not torch.compiler.is_compiling() and getattr(self.loss, "stateful", False):
            raise ValueError(
                f"the loss {self.loss.name!r} has a state of its own, so each of the heads {sorted(targets)} needs its own "
                "loss: loss={head: NeuralAlignmentLoss(...), ...}"
            )
        terms, self.last_valid = {}, {}
        for head, target in targets.items():
            loss = self.loss_of(head)
            term = f"{head}/{_name(loss)}"
            known = "stimulus" in batch and getattr(loss, "compares_sets", False)  # pairs of one stimulus don't count
            more = (batch["stimulus"],) if known else ()
            terms[term] = loss(preds[head], target, *more)
            valid = getattr(loss, "last_valid", None)
            self.last_valid[term] = ~target.detach().isnan().all() if valid is None else valid
        return terms

    def loss_of(self, head: str) -> nn.Module:
        """The loss of a head."""
        if not isinstance(self.loss, nn.ModuleDict):
            return self.loss
        if head not in self.loss:
            raise ValueError(unknown("head without a loss", head, self.loss))
        return self.loss[head]

    @property
    def heads_guided(self) -> tuple[str, ...] | None:
        """Names of the heads that get a target; None if they depend on the batch."""
        return None

    @property
    def head_widths(self) -> dict[str, int]:
        """Number of voxels of the heads' targets by head, as far as it is known before the first batch."""
        return {}

    def heads_needed(self) -> dict[str, tuple[int | None, str]]:
        """The heads that a network needs: the width that each must have, None if any will do, and what compares it."""
        widths: dict[str, int] = {}
        for inner in self.modules():  # the guidance that a control wraps knows the widths
            widths |= getattr(inner, "head_widths", {})
        needed: dict[str, tuple[int | None, str]] = {}
        for head in self.heads_guided or ():
            loss = self.loss_of(head)
            one_by_one = getattr(loss, "compares_sets", None) is False
            needed[head] = (widths.get(head) if one_by_one else None, f"the loss {getattr(loss, 'name', '')!r}")
        return needed

    @property
    def terms(self) -> tuple[str, ...] | None:
        """Names of the terms; None if they depend on the batch."""
        heads = self.heads_guided
        return None if heads is None else tuple(f"{head}/{_name(self.loss_of(head))}" for head in heads)


def describable_loss(loss: nn.Module) -> nn.Module | dict[str, nn.Module]:
    """A guidance's losses as they are given: one, or one for each head."""
    return dict(loss.items()) if isinstance(loss, nn.ModuleDict) else loss


class PredictedGuidance(TargetGuidance):
    """Neural guidance: match the responses to the batch's images that a frozen predictor predicts for a region.

    Args:
        predictors: One predictor (images to responses) per head that it guides, by the head's name; a path is read with
            :meth:`NeuralPredictor.load`. Predictors are frozen: eval mode, no gradients, fixed buffers. A predictor that
            guides several heads (on several layers) runs once per batch.
        loss: A measure's name or a loss ``(preds, target) -> scalar``, or one of these per head, by the head's name; the
            paper uses "mse".
        allow: Python modules and packages of your own, as ``["mylab.nets"]``, from which the class of the backbone of a
            predictor that is given by its path may be imported: they are imported. No description holds them.

    Attributes:
        checks_images: Whether to check that the next batch's images are in [0, 1]; True until one batch was checked. The
            tasks check images themselves.

    Raises:
        ValueError: If a predictor's file has a backbone of your own class, which ``allow`` doesn't name.
        ValueError: On the first batch, if the network has no head of that name (a ``GuidedClassificationTask`` says so when
            it is made), or images are not in [0, 1] (perhaps because they are normalised: a predictor normalises by itself,
            so it would predict responses to other images).

    Warns:
        UserWarning: On the first batch, if a :class:`NeuralPredictor` that was given an ``image_shape`` gets images of
            another size.

    Example:
        >>> from neuroalign import GuidedNetwork, NeuralPredictor
        >>> predictor = NeuralPredictor("small_resnet", num_voxels=30, image_shape=(3, 8, 8))
        >>> heads = {"V4": (None, 30)}
        >>> network = GuidedNetwork("small_resnet", 10, heads, image_shape=(3, 8, 8))
        >>> batch = {"image": torch.rand(4, 3, 8, 8), "label": torch.arange(4)}
        >>> logits, responses = network(batch["image"], with_responses=True)
        >>> terms = PredictedGuidance({"V4": predictor})(responses, batch)
        >>> sorted(terms)
        ['V4/mse']

    Source:
        Shao et al. 2024, arXiv 2405.02564 (neural guidance).
    """

    def __init__(
        self,
        predictors: Mapping[str, str | os.PathLike[str] | nn.Module | dict[str, Any]],
        loss: LossLike | Mapping[str, LossLike] = "mse",
        *,
        allow: Sequence[str] = (),
    ) -> None:
        super().__init__(loss)
        if allow:
            refuse_if_described("importing Python modules")
            import_allowed(allow)
        if not isinstance(predictors, Mapping):
            raise TypeError(
                "predictors are given by the name of the head that each guides, {'V4': 'predictor.ckpt'}; got "
                f"{predictors if isinstance(predictors, str) else type(predictors).__name__}"
            )
        if not predictors:
            raise ValueError("give at least one predictor, by the name of the head it guides")
        loaded = {}
        for head, predictor in predictors.items():
            if isinstance(predictor, (str, os.PathLike)):
                predictor = _read(predictor, head, allow)
            else:
                predictor = build(predictor, nn.Module)
            loaded[head] = predictor if isinstance(predictor, Frozen) else Frozen(predictor)
        self.predictors = nn.ModuleDict(loaded)
        self.checks_images = self._checks_size = True

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"predictors": dict(self.predictors.items()), "loss": describable_loss(self.loss)}

    @property
    def heads_guided(self) -> tuple[str, ...]:
        """Names of the heads that get a target."""
        return tuple(self.predictors)

    @property
    def head_widths(self) -> dict[str, int]:
        """Number of voxels of each predictor by head, where the predictor has a ``num_voxels``."""
        found = {head: getattr(frozen.module, "num_voxels", None) for head, frozen in self.predictors.items()}
        return {head: width for head, width in found.items() if isinstance(width, int)}

    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """Predicted responses (stimulus, voxel) to the batch's images, by head."""
        if self.checks_images and batch["image"].ndim == 4 and not torch.compiler.is_compiling():
            check_images(batch["image"], if_normalized=_NORMALIZED)
            self.checks_images = False
        if self._checks_size and batch["image"].ndim == 4 and not torch.compiler.is_compiling():
            self._warn_of_size(batch["image"].shape[2:])
            self._checks_size = False
        done: dict[int, Tensor] = {}
        for predictor in self.predictors.values():
            if id(predictor.module) not in done:
                done[id(predictor.module)] = predictor(batch["image"])
        return {head: done[id(predictor.module)] for head, predictor in self.predictors.items()}

    def _warn_of_size(self, size: Sequence[int]) -> None:
        """Warn of predictors that were built for images of another size; most networks take any, and predict worse then."""
        for head, frozen in self.predictors.items():
            module = frozen.module
            module = module.predictor if isinstance(module, StandardizedPredictor) else module
            if not isinstance(module, NeuralPredictor) or tuple(module.trunk.image_shape[1:]) == tuple(size):
                continue
            own = tuple(module.trunk.image_shape[1:])
            if own != own_shape(module.trunk.backbone)[1:]:  # else it was perhaps never given a size
                warnings.warn(
                    f"the predictor of {head!r} was built for images of {own[0]}x{own[1]} pixels and gets {size[0]}x{size[1]}"
                    ": it sees things in another size than in its training. Resize the images, or train it at their size",
                    stacklevel=2,
                )


def _read(path: str | os.PathLike[str], head: str, allow: Sequence[str]) -> nn.Module:
    """The predictor of a file.

    Raises:
        DescriptionError: If its backbone is of a class of the user's own that is not allowed; the message says how to.
    """
    try:
        return NeuralPredictor.load(path, allow=allow)
    except DescriptionError as error:
        wanted = lacking(error)
        if wanted is None or any(wanted.module == name for name in allow):
            raise
        raise DescriptionError(
            f"{os.fspath(path)}: its backbone is of the class {wanted}, which is imported only if you allow it: "
            f"PredictedGuidance(..., allow=[{wanted.module!r}]), in a configuration allow: [{wanted.module}] beside "
            f"predictors; or load the predictor yourself, {{{head!r}: NeuralPredictor.load(path, backbone=...)}}"
        ) from error


class MeasuredGuidance(TargetGuidance):
    """Match responses that were measured for the images of the batch; the row of an image without responses is NaN.

    Subjects with different numbers of voxels can share a batch: its ``response`` is as wide as that of the widest subject,
    its ``subject`` says which subject each row belongs to, and each subject has a head that takes its rows.

    Args:
        heads: Name of the head that the batch's ``response`` (stimulus, voxel) guides. For several heads, by the head's name
            the columns of the response that belong to it: a list of columns, or a number n for the first n.
        loss: A measure's name or a loss ``(preds, target) -> scalar``, or one of these per head, by the head's name.
        subjects: By the head's name the subject whose rows it takes, a value of the batch's ``subject`` (stimulus,); None
            means that heads take all rows.

    Raises:
        ValueError: If a batch has no ``response``, or has no ``subject`` although ``subjects`` were given.

    Example:
        >>> guidance = MeasuredGuidance({"V1": [0, 1], "V4": [2]})
        >>> preds = {"V1": torch.zeros(4, 2), "V4": torch.zeros(4, 1)}
        >>> terms = guidance(preds, {"response": torch.ones(4, 3)})
        >>> {name: float(value) for name, value in terms.items()}
        {'V1/mse': 1.0, 'V4/mse': 1.0}
        >>> two = MeasuredGuidance(
        ...     {"subj01": 2, "subj02": 3}, subjects={"subj01": 0, "subj02": 1}
        ... )
        >>> batch = {
        ...     "response": torch.tensor([[1.0, 1.0, torch.nan], [2.0, 2.0, 2.0]]),
        ...     "subject": torch.tensor([0, 1]),
        ... }
        >>> terms = two({"subj01": torch.zeros(2, 2), "subj02": torch.zeros(2, 3)}, batch)
        >>> {name: float(value) for name, value in terms.items()}
        {'subj01/mse': 1.0, 'subj02/mse': 4.0}
    """

    def __init__(
        self,
        heads: str | Mapping[str, list[int] | int] = "response",
        loss: LossLike | Mapping[str, LossLike] = "mse",
        *,
        subjects: Mapping[str, int] | None = None,
    ) -> None:
        super().__init__(loss)
        self.columns: dict[str, list[int] | int | None]
        if isinstance(heads, str):
            self.columns = {heads: None}
        else:
            self.columns = {h: c if isinstance(c, int) else list(map(int, c)) for h, c in heads.items()}
        self.subjects = dict(subjects or {})
        for head in self.subjects:
            if head not in self.columns:
                raise ValueError(unknown("head of a subject", head, self.columns))
        self._slices = {head: _as_slice(columns) for head, columns in self.columns.items()}
        for i, (head, columns) in enumerate(self.columns.items()):
            if self._slices[head] is None:  # kept as a buffer: a list would be copied to the device for every batch
                self.register_buffer(f"_columns{i}", torch.tensor(columns), persistent=False)

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        heads = arguments["heads"] if isinstance(arguments["heads"], str) else self.columns
        return {"heads": heads, "loss": describable_loss(self.loss), "subjects": self.subjects or None}

    @property
    def heads_guided(self) -> tuple[str, ...]:
        """Names of the heads that get a target."""
        return tuple(self.columns)

    @property
    def head_widths(self) -> dict[str, int]:
        """Number of columns by head, where columns were given."""
        return {h: c if isinstance(c, int) else len(c) for h, c in self.columns.items() if c is not None}

    def ceiling_of(self, head: str) -> Tensor | None:
        """Noise ceiling (voxel,) that weights the head's loss; None if there is none."""
        return getattr(self.loss_of(head), "noise_ceiling", None)

    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """Columns of the batch's ``response`` by head, (stimulus, voxel); NaN in the rows of other subjects."""
        response = batch.get("response")
        if response is None:
            raise ValueError("this batch holds no 'response': give the DataModule responses, or use PredictedGuidance")
        if self.subjects and "subject" not in batch:
            raise ValueError("heads belong to subjects, but this batch has no 'subject' (the subject of each row)")
        width = response.shape[1]
        out = {}
        for i, (head, columns) in enumerate(self.columns.items()):
            part = self._slices[head]
            last = (max(columns) + 1 if isinstance(columns, list) else 0) if part is None else part.stop or 0
            if last > width:
                raise ValueError(f"head {head!r} wants column {last - 1} of responses with {width} voxels")
            target = (
                response if columns is None else response[:, getattr(self, f"_columns{i}") if part is None else part]
            )
            if head in self.subjects:
                target = torch.where((batch["subject"] == self.subjects[head])[:, None], target, torch.nan)
            out[head] = target
        return out


def _as_slice(columns: list[int] | int | None) -> slice | None:
    """The columns as a slice, which copies nothing; None if they don't follow one another."""
    if columns is None or isinstance(columns, int):
        return slice(columns)
    first = columns[0] if columns else 0
    return (
        slice(first, first + len(columns))
        if first >= 0 and columns == list(range(first, first + len(columns)))
        else None
    )


def target_guidances(guidance: nn.Module | None) -> list[TargetGuidance]:
    """All guidances toward target responses inside a guidance. A control counts as one, without the guidance it wraps."""
    if guidance is None or isinstance(guidance, TargetGuidance):
        return [] if guidance is None else [guidance]
    return [found for child in guidance.children() for found in target_guidances(child)]


def valid_terms(guidance: nn.Module | None) -> dict[str, Tensor]:
    """By term whether there was something to compare in the last call, for the guidances that report it."""
    found = getattr(guidance, "last_valid", None)
    if guidance is None or isinstance(found, dict):
        return dict(found or {})
    return {term: valid for child in guidance.children() for term, valid in valid_terms(child).items()}


def loss_of_term(guidance: nn.Module | None, term: str) -> nn.Module | None:
    """The loss behind a term of the last call; None if no guidance reports it."""
    for module in () if guidance is None else guidance.modules():
        told, loss_of = getattr(module, "last_valid", None), getattr(module, "loss_of", None)
        if isinstance(told, dict) and term in told and loss_of is not None:
            return loss_of(term.rpartition("/")[0])
    return None


def nothing(preds: Mapping[str, Tensor]) -> Tensor:
    """A zero that keeps every head in the graph, so that distributed training finds no unused parameter."""
    zero: Tensor | None = None
    for value in preds.values():
        of_head = 0 * value.float().sum()
        zero = of_head if zero is None else zero.to(of_head.device) + of_head
    return torch.zeros(()) if zero is None else zero
