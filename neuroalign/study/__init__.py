"""The paper's whole experiment as data: conditions times replications, to tables, differences and a verdict."""

from neuroalign.study.comparison import Comparison, compare, mean_over_eps
from neuroalign.study.landscape import loss_landscape
from neuroalign.study.layer_geometry import layer_geometry
from neuroalign.study.paired import PairedComparison, compare_paired
from neuroalign.study.replication import Progress, run_replications
from neuroalign.study.response_geometry import ResponseGeometry, response_geometry
from neuroalign.study.smoothness_matching import SmoothnessMatch, match_smoothness
from neuroalign.study.suite_evaluation import SuiteResult, evaluate_suite
from neuroalign.study.suites import Suite, paper_grid, robustness_suite
from neuroalign.study.training import Recipe, correlation_on, matched_control, train_classifier, train_predictor
from neuroalign.study.verdict import verdict

__all__ = [
    "Comparison",
    "PairedComparison",
    "Progress",
    "Recipe",
    "ResponseGeometry",
    "SmoothnessMatch",
    "Suite",
    "SuiteResult",
    "compare",
    "compare_paired",
    "correlation_on",
    "evaluate_suite",
    "layer_geometry",
    "loss_landscape",
    "match_smoothness",
    "matched_control",
    "mean_over_eps",
    "paper_grid",
    "response_geometry",
    "robustness_suite",
    "run_replications",
    "train_classifier",
    "train_predictor",
    "verdict",
]
