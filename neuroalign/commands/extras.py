"""The extras of the package: what each gives, and which modules it brings."""

from __future__ import annotations

import re
from dataclasses import dataclass
from importlib import metadata

__all__: list[str] = []


@dataclass(frozen=True)
class Extra:
    """What an extra gives to a user, and the modules that are imported only where it is needed."""

    gives: str
    modules: tuple[str, ...]


EXTRAS = {
    "timm": Extra("backbones named timm:..., such as timm:vit_small_patch16_224", ("timm",)),
    "hub": Extra("networks from and to the Hugging Face Hub", ("huggingface_hub",)),
    "onnx": Extra("export of a guided network to ONNX", ("onnx", "onnxscript", "onnxruntime")),
    "cloud": Extra("NSD and studies at URLs such as s3://...", ("s3fs", "fsspec", "aiohttp", "pooch")),
    "xarray": Extra("Responses from and to xarray, Brain-Score's assemblies", ("xarray", "h5netcdf")),
    "ray": Extra("studies on a Ray cluster: --engine ray", ("ray",)),
    "slurm": Extra("studies on a SLURM cluster: --engine slurm", ("submitit",)),
    "foolbox": Extra("the Brendel-Bethge attack", ("foolbox", "numba")),
    "peers": Extra("the libraries that results are compared with", ("rsatoolbox", "himalaya", "pytorch_cka", "cvxopt")),
}  # fmt: skip


def extra_of(module: str) -> str | None:
    """The extra that brings a module, or None.

    Example:
        >>> extra_of("timm.models")
        'timm'
    """
    first = module.split(".")[0]
    return next((name for name, extra in EXTRAS.items() if first in extra.modules), None)


def is_needed(module: str) -> bool:
    """Whether a module is of a package that neuroalign itself needs, whatever extras are installed.

    Example:
        >>> is_needed("sklearn.datasets"), is_needed("mine")
        (True, False)
    """
    first = module.split(".")[0]
    known = {each.lower().replace("-", "_") for each in _needed()}
    return {"sklearn": "scikit_learn", "yaml": "pyyaml"}.get(first, first.lower()) in known


def _needed() -> list[str]:
    try:
        required = metadata.requires("neuroalign") or []
    except metadata.PackageNotFoundError:  # a source tree that is not installed
        return []
    return [found[0] for each in required if "extra ==" not in each and (found := re.match(r"[\w.-]+", each))]
