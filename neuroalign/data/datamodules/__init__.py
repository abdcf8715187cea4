"""DataModules: images with responses, and images with labels, as batches that our tasks read."""

from neuroalign.data.datamodules.base import BatchDataModule
from neuroalign.data.datamodules.guidance import GuidanceDataModule
from neuroalign.data.datamodules.loader import ResumableLoader
from neuroalign.data.datamodules.nsd import NSDDataModule
from neuroalign.data.datamodules.responses import ResponsesDataModule

__all__ = ["BatchDataModule", "GuidanceDataModule", "NSDDataModule", "ResponsesDataModule", "ResumableLoader"]
