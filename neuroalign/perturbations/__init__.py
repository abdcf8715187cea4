"""Images in, perturbed images out, within a stated budget, in pixel space; and the accuracy that is left."""

from neuroalign.perturbations.attacks.apgd import APGD
from neuroalign.perturbations.attacks.base import Attack, Classifier
from neuroalign.perturbations.attacks.delegated import AutoAttack, BrendelBethge
from neuroalign.perturbations.attacks.gradient import FGSM, PGD
from neuroalign.perturbations.attacks.minimal import FMN, CarliniWagner, DeepFool
from neuroalign.perturbations.attacks.square import Square
from neuroalign.perturbations.attacks.state import attacking
from neuroalign.perturbations.corruptions import COMMON_CORRUPTIONS, EXTRA_CORRUPTIONS, Corruption
from neuroalign.perturbations.evaluation.corruptions import CorruptionErrors, corruption_errors, evaluate_corruptions
from neuroalign.perturbations.evaluation.curve import RobustnessCurve, robustness_curve
from neuroalign.perturbations.evaluation.masking import MaskingReport, masking_report
from neuroalign.perturbations.evaluation.measurement import weights_hash
from neuroalign.perturbations.evaluation.names import perturbation_name
from neuroalign.perturbations.evaluation.robustness import evaluate_robustness, per_image_robustness
from neuroalign.perturbations.evaluation.smoothness import Smoothness, evaluate_smoothness
from neuroalign.perturbations.evaluation.targeted import targeted_success
from neuroalign.perturbations.evaluation.transfer import transfer_matrix
from neuroalign.perturbations.pixel_classifier import PixelClassifier
from neuroalign.perturbations.spatial import RotationTranslation
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
    "PixelClassifier",
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
    "targeted_success",
    "transfer_matrix",
    "weights_hash",
]
