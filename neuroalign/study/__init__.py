"""The paper's whole experiment as data: conditions times replications, to tables, differences and a verdict."""

from neuroalign.study.comparison import Comparison, compare, mean_over_eps, verdict
from neuroalign.study.replication import Progress, run_replications
from neuroalign.study.training import Recipe, correlation_on, train_classifier, train_predictor

__all__ = [
    "Comparison",
    "Progress",
    "Recipe",
    "compare",
    "correlation_on",
    "mean_over_eps",
    "run_replications",
    "train_classifier",
    "train_predictor",
    "verdict",
]
