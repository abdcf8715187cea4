"""Images in, perturbed images out, within a stated budget, in pixel space; and the accuracy that is left."""

from neuroalign.perturbations.apgd import APGD
from neuroalign.perturbations.base import Attack, Classifier
from neuroalign.perturbations.curve import RobustnessCurve, robustness_curve
from neuroalign.perturbations.delegated import AutoAttack, BrendelBethge
from neuroalign.perturbations.evaluation import evaluate_robustness, per_image_robustness
from neuroalign.perturbations.gradient import FGSM, PGD
from neuroalign.perturbations.intervals import wilson
from neuroalign.perturbations.measurement import weights_hash
from neuroalign.perturbations.minimal import FMN, CarliniWagner, DeepFool
from neuroalign.perturbations.names import perturbation_name
from neuroalign.perturbations.square import Square
from neuroalign.perturbations.state import attacking

__all__ = [
    "APGD",
    "FGSM",
    "FMN",
    "PGD",
    "Attack",
    "AutoAttack",
    "BrendelBethge",
    "CarliniWagner",
    "Classifier",
    "DeepFool",
    "RobustnessCurve",
    "Square",
    "attacking",
    "evaluate_robustness",
    "per_image_robustness",
    "perturbation_name",
    "robustness_curve",
    "weights_hash",
    "wilson",
]
