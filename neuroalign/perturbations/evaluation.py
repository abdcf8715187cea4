"""Accuracy under perturbations, of any model, leaving no trace in it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from neuroalign.functional.manifold import check_labels
from neuroalign.types import Perturbation, as_batch, check_images

Perturbations = Perturbation | Sequence[Perturbation] | Mapping[str, Perturbation]


@contextmanager
def attacking(module: nn.Module, seed: int = 0) -> Iterator[None]:
    """A state in which a module can be attacked, restored on leaving: eval mode, gradients to images only.

    Restored are the mode of every submodule, every ``requires_grad`` and the random generators; ``.grad`` and buffers
    don't move. Works inside Lightning's validation, whose inference mode would block autograd.

    Args:
        module: The model.
        seed: Of the random generator inside the context.

    Example:
        >>> net = nn.Dropout()
        >>> with attacking(net):
        ...     inside = net.training
        >>> inside, net.training
        (False, True)
    """
    parameters = list(module.parameters())
    requires_grad = [p.requires_grad for p in parameters]
    modes = {m: m.training for m in module.modules()}
    devices = sorted({p.device.index for p in parameters if p.device.type == "cuda" and p.device.index is not None})
    with torch.random.fork_rng(devices=devices), torch.inference_mode(False), torch.enable_grad():
        try:
            torch.manual_seed(seed)
            module.eval()
            for p in parameters:
                p.requires_grad_(False)
            yield
        finally:
            for p, flag in zip(parameters, requires_grad):
                p.requires_grad_(flag)
            for m, training in modes.items():
                m.training = training


def perturbation_name(perturbation: Perturbation) -> str:
    """Short name of a perturbation: its ``name``, or that of its function or class."""
    for candidate in (getattr(perturbation, "name", None), getattr(perturbation, "__name__", None)):
        if isinstance(candidate, str):
            return candidate
    return type(perturbation).__name__


def named(perturbations: Perturbations) -> dict[str, Perturbation]:
    """Perturbations by name.

    Raises:
        ValueError: If two have one name.
        TypeError: If one can't be called.
    """
    if isinstance(perturbations, Mapping):
        result = dict(perturbations)
    else:
        alone = callable(perturbations) or isinstance(perturbations, str)
        items = [perturbations] if alone else list(perturbations)
        result = {}
        for p in items:
            name = perturbation_name(p)
            if name in result:
                raise ValueError(f"two perturbations are named {name!r}: give a dict, with a name of your own for each")
            result[name] = p
    for name, p in result.items():
        if isinstance(p, type):
            raise TypeError(f"perturbation {name!r} is a class: make an object of it, {p.__name__}()")
        if not callable(p):
            raise TypeError(f"perturbation {name!r} can't be called: {p!r}")
    return result


def eps_values(eps: float | Iterable[float]) -> list[float]:
    """Budgets as a list of plain numbers, in the given order.

    Raises:
        ValueError: If there is none or one is negative.
    """
    values = [float(e) for e in eps] if getattr(eps, "ndim", 1) and isinstance(eps, Iterable) else [float(eps)]
    if not values or min(values) < 0:
        raise ValueError(f"eps must be non-negative budgets, in pixel units of [0, 1]; got {values}")
    return values


def perturb(
    perturbation: Perturbation, model: Callable[[Tensor], Tensor], images: Tensor, labels: Tensor, eps: float,
    index: Tensor,
) -> Tensor:  # fmt: skip
    """Call a perturbation, with the images' index if it takes one."""
    signature = inspect.signature(perturbation)
    takes_index = "index" in signature.parameters or any(
        p.kind is inspect.Parameter.VAR_KEYWORD for p in signature.parameters.values()
    )
    return perturbation(model, images, labels, eps, **({"index": index} if takes_index else {}))


def logits_after(
    perturbation: Perturbation, model: nn.Module, images: Tensor, labels: Tensor, eps: float, index: Tensor,
    clean: Tensor,
) -> Tensor:  # fmt: skip
    """Logits on perturbed images; images that are wrong already keep their clean logits, and cost nothing."""
    right = clean.argmax(1) == labels
    logits = clean.clone()
    if eps > 0 and bool(right.any()):
        perturbed = perturb(perturbation, model, images[right], labels[right], eps, index.to(right.device)[right])
        with torch.no_grad():
            logits[right] = model(perturbed.detach()).to(logits)
    return logits


def _interval(correct: int, total: int) -> tuple[float, float]:
    from scipy.stats import binomtest

    interval = binomtest(correct, total).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def per_image_robustness(
    model: nn.Module,
    dataloader: Iterable[Any],
    perturbations: Perturbations,
    eps: float | Iterable[float],
    *,
    limit_batches: int | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Whether each image is still classified right, under each perturbation at each budget.

    What paired comparisons of networks need; :func:`evaluate_robustness` counts it up and has the same arguments.

    Returns:
        A row for every perturbation, budget and image: ``perturbation``, ``eps``, ``stimulus``, ``correct``,
        ``clean_correct``.

    Raises:
        ValueError: If images are not in [0, 1] (normalised, perhaps), the loader is empty, or logits are NaN.

    Example:
        >>> from neuroalign import FGSM
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> table = per_image_robustness(model, [(torch.rand(8, 3, 2, 2), torch.randint(3, (8,)))], FGSM(), 0.1)
        >>> len(table), bool((table["correct"] <= table["clean_correct"]).all())
        (8, True)
    """
    by_name, budgets = named(perturbations), eps_values(eps)
    if device is None:
        parameter = next(model.parameters(), None)
        device = parameter.device if parameter is not None else torch.device("cpu")
    parts, num_images = [], 0
    with attacking(model, seed):
        # Inside: starting to iterate a DataLoader draws from the global generator, shuffled or not.
        for item in _with_progress(islice(dataloader, limit_batches), dataloader, limit_batches, progress):
            batch = as_batch(item)
            images, labels = batch["image"].to(device).clone(), batch["label"].to(device).clone()
            check_images(images)
            index = batch.get("stimulus", torch.arange(num_images, num_images + len(images)))
            num_images += len(images)
            with torch.no_grad():
                clean = model(images).float()
            if bool(clean.isnan().any()):
                raise ValueError("the model gives NaN logits on unperturbed images")
            check_labels(labels, clean.shape[1])
            for name, perturbation in by_name.items():
                for e in budgets:
                    logits = logits_after(perturbation, model, images, labels, e, index, clean)
                    correct = (logits.argmax(1) == labels) & ~logits.isnan().any(1)
                    parts.append(
                        pd.DataFrame(
                            {
                                "perturbation": name,
                                "eps": e,
                                "stimulus": index.cpu().numpy(),
                                "correct": correct.cpu().numpy(),
                                "clean_correct": (clean.argmax(1) == labels).cpu().numpy(),
                            }
                        )
                    )
    if not parts:
        raise ValueError("the dataloader gave no batch")
    return pd.concat(parts, ignore_index=True)


def evaluate_robustness(
    model: nn.Module,
    dataloader: Iterable[Any],
    perturbations: Perturbations,
    eps: float | Iterable[float],
    *,
    limit_batches: int | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> pd.DataFrame:
    """Accuracy of a classifier under each perturbation at each budget. No Trainer needed.

    A robust image is one that is still classified right; clean errors count as errors. The model is left as it was:
    modes, gradients, buffers and random generators.

    Args:
        model: From images in [0, 1] to logits, its normalisation inside.
        dataloader: Batches as dicts with ``image`` and ``label`` (and ``stimulus``, the image's identity, which seeds
            random starts; default its place in the data) or pairs.
        perturbations: One, several, or several by name.
        eps: Budgets in pixel units: a number or several.
        limit_batches: Use only so many batches.
        seed: Of whatever a perturbation draws from the global generator.
        device: Where to compute; default where the model is.
        progress: Show a progress bar.

    Returns:
        A row for every perturbation and budget: ``perturbation``, ``norm``, ``eps``, ``accuracy``, ``num_images``,
        ``num_correct``, ``ci_low`` and ``ci_high`` (Wilson, 95 %), ``clean_accuracy``, ``settings``.

    Raises:
        ValueError: If images are not in [0, 1] (normalised, perhaps), the loader is empty, or logits are NaN.

    Example:
        >>> from neuroalign import FGSM
        >>> model = nn.Sequential(nn.Flatten(), nn.Linear(12, 3))
        >>> loader = [(torch.rand(8, 3, 2, 2), torch.randint(3, (8,)))]
        >>> table = evaluate_robustness(model, loader, FGSM(), [0.0, 0.1])
        >>> table[["perturbation", "eps", "num_images"]].values.tolist()
        [['fgsm-linf', 0.0, 8], ['fgsm-linf', 0.1, 8]]
    """
    by_name = named(perturbations)
    table = per_image_robustness(
        model,
        dataloader,
        by_name,
        eps,
        limit_batches=limit_batches,
        seed=seed,
        device=device,
        progress=progress,
    )
    rows = []
    for (name, e), part in table.groupby(["perturbation", "eps"], sort=False):
        low, high = _interval(int(part["correct"].sum()), len(part))
        rows.append(
            {
                "perturbation": name,
                "norm": getattr(by_name[name], "norm", None),
                "eps": e,
                "accuracy": part["correct"].mean(),
                "num_images": len(part),
                "num_correct": int(part["correct"].sum()),
                "ci_low": low,
                "ci_high": high,
                "clean_accuracy": part["clean_correct"].mean(),
                "settings": repr(by_name[name]),
            }
        )
    # groupby meets the rows batch by batch; the table goes by perturbation, then budget, as they were given
    order = {name: i for i, name in enumerate(by_name)}
    return pd.DataFrame(sorted(rows, key=lambda row: order[row["perturbation"]]))


def _with_progress(
    batches: Iterable[Any], dataloader: Iterable[Any], limit: int | None, progress: bool
) -> Iterable[Any]:
    if not progress:
        return batches
    from rich.progress import track

    total = len(dataloader) if hasattr(dataloader, "__len__") else None  # type: ignore[arg-type]
    total = limit if total is None or (limit is not None and limit < total) else total
    return track(batches, "robustness", total=total)
