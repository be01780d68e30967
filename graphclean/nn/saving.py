"""Fitted classifiers on disk: weights in safetensors, all else in JSON, no pickle."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load, save
from sklearn.utils.validation import check_is_fitted

from graphclean.issues import write_atomic
from graphclean.nn.classifier import NodeClassifier
from graphclean.nn.encoding import Decoder, Encoder
from graphclean.recipes import load_object
from graphclean.types import InputError

_WEIGHTS, _RECORD = "model.safetensors", "model.json"

_FORMAT, _VERSION = "graphclean.NodeClassifier", 1
_GRAPHCLEAN: str = load_object("graphclean.__version__")


def save_model(model: NodeClassifier, folder: str | os.PathLike[str]) -> Path:
    """Write a fitted classifier or trainer to ``folder`` (made if need be) and return it.

    ``model.safetensors`` holds every tensor and array, ``model.json`` the rest: family, name and
    parameters of the method, what it has learned (``n_classes_``, ``best_epoch_``, ``history_``,
    ``class_names_``, ...), the versions of graphclean and of the format, and a checksum of the
    weights. Classifiers within a trainer, losses, detectors and label issues are part of both;
    estimators of scikit-learn and trees of LightGBM lie among the weights, as a skops file and as
    LightGBM's text.
    A new folder appears whole or not at all; in a folder that is there already each of the two
    files does, and one that is not of the other's save is refused by `load_model`. Equal models
    give byte-identical files.

    Args:
        model: A fitted ``NodeClassifier`` of graphclean.
        folder: Where to write; other files there are left alone.

    Raises:
        InputError: Not a ``NodeClassifier`` of graphclean; it holds something that only pickle
            could keep, such as a loss that is a function; the folder is a file.
        sklearn.exceptions.NotFittedError: It is not fitted.

    Example:
        >>> import tempfile
        >>> import graphclean as gc
        >>> data = gc.load("digits")
        >>> model = gc.nn.SGC(epochs=2, random_state=0).fit(data)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     again = gc.load_model(gc.save_model(model, folder))
        >>> bool((again.predict_proba(data) == model.predict_proba(data)).all())
        True
    """
    if not isinstance(model, NodeClassifier):
        raise InputError(
            "model",
            f"a {type(model).__name__} cannot be saved",
            "Without pickle that is for node classifiers: "
            f"{', '.join(sorted(NodeClassifier.registry))}, "
            "and graphclean's trainers and ensembles.",
        )
    check_is_fitted(model)
    target = Path(folder)
    if target.exists() and not target.is_dir():
        raise InputError("folder", os.fspath(folder), "It is a file: pass a folder.")
    encoder = Encoder()
    found = encoder.encode(model, "model")
    weights = save(encoder.tensors)
    record = {
        "format": _FORMAT,
        "version": _VERSION,
        "graphclean": _GRAPHCLEAN,
        "sha256": _checksum(weights),
        "model": found["$method"],
    }
    text = json.dumps(record, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    _write(target, {_WEIGHTS: weights, _RECORD: text.encode()})
    return target


def load_model(folder: str | os.PathLike[str]) -> NodeClassifier:
    """Return the classifier that `save_model` wrote, fitted.

    On the same graph it gives the same probabilities, bit for bit (on one machine with one number
    of threads); on another one with the same features it predicts as the saved one did. Files are
    read as data: only graphclean's own methods are built, by name, and estimators of scikit-learn
    from a list of types. Load models of scikit-learn and LightGBM only from those you trust: how
    they predict from a forged file is beyond what can be checked here.

    Raises:
        InputError: No model in the folder; a file is damaged or of another save; the format or a
            method is newer than this graphclean.
    """
    with _reading(folder):
        record = json.loads((Path(folder) / _RECORD).read_bytes())
        if record["format"] != _FORMAT:
            raise ValueError(f"{_RECORD} is not of {_FORMAT}")
        if record["version"] > _VERSION:
            raise InputError(
                "folder",
                f"{os.fspath(folder)}: format {record['version']}, of graphclean "
                f"{record['graphclean']}; this one, {_GRAPHCLEAN}, reads {_VERSION}",
                "Upgrade graphclean.",
            )
        weights = (Path(folder) / _WEIGHTS).read_bytes()
        if _checksum(weights) != record["sha256"]:
            raise ValueError(f"{_WEIGHTS} is not the file that {_RECORD} describes")
        with _written_by(folder, record["graphclean"]):
            model = Decoder(load(weights)).decode({"$method": record["model"]})
    if not isinstance(model, NodeClassifier):
        raise InputError(
            "folder", f"{os.fspath(folder)}: a {type(model).__name__}", "Pass a saved classifier."
        )
    return model


def _write(target: Path, files: Mapping[str, bytes]) -> None:
    if target.exists():
        for name, content in files.items():
            write_atomic(target / name, content)
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = target.with_name(f".{target.name}.{uuid.uuid4().hex}.tmp")
    try:
        staging.mkdir()
        for name, content in files.items():
            (staging / name).write_bytes(content)
        staging.replace(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _checksum(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


@contextmanager
def _reading(folder: str | os.PathLike[str]) -> Iterator[None]:
    """Turn what is wrong with the files into an InputError that names the folder and the fix."""
    try:
        yield
    except InputError:
        raise
    except (FileNotFoundError, NotADirectoryError) as error:
        raise InputError(
            "folder",
            f"{os.fspath(folder)}: no file {Path(error.filename).name}",
            "Pass a folder that save_model wrote.",
        ) from error
    except (
        OSError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RuntimeError,
        SafetensorError,
    ) as error:
        raise InputError(
            "folder",
            f"{os.fspath(folder)}: {type(error).__name__} {error}",
            "It is damaged: write it again with save_model.",
        ) from error


@contextmanager
def _written_by(folder: str | os.PathLike[str], version: str) -> Iterator[None]:
    """Say of a method or parameter that is unknown here which graphclean knows it."""
    try:
        yield
    except InputError as error:
        raise InputError(
            "folder",
            f"{os.fspath(folder)}: of graphclean {version}, here {_GRAPHCLEAN}; {error}",
            f"Load it with graphclean {version}.",
        ) from error
