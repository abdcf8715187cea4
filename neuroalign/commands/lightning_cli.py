"""LightningCLI over our tasks and DataModules: ``neuroalign fit|validate|test|predict --config FILE``."""

from __future__ import annotations

import argparse
import copy
import os
import pickle
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from jsonargparse import ArgumentParser
from lightning import LightningDataModule, LightningModule
from lightning.pytorch.callbacks import ModelSummary
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from torch import nn

import neuroalign.data
import neuroalign.tasks  # noqa: F401 - imported so that a configuration can name classes without their module
from neuroalign.callbacks import PredictionWriter
from neuroalign.commands.class_help import asked_for, help_of
from neuroalign.commands.configuration_classes import classes_of
from neuroalign.commands.configuration_files import check_trainer, read_configurations, with_whole_names
from neuroalign.commands.configuration_mistakes import merged, mistake
from neuroalign.commands.configuration_paths import check_class, class_paths
from neuroalign.commands.configuration_places import raise_with_place
from neuroalign.commands.inputs import check_hdf5_name
from neuroalign.commands.lightning_links import (
    fill_heads,
    fill_noise_ceiling,
    head_widths_of,
    num_voxels_of,
    open_heads,
    open_places,
    placeholders,
    wants_noise_ceiling,
)
from neuroalign.commands.lightning_mistakes import in_plain_words
from neuroalign.commands.lightning_noise import OnlyNeededWarnings, without_void_lines
from neuroalign.commands.lightning_results import end_of_fit, how_to_go_on, table_of, without_test_set
from neuroalign.commands.lightning_summary import PartsSummary
from neuroalign.commands.own_classes import find_in_working_directory
from neuroalign.commands.saved_configuration import SavedConfiguration
from neuroalign.config import build
from neuroalign.files import check_output_folder, check_target
from neuroalign.tensor_files import check_checkpoint

__all__: list[str] = []

_FOUND_BY_LIGHTNING = ("best", "last", "hpc")
"""Words that may stand in place of a checkpoint's path."""
_REFUSED = (
    "has no argument",
    "beside class_path and init_args",
    "not registered in this process",
)  # of a plain mapping


class NeuroalignCLI(LightningCLI):
    """LightningCLI that answers a mistake in one sentence, and refuses to evaluate an untrained network.

    Args:
        argv: The command and its arguments.
        quiet: Whether to show no summary and no progress bar.
    """

    def __init__(self, argv: Sequence[str], *, quiet: bool = False) -> None:
        self.argv, self.quiet = with_whole_names(argv), quiet
        self.configurations = read_configurations(self.argv)
        classes_of("data")  # imports them: the parser finds a short name only if its class was imported
        super().__init__(
            LightningModule,
            LightningDataModule,
            subclass_mode_model=True,
            subclass_mode_data=True,
            save_config_callback=SavedConfiguration,
            save_config_kwargs={"overwrite": True},
            seed_everything_default=0,
            args=self.argv,
            parser_kwargs={"prog": "neuroalign", "exit_on_error": False},
        )

    def _prepare_subcommand_parser(self, klass: type, subcommand: str, **kwargs: Any) -> LightningArgumentParser:
        parser = super()._prepare_subcommand_parser(klass, subcommand, **kwargs)
        if subcommand == "predict":
            parser.add_argument(
                "--out",
                type=str | None,
                default=None,
                help="HDF5 file to write predictions to; null means predictions.h5 in the folder of the run's log",
            )
        return parser

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Read the command line and the configurations.

        Raises:
            ValueError: With the innermost mistake, if the parser refuses them.
        """
        whole = merged([content for _, content in self.configurations], self.argv)
        check_trainer(whole)
        try:
            self.config = parser.parse_args([*args, *placeholders(whole.get("model"))])
        except argparse.ArgumentError as error:
            raise ValueError(self._mistake(str(error))) from error
        seed = self.config[self.config.subcommand].seed_everything
        if not isinstance(seed, bool) and isinstance(seed, int) and not 0 <= seed < 2**32:
            raise ValueError(f"seed_everything must be from 0 to {2**32 - 1}, or true or false; got {seed}")

    def _mistake(self, told: str) -> str:
        options = [action.dest for action in self._subcommand_parsers[self.argv[0]]._actions]
        return mistake(self.argv, self.configurations, options, told)

    def _parse_ckpt_path(self) -> None:
        """Take the model from the configuration only.

        Lightning would also read the checkpoint's hyperparameters as command-line arguments. Ours describe modules as they
        were built (a predictor, not the path it came from), and command-line arguments can't express that.
        """

    def before_instantiate_classes(self) -> None:
        """Check that there is a checkpoint to evaluate, that it is undamaged, and that only data are read from it."""
        config = self.config[self.subcommand]
        if config.get("out"):
            check_hdf5_name(config.out)
            check_output_folder(check_target(config.out).parent)
        if config.weights_only is None:  # Lightning would unpickle anything that comes from a URL
            config.weights_only = True
        checkpoint = config.get("ckpt_path")
        if self.subcommand != "fit" and not checkpoint:
            raise ValueError("needs --ckpt_path FILE: without it, the network would have random weights")
        if not checkpoint or str(checkpoint) in _FOUND_BY_LIGHTNING or ":" in str(checkpoint):  # a URL, a registry
            return
        if not Path(str(checkpoint)).exists():
            raise FileNotFoundError(f"there is no checkpoint {checkpoint}")
        if Path(str(checkpoint)).suffix == ".safetensors":
            raise ValueError(
                f"{checkpoint} is a saved network: --ckpt_path takes a checkpoint of a training, a file ending in .ckpt"
            )
        check_checkpoint(checkpoint)

    def instantiate_classes(self) -> None:
        """Build the objects that the configuration names."""
        for path in class_paths(self.config.as_dict()):
            check_class(path)
        try:
            ready = self._fill_in()
            if ready:
                self._instantiate_with(ready)
            else:
                super().instantiate_classes()
        except (ValueError, TypeError) as error:
            # Of a module in the model: the parser takes what it can't read for a mapping, which is refused later.
            if any(refused in str(error) for refused in _REFUSED):
                raise ValueError(self._mistake(str(error))) from error
            raise_with_place(error, self.config[self.subcommand].as_dict(), self.configurations)
        except (OSError, ImportError, MisconfigurationException) as error:
            raise_with_place(error, self.config[self.subcommand].as_dict(), self.configurations)
        if self.subcommand == "predict":
            _callbacks_of(self.trainer).append(PredictionWriter(self.config[self.subcommand].out))

    def _fill_in(self) -> dict[str, Any]:
        """Give the configuration every number that it left open, and return the objects that were made to know them."""
        command = str(self.subcommand)
        config = self.config[command]
        model, ready = copy.deepcopy(config.model.as_dict()), {}
        if places := open_places(model):
            ready["data"] = self._made(data=config.data).data
            number = num_voxels_of(ready["data"])
            for place in places.values():
                place["num_voxels"] = number
        elif wants_noise_ceiling(model, config.get("data")):
            ready["data"] = self._made(data=config.data).data
        if heads := open_heads(model):
            guidance = config.model.init_args.get("guidance")
            if guidance is not None:
                ready["guidance"] = self._guidance(guidance)
            fill_heads(heads, head_widths_of(ready["guidance"]) if "guidance" in ready else {})
        if not places and not heads:
            return ready
        try:
            self.config = self.parser.parse_object({command: {"model": model}}, self.config)
        except argparse.ArgumentError as error:
            raise ValueError(self._mistake(str(error))) from error
        return ready

    def _made(self, **parts: Any) -> Any:
        """The objects that parts of the configuration describe."""
        namespace = type(self.config)
        config = namespace(subcommand=self.subcommand, **{str(self.subcommand): namespace(**parts)})
        return _instantiated(self.parser, config)[self.subcommand]

    def _guidance(self, config: Any) -> Any:
        parser = ArgumentParser(exit_on_error=False)
        parser.add_argument("--guidance", type=nn.Module | dict[str, Any])
        made = _instantiated(parser, parser.parse_object({"guidance": config})).guidance
        return build(made, nn.Module)

    def _instantiate_with(self, ready: dict[str, Any]) -> None:
        """As LightningCLI does, with objects that exist already."""
        config = self.config.clone()
        if "data" in ready:
            config[self.subcommand].data = ready["data"]
            fill_noise_ceiling(config[self.subcommand].model.init_args, ready["data"])  # too long for the saved file
        if "guidance" in ready:
            config[self.subcommand].model.init_args.guidance = ready["guidance"]
        self.config_init = _instantiated(self.parser, config)
        self.datamodule, self.model = self._get(self.config_init, "data"), self._get(self.config_init, "model")
        self._add_configure_optimizers_method_to_model(self.subcommand)
        self.trainer = self.instantiate_trainer()

    def instantiate_trainer(self, **kwargs: Any) -> Any:
        """Make the trainer, with a summary of our own unless the configuration has one or wants none."""
        options = self._get(self.config_init, "trainer", default={})
        if self.quiet:
            kwargs = {**kwargs, "enable_progress_bar": False, "enable_model_summary": False}
        given = options.get("callbacks") or []
        given = given if isinstance(given, list) else [given]
        given = [*given, OnlyNeededWarnings()]
        wanted = {**options, **kwargs}.get("enable_model_summary") is not False and not options.get("barebones")
        if wanted and not any(isinstance(callback, ModelSummary) for callback in given):
            given.append(PartsSummary())
        return super().instantiate_trainer(**{**kwargs, "callbacks": given})

    def fit(self, **kwargs: Any) -> None:
        """Train, and say where everything is."""
        self._run(self.trainer.fit, **kwargs)
        if self.trainer.is_global_zero and not getattr(self.trainer, "fast_dev_run", False):
            saved = [each.path for each in _callbacks_of(self.trainer) if isinstance(each, SavedConfiguration)]
            print(end_of_fit(self.argv, self.trainer, saved[0] if saved else None))

    def validate(self, **kwargs: Any) -> None:
        """Evaluate on the validation set."""
        self._evaluate(self.trainer.validate, **kwargs)

    def test(self, **kwargs: Any) -> None:
        """Evaluate on the test set."""
        self._evaluate(self.trainer.test, **kwargs)

    def predict(self, **kwargs: Any) -> None:
        """Predict; the callback writes what was predicted."""
        kwargs["return_predictions"] = False  # the callback keeps them
        out = self.config[self.subcommand].out
        replaced = " (in place of an earlier file)" if out and Path(out).exists() else ""
        self._run(self.trainer.predict, **kwargs)
        if self.trainer.is_global_zero:
            for writer in _callbacks_of(self.trainer):
                if isinstance(writer, PredictionWriter):
                    for path in writer.written:
                        print(f"predictions: {os.path.relpath(path)}{replaced}")

    def _evaluate(self, run: Callable[..., Any], *, verbose: bool = True, **kwargs: Any) -> None:
        results = self._run(run, verbose=False, **kwargs)
        if verbose and self.trainer.is_global_zero and results:
            print(table_of({name: value for loader in results for name, value in loader.items()}))
            if self.subcommand == "test" and (note := without_test_set(self.datamodule)):
                print(note)

    def _run(self, run: Callable[..., Any], **kwargs: Any) -> Any:
        """Run a method of the trainer; Ctrl-C ends it with one line that says how to go on.

        An error in an object of the configuration is raised again with the object's place.
        """
        try:
            return run(**kwargs)
        except BrokenPipeError:  # the reader of the output has read enough
            raise
        except (ValueError, TypeError, OSError, ImportError, MisconfigurationException) as error:
            raise_with_place(error, self.config[self.subcommand].as_dict(), self.configurations)
        except SystemExit as stop:
            if not isinstance(stop.__context__, KeyboardInterrupt):  # Lightning turns it into an exit with status 1
                raise
            if self.trainer.is_global_zero:
                told = how_to_go_on(self.argv, self.trainer)
                print(f"\nneuroalign {self.subcommand}: stopped; {told}", file=sys.stderr)
            raise SystemExit(130) from None


def _callbacks_of(trainer: Any) -> list[Any]:
    return trainer.callbacks


def _instantiated(parser: Any, config: Any) -> Any:
    """The objects that a configuration describes; the parser's method has had two names."""
    return (getattr(parser, "instantiate", None) or parser.instantiate_classes)(config)


def run_lightning(argv: Sequence[str], *, quiet: bool = False) -> None:
    """Run one of LightningCLI's commands.

    Args:
        argv: The command and its arguments.
        quiet: Whether to say only results and where they are.

    Raises:
        KeyboardInterrupt: If it was stopped by Ctrl-C before the trainer ran.
        ValueError: After a mistake in the configuration or the command line; other errors keep their class, and one in
            Lightning's words becomes a ValueError in ours.
    """
    find_in_working_directory()
    if (asked := asked_for(argv)) is not None:
        print(help_of(*asked))
        return
    with without_void_lines():
        try:
            NeuroalignCLI(argv, quiet=quiet)
        except pickle.UnpicklingError as error:
            raise ValueError(
                "the checkpoint is damaged, or holds more than tensors and plain values; nothing in it was run"
            ) from error
        except Exception as error:
            if (told := in_plain_words(error)) is None:
                raise
            raise ValueError(told) from error
