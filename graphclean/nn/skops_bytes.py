"""Estimators of scikit-learn as bytes, and back, through skops: no pickle, known types only."""

from __future__ import annotations

import io
import json
import zipfile
from typing import Any

import numpy as np
from sklearn.base import BaseEstimator

from graphclean.types import InputError

_TREE = "sklearn.tree._tree.Tree"
_HIST_TREE = "sklearn.ensemble._hist_gradient_boosting.predictor.TreePredictor"

TRUSTED = frozenset(
    {
        _TREE,
        _HIST_TREE,
        "functools.partial",
        "sklearn.utils.validation.check_array",
        "sklearn.calibration._CalibratedClassifier",
        "sklearn.calibration._SigmoidCalibration",
        "sklearn.gaussian_process._gpc._BinaryGaussianProcessClassifierLaplace",
        "sklearn.gaussian_process.kernels.ConstantKernel",
        "sklearn.gaussian_process.kernels.DotProduct",
        "sklearn.gaussian_process.kernels.Matern",
        "sklearn.gaussian_process.kernels.Product",
        "sklearn.gaussian_process.kernels.RBF",
        "sklearn.gaussian_process.kernels.RationalQuadratic",
        "sklearn.gaussian_process.kernels.Sum",
        "sklearn.gaussian_process.kernels.WhiteKernel",
        "sklearn.neural_network._stochastic_optimizers.AdamOptimizer",
        "sklearn.neural_network._stochastic_optimizers.SGDOptimizer",
        "sklearn.utils._bunch.Bunch",
    }
)
"""What may be in a file beside what skops trusts: scikit-learn's estimators, numbers, arrays.

``check_array``, in a ``partial``, is how scikit-learn's boosting reads numbers beside categories.
"""

_DATE = (1980, 1, 1, 0, 0, 0)


def is_scikit_learn(value: Any) -> bool:
    """Return whether a value is an estimator that scikit-learn itself defines."""
    return isinstance(value, BaseEstimator) and type(value).__module__.startswith("sklearn.")


def estimator_bytes(estimator: BaseEstimator, path: str) -> bytes:
    """Return an estimator of scikit-learn, fitted or not, as a skops file.

    The same estimator, fitted in the same way, gives the same bytes.

    Args:
        estimator: The estimator.
        path: Where it stands, for errors.

    Raises:
        InputError: There is something in it that cannot be read back.
    """
    import skops.io

    name = type(estimator).__name__
    try:
        content = skops.io.dumps(estimator)
        foreign = sorted(set(skops.io.get_untrusted_types(data=content)) - TRUSTED)
    except (TypeError, ValueError, AttributeError) as error:
        raise InputError(path, f"{name}: {error}", "Use another model.") from error
    if foreign:
        raise InputError(
            path,
            f"{name} cannot be saved: it holds {', '.join(foreign)}",
            "Use another model; of neighbours-based ones algorithm='brute'.",
        )
    return _canonical(content)


def estimator_from_bytes(content: bytes) -> BaseEstimator:
    """Return the estimator that `estimator_bytes` wrote.

    Only types that skops trusts and those of ``TRUSTED`` are built, and the node numbers of trees,
    which scikit-learn follows unchecked, have to lie within them.

    Raises:
        InputError: It holds another type, or is of a scikit-learn that had other ones.
        ValueError: It is damaged.
    """
    import skops.io

    try:
        foreign = sorted(set(skops.io.get_untrusted_types(data=content)) - TRUSTED)
        if foreign:
            raise InputError(
                "model", ", ".join(foreign), "Only scikit-learn's estimators are built from a file."
            )
        found = skops.io.loads(content, trusted=sorted(TRUSTED))
    except InputError:
        raise
    except (ImportError, AttributeError) as error:
        raise InputError(
            "model", str(error), "Load it with the version of scikit-learn that wrote it."
        ) from error
    except (zipfile.BadZipFile, TypeError, KeyError, ValueError) as error:
        raise ValueError(f"no estimator of skops: {error}") from error
    if not isinstance(found, BaseEstimator):
        raise ValueError(f"a {type(found).__name__} is no estimator")
    _check_trees(found, 0, set())
    return found


def _canonical(content: bytes) -> bytes:
    """Return a skops file without what differs from run to run: addresses, dates, random names."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        schema = json.loads(archive.read("schema.json"))
        files = {name: archive.read(name) for name in archive.namelist() if name != "schema.json"}
    numbers: dict[Any, int] = {}
    names: dict[str, str] = {}
    _renumber(schema, numbers, names)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        text = json.dumps(schema, separators=(",", ":")).encode()
        for name, part in [("schema.json", text), *((names[n], files[n]) for n in names)]:
            entry = zipfile.ZipInfo(name, _DATE)
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, part)
    return buffer.getvalue()


def _renumber(part: Any, numbers: dict[Any, int], names: dict[str, str]) -> None:
    """Number objects and files in the order in which they appear; plain values need none."""
    if isinstance(part, list):
        for item in part:
            _renumber(item, numbers, names)
    if not isinstance(part, dict):
        return
    if "__loader__" in part:
        known = part.pop("__id__", None)
        if known is not None and part["__loader__"] != "JsonNode":
            part["__id__"] = numbers.setdefault(known, len(numbers) + 1)
        if isinstance(part.get("file"), str):
            name = part["file"]
            part["file"] = names.setdefault(name, f"{len(names)}.{name.rpartition('.')[2]}")
    for item in part.values():
        _renumber(item, numbers, names)


def _check_trees(part: Any, n_features: int, seen: set[int]) -> None:
    """Raise ValueError for a tree within an object that points outside itself or the columns."""
    if id(part) in seen or isinstance(part, (str, bytes, int, float, type(None))):
        return
    seen.add(id(part))
    kind = f"{type(part).__module__}.{type(part).__qualname__}"
    if kind == _TREE:
        inner = part.children_left >= 0
        children = (part.children_left[inner], part.children_right[inner])
        _check_nodes(inner, children, part.feature[inner], n_features)
        return
    if kind == _HIST_TREE:
        nodes = part.nodes
        inner = nodes["is_leaf"] == 0
        children = (nodes["left"][inner], nodes["right"][inner])
        _check_nodes(inner, children, nodes["feature_idx"][inner], n_features)
        by_category = nodes[inner & (nodes["is_categorical"] != 0)]["bitset_idx"]
        if (by_category >= len(part.raw_left_cat_bitsets)).any():
            raise ValueError("a tree points outside its categories")
        return
    if isinstance(part, np.ndarray):
        inside = part.ravel().tolist() if part.dtype == object else []
    elif isinstance(part, dict):
        inside = list(part.values())
    elif isinstance(part, (list, tuple, set)):
        inside = list(part)
    else:
        inside = list(getattr(part, "__dict__", {}).values())
    if isinstance(part, BaseEstimator):
        n_features = int(getattr(part, "n_features_in_", n_features))
    for item in inside:
        _check_trees(item, n_features, seen)


def _check_nodes(
    inner: np.ndarray, children: tuple[np.ndarray, np.ndarray], feature: np.ndarray, columns: int
) -> None:
    # Children come after their parent in every tree of scikit-learn, so no walk can go in circles.
    own = np.flatnonzero(inner)
    for child in children:
        if ((child <= own) | (child >= len(inner))).any():
            raise ValueError("a tree points outside its nodes")
    if ((feature < 0) | (feature >= columns)).any():
        raise ValueError("a tree points outside its columns")
