"""Where the raw files of the named graphs are, and how they get there."""

from __future__ import annotations

import hashlib
import inspect
import os
import shutil
import tempfile
import warnings
from pathlib import Path
from typing import Any

import platformdirs
from torch_geometric.data import Data

from graphclean.recipes import DatasetCard, RawFile, load_object
from graphclean.types import InputError

ROOT_VARIABLE = "GRAPHCLEAN_DATA"


def cache_folder() -> Path:
    """Return the folder in the user's cache that holds downloaded raw files."""
    return Path(platformdirs.user_cache_dir("graphclean")) / "datasets"


def raw_folder(card: DatasetCard, root: str | Path | None) -> Path:
    """Return the folder below which all raw files of ``card`` lie, downloading them if need be.

    Looked for in ``root``, else in ``$GRAPHCLEAN_DATA``; then in the user's cache. Downloads go to
    ``root`` if it was passed and can be written, else to the cache: ``$GRAPHCLEAN_DATA`` is never
    written to. A download is staged aside and every file moved into place whole, so an interrupted
    one leaves nothing behind and two at once do no harm.

    Raises:
        InputError: If files are missing and cannot be downloaded, or do not have the checksum
            that the card states.
    """
    stated = root if root is not None else os.environ.get(ROOT_VARIABLE) or None
    bases = [Path(stated).expanduser(), cache_folder()] if stated else [cache_folder()]
    for base in bases:
        folder = base / card.folder
        if not _absent(folder, card):
            _verify(folder, card)
            return folder
    if not inspect.isclass(load_object(card.loader)):
        raise InputError(
            f"dataset {card.name!r}",
            _looked(bases, card),
            f"Put the files there or set {ROOT_VARIABLE} to a folder that has them: they cannot be "
            f"downloaded. Source: {card.content['source']}",
        )
    target = bases[0] if root is not None and _writable(bases[0]) else bases[-1]
    try:
        _download(card, target)
    except InputError:
        raise
    except Exception as error:  # whatever the network, an archive or PyG may raise
        raise InputError(
            f"dataset {card.name!r}",
            _looked(bases, card),
            f"Put the files there, set {ROOT_VARIABLE} to a folder that has them, or run once "
            f"with a network (download failed: {_short(error)}). Source: {card.content['source']}",
        ) from error
    return target / card.folder


def read_raw(card: DatasetCard, folder: Path | None) -> Data:
    """Build the graph with the card's PyG class from the raw files below ``folder``.

    PyG would write a ``processed`` folder of pickles beside the raw files. Here it sees links to
    them in a private temporary folder, and what it processes is handed over in memory.
    """
    with tempfile.TemporaryDirectory(prefix="graphclean-", ignore_cleanup_errors=True) as work:
        for raw in card.raw if folder is not None else ():
            link = Path(work) / raw.path
            link.parent.mkdir(parents=True, exist_ok=True)
            source = (folder / raw.path).resolve()  # type: ignore[operator]
            try:
                link.symlink_to(source)
            except OSError:  # no right to make links (Windows)
                shutil.copy2(source, link)
        return _instance(card, work, process=True)[0]


def _instance(card: DatasetCard, root: str, *, process: bool) -> Any:
    base = load_object(card.loader)
    members: dict[str, Any] = {"log": property(lambda self: False, lambda self, value: None)}

    def keep(self: Any, graphs: list[Data], path: str) -> None:
        self._kept = graphs

    def take(self: Any, path: str, *args: Any) -> None:
        self.data, self.slices = self.collate(self._kept[:1])

    if process:
        members |= {"save": keep, "load": take}
    else:
        members |= {"_process": lambda self: None, "load": lambda self, *args: None}
    quiet = type(base.__name__, (base,), members)
    where = {"root": root} if "root" in inspect.signature(base.__init__).parameters else {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # old pickles and sparse layouts: nothing a user can act on
        return quiet(**where, **card.kwargs)


def _download(card: DatasetCard, target: Path) -> None:
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target, prefix=".incoming-") as staging:
        _instance(card, staging, process=False)
        missing = _absent(Path(staging), card)
        if missing:
            raise FileNotFoundError(f"the download has no {missing[0].path}")
        _verify(Path(staging), card)
        for raw in card.raw:
            final = target / card.folder / raw.path
            final.parent.mkdir(parents=True, exist_ok=True)
            (Path(staging) / raw.path).replace(final)


def _absent(folder: Path, card: DatasetCard) -> list[RawFile]:
    return [raw for raw in card.raw if not (folder / raw.path).is_file()]


def _verify(folder: Path, card: DatasetCard) -> None:
    for raw in card.raw:
        if raw.sha256 is None:
            continue
        with (folder / raw.path).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != raw.sha256:
            raise InputError(
                f"dataset {card.name!r}",
                f"{folder / raw.path} has SHA-256 {found}, expected {raw.sha256}",
                "The file is damaged or another version: delete it and load again.",
            )


def _writable(folder: Path) -> bool:
    existing = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    return existing.is_dir() and os.access(existing, os.W_OK)


def _looked(bases: list[Path], card: DatasetCard) -> str:
    places = []
    for base in bases:
        absent = [raw.path for raw in _absent(base / card.folder, card)]
        shown = ", ".join(absent[:3]) + (f" and {len(absent) - 3} more" if len(absent) > 3 else "")
        places.append(
            f"{base / card.folder} lacks {shown} ({len(absent)} of {len(card.raw)} files)"
        )
    return "raw files are missing: " + "; ".join(places)


def _short(error: Exception) -> str:
    text = " ".join(str(error).split()) or type(error).__name__
    return text if len(text) <= 200 else f"{text[:200]}..."
