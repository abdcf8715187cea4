"""Images, responses, and the batches that bring them together."""

from neuroalign.data.datamodules import BatchDataModule, GuidanceDataModule, NSDDataModule, ResponsesDataModule
from neuroalign.data.images import ArrayDataset, LabelledDataset, ShiftFlip, load_digits
from neuroalign.data.nsd import REGIONS, NSDError, NSDImages, read_nsd
from neuroalign.data.responses import Responses
from neuroalign.data.simulated import SimulatedSubject, write_simulated_nsd

__all__ = [
    "REGIONS",
    "ArrayDataset",
    "BatchDataModule",
    "GuidanceDataModule",
    "LabelledDataset",
    "NSDDataModule",
    "NSDError",
    "NSDImages",
    "Responses",
    "ResponsesDataModule",
    "ShiftFlip",
    "SimulatedSubject",
    "load_digits",
    "read_nsd",
    "write_simulated_nsd",
]
