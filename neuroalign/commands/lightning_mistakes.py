"""Errors in Lightning's and torch's words that a configuration causes, in plain words."""

from __future__ import annotations

import re

from neuroalign.types import unknown

__all__: list[str] = []


def in_plain_words(error: BaseException) -> str | None:
    """What to tell about an error of Lightning or torch; None if its own message does.

    Example:
        >>> in_plain_words(ValueError("there is no layer9"))
    """
    text = str(error)
    if "No supported gpu backend found" in text or re.search(
        r"`(CUDA|MPS)Accelerator` can not run on your system", text
    ):
        return (
            "there is no GPU that torch can use here, as trainer.accelerator asks: give auto or cpu (`neuroalign doctor` "
            "shows the devices)"
        )
    if found := re.search(r"invalid accelerator name: `accelerator='(.*?)'`. Available names are: (.*)\.", text):
        return unknown("trainer.accelerator", found[1], found[2].split(", "))
    if found := re.search(r"invalid strategy name: `strategy='(.*?)'`", text):
        from lightning.pytorch.strategies import StrategyRegistry

        return unknown("trainer.strategy", found[1], ["auto", *StrategyRegistry.available_strategies()])
    if type(error).__name__ == "KeyError" and "pytorch-lightning_version" in text:
        return (
            "--ckpt_path is no checkpoint of a training: it holds no state of Lightning; weights alone are not enough"
        )
    if found := re.search(r"value is not a valid input using (\w+) accelerator", text):
        given = re.search(r"devices=(\S+?)\)", text)
        return f"trainer.devices {given[1] if given else ''} doesn't go with the accelerator {found[1]}: give 1 or more"
    if found := re.search(r"\(monitor='(.*?)'\).*in the returned metrics: \[(.*?)\]", text, re.DOTALL):
        logged = re.findall(r"'(.*?)'", found[2])
        return f"{unknown('value to monitor', found[1], [n for n in logged if n not in ('epoch', 'step')])} (what was logged)"
    if found := re.search(
        r"conditioned on metric (\S+) which is not available.*metrics are: \[(.*?)\]", text, re.DOTALL
    ):
        logged = re.findall(r"'(.*?)'", found[2])
        return f"scheduler_monitor: {unknown('value to monitor', found[1], logged)} (what was logged)"
    if found := re.search(r"this is a checkpoint of \w+, not of \w+$", text):
        return f"{text}: give the configuration that it was trained with, or another --ckpt_path"
    if lacking := re.findall(r"Requirement '([^']+)' not met", text):
        return (
            f"a class that the configuration names needs a package that is not installed: pip install {lacking[-1]!r}"
        )
    if text.startswith("Error(s) in loading state_dict for "):
        return _of_weights(text)
    return None


def _of_weights(text: str) -> str:
    """Torch's report on a state dict, which lists every weight, in one sentence."""
    task = text.removeprefix("Error(s) in loading state_dict for ").split(":")[0]
    shapes = re.findall(
        r"size mismatch for (\S+): copying a param with shape torch.Size\(\[(.*?)\]\).*?torch.Size\(\[(.*?)\]\)",
        text,
        re.DOTALL,
    )
    if shapes:
        name, there, here = shapes[0]
        more = f", and {len(shapes) - 1} more differ" if len(shapes) > 1 else ""
        return (
            f"the checkpoint doesn't fit the configured {task}: {name} is ({there}) in the file and ({here}) here{more}"
        )
    missing, surplus = (
        re.findall(r'"([^"]+)"', part[1]) if (part := re.search(rf"{kind} key\(s\) in state_dict: (.*)", text)) else []
        for kind in ("Missing", "Unexpected")
    )
    parts = [f"it lacks {names[0]}" if kind == "lacks" else f"it holds {names[0]}"
             for kind, names in (("lacks", missing), ("holds", surplus)) if names]  # fmt: skip
    count = len(missing) + len(surplus)
    return (
        f"the checkpoint is of another network than the configured {task}: {' and '.join(parts)}"
        f"{f' ({count} names of weights differ)' if count > 1 else ''}"
    )
