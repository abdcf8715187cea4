"""Losses and Lightning modules that train a network to match brain responses.

Importing this package loads nothing heavy; every public name and subpackage is loaded on first use::

    from neuroalign import NeuralAlignmentLoss, ManifoldGuidanceLoss
"""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

from neuroalign.version import __version__ as __version__

# isort: off
# fmt: off
if TYPE_CHECKING:  # what type checkers and editors read; a test keeps it equal to the table below
    from neuroalign import (
        callbacks as callbacks, config as config, data as data, evaluation as evaluation, export as export,
        functional as functional, guidance as guidance, losses as losses, metrics as metrics, models as models,
        perturbations as perturbations, plot as plot, sharing as sharing, study as study, tasks as tasks,
    )
    from neuroalign.callbacks import (
        InputSmoothnessCallback as InputSmoothnessCallback, ManifoldGeometryCallback as ManifoldGeometryCallback,
        PredictionWriter as PredictionWriter, RobustnessCallback as RobustnessCallback,
    )
    from neuroalign.config import (
        register as register,
    )
    from neuroalign.data import (
        GuidanceDataModule as GuidanceDataModule, NSDDataModule as NSDDataModule, Responses as Responses,
        ResponsesDataModule as ResponsesDataModule, cache_nsd_stimuli as cache_nsd_stimuli, check_nsd as check_nsd,
        extract_nsd as extract_nsd, read_algonauts as read_algonauts, read_nifti as read_nifti, read_nsd as read_nsd,
        read_nsd_split as read_nsd_split, read_recording as read_recording, write_simulated_nsd as write_simulated_nsd,
    )
    from neuroalign.evaluation import (
        MaskingReport as MaskingReport, RobustnessCurve as RobustnessCurve, corruption_errors as corruption_errors,
        evaluate_corruptions as evaluate_corruptions, evaluate_robustness as evaluate_robustness,
        evaluate_smoothness as evaluate_smoothness, evaluate_suite as evaluate_suite, layer_geometry as layer_geometry,
        masking_report as masking_report, per_image_robustness as per_image_robustness,
        response_geometry as response_geometry, robustness_curve as robustness_curve,
        robustness_suite as robustness_suite, targeted_success as targeted_success, transfer_matrix as transfer_matrix,
    )
    from neuroalign.export import (
        PlainClassifier as PlainClassifier, export_brainscore as export_brainscore, export_onnx as export_onnx,
        export_program as export_program, export_timm as export_timm, from_rsatoolbox as from_rsatoolbox,
        to_rsatoolbox as to_rsatoolbox,
    )
    from neuroalign.guidance import (
        LabelOnlyGuidance as LabelOnlyGuidance, ManifoldGuidance as ManifoldGuidance,
        MatchedGuidance as MatchedGuidance, MeasuredGuidance as MeasuredGuidance,
        OddOneOutGuidance as OddOneOutGuidance, PredictedGuidance as PredictedGuidance, RDMGuidance as RDMGuidance,
        ShuffledGuidance as ShuffledGuidance, WeightedGuidance as WeightedGuidance,
        match_gradient_scale as match_gradient_scale,
    )
    from neuroalign.losses import (
        CapacityLoss as CapacityLoss, CategoryManifolds as CategoryManifolds, MMCRLoss as MMCRLoss,
        ManifoldGuidanceLoss as ManifoldGuidanceLoss, NeuralAlignmentLoss as NeuralAlignmentLoss,
        NonNeuralManifoldLoss as NonNeuralManifoldLoss, OddOneOutLoss as OddOneOutLoss,
        RDMAlignmentLoss as RDMAlignmentLoss, list_measures as list_measures,
    )
    from neuroalign.metrics import (
        AlignmentMetric as AlignmentMetric, CCA as CCA, CKA as CKA, ManifoldGeometry as ManifoldGeometry,
        NoiseNormalizedCorrelation as NoiseNormalizedCorrelation, OddOneOutAccuracy as OddOneOutAccuracy,
        ProcrustesSimilarity as ProcrustesSimilarity, RDMSimilarity as RDMSimilarity, RSA as RSA,
        RidgePredictivity as RidgePredictivity, RobustAccuracy as RobustAccuracy, ShapeBias as ShapeBias,
        SoftMatching as SoftMatching, VoxelCorrelation as VoxelCorrelation,
    )
    from neuroalign.models import (
        Frozen as Frozen, GuidedNetwork as GuidedNetwork, NeuralPredictor as NeuralPredictor,
        ResponseHead as ResponseHead, RidgePredictor as RidgePredictor, StandardizedPredictor as StandardizedPredictor,
        list_heads as list_heads,
    )
    from neuroalign.perturbations import (
        APGD as APGD, AutoAttack as AutoAttack, BrendelBethge as BrendelBethge, CarliniWagner as CarliniWagner,
        Contrast as Contrast, Corruption as Corruption, DeepFool as DeepFool, FGSM as FGSM, FMN as FMN,
        HighPass as HighPass, LowPass as LowPass, PGD as PGD, PixelClassifier as PixelClassifier,
        RotationTranslation as RotationTranslation, SquareAttack as SquareAttack, list_attacks as list_attacks,
    )
    from neuroalign.sharing import (
        CardFacts as CardFacts,
    )
    from neuroalign.tasks import (
        AdversarialTraining as AdversarialTraining, GaussianNoiseTraining as GaussianNoiseTraining,
        GradientRegularization as GradientRegularization, GuidedClassificationTask as GuidedClassificationTask,
        NeuralPredictionTask as NeuralPredictionTask, TRADES as TRADES,
    )
# fmt: on
# isort: on


_ROOMS = {
    "losses": (
        "CapacityLoss",
        "CategoryManifolds",
        "MMCRLoss",
        "ManifoldGuidanceLoss",
        "NeuralAlignmentLoss",
        "NonNeuralManifoldLoss",
        "OddOneOutLoss",
        "RDMAlignmentLoss",
        "list_measures",
    ),
    "metrics": (
        "CCA",
        "CKA",
        "RSA",
        "AlignmentMetric",
        "ManifoldGeometry",
        "NoiseNormalizedCorrelation",
        "OddOneOutAccuracy",
        "ProcrustesSimilarity",
        "RDMSimilarity",
        "RidgePredictivity",
        "RobustAccuracy",
        "ShapeBias",
        "SoftMatching",
        "VoxelCorrelation",
    ),
    "models": (
        "Frozen",
        "GuidedNetwork",
        "NeuralPredictor",
        "ResponseHead",
        "RidgePredictor",
        "StandardizedPredictor",
        "list_heads",
    ),
    "guidance": (
        "LabelOnlyGuidance",
        "ManifoldGuidance",
        "MatchedGuidance",
        "MeasuredGuidance",
        "OddOneOutGuidance",
        "PredictedGuidance",
        "RDMGuidance",
        "ShuffledGuidance",
        "WeightedGuidance",
        "match_gradient_scale",
    ),
    "perturbations": (
        "APGD",
        "FGSM",
        "FMN",
        "PGD",
        "AutoAttack",
        "BrendelBethge",
        "CarliniWagner",
        "Contrast",
        "Corruption",
        "DeepFool",
        "HighPass",
        "LowPass",
        "PixelClassifier",
        "RotationTranslation",
        "SquareAttack",
        "list_attacks",
    ),
    "evaluation": (
        "MaskingReport",
        "RobustnessCurve",
        "corruption_errors",
        "evaluate_corruptions",
        "evaluate_robustness",
        "evaluate_smoothness",
        "evaluate_suite",
        "layer_geometry",
        "masking_report",
        "per_image_robustness",
        "response_geometry",
        "robustness_curve",
        "robustness_suite",
        "targeted_success",
        "transfer_matrix",
    ),
    "export": (
        "PlainClassifier",
        "export_brainscore",
        "export_onnx",
        "export_program",
        "export_timm",
        "from_rsatoolbox",
        "to_rsatoolbox",
    ),
    "data": (
        "GuidanceDataModule",
        "NSDDataModule",
        "Responses",
        "ResponsesDataModule",
        "cache_nsd_stimuli",
        "check_nsd",
        "extract_nsd",
        "read_algonauts",
        "read_nifti",
        "read_nsd",
        "read_recording",
        "read_nsd_split",
        "write_simulated_nsd",
    ),
    "tasks": (
        "TRADES",
        "AdversarialTraining",
        "GaussianNoiseTraining",
        "GradientRegularization",
        "GuidedClassificationTask",
        "NeuralPredictionTask",
    ),
    "config": ("register",),
    "callbacks": (
        "InputSmoothnessCallback",
        "ManifoldGeometryCallback",
        "PredictionWriter",
        "RobustnessCallback",
    ),
    "sharing": ("CardFacts",),
    "functional": (),
    "plot": (),
    "study": (),
}
_FORMER = {
    "Normalize": "models.Normalize",
    "Procrustes": "metrics.ProcrustesSimilarity",
    "Ramp": "guidance.Ramp",
    "RandomFourierFeatures": "losses.RandomFourierFeatures",
    "Square": "perturbations.SquareAttack",
    "cache_stimuli": "data.cache_nsd_stimuli",
    "read_split": "data.read_nsd_split",
    "untrained": "models.untrained",
}
_ROOM_OF = {name: room for room, names in _ROOMS.items() for name in names}

__all__ = sorted(_ROOM_OF)


def __getattr__(name: str) -> object:
    if name in _ROOMS:
        return _import_module(f"{__name__}.{name}")  # the import makes it an attribute
    if name in _ROOM_OF:
        value = getattr(_import_module(f"{__name__}.{_ROOM_OF[name]}"), name)
        globals()[name] = value
        return value
    if name in _FORMER:
        import warnings

        room, now = _FORMER[name].split(".")
        warnings.warn(f"{__name__}.{name} is {__name__}.{room}.{now} now", DeprecationWarning, stacklevel=2)
        return getattr(_import_module(f"{__name__}.{room}"), now)
    raise _unknown(name)


def _unknown(name: str) -> Exception:
    """The error for an unknown name, with similar names in the message.

    ``from neuroalign import name`` replaces the message of an AttributeError by its own, so there an ImportError is returned;
    all other callers, ``hasattr`` included, need an AttributeError.
    """
    import difflib
    import opcode
    import sys

    near = [] if name.startswith("_") else difflib.get_close_matches(name, [*_ROOM_OF, *_ROOMS])
    hint = f"; did you mean {' or '.join(near)}?" if near else ""
    caller = sys._getframe(2)
    if caller.f_lasti >= 0 and caller.f_code.co_code[caller.f_lasti] == opcode.opmap["IMPORT_FROM"]:
        return ImportError(f"cannot import name {name!r} from {__name__!r}{hint}", name=__name__, path=__file__)
    return AttributeError(f"module {__name__!r} has no attribute {name!r}{hint}", name=name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *_ROOMS})
