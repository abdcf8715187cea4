"""Images, responses, and the batches that bring them together."""

from neuroalign.data.algonauts import read_algonauts
from neuroalign.data.brain_maps import save_map, to_surface, to_volume
from neuroalign.data.datamodules import BatchDataModule, GuidanceDataModule, NSDDataModule, ResponsesDataModule
from neuroalign.data.images import ArrayDataset, ImageFiles, LabelledDataset, ShiftFlip, load_digits
from neuroalign.data.nifti import read_nifti
from neuroalign.data.nsd import ATLASES, REGIONS, NSDError, NSDImages, open_tree, read_nsd, read_split
from neuroalign.data.nsd.check import check_nsd
from neuroalign.data.nsd.extraction import extract_nsd
from neuroalign.data.nsd.stimulus_cache import CachedImages, cache_stimuli
from neuroalign.data.recordings import from_axes, read_recording
from neuroalign.data.responses import Responses
from neuroalign.data.simulated import SimulatedSubject, write_simulated_nsd

__all__ = [
    "ATLASES",
    "REGIONS",
    "ArrayDataset",
    "BatchDataModule",
    "CachedImages",
    "GuidanceDataModule",
    "ImageFiles",
    "LabelledDataset",
    "NSDDataModule",
    "NSDError",
    "NSDImages",
    "Responses",
    "ResponsesDataModule",
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
