"""Names in backticks, commands with their options, and classes in configurations on a page; and what is wrong with each."""

import ast
import importlib
import inspect
import re
import shlex
from functools import cache

import neuroalign
from neuroalign.__main__ import _parser
from neuroalign.commands.lightning import COMMANDS, DATA, MODELS
from neuroalign.commands.parser import commands_of

# Names of other libraries, of Python, and of what a reader writes: in backticks on a page, and not ours to check.
# fmt: off
OTHERS = {
    "BootStrapper", "CSVLogger", "CutMix", "DataFrame", "Dataset", "DeprecationWarning", "DistributedDataParallel",
    "DistributedSampler", "False", "Kastner2015", "LightningDataModule", "LightningModule", "MetricCollection",
    "MixUp", "ModelCheckpoint", "ModelHubMixin", "MyNet", "MyNetwork", "MyTask", "None", "ReduceLROnPlateau",
    "TensorBoardLogger", "Trainer", "True", "WandbLogger", "accelerator", "attack", "dataclasses", "float",
    "get_fdata", "network", "nibabel", "print", "self", "step_loss", "torch", "trainer", "training_step", "wrapped",
}
# fmt: on


@cache
def public_objects():
    """Everything public, by its bare name; several rooms may have one of a name."""
    found = {room: [importlib.import_module(f"neuroalign.{room}")] for room in neuroalign._ROOMS}
    modules = (
        "types",
        "citations",
        "files",
        "checksums",
        "tensor_files",
        "hdf5",
        "state",
        "data.nsd",
        *neuroalign._ROOMS,
    )
    for module in map(importlib.import_module, (f"neuroalign.{name}" for name in modules)):
        for name in module.__all__:
            found.setdefault(name, []).append(getattr(module, name))
    return found


@cache
def members():
    """Names of what public classes have, such as methods."""
    classes = [each for same in public_objects().values() for each in same if inspect.isclass(each)]
    return {name for each in classes for name in {*dir(each), *parameters_of(each)}}


def parameters_of(thing):
    """Names of the parameters of a class or function; None among them if it takes any keyword, or can't tell."""
    try:
        parameters = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return {None}
    return {None if each.kind is each.VAR_KEYWORD else each.name for each in parameters}


def follow(thing, parts):
    """The attribute that a dotted name leads to; True where only an object made at run time has it. Raises LookupError."""
    for part in parts:
        if part in getattr(thing, "__annotations__", {}) and not hasattr(thing, part):
            return True
        if inspect.isclass(thing) and not hasattr(thing, part) and f"self.{part}" in inspect.getsource(thing):
            return True
        if not hasattr(thing, part):
            raise LookupError(part)
        thing = getattr(thing, part)
    return thing


def resolve(dotted):
    """The object that a dotted name beginning with "neuroalign" stands for."""
    parts = dotted.split(".")
    for number in range(len(parts), 0, -1):
        try:
            module = importlib.import_module(".".join(parts[:number]))
        except ModuleNotFoundError:
            continue
        return follow(module, parts[number:])
    raise LookupError(dotted)


def unknown_keywords(things, call):
    """Keywords of a call that none of several things of one name takes."""
    given = {each.arg for each in call.keywords if each.arg}
    for parameters in map(parameters_of, things):
        given = set() if None in parameters else given - parameters
    return given


def wrong_name(span):
    """What is wrong with a text in backticks, if it names something of ours; else None."""
    if re.match(r"neuroalign(\.[a-z_]\w*)+", span):
        try:
            resolve(re.match(r"neuroalign(\.\w+)+", span)[0])
        except LookupError:
            return "there is no such name"
        return None
    found = re.match(r"([A-Za-z_]\w*)((?:\.\w+)*)(\(|$)", span)
    if not found or not (found[3] or re.match(r"[A-Z]+[a-z]\w*", found[1])):
        return None  # a word, a path, an option, an expression
    first, rest = found[1], found[2].split(".")[1:]
    if first not in public_objects():
        known = first in OTHERS or first in members() or (rest and rest[-1] in members() | OTHERS)
        return None if known else "there is no such public name"
    things = []
    for thing in public_objects()[first]:
        try:
            things.append(follow(thing, rest))
        except LookupError:
            continue
    if not things and inspect.ismodule(public_objects()[first][0]) and rest[-1] in members():
        return None  # a variable of the name of a subpackage, such as guidance
    if not things:
        return f"{first} has no {'.'.join(rest)}"
    try:
        call = ast.parse(span, mode="eval").body
    except SyntaxError:
        return None
    if isinstance(call, ast.Call) and True not in things and (keywords := unknown_keywords(things, call)):
        return f"takes no {', '.join(sorted(keywords))}"
    return None


def wrong_option(words):
    """What is wrong with the words of a command that begins with "neuroalign"; None if every option is one of the command."""
    parser = _parser()
    command = ""
    following = iter(words[1:])
    for word in following:
        inner = commands_of(parser)
        if inner and not word.startswith("-"):
            if word.isupper():  # COMMAND
                return None
            if word not in inner:
                return f"no command {word!r}"
            parser, command = inner[word], command or word
            continue
        option, given, _ = word.partition("=")
        if action := parser._option_string_actions.get(option):
            if action.nargs is None and not given:
                next(following, None)  # its value
            continue
        if not re.match(r"--?[a-z]", option):
            continue
        if command not in COMMANDS or not takes_setting(option):
            return f"no option {option!r}"
    return None


def takes_setting(option):
    """Whether a dotted option of `neuroalign fit` sets an argument of the trainer, or of one of the classes."""
    import lightning

    block, _, rest = option.removeprefix("--").partition(".")
    argument = rest.removeprefix("init_args.").partition(".")[0]
    classes = {"trainer": [lightning.Trainer], "model": [getattr(neuroalign, name) for name in MODELS],
               "data": [getattr(neuroalign, name) for name in DATA]}  # fmt: skip
    if block in ("optimizer", "lr_scheduler"):
        return True
    parameters = {name for each in classes.get(block, ()) for name in parameters_of(each)}
    return argument in parameters | ({"help", "class_path"} if block in ("model", "data") else set())


def shell_commands(text):
    """The commands of ours in a page's fenced blocks for a shell, and in backticks, as lists of words."""
    fenced = re.findall(r"^```(\S*)[^\n]*\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    blocks = [block for language, block in fenced if language in ("", "bash", "sh", "console")]
    lines = re.sub(r"\\\n\s*", " ", "\n".join(blocks)).splitlines()
    lines += re.findall(r"`(neuroalign [^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    for line in lines:
        for part in re.split(r"&&|[|;>]", re.sub(r"\s+", " ", line)):
            words = shlex.split(part, comments=True)
            while words and (re.match(r"\w+=", words[0]) or words[0] in ("exec", "srun", "time", "do", "$")):
                words = words[1:]
            if words and words[0] == "neuroalign":
                yield words


def described_classes(settings):
    """Every class path in a configuration, with its arguments."""
    if isinstance(settings, dict):
        if "class_path" in settings:
            yield settings["class_path"], settings.get("init_args", {})
        for value in settings.values():
            yield from described_classes(value)
    elif isinstance(settings, list):
        for value in settings:
            yield from described_classes(value)


def wrong_argument(path, arguments):
    """What is wrong with a class and its arguments in a configuration; None if nothing, or if the class is a reader's own."""
    if path.partition(".")[0] not in ("neuroalign", "lightning", "torch"):
        return None
    module, _, name = path.rpartition(".")
    try:
        parameters = parameters_of(getattr(importlib.import_module(module), name))
    except (ImportError, AttributeError):
        return f"there is no {path}"
    unknown = set(arguments) - parameters
    return f"{path} takes no {', '.join(sorted(unknown))}" if unknown and None not in parameters else None
