"""Formulas: tensors in, tensors out; torch only; no state."""

from neuroalign.functional.correlation import cosine, noise_ceiling, pearson, spearman_brown
from neuroalign.functional.distributed import gather_batch, reduce_sum
from neuroalign.functional.gabor import gabor_energy, gabor_filters
from neuroalign.functional.manifold import class_centers, manifold_radius, participation_ratio, separability

__all__ = [
    "class_centers",
    "cosine",
    "gabor_energy",
    "gabor_filters",
    "gather_batch",
    "manifold_radius",
    "noise_ceiling",
    "participation_ratio",
    "pearson",
    "reduce_sum",
    "separability",
    "spearman_brown",
]
