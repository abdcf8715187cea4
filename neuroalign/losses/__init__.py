"""Losses: alignment measures and manifold terms as modules to minimise."""

from neuroalign.losses import set_measures as _set_measures  # noqa: F401 - registers its measures
from neuroalign.losses import voxel_measures as _voxel_measures  # noqa: F401 - the same
from neuroalign.losses.alignment import NeuralAlignmentLoss
from neuroalign.losses.capacity import CapacityLoss
from neuroalign.losses.categories import CategoryManifolds
from neuroalign.losses.kernel import RandomFourierFeatures
from neuroalign.losses.listing import list_measures
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
    "list_measures",
    "register_measure",
]
