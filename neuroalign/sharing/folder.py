"""The folder of a shared model: ``model.safetensors``, ``config.json`` and ``README.md``, all written or none."""

from __future__ import annotations

import json
import secrets
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from neuroalign.config import description_of
from neuroalign.files import check_source, check_target, output_folder
from neuroalign.sharing.card import is_as_written, model_card
from neuroalign.sharing.card_facts import CardFacts
from neuroalign.sharing.text import published
from neuroalign.version import __version__

__all__: list[str] = []

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
FILES = (WEIGHTS, CONFIG, CARD)


def write_folder(model: Any, folder: Path, facts: CardFacts, title: str, repo_id: str | None = None) -> None:
    """Write the three files of a model into a folder: all of them, or none if anything goes wrong.

    Other files in the folder stay. A card that was edited since it was written stays too, with a warning.

    Args:
        model: The model.
        folder: The folder; it is made.
        facts: What the card says.
        title: Title of the card, if the facts have no name.
        repo_id: The model's name on the Hub, for the card; None if it has none yet.

    Raises:
        OSError: If the folder is a file, or one of the three is a folder or a link out of it.
        ValueError: If ``model.save`` refuses: see there.
    """
    new = not folder.exists()
    folder = output_folder(folder)
    try:
        targets = {name: check_target(folder / name) for name in FILES}
        with _beside(folder) as made:
            model.save(made / WEIGHTS)
            config = json.dumps(_config(model, made / WEIGHTS, facts), indent=2, ensure_ascii=False, allow_nan=False)
            (made / CONFIG).write_text(config + "\n", encoding="utf-8")
            (made / CARD).write_text(model_card(model, facts, title, repo_id), encoding="utf-8")
            if _was_edited(targets[CARD]):
                warnings.warn(
                    f"{targets[CARD]} was edited by hand and is kept: it may describe other weights. Remove it to get a "
                    "new one",
                    stacklevel=4,
                )
                del targets[CARD]
            for name, target in targets.items():
                (made / name).replace(target)
    except BaseException:
        if new:
            with suppress(OSError):
                folder.rmdir()
        raise


@contextmanager
def _beside(folder: Path) -> Iterator[Path]:
    """A folder on the same disk whose files go to their place by renaming."""
    made = folder / f".{secrets.token_hex(4)}.part"
    made.mkdir()
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _was_edited(card: Path) -> bool:
    return card.is_file() and not is_as_written(card.read_text(encoding="utf-8", errors="replace"))


def _config(model: Any, weights: Path, facts: CardFacts) -> dict[str, Any]:
    from safetensors import safe_open

    with safe_open(weights, "pt") as file:
        stored = (file.metadata() or {}).get("neuroalign")
    return published(
        {
            "library_name": "neuroalign",
            "neuroalign_version": __version__,
            "class": type(model).__name__,
            "description": json.loads(stored) if stored is not None else description_of(model),
            "card": facts.to_dict(),
        }
    )


def weights_in(folder: Path) -> Path:
    """The weights of a folder.

    Raises:
        FileNotFoundError: If the folder holds none.
    """
    if not (folder / WEIGHTS).exists():
        raise FileNotFoundError(f"{folder} holds no {WEIGHTS}: save_pretrained has not written it")
    return check_source(folder / WEIGHTS)
