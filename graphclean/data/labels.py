"""Questions every room asks about the labels of a graph, answered in one place."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import numpy as np
import pandas as pd
import torch

from graphclean.types import InputError

_MISSING_LABELS = frozenset({"", "nan", "<na>"})


def num_classes(data: Any) -> int:
    """Return the number of classes: ``len(class_names)`` where known, else ``y.max() + 1``."""
    names = getattr(data, "class_names", None)
    if names is not None:
        return len(names)
    y = getattr(data, "y", None)
    return 0 if y is None or y.numel() == 0 else max(int(y.max()) + 1, 0)


def class_names(data: Any) -> list[str]:
    """Return the names of the classes in the order of the label ids (default ``"0", "1", ...``)."""
    names = getattr(data, "class_names", None)
    if names is not None:
        return [str(name) for name in names]
    return [str(index) for index in range(num_classes(data))]


def labelled_mask(data: Any) -> torch.Tensor:
    """Return which nodes carry a label (``y >= 0``), bool ``[N]``."""
    mask: torch.Tensor = data.y.view(-1) >= 0
    return mask


def node_ids(data: Any) -> list[Any]:
    """Return the user's node ids in node order (default: the row numbers)."""
    ids = getattr(data, "node_ids", None)
    return list(range(data.num_nodes)) if ids is None else list(ids)


def encode_labels(values: Iterable[Any]) -> tuple[torch.Tensor, list[str], list[str]]:
    """Turn arbitrary labels into class ids.

    Missing labels (None, NaN, empty or blank strings) become -1, and so does a number -1 unless
    the labels are exactly {-1, 1}. Classes are the distinct labels as strings, sorted as numbers
    where all of them are whole numbers, else as strings.

    Args:
        values: One label a node: strings, integers, bools or whole floats.

    Returns:
        Class ids (long ``[N]``), class names, and notes on what was decided.

    Raises:
        InputError: If a label is a number that is not whole.
    """
    texts = [_label_text(value, position) for position, value in enumerate(values)]
    distinct = {text for text in texts if text is not None}
    notes = []
    if "-1" in distinct and all(_is_whole(text) for text in distinct):
        if distinct == {"-1", "1"}:
            notes.append("the labels are -1 and 1: both are classes")
        else:
            distinct.remove("-1")
    numeric = bool(distinct) and all(_is_whole(text) for text in distinct)
    names = sorted(distinct, key=lambda text: (int(text), text)) if numeric else sorted(distinct)
    code = {name: index for index, name in enumerate(names)}
    y = torch.tensor([code.get(text, -1) if text is not None else -1 for text in texts]).long()
    unlabelled = int((y < 0).sum())
    if unlabelled:
        notes.append(f"{unlabelled} of {len(texts)} nodes have no label")
    return y, names, notes


def _is_whole(text: str) -> bool:
    digits = text[1:] if text.startswith("-") else text
    return digits.isascii() and digits.isdigit()


def _label_text(value: Any, position: int) -> str | None:
    if not isinstance(value, str) and pd.api.types.is_scalar(value) and pd.isna(value):
        return None
    if isinstance(value, (float, np.floating)):
        if not math.isfinite(value) or not float(value).is_integer():
            raise InputError(
                "label",
                f"{value!r} at row {position} is not a class",
                "Pass class labels: strings or whole numbers (bin a measured quantity first).",
            )
        return str(int(value))
    text = str(value)
    return None if text.strip().lower() in _MISSING_LABELS else text
