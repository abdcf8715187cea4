"""The parts of a study's file: what may be said in it, and what is taken where nothing is said."""

from neuroalign.study.settings.conditions import Condition, RobustTrainingSettings
from neuroalign.study.settings.evaluations import (
    RSA,
    Comparisons,
    Control,
    Corruptions,
    Evaluations,
    Geometry,
    Masking,
    Robustness,
    ShapeBias,
    Smoothness,
    Transfer,
)
from neuroalign.study.settings.images import Images
from neuroalign.study.settings.network import Network
from neuroalign.study.settings.responses import (
    DissimilarityResponses,
    HeldOut,
    NSDResponses,
    Predictors,
    RecordedResponses,
    SimulatedResponses,
)
from neuroalign.study.settings.training import PredictorTraining, StageResources, TeacherTraining, Training

__all__ = [
    "RSA",
    "Comparisons",
    "Condition",
    "Corruptions",
    "DissimilarityResponses",
    "Evaluations",
    "Geometry",
    "HeldOut",
    "Images",
    "Masking",
    "NSDResponses",
    "Network",
    "Control",
    "PredictorTraining",
    "Predictors",
    "RecordedResponses",
    "RobustTrainingSettings",
    "Robustness",
    "ShapeBias",
    "SimulatedResponses",
    "Smoothness",
    "StageResources",
    "TeacherTraining",
    "Training",
    "Transfer",
]
