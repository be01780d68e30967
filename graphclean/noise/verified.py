"""T counted on labels that somebody verified."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from graphclean.data import num_classes
from graphclean.noise.estimator import Estimate, Observed, TransitionEstimator, row_normalised
from graphclean.types import InputError


class VerifiedCounts(TransitionEstimator):
    r"""T counted on nodes whose true label somebody verified, with standard errors.

    .. math::
        \hat T_{ij} = N_{ij} / n_i, \qquad
        \mathrm{se}(\hat T_{ij}) = \sqrt{\hat T_{ij} (1 - \hat T_{ij}) / n_i}

    with :math:`N_{ij}` verified nodes of true class i and given class j, :math:`n_i` in row i. The
    nodes should be a random sample of the labelled ones. If they were drawn at different rates from
    the given classes (the same number of each, say), ``stratified`` weighs every node by (labelled
    nodes of its given class) / (verified ones), and :math:`n_i` is the effective number
    :math:`(\sum w)^2 / \sum w^2`. A true class without a verified node keeps its labels, with an
    unknown standard error. Paper: Hedderich et al., "Analysing the Noise Model Error for Realistic
    Noisy Label Data", https://arxiv.org/abs/2101.09763.

    Args:
        verified: True class ids ``[N]``, integers, -1 = not verified.
        stratified: Whether the verified nodes were drawn per given class.

    Raises:
        InputError: On fit: ``verified`` does not fit the graph, or holds no labelled node.
    """

    name: ClassVar[str] = "verified"

    def __init__(self, verified: Any = None, *, stratified: bool = False) -> None:
        self.verified = verified
        self.stratified = stratified

    def _classes(self, graph: Any) -> Tensor:
        true = self._true(graph)
        classes: Tensor = torch.unique(torch.cat([graph.y[graph.y >= 0], true[true >= 0]]))
        return classes

    def _true(self, graph: Any) -> Tensor:
        """Return the verified labels ``[N]``, -1 also where the node has no given label."""
        if self.verified is None:
            raise InputError("verified", "missing", "Pass true class ids [N], -1 = unknown.")
        try:
            true = torch.as_tensor(self.verified).detach().cpu()
        except (TypeError, ValueError, RuntimeError) as error:
            raise InputError("verified", type(self.verified).__name__, "Pass class ids.") from error
        size, total = len(graph.y), num_classes(graph)
        if tuple(true.shape) != (size,) or true.is_floating_point() or true.dtype == torch.bool:
            shown = f"{true.dtype} of shape {list(true.shape)}"
            raise InputError("verified", shown, f"Pass integer class ids [{size}], -1 = unknown.")
        true = true.long()
        if int(true.min()) < -1 or int(true.max()) >= total:
            wrong = int(true.min()) if int(true.min()) < -1 else int(true.max())
            raise InputError("verified", wrong, f"Use classes 0..{total - 1}, -1 = unknown.")
        true = true.masked_fill(graph.y < 0, -1)
        if not bool((true >= 0).any()):
            raise InputError("verified", "no labelled node", "Verify some of the given labels.")
        return true

    def _estimate(self, observed: Observed) -> Estimate:
        classes = len(observed.classes)
        true = self._true(observed.graph)
        known = true >= 0
        rows = torch.searchsorted(observed.classes, true[known]).numpy()
        columns = observed.y[known].numpy()
        weight = np.ones(len(rows))
        if self.stratified:
            labels = observed.y[observed.y >= 0].numpy()
            drawn = np.bincount(columns, minlength=classes)
            weight = (np.bincount(labels, minlength=classes) / np.maximum(drawn, 1))[columns]
        counts = np.zeros((classes, classes))
        np.add.at(counts, (rows, columns), weight)
        squares = np.bincount(rows, weights=weight**2, minlength=classes)
        transition, mass = row_normalised(counts), counts.sum(axis=1)
        with np.errstate(invalid="ignore", divide="ignore"):
            effective = mass**2 / squares
            error = np.sqrt(transition * (1.0 - transition) / effective[:, None])
        return Estimate(transition, mass, error)
