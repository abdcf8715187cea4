"""Perturbations of images in pixel space: attacks within a budget, corruptions, filters and rotations."""

from neuroalign.moved import former_names
from neuroalign.perturbations.attacks.apgd import APGD
from neuroalign.perturbations.attacks.base import Attack
from neuroalign.perturbations.attacks.delegated import AutoAttack, BrendelBethge
from neuroalign.perturbations.attacks.gradient import FGSM, PGD
from neuroalign.perturbations.attacks.minimal import FMN, CarliniWagner, DeepFool
from neuroalign.perturbations.attacks.square import SquareAttack
from neuroalign.perturbations.base import Perturbation
from neuroalign.perturbations.classifier import Classifier
from neuroalign.perturbations.corruptions import COMMON_CORRUPTIONS, EXTRA_CORRUPTIONS, Corruption
from neuroalign.perturbations.listing import list_attacks
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
    "DeepFool",
    "HighPass",
    "ImageTransform",
    "LowPass",
    "Perturbation",
    "PixelClassifier",
    "RotationTranslation",
    "SquareAttack",
    "list_attacks",
]

_MEASURING = (
    "CorruptionErrors",
    "MaskingReport",
    "RobustnessCurve",
    "Smoothness",
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
)
__getattr__ = former_names(
    __name__,
    dict.fromkeys(_MEASURING, "neuroalign.evaluation"),
    {"attacking": "neuroalign.state.evaluating", "Square": "neuroalign.perturbations.SquareAttack"},
)
