"""Lightning callbacks that measure any network while it trains, without changing the training, and write predictions."""

from neuroalign.callbacks.geometry import ManifoldGeometryCallback
from neuroalign.callbacks.predictions import PredictionWriter
from neuroalign.callbacks.robustness import RobustnessCallback
from neuroalign.callbacks.smoothness import InputSmoothnessCallback

__all__ = ["InputSmoothnessCallback", "ManifoldGeometryCallback", "PredictionWriter", "RobustnessCallback"]
