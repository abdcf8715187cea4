"""Odd-one-out judgements: which two of three objects are most similar?"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor

from neuroalign.functional.checks import all_finite, check_choice, check_devices, widen
from neuroalign.functional.host import spoil
from neuroalign.functional.variation import power_of_two, unit_magnitude

__all__ = ["odd_one_out_correct", "odd_one_out_nll", "pair_similarities"]

Similarity = Literal["dot", "cosine", "sqeuclidean"]


def check_triplets(embeddings: Tensor, triplets: Tensor, similarity: str) -> None:
    """Refuse triplets that are not integers (triplet, 3); their indices are not looked at.

    Raises:
        TypeError: If the embeddings are not floating point or the triplets not integer.
        ValueError: If a shape is wrong, or the similarity is unknown.
    """
    check_choice("similarity", similarity, get_args(Similarity))
    if embeddings.ndim != 2 or not embeddings.is_floating_point():
        raise TypeError(
            f"embeddings must be floating point (object, feature); got {embeddings.dtype} {tuple(embeddings.shape)}"
        )
    if triplets.ndim != 2 or triplets.shape[1] != 3:
        raise ValueError(f"triplets must be (triplet, 3); got {tuple(triplets.shape)}")
    if triplets.is_floating_point() or triplets.dtype == torch.bool:
        raise TypeError(f"triplets must be integer indices into the embeddings; got {triplets.dtype}")
    check_devices(embeddings=embeddings)
    check_devices(triplets=triplets)


def check_indices(embeddings: Tensor, triplets: Tensor) -> None:
    """Refuse triplets that don't index the embeddings.

    Raises:
        ValueError: Naming the range of the indices.
    """
    if len(triplets) and not (int(triplets.min()) >= 0 and int(triplets.max()) < len(embeddings)):
        raise ValueError(
            f"triplets must index {len(embeddings)} embeddings from 0; found {int(triplets.min())} to "
            f"{int(triplets.max())} (published lists often count from 1)"
        )


def default_temperature(similarity: Similarity) -> float:
    """Default temperature: 1, and 0.1 for cosines, which are at most 1 and would leave every choice uncertain.

    Example:
        >>> default_temperature("cosine"), default_temperature("dot")
        (0.1, 1.0)
    """
    return 0.1 if similarity == "cosine" else 1.0


def pair_similarities(
    embeddings: Float[Tensor, "object feature"], triplets: Int[Tensor, "triplet 3"], similarity: Similarity = "dot"
) -> Float[Tensor, "triplet 3"]:
    """Similarity of each triplet's three pairs.

    Args:
        embeddings: (object, feature).
        triplets: (triplet, 3), indices of objects.
        similarity: "dot", "cosine", or "sqeuclidean" (minus the squared distance).

    Returns:
        (triplet, 3): similarities of the pairs (0, 1), (0, 2) and (1, 2).

    Raises:
        TypeError: If the embeddings are not floating point or the triplets not integer.
        ValueError: If a shape or an index is wrong, or the similarity is unknown.

    Example:
        >>> pair_similarities(
        ...     torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]]), torch.tensor([[0, 1, 2]])
        ... )
        tensor([[2., 0., 0.]])
    """
    check_triplets(embeddings, triplets, similarity)
    check_indices(embeddings, triplets)
    return _pair_similarities(embeddings, triplets, similarity)


def _pair_similarities(embeddings: Tensor, triplets: Tensor, similarity: Similarity) -> Tensor:
    (z,) = widen(embeddings)
    if similarity == "cosine":
        z, some = unit_magnitude(z, 1)
        size = torch.where(some, z.square().sum(1), 1)[:, None]
        z = torch.where(some[:, None], z / size.sqrt(), 0)
    a, b, c = z[triplets[:, 0]], z[triplets[:, 1]], z[triplets[:, 2]]
    pairs = ((a, b), (a, c), (b, c))
    if similarity == "sqeuclidean":
        return torch.stack([-(u - v).square().sum(1) for u, v in pairs], 1)
    return torch.stack([(u * v).sum(1) for u, v in pairs], 1)


def odd_one_out_nll(
    embeddings: Float[Tensor, "object feature"],
    triplets: Int[Tensor, "triplet 3"],
    *,
    similarity: Similarity = "dot",
    temperature: float | None = None,
) -> Float[Tensor, ""]:
    r"""Negative log probability of people's choices, given that a pair is chosen in proportion to exp(similarity).

    .. math:: -\log \frac{e^{s_{01}/T}}{e^{s_{01}/T} + e^{s_{02}/T} + e^{s_{12}/T}}

    averaged over triplets. Chance is :math:`\log 3`. With "cosine" a triplet's value is at least :math:`\log(1+2e^{-2/T})`.

    Args:
        embeddings: (object, feature).
        triplets: (triplet, 3): the pair judged most similar in columns 0 and 1, the odd one in column 2.
        similarity: "dot", "cosine", or "sqeuclidean" (minus the squared distance).
        temperature: T; None means 0.1 for "cosine" and 1 for others.

    Returns:
        Scalar, at least 0.

    Raises:
        TypeError: If the embeddings are not floating point or the triplets not integer.
        ValueError: If a shape or an index is wrong, the similarity is unknown, the temperature is not positive, or a
            similarity of finite embeddings is not finite.

    Example:
        >>> odd_one_out_nll(torch.zeros(3, 2), torch.tensor([[0, 1, 2]]))
        tensor(1.0986)

    Source:
        Hebart et al. 2020, Nature Human Behaviour 4 (SPoSE); Muttenthaler et al. 2022, arXiv 2211.01201.
    """
    if temperature is None:
        temperature = default_temperature(similarity)
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature must be positive and finite; got {temperature}")
    if not len(triplets):
        return 0 * embeddings.sum()
    check_triplets(embeddings, triplets, similarity)
    return choice_nll(embeddings, triplets, similarity, temperature, looks=not torch.compiler.is_compiling())


def choice_nll(
    embeddings: Tensor, triplets: Tensor, similarity: Similarity, temperature: float, *, looks: bool
) -> Float[Tensor, ""]:
    """:func:`odd_one_out_nll` of some triplets that passed :func:`check_triplets`.

    Args:
        embeddings: (object, feature).
        triplets: (triplet, 3).
        similarity: As there.
        temperature: As there.
        looks: Whether to check the values and raise errors; otherwise wrong values make the result NaN.
    """
    if not looks:
        known = triplets.clamp(0, len(embeddings) - 1)
        s = _pair_similarities(embeddings, known, similarity)
        overflow = ~s.detach().isfinite().all() & embeddings.detach().isfinite().all()
        return spoil(_nll(s, temperature), (triplets != known).any() | overflow)
    check_indices(embeddings, triplets)
    s = _pair_similarities(embeddings, triplets, similarity)
    if not all_finite(s) and all_finite(embeddings):
        raise ValueError(
            f"similarities of embeddings of up to {float(embeddings.detach().abs().max()):.3g} leave {s.dtype}: divide the "
            "embeddings by a number, or compare by 'cosine'"
        )
    return _nll(s, temperature)


def _nll(similarities: Tensor, temperature: float) -> Tensor:
    return -(similarities / temperature).log_softmax(1)[:, 0].mean()


def odd_one_out_correct(
    embeddings: Float[Tensor, "object feature"], triplets: Int[Tensor, "triplet 3"], *, similarity: Similarity = "dot"
) -> Float[Tensor, " triplet"]:
    """Whether the most similar pair is the one that people chose.

    Args:
        embeddings: (object, feature).
        triplets: (triplet, 3), the odd one in column 2.
        similarity: As in :func:`odd_one_out_nll`.

    Returns:
        (triplet,) in [0, 1]: 1/k if the chosen pair is among k equally similar ones, so that a constant embedding is at
        chance, 1/3.

    Raises:
        ValueError: As :func:`odd_one_out_nll`.

    Example:
        >>> z = torch.tensor([[1.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
        >>> odd_one_out_correct(z, torch.tensor([[0, 1, 2], [0, 2, 1]]))
        tensor([1., 0.])
    """
    s = pair_similarities(embeddings.detach(), triplets, similarity)
    top, limits = float(s.abs().amax()) if len(s) else 1.0, torch.finfo(s.dtype)
    if not limits.tiny / limits.eps < top < limits.max:  # the order has no scale, but products have left the dtype
        (z,) = widen(embeddings.detach())
        s = pair_similarities(z / power_of_two(z), triplets, similarity)
    best = s == s.amax(1, keepdim=True)
    return (best[:, 0] / best.sum(1)).to(s.dtype)
