"""Plain-value descriptions of modules, so that a checkpoint can rebuild what it holds.

A description has the form that LightningCLI writes, ``{"class_path": ..., "init_args": {...}}``, and holds only
strings, numbers, booleans, None, lists and dicts. An object of ours keeps the arguments of its own constructor call
(:class:`Described`): ``.config`` is its description, or None where an argument (someone's ``nn.Module``, a function)
can't be said in plain values. A class of your own has one after :func:`register`.

Files that hold descriptions come from strangers, too. What :func:`build` makes of one is an object of a class of
neuroalign's, or of one that was registered in this process; nothing else is imported, found or called.
"""

from neuroalign.config.building import build, refuse_if_described
from neuroalign.config.classes import DescriptionError
from neuroalign.config.described import Described, description_of, reason_undescribed
from neuroalign.config.descriptions import describe, is_description, register

__all__ = [
    "Described",
    "DescriptionError",
    "build",
    "describe",
    "description_of",
    "is_description",
    "reason_undescribed",
    "refuse_if_described",
    "register",
]
