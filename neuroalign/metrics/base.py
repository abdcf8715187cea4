"""The base of all metrics: states that merge in order and are shared by reference, figures, and errors for empty metrics."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from neuroalign.functional.checks import check_devices

__all__: list[str] = []

_DTYPES = (
    torch.float32,
    torch.float64,
    torch.float16,
    torch.bfloat16,
    torch.int64,
    torch.bool,
    torch.uint8,
    torch.int32,
)


class EpochMetric(Metric):
    """A metric whose value over an epoch doesn't depend on how its data are split into batches, objects and processes.

    Every state is a sum, or a list of the tensors that were added; no tensor is changed in place. So ``metric(preds,
    target)`` batch by batch, ``merge_state``, wrappers of torchmetrics and several processes give the value of one ``update``
    with all data.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.in_forward = False  # whether forward is computing the value of one batch

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add the data of another metric of the same class, after this metric's own data.

        Raises:
            ValueError: If the other metric has another class, or other states (perhaps it was made with other options).
        """
        name = type(self).__name__
        if isinstance(incoming_state, Metric):
            if type(incoming_state) is not type(self):
                raise ValueError(
                    f"a {name} can take in another {name}, or a dict of its states; got a {type(incoming_state).__name__}"
                )
            state, count = incoming_state.metric_state, incoming_state.update_count
        elif isinstance(incoming_state, dict):
            state, count = incoming_state, 1
        else:
            raise ValueError(f"a {name} can take in another {name}, or a dict of its states; got {incoming_state!r}")
        if set(state) != set(self._defaults):
            raise ValueError(
                f"the states {sorted(state)} are not those of this {name}, {sorted(self._defaults)}: was the other one made "
                "with other options?"
            )
        mine = self._copy_state_dict()
        for key, value in state.items():
            theirs = [v.to(self.device) for v in value] if isinstance(value, list) else value.to(self.device)
            setattr(self, key, theirs)
        self._reduce_states(mine)
        self._update_count += count
        self._computed = None

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Add a batch, and return the value of that batch alone; NaN where the batch is too small to have one.

        A batch that raises an error leaves the metric as it was.
        """
        state, count = self._copy_state_dict(), self._update_count
        self.in_forward = True
        try:
            return super().forward(*args, **kwargs)
        except Exception:
            for key, value in state.items():
                setattr(self, key, value)
            self._update_count, self._computed = count, None
            raise
        finally:
            self.in_forward = False

    def reset(self) -> None:
        """Remove all data."""
        for key, default in self._defaults.items():
            if isinstance(default, list):  # torchmetrics empties the list in place, and others may hold it
                setattr(self, key, [])
        super().reset()

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw values with matplotlib, as every torchmetric does.

        Args:
            val: A value of ``compute`` or ``forward``, or a sequence of values; None calls ``compute``.
            ax: Axes to draw on; None makes a figure.

        Returns:
            The figure and its axes.
        """
        return self._plot(val, ax)

    def _copy_state_dict(self) -> dict[str, Any]:
        # By reference: no tensor of a state is changed in place, and copying all data would cost more with every batch.
        return {k: list(v) if isinstance(v, list) else v for k, v in ((k, getattr(self, k)) for k in self._defaults)}

    def _sync_dist(self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any = None) -> None:
        group = process_group or self.process_group
        for key, default in self._defaults.items():
            if isinstance(default, list):
                self._fill_where_empty(key, dist_sync_fn, group)
        super()._sync_dist(_without_empty(dist_sync_fn), process_group=process_group)

    def _fill_where_empty(self, key: str, gather: Callable[..., Any], group: Any) -> None:
        """Give a process without data an empty tensor of the others' dtype and number of axes, so that it can take part."""
        here = getattr(self, key)
        kind = torch.tensor(
            [here[0].ndim, _DTYPES.index(here[0].dtype)] if here else [-1, -1], device=self.device, dtype=torch.int64
        )
        ndim, dtype = torch.stack(list(gather(kind, group=group))).amax(0).tolist()
        if not here and ndim >= 0:
            setattr(self, key, [torch.empty((0,) * ndim, dtype=_DTYPES[dtype], device=self.device)])

    def refuse_empty(self, count: int, what: str = "stimuli") -> None:
        """Raise an error if the metric has no data.

        Raises:
            ValueError: If ``count`` is 0.
        """
        if not count:
            raise ValueError(f"{type(self).__name__} has seen no {what}: call update before compute")


def check_tensors(**tensors: Any) -> None:
    """Raise an error unless all arguments are tensors with a stimulus axis.

    Raises:
        TypeError: If an argument is not a tensor; the message names it.
        ValueError: If a tensor has no axis or no values; the message names it.
    """
    for name, x in tensors.items():
        if not isinstance(x, Tensor):
            raise TypeError(f"{name} must be a tensor; got {type(x).__name__} (torch.as_tensor(array) makes one)")
        if not x.ndim:
            raise ValueError(f"{name} must have an axis of stimuli; got a single number")
        check_devices(**{name: x})


def _without_empty(gather: Callable[..., Any]) -> Callable[..., Any]:
    def gathered(x: Tensor, group: Any = None) -> Sequence[Tensor]:
        parts = list(gather(x, group=group))
        return [part for part in parts if part.numel()] or parts[:1]

    return gathered
