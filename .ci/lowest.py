"""Print pip constraints: each requirement of pyproject.toml at exactly the lowest version that it declares.

python .ci/lowest.py timm cloud > lowest.txt    # the dependencies, and these extras
"""

import re
import sys
import tomllib
from pathlib import Path

PROJECT = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
REQUIREMENT = re.compile(r"(?P<name>[\w.-]+)(?:\[(?P<extras>[\w,-]+)\])?>=(?P<floor>[\w.]+)")


def floors(requirements: list[str]) -> dict[str, str]:
    """Lowest version of each required package; the project's own extras are followed."""
    found = {}
    for text in requirements:
        if text.startswith(f"{PROJECT['name']}["):
            for extra in text[len(PROJECT["name"]) :].strip("[]").split(","):
                found.update(floors(PROJECT["optional-dependencies"][extra]))
            continue
        parts = REQUIREMENT.match(text)
        if parts is None:
            raise SystemExit(f"{text!r} in pyproject.toml declares no lowest version: write it as name>=version")
        found[parts["name"]] = parts["floor"]
    return found


if __name__ == "__main__":
    wanted = PROJECT["dependencies"] + [
        each for extra in sys.argv[1:] for each in PROJECT["optional-dependencies"][extra]
    ]
    print("\n".join(f"{name}=={floor}" for name, floor in floors(wanted).items()))
