"""Formulas: tensors in, tensors out; torch only; no state.

Some exceptions stand here because users look for them among the formulas: :func:`linear_separability`,
:func:`simulated_capacity` and :func:`error_consistency` use SciPy or scikit-learn; :func:`wilson` and :func:`tango` take
counts; :func:`gather_batch` and :func:`reduce_sum` communicate between processes, for formulas over a batch that is spread
over them; the functions of input smoothness take a model, and :func:`local_lipschitz` searches around each image, like an
attack.
"""

from neuroalign.functional.canonical import cca, pwcca, svcca
from neuroalign.functional.capacity import ManifoldCapacity, manifold_capacity
from neuroalign.functional.ceiling import (
    noise_ceiling,
    noise_ceiling_error,
    noise_ceiling_of_trials,
    rescale_ceiling,
)
from neuroalign.functional.center_correlation import CenterDirections, center_directions
from neuroalign.functional.cka import linear_cka, rbf_cka
from neuroalign.functional.classes import class_centers
from neuroalign.functional.cone import ConeProjection, cone_projection
from neuroalign.functional.correlation import cosine, pearson, pooled_normalized_correlation, spearman_brown
from neuroalign.functional.cross_validation import RidgeFit, ridge_cv
from neuroalign.functional.decisions import (
    SIXTEEN_CLASSES,
    CueDecisions,
    ErrorConsistency,
    error_consistency,
    shape_bias,
    sixteen_class_probabilities,
)
from neuroalign.functional.dissimilarity import rdm, square_rdm
from neuroalign.functional.distributed import gather_batch, reduce_sum
from neuroalign.functional.few_shot import FewShotGeometry, few_shot_error
from neuroalign.functional.gabor import gabor_energy, gabor_filters
from neuroalign.functional.glue_geometry import GlueGeometry, glue
from neuroalign.functional.independence import hsic
from neuroalign.functional.intervals import tango, wilson
from neuroalign.functional.likelihood import gaussian_nll, poisson_nll
from neuroalign.functional.linear_separation import SimulatedCapacity, linear_separability, simulated_capacity
from neuroalign.functional.manifold import (
    effective_rank,
    manifold_radius,
    nearest_center_signal,
    participation_ratio,
    separability,
    variance_ratio,
)
from neuroalign.functional.manifold_statistics import ManifoldStatistics
from neuroalign.functional.matching import soft_matching
from neuroalign.functional.predictivity import ridge_predictivity
from neuroalign.functional.projection import random_projection
from neuroalign.functional.rdm_comparison import compare_rdms, rdm_noise_ceiling
from neuroalign.functional.regression import ridge, ridge_gcv
from neuroalign.functional.representational_similarity import rsa
from neuroalign.functional.shape_distances import procrustes, shape_distance
from neuroalign.functional.signal_grams import signal_gram
from neuroalign.functional.smoothness import (
    InputGradients,
    input_gradient_norm,
    input_smoothness,
    local_lipschitz,
    released_smoothness,
)
from neuroalign.functional.subspaces import principal_angles, subspace_overlap
from neuroalign.functional.triplets import odd_one_out_correct, odd_one_out_nll, pair_similarities

__all__ = [
    "SIXTEEN_CLASSES",
    "CenterDirections",
    "ConeProjection",
    "CueDecisions",
    "ErrorConsistency",
    "FewShotGeometry",
    "GlueGeometry",
    "InputGradients",
    "ManifoldCapacity",
    "ManifoldStatistics",
    "RidgeFit",
    "SimulatedCapacity",
    "cca",
    "center_directions",
    "class_centers",
    "compare_rdms",
    "cone_projection",
    "cosine",
    "effective_rank",
    "error_consistency",
    "few_shot_error",
    "gabor_energy",
    "gabor_filters",
    "gather_batch",
    "gaussian_nll",
    "glue",
    "hsic",
    "input_gradient_norm",
    "input_smoothness",
    "linear_cka",
    "linear_separability",
    "local_lipschitz",
    "manifold_capacity",
    "manifold_radius",
    "nearest_center_signal",
    "noise_ceiling",
    "noise_ceiling_error",
    "noise_ceiling_of_trials",
    "odd_one_out_correct",
    "odd_one_out_nll",
    "pair_similarities",
    "participation_ratio",
    "pearson",
    "poisson_nll",
    "pooled_normalized_correlation",
    "principal_angles",
    "procrustes",
    "pwcca",
    "random_projection",
    "rbf_cka",
    "rdm",
    "rdm_noise_ceiling",
    "reduce_sum",
    "released_smoothness",
    "rescale_ceiling",
    "ridge",
    "ridge_cv",
    "ridge_gcv",
    "ridge_predictivity",
    "rsa",
    "separability",
    "shape_bias",
    "shape_distance",
    "signal_gram",
    "simulated_capacity",
    "sixteen_class_probabilities",
    "soft_matching",
    "spearman_brown",
    "square_rdm",
    "subspace_overlap",
    "svcca",
    "tango",
    "variance_ratio",
    "wilson",
]


def __getattr__(name: str) -> object:
    if name == "paper_smoothness":
        import warnings

        warnings.warn(
            "paper_smoothness is called input_smoothness now: its scale is not the paper's (see released_smoothness)",
            FutureWarning,
            stacklevel=2,
        )
        return input_smoothness
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
