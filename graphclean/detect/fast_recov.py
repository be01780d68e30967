"""Repeated cross-validation: the folds that hold wrong labels come out worst."""

from __future__ import annotations

from numbers import Integral
from typing import Any, ClassVar, Literal

import numpy as np
from scipy.stats import binom, false_discovery_control
from torch import Tensor
from tqdm.auto import tqdm

from graphclean.data import labelled_mask, num_classes
from graphclean.detect.base import Detector, Verdict
from graphclean.detect.embedding import node_embedding
from graphclean.detect.linear_discriminant import FoldedDiscriminant
from graphclean.detect.probability import binomial_rate
from graphclean.detect.simple_scores import given_probability, lowest
from graphclean.nn.crossfit import OutOfFold
from graphclean.nn.params import check_params, estimator
from graphclean.noise.confident_joint import expected_issues
from graphclean.stages import stage
from graphclean.types import InputError, Seed, numpy_rng, spawn_seeds

_RUNS = {"fast": 10, "recov": 500}
_FALSE_DISCOVERIES = 0.05


@estimator
class FastReCoV(Detector):
    r"""Repeated cross-validation whose folds gather the suspicious nodes.

    Every run cross-fits a linear discriminant on ``node_embedding``, which reads no label, and
    remembers the out-of-fold probabilities of every labelled node:

    .. math::
        M^{(1)} = \hat p^{(1)}, \qquad
        M^{(r)}_i = \mu M^{(r-1)}_i + (1 - \mu)\, \hat p^{(r)}_i, \qquad
        m_i = M_{i, \tilde y_i}

    The next folds are cut from a random order without replacement in which a node comes next with a
    chance proportional to :math:`\exp(m_i / \tau)`: the suspicious ones gather in the last fold and
    most models train on cleaner labels. The order is cut class by class, so that no class is lost
    to training. ``label_quality`` is m after the last run; as many of the lowest nodes are flagged
    as confident learning counts label errors in M.

    ``method="recov"`` is the original: folds stay random, and a node's count is the number of runs
    in which its fold was the worst, with the lowest mean probability of the given labels. Without
    label errors the count of R runs is Bin(R, 1 / K). ``label_quality`` is the p-value
    :math:`\Pr(X \ge \mathrm{count})`, and nodes are flagged at a false discovery rate of 5 %
    (Benjamini-Hochberg). A label moves the mean of a fold of n / K nodes by very little: on more
    than a few hundred nodes it takes thousands of runs to flag anything.

    A node's own label never trains the model that judges it, in any run. It does decide, through
    the node's class and memory, which nodes share its fold: that is the method, not an oversight.

    Chen et al., "Cross-Validation Is All You Need: A Statistical Approach To Label Noise
    Estimation", https://arxiv.org/abs/2306.13990; classes kept in every fold, the flags of the
    fast form and starting the memory at the first run are ours.

    Args:
        method: ``"fast"`` or ``"recov"``.
        runs: Cross-validations R; None for 10 fast ones or 500 of the original.
        n_folds: Folds K of a run; never more than there are labelled nodes.
        memory: Share :math:`\mu` of the old memory that a run keeps, in [0, 1); fast form only.
        temperature: :math:`\tau` > 0, small for folds that follow the memory; fast form only.
        shrinkage: Of the discriminant's covariance towards a multiple of the identity, in (0, 1].
        random_state: Seed of the folds and of the embedding.
        progress: Whether to show a progress bar over the runs.
    """

    name: ClassVar[str] = "fast_recov"

    reads_probs: ClassVar[bool] = False

    method: Literal["fast", "recov"] = "fast"
    runs: int | None = None
    n_folds: int = 5
    memory: float = 0.7
    temperature: float = 0.5
    shrinkage: float = 0.3
    random_state: Seed = 0
    progress: bool = False

    def _judge(self, graph: Any, pred_probs: Tensor | OutOfFold | None) -> Verdict:
        del pred_probs
        self._check()
        judged = labelled_mask(graph)
        rows, y = judged.numpy(), graph.y[judged].numpy()
        embedding_seed, fold_seed = spawn_seeds(self.random_state, 2)
        with stage("Embedding"):
            embedding = node_embedding(graph, random_state=embedding_seed)[judged]
        features, classes = embedding.double().numpy(), num_classes(graph)
        model = FoldedDiscriminant(features, y, classes, float(self.shrinkage))
        judge = self._fast if self.method == "fast" else self._recov
        with stage("Cross-validations"):
            found, flagged, rows_probs, expected = judge(model, y, numpy_rng(fold_seed))
        quality, issue = np.ones(len(rows)), np.zeros(len(rows), dtype=bool)
        probs = np.full((len(rows), classes), 1.0 / classes)
        quality[rows], issue[rows], probs[rows] = found, flagged, rows_probs
        return Verdict(
            judged=judged,
            label_quality=quality,
            is_label_issue=issue,
            class_probs=probs,
            pred_probs=probs,
            noise_rate=binomial_rate(expected, len(y)),
        )

    def _fast(
        self, model: FoldedDiscriminant, y: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Return quality, flags, class probabilities and the expected number of wrong labels."""
        memory = model.out_of_fold(class_folds(y, rng.gumbel(size=len(y)), self.n_folds))
        for _ in self._bar(1):
            # The largest of m / tau + Gumbel noise is a draw by softmax(m / tau), and so is each
            # next one among the rest.
            key = given_probability(y, memory) / self.temperature + rng.gumbel(size=len(y))
            probs = model.out_of_fold(class_folds(y, key, self.n_folds))
            memory = self.memory * memory + (1.0 - self.memory) * probs
        quality = given_probability(y, memory)
        expected = expected_issues(y, memory)
        return quality.clip(0.0, 1.0), lowest(quality, expected), memory, expected

    def _recov(
        self, model: FoldedDiscriminant, y: np.ndarray, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
        """Return quality, flags, class probabilities and the expected number of wrong labels."""
        count, total, runs = np.zeros(len(y)), np.zeros_like(model.onehot), 0
        for _ in self._bar(0):
            fold = class_folds(y, rng.gumbel(size=len(y)), self.n_folds)
            probs = model.out_of_fold(fold)
            score = np.bincount(fold, given_probability(y, probs)) / np.bincount(fold)
            count += fold == score.argmin()
            total += probs
            runs += 1
        quality = worst_fold_p_values(count, runs, min(self.n_folds, len(y)))
        issue = false_discovery_control(quality) <= _FALSE_DISCOVERIES
        return quality, issue, total / runs, float(issue.sum())

    def _bar(self, done: int) -> Any:
        """Return an iterable over the runs that are left after the first ``done``."""
        runs = _RUNS[self.method] if self.runs is None else int(self.runs)
        return tqdm(range(done, runs), disable=not self.progress, desc="runs")

    def _check(self) -> None:
        if self.method not in _RUNS:
            raise InputError("method", self.method, "Use 'fast' or 'recov'.")
        names = ("runs", "memory", "temperature", "shrinkage")
        check_params({name: getattr(self, name) for name in names})
        whole = isinstance(self.n_folds, Integral) and not isinstance(self.n_folds, bool)
        if not whole or self.n_folds < 2:
            raise InputError("n_folds", self.n_folds, "Pass an integer >= 2.")


def class_folds(y: np.ndarray, key: np.ndarray, n_folds: int) -> np.ndarray:
    """Cut the nodes into folds of equal size, every class in falling order of the key.

    Args:
        y: Labels ``[n]``.
        key: ``[n]``, float; the highest of every class go to fold 0, the lowest to the last one.
        n_folds: Folds K; n of them where there are fewer nodes.

    Returns:
        The fold of every node ``[n]``, 0 to K - 1.
    """
    order = np.lexsort((-key, y))
    size = np.bincount(y)
    begin = np.cumsum(size) - size
    share = np.empty(len(y))
    share[order] = (np.arange(len(y)) - begin[y[order]] + 0.5) / size[y[order]]
    fold = np.empty(len(y), dtype=np.int64)
    fold[np.lexsort((-key, share))] = np.arange(len(y)) * min(n_folds, len(y)) // len(y)
    return fold


def worst_fold_p_values(count: np.ndarray, runs: int, n_folds: int) -> np.ndarray:
    r"""Return :math:`\Pr(X \ge \mathrm{count})` for X ~ Bin(runs, 1 / n_folds): ``[n]``."""
    return np.asarray(binom.sf(count - 1, runs, 1.0 / n_folds))
