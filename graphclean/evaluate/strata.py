"""Detection scores by class, degree and local homophily: where a detector works and where not."""

from __future__ import annotations

from collections.abc import Sequence
from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd
import torch

from graphclean.denoise.match import class_codes
from graphclean.evaluate.metrics import detection_scores
from graphclean.evaluate.truth import judged_truth, true_labels
from graphclean.issues import LabelIssues
from graphclean.sparse import Propagator, local_homophily
from graphclean.types import InputError

STRATA = ("class", "degree", "homophily")
LABELS = ("given", "true")

_EDGES = {
    "degree": (0.0, 1.0, 2.0, 3.0, 5.0, 9.0, 17.0, 33.0, 65.0, 129.0),
    "homophily": (0.0, 0.25, 0.5, 0.75, 1.0),
}
_NO_NEIGHBOUR = "no labelled neighbour"


def by_stratum(
    issues: LabelIssues,
    data: Any,
    stratum: str = "class",
    *,
    bins: int | Sequence[float] | None = None,
    labels: str = "given",
) -> pd.DataFrame:
    """Score label issues against ``data.y_clean``, one stratum at a time.

    Args:
        issues: The label issues.
        data: The graph, with ``y_clean`` ``[N]``, integers, -1 = unknown; for ``"homophily"`` with
            ``edge_index``, too. ``y`` is read for the given labels of nodes that were not judged.
        stratum: ``"class"`` (of the given label), ``"degree"`` or ``"homophily"``: share of a
            node's labelled neighbours that carry its own label.
        bins: For degree and homophily: ascending edges ``b_0 < b_1 < ...`` of the bins
            ``[b_k, b_k+1)``, the last one open above, or a number of bins of about equal size
            (fewer where quantiles coincide). None: degrees that double, quarters of homophily.
        labels: For ``"homophily"``: on the ``"given"`` labels, as a user sees it, or on the
            ``"true"`` ones.

    Returns:
        One row a bin that holds a judged node, ascending: ``stratum``, ``bin`` (its name),
        ``expected_wrong`` (sum of the mislabel probabilities) and all of `detection_scores`:
        ``nodes``, ``wrong``, ``flagged``, ``precision``, ``recall``, ``f1``, ``ap``, ... Nodes of
        unknown homophily are the last row.

    Raises:
        InputError: The graph has no ``y_clean``, the issues are not of this graph, or ``stratum``,
            ``bins`` or ``labels`` does not fit.
    """
    for argument, value, known in (("stratum", stratum, STRATA), ("labels", labels, LABELS)):
        if value not in known:
            raise InputError(argument, value, f"Choose one of: {', '.join(known)}.")
    if labels != "given" and stratum != "homophily":
        raise InputError("labels", labels, f"It is for stratum='homophily', not {stratum!r}.")
    truth = judged_truth(issues, data)
    if stratum == "class":
        if bins is not None:
            raise InputError("bins", bins, "Leave it out: every class is a bin.")
        code, names = truth.given, list(issues.class_names)
    elif stratum == "degree":
        code, names = _binned(truth.frame["degree"].to_numpy(float), "degree", bins)
    else:
        code, names = _binned(_homophily(issues, data, labels)[truth.node], "homophily", bins)
    score = truth.frame["mislabel_probability"].to_numpy()
    flagged = truth.frame["is_label_issue"].to_numpy()
    rows = []
    for number, name in enumerate(names):
        held = code == number
        if held.any():
            expected = float(score[held].sum())
            scores = detection_scores(truth.wrong[held], score[held], flagged[held])
            rows.append({"stratum": stratum, "bin": name, "expected_wrong": expected, **scores})
    return pd.DataFrame(rows)


def _homophily(issues: LabelIssues, data: Any, labels: str) -> np.ndarray:
    if labels == "true":
        y = true_labels(data)
    else:
        # The issues hold the labels that were judged; data.y may have been cleaned since.
        y = torch.as_tensor(data.y).detach().cpu().long().view(-1).numpy().copy()
        y[issues.frame["node"].to_numpy()] = class_codes(issues, "given_label")
    counted = Propagator.from_data(data, norm="none", dtype=torch.float64)
    share: np.ndarray = local_homophily(counted, torch.from_numpy(y)).numpy()
    return share


def _binned(
    values: np.ndarray, stratum: str, bins: int | Sequence[float] | None
) -> tuple[np.ndarray, list[str]]:
    """Return the bin of every value, the number of bins where it is NaN, and the bins' names."""
    known = ~np.isnan(values)
    edges = _edges(values[known], stratum, bins)
    code = np.searchsorted(edges, values, side="right") - 1
    if (code[known] < 0).any():
        raise InputError(
            "bins",
            f"a {stratum} of {values[known].min():g} is below the first edge {edges[0]:g}",
            "Start with the least value there is.",
        )
    span = _degrees if stratum == "degree" else _shares
    names = [span(low, high) for low, high in zip(edges, [*edges[1:], None], strict=True)]
    return np.where(known, code, len(edges)), [*names, _NO_NEIGHBOUR]


def _edges(values: np.ndarray, stratum: str, bins: int | Sequence[float] | None) -> np.ndarray:
    if bins is None:
        return np.asarray(_EDGES[stratum])
    if isinstance(bins, Integral) and not isinstance(bins, bool):
        if bins < 1:
            raise InputError("bins", bins, "Pass at least one bin.")
        if not len(values):
            return np.zeros(1)
        shares = np.arange(int(bins)) / int(bins)
        return np.unique(np.quantile(values, shares, method="higher"))
    fix = "Pass ascending edges, a number of bins, or None."
    try:
        edges = np.asarray(bins, dtype=float)
    except (TypeError, ValueError) as error:
        raise InputError("bins", repr(bins), fix) from error
    if edges.ndim != 1 or not len(edges) or not (np.diff(edges) > 0).all():
        raise InputError("bins", repr(bins), fix)
    return edges


def _degrees(low: float, high: float | None) -> str:
    if high is None:
        return f"{low:g} or more"
    last = np.ceil(high) - 1
    return f"{low:g}" if last <= low else f"{low:g} to {last:g}"


def _shares(low: float, high: float | None) -> str:
    if high is None:
        return "1" if low >= 1 else f"{low:g} or more"
    return f"{low:g} to below {high:g}"
