"""LightningModules for training: their steps, losses and logging. They are made to be subclassed."""

from neuroalign.tasks.classification import GuidedClassificationTask
from neuroalign.tasks.prediction import NeuralPredictionTask
from neuroalign.tasks.robust_training import (
    TRADES,
    AdversarialTraining,
    GaussianNoiseTraining,
    GradientRegularization,
    RobustTraining,
)

__all__ = [
    "TRADES",
    "AdversarialTraining",
    "GaussianNoiseTraining",
    "GradientRegularization",
    "GuidedClassificationTask",
    "NeuralPredictionTask",
    "RobustTraining",
]
