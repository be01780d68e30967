"""Parameters and learned values as JSON and tensors, and back: data only, no pickle."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.base import BaseEstimator, clone
from torch import Tensor

from graphclean.issues import LabelIssues
from graphclean.nn.classifier import NodeClassifier
from graphclean.nn.skops_bytes import estimator_bytes, estimator_from_bytes, is_scikit_learn
from graphclean.recipes import load_object
from graphclean.types import InputError, Registered

_ROOTS = {
    "classifier": "graphclean.nn.NodeClassifier",
    "denoiser": "graphclean.denoise.Denoiser",
    "detector": "graphclean.detect.Detector",
    "ensemble": "graphclean.ensemble.EnsembleClassifier",
    "loss": "graphclean.nn.losses.NodeLoss",
    "trainer": "graphclean.robust.RobustTrainer",
    "transition": "graphclean.noise.TransitionEstimator",
}
"""The families whose methods can be part of a saved model; their rooms are looked up when read."""

_ISSUES = ("issues.parquet", "transition.csv", "summary.json")
_KEPT = (
    "Only numbers, strings, lists, tuples, dicts, dense tensors, arrays of numbers, LabelIssues, "
    "scikit-learn's estimators and graphclean's registered methods are kept: no callable, no other "
    "object."
)


class Encoder:
    """Turns values into what JSON holds; tensors and arrays are collected beside it.

    What JSON has no word for becomes a dict of one key: ``$tensor`` and ``$array`` name an entry of
    ``tensors``, ``$issues`` the files of ``LabelIssues`` there, ``$skops`` the skops file of an
    estimator of scikit-learn there, ``$tuple`` lists its items,
    ``$dict`` pairs of key and value, ``$float`` spells ``nan``, ``inf`` or ``-inf``, and
    ``$method`` is a registered method: ``family``, ``name``, ``class``, ``params`` and, of a fitted
    classifier, ``fitted``.

    Attributes:
        tensors: By name: dense, on the CPU, none sharing memory with another.
    """

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}

    def encode(self, value: Any, path: str, *, learned: bool = True) -> Any:
        """Return a value as JSON-able types.

        Args:
            value: What to encode.
            path: Where it stands, for the names of tensors and for errors.
            learned: Whether a classifier in it keeps what it has learned, beside its parameters.

        Raises:
            InputError: It holds something that only pickle could keep.
        """
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, np.generic):
            return self.encode(value.item(), path)
        if isinstance(value, int):
            return int(value)
        if isinstance(value, float):
            return float(value) if math.isfinite(value) else {"$float": repr(float(value))}
        if isinstance(value, (list, tuple)):
            items = [
                self.encode(item, f"{path}.{i}", learned=learned) for i, item in enumerate(value)
            ]
            return {"$tuple": items} if isinstance(value, tuple) else items
        if isinstance(value, Mapping):
            return self._mapping(value, path, learned)
        if isinstance(value, Tensor) and value.layout == torch.strided and not value.is_meta:
            return {"$tensor": self._keep(value, path)}
        if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
            return {"$array": self._keep(torch.from_numpy(np.array(value, order="C")), path)}
        if isinstance(value, LabelIssues):
            return {"$issues": self._issues(value, path)}
        if isinstance(value, Registered):
            return {"$method": self._method(value, path, learned)}
        if is_scikit_learn(value):
            content = estimator_bytes(value if learned else clone(value), path)
            return {"$skops": self._keep(_bytes_tensor(content), path)}
        raise _refusal(value, path)

    def _mapping(self, value: Mapping[Any, Any], path: str, learned: bool) -> dict[str, Any]:
        items = [
            (key, self.encode(item, f"{path}.{key}", learned=learned))
            for key, item in value.items()
        ]
        if all(isinstance(key, str) and not key.startswith("$") for key, _ in items):
            return dict(items)
        return {"$dict": [[self.encode(key, path), item] for key, item in items]}

    def _method(self, method: Any, path: str, learned: bool) -> dict[str, Any]:
        cls = type(method)
        root = _ROOTS.get(cls.family)
        if root is None or cls.registry.get(getattr(cls, "name", "")) is not cls:
            raise _refusal(method, path)
        if not _shipped(cls):
            raise InputError(path, repr(method), f"Only graphclean's own methods are kept. {_KEPT}")
        params = method.get_params(deep=False)
        found = {
            "family": cls.family,
            "name": cls.name,
            "class": cls.__name__,
            "params": {
                name: self.encode(value, f"{path}.{name}", learned=False)
                for name, value in params.items()
            },
        }
        if not learned:
            return found
        if isinstance(method, NodeClassifier):
            found["fitted"] = self._mapping(method.fitted_state(), path, learned)
        elif vars(method).keys() - params.keys():
            raise InputError(path, f"a fitted {cls.__name__}", "Keep its results, not itself.")
        return found

    def _issues(self, issues: LabelIssues, path: str) -> dict[str, str]:
        with tempfile.TemporaryDirectory(prefix="graphclean-") as folder:
            written = issues.save(folder)
            contents = {
                name: (written / name).read_bytes() for name in _ISSUES if (written / name).exists()
            }
        return {
            name: self._keep(_bytes_tensor(content), path) for name, content in contents.items()
        }

    def _keep(self, tensor: Tensor, path: str) -> str:
        name, number = path, 1
        while name in self.tensors:
            name, number = f"{path}#{number}", number + 1
        self.tensors[name] = tensor.detach().cpu().contiguous().clone()
        return name


class Decoder:
    """Undoes an `Encoder`.

    Args:
        tensors: Its tensors.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        self.tensors = tensors

    def decode(self, found: Any) -> Any:
        """Return the value that these JSON types stand for.

        Methods are looked up by family and name among those of graphclean, built from their
        parameters, and given back what they had learned. Beside them only estimators that
        scikit-learn defines are constructed, of types on a list.

        Raises:
            InputError: A method or a parameter is unknown here.
            KeyError, TypeError, ValueError: It is not what an `Encoder` writes.
        """
        if isinstance(found, list):
            return [self.decode(item) for item in found]
        if not isinstance(found, dict):
            return found
        if len(found) != 1 or not next(iter(found)).startswith("$"):
            return {name: self.decode(value) for name, value in found.items()}
        ((kind, content),) = found.items()
        if kind == "$tensor":
            return self.tensors[content].clone()
        if kind == "$array":
            return self.tensors[content].numpy().copy()
        if kind == "$tuple":
            return tuple(self.decode(item) for item in content)
        if kind == "$dict":
            return {self.decode(key): self.decode(value) for key, value in content}
        if kind == "$float":
            return float(content)
        if kind == "$issues":
            return self._issues(content)
        if kind == "$skops":
            return estimator_from_bytes(self.tensors[content].numpy().tobytes())
        if kind == "$method":
            return self._method(content)
        raise ValueError(f"nothing is encoded as {kind}")

    def _method(self, found: Mapping[str, Any]) -> BaseEstimator:
        family, name = found["family"], found["name"]
        if family not in _ROOTS:
            raise InputError("family", family, f"Known here: {', '.join(_ROOTS)}.")
        root: type[Registered] = load_object(_ROOTS[family])
        if name in root.registry and not _shipped(root.registry[name]):
            raise InputError(family, name, "Only graphclean's own methods are built from a file.")
        params = {key: self.decode(value) for key, value in found["params"].items()}
        method: Any = root.create(name, **params)
        if "fitted" not in found:
            return method
        state = {key: self.decode(value) for key, value in found["fitted"].items()}
        for key in state:
            if not key.isidentifier() or hasattr(type(method), key):
                raise ValueError(f"{key!r} is no learned attribute of {type(method).__name__}")
        method.restore(state)
        return method

    def _issues(self, names: Mapping[str, str]) -> LabelIssues:
        with tempfile.TemporaryDirectory(prefix="graphclean-") as folder:
            for name in _ISSUES:
                if name in names:
                    content = self.tensors[names[name]].numpy().tobytes()
                    (Path(folder) / name).write_bytes(content)
            return LabelIssues.load(folder)


def _bytes_tensor(content: bytes) -> Tensor:
    return torch.from_numpy(np.frombuffer(content, np.uint8).copy())


def _shipped(cls: type[Any]) -> bool:
    return cls.__module__.split(".")[0] == "graphclean"


def _refusal(value: Any, path: str) -> InputError:
    shown = f"{getattr(value, '__name__', None) or f'a {type(value).__name__}'} cannot be saved"
    return InputError(path, shown, _KEPT)
