"""Multi-label confident learning: nodes that carry any number of tags."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Sequence
from numbers import Real
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphclean.data import check
from graphclean.data.ids import id_index
from graphclean.detect.confident_learning import FILTERS
from graphclean.detect.one_vs_rest import out_of_fold_tags
from graphclean.issues.multilabel_issues import MultiLabelIssues
from graphclean.nn.params import check_params
from graphclean.stages import stage
from graphclean.types import InputError, Seed


def find_multilabel_issues(
    labels: Any,
    pred_probs: Any = None,
    *,
    data: Any = None,
    tag_names: Sequence[str] | None = None,
    filter_by: str = "prune_by_noise_rate",
    alpha: float = 0.8,
    hops: int = 2,
    dimensions: int = 128,
    strength: float = 0.01,
    n_folds: int = 5,
    random_state: Seed = 0,
) -> MultiLabelIssues:
    r"""Find wrong tags of nodes that carry any number of them (BlogCatalog, PPI).

    Confident learning per tag (cleanlab's binary filters) tells which tags look wrong. With the
    self-confidence of tag k, :math:`s_{ik} = \hat p_{ik}` if it is on and
    :math:`1 - \hat p_{ik}` if it is off, the quality of a node is the last value of an exponential
    moving average over its tags in descending order,

    .. math::
        e_1 = s_{i(1)}, \qquad e_t = \alpha s_{i(t)} + (1 - \alpha) e_{t-1}, \qquad
        q_i = e_L, \qquad s_{i(1)} \ge \dots \ge s_{i(L)}

    a soft minimum: Thyagarajan et al. 2022 (https://arxiv.org/abs/2211.13895). Without
    ``pred_probs``, probabilities come from the graph: out of fold, one logistic regression per tag
    on the features alone and ``hops`` hops around (``out_of_fold_tags``); a node's own tags do not
    reach its own prediction.

    Args:
        labels: 0 or 1 ``[N, L]``: tensor, array, scipy matrix or DataFrame (whose columns name the
            tags and, without ``data``, whose index the nodes). A row of -1 is a node without known
            tags: it is not judged.
        pred_probs: Your own out-of-sample probability of every tag being on ``[N, L]``.
        data: The graph: ``edge_index``, and ``x`` where it has features; needed without
            ``pred_probs``, else for its ``node_ids`` only. Its ``y`` is not read.
        tag_names: Names of the tags; by default the columns of ``labels``, or their numbers.
        filter_by: One of cleanlab's seven filters, applied to every tag. A node is flagged where
            any of its tags is (cleanlab's own call does otherwise for the two ``low_`` filters).
        alpha: Weight of the next lower score in the moving average, in (0, 1].
        hops: Hops of the propagated features, >= 1.
        dimensions: Wider features are reduced to as many singular vectors, >= 1.
        strength: Inverse strength of the ridge, as scikit-learn's ``C``, on standardised features.
            Far below 1, as wrong tags are fitted otherwise: of one-hot Cora and digits with 5 %
            flips, 1, .1, .01 and .001 rank tags with an AP of .79, .83, .88, .85 and .96, .98, .99,
            .95.
        n_folds: Folds >= 2; as many as labelled nodes at most.
        random_state: Seed of the folds.

    Returns:
        ``MultiLabelIssues``: ``.frame`` per node, ``.tags()`` per node and tag.

    Raises:
        InputError: Labels that are not 0 or 1, probabilities outside [0, 1], shapes that do not
            fit, neither probabilities nor a graph, or a parameter out of range.

    Example:
        >>> import numpy as np
        >>> tags = np.array([[1, 0], [1, 0], [0, 1], [0, 1]])
        >>> probs = np.array([[0.9, 0.1], [0.8, 0.1], [0.2, 0.9], [0.3, 0.7]])
        >>> find_multilabel_issues(tags, probs).frame["label_quality"].round(2).tolist()
        [0.9, 0.82, 0.82, 0.7]
    """
    _check_options(filter_by, {"alpha": alpha, "hops": hops, "svd": dimensions}, strength)
    names, given = _tags(labels, tag_names)
    known = _labelled(given)
    count, notes = int(known.sum()), []
    if pred_probs is not None:
        probs = _probabilities(pred_probs, given.shape, known)
    else:
        graph = _graph(data, len(given))
        notes += graph.check_notes
        if count < 2:
            raise InputError("labels", f"{count} node(s) with tags", "Give tags to two or more.")
        with stage("Out-of-fold tags"):
            predicted = out_of_fold_tags(
                graph,
                torch.from_numpy(given.astype(np.float64)),
                torch.from_numpy(known),
                hops=hops,
                dimensions=dimensions,
                strength=float(strength),
                n_folds=n_folds,
                random_state=random_state,
            )
        probs = predicted.numpy()
    index = _node_index(labels, data, len(given))
    tags, judged = given[known] == 1, probs[known]
    constant = [n for n, on in zip(names, tags.T, strict=True) if on.all() or not on.any()]
    if constant:
        notes.append(f"{len(constant)} tag(s) that all nodes or none carry were not judged")
    return MultiLabelIssues(
        node_ids=index[known],
        node=np.flatnonzero(known),
        tag_names=names,
        given=tags,
        pred_probs=judged,
        tag_issue=tag_issues(tags, judged, filter_by),
        label_quality=pooled_quality(np.where(tags, judged, 1.0 - judged), float(alpha)),
        notes=tuple(notes),
    )


def pooled_quality(scores: np.ndarray, alpha: float = 0.8) -> np.ndarray:
    """Return the moving average over the scores ``[n, L]``, largest first: its last value ``[n]``.

    Equal to cleanlab's ``exponential_moving_average``; scores in [0, 1] stay there.
    """
    ordered = -np.sort(-scores, axis=1)
    length = ordered.shape[1]
    weight = alpha * (1.0 - alpha) ** np.arange(length - 1, -1, -1.0)
    weight[0] /= alpha
    return np.asarray(np.clip(ordered @ weight, 0.0, 1.0))


def tag_issues(tags: np.ndarray, probs: np.ndarray, filter_by: str) -> np.ndarray:
    """Return which tags look wrong ``[n, L]``, bool: binary confident learning for each of them.

    A tag that all nodes or none carry has no second class to learn from: nothing is flagged.
    """
    from cleanlab.filter import find_label_issues

    found = np.zeros(tags.shape, dtype=bool)
    for column in range(tags.shape[1]):
        on = tags[:, column]
        if on.all() or not on.any():
            continue
        both = np.column_stack([1.0 - probs[:, column], probs[:, column]])
        with warnings.catch_warnings():
            # A tag of one node cannot be pruned; it stays as it is.
            warnings.filterwarnings("ignore", message="May not flag all label issues in class")
            found[:, column] = find_label_issues(
                on.astype(int), both, filter_by=filter_by, n_jobs=1
            )
    return found


def _check_options(filter_by: str, ranged: dict[str, Any], strength: Any) -> None:
    if filter_by not in FILTERS:
        raise InputError("filter_by", filter_by, f"Choose one of: {', '.join(FILTERS)}.")
    if ranged["svd"] is None:
        raise InputError("dimensions", None, "Pass an integer >= 1.")
    try:
        check_params(ranged)
    except InputError as error:
        name = {"svd": "dimensions"}.get(error.argument, error.argument)
        raise InputError(name, error.value, error.fix) from None
    real = isinstance(strength, Real) and not isinstance(strength, bool)
    if not real or not 0 < float(strength) < float("inf"):
        raise InputError("strength", strength, "Pass a number > 0.")


def _tags(labels: Any, tag_names: Sequence[str] | None) -> tuple[tuple[str, ...], np.ndarray]:
    """Return the names of the tags and their matrix ``[N, L]``, int8, -1 = unknown."""
    if tag_names is None and isinstance(labels, pd.DataFrame):
        tag_names = [str(name) for name in labels.columns]
    matrix = _matrix("labels", labels)
    if matrix.ndim != 2 or 0 in matrix.shape:
        raise InputError("labels", f"shape {matrix.shape}", "Pass [nodes, tags] of 0 and 1.")
    odd = ~np.isin(matrix, (-1, 0, 1))
    if odd.any():
        row, column = np.argwhere(odd)[0]
        raise InputError(
            "labels",
            f"{matrix[row, column]} at node {row}, tag {column}",
            "Use 1 for on and 0 for off (a single label per node goes to find_label_issues).",
        )
    names = tuple(map(str, range(matrix.shape[1])) if tag_names is None else tag_names)
    if len(names) != matrix.shape[1] or len(set(names)) < len(names):
        raise InputError(
            "tag_names", f"{len(names)} names", f"Pass {matrix.shape[1]} different ones."
        )
    return tuple(map(str, names)), matrix.astype(np.int8)


def _labelled(given: np.ndarray) -> np.ndarray:
    """Return the nodes whose tags are known ``[N]``, bool."""
    unknown = given == -1
    partly = unknown.any(axis=1) & ~unknown.all(axis=1)
    if partly.any():
        raise InputError(
            "labels",
            f"-1 for some tags of node {np.flatnonzero(partly)[0]} only",
            "Mark all tags of a node as unknown, or none.",
        )
    if unknown.all():
        raise InputError("labels", "no node with known tags", "Give tags to at least one node.")
    return np.asarray(~unknown.any(axis=1))


def _probabilities(pred_probs: Any, shape: tuple[int, ...], known: np.ndarray) -> np.ndarray:
    probs = _matrix("pred_probs", pred_probs).astype(np.float64)
    if probs.shape != shape:
        raise InputError("pred_probs", f"shape {probs.shape}", f"Pass one column a tag: {shape}.")
    rows = probs[known]
    if not ((rows >= 0) & (rows <= 1)).all():
        wrong = rows[~((rows >= 0) & (rows <= 1))][0]
        raise InputError("pred_probs", f"{wrong}", "Pass the probability of every tag being on.")
    return probs


def _graph(data: Any, nodes: int) -> Any:
    """Return the graph checked without its labels, which ``check`` wants one a node."""
    if data is None:
        raise InputError("data", "missing", "Pass the graph, or pred_probs of your own.")
    if not isinstance(data, Data):
        return check(data)
    stated = data.num_nodes if "x" in data or "num_nodes" in data.to_dict() else nodes
    if stated != nodes:
        raise InputError("labels", f"{nodes} rows", f"Pass one for each of the {stated} nodes.")
    bare = copy.copy(data)
    for key in {"y_clean", "class_names"} & set(bare.keys()):
        del bare[key]
    bare.y = torch.zeros(nodes, dtype=torch.long)
    return check(bare, require_labels=False)


def _node_index(labels: Any, data: Any, nodes: int) -> pd.Index:
    """Return the ids of the graph, else of the table of labels, else row numbers."""
    ids: Any = getattr(data, "node_ids", None)
    if ids is None:
        ids = labels.index if isinstance(labels, pd.DataFrame) else range(nodes)
    if len(ids) != nodes:
        raise InputError("labels", f"{nodes} rows", f"data.node_ids has {len(ids)} entries.")
    return id_index(ids)


def _matrix(name: str, given: Any) -> np.ndarray:
    """Return numbers as a dense array, whatever holds them."""
    if isinstance(given, Tensor):
        given = given.detach().cpu().to_dense().numpy()
    elif hasattr(given, "toarray"):
        given = given.toarray()
    try:
        matrix = np.array(given)
        return matrix if matrix.dtype.kind in "biuf" else matrix.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(name, type(given).__name__, "Pass numbers [nodes, tags].") from error
