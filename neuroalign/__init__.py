"""Losses and Lightning modules that train a network to match brain responses.

Importing this package loads nothing heavy; every public name is loaded from its room on first use::

    from neuroalign import NeuralAlignmentLoss, ManifoldGuidanceLoss
"""

from importlib import import_module as _import_module
from warnings import warn as _warn

__version__ = "0.1.0"

_ROOMS = {
    "losses": (
        "CapacityLoss",
        "CategoryManifolds",
        "MMCRLoss",
        "ManifoldGuidanceLoss",
        "NeuralAlignmentLoss",
        "NonNeuralManifoldLoss",
        "OddOneOutLoss",
        "RDMAlignmentLoss",
        "RandomFourierFeatures",
    ),
    "metrics": (
        "CCA",
        "CKA",
        "RSA",
        "AlignmentMetric",
        "ManifoldGeometry",
        "NoiseNormalizedCorrelation",
        "OddOneOutAccuracy",
        "ProcrustesSimilarity",
        "RDMSimilarity",
        "RidgePredictivity",
        "RobustAccuracy",
        "ShapeBias",
        "SoftMatching",
        "VoxelCorrelation",
    ),
    "models": (
        "Frozen",
        "GuidedNetwork",
        "NeuralPredictor",
        "Normalize",
        "ResponseHead",
        "RidgePredictor",
        "StandardizedPredictor",
        "untrained",
    ),
    "guidance": (
        "LabelOnlyGuidance",
        "ManifoldGuidance",
        "MeasuredGuidance",
        "OddOneOutGuidance",
        "PredictedGuidance",
        "RDMGuidance",
        "Ramp",
        "ShuffledGuidance",
        "WeightedGuidance",
        "match_gradient_scale",
    ),
    "perturbations": (
        "APGD",
        "FGSM",
        "FMN",
        "PGD",
        "AutoAttack",
        "BrendelBethge",
        "CarliniWagner",
        "Contrast",
        "Corruption",
        "DeepFool",
        "HighPass",
        "LowPass",
        "PixelClassifier",
        "RotationTranslation",
        "SquareAttack",
    ),
    "evaluation": (
        "MaskingReport",
        "RobustnessCurve",
        "corruption_errors",
        "evaluate_corruptions",
        "evaluate_robustness",
        "evaluate_smoothness",
        "evaluate_suite",
        "layer_geometry",
        "masking_report",
        "per_image_robustness",
        "response_geometry",
        "robustness_curve",
        "robustness_suite",
        "targeted_success",
        "transfer_matrix",
    ),
    "data": (
        "GuidanceDataModule",
        "NSDDataModule",
        "Responses",
        "ResponsesDataModule",
        "cache_nsd_stimuli",
        "check_nsd",
        "extract_nsd",
        "read_algonauts",
        "read_nifti",
        "read_nsd",
        "read_recording",
        "read_nsd_split",
        "write_simulated_nsd",
    ),
    "tasks": (
        "TRADES",
        "AdversarialTraining",
        "GaussianNoiseTraining",
        "GradientRegularization",
        "GuidedClassificationTask",
        "NeuralPredictionTask",
    ),
    "config": ("register",),
    "callbacks": ("InputSmoothnessCallback", "ManifoldGeometryCallback", "RobustnessCallback"),
}
_RENAMED = {
    "Procrustes": "metrics.ProcrustesSimilarity",
    "Square": "perturbations.SquareAttack",
    "cache_stimuli": "data.cache_nsd_stimuli",
    "read_split": "data.read_nsd_split",
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = sorted(_ROOM_OF)


def __getattr__(name: str) -> object:
    if name in _ROOM_OF:
        value = getattr(_import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
        globals()[name] = value
        return value
    if name in _RENAMED:
        room, now = _RENAMED[name].split(".")
        _warn(f"{__name__}.{name} is {__name__}.{now} now", DeprecationWarning, stacklevel=2)
        return getattr(_import_module(f"{__name__}.{room}"), now)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
