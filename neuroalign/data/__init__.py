"""Images, responses, and the batches that bring them together; Lightning is loaded when a DataModule is asked for."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

from neuroalign.data.algonauts import read_algonauts
from neuroalign.data.brain_maps import save_map, to_surface, to_volume
from neuroalign.data.images import ArrayDataset, ImageFiles, LabelledDataset, ShiftFlip, load_digits
from neuroalign.data.mixing import MinValidSampler
from neuroalign.data.nifti import read_nifti
from neuroalign.data.nsd import ATLASES, REGIONS, NSDError, NSDImages, open_tree, read_nsd, read_split
from neuroalign.data.nsd.check import check_nsd
from neuroalign.data.nsd.extraction import extract_nsd
from neuroalign.data.nsd.stimulus_cache import CachedImages, cache_stimuli
from neuroalign.data.recordings import from_axes, read_recording
from neuroalign.data.responses import Responses
from neuroalign.data.simulated import SimulatedSubject, write_simulated_nsd

if TYPE_CHECKING:
    from neuroalign.data.datamodules import (
        BatchDataModule,
        GuidanceDataModule,
        NSDDataModule,
        ResponsesDataModule,
        ResumableLoader,
    )

__all__ = [
    "ATLASES",
    "REGIONS",
    "ArrayDataset",
    "BatchDataModule",
    "CachedImages",
    "GuidanceDataModule",
    "ImageFiles",
    "LabelledDataset",
    "MinValidSampler",
    "NSDDataModule",
    "NSDError",
    "NSDImages",
    "Responses",
    "ResponsesDataModule",
    "ResumableLoader",
    "ShiftFlip",
    "SimulatedSubject",
    "cache_stimuli",
    "check_nsd",
    "extract_nsd",
    "from_axes",
    "load_digits",
    "open_tree",
    "read_algonauts",
    "read_nifti",
    "read_nsd",
    "read_recording",
    "read_split",
    "save_map",
    "to_surface",
    "to_volume",
    "write_simulated_nsd",
]


def __getattr__(name: str) -> object:
    if (name.endswith("DataModule") and name in __all__) or name == "ResumableLoader":
        return getattr(_import_module("neuroalign.data.datamodules"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
