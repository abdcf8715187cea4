"""What all metrics share: states that merge in order and are shared by reference, figures, and words for an empty one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.distributed import gather_all_tensors

from neuroalign.functional.checks import check_devices

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
    """A metric whose value over an epoch doesn't depend on how its data were cut into batches, objects and processes.

    Every state is a list of what came, to be joined, or a sum; nothing is changed in place. So ``metric(preds, target)``
    batch by batch, ``merge_state``, wrappers of torchmetrics and several processes give the value of one ``update``.
    """

    full_state_update = False
    is_differentiable = False

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.in_forward = False  # whether the value asked for is that of one batch, which forward gives on the way

    def merge_state(self, incoming_state: dict[str, Any] | Metric) -> None:
        """Add what another metric of the same kind has seen, after what this one has.

        Raises:
            ValueError: If it is of another kind, or holds other states (made with other options, perhaps).
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
        """Add a batch, and give the value of that batch alone: NaN where it is too small to have one.

        A batch that is refused leaves no trace.
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
        """Forget everything."""
        for key, default in self._defaults.items():
            if isinstance(default, list):  # torchmetrics empties the list itself, which somebody may have kept
                setattr(self, key, [])
        super().reset()

    def plot(self, val: Any = None, ax: Any = None) -> Any:
        """Draw values with matplotlib, as every torchmetric does.

        Args:
            val: What ``compute`` or ``forward`` gave, or several of them in order; None computes it.
            ax: Axes to draw on; None makes a figure.

        Returns:
            The figure and its axes.
        """
        return self._plot(val, ax)

    def _copy_state_dict(self) -> dict[str, Any]:
        # By reference: no state is changed in place, and copies of all that was seen would cost more with every batch.
        return {k: list(v) if isinstance(v, list) else v for k, v in ((k, getattr(self, k)) for k in self._defaults)}

    def _sync_dist(self, dist_sync_fn: Callable[..., Any] = gather_all_tensors, process_group: Any = None) -> None:
        group = process_group or self.process_group
        for key, default in self._defaults.items():
            if isinstance(default, list):
                self._fill_where_empty(key, dist_sync_fn, group)
        super()._sync_dist(_without_empty(dist_sync_fn), process_group=process_group)

    def _fill_where_empty(self, key: str, gather: Callable[..., Any], group: Any) -> None:
        """Give a process that saw nothing an empty tensor of the others' kind, with which it can take part."""
        here = getattr(self, key)
        kind = torch.tensor(
            [here[0].ndim, _DTYPES.index(here[0].dtype)] if here else [-1, -1], device=self.device, dtype=torch.int64
        )
        ndim, dtype = torch.stack(list(gather(kind, group=group))).amax(0).tolist()
        if not here and ndim >= 0:
            setattr(self, key, [torch.empty((0,) * ndim, dtype=_DTYPES[dtype], device=self.device)])

    def refuse_empty(self, count: int, what: str = "stimuli") -> None:
        """Say that nothing was seen.

        Raises:
            ValueError: If nothing was.
        """
        if not count:
            raise ValueError(f"{type(self).__name__} has seen no {what}: call update before compute")


def check_tensors(**tensors: Any) -> None:
    """Refuse anything but tensors with a stimulus axis.

    Raises:
        TypeError: Naming what is none.
        ValueError: Naming what has no axis, or no values.
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
