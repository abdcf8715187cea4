"""The Natural Scenes Dataset on disk or behind a URL (Allen et al. 2022): its paths, labels, units and ids."""

from neuroalign.data.nsd.layout import (
    BETAS,
    FACTS,
    NUM_SHARED,
    PSC_SCALE,
    TRIALS_PER_SESSION,
    NSDError,
    NSDPaths,
)
from neuroalign.data.nsd.opening import open_nsd
from neuroalign.data.nsd.reader import read_nsd
from neuroalign.data.nsd.regions import ATLASES, REGIONS
from neuroalign.data.nsd.stimuli import NSDImages
from neuroalign.data.nsd.tree import Tree
from neuroalign.data.nsd.trials import SPLITS, read_nsd_split
from neuroalign.moved import former_names

__all__ = [
    "ATLASES",
    "BETAS",
    "FACTS",
    "NUM_SHARED",
    "PSC_SCALE",
    "REGIONS",
    "SPLITS",
    "TRIALS_PER_SESSION",
    "NSDError",
    "NSDImages",
    "NSDPaths",
    "Tree",
    "open_nsd",
    "read_nsd",
    "read_nsd_split",
]

__getattr__ = former_names(
    __name__,
    {},
    {"open_tree": "neuroalign.data.nsd.open_nsd", "read_split": "neuroalign.data.nsd.read_nsd_split"},
)
