"""Flow diffusion over edges that trust agreeing labels more."""

from __future__ import annotations

import math
from collections.abc import Callable
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp
import torch
from torch import Tensor

from graphclean.data import num_classes
from graphclean.detect.masked import MaskedVoteDetector
from graphclean.nn.params import estimator
from graphclean.sparse import Adjacency, Propagation, Propagator, one_hot_labels
from graphclean.types import InputError

_TOLERANCE = 1e-4
"""Largest change of a potential in the last sweep, relative to the largest source."""


@estimator
class FlowDiffusion(MaskedVoteDetector):
    r"""Share of the given class in the mass that flows to a node from the labels of every class.

    On the edges :math:`w_{ij} = 1` where the given labels of i and j agree or one is hidden, and
    :math:`\epsilon` where they differ, one diffusion per class c:

    .. math::
        x^{(c)} = \arg\min_{x \ge 0} \tfrac 1 2 x^\top (L_w + \rho D_w) x
        + x^\top (\tau - \Delta^{(c)}), \qquad
        q_i = \frac{x^{(\tilde y_i)}_i}{\sum_c x^{(c)}_i}

    with sink capacity :math:`\tau_i = d^w_i`, the weighted degree, and source mass
    :math:`\Delta^{(c)}_i = \delta\, d^w_i` on the labelled nodes of class c in the other folds: a
    label that its neighbours contradict brings little mass and passes little on. A node is flagged
    where more mass of another class arrives; a node that none reaches is never flagged.

    After label-based flow diffusion (Back de Luca, Fountoulakis & Yang, *Local Graph Clustering
    with Noisy Labels*, ICLR 2024, arXiv 2310.08031), which finds one cluster from a seed node and
    binary labels. Ours: a diffusion per class from all its labelled nodes; masses in proportion to
    the weighted degree; the leak :math:`\rho`, which keeps the problem bounded where the sources
    exceed all sinks of a component (0 in the paper); the settings, which were measured. Assumes
    homophily.

    Args:
        epsilon: Weight of an edge between different labels, in [0, 1].
        source: Source mass :math:`\delta` > 1 of a labelled node in units of its sink capacity; the
            larger, the wider the flow.
        leak: :math:`\rho` > 0; the smaller, the wider the flow and the more sweeps it takes.
        sweeps: Largest number of sweeps; fewer where no potential changes.
        n_folds: Folds; with K folds a node sees (K - 1) / K of the labels around it.
        random_state: Seed of the folds.
        progress: Whether to show a progress bar over the folds.
    """

    name: ClassVar[str] = "flow_diffusion"

    epsilon: float = 0.3
    source: float = 50.0
    leak: float = 0.2
    sweeps: int = 100

    def _weights(self, graph: Any, y: Tensor, seed: int) -> Tensor:
        del seed
        self._check()
        weighted = label_weighted(Adjacency.of(graph), y, self.epsilon)
        degree = torch.from_numpy(np.asarray(weighted.matrix.sum(axis=1))).reshape(-1)
        labels = one_hot_labels(y, num_classes(graph), torch.float64)
        return diffuse_flow(
            weighted,
            self.source * degree.unsqueeze(1) * labels,
            degree,
            leak=self.leak,
            sweeps=self.sweeps,
            tol=_TOLERANCE * self.source,
        ).values

    def _check(self) -> None:
        rules: tuple[tuple[str, Callable[[Any], bool], str], ...] = (
            ("epsilon", lambda v: 0 <= v <= 1, "Pass a number in [0, 1]."),
            ("source", lambda v: 1 < v < math.inf, "Pass a number > 1."),
            ("leak", lambda v: 0 < v < math.inf, "Pass a number > 0."),
            ("sweeps", lambda v: isinstance(v, Integral) and int(v) >= 1, "Pass an integer >= 1."),
        )
        for name, accepted, fix in rules:
            value = getattr(self, name)
            if not isinstance(value, Real) or isinstance(value, bool) or not accepted(value):
                raise InputError(name, value, fix)


def label_weighted(adjacency: Adjacency, y: Tensor, epsilon: float) -> Adjacency:
    """Return a graph whose edges between different labels weigh ``epsilon`` times as much.

    Args:
        adjacency: The edges.
        y: Labels ``[N]``, long; an edge of an unlabelled node (-1) keeps its weight.
        epsilon: In [0, 1]; 0 keeps the edges as entries of weight zero.
    """
    matrix, labels = adjacency.matrix, y.numpy()
    target = np.repeat(labels, np.diff(matrix.indptr))
    origin = labels[matrix.indices]
    differ = (target != origin) & (target >= 0) & (origin >= 0)
    values = np.where(differ, epsilon * matrix.data, matrix.data)
    scaled = sp.csr_array((values, matrix.indices, matrix.indptr), shape=matrix.shape)
    return Adjacency(scaled, weighted=True, is_symmetric=adjacency.is_symmetric)


def diffuse_flow(
    adjacency: Adjacency,
    source: Tensor,
    sink: Tensor,
    *,
    leak: float = 0.0,
    sweeps: int = 1000,
    tol: float = 1e-9,
) -> Propagation:
    r"""Solve 2-norm flow diffusion by pushing the excess of all nodes at once.

    .. math::
        \min_{x \ge 0} \tfrac 1 2 x^\top (L + \rho D) x + x^\top (\tau - \Delta), \qquad
        x \leftarrow \max\Big(0, \frac{A x + \Delta - \tau}{(1 + \rho)\, d}\Big)

    A node with more mass than its sink takes keeps what it takes and sends the rest to its
    neighbours in proportion to the edges; x counts what it has sent, per unit of weight. From x = 0
    the sweeps rise towards the solution and never pass it, so stopping early gives a flow that has
    not yet spread as far. All columns are solved at once, one sparse product per sweep.

    Without a leak there is a solution only if, in every connected component, the sources do not
    exceed the sinks. A node without edges keeps its mass: its x is 0.

    Args:
        adjacency: Symmetric A ``[N, N]``; d is its row sum.
        source: Mass :math:`\Delta` ``[N, C]`` >= 0, float64.
        sink: Capacity :math:`\tau` ``[N]`` > 0, float64.
        leak: :math:`\rho` >= 0: mass that a node loses with every unit that it sends.
        sweeps: Largest number of sweeps.
        tol: Stop once no entry rises by more than this in a sweep.

    Returns:
        The potentials x ``[N, C]``, float64.
    """
    operator = Propagator.from_adjacency(adjacency, norm="none", dtype=torch.float64)
    degree = torch.from_numpy(np.asarray(adjacency.matrix.sum(axis=1))).reshape(-1, 1)
    rate = torch.where(degree > 0, 1.0 / ((1.0 + leak) * degree.clamp_min(1e-12)), 0.0)
    excess = source - sink.unsqueeze(1)
    values = torch.zeros_like(excess)
    sweep, rise = 0, float("inf")
    while sweep < sweeps and rise > tol:
        sweep += 1
        moved = ((operator @ values + excess) * rate).clamp_min_(0.0)
        rise = float((moved - values).max())
        values = moved
    return Propagation(values, sweep, rise, rise <= tol)
