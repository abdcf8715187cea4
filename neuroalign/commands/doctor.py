"""``neuroalign doctor``: what is installed, which devices and folders there are, what is missing and what is broken."""

from __future__ import annotations

import argparse
import dataclasses
import json
import shutil
import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from neuroalign.commands.parser import examples

if TYPE_CHECKING:
    from neuroalign.commands.environment import Environment

__all__: list[str] = []


def add_parser(commands: Any) -> None:
    """Add the command."""
    text = "what is installed, which devices and folders there are, what is missing, and what that would give"
    parser = commands.add_parser(
        "doctor",
        help="what is installed, missing or broken",
        description=f"{text[0].upper()}{text[1:]}. Exit code 1 if something that neuroalign needs is broken; plugins of "
        "other packages, which are imported, don't count for that. Nothing is written, and passwords are not shown: the text "
        "is fit for a report of an error.",
        epilog=examples(
            "neuroalign doctor",
            "neuroalign doctor --nsd /data/nsd",
            "neuroalign doctor --json > doctor.json",
        ),
    )
    parser.add_argument("--nsd", metavar="ROOT", help="look at this folder of the Natural Scenes Dataset as well")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> None:
    """Run the command.

    Raises:
        SystemExit: With status 1 if something is broken.
    """
    from neuroalign.commands.environment import examine

    found = examine(args.nsd)
    if args.json:
        print(json.dumps(dataclasses.asdict(found), indent=1))
    else:
        print("\n".join(_lines(found, args.quiet)))
    if found.broken:
        raise SystemExit(1)


def _lines(found: Environment, quiet: bool) -> Iterator[str]:
    width = min(shutil.get_terminal_size().columns, 120)
    if not quiet:
        yield from _facts(found, width)
    for kind, sentences in (("note", found.notes), ("broken plugin", found.broken_plugins), ("broken", found.broken)):
        for sentence in sentences:
            yield from _wrapped(f"{kind}: {sentence}", width, "", "  ")
    yield _verdict(len(found.broken), len(found.broken_plugins))


def _verdict(broken: int, plugins: int) -> str:
    """What is broken, in one line.

    Example:
        >>> _verdict(0, 1)
        'Nothing that neuroalign needs is broken, but 1 plugin is: see above.'
        >>> _verdict(1, 2)
        '1 broken, and 2 plugins: see above.'
    """
    named = f"{plugins} plugin{'s' if plugins > 1 else ''}"
    if broken:
        return f"{broken} broken{f', and {named}' if plugins else ''}: see above."
    if plugins:
        return f"Nothing that neuroalign needs is broken, but {named} {'are' if plugins > 1 else 'is'}: see above."
    return "Nothing is broken."


def _facts(found: Environment, width: int) -> Iterator[str]:
    software = found.software
    yield f"neuroalign {software['neuroalign']} in {software['folder']}"
    yield f"Python {software['Python']}, {software['executable']}"
    yield f"{software['system']}\n"
    yield "Packages"
    packages = ", ".join(f"{name}\0{version or 'missing'}" for name, version in found.packages.items())
    yield from _wrapped(packages, width, "  ", "  ")
    yield "\nDevices"
    yield from (f"  {line}" for line in _devices(found.devices))
    yield "\nFolders"
    for name, folder in found.folders.items():
        yield from _entry(name, _folder(folder), width)
    yield "\nExtras"
    for name, extra in found.extras.items():
        if not extra["missing"]:
            yield from _entry(name, f"installed: {extra['gives']}", width)
        else:
            install = f"pip install 'neuroalign[{name}]'".replace(" ", "\0")
            yield from _entry(name, f"missing: {extra['gives']}; {install}", width)
    if any(found.plugins.values()):
        yield "\nOf other packages"
        for kind, names in found.plugins.items():
            shown = (f"{name} ({', '.join(packages)})".replace(" ", "\0") for name, packages in names.items())
            yield from _entry(kind, ", ".join(shown) or "none", width)
    yield ""


def _entry(name: str, text: str, width: int) -> list[str]:
    return _wrapped(text, width, f"  {name:18}", " " * 20)


def _wrapped(text: str, width: int, first: str, others: str) -> list[str]:
    """Lines of a text; what is joined by NUL stays on one line."""
    lines = textwrap.wrap(
        text, width, initial_indent=first, subsequent_indent=others, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace("\0", " ") for line in lines]


def _devices(devices: dict[str, Any]) -> Iterator[str]:
    memory = f", {_gigabytes(devices['memory'])} of memory" if devices["memory"] else ""
    threads = f" ({devices['threads']} used by torch)" if "threads" in devices else ""
    yield f"CPU: {devices['cpus']} cores{threads}{memory}"
    for number, gpu in enumerate(devices["gpus"]):
        yield f"GPU {number}: {gpu['name']}, {_gigabytes(gpu['memory'])}"
    if not devices["gpus"]:
        yield f"GPU: none that torch sees (its build: {devices['built for']})"
    if devices.get("mps"):
        yield "MPS: Apple's GPU"


def _folder(folder: dict[str, Any]) -> str:
    if folder["path"] is None:
        return f"not set: {folder['holds']}"
    state = "a URL, not opened" if folder["exists"] is None else "" if folder["exists"] else "not there"
    free = "" if folder.get("free") is None else f"{_gigabytes(folder['free'])} free"
    facts = ", ".join(each for each in (state, free) if each)
    return f"{folder['path']}{f' ({facts})' if facts else ''}: {folder['holds']}"


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:.3g} GB" if size < 1e12 else f"{size / 1e12:.3g} TB"
