"""Lightning callbacks that measure any network while it trains, without changing the training."""

from neuroalign.callbacks.geometry import ManifoldGeometryCallback
from neuroalign.callbacks.robustness import RobustnessCallback
from neuroalign.callbacks.smoothness import InputSmoothnessCallback

__all__ = ["InputSmoothnessCallback", "ManifoldGeometryCallback", "RobustnessCallback"]
