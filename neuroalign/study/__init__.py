"""Experiments of many trainings: conditions times replications, then tables, a verdict and a report."""

from typing import TYPE_CHECKING

from neuroalign.moved import former_names

if TYPE_CHECKING:  # loaded on first use: the processes of a study import this package, and need little of it
    from neuroalign.study.replication import Progress, run_replications
    from neuroalign.study.smoothness_matching import SmoothnessMatch, match_smoothness
    from neuroalign.study.training import Recipe, correlation_on, matched_control, train_classifier, train_predictor
    from neuroalign.study.verdicts import interval_meaning, verdict

__all__ = [
    "Progress",
    "Recipe",
    "SmoothnessMatch",
    "correlation_on",
    "interval_meaning",
    "match_smoothness",
    "matched_control",
    "run_replications",
    "train_classifier",
    "train_predictor",
    "verdict",
]

_PLACES = {
    "replication": ("Progress", "run_replications"),
    "smoothness_matching": ("SmoothnessMatch", "match_smoothness"),
    "training": ("Recipe", "correlation_on", "matched_control", "train_classifier", "train_predictor"),
    "verdicts": ("interval_meaning", "verdict"),
}
_MEASURING = (
    "Comparison",
    "PairedComparison",
    "ResponseGeometry",
    "Suite",
    "SuiteResult",
    "compare",
    "compare_paired",
    "evaluate_suite",
    "layer_geometry",
    "loss_landscape",
    "mean_over_eps",
    "paper_grid",
    "response_geometry",
    "robustness_suite",
)
__getattr__ = former_names(
    __name__,
    {name: f"neuroalign.study.{module}" for module, names in _PLACES.items() for name in names},
    {name: f"neuroalign.evaluation.{name}" for name in _MEASURING},
)
