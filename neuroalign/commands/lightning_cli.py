"""LightningCLI over our tasks and DataModules: ``neuroalign fit|validate|test|predict --config FILE``."""

from __future__ import annotations

import inspect
import logging
import pickle
import pydoc
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from lightning import LightningDataModule, LightningModule
from lightning.pytorch.cli import LightningCLI, SaveConfigCallback

import neuroalign.callbacks
import neuroalign.data
import neuroalign.tasks  # noqa: F401 - imported so that a configuration can name classes without their module
from neuroalign.addresses import without_secrets
from neuroalign.tensor_files import check_checkpoint

__all__: list[str] = []


class SavedConfiguration(SaveConfigCallback):
    """Saves the configuration beside a run's logs, without the passwords and keys in it."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.config = self.config.clone()
        for key, value in list(self.config.items()):
            self.config[key] = without_secrets(value)


class NeuroalignCLI(LightningCLI):
    """LightningCLI that refuses to evaluate an untrained network."""

    def _parse_ckpt_path(self) -> None:
        """Take the model from the configuration only.

        Lightning would also read the checkpoint's hyperparameters as command-line arguments. Ours describe modules as they
        were built (a predictor, not the path it came from), and command-line arguments can't express that.
        """

    def before_instantiate_classes(self) -> None:
        """Check that there is a checkpoint to evaluate, that it is undamaged, and that only data are read from it."""
        command = self.subcommand
        if self.config[command].weights_only is None:  # Lightning would unpickle anything that comes from a URL
            self.config[command].weights_only = True
        checkpoint = self.config[command].get("ckpt_path")
        if checkpoint and Path(str(checkpoint)).exists():  # else "last", a URL, or for Lightning to refuse
            try:
                check_checkpoint(checkpoint)
            except ValueError as error:
                _end(command, str(error))
        if command != "fit" and not self.config[command].ckpt_path:
            self.parser.error(
                f"`neuroalign {command}` needs --ckpt_path FILE: without it, it would {command} a network with random weights"
            )

    def instantiate_classes(self) -> None:
        """Build the objects that the configuration names; an error in its values ends the command with one line."""
        try:
            for path in _class_paths(self.config.as_dict()):
                _check_class(path)
            super().instantiate_classes()
        except (ValueError, TypeError, OSError) as error:
            reason: BaseException = error
            while reason.__cause__ is not None:
                reason = reason.__cause__
            if not isinstance(reason, (ValueError, TypeError, OSError)):
                raise
            _end(self.subcommand, _cause(str(error), str(reason)))


def _class_paths(value: Any) -> Iterator[str]:
    if isinstance(value, (Mapping, list, tuple)):
        if isinstance(value, Mapping) and isinstance(value.get("class_path"), str):
            yield value["class_path"]
        for item in value.values() if isinstance(value, Mapping) else value:
            yield from _class_paths(item)


def _check_class(path: str) -> None:
    """Refuse a path that is not a class: where an argument may be anything, the parser would call any function.

    A function with an annotated return type, such as torchvision's ``resnet18``, is accepted like a class.
    """
    found = pydoc.locate(path)
    ours = path.split(".")[0] == "neuroalign"
    if ours and str(getattr(found, "__module__", "")).split(".")[0] != "neuroalign":
        raise ValueError(f"class_path {path!r} is none of neuroalign's classes")
    if found is None or inspect.isclass(found):  # the parser reports an unknown path itself
        return
    if getattr(found, "__annotations__", {}).get("return") is None:
        raise ValueError(f"class_path {path!r} is no class, nor a function that says what it returns: it is not called")


def _cause(told: str, first: str) -> str:
    """The one useful reason in the parser's message, which lists a reason for every type that it tried."""
    if "\n" not in first:
        return first
    reasons = [line.strip()[2:] for line in told.splitlines() if line.strip().startswith("- ")]
    of_types = ("Does not validate", "Expected a", "Not a valid", "a class path", "a dict ")
    own = [reason for reason in reasons if not reason.startswith(of_types)]
    return own[0] if own else first.splitlines()[0]


def _end(command: str | None, reason: str) -> NoReturn:
    print(f"neuroalign {command}: {reason}", file=sys.stderr)
    raise SystemExit(2) from None


def run_lightning(argv: Sequence[str]) -> None:
    """Run one of LightningCLI's commands.

    Raises:
        KeyboardInterrupt: If it was stopped by Ctrl-C, after Lightning has cleaned up. Saved checkpoints stay.
    """
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    logger.addFilter(_tells_more_than_an_interrupt)
    try:
        NeuroalignCLI(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=SavedConfiguration,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            args=None if list(argv) == sys.argv[1:] else list(argv),  # it warns if sys.argv has some, too
            parser_kwargs={"prog": "neuroalign"},
        )
    except UnicodeDecodeError as error:
        configs = [a.removeprefix("--config=") for a in argv if a.endswith((".yaml", ".yml", ".json"))]
        _end(argv[0], f"a configuration is damaged, or no UTF-8 text ({error}): {', '.join(configs) or argv}")
    except pickle.UnpicklingError:
        _end(argv[0], "the checkpoint is damaged, or holds more than tensors and plain values; nothing in it was run")
    except SystemExit as stop:
        if isinstance(stop.__context__, KeyboardInterrupt):  # Lightning turns it into an exit with status 1
            raise KeyboardInterrupt from None
        raise
    finally:
        logger.removeFilter(_tells_more_than_an_interrupt)


def _tells_more_than_an_interrupt(record: logging.LogRecord) -> bool:
    return "Detected KeyboardInterrupt" not in record.getMessage()
