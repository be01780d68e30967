"""The part of `check` that looks at labels and class names."""

from __future__ import annotations

import torch
from torch_geometric.data import Data

from graphclean.types import InputError

_SPARE_CLASSES = 1000
"""Label ids may exceed the number of nodes only up to this: beyond, they are somebody's codes."""


def checked_labels(
    data: Data, nodes: int, require_labels: bool, notes: list[str]
) -> tuple[torch.Tensor, list[str]]:
    """Return long labels ``[N]`` (-1 = unlabelled) and the class names."""
    y = _labels(data, nodes)
    names = _names(data, y, nodes)
    if len(y) and int(y.max()) >= len(names):
        node = int((y >= len(names)).nonzero()[0])
        raise InputError(
            "y",
            f"label {int(y[node])} at node {node}",
            f"class_names has {len(names)} names: use labels 0 to {len(names) - 1}, "
            "or -1 for unlabelled.",
        )
    counts = torch.bincount(y[y >= 0], minlength=len(names)).tolist()
    present = [name for name, count in zip(names, counts, strict=True) if count]
    if require_labels and not present:
        raise InputError("y", "no labelled node", "Label at least two classes (-1 = unlabelled).")
    if require_labels and len(present) == 1:
        raise InputError(
            "y", f"a single class ({present[0]!r})", "Pass labels of at least two classes."
        )
    for name, count in zip(names, counts, strict=True):
        if count == 1:
            notes.append(f"class {name!r} has one labelled node")
        elif count == 0:
            notes.append(f"class {name!r} has no labelled node")
    unlabelled = nodes - sum(counts)
    if unlabelled:
        notes.append(f"{unlabelled} of {nodes} nodes have no label")
    return y, names


def _labels(data: Data, nodes: int) -> torch.Tensor:
    given = getattr(data, "y", None)
    if given is None:
        return torch.full((nodes,), -1)
    try:
        y = torch.as_tensor(given).detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(
            "y", f"a {type(given).__name__}", "Pass a tensor of class ids, -1 = unlabelled."
        ) from error
    if y.ndim == 2 and y.shape[1] == 1:
        y = y.view(-1)
    if y.ndim == 2:
        raise InputError(
            "y",
            f"shape {list(y.shape)}",
            "One label a node is needed: of one-hot rows pass y.argmax(1); "
            "multi-label graphs are not supported.",
        )
    if y.shape != (nodes,):
        raise InputError(
            "y", f"shape {list(y.shape)}", f"Pass one label for each of {nodes} nodes."
        )
    if y.is_floating_point():
        y = y.nan_to_num(nan=-1.0, posinf=torch.inf, neginf=-torch.inf)
        broken = (~torch.isfinite(y) | (y != y.floor())).nonzero().view(-1)
        if len(broken):
            node = int(broken[0])
            raise InputError(
                "y",
                f"{y[node].item():g} at node {node}",
                "Labels are class ids: pass whole numbers (bin a measured quantity first).",
            )
    y = y.to(torch.long, copy=True)
    below = (y < -1).nonzero().view(-1)
    if len(below):
        node = int(below[0])
        raise InputError("y", f"{int(y[node])} at node {node}", "Mark unlabelled nodes with -1.")
    return y


def _names(data: Data, y: torch.Tensor, nodes: int) -> list[str]:
    given = getattr(data, "class_names", None)
    if given is None:
        top = int(y.max()) + 1
        if top > max(nodes, _SPARE_CLASSES):
            raise InputError(
                "y", f"label {top - 1} in a graph of {nodes} nodes", "Relabel classes from 0 up."
            )
        return [str(index) for index in range(top)]
    if isinstance(given, str) or not all(isinstance(name, str) for name in given):
        raise InputError("class_names", given, "Pass a list of strings, one for each class.")
    names = list(given)
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise InputError("class_names", f"{twice[0]!r} appears twice", "Make the names unique.")
    return names
