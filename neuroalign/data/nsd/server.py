"""Requests to a bucket or server: repeated where the connection failed, and without credentials in any message."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from neuroalign.addresses import redacted, secrets_of
from neuroalign.data.nsd.layout import NSDError

__all__: list[str] = []

_log = logging.getLogger(__name__)
_T = TypeVar("_T")


class Server:
    """A bucket or server behind a URL, reached through fsspec.

    Args:
        url: Such as ``s3://natural-scenes-dataset``. A password or token in it is used for requests alone.
        storage_options: Options of the fsspec file system; for s3 None means ``{"anon": True}``.
        retries: How often a failed request is repeated.
        wait: Seconds before the first repetition; each further one waits twice as long.

    Attributes:
        url: The URL with ``***`` in place of credentials, for messages.
        protocol: Such as "s3" or "https".

    Raises:
        ImportError: If the packages of the extra ``cloud`` are missing.
    """

    def __init__(
        self, url: str, *, storage_options: Mapping[str, Any] | None = None, retries: int = 5, wait: float = 0.5
    ) -> None:
        address, _, query = url.partition("?")
        address, self._query = address.rstrip("/"), f"?{query}" if query else ""
        self._secrets = secrets_of(url, storage_options)
        self.url, self.retries, self.wait = redacted(address), retries, wait
        self.protocol = protocol = address.partition("://")[0]
        _check_packages(self.url)
        self._options = dict(storage_options or ({"anon": True} if protocol == "s3" else {}))
        if protocol == "s3":  # this class repeats requests; s3fs must not repeat each of them again
            self._options.setdefault("config_kwargs", {"retries": {"max_attempts": 1}, "connect_timeout": 10})
        self._base = address if protocol.startswith("http") else address.split("://", 1)[1]
        self._filesystem: tuple[int, Any] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_filesystem": None}

    def filesystem(self) -> Any:
        """The fsspec file system of this process: connections don't survive a fork."""
        import fsspec

        if self._filesystem is None or self._filesystem[0] != os.getpid():
            self._filesystem = (os.getpid(), fsspec.filesystem(self.protocol, **self._options))
        return self._filesystem[1]

    def address(self, name: str) -> str:
        """The address of a file in the file system, from its path below the URL."""
        return f"{self._base}/{name}{self._query}"

    def without_secrets(self, text: str) -> str:
        """A text with ``***`` in place of credentials."""
        return redacted(text, self._secrets)

    def told(self, error: BaseException) -> str:
        """An error in words, without the credentials that file systems quote."""
        return self.without_secrets(repr(error))

    def attempt(self, action: Callable[[], _T], name: str) -> _T:
        """The result of a request, which is repeated after a wait where the connection failed.

        Args:
            action: The request.
            name: The path of the requested file below the URL, for messages.

        Raises:
            FileNotFoundError: If the server has no such file.
            PermissionError: If the server refuses access.
            NSDError: If the last repetition failed as well.
        """
        last = name.rpartition("/")[2]
        for attempt in range(self.retries + 1):
            try:
                return action()
            except NSDError:
                raise
            except Exception as error:
                # Raised without its cause, here and below: the cause names the whole URL, credentials included.
                if isinstance(error, FileNotFoundError) and not _is_connection(error.__cause__):
                    raise FileNotFoundError(f"no file {self.url}/{name}") from None
                if getattr(error, "status", None) == 403 or isinstance(error, PermissionError):
                    raise PermissionError(
                        f"{self.url}/{name}: access denied (403). The file may be withheld, or not exist in a bucket that "
                        "doesn't list its files; check subject, session and space"
                    ) from None
                if attempt == self.retries:
                    raise NSDError(f"{self.url}: {last} can't be fetched after {attempt + 1} tries "
                                   f"({self.told(error)}). What arrived is kept; run again to go on") from None  # fmt: skip
                delay = self.wait * 2**attempt
                _log.warning("%s: %s; trying again in %.3g s", last, self.told(error), delay)
                time.sleep(delay)
        raise AssertionError


def _is_connection(error: BaseException | None) -> bool:
    """Whether fsspec's "no such file" hides a server that couldn't be reached."""
    return isinstance(error, (ConnectionError, TimeoutError)) or "Connect" in type(error).__name__


def _check_packages(url: str) -> None:
    try:
        import fsspec
        import pooch  # noqa: F401

        fsspec.get_filesystem_class(url.partition("://")[0])
    except ValueError as error:
        raise ValueError(
            f"{redacted(url)}: a URL of NSD begins with s3://, https:// or a protocol of fsspec"
        ) from error
    except ImportError as error:
        raise ImportError(f"{redacted(url)} needs the extra 'cloud': pip install 'neuroalign[cloud]' (protocols other than "
                          f"s3 and https need fsspec's package for them, too): {error}") from error  # fmt: skip
