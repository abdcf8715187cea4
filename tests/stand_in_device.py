"""A device that stands in for a GPU: its tensors report a device of their own, and are computed on the CPU.

    module, batch = on_stand_in(module), on_stand_in(batch)
    with StandIn() as device:
        module(batch).backward()
    assert not device.waits and not device.mixes

It measures no time. It counts what makes the host wait for a GPU, copies of ordinary host memory to the device, and
operations that mix tensors of the host with tensors of the device, each by the line of the package that caused it.

Nothing of it stays on outside the context, except that torch knows a device of the name "standin", which is never available.
"""

import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest
import torch
from torch.utils import backend_registration
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map

if not hasattr(backend_registration, "_DummyBackendModule"):
    pytest.skip(f"torch {torch.__version__} takes no device that is written in Python", allow_module_level=True)

PACKAGE = Path(__file__).parent.parent / "neuroalign"

WAITS = {
    "aten::_local_scalar_dense": "a number is read",  # bool, float, int, item
    "aten::equal": "a number is read",
    "aten::allclose": "a number is read",
    "aten::nonzero": "a size depends on values",
    "aten::masked_select": "a size depends on values",
    "aten::unique_consecutive": "a size depends on values",
    "aten::unique_dim": "a size depends on values",
    "aten::_unique": "a size depends on values",
    "aten::_unique2": "a size depends on values",
    "aten::bincount": "a size depends on values",
    "aten::_linalg_eigh": "a decomposition is checked",
    "aten::_linalg_svd": "a decomposition is checked",
    "aten::_linalg_eigvals": "a decomposition is checked",
    "aten::linalg_eig": "a decomposition is checked",
    "aten::linalg_lstsq": "a decomposition is checked",
    "aten::linalg_matrix_exp": "a decomposition is checked",
    "aten::_linalg_check_errors": "a decomposition is checked",  # cholesky, solve, inv
}
"""Operations for which the host always waits; :meth:`StandIn._count_waits` tells of those where it depends."""

_INDEXING = ("aten::index", "aten::index_put", "aten::index_put_", "aten::_index_put_impl_")
_SAME_DEVICE_EVEN_FOR_SCALARS = ("aten::cat", "aten::stack")


class StandInTensor(torch.Tensor):
    """A tensor whose values lie in ``inner``, on the CPU."""

    inner: torch.Tensor

    @staticmethod
    def __new__(cls, inner):
        inner = inner.resolve_conj().resolve_neg()  # the wrapper could not say that its values are to be conjugated
        made = torch.Tensor._make_wrapper_subclass(
            cls, inner.shape, strides=inner.stride(), storage_offset=inner.storage_offset(), dtype=inner.dtype,
            device=stand_in(),
        )  # fmt: skip
        made.inner = inner
        return made

    @classmethod
    def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
        return _compute(function, args, kwargs or {})

    def tolist(self):
        return self.cpu().tolist()

    def numpy(self, *args, **kwargs):
        raise TypeError("can't convert a tensor on the stand-in device to numpy: copy it to the host by .cpu()")

    def __format__(self, spec):
        return self.item().__format__(spec) if self.ndim == 0 else super().__format__(spec)

    def __repr__(self):
        return f"StandInTensor({tuple(self.shape)}, {self.dtype})"


class StandIn(TorchDispatchMode):
    """The context in which the device works.

    Attributes:
        waits: How often the host waited, by (kind, lines of the package); ``waits.total()`` adds up.
        copies: How often host memory was copied to the device in a call that returns only then, in the same way.
        mixes: Operations on tensors of both host and device, by (operation, line). Host scalars are allowed, as in torch.
        operations: Number of operations on the device.
    """

    def __init__(self):
        super().__init__()
        stand_in()
        self.waits, self.copies, self.mixes = Counter(), Counter(), Counter()
        self.operations = 0

    def __enter__(self):
        self._threads = torch.autograd.set_multithreading_enabled(False)  # a mode belongs to one thread
        self._lifted = torch._C._only_lift_cpu_tensors()
        torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(values, device=...) is made on the host and copied
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        torch._C._set_only_lift_cpu_tensors(self._lifted)
        self._threads.__exit__(*error)

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        torch._C._set_multithreading_enabled(False)  # again: leaving inference mode switches it on
        tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)]
        here = [x for x in tensors if isinstance(x, StandInTensor)]
        host = [x for x in tensors if not isinstance(x, StandInTensor)]
        if here or _is_stand_in(kwargs.get("device")):
            self.operations += 1
            name = function._schema.name
            if name in ("aten::_to_copy", "aten::copy_"):
                self._count_copy(name, args, kwargs)
            else:
                self._count_waits(name, function, args, kwargs)
                self._count_mixes(name, function, here, host, kwargs)
        return _compute(function, args, kwargs)

    def _count_copy(self, name, args, kwargs):
        if name == "aten::copy_":
            to, source, waits = args[0].device, args[1], not (kwargs.get("non_blocking") or True in args[2:])
        else:
            source, waits = args[0], not kwargs.get("non_blocking")
            to = torch.device(kwargs.get("device") or source.device)
        if to.type == "cpu" and isinstance(source, StandInTensor):
            self.waits["a copy to the host", _line()] += 1
        elif to.type != "cpu" and not isinstance(source, StandInTensor) and waits:
            self.copies["a copy to the device", _line()] += 1

    def _count_waits(self, name, function, args, kwargs):
        if name in WAITS:
            self.waits[WAITS[name], _line()] += 2 if name == "aten::bincount" else 1
        elif function is torch.ops.aten.repeat_interleave.Tensor and kwargs.get("output_size") is None:
            self.waits["a size depends on values", _line()] += 1
        elif name.endswith("_ex") and (kwargs.get("check_errors") or any(x is True for x in args[1:])):
            self.waits["a decomposition is checked", _line()] += 1
        elif name in _INDEXING:
            for index in args[1]:
                if isinstance(index, StandInTensor) and index.dtype in (torch.bool, torch.uint8):
                    self.waits["a boolean index", _line()] += 1
                elif isinstance(index, torch.Tensor) and not isinstance(index, StandInTensor):
                    self.copies["an index of the host", _line()] += 1

    def _count_mixes(self, name, function, here, host, kwargs):
        generator = kwargs.get("generator")
        if generator is not None and generator.device.type == "cpu":
            self.mixes[f"{name} with a generator of the host", _line()] += 1
        if name in _INDEXING or not here:
            return
        if any(x.ndim for x in host) or (host and name in _SAME_DEVICE_EVEN_FOR_SCALARS):
            self.mixes[str(function), _line()] += 1


def on_stand_in(x):
    """A tensor, a module (moved in place), or a dict, list or tuple of these, on the device; other things as they are."""
    if isinstance(x, torch.nn.Module):
        with StandIn():
            return x.to(stand_in())
    if isinstance(x, torch.Tensor):
        moved = StandInTensor(x.detach().clone())
        return moved.requires_grad_() if x.requires_grad else moved
    return tree_map(on_stand_in, x) if isinstance(x, (dict, list, tuple)) else x


@cache
def stand_in():
    """The device; torch is told of it at the first call."""
    if torch.cuda.is_available():  # torch knows one accelerator, and would take this one for it
        pytest.skip("there is a GPU here: tests/cuda asks it where the host waits")
    # The first backward pass starts a thread per device, after which a forked process could not run one.
    torch.zeros((), requires_grad=True).square().backward()
    backend_registration._setup_privateuseone_for_python_backend("standin", _Backend(), _Hooks())
    return torch.device("standin", 0)


class _Backend(backend_registration._DummyBackendModule):
    def is_available(self):
        return False

    def device_count(self):
        return 0

    def manual_seed(self, seed):
        """Numbers come from the generator of the CPU, which is seeded already."""

    def get_amp_supported_dtype(self):
        return [torch.bfloat16, torch.float16]


class _Hooks(torch._C._acc.PrivateUse1Hooks):
    def is_available(self):
        return False

    def has_primary_context(self, index):
        return False

    def is_built(self):
        return True


def _is_stand_in(device):
    return device is not None and torch.device(device).type == "standin"


def _compute(function, args, kwargs):
    """The operation on the CPU; its results are on the device that torch would choose."""
    tensors = [x for x in tree_leaves((args, kwargs)) if isinstance(x, StandInTensor)]
    device = kwargs.get("device")
    elsewhere = _is_stand_in(device) if device is not None else bool(tensors)
    out = function(*tree_map(_inner, args), **tree_map(_inner, kwargs))
    written = [x for x, argument in zip(args, function._schema.arguments) if argument.is_write]
    written += [kwargs[a.name] for a in function._schema.arguments if a.is_write and a.name in kwargs]
    if len(written) == 1 and isinstance(written[0], torch.Tensor) and isinstance(out, torch.Tensor):
        return written[0]  # in place: the caller expects the tensor that it gave
    return tree_map(lambda x: StandInTensor(x) if isinstance(x, torch.Tensor) else x, out) if elsewhere else out


def _inner(x):
    if isinstance(x, StandInTensor):
        return x.inner
    return torch.device("cpu") if isinstance(x, torch.device) and x.type == "standin" else x


def _line():
    """The two innermost lines of the package that are running; in a backward pass also the operation's name."""
    lines, frame = [], sys._getframe(1)
    while frame is not None and len(lines) < 2:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE):
            lines.append(f"{path.relative_to(PACKAGE)}:{frame.f_lineno}")
        frame = frame.f_back
    node = torch._C._current_autograd_node()
    return (" from ".join(lines) or "outside the package") + ("" if node is None else f" ({node.name()})")
