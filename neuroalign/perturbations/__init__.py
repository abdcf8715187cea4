"""Images in, perturbed images out, within a stated budget, in pixel space."""

from neuroalign.perturbations.evaluation import (
    attacking,
    evaluate_robustness,
    per_image_robustness,
    perturb,
    perturbation_name,
)
from neuroalign.perturbations.gradient import FGSM, PGD, GradientAttack

__all__ = [
    "FGSM",
    "PGD",
    "GradientAttack",
    "attacking",
    "evaluate_robustness",
    "per_image_robustness",
    "perturb",
    "perturbation_name",
]
