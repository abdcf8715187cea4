"""Calls to the Hub: downloads and uploads by huggingface_hub, with each failure said in one sentence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from neuroalign.addresses import redacted

__all__: list[str] = []

_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}", re.ASCII)


def is_name(name: str) -> bool:
    """Whether a text can be the name of a model on the Hub, ``owner/name``.

    Example:
        >>> is_name("lab/nsd-subj01-V4-resnet18"), is_name("../models/V4"), is_name("V4")
        (True, False, False)
    """
    return _NAME.fullmatch(name) is not None and ".." not in name and "--" not in name


def hub() -> Any:
    """The package huggingface_hub.

    Raises:
        ImportError: If it is not installed; the message names the extra.
    """
    try:
        import huggingface_hub
        import huggingface_hub.errors  # not an attribute by itself
    except ImportError as error:
        raise ImportError(
            "the Hub needs the extra 'hub': pip install 'neuroalign[hub]'; folders need nothing"
        ) from error
    return huggingface_hub


def download(name: str, file: str, revision: str | None, **options: Any) -> Path:
    """Download a file of a model, or find it in the cache.

    Args:
        name: ``owner/name``.
        file: Name of the file.
        revision: Branch, tag or commit; None means the main branch.
        **options: Further arguments of ``hf_hub_download``.

    Raises:
        ImportError: If huggingface_hub is not installed.
        OSError: If there is no such model, revision or file, or the Hub can't be reached; the message says which.
    """
    with _told(name, revision, file):
        return Path(hub().hf_hub_download(name, file, revision=revision, **options))


def upload(folder: Path, name: str, *, token: str | bool | None, private: bool | None, **options: Any) -> str:
    """Make a model's repository if there is none, and upload a folder to it in one commit.

    Args:
        folder: The folder.
        name: ``owner/name``, or a name of your own account.
        token: The user's token; None means the one that ``hf auth login`` stored.
        private: Whether a new repository is private; None means the default of the account.
        **options: Further arguments of ``HfApi.upload_folder``.

    Returns:
        The URL of the commit.

    Raises:
        ImportError: If huggingface_hub is not installed.
        OSError: If the Hub refuses, or can't be reached.
    """
    with _told(name, options.get("revision")):
        api = hub().HfApi(token=token)
        found = api.create_repo(repo_id=name, private=private, exist_ok=True).repo_id
        commit = api.upload_folder(repo_id=found, repo_type="model", folder_path=folder, **options)
        return str(commit.commit_url)  # the text of the object itself is the address of the files in older versions


@contextmanager
def _told(name: str, revision: str | None, file: str | None = None) -> Iterator[None]:
    """Raise the failures of huggingface_hub as one sentence that says what to do."""
    errors = hub().errors
    try:
        yield
    except errors.HFValidationError as error:
        raise ValueError(f"{name!r} is no name of a model on the Hub: {_line(error)}") from error
    except errors.GatedRepoError as error:
        raise OSError(f"access to {name} has to be asked for: do so at https://huggingface.co/{name}, then log in "
                      "(hf auth login) or give token=...") from error  # fmt: skip
    except errors.RepositoryNotFoundError as error:
        raise FileNotFoundError(f"the Hub has no model {name} that you may see: check the name; a private one needs a login "
                                "(hf auth login) or token=...") from error  # fmt: skip
    except errors.RevisionNotFoundError as error:
        raise FileNotFoundError(f"{name} has no branch, tag or commit {revision!r}") from error
    except errors.LocalEntryNotFoundError as error:
        raise FileNotFoundError(
            f"{file} of {name} is not in the cache, and the Hub can't be reached or was not to be asked (local_files_only, "
            "HF_HUB_OFFLINE): try again with a network, or give the folder of the model"
        ) from error
    except errors.OfflineModeIsEnabled as error:
        raise ConnectionError(f"the Hub was not to be asked for {name}: HF_HUB_OFFLINE is set") from error
    except errors.EntryNotFoundError as error:
        raise FileNotFoundError(
            f"{name} holds no {file}: neuroalign has not saved it, or not in this revision"
        ) from error
    except errors.HfHubHTTPError as error:
        raise OSError(f"the Hub refused the request for {name}: {_line(error)}") from error
    except Exception as error:  # of the package below huggingface_hub, which depends on its version
        if type(error).__module__.partition(".")[0] not in ("httpx", "requests"):
            raise
        raise ConnectionError(f"the Hub can't be reached for {name}: {_line(error)}") from error


def _line(error: Exception) -> str:
    return redacted(" ".join(str(error).split()))[:300]
