"""A pytest plugin that executes the shapes in annotations: ``python -m pytest -p tests.shapes tests/functional``.

Every call of a function of the rooms below then has its arguments and its result compared with its annotations, in
which axes of one name have one length. (jaxtyping's own option ``--jaxtyping-packages`` hands no options to the checker.)
"""

import contextlib

import jaxtyping
import pytest
from beartype import BeartypeConf, beartype

ROOMS = ("neuroalign.functional", "neuroalign.losses")

checked = beartype(conf=BeartypeConf(is_pep484_tower=True))  # as mypy: an int will do where a float is wanted
_raises = pytest.raises


@contextlib.contextmanager
def unchecked():
    """Within it annotations say nothing."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)


def raises(expected, *args, **kwargs):
    """As ``pytest.raises``, unchecked: an argument that is wrong on purpose meets the message that a user would see."""
    if args:
        with unchecked():
            return _raises(expected, *args, **kwargs)
    return _refused(expected, kwargs)


@contextlib.contextmanager
def _refused(expected, options):
    with _raises(expected, **options) as found, unchecked():
        yield found


pytest.raises = raises
jaxtyping.install_import_hook(ROOMS, "tests.shapes.checked")
