"""Figures of tables and brain maps."""

from neuroalign.plot.brain import plot_surface, plot_volume
from neuroalign.plot.differences import plot_differences
from neuroalign.plot.geometry import plot_geometry
from neuroalign.plot.robustness import plot_accuracy, plot_corruptions, plot_landscape, plot_transforms
from neuroalign.plot.styles import is_control
from neuroalign.plot.tables import plot_bars, plot_prediction, plot_robustness

__all__ = [
    "is_control",
    "plot_accuracy",
    "plot_bars",
    "plot_corruptions",
    "plot_differences",
    "plot_geometry",
    "plot_landscape",
    "plot_prediction",
    "plot_robustness",
    "plot_surface",
    "plot_transforms",
    "plot_volume",
]
