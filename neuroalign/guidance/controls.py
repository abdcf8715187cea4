"""Controls: guidance from which one thing is removed, to see whether that thing mattered.

======================  ========================================================================  ============================
control                 how                                                                       explanation that it tests
======================  ========================================================================  ============================
none                    ``weight=0`` of the task, or no guidance                                  training alone
none, weight 1 - alpha  no guidance, ``task_weight=1 - alpha`` of the task                        smaller steps along
                                                                                                  cross-entropy
random                  ``PredictedGuidance({"V4": StandardizedPredictor(untrained(predictor,     any fixed function of the
                        seed)).fit(images)})``                                                    image as a target
shuffled fit            a predictor fitted to ``responses.shuffled(seed)``: same features, wrong  the predictor's features;
                        responses                                                                 the strictest control
shuffled images         ``ShuffledGuidance(guidance, images=images)``: the target of one fixed    a fixed target for each
                        other image of the data set                                               image
within class            ``ShuffledGuidance(guidance, images=images, labels=labels,                what the targets say of the
                        within_class=True)``: one of its class                                    class
shuffled in a batch     ``ShuffledGuidance(guidance)``: another image's target in every batch,    a noisy gradient
                        so noise rather than a target
label only              ``LabelOnlyGuidance(num_classes, {"V4": num_voxels})``: a target for      a second head that learns
                        each class                                                                the classes
matched rank            ``MatchedGuidance(guidance, {"V4": PrincipalGains.of_rank(responses,      more dimensions than the
                        reference=other)})``                                                      other region's targets
matched spectrum        ``MatchedGuidance(guidance, {"V4": PrincipalGains.of_spectrum(responses,  another spectrum than the
                        other)})``                                                                other region's
matched noise           ``MatchedGuidance(guidance, {"V4":                                        less noise than in the other
                        StimulusNoise.at_correlation(responses, r_other / r_this)})``             region's targets
random geometry         ``ManifoldGuidance({"V4": manifolds.randomized(seed)})``                  ranks and radii
random directions       ``ManifoldGuidance({"V4": manifolds.randomized(seed, centers=False)})``   centres, ranks and radii
random centres          ``ManifoldGuidance({"V4": manifolds.randomized(seed, bases=False)})``     directions, ranks and radii
shared directions       ``ManifoldGuidance({"V4": manifolds.shared(bases=True)})``                directions common to all
                                                                                                  classes
shared centres          ``ManifoldGuidance({"V4": manifolds.shared(centers=True)})``              one centre and radius for
                                                                                                  all classes
no brain                ``ManifoldGuidance({"V4": NonNeuralManifoldLoss()})``                     compact manifolds of few
                                                                                                  dimensions
======================  ========================================================================  ============================

A treatment that does better than a control is not explained by what the control keeps. The matched controls alter the better
of two regions: if it still does better than the other one, the respect in which they now match doesn't explain why.
``responses`` and ``other`` are the targets of the two regions for the training images, from
:func:`neuroalign.models.predicted_responses`. A control that is drawn at random should be drawn again for every seed.

Losses of controls differ in size from those of the treatment. :func:`neuroalign.guidance.match_gradient_scale` gives the
control's gradient the scale of the treatment's gradient.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import Tensor, nn

from neuroalign.config import build
from neuroalign.functional.checks import check_labels
from neuroalign.functional.classes import class_centers
from neuroalign.functional.host import FirstBatch
from neuroalign.guidance.responses import MeasuredGuidance, TargetGuidance, class_labels, describable_loss
from neuroalign.models import predicted_responses
from neuroalign.types import Batch

__all__ = ["LabelOnlyGuidance", "ShuffledGuidance"]


def cyclic_permutation(n: int, seed: int) -> Tensor:
    """A seeded permutation that is one cycle, so that for n > 1 nothing keeps its place (as in Sattolo's algorithm)."""
    order = torch.randperm(n, generator=torch.Generator().manual_seed(seed))
    permutation = torch.empty(n, dtype=torch.long)
    permutation[order] = order.roll(-1)
    return permutation


def _permute_within(groups: Tensor, seed: int) -> Tensor:
    """For every position another position of its group, by one cycle through each group; -1 in a group of one."""
    groups = groups.cpu()
    partner = torch.full((len(groups),), -1)
    order = torch.randperm(len(groups), generator=torch.Generator().manual_seed(seed))
    order = order[groups[order].argsort(stable=True)]
    sizes = groups[order].unique_consecutive(return_counts=True)[1]
    for members in order.split(sizes.tolist()):
        if len(members) > 1:
            partner[members] = members.roll(-1)
    return partner


class ShuffledGuidance(TargetGuidance):
    """Guidance whose targets belong to other images: only the link from image to response is removed.

    With ``images``, an image gets the target of one fixed other image of the data set, found by the batch's
    ``stimulus``. Without (the default), the targets are exchanged within the batch, by one permutation per batch size; no
    image keeps its own target. Prefer ``images`` as the control: an image always has the same wrong target, so that it can be
    learned as well as the right one. Within a batch the wrong target changes every time, and the best prediction is the mean
    of all targets.

    An image without a partner (the only one of its batch, or of its class) has the target NaN and drops out of the loss.
    Within the classes of a batch many images have no partner: a share of .73 for 32 images of 100 equally frequent classes,
    and about :math:`(1 - 1/C)^{B-1}` for B images of C classes. With ``images``, only an image that is the only one of its
    class in the whole data set has none.

    Args:
        guidance: The guidance to shuffle.
        seed: Seed of the permutation.
        within_class: Exchange only among images of one class, so that the class's mean target is kept.
        images: (stimulus, channel, height, width) in [0, 1], the data set's images in the order of ``stimulus``; None
            exchanges targets within the batch.
        labels: (stimulus,), class of each of ``images``; needed with both ``images`` and ``within_class``.

    Attributes:
        last_dropped: Share of the last batch's images that had no partner, a scalar tensor; None before the first batch. The
            tasks log it per head, as ``alignment/<layer>/<region>/dropped``.

    Raises:
        TypeError: If the guidance has no target responses.
        ValueError: If labels are needed and missing. On the first batch: if ``images`` were given and the batch has no
            ``stimulus``, or if the guidance is a :class:`MeasuredGuidance`, whose responses don't depend on images.

    Example:
        >>> from neuroalign import MeasuredGuidance
        >>> inner = MeasuredGuidance("V4")
        >>> batch = {"response": torch.tensor([[0.0], [1.0], [2.0]])}
        >>> shuffled = ShuffledGuidance(inner).targets(batch)["V4"]
        >>> bool((shuffled != batch["response"]).all())
        True
    """

    images: Tensor | None
    partner: Tensor | None

    def __init__(
        self,
        guidance: TargetGuidance | dict[str, Any],
        *,
        seed: int = 0,
        within_class: bool = False,
        images: Tensor | None = None,
        labels: Tensor | None = None,
    ) -> None:
        guidance = build(guidance, TargetGuidance)
        if not isinstance(guidance, TargetGuidance):
            raise TypeError(
                f"only guidance toward target responses can be shuffled, not {type(guidance).__name__}; the control of "
                "ManifoldGuidance is CategoryManifolds.randomized"
            )
        super().__init__()
        self.loss = guidance.loss
        self.guidance, self.seed, self.within_class = guidance, seed, within_class
        self.last_dropped: Tensor | None = None
        self._in_batch: dict[tuple[int, int, torch.device], Tensor] = {}
        self.register_buffer("images", images, persistent=False)
        self.register_buffer("partner", None, persistent=False)
        if images is not None:
            if within_class and labels is None:
                raise ValueError("shuffling a data set within classes needs its labels")
            if labels is not None and len(labels) != len(images):
                raise ValueError(f"{len(images)} images but {len(labels)} labels")
            if not within_class:
                self.partner = cyclic_permutation(len(images), seed)
            else:
                assert labels is not None
                self.partner = _permute_within(labels, seed)

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        arguments.pop("labels")  # they go with images, which have no description: such a control must be given again
        return {**arguments, "guidance": self.guidance}

    @property
    def heads_guided(self) -> tuple[str, ...] | None:
        """Names of the heads that get a target."""
        return self.guidance.heads_guided

    def held_out_targets(self, batch: Batch) -> dict[str, Tensor]:
        """Targets of other images of the batch; none if ``images`` were given, because those are training images."""
        return {} if self.images is not None else super().held_out_targets(batch)

    def ceiling_of(self, head: str) -> Tensor | None:
        """Noise ceiling (voxel,) of the wrapped guidance's targets for a head; None if there is none."""
        return self.guidance.ceiling_of(head)

    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """Targets (stimulus, voxel) by head, those of the wrapped guidance for other images."""
        if self.images is not None:
            if isinstance(self.guidance, MeasuredGuidance):
                raise ValueError(
                    "measured responses come with the batch and don't depend on images: leave images out, or shuffle the "
                    "responses that the DataModule gets"
                )
            if "stimulus" not in batch:
                raise ValueError("a batch needs 'stimulus' to find the other image in the data set")
            partner = cast(Tensor, self.partner)[batch["stimulus"]]
            other = self.images[partner.clamp_min(0)].to(batch["image"])
            targets = self.guidance.targets({**batch, "image": other})
        else:
            targets = self.guidance.targets(batch)
            first = next(iter(targets.values()))
            if self.within_class:
                partner = _permute_within(class_labels(batch), self.seed).to(first.device)
            else:
                partner = self._partner_in_batch(len(first), first.device)
            targets = {head: target[partner.clamp_min(0).to(target.device)] for head, target in targets.items()}
        self.last_dropped = (partner < 0).float().mean()
        return {h: torch.where((partner < 0).to(t.device)[:, None], torch.nan, t) for h, t in targets.items()}

    def _partner_in_batch(self, size: int, device: torch.device) -> Tensor:
        """The permutation of a batch size; kept, since an epoch has one size or two and a copy would make the host wait."""
        key = (size, self.seed, device)
        if key not in self._in_batch:
            drawn = cyclic_permutation(size, self.seed) if size > 1 else torch.full((size,), -1)
            kept = list(self._in_batch.items())[-3:]
            self._in_batch = {**dict(kept), key: drawn.to(device)}
        return self._in_batch[key]


class LabelOnlyGuidance(TargetGuidance):
    """One fixed target per class: it has the shape of responses but holds no more than the label.

    The default targets are random prototypes (standard normal), so that no response enters at all.
    :meth:`from_predictor` uses the class means of a predictor instead.

    Args:
        num_classes: Number of classes.
        num_outputs: Number of voxels per head, by the head's name.
        seed: Seed of the prototypes.
        loss: A measure's name or a loss ``(preds, target) -> scalar``.

    Example:
        >>> guidance = LabelOnlyGuidance(num_classes=10, num_outputs={"TO": 30})
        >>> guidance.targets({"label": torch.tensor([3, 3])})["TO"].shape
        torch.Size([2, 30])
    """

    def __init__(
        self,
        num_classes: int,
        num_outputs: Mapping[str, int],
        *,
        seed: int = 0,
        loss: str | nn.Module | dict[str, Any] = "mse",
    ) -> None:
        super().__init__(loss)
        generator = torch.Generator().manual_seed(seed)
        self.num_classes = num_classes
        self.heads = tuple(num_outputs)
        self._looks = FirstBatch()
        for i, width in enumerate(num_outputs.values()):
            self.register_buffer(f"prototypes{i}", torch.randn(num_classes, width, generator=generator))

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {**arguments, "loss": describable_loss(self.loss)}

    @classmethod
    @torch.no_grad()
    def from_predictor(
        cls, head: str, predictor: nn.Module, images: Tensor, labels: Tensor, *, loss: str | nn.Module = "mse"
    ) -> LabelOnlyGuidance:
        """Guidance whose prototypes are a predictor's mean responses to the images of each class."""
        num_classes = int(labels.max()) + 1
        responses = predicted_responses(predictor, images)
        guidance = cls(num_classes, {head: responses.shape[1]}, loss=loss)
        cast(Tensor, guidance.prototypes0).copy_(class_centers(responses, labels.to(responses.device), num_classes)[0])
        return guidance

    @property
    def heads_guided(self) -> tuple[str, ...]:
        """Names of the heads that get a target."""
        return self.heads

    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """The prototype of each image's class, by head."""
        labels = class_labels(batch)
        prototypes = {head: getattr(self, f"prototypes{i}") for i, head in enumerate(self.heads)}
        if self._looks(labels):
            check_labels(labels, self.num_classes)
            return {head: of_class[labels] for head, of_class in prototypes.items()}
        outside, known = (labels < 0) | (labels >= self.num_classes), labels.clamp(0, self.num_classes - 1)
        # An infinite target makes the loss NaN.
        return {h: torch.where(outside[:, None], torch.inf, of_class[known]) for h, of_class in prototypes.items()}
