"""What a package index shows: README.md with links that lead to the repository."""

import importlib.util
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ADDRESS = "https://github.com/someone/neuroalign"


@pytest.fixture
def index_page():
    pytest.importorskip("hatchling", reason="hatchling, which builds distributions, is not installed (extra: release)")
    spec = importlib.util.spec_from_file_location("index_page", ROOT / ".ci/index_page.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def links(text):
    return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"```.*?```", "", text, flags=re.DOTALL))


def test_every_link_of_the_readme_leads_to_a_file_of_the_version(index_page):
    text = (ROOT / "README.md").read_text()
    relative = [link for link in links(text) if "://" not in link and not link.startswith("#")]
    shown = links(index_page.absolute(text, ADDRESS, "1.2"))
    assert len(relative) > 10
    assert all("://" in link or link.startswith("#") for link in shown)
    for link in relative:
        view = "raw" if link.endswith((".png", ".svg")) else "blob"
        assert f"{ADDRESS}/{view}/v1.2/{link}" in shown


def test_code_and_other_addresses_stay(index_page):
    code = "```python\n[i](j.md)\n```"
    text = f"[a](https://b.c/d) [e](#f) ![g](h.png)\n{code}\n[k](l.md)\n"
    shown = f"[a](https://b.c/d) [e](#f) ![g]({ADDRESS}/raw/v1.2/h.png)\n{code}\n[k]({ADDRESS}/blob/v1.2/l.md)\n"
    assert index_page.absolute(text, ADDRESS, "1.2") == shown


@pytest.mark.parametrize(
    ("remote", "address"),
    [
        ("https://github.com/someone/neuroalign.git", ADDRESS),
        ("git@github.com:someone/neuroalign.git", ADDRESS),
        ("ssh://git@github.com/someone/neuroalign", ADDRESS),
        ("/srv/neuroalign.git", None),
        (None, None),
    ],
)
def test_the_address_is_that_of_the_remote(index_page, tmp_path, monkeypatch, remote, address):
    for name in ("NEUROALIGN_REPOSITORY", "GITHUB_REPOSITORY"):
        monkeypatch.delenv(name, raising=False)
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    if remote:
        subprocess.run(["git", "remote", "add", "origin", remote], cwd=tmp_path, check=True)
    assert index_page.repository(tmp_path) == address


def test_a_workflow_says_the_address(index_page, tmp_path, monkeypatch):
    monkeypatch.delenv("NEUROALIGN_REPOSITORY", raising=False)
    monkeypatch.setenv("GITHUB_REPOSITORY", "someone/neuroalign")
    monkeypatch.delenv("GITHUB_SERVER_URL", raising=False)
    assert index_page.repository(tmp_path) == ADDRESS
    monkeypatch.setenv("NEUROALIGN_REPOSITORY", "https://codeberg.org/someone/else/")
    assert index_page.repository(tmp_path) == "https://codeberg.org/someone/else"
