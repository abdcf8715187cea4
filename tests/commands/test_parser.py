"""What every command's parser promises: one line after a mistake, a help with examples, no default that isn't one."""

import re
import shlex

import pytest

from neuroalign.__main__ import _COMMANDS, _parser, main
from neuroalign.commands import lightning
from neuroalign.commands.parser import commands_of, parsers

LEAVES = [
    each
    for each in parsers(_parser())
    if not commands_of(each) and each.prog.split()[-1] not in lightning.COMMANDS
]  # fmt: skip
NAMES = [each.prog for each in LEAVES]


@pytest.fixture
def refused(capsys):
    """Run a command that ends with one line and exit status 2; the line."""

    def refused(*arguments):
        with pytest.raises(SystemExit) as stop:
            main(list(arguments))
        said = capsys.readouterr()
        assert stop.value.code == 2 and not said.out and said.err.count("\n") == 1, said
        return said.err.rstrip("\n")

    return refused


def test_all_commands_are_looked_at():
    assert {name.split()[1] for name in NAMES} == set(_COMMANDS)
    assert {"neuroalign nsd extract", "neuroalign study power"} < set(NAMES)


@pytest.mark.parametrize("parser", LEAVES, ids=NAMES)
def test_help(parser, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    text = parser.format_help()
    assert "(default: None)" not in text and "None means" not in text and "(default: [])" not in text
    described = parser.description
    assert described and (described[0].isupper()) and described.endswith(".")
    examples = text.partition("examples:\n")[2].splitlines()
    assert examples and all(line.startswith("  ") for line in examples)
    assert any(parser.prog in line for line in examples)
    assert all(len(line) <= 80 for line in text.splitlines() if not line.startswith("usage:"))
    for action in parser._actions:
        assert action.help, f"{parser.prog} {action.dest} has no help"


@pytest.mark.parametrize(
    ("name", "usage"),
    [
        ("nsd extract", "neuroalign nsd extract ROOT --subject N --roi ROI ... --out PATH [OPTION ...]"),
        ("study power", "neuroalign study power [DIR] [OPTION ...]"),
        ("cite", "neuroalign cite [DIR|NAME ...] [OPTION ...]"),
        ("demo", "neuroalign demo [OPTION ...]"),
    ],
)
def test_usage_names_what_must_be_given(name, usage):
    (parser,) = (each for each in LEAVES if each.prog == f"neuroalign {name}")
    assert parser.format_usage() == f"usage: {usage}\n"


@pytest.mark.parametrize("parser", LEAVES, ids=NAMES)
def test_examples_can_be_read(parser):
    """Each example is one that the parsers accept."""
    text = re.sub(r"\\\n *", "", parser.epilog.partition("examples:\n")[2])
    for line in text.splitlines():
        words = shlex.split(line.strip().partition("   ")[0].partition(" > ")[0])
        assert words[0] == "neuroalign"
        read = _parser().read(words[1:])
        assert read.command == words[1]


@pytest.mark.parametrize("parser", LEAVES, ids=NAMES)
def test_options_of_every_command(parser, capsys):
    known = {option for action in parser._actions for option in action.option_strings}
    assert {"-q", "--quiet", "-v", "--verbose", "--debug", "-h", "--help"} <= known


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["fitt"], "neuroalign: unknown command 'fitt'; did you mean 'fit'"),
        (["nsd", "chek"], "neuroalign nsd: unknown action 'chek'; did you mean 'check'?"),
        (["nsd", "check", "a", "b"], "neuroalign nsd check: unexpected argument 'b'"),
        (["doctor", "--jsn"], "neuroalign doctor: unknown option '--jsn'; did you mean '--json'"),
        (["--config", "a.yaml", "fit"], "neuroalign: no option '--config' here: the options of a command come after"),
        (["--vresion"], "neuroalign: unknown option '--vresion'; did you mean '--version'"),
        (["simulate", "--uot", "x"], "neuroalign simulate: unknown option '--uot'; did you mean '--out'"),
        (["simulate"], "neuroalign simulate: missing: --out; see neuroalign simulate --help"),
        (["simulate", "--out"], "neuroalign simulate: --out: expected one argument"),
        (["simulate", "--out", "x", "--container", "hdf"],
         "neuroalign simulate: --container: unknown choice 'hdf'; did you mean 'hdf5'?"),
        (["simulate", "--out", "x", "--seed", "one"],
         "neuroalign simulate: --seed: must be a whole number of at least 0; got one"),
        (["simulate", "--out", "x", "--seed", "-1"],
         "neuroalign simulate: --seed: must be a whole number of at least 0; got -1"),
        (["demo", "--seed", "-1"], "neuroalign demo: --seed: must be a whole number of at least 0; got -1"),
        (["evaluate", "--ckpt", "x", "--data", ""], "neuroalign evaluate: --data: is empty (a variable that is not set?)"),
        (["cite", ""], "neuroalign cite: DIR|NAME: is empty"),
        (["evaluate", "--ckpt", "x", "--data", "y", "--batch-size", "0"],
         "neuroalign evaluate: --batch-size: must be a whole number of at least 1; got 0"),
        (["geometry", "--data", "x", "--num-per-class", "1"],
         "neuroalign geometry: --num-per-class: must be a whole number of at least 2; got 1"),
        (["nsd", "stimuli", "x", "--out", "y", "--workers", "-1"],
         "neuroalign nsd stimuli: --workers: must be a whole number of at least 0; got -1"),
        (["nsd", "extract", "x", "--subject", "1", "--roi", "V4", "--out", "y", "--retries", "-1"],
         "neuroalign nsd extract: --retries: must be a whole number of at least 0; got -1"),
        (["study", "run", "x.yaml", "--out", "y", "--workers", "two"],
         "neuroalign study run: --workers: must be a whole number of at least 1; got two"),
        (["study", "power", "--power", "often"],
         "neuroalign study power: --power: must be a number between 0 and 1; got often"),
        (["demo", "-q", "-v"], "neuroalign demo: --quiet and --verbose exclude each other"),
        (["fit", "-q", "--verbose"], "neuroalign fit: --quiet and --verbose exclude each other"),
    ],
)  # fmt: skip
def test_one_line_with_a_near_match(arguments, line, refused):
    assert refused(*arguments).startswith(line)


@pytest.mark.parametrize("arguments", [["-v", "doctor", "--json"], ["doctor", "--json", "-v"]])
def test_options_stand_before_or_after_the_command(arguments):
    assert _parser().read(arguments).verbose is True
