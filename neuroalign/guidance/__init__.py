"""Guidance, which makes a network more like a brain, and controls that show whether it was the brain that helped."""

from neuroalign.guidance.controls import LabelOnlyGuidance, ShuffledGuidance
from neuroalign.guidance.gradient_scales import gradient_scale, match_gradient_scale
from neuroalign.guidance.manifold import ManifoldGuidance
from neuroalign.guidance.matched import MatchedGuidance, StimulusNoise
from neuroalign.guidance.principal_gains import PrincipalGains
from neuroalign.guidance.relations import OddOneOutGuidance, RDMGuidance
from neuroalign.guidance.responses import MeasuredGuidance, PredictedGuidance, TargetGuidance
from neuroalign.guidance.weighting import Ramp, WeightedGuidance

__all__ = [
    "LabelOnlyGuidance",
    "ManifoldGuidance",
    "MatchedGuidance",
    "MeasuredGuidance",
    "OddOneOutGuidance",
    "PredictedGuidance",
    "PrincipalGains",
    "RDMGuidance",
    "Ramp",
    "ShuffledGuidance",
    "StimulusNoise",
    "TargetGuidance",
    "WeightedGuidance",
    "gradient_scale",
    "match_gradient_scale",
]
