"""Metrics over an epoch: the formulas as torchmetrics, exact in any order of batches and over several processes."""

from neuroalign.metrics.behaviour import OddOneOutAccuracy, RDMSimilarity
from neuroalign.metrics.correlation import NoiseNormalizedCorrelation, VoxelCorrelation
from neuroalign.metrics.decisions import ShapeBias
from neuroalign.metrics.geometry import ManifoldGeometry
from neuroalign.metrics.robustness import RobustAccuracy
from neuroalign.metrics.similarity import (
    CCA,
    CKA,
    RSA,
    AlignmentMetric,
    ProcrustesSimilarity,
    RidgePredictivity,
    SoftMatching,
)
from neuroalign.moved import former_names

__all__ = [
    "CCA",
    "CKA",
    "RSA",
    "AlignmentMetric",
    "ManifoldGeometry",
    "NoiseNormalizedCorrelation",
    "OddOneOutAccuracy",
    "ProcrustesSimilarity",
    "RDMSimilarity",
    "RidgePredictivity",
    "RobustAccuracy",
    "ShapeBias",
    "SoftMatching",
    "VoxelCorrelation",
]

__getattr__ = former_names(__name__, {}, {"Procrustes": "neuroalign.metrics.ProcrustesSimilarity"})
