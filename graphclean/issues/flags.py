"""Which nodes to flag: above a threshold, at a false-discovery target, or for a review budget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
from typing import Any

import numpy as np
import pandas as pd

from graphclean.types import InputError

Policy = dict[str, float | int]
"""One rule and its number: ``{"threshold": t}``, ``{"fdr": share}`` or ``{"budget": nodes}``."""

_ROUNDING = 1e-12


def flag_policy(
    *, threshold: Any = None, fdr: Any = None, budget: Any = None, calibrated: bool
) -> Policy:
    """Return the one rule that was asked for, checked.

    Args:
        threshold: Mislabel probability in [0, 1] above which a node is flagged.
        fdr: Largest expected share of right labels among the flagged, in (0, 1).
        budget: Number of nodes >= 1, or a share of the judged nodes in (0, 1).
        calibrated: Whether the mislabel probabilities are calibrated, as ``fdr`` needs.

    Raises:
        InputError: Not exactly one rule, a number out of range, or ``fdr`` for a detector that is
            not calibrated.
    """
    asked = {"threshold": threshold, "fdr": fdr, "budget": budget}
    given = {name: value for name, value in asked.items() if value is not None}
    if len(given) != 1:
        what = ", ".join(f"{name}={value!r}" for name, value in given.items()) or "no rule"
        raise InputError("threshold, fdr, budget", what, "Pass exactly one of the three.")
    name, value = next(iter(given.items()))
    number = float(value) if isinstance(value, Real) and not isinstance(value, bool) else np.nan
    if name == "threshold" and not 0 <= number <= 1:
        raise InputError(name, value, "Pass a probability in [0, 1].")
    if name == "fdr" and not 0 < number < 1:
        raise InputError(name, value, "Pass a share between 0 and 1, such as 0.1.")
    if name == "fdr" and not calibrated:
        raise InputError(
            name,
            f"{number:g} of a detector whose probabilities are not calibrated",
            "Use a calibrated detector, such as graphcleaner, or pass a budget or a threshold.",
        )
    if name == "budget":
        whole = isinstance(value, Integral)
        if not (number >= 1 if whole else 0 < number < 1):
            raise InputError(name, value, "Pass a number of nodes >= 1, or a share in (0, 1).")
        return {name: int(value) if whole else number}
    return {name: number}


def described(policy: Mapping[str, float | int]) -> str:
    """Return a policy as a phrase for people."""
    name, value = next(iter(policy.items()))
    if name == "threshold":
        return f"mislabel probability above {value:g}"
    if name == "fdr":
        return f"false-discovery target {value:.3g}"
    nodes = f"{value:,} nodes" if isinstance(value, int) else f"{value:.3g} of the nodes"
    return f"review budget {nodes}"


def flags(frame: pd.DataFrame, policy: Mapping[str, float | int]) -> np.ndarray:
    """Return which rows of a checked issue frame a policy flags, bool ``[n]``.

    Nodes with ``abstained`` True, where the frame has that column, are never flagged by a
    threshold or a false-discovery target, and fill a review budget last.
    """
    wrong = frame["mislabel_probability"].to_numpy()
    abstained = np.zeros(len(frame), dtype=bool)
    if "abstained" in frame.columns:
        abstained = frame["abstained"].to_numpy(dtype=bool)
    name, value = next(iter(policy.items()))
    if name == "threshold":
        return np.asarray((wrong > value) & ~abstained)
    flagged = np.zeros(len(frame), dtype=bool)
    if name == "fdr":
        flagged[~abstained] = within_fdr(wrong[~abstained], float(value))
        return flagged
    count = value if isinstance(value, int) else int(value * len(frame) + _ROUNDING * len(frame))
    order = np.lexsort((frame["node"], frame["label_quality"], -wrong, abstained))
    flagged[order[:count]] = True
    return flagged


def within_fdr(wrong: np.ndarray, fdr: float) -> np.ndarray:
    r"""Return the largest set of worst nodes with an expected share of right labels within a bound.

    In order of decreasing mislabel probability p, the set F is as large as

    .. math::
        \frac{1}{|F|} \sum_{i \in F} (1 - p_i) \le \mathrm{fdr}

    allows: the Bayesian false-discovery rate (Newton et al. 2004,
    https://doi.org/10.1093/biostatistics/5.2.155). The mean only grows along the order, so
    the set is unique but for ties, of which all or none are in. Its rate holds as far as p is
    calibrated.

    Args:
        wrong: p ``[n]``, float64 in [0, 1].
        fdr: Bound in (0, 1).

    Returns:
        Bool ``[n]``.
    """
    order = np.argsort(-wrong, kind="stable")
    ordered = wrong[order]
    share = np.cumsum(1.0 - ordered) / np.arange(1, len(wrong) + 1)
    last_of_tie = np.append(ordered[1:] != ordered[:-1], True)[: len(wrong)]
    ends = np.flatnonzero(last_of_tie & (share <= fdr + _ROUNDING))
    flagged = np.zeros(len(wrong), dtype=bool)
    flagged[order[: ends.max(initial=-1) + 1]] = True
    return flagged


def reflagged(frame: pd.DataFrame, flagged: np.ndarray, class_names: Sequence[str]) -> pd.DataFrame:
    """Return the frame with other flags and with suggestions that agree with them.

    A newly flagged node is suggested its most probable class other than the given one
    (``alternative_label``); a node that is no longer flagged its most probable class of all. The
    other rows stay as they are. A frame without the alternatives keeps its suggestions.

    Raises:
        InputError: A newly flagged node is suggested its given label, and the frame does not hold
            the alternative: it was saved by an older version.
    """
    result = frame.assign(is_label_issue=flagged)
    given = frame["given_label"].to_numpy()
    new = flagged & ~frame["is_label_issue"].to_numpy()
    if "alternative_label" not in frame.columns:
        lost = np.flatnonzero(new & (frame["suggested_label"].to_numpy() == given))
        if len(lost):
            raise InputError(
                "frame",
                f"no column 'alternative_label' to tell what node {frame.index[lost[0]]!r}, "
                "which is to be flagged, should be instead",
                "Run the detector again: these issues were saved by an older version.",
            )
        return result
    other, ours = frame["alternative_confidence"].to_numpy(), frame["given_confidence"].to_numpy()
    code = {name: number for number, name in enumerate(class_names)}
    number = [frame[name].map(code).to_numpy() for name in ("given_label", "alternative_label")]
    keep = ~flagged & ((ours > other) | ((ours == other) & (number[0] < number[1])))
    changed = flagged != frame["is_label_issue"].to_numpy()
    for name, theirs, own in (
        ("suggested_label", frame["alternative_label"].to_numpy(), given),
        ("suggestion_confidence", other, ours),
    ):
        result[name] = np.where(changed, np.where(keep, own, theirs), frame[name].to_numpy())
    return result
