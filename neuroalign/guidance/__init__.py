"""What pulls a network toward a brain, and the controls that tell whether it was the brain that helped."""

from neuroalign.guidance.controls import LabelOnlyGuidance, ShuffledGuidance
from neuroalign.guidance.manifold import ManifoldGuidance
from neuroalign.guidance.responses import MeasuredGuidance, PredictedGuidance, TargetGuidance

__all__ = [
    "LabelOnlyGuidance",
    "ManifoldGuidance",
    "MeasuredGuidance",
    "PredictedGuidance",
    "ShuffledGuidance",
    "TargetGuidance",
]
