"""LightningModules: what is optimised, step by step, and what is logged. Made to be subclassed."""

from neuroalign.tasks.classification import GuidedClassificationTask
from neuroalign.tasks.prediction import NeuralPredictionTask

__all__ = ["GuidedClassificationTask", "NeuralPredictionTask"]
