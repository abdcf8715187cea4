"""What was run in an evaluation, in plain values, and whether a folder holds another one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import torch
from torch import nn

from neuroalign.budgets import eps_text
from neuroalign.checksums import damaged
from neuroalign.evaluation.curve import RobustnessCurve
from neuroalign.evaluation.images import device_of
from neuroalign.evaluation.masking import MaskingReport
from neuroalign.evaluation.results import weights_hash
from neuroalign.evaluation.smoothness import Smoothness
from neuroalign.evaluation.suites import Suite
from neuroalign.files import check_source
from neuroalign.version import __version__

__all__: list[str] = []


def check_record(path: Path, model: nn.Module, suite: Suite, seed: int) -> None:
    """Refuse a folder that holds another evaluation, whose tables would be mixed with those of this one.

    Raises:
        ValueError: If the folder holds another evaluation, or its record is damaged.
    """
    if not path.exists():
        return
    try:
        before = json.loads(check_source(path, "record").read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise damaged(path, "it is no JSON", "remove it to go on with the parts beside it") from error
    if not isinstance(before, dict) or "suite" not in before:
        raise damaged(path, "it is no record of a suite", "remove it, or name another folder")
    wanted = {"suite": suite.name, "seed": seed, "weights_sha256_16": weights_hash(model)}
    for name, value in wanted.items():
        if name in before and before[name] != value:
            raise ValueError(
                f"{path.parent} holds the {name} {before[name]!r}, not {value!r}: name another folder as out (--out), or "
                "remove it"
            )


def record_of(
    model: nn.Module, suite: Suite, curves: dict[str, RobustnessCurve], smoothness: Smoothness, masking: MaskingReport,
    num_images: int, seed: int, device: torch.device | str | None,
) -> dict[str, Any]:  # fmt: skip
    """What was run, and what came out apart from the tables."""
    return {
        "neuroalign": __version__,
        "torch": torch.__version__,
        "device": str(device_of(model, device)),
        "suite": suite.name,
        "seed": seed,
        "num_images": num_images,
        "clean_accuracy": float((next(iter(curves.values())).images["threshold"] > 0).mean()),
        "model": type(model).__name__,
        "weights_sha256_16": weights_hash(model),
        "attacks": [
            {
                "name": c.attack, "settings": c.settings, "norm": c.norm, "eps": [eps_text(e, c.norm) for e in c.eps],
                "num_forward": c.num_forward, "num_backward": c.num_backward,
                "median_distance": None if math.isinf(c.median_distance) else c.median_distance,
            }
            for c in curves.values()
        ],
        "corruptions": {"names": list(suite.corruptions), "severities": list(suite.severities)},
        "frost": "own texture" if "frost" in suite.corruptions else None,
        "transforms": [repr(t) for t in suite.transforms],
        "smoothness_attack": {"settings": "PGD, 10 steps", "norm": "linf", "eps": eps_text(suite.masking_eps, "linf")},
        "smoothness": {k: None if isinstance(v, float) and math.isnan(v) else v for k, v in smoothness._asdict().items()},
        "masking": {
            "norm": masking.norm,
            "eps": eps_text(masking.eps, masking.norm),
            "num_images": masking.num_images,
            "passed": masking.passed,
            "checks": json.loads(masking.table.to_json(orient="records")),
        },
    }  # fmt: skip
