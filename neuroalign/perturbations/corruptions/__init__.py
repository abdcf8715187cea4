"""The common corruptions of Hendrycks & Dietterich (ICLR 2019, arXiv 1903.12261), on batches and on their device."""

from neuroalign.perturbations.corruptions.base import Corruption
from neuroalign.perturbations.corruptions.severities import COMMON_CORRUPTIONS, EXTRA_CORRUPTIONS

__all__ = ["COMMON_CORRUPTIONS", "EXTRA_CORRUPTIONS", "Corruption"]
