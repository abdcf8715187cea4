"""Evaluation of a trained network, or of recorded responses: from images or responses to tables."""

from neuroalign.evaluation.comparison import PairedComparison, compare, compare_paired, mean_over_eps
from neuroalign.evaluation.comparison_result import Comparison
from neuroalign.evaluation.corruptions import evaluate_corruptions
from neuroalign.evaluation.curve import RobustnessCurve, robustness_curve
from neuroalign.evaluation.geometry_regression import regress_on_geometry
from neuroalign.evaluation.landscape import loss_landscape
from neuroalign.evaluation.layers import layer_geometry
from neuroalign.evaluation.masking import MaskingReport, masking_report
from neuroalign.evaluation.mean_corruption_error import CorruptionErrors, corruption_errors
from neuroalign.evaluation.mixed import MixedTrend, mixed_trend
from neuroalign.evaluation.multiple_comparisons import holm
from neuroalign.evaluation.power_analysis import images_needed, power, seeds_needed, subjects_needed
from neuroalign.evaluation.regions import ResponseGeometry, response_geometry
from neuroalign.evaluation.requests import perturbation_name
from neuroalign.evaluation.results import weights_hash
from neuroalign.evaluation.robustness import evaluate_robustness, per_image_robustness
from neuroalign.evaluation.smoothness import Smoothness, evaluate_smoothness
from neuroalign.evaluation.spread import Spread, spread_of
from neuroalign.evaluation.suite_result import SuiteResult, evaluate_suite
from neuroalign.evaluation.suites import Suite, paper_grid, robustness_suite
from neuroalign.evaluation.targeted import targeted_success
from neuroalign.evaluation.transfer import transfer_matrix
from neuroalign.evaluation.trend import Trend, trend_test

__all__ = [
    "Comparison",
    "CorruptionErrors",
    "MaskingReport",
    "MixedTrend",
    "PairedComparison",
    "ResponseGeometry",
    "RobustnessCurve",
    "Smoothness",
    "Spread",
    "Suite",
    "SuiteResult",
    "Trend",
    "compare",
    "compare_paired",
    "corruption_errors",
    "evaluate_corruptions",
    "evaluate_robustness",
    "evaluate_smoothness",
    "evaluate_suite",
    "holm",
    "images_needed",
    "layer_geometry",
    "loss_landscape",
    "masking_report",
    "mean_over_eps",
    "mixed_trend",
    "paper_grid",
    "per_image_robustness",
    "perturbation_name",
    "power",
    "regress_on_geometry",
    "response_geometry",
    "robustness_curve",
    "robustness_suite",
    "seeds_needed",
    "spread_of",
    "subjects_needed",
    "targeted_success",
    "transfer_matrix",
    "trend_test",
    "weights_hash",
]
