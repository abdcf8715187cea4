"""Images in, perturbed images out, within a stated budget, in pixel space."""

from neuroalign.perturbations.evaluation import (
    attacking,
    evaluate_robustness,
    per_image_robustness,
    perturb,
    perturbation_name,
)
from neuroalign.perturbations.gradient import FGSM, PGD

__all__ = ["FGSM", "PGD", "attacking", "evaluate_robustness", "per_image_robustness", "perturb", "perturbation_name"]
