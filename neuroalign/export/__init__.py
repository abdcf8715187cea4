"""Trained networks and results for other programs: torch.export, ONNX, timm, Brain-Score and rsatoolbox."""

from neuroalign.export.onnx_files import export_onnx
from neuroalign.export.plain import PlainClassifier
from neuroalign.export.programs import export_program

__all__ = ["PlainClassifier", "export_onnx", "export_program"]
