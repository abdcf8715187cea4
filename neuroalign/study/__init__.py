"""The paper's whole experiment as data: conditions times replications, to tables, differences and a verdict."""

from neuroalign.study.comparison import Comparison, compare, mean_over_eps, verdict
from neuroalign.study.layer_geometry import layer_geometry
from neuroalign.study.replication import Progress, run_replications
from neuroalign.study.response_geometry import ResponseGeometry, response_geometry
from neuroalign.study.training import Recipe, correlation_on, train_classifier, train_predictor

__all__ = [
    "Comparison",
    "Progress",
    "Recipe",
    "ResponseGeometry",
    "compare",
    "correlation_on",
    "layer_geometry",
    "mean_over_eps",
    "response_geometry",
    "run_replications",
    "train_classifier",
    "train_predictor",
    "verdict",
]
