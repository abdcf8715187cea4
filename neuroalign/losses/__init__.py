"""Losses: the formulas as modules to minimise."""

from neuroalign.losses import measures as _measures  # noqa: F401 - registers the measures
from neuroalign.losses.alignment import NeuralAlignmentLoss
from neuroalign.losses.capacity import CapacityLoss
from neuroalign.losses.categories import CategoryManifolds
from neuroalign.losses.kernel import RandomFourierFeatures
from neuroalign.losses.manifold import ManifoldGuidanceLoss, NonNeuralManifoldLoss
from neuroalign.losses.mmcr import MMCRLoss
from neuroalign.losses.rdm import RDMAlignmentLoss
from neuroalign.losses.registry import MEASURES, Measure, register_measure
from neuroalign.losses.triplets import OddOneOutLoss

__all__ = [
    "MEASURES",
    "Measure",
    "CapacityLoss",
    "CategoryManifolds",
    "MMCRLoss",
    "ManifoldGuidanceLoss",
    "NeuralAlignmentLoss",
    "NonNeuralManifoldLoss",
    "OddOneOutLoss",
    "RDMAlignmentLoss",
    "RandomFourierFeatures",
    "register_measure",
]
