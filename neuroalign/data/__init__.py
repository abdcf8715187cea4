"""Images, responses, and the batches that bring them together; Lightning is loaded when a DataModule is asked for."""

from importlib import import_module as _import_module
from typing import TYPE_CHECKING

from neuroalign.data.algonauts import read_algonauts
from neuroalign.data.brain_maps import save_map, to_surface, to_volume
from neuroalign.data.images import ArrayDataset, ImageFiles, LabelledDataset, ShiftFlip, collate, load_digits, resize
from neuroalign.data.mixing import MinValidSampler
from neuroalign.data.nifti import read_nifti
from neuroalign.data.nsd import ATLASES, REGIONS, NSDError, NSDImages, open_nsd, read_nsd, read_nsd_split
from neuroalign.data.nsd.check import check_nsd
from neuroalign.data.nsd.extraction import extract_nsd
from neuroalign.data.nsd.stimulus_cache import CachedImages, cache_nsd_stimuli
from neuroalign.data.recordings import from_axes, read_recording
from neuroalign.data.responses import Responses
from neuroalign.data.simulated import SimulatedSubject, write_simulated_nsd
from neuroalign.moved import former_names as _former_names

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
    "cache_nsd_stimuli",
    "check_nsd",
    "collate",
    "extract_nsd",
    "from_axes",
    "load_digits",
    "open_nsd",
    "read_algonauts",
    "read_nifti",
    "read_nsd",
    "read_nsd_split",
    "read_recording",
    "resize",
    "save_map",
    "to_surface",
    "to_volume",
    "write_simulated_nsd",
]

_former = _former_names(
    __name__,
    {},
    {
        "cache_stimuli": "neuroalign.data.cache_nsd_stimuli",
        "open_tree": "neuroalign.data.open_nsd",
        "read_split": "neuroalign.data.read_nsd_split",
    },
    stacklevel=3,
)


def __getattr__(name: str) -> object:
    if (name.endswith("DataModule") and name in __all__) or name == "ResumableLoader":
        return getattr(_import_module("neuroalign.data.datamodules"), name)
    return _former(name)
