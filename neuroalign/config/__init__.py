"""Plain-value descriptions of modules, so that a checkpoint can rebuild what it holds.

A description has the form that LightningCLI writes, ``{"class_path": ..., "init_args": {...}}``, and holds only strings,
numbers, booleans, None, lists and dicts. An object of neuroalign keeps the arguments of its constructor call
(:class:`Described`): ``.config`` is its description, or None if an argument (a user's ``nn.Module``, a function) can't be
expressed in plain values. Objects of your own class have a description if the class was registered first with
:func:`register`.

Files that hold descriptions may come from strangers. :func:`build` only makes objects of classes of neuroalign, or of classes
that were registered in this process; nothing else is imported, found or called. In a file, the names of its class stand for a
module of a user's own class that has no description: it is made only if the caller gives it again or allows its module.
"""

from neuroalign.config.building import build, refuse_if_described
from neuroalign.config.classes import DescriptionError
from neuroalign.config.described import Described, description_of, saved_description_of
from neuroalign.config.descriptions import describe, is_description, register
from neuroalign.config.own_modules import OwnModuleError
from neuroalign.config.reasons import reason_undescribed, reason_unsaved

__all__ = [
    "Described",
    "DescriptionError",
    "OwnModuleError",
    "build",
    "describe",
    "description_of",
    "is_description",
    "reason_undescribed",
    "reason_unsaved",
    "refuse_if_described",
    "register",
    "saved_description_of",
]
