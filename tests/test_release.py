"""What a release says of itself in several places agrees."""

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import yaml

import neuroalign

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_one_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert neuroalign.__version__ == PROJECT["version"] == str(citation["version"])


def test_every_extra_is_on_the_page_about_installing():
    page = (ROOT / "docs/install.md").read_text()
    missing = [extra for extra in PROJECT["optional-dependencies"] if f"| `{extra}` |" not in page]
    assert not missing, f"docs/install.md doesn't name {missing}"


def test_each_dependency_has_a_lowest_version():
    printed = subprocess.run(
        [sys.executable, ROOT / ".ci/lowest.py", "cloud"], capture_output=True, text=True, check=True
    )
    lowest = dict(line.split("==") for line in printed.stdout.split())
    names = [re.match(r"[\w.-]+", text)[0] for text in PROJECT["dependencies"]]
    assert set(names) <= set(lowest)
    assert "fsspec" in lowest and "timm" not in lowest
    assert all(re.fullmatch(r"[\d.]+", version) for version in lowest.values())


def test_workflows_run_what_everybody_runs():
    workflows = {path.stem: yaml.safe_load(path.read_text()) for path in (ROOT / ".github/workflows").glob("*.yml")}
    steps = workflows["ci"]["jobs"]["run"]["steps"]
    assert any(".ci/run" in step.get("run", "") for step in steps)
    versions = workflows["ci"]["jobs"]["run"]["strategy"]["matrix"]["python"]
    assert {"3.11", "3.12", "3.13", "3.14"} == set(versions)
    classified = {text.rpartition(" ")[2] for text in PROJECT["classifiers"] if "Python :: 3." in text}
    assert classified <= set(versions)
    assert any("build" in step.get("run", "") for step in workflows["release"]["jobs"]["build"]["steps"])


def test_extras_that_errors_name_exist():
    sources = " ".join(path.read_text() for path in (ROOT / "neuroalign").rglob("*.py"))
    told = set(re.findall(r"neuroalign\[(\w+)\]", sources))
    assert len(told) > 3
    assert told <= set(PROJECT["optional-dependencies"])
