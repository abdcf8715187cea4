"""Experiments of many trainings: one file says what is trained and measured, one command runs it and says what it shows.

A name is loaded on first use, so that a mistake in a study's file is told before anything heavy is imported.
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING, Any

from neuroalign.moved import former_names

if TYPE_CHECKING:
    from neuroalign.study.planning import plan_study
    from neuroalign.study.runs import Plan
    from neuroalign.study.session import StudyResult, run_study
    from neuroalign.study.smoothness_matching import SmoothnessMatch, match_smoothness
    from neuroalign.study.study import Study, StudyError
    from neuroalign.study.training import Recipe, correlation_on, matched_control, train_classifier, train_predictor
    from neuroalign.study.verdicts import interval_meaning, verdict

__all__ = [
    "Plan",
    "Recipe",
    "SmoothnessMatch",
    "Study",
    "StudyError",
    "StudyResult",
    "correlation_on",
    "interval_meaning",
    "match_smoothness",
    "matched_control",
    "plan_study",
    "run_study",
    "train_classifier",
    "train_predictor",
    "verdict",
]

_MODULES = {
    "planning": ("plan_study",),
    "runs": ("Plan",),
    "session": ("StudyResult", "run_study"),
    "smoothness_matching": ("SmoothnessMatch", "match_smoothness"),
    "study": ("Study", "StudyError"),
    "training": ("Recipe", "correlation_on", "matched_control", "train_classifier", "train_predictor"),
    "verdicts": ("interval_meaning", "verdict"),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}
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
_former = former_names(__name__, {}, {name: f"neuroalign.evaluation.{name}" for name in _MEASURING}, stacklevel=3)


def __getattr__(name: str) -> Any:
    if name in _MODULE_OF:
        return getattr(_import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
    return _former(name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
