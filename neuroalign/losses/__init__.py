"""Losses: the formulas as modules to minimise."""

from neuroalign.losses.alignment import MEASURES, NeuralAlignmentLoss, register_measure
from neuroalign.losses.categories import CategoryManifolds
from neuroalign.losses.manifold import ManifoldGuidanceLoss, NonNeuralManifoldLoss

__all__ = [
    "MEASURES",
    "CategoryManifolds",
    "ManifoldGuidanceLoss",
    "NeuralAlignmentLoss",
    "NonNeuralManifoldLoss",
    "register_measure",
]
