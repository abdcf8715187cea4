"""Saving a model as a folder with a card, loading it again, and sharing it on the Hub."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

from neuroalign.checksums import DamagedFileError
from neuroalign.config import DescriptionError
from neuroalign.config.classes import check_names, find_class
from neuroalign.sharing.card_facts import NSD, CardFacts
from neuroalign.sharing.config_file import written
from neuroalign.sharing.folder import CONFIG, FILES, WEIGHTS, weights_in, write_folder
from neuroalign.sharing.hub import download, hub, is_name, upload
from neuroalign.version import __version__

if TYPE_CHECKING:
    import os

    from neuroalign.sharing.kinds import ModelKind

__all__ = ["HubMixin"]


class HubMixin:
    """Gives a class ``save_pretrained``, ``from_pretrained`` and ``push_to_hub``.

    The calls are those of huggingface_hub's ``ModelHubMixin``, with its arguments, and do what its users expect. It isn't
    derived from that class, for three reasons: neuroalign works without that package (only what speaks to the Hub imports
    it, extra ``hub``); that mixin keeps the arguments of the constructor in ``config.json`` and fails at *loading* if one is
    a module; and it calls the constructor with what the file says. Here the weights and the description of the model lie in
    ``model.safetensors``, exactly as ``save`` writes them, and loading reads this file alone, with the checks of ``load``:
    see :func:`neuroalign.config.build`. A class of yours that inherits from both, this one first, is a ``ModelHubMixin`` too.

    A class that has the mixin needs ``save(path)`` and ``load(path, ...)``.
    """

    _model_kind: ClassVar[ModelKind]

    def _card_rows(self) -> dict[str, Any]:
        """What the card says of the model itself, by name."""
        return {}

    if TYPE_CHECKING:

        def save(self, path: str | os.PathLike[str]) -> None:
            """Write one file."""

        load: ClassVar[Any]

    def save_pretrained(
        self,
        save_directory: str | os.PathLike[str],
        *,
        card: CardFacts | None = None,
        repo_id: str | None = None,
        push_to_hub: bool = False,
        model_card_kwargs: Mapping[str, Any] | None = None,
        **push_to_hub_kwargs: Any,
    ) -> str | None:
        """Write weights, a readable configuration and a model card to a folder; needs no network.

        It holds ``model.safetensors``, ``config.json`` and ``README.md`` then, or none of them if anything goes wrong. They
        replace former ones; a card that was edited by hand stays.

        Args:
            save_directory: The folder. A name such as ``nsd-subj01-V4-resnet18`` says data, subject, region and network.
            card: What the card says beyond the model itself; see :class:`CardFacts`. None: all of that is not given.
            repo_id: Name on the Hub, for the card and for the upload; None means the folder's name.
            push_to_hub: Whether to upload the folder's three files afterwards.
            model_card_kwargs: Attributes of :class:`CardFacts` by name, in place of those of ``card``.
            **push_to_hub_kwargs: Further arguments of :meth:`push_to_hub`.

        Returns:
            The URL of the commit after an upload, else None.

        Raises:
            ValueError: If the model can't be saved (see ``save``), or ``private`` is not said where it must be.
            OSError: If the folder can't be written, or the Hub refuses.
        """
        folder, facts = Path(save_directory), _facts(card, model_card_kwargs)
        if not push_to_hub and push_to_hub_kwargs:
            raise TypeError(
                f"{next(iter(push_to_hub_kwargs))} is an argument of the upload: push_to_hub=True is missing"
            )
        if push_to_hub:
            hub()
            _check_private(facts, push_to_hub_kwargs.get("private"))
        write_folder(self, folder, facts, (repo_id or folder.resolve().name).rpartition("/")[2], repo_id)
        if not push_to_hub:
            return None
        return _push(folder, repo_id or folder.resolve().name, **push_to_hub_kwargs)

    @classmethod
    def from_pretrained(
        cls,
        pretrained_model_name_or_path: str | os.PathLike[str],
        *,
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | os.PathLike[str] | None = None,
        local_files_only: bool = False,
        force_download: bool = False,
        map_location: Any = "cpu",
        **model_kwargs: Any,
    ) -> Self:
        """Load a model from a folder of :meth:`save_pretrained`, or from the Hub (extra ``hub``).

        Only ``model.safetensors`` is read, as data: nothing in it is run. The model is in eval mode.

        Args:
            pretrained_model_name_or_path: A folder, or ``owner/name`` on the Hub. A folder of this name goes first.
            revision: Branch, tag or commit on the Hub; None means the main branch. A commit never changes.
            token: The user's token; None means the one that ``hf auth login`` stored, False none.
            cache_dir: Where downloads are kept; None means the Hub's own place.
            local_files_only: Take what is in the cache, and ask no server.
            force_download: Download again what is in the cache.
            map_location: Device of the model.
            **model_kwargs: Further arguments of ``load``, such as a backbone of your own.

        Raises:
            ImportError: If a model of the Hub is wanted without huggingface_hub.
            OSError: If there is no such folder or model, or the Hub can't be reached; the message says which.
            ValueError: If the file is damaged, describes something that no description may name, or holds a model of
                another class.
        """
        place = pretrained_model_name_or_path
        options = {
            "token": token, "cache_dir": cache_dir, "local_files_only": local_files_only, "force_download": force_download
        }  # fmt: skip
        if Path(place).is_dir():
            weights = weights_in(Path(place))
        elif isinstance(place, str) and is_name(place):
            weights = download(place, WEIGHTS, revision, **options)
        elif Path(place).exists():
            raise NotADirectoryError(f"{place} is a file, where a folder is wanted: {cls.__name__}.load reads files")
        else:
            raise FileNotFoundError(f"no folder {place}; a model on the Hub is named owner/name")
        try:
            model = cls.load(weights, **model_kwargs)
        except DamagedFileError:
            raise
        except ValueError as error:
            version, name = written(_config_of(place, weights, revision, options))
            if name not in (None, cls.__name__) and not isinstance(error, DescriptionError):
                raise _wrong_class(place, name, cls) from error
            known = _described_class(weights)
            if known is not None and not issubclass(known, cls):
                raise _wrong_class(place, known.__name__, cls) from error
            if version in (None, __version__):
                raise
            raise type(error)(f"{error} (neuroalign {version} wrote it, this is {__version__})") from error
        if not isinstance(model, cls):
            raise _wrong_class(place, type(model).__name__, cls)
        found: Any = model
        return found.to(map_location).eval()

    def push_to_hub(
        self,
        repo_id: str,
        *,
        card: CardFacts | None = None,
        commit_message: str = "Upload model and card with neuroalign",
        private: bool | None = None,
        token: str | bool | None = None,
        branch: str | None = None,
        create_pr: bool | None = None,
        allow_patterns: list[str] | str | None = None,
        ignore_patterns: list[str] | str | None = None,
        delete_patterns: list[str] | str | None = None,
        model_card_kwargs: Mapping[str, Any] | None = None,
    ) -> str:
        """Upload weights, configuration and card to the Hub in one commit (extra ``hub``).

        A card that is there is replaced; ``create_pr=True`` lets you look first.

        Args:
            repo_id: ``owner/name``, or a name of your own account; it is made if it doesn't exist.
            card: What the card says beyond the model itself; see :class:`CardFacts`.
            commit_message: Message of the commit.
            private: Whether a new repository is private; None means the account's default, usually public. It must be said
                for a model of recorded responses of the Natural Scenes Dataset, since its terms bind you.
            token: The user's token; None means the one that ``hf auth login`` stored.
            branch: The branch; None means the main one.
            create_pr: Whether to open a pull request instead.
            allow_patterns: Which of the files to upload; None means all three.
            ignore_patterns: Which not to upload.
            delete_patterns: Which files on the Hub to delete in the same commit.
            model_card_kwargs: Attributes of :class:`CardFacts` by name, in place of those of ``card``.

        Returns:
            The URL of the commit.

        Raises:
            ImportError: If huggingface_hub is not installed.
            ValueError: If the model can't be saved, or ``private`` is not said where it must be.
            OSError: If the Hub refuses, or can't be reached.
        """
        hub()
        facts = _facts(card, model_card_kwargs)
        _check_private(facts, private)
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made) / "model"
            write_folder(self, folder, facts, repo_id.rpartition("/")[2], repo_id)
            return _push(
                folder, repo_id, commit_message=commit_message, private=private, token=token, branch=branch,
                create_pr=create_pr, allow_patterns=allow_patterns, ignore_patterns=ignore_patterns,
                delete_patterns=delete_patterns,
            )  # fmt: skip


def _facts(card: CardFacts | None, changes: Mapping[str, Any] | None) -> CardFacts:
    if card is not None and not isinstance(card, CardFacts):
        raise TypeError(f"card must be CardFacts; got {type(card).__name__}")
    return replace(card or CardFacts(), **(changes or {}))


def _wrong_class(place: Any, found: str | None, wanted: type) -> ValueError:
    return ValueError(f"{place} holds a {found}, no {wanted.__name__}: load it with {found}.from_pretrained")


def _described_class(weights: Path) -> type | None:
    """The class of neuroalign that a file describes; None if it describes no such class or can't be read."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(weights, "pt") as file:
            described = json.loads((file.metadata() or {}).get("neuroalign", "null"))
        check_names(described)
        found = find_class(described["class_path"])
    except (SafetensorError, OSError, ValueError, RecursionError, TypeError, KeyError):
        return None
    owner = getattr(found, "__self__", found)  # a class, or the classmethod that makes its objects
    return owner if isinstance(owner, type) and issubclass(owner, HubMixin) else None


def _check_private(facts: CardFacts, private: bool | None) -> None:
    if facts.dataset == NSD and facts.simulated is not True and private is None:
        raise ValueError(
            f"say private=True or private=False: the model was made from the {NSD}, whose terms forbid to pass on the data "
            "or parts of it; read your agreement before you publish what was fitted to them"
        )


def _push(
    folder: Path,
    repo_id: str,
    *,
    commit_message: str = "Upload model and card with neuroalign",
    private: bool | None = None,
    token: str | bool | None = None,
    branch: str | None = None,
    create_pr: bool | None = None,
    allow_patterns: list[str] | str | None = None,
    **patterns: Any,
) -> str:
    return upload(
        folder, repo_id, token=token, private=private, commit_message=commit_message, revision=branch, create_pr=create_pr,
        allow_patterns=list(FILES) if allow_patterns is None else allow_patterns, **patterns,
    )  # fmt: skip


def _config_of(place: Any, weights: Path, revision: str | None, options: dict[str, Any]) -> Path | None:
    """The configuration beside the weights, if it can be had without trouble."""
    if Path(place).is_dir():
        return weights.with_name(CONFIG)
    try:
        return download(place, CONFIG, revision, **options)
    except (OSError, ValueError):
        return None
