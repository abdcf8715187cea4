"""Guidance by targets that are altered in one respect, such as rank, spectrum or noise, to match another region's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from neuroalign.config import Described, build
from neuroalign.functional.checks import check_infinite
from neuroalign.functional.draws import image_keys, normal
from neuroalign.guidance.responses import TargetGuidance
from neuroalign.types import Batch, unknown

__all__ = ["MatchedGuidance", "StimulusNoise"]


class MatchedGuidance(TargetGuidance):
    """Guidance whose targets are altered in one respect, so that there they equal another region's.

    The control for "this region guides better only because its targets have more dimensions, another spectrum or less
    noise": alter its targets until they don't, and see what is left of the advantage. Terms and losses are those of the
    wrapped guidance.

    Args:
        guidance: The guidance whose targets are altered; an altered one too, to change two respects.
        alterations: By the head's name :class:`PrincipalGains` (rank, spectrum), :class:`StimulusNoise`, or a module of your
            own that is called as ``alteration(targets, stimulus)``, with targets (stimulus, voxel) and the batch's
            ``stimulus`` (None if it has none), and returns the new targets. Other heads keep their targets.

    Raises:
        TypeError: If the guidance has no target responses.
        ValueError: If there is no alteration, or one of a head that is not guided.

    Example:
        >>> from neuroalign.guidance import MeasuredGuidance, PrincipalGains
        >>> responses = torch.randn(100, 5)
        >>> rank = PrincipalGains.of_rank(responses, 2)
        >>> control = MatchedGuidance(MeasuredGuidance("V4"), {"V4": rank})
        >>> targets = control.targets({"response": responses})["V4"]
        >>> torch.linalg.matrix_rank(targets - targets.mean(0), rtol=1e-5)
        tensor(2)
    """

    def __init__(
        self, guidance: TargetGuidance | dict[str, Any], alterations: Mapping[str, nn.Module | dict[str, Any]]
    ) -> None:
        guidance = build(guidance, TargetGuidance)
        if not isinstance(guidance, TargetGuidance):
            raise TypeError(
                f"only target responses can be altered, and {type(guidance).__name__} has none; the controls of "
                "ManifoldGuidance are CategoryManifolds.randomized and .shared"
            )
        if not alterations:
            raise ValueError("give at least one alteration, by the name of the head whose targets it alters")
        for head in alterations:
            if guidance.heads_guided is not None and head not in guidance.heads_guided:
                raise ValueError(unknown("head with an alteration", head, guidance.heads_guided))
        super().__init__()
        self.loss = guidance.loss
        self.guidance = guidance
        self.alterations = nn.ModuleDict({head: build(value, nn.Module) for head, value in alterations.items()})

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"guidance": self.guidance, "alterations": dict(self.alterations.items())}

    @property
    def heads_guided(self) -> tuple[str, ...] | None:
        """Names of the heads that get a target."""
        return self.guidance.heads_guided

    @property
    def last_dropped(self) -> Tensor | None:
        """That of the wrapped guidance, if it is a :class:`ShuffledGuidance`."""
        return getattr(self.guidance, "last_dropped", None)

    def targets(self, batch: Batch) -> dict[str, Tensor]:
        """Altered targets (stimulus, voxel) by head."""
        return self._altered(self.guidance.targets(batch), batch)

    def held_out_targets(self, batch: Batch) -> dict[str, Tensor]:
        """Altered targets (stimulus, voxel) of a validation or test batch; empty if it has none, or no ``stimulus``."""
        try:
            return self._altered(self.guidance.held_out_targets(batch), batch)
        except ValueError:
            return {}

    @torch.no_grad()
    def _altered(self, targets: Mapping[str, Tensor], batch: Batch) -> dict[str, Tensor]:
        stimulus = batch.get("stimulus")
        return {
            head: self.alterations[head](target, stimulus) if head in self.alterations else target
            for head, target in targets.items()
        }


class StimulusNoise(Described, nn.Module):
    r"""Adds fixed pseudo-random noise to targets: a stimulus has the same noise in every batch, epoch and process.

    So the noise can be learned like the targets, as the error of a noisy measurement can be. It is normal and independent
    between stimuli and voxels, unlike the error of a predictor, which is a function of the image. Augmented copies of a
    stimulus share its noise.

    Args:
        std: Standard deviation of the noise, in the unit of the targets: a number, or (voxel,).
        seed: Seed of the noise. Regions whose noise should differ need different seeds.

    Raises:
        ValueError: If a standard deviation is negative or not finite; when called, if the batch has no ``stimulus``, or
            targets have another number of voxels.

    Example:
        >>> noise, stimulus = StimulusNoise(0.5, seed=1), torch.tensor([7, 3])
        >>> noisy = noise(torch.zeros(2, 4), stimulus)
        >>> torch.equal(noisy[1:], noise(torch.zeros(1, 4), stimulus[1:]))
        True
    """

    std: Tensor
    _rebuilt_by = "zeros"  # the state dict holds the standard deviations

    def __init__(self, std: float | Tensor, seed: int = 0) -> None:
        super().__init__()
        std = torch.as_tensor(std, dtype=torch.float32).detach()
        if std.ndim > 1 or not bool((std.isfinite() & (std >= 0)).all()):
            raise ValueError(
                f"std must be a finite number of at least 0, or one for each voxel, (voxel,); got {_shown(std)}"
            )
        self.register_buffer("std", std.clone())
        self.seed = int(seed)

    def _described(self, arguments: dict[str, Any]) -> dict[str, Any]:
        return {"num_voxels": len(self.std) if self.std.ndim else None, "seed": self.seed}

    @classmethod
    def zeros(cls, num_voxels: int | None, seed: int = 0) -> StimulusNoise:
        """Noise of standard deviation 0, to be filled by ``load_state_dict``; None for one number for all voxels."""
        return cls(torch.zeros(() if num_voxels is None else num_voxels), seed)

    @classmethod
    def at_correlation(cls, responses: Tensor, correlation: float | Tensor, seed: int = 0) -> StimulusNoise:
        r"""The noise after which targets have a given expected correlation with what they were, over stimuli.

        Since the noise is independent of everything, the correlation of the targets with any other quantity is multiplied by
        the same number. A region predicted with accuracy :math:`r_1` is brought to the accuracy :math:`r_2 < r_1` of another
        by ``correlation=r_2 / r_1``; take accuracies relative to the noise ceiling if the recordings differ in it. The noise
        of a voxel has :math:`\sqrt{1/r^2 - 1}` times its standard deviation.

        Args:
            responses: (stimulus, voxel), the targets of the training images, from which each voxel's standard deviation is
                taken; missing ones are NaN.
            correlation: The correlation r, in (0, 1]: a number, or (voxel,).
            seed: Seed of the noise.

        Raises:
            ValueError: If a correlation is outside (0, 1], or there are fewer than two stimuli.

        Example:
            >>> responses = torch.randn(1000, 3)
            >>> noisy = StimulusNoise.at_correlation(responses, 0.6)(responses, torch.arange(1000))
            >>> r = torch.corrcoef(torch.stack([noisy[:, 0], responses[:, 0]]))[0, 1]
            >>> (r - 0.6).abs() < 0.1
            tensor(True)
        """
        if responses.ndim != 2 or len(responses) < 2:
            raise ValueError(
                f"responses must be (stimulus, voxel) of two stimuli or more; got {tuple(responses.shape)}"
            )
        check_infinite(responses=responses)
        r = torch.as_tensor(correlation, dtype=torch.float64, device=responses.device)
        if r.ndim > 1 or not bool(((r > 0) & (r <= 1)).all()):
            raise ValueError(
                f"the correlation of targets with and without noise must be in (0, 1]; got {_shown(r)}. Noise lowers the "
                "accuracy of a region to that of another: accuracy of the other / accuracy of this one"
            )
        if r.ndim and len(r) != responses.shape[1]:
            raise ValueError(f"{len(r)} correlations for {responses.shape[1]} voxels")
        x = responses.detach().double()
        deviations = (x - x.nanmean(0)).square().nanmean(0).sqrt().nan_to_num(0)  # a voxel without responses has none
        return cls(deviations * (1 / r.square() - 1).sqrt(), seed)

    def forward(self, targets: Tensor, stimulus: Tensor | None) -> Tensor:
        """Targets (stimulus, voxel) with the noise of their stimuli, (stimulus,) int64."""
        if stimulus is None:
            raise ValueError(
                "a batch needs 'stimulus', the identity of each image, to give an image the same noise again"
            )
        if self.std.ndim and len(self.std) != targets.shape[1]:
            raise ValueError(f"noise for {len(self.std)} voxels, but targets have {targets.shape[1]}")
        keys = image_keys(stimulus.to(targets.device), self.seed)
        return targets + (self.std.to(targets.device) * normal(keys, targets.shape[1])).to(targets.dtype)

    def extra_repr(self) -> str:
        """Shown in ``repr``."""
        return f"num_voxels={len(self.std) if self.std.ndim else None}, seed={self.seed}"


def _shown(values: Tensor) -> str:
    """A number, or the range of several, for an error message."""
    if values.ndim == 0:
        return f"{float(values):g}"
    return (
        f"{tuple(values.shape)} from {float(values.min()):g} to {float(values.max()):g}" if values.numel() else "none"
    )
