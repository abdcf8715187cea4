"""Tables and maps as figures."""

from neuroalign.plot.brain import plot_surface, plot_volume
from neuroalign.plot.geometry import plot_geometry
from neuroalign.plot.tables import is_control, plot_bars, plot_prediction, plot_robustness

__all__ = [
    "is_control",
    "plot_bars",
    "plot_geometry",
    "plot_prediction",
    "plot_robustness",
    "plot_surface",
    "plot_volume",
]
