"""Losses: the formulas as modules to minimise."""

from neuroalign.losses import measures as _measures  # noqa: F401 - registers the measures
from neuroalign.losses.alignment import NeuralAlignmentLoss
from neuroalign.losses.categories import CategoryManifolds
from neuroalign.losses.manifold import ManifoldGuidanceLoss, NonNeuralManifoldLoss
from neuroalign.losses.rdm import RDMAlignmentLoss
from neuroalign.losses.registry import MEASURES, Measure, register_measure
from neuroalign.losses.triplets import OddOneOutLoss

__all__ = [
    "MEASURES",
    "Measure",
    "CategoryManifolds",
    "ManifoldGuidanceLoss",
    "NeuralAlignmentLoss",
    "NonNeuralManifoldLoss",
    "OddOneOutLoss",
    "RDMAlignmentLoss",
    "register_measure",
]
