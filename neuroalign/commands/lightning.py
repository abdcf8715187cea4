"""``neuroalign fit``, ``validate``, ``test`` and ``predict``: LightningCLI over our tasks and DataModules."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence
from typing import Any

from neuroalign.commands.parser import examples
from neuroalign.commands.verbosity import Verbosity, add_options

__all__: list[str] = []

COMMANDS = {
    "fit": "train a task: fit --config guide.yaml",
    "validate": "evaluate a checkpoint on the validation set",
    "test": "evaluate a checkpoint on the test set",
    "predict": "write what a checkpoint predicts to an HDF5 file",
}
_WHAT = {
    "fit": "Train a network by a configuration, whose three blocks (model, data, trainer) name classes and their "
    "arguments. Ends by saying where the checkpoint and the log are.",
    "validate": "Evaluate a checkpoint on the validation set of a configuration's data.",
    "test": "Evaluate a checkpoint on the test set of a configuration's data.",
    "predict": "Write what a checkpoint predicts for the test images of a configuration's data: responses, as a file that "
    "neuroalign.Responses.load reads, or logits; each with the identities of the stimuli.",
}
MODELS = {
    "NeuralPredictionTask": "images to the responses of a region",
    "GuidedClassificationTask": "a classifier that also matches a brain",
}
DATA = {
    "NSDDataModule": "images and responses of NSD, from its files",
    "ResponsesDataModule": "images and responses of any recording",
    "GuidanceDataModule": "labelled images, for a guided classifier",
}
_TRAINER = {
    "--trainer.max_epochs": ("N", "how often training sees all images", ()),
    "--trainer.accelerator": ("NAME", "auto, cpu, gpu or mps", ("auto", "cpu", "gpu", "mps")),
    "--trainer.devices": ("N", "number of devices, or auto", ()),
    "--trainer.precision": ("NAME", "32-true, bf16-mixed or 16-mixed", ("32-true", "bf16-mixed", "16-mixed")),
    "--trainer.logger": ("CLASS", "CSVLogger, TensorBoardLogger, WandbLogger, ...", ()),
}
_EXAMPLES = {
    "fit": (
        "neuroalign simulate --out nsd && neuroalign fit --config predict_v4.yaml",
        "neuroalign fit --config guide_v4.yaml --trainer.max_epochs 5 --model.weight 0",
        "neuroalign fit --config guide_v4.yaml --ckpt_path last.ckpt  go on",
        "neuroalign fit --config guide_v4.yaml --print_config  with all defaults",
    ),
    "validate": ("neuroalign validate --config guide.yaml --ckpt_path guided.ckpt",),
    "test": ("neuroalign test --config guide_v4.yaml --ckpt_path guided.ckpt",),
    "predict": ("neuroalign predict --config v4.yaml --ckpt_path predictor.ckpt --out v4.h5",),
}


def add_parsers(commands: Any) -> None:
    """Name the commands in ``neuroalign --help``, to completion and in their own help; LightningCLI reads their arguments."""
    for name, text in COMMANDS.items():
        fill(commands.add_parser(name, help=text, add_help=False), name)


def fill(parser: argparse.ArgumentParser, command: str) -> argparse.ArgumentParser:
    """Give a parser what the help of a command shows: the options that most people need."""
    fitting = command == "fit"
    parser.usage = f"neuroalign {command} --config FILE {'' if fitting else '--ckpt_path FILE '}[--KEY VALUE ...]"
    parser.description = _WHAT[command]
    parser.epilog = examples(*_EXAMPLES[command]) + (
        "\n\nmore help:\n"
        f"  neuroalign {command} --model.help CLASS  arguments of a class; also --data.help\n"
        f"  neuroalign {command} --help-all          every option of the trainer (seconds)\n"
        "  https://lightning.ai/docs/pytorch/stable/common/trainer.html"
    )
    own = parser.add_argument_group("options")
    own.add_argument("-h", "--help", action="store_true", help="show this help")
    own.add_argument("--help-all", action="store_true", help="show every option")
    own.add_argument("-c", "--config", metavar="FILE", help="configuration (YAML); several may follow one another")
    what = "checkpoint to go on from" if fitting else "checkpoint to evaluate (needed)"
    own.add_argument("--ckpt_path", metavar="FILE", help=what)
    if command == "predict":
        own.add_argument("--out", metavar="FILE", help="HDF5 file to write; else predictions.h5 beside the log")
    own.add_argument("--seed_everything", metavar="N", help="seed of all random numbers; without it 0")
    own.add_argument("--print_config", action="store_true", help="show the whole configuration and end")
    for key, classes in (("model", MODELS), ("data", DATA)):
        lines = [f"{name}: {text}" for name, text in classes.items()]
        own_class = f"or a class of your own: --{key} mine.MyClass, from ./mine.py"
        setting = f"--{key}.ARGUMENT VALUE sets an argument of the class"
        group = parser.add_argument_group(key, "\n".join([*lines, own_class, setting]))
        group.add_argument(f"--{key}", metavar="CLASS", help="its class").choices = tuple(classes)
    trainer = parser.add_argument_group("trainer", "every argument of lightning.Trainer, such as")
    for option, (metavar, text, choices) in _TRAINER.items():
        trainer.add_argument(option, metavar=metavar, help=text).choices = choices or None
    if fitting:
        for option in ("--optimizer", "--lr_scheduler"):
            trainer.add_argument(option, metavar="CLASS", help="a class of torch, such as " + (
                "Adam or AdamW" if option == "--optimizer" else "StepLR or CosineAnnealingLR"))  # fmt: skip
    return parser


def run(argv: Sequence[str], verbosity: Verbosity) -> None:
    """Run the command that the arguments begin with, or show its help."""
    if "-h" in argv or "--help" in argv:
        from neuroalign.commands.parser import Parser

        parser = fill(Parser(prog=f"neuroalign {argv[0]}", add_help=False), argv[0])
        add_options(parser)
        parser.print_help()
        return
    chosen = warnings.formatwarning
    from neuroalign.commands.lightning_cli import run_lightning

    warnings.formatwarning = chosen  # Lightning has set its own, which shows where in its code a warning arose
    run_lightning(["--help" if each == "--help-all" else each for each in argv], quiet=verbosity.quiet)
