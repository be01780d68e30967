"""Whether the best model is still the best when the test labels are corrected."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import kendalltau

from graphclean.evaluate.arrays import label_array, mask_array
from graphclean.evaluate.metrics import label_accuracy
from graphclean.types import InputError


@dataclass(frozen=True, eq=False)
class RankStability:
    """How a ranking of models changes with the test labels.

    Attributes:
        table: One row a model, best on the corrected labels first: ``model``, ``accuracy_given``,
            ``accuracy_corrected``, and on the nodes whose label changed ``accuracy_changed``
            (agreement with the corrected label) and ``kept_wrong`` (agreement with the given one:
            wrong labels learned); ``rank_given``, ``rank_corrected``, ``rank_changed`` (1 = best,
            ties share their mean rank).
        nodes: Test nodes with both labels.
        changed: Those of them whose labels differ.
        kendall_tau: Kendall's tau-b between the accuracies on given and on corrected labels, in
            [-1, 1]; NaN where fewer than two models differ on either.
        kendall_tau_changed: The same between the given labels of all and the corrected labels of
            the changed nodes.
        swapped: Share of the pairs of models that are in strictly opposite order on given and on
            corrected labels, in [0, 1]; NaN for one model.
    """

    table: pd.DataFrame
    nodes: int
    changed: int
    kendall_tau: float
    kendall_tau_changed: float
    swapped: float

    def summary(self) -> dict[str, float | str]:
        """Return the numbers without the table, and the best model by either set of labels."""
        model = self.table["model"]
        return {
            "nodes": self.nodes,
            "changed": self.changed,
            "kendall_tau": self.kendall_tau,
            "kendall_tau_changed": self.kendall_tau_changed,
            "swapped": self.swapped,
            "best_given": str(model.iloc[int(self.table["rank_given"].argmin())]),
            "best_corrected": str(model.iloc[0]),
        }


def rank_stability(
    predictions: Mapping[str, Any], given: Any, corrected: Any, mask: Any = None
) -> RankStability:
    """Compare the ranking of models on given and on corrected test labels.

    Northcutt et al., *Pervasive Label Errors in Test Sets Destabilize Machine Learning Benchmarks*
    (NeurIPS 2021 Datasets and Benchmarks, arXiv 2103.14749): on the nodes whose label was
    corrected, models that look best on the given labels are often the worst.

    Args:
        predictions: Predicted classes ``[N]``, integers, by model.
        given: Given labels ``[N]``, integers, -1 = unlabelled.
        corrected: Corrected or true labels ``[N]``, integers, -1 = unknown.
        mask: Test nodes ``[N]``, bool; None: all.

    Raises:
        InputError: No model, or an array is of another length or type.
    """
    if not predictions:
        raise InputError("predictions", "no model", "Pass the predicted labels of each model.")
    before = label_array("given", given)
    after = label_array("corrected", corrected, len(before))
    test = np.ones(len(before), bool) if mask is None else mask_array("mask", mask, len(before))
    rows = test & (before >= 0) & (after >= 0)
    before, after = before[rows], after[rows]
    moved = before != after
    table = []
    for name, found in predictions.items():
        label = label_array(f"predictions[{name!r}]", found, len(rows))[rows]
        table.append(
            {
                "model": str(name),
                "accuracy_given": label_accuracy(label, before),
                "accuracy_corrected": label_accuracy(label, after),
                "accuracy_changed": label_accuracy(label[moved], after[moved]),
                "kept_wrong": label_accuracy(label[moved], before[moved]),
            }
        )
    frame = pd.DataFrame(table)
    for name in ("given", "corrected", "changed"):
        frame[f"rank_{name}"] = frame[f"accuracy_{name}"].rank(ascending=False)
    first, second, third = (
        frame[f"accuracy_{name}"].to_numpy() for name in ("given", "corrected", "changed")
    )
    return RankStability(
        table=frame.sort_values(["rank_corrected", "model"], ignore_index=True),
        nodes=len(before),
        changed=int(moved.sum()),
        kendall_tau=_tau(first, second),
        kendall_tau_changed=_tau(first, third),
        swapped=_swapped(first, second),
    )


def _tau(first: np.ndarray, second: np.ndarray) -> float:
    if np.isnan(first).any() or np.isnan(second).any() or np.ptp(first) * np.ptp(second) == 0:
        return float("nan")
    return float(kendalltau(first, second).statistic)


def _swapped(first: np.ndarray, second: np.ndarray) -> float:
    one, other = np.triu_indices(len(first), k=1)
    if not len(one) or np.isnan(first).any():
        return float("nan")
    return float(((first[one] - first[other]) * (second[one] - second[other]) < 0).mean())
