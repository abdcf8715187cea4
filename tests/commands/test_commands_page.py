"""docs/commands.md names every command, option of every command and exit code."""

import re
from pathlib import Path

from neuroalign.__main__ import _parser
from neuroalign.commands.completion import SHELLS
from neuroalign.commands.lightning import COMMANDS as LIGHTNING
from neuroalign.commands.parser import commands_of, parsers

PAGE = (Path(__file__).parents[2] / "docs/commands.md").read_text(encoding="utf-8")


def test_every_command_is_in_the_table():
    named = re.findall(r"^\| `(neuroalign [a-z ]+)` \|", PAGE, re.MULTILINE)
    assert sorted(named) == sorted(each.prog for each in parsers(_parser()) if not commands_of(each))


def test_options_and_shells():
    for option in ("--help", "--quiet", "--verbose", "--debug", "--version", "--print-completion"):
        assert f"{option}" in PAGE
    for shell in SHELLS:
        assert f"--print-completion {shell}" in PAGE


def test_its_commands_can_be_read():
    for line in re.findall(r"^neuroalign (.*)$", PAGE, re.MULTILINE):
        words = line.partition(" > ")[0].split()
        if words[0] in LIGHTNING:  # whose options LightningCLI reads
            assert words[1].startswith("-")
        elif words[0] != "--print-completion":
            assert _parser().read(words).command == words[0]
