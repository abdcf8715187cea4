"""The project's page on a package index: README.md, with links and images that lead to the repository.

In the repository, README.md links relatively, so that a branch, a fork and a checkout without the internet each show their
own files. An index shows the text alone, where such links lead nowhere. The repository's address is taken when a
distribution is built: from NEUROALIGN_REPOSITORY, from what GitHub sets in a workflow, or from git's remote "origin". Where
none of them says it, links stay relative.
"""

import os
import re
import subprocess
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

REMOTE = re.compile(r"(?:https://|git@|ssh://git@)(?P<host>[\w.-]+)[:/](?P<name>[\w.-]+/[\w.-]+?)(?:\.git)?/?")
LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s]+)\)")


def repository(root: Path) -> str | None:
    """Web address of the repository, without a slash at its end; None if nothing says it."""
    if given := os.environ.get("NEUROALIGN_REPOSITORY"):
        return given.rstrip("/")
    if name := os.environ.get("GITHUB_REPOSITORY"):
        return f"{os.environ.get('GITHUB_SERVER_URL', 'https://github.com')}/{name}"
    if not (root / ".git").exists():
        return None
    asked = subprocess.run(["git", "remote", "get-url", "origin"], cwd=root, capture_output=True, text=True)
    parts = REMOTE.fullmatch(asked.stdout.strip())
    return f"https://{parts['host']}/{parts['name']}" if parts else None


def absolute(text: str, address: str, version: str) -> str:
    """Markdown whose relative links lead to the files of a version's tag; blocks of code stay as they are."""

    def lead(link: re.Match[str]) -> str:
        if re.match(r"[a-z]+:|#", link["target"]):
            return link[0]
        view = "raw" if link["image"] else "blob"
        return f"{link['image']}[{link['text']}]({address}/{view}/v{version}/{link['target']})"

    parts = re.split(r"(^```.*?^```$)", text, flags=re.DOTALL | re.MULTILINE)
    return "".join(part if part.startswith("```") else LINK.sub(lead, part) for part in parts)


class CustomMetadataHook(MetadataHookInterface):
    """Fills in the long description and the project's links when a distribution is built."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set ``readme`` and ``urls``."""
        root = Path(self.root)
        text = (root / "README.md").read_text(encoding="utf-8")
        metadata["urls"] = {"Paper": "https://arxiv.org/abs/2405.02564"}
        if address := repository(root):
            text = absolute(text, address, metadata["version"])
            changes = f"{address}/blob/v{metadata['version']}/CHANGELOG.md"
            metadata["urls"] |= {"Source": address, "Issues": f"{address}/issues", "Changelog": changes}
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
