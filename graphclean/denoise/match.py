"""Whether label issues and a graph belong together."""

from __future__ import annotations

from itertools import zip_longest
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphclean.data.check_labels import checked_labels
from graphclean.issues import LabelIssues
from graphclean.types import InputError

_FIND_AGAIN = "Run find_label_issues on this graph, or pass the graph that they were found on."


def class_codes(issues: LabelIssues, column: str) -> np.ndarray:
    """Return a label column of the frame as class numbers, int64 ``[rows]``."""
    code = {name: number for number, name in enumerate(issues.class_names)}
    return issues.frame[column].map(code).to_numpy(dtype=np.int64)


def match_nodes(issues: LabelIssues, data: Any, count: int) -> np.ndarray:
    """Return the row in the graph of every row of the issues, int64 ``[rows]``.

    Args:
        issues: The label issues.
        data: The graph: its ``class_names`` and ``node_ids``, where it has them.
        count: Number of nodes N.

    Raises:
        InputError: Not issues or not a graph; a node beyond N; other node ids or class names.
    """
    if not isinstance(issues, LabelIssues):
        raise InputError("issues", f"a {type(issues).__name__}", "Pass LabelIssues.")
    if not isinstance(data, Data):
        raise InputError("data", f"a {type(data).__name__}", "Pass a torch_geometric.data.Data.")
    names = getattr(data, "class_names", None)
    if names is None:
        names = [str(number) for number in range(len(issues.class_names))]
    for found, present in zip_longest(issues.class_names, names):
        if found != present:
            shown = f"found with class {found!r} where the graph has {present!r}"
            raise InputError("issues", shown, _FIND_AGAIN)
    frame = issues.frame
    node = frame["node"].to_numpy()
    if node.max(initial=-1) >= count:
        raise InputError("issues", f"node {node.max()} in a graph of {count} nodes", _FIND_AGAIN)
    ids = getattr(data, "node_ids", None)
    ids = range(count) if ids is None else list(ids)
    if len(ids) != count:
        raise InputError("node_ids", f"{len(ids)} entries", f"Give each of {count} nodes one.")
    for row, found in zip(node.tolist(), frame.index.tolist(), strict=True):
        if ids[row] != found:
            shown = f"row {row} was node {found!r}, in this graph it is {ids[row]!r}"
            raise InputError("issues", shown, _FIND_AGAIN)
    return node


def match_labels(issues: LabelIssues, data: Any) -> Tensor:
    """Return a checked copy of the graph's labels, long ``[N]``, that the issues were found on.

    Raises:
        InputError: The issues do not belong to the graph, or its labels have changed since.
    """
    given = getattr(data, "y", None)
    if given is None:
        raise InputError("data", "a graph without y", "Set data.y (long [N], -1 = unlabelled).")
    count = len(torch.as_tensor(given))
    node = match_nodes(issues, data, count)
    y, names = checked_labels(data, count, False, [])
    if len(names) > len(issues.class_names):
        shown = f"found with {len(issues.class_names)} classes, the graph has {len(names)}"
        raise InputError("issues", shown, _FIND_AGAIN)
    judged = class_codes(issues, "given_label")
    current = y.cpu().numpy()[node]
    changed = np.flatnonzero(current != judged)
    if len(changed):
        row = int(changed[0])
        now = issues.class_names[current[row]] if current[row] >= 0 else None
        shown = (
            f"issues were found on other labels: node {issues.frame.index[row]!r} was "
            f"{issues.class_names[judged[row]]!r} and is {now!r} in data.y "
            f"({len(changed)} nodes differ)"
        )
        raise InputError("issues", shown, _FIND_AGAIN)
    return y
