"""The judged nodes whose true label is known, lined up with what was said about them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch

from graphclean.denoise.match import class_codes, match_nodes
from graphclean.issues import LabelIssues
from graphclean.types import InputError


@dataclass(frozen=True, eq=False)
class JudgedTruth:
    """The M judged nodes with a known true label.

    Attributes:
        rows: Which rows of ``issues.frame`` they are, bool ``[rows]``.
        frame: These rows of ``issues.frame``.
        node: Row in the graph ``[M]``, int64.
        given: Given class ``[M]``, int64.
        clean: True class ``[M]``, int64, >= 0.
    """

    rows: np.ndarray
    frame: pd.DataFrame
    node: np.ndarray
    given: np.ndarray
    clean: np.ndarray

    @property
    def wrong(self) -> np.ndarray:
        """Whether each given label is wrong ``[M]``, bool."""
        differs: np.ndarray = self.given != self.clean
        return differs


def true_labels(data: Any) -> np.ndarray:
    """Return ``data.y_clean`` as int64 ``[N]``, -1 = unknown.

    Raises:
        InputError: The graph has none, or it is not one integer a node.
    """
    truth = getattr(data, "y_clean", None)
    if truth is None:
        raise InputError(
            "data", "a graph without y_clean", "Evaluation needs the true labels: see FlipLabels."
        )
    truth = torch.as_tensor(truth).detach().cpu()
    if truth.dim() != 1 or truth.is_floating_point() or truth.is_complex():
        shown = f"{truth.dtype} of shape {list(truth.shape)}"
        raise InputError("y_clean", shown, "Pass one integer label a node, -1 = unknown.")
    labels: np.ndarray = truth.long().numpy()
    return labels


def judged_truth(issues: LabelIssues, data: Any) -> JudgedTruth:
    """Line up label issues with the truth; ``data.y`` is not read.

    Raises:
        InputError: The graph has no ``y_clean``, or the issues are not of this graph.
    """
    truth = true_labels(data)
    node = match_nodes(issues, data, len(truth))
    rows = truth[node] >= 0
    return JudgedTruth(
        rows=rows,
        frame=issues.frame[rows],
        node=node[rows],
        given=class_codes(issues, "given_label")[rows],
        clean=truth[node][rows],
    )
