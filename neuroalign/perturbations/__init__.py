"""Images in, perturbed images out, within a stated budget, in pixel space; and the accuracy that is left."""

from neuroalign.perturbations.apgd import APGD
from neuroalign.perturbations.base import Attack, Classifier
from neuroalign.perturbations.corruptions import COMMON_CORRUPTIONS, EXTRA_CORRUPTIONS, Corruption
from neuroalign.perturbations.corruptions.errors import CorruptionErrors, corruption_errors, evaluate_corruptions
from neuroalign.perturbations.curve import RobustnessCurve, robustness_curve
from neuroalign.perturbations.delegated import AutoAttack, BrendelBethge
from neuroalign.perturbations.evaluation import evaluate_robustness, per_image_robustness
from neuroalign.perturbations.gradient import FGSM, PGD
from neuroalign.perturbations.intervals import wilson
from neuroalign.perturbations.masking import MaskingReport, masking_report
from neuroalign.perturbations.measurement import weights_hash
from neuroalign.perturbations.minimal import FMN, CarliniWagner, DeepFool
from neuroalign.perturbations.names import perturbation_name
from neuroalign.perturbations.smoothness import Smoothness, evaluate_smoothness
from neuroalign.perturbations.spatial import RotationTranslation
from neuroalign.perturbations.square import Square
from neuroalign.perturbations.state import attacking
from neuroalign.perturbations.transfer import transfer_matrix
from neuroalign.perturbations.transforms import Contrast, HighPass, ImageTransform, LowPass

__all__ = [
    "COMMON_CORRUPTIONS",
    "EXTRA_CORRUPTIONS",
    "APGD",
    "FGSM",
    "FMN",
    "PGD",
    "Attack",
    "AutoAttack",
    "BrendelBethge",
    "CarliniWagner",
    "Classifier",
    "Contrast",
    "Corruption",
    "CorruptionErrors",
    "DeepFool",
    "HighPass",
    "ImageTransform",
    "LowPass",
    "MaskingReport",
    "RobustnessCurve",
    "RotationTranslation",
    "Smoothness",
    "Square",
    "attacking",
    "corruption_errors",
    "evaluate_corruptions",
    "evaluate_robustness",
    "evaluate_smoothness",
    "masking_report",
    "per_image_robustness",
    "perturbation_name",
    "robustness_curve",
    "transfer_matrix",
    "weights_hash",
    "wilson",
]
