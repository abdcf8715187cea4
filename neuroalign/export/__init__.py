"""Trained networks and results for other programs: torch.export, ONNX, timm, Brain-Score and rsatoolbox."""

from neuroalign.export.brainscore import BrainScorePlugin, export_brainscore
from neuroalign.export.onnx_files import export_onnx
from neuroalign.export.plain import PlainClassifier
from neuroalign.export.programs import export_program
from neuroalign.export.rdms import RDMSet, from_rsatoolbox, to_rsatoolbox
from neuroalign.export.timm_folders import export_timm

__all__ = [
    "BrainScorePlugin",
    "PlainClassifier",
    "RDMSet",
    "export_brainscore",
    "export_onnx",
    "export_program",
    "export_timm",
    "from_rsatoolbox",
    "to_rsatoolbox",
]
