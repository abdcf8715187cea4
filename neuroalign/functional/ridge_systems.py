r"""The linear systems of ridge regression: one per voxel, where voxels miss different stimuli, from one inverse for all.

With K the inner products of the centred features, a penalty and an intercept b, the coefficients :math:`\alpha` of the
stimuli solve

.. math:: K\alpha + \lambda\alpha + b = y, \qquad \mathbf{1}^\top\alpha = 0.

For complete responses :math:`\alpha = By`, with one matrix B for all voxels. It also serves a voxel that misses the stimuli
M. With 0 in place of the missing responses and t added to them, :math:`\alpha = B(y + t)` is 0 there if
:math:`B_{MM}t = -(By)_M`, and then it is the solution of the valid stimuli alone: a system as small as the number of missing
stimuli. Where more stimuli are missing than valid, the system of the valid ones is the smaller one, and is solved itself.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

from neuroalign.functional.gram import double_centered
from neuroalign.functional.host import readable
from neuroalign.functional.ridge_groups import Group, Groups

__all__: list[str] = []

SEEN = 1e-11  # of the trace of a Gram matrix: the rounding of float64 does not hide penalties above it
_KEPT = 1 << 25  # entries of systems that are kept from one use to the next


class PenalizedSolve(torch.autograd.Function):
    """The solution z of (a + penalty) z = right for each column, by a function that computes it.

    The gradient is one more solution by the same function. It is itself differentiable.
    """

    @staticmethod
    def forward(ctx: Any, a: Tensor, right: Tensor, penalty: Tensor, solve: Callable[[Tensor], Tensor]) -> Tensor:
        solution = solve(right.detach())
        ctx.save_for_backward(a, penalty, solution)
        ctx.solve = solve
        return solution

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor, Tensor | None, None]:
        a, penalty, solution = ctx.saved_tensors
        back = PenalizedSolve.apply(a, grad, penalty, ctx.solve)
        to_a = -(back @ solution.T) if ctx.needs_input_grad[0] else None
        to_penalty = -(back * solution).sum(0) if ctx.needs_input_grad[2] else None
        return to_a, back, to_penalty, None


class RestrictedInverses:
    """The matrix B of each voxel, restricted to its valid stimuli, for every penalty or for the voxel's own.

    Voxels are in the order of their groups. Results have one layer for each penalty, or a single one for own penalties.

    Args:
        k: (stimulus, stimulus), inner products of features, in the dtype of the computation.
        grid: (penalty,).
        groups: The voxels by their missing stimuli.
        which: (voxel,), the number of each voxel's own penalty; None means every penalty for all voxels.
    """

    def __init__(
        self,
        k: Float[Tensor, "stimulus stimulus"],
        grid: Float[Tensor, " penalty"],
        groups: Groups,
        which: Int[Tensor, " voxel"] | None = None,
    ) -> None:
        n = len(k)
        k = double_centered(k)
        # Constants are the null vectors of k. With a part of their own they drop out of the inverse without cancelling.
        own = k.diagonal().mean()
        penalty = grid[:, None, None]
        factor, info = torch.linalg.cholesky_ex(k + own / n + penalty * _eye(k, n))
        self._failures = [info.flatten()]
        # A row and a column of zeros stand for the stimuli that fill up a system.
        self._inverse = pad(torch.cholesky_inverse(factor) - 1 / (n * (own + penalty)), (0, 1, 0, 1))
        self._groups, self._which = groups, which
        self._penalty = grid[:, None] if which is None else grid[which][None]
        self._k = pad(k + own / n, (0, 1, 0, 1))[None]
        layers = len(self._penalty)
        few = layers * sum(len(g.rows) * g.rows.shape[1] ** 2 for g in groups.members) <= _KEPT
        self._systems = [self._system(group) for group in groups.members] if few else None

    def _members(self) -> Iterator[tuple[Group, Tensor]]:
        """The groups with the matrices of their systems (layer, voxel, size, size)."""
        for i, group in enumerate(self._groups.members):
            yield group, self._system(group) if self._systems is None else self._systems[i]

    def _system(self, group: Group) -> Tensor:
        return self._taken_out(group) if group.taken_out else self._alone(group)

    def _blocks(self, table: Float[Tensor, "penalty row row"], group: Group) -> Float[Tensor, "layer voxel size size"]:
        """The rows and columns of each voxel's system, from the matrix of its penalty, or the only matrix."""
        n = table.shape[1]
        index = (group.rows[:, :, None] * n + group.rows[:, None])[None]
        if len(table) > 1:
            layer = torch.arange(len(table), device=table.device)[:, None]
            layer = layer if self._which is None else self._which[None, group.voxels]
            index = index + (layer * n * n)[:, :, None, None]
        return table.take(index)

    def _taken_out(self, group: Group) -> Tensor:
        """Inverses of the block of B at the missing stimuli."""
        unused = group.rows == len(self._groups.valid[0])
        return self._inverted(self._blocks(self._inverse, group) + torch.diag_embed(unused.to(self._inverse.dtype)))

    def _alone(self, group: Group) -> Tensor:
        """The matrix B of the valid stimuli alone."""
        own = self._penalty if self._which is None else self._penalty[:, group.voxels]
        penalty, k = own.expand(-1, len(group.rows))[:, :, None, None], self._k
        inverse = self._inverted(self._blocks(k, group) + penalty * _eye(k, group.rows.shape[1]))
        used = (group.rows < len(self._groups.valid[0])).to(k.dtype)[:, :, None]
        sums = inverse @ used
        total = (used.mT @ sums).clamp_min(torch.finfo(k.dtype).tiny)
        return (inverse - sums @ sums.mT / total) * used * used.mT

    def _inverted(self, block: Tensor) -> Tensor:
        if not block.shape[-1]:
            return block
        if block.shape[-1] < 8 and readable(block):  # where it takes half the time
            inverse, info = torch.linalg.inv_ex(block)
        else:
            factor, info = torch.linalg.cholesky_ex(block)
            root = torch.linalg.solve_triangular(factor, _eye(block, block.shape[-1]).expand_as(factor), upper=False)
            inverse = root.mT @ root
        self._failures.append(info.flatten())
        result: Tensor = inverse
        return result

    def wrong(self) -> Bool[Tensor, ""]:
        """Whether rounding has spoilt a system that was used."""
        return torch.cat(self._failures).ne(0).any()

    def _times(self, right: Float[Tensor, "layer voxel row"], voxels: slice) -> Float[Tensor, "layer voxel row"]:
        """B times the rows of some voxels, nothing taken out."""
        if self._which is None or len(self._inverse) == 1:
            return right @ self._inverse
        out, which = torch.zeros_like(right), self._which[voxels]
        for i, inverse in enumerate(self._inverse):
            if readable(right):
                own = (which == i).nonzero()[:, 0]
                out[0, own] = right[0, own] @ inverse
            else:
                out = torch.where((which == i)[:, None], right @ inverse, out)
        return out

    def solve(self, y: Float[Tensor, "voxel stimulus"]) -> Float[Tensor, "layer voxel stimulus"]:
        """The coefficients alpha of each voxel; y and they are 0 at its missing stimuli."""
        right = pad(y, (0, 1))[None]
        complete, most = (
            max((g.voxels.stop for g in self._groups.members if g.taken_out and g.rows.shape[1] <= size), default=0)
            for size in (0, y.shape[1])
        )
        alpha = self._times(right[:, :most], slice(0, most))
        if most < len(y):
            alpha = pad(alpha, (0, 0, 0, len(y) - most))
        right = right.repeat(len(alpha), 1, 1)
        for group, system in self._members():
            rows = group.rows.expand(len(alpha), -1, -1)
            own = (alpha if group.taken_out else right)[:, group.voxels].gather(2, rows)
            found = (system @ own[..., None])[..., 0]
            if group.taken_out:
                right[:, group.voxels].scatter_(2, rows, -found)
            else:
                alpha[:, group.voxels].scatter_(2, rows, found)
        alpha[:, complete:most] = self._times(right[:, complete:most], slice(complete, most))
        return alpha[..., :-1] * self._groups.valid

    def trace(self) -> Float[Tensor, "penalty voxel"]:
        """The trace of each voxel's matrix for every penalty."""
        square = self._inverse @ self._inverse
        whole = self._inverse.diagonal(dim1=1, dim2=2).sum(1, keepdim=True)
        traces = []
        for group, system in self._members():
            if group.taken_out:
                traces.append(whole - (system * self._blocks(square, group)).sum((2, 3)))
            else:
                traces.append(system.diagonal(dim1=2, dim2=3).sum(2))
        return torch.cat(traces, 1)

    def diagonal(self) -> Float[Tensor, "penalty voxel stimulus"]:
        """The diagonal of each voxel's matrix for every penalty; anything where the voxel misses the stimulus."""
        whole = self._inverse.diagonal(dim1=1, dim2=2)[:, None]
        diagonals = []
        for group, system in self._members():
            if group.taken_out:
                part = self._inverse[:, group.rows]
                diagonals.append(whole - ((system @ part) * part).sum(2))
            else:
                own = whole.new_zeros(len(whole), len(group.rows), whole.shape[2])
                rows = group.rows.expand(len(whole), -1, -1)
                diagonals.append(own.scatter_(2, rows, system.diagonal(dim1=2, dim2=3)))
        return torch.cat(diagonals, 1)[..., :-1]


def _eye(like: Tensor, size: int) -> Tensor:
    return torch.eye(size, dtype=like.dtype, device=like.device)
