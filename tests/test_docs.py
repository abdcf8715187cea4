"""Every Python block of the README and the docs runs, in order, as a reader would paste it."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGES = [p for p in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))] if "```python" in p.read_text()]


# A page takes seconds, most of them to import torch and Lightning anew.
FIRST = ("README.md",)
EXTRAS = {
    '"timm:': ("timm", "timm"),
    "import onnxruntime": ("onnxruntime", "onnx"),
    "to_rsatoolbox(": ("rsatoolbox", "peers"),
}
"""Packages and extras of what a block of a page uses, by a text in the block."""
CASES = [page if page.name in FIRST else pytest.param(page, marks=pytest.mark.slow) for page in PAGES]


@pytest.mark.parametrize("page", CASES, ids=lambda p: p.name)
def test_blocks_run(page, tmp_path):
    blocks = re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)
    for text, (package, extra) in EXTRAS.items():
        if any(text in block for block in blocks):
            pytest.importorskip(package, reason=f"{package}, which this page uses, is not installed (extra: {extra})")
    script = tmp_path / "page.py"
    script.write_text("\n".join(blocks))
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)], cwd=tmp_path, capture_output=True, text=True,
        env={**os.environ, "CUDA_VISIBLE_DEVICES": ""},
    )  # fmt: skip
    assert done.returncode == 0, f"{page.name}: {done.stderr[-2000:]}"


def test_the_readme_shows_the_three_usages():
    assert len(re.findall(r"```python", (ROOT / "README.md").read_text())) >= 2
    for page in PAGES:
        for image in re.findall(r"!\[.*?\]\((.*?)\)", page.read_text()):
            assert (page.parent / image).exists(), f"{page.name} shows {image}, which is not there"
