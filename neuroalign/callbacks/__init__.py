"""Lightning callbacks: what is measured while somebody's network trains, leaving no trace in the training."""

from neuroalign.callbacks.geometry import ManifoldGeometryCallback
from neuroalign.callbacks.robustness import RobustnessCallback
from neuroalign.callbacks.smoothness import InputSmoothnessCallback

__all__ = ["InputSmoothnessCallback", "ManifoldGeometryCallback", "RobustnessCallback"]
