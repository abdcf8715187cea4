"""The configuration of a run, saved beside its log."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from lightning.pytorch.cli import SaveConfigCallback

from neuroalign.addresses import without_secrets

__all__: list[str] = []


class SavedConfiguration(SaveConfigCallback):
    """Saves the configuration beside a run's logs, without the passwords and keys in it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.path: Path | None = None
        self.config = self.config.clone()
        for key, value in list(self.config.items()):
            self.config[key] = without_secrets(value)

    def setup(self, trainer: Any, pl_module: Any, stage: str) -> None:
        """Save it, and keep in mind where."""
        super().setup(trainer, pl_module, stage)
        folder = trainer.log_dir  # every process asks, since Lightning sends the first one's
        self.path = None if folder is None else Path(folder) / self.config_filename
