"""What a transition estimate is worth, by the truth."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from graphclean.evaluate.grid.graphs import NoisyGraph
from graphclean.evaluate.metrics import transition_error
from graphclean.noise import TransitionEstimator, realised_transition
from graphclean.types import Seed, numpy_rng


def verified_labels(noisy: NoisyGraph, share: float, seed: Seed) -> Tensor:
    """Return true labels of a random share of the labelled nodes, as if somebody had looked.

    The one place where a method of the grid is told some of the truth, because it asks for it.

    Args:
        noisy: The graph and its truth.
        share: Share of the labelled nodes whose true label is known, in (0, 1]; at least one.
        seed: Seed of the choice.

    Returns:
        ``[N]``, long, -1 = not verified.
    """
    known = _known(noisy).nonzero().view(-1).numpy()
    drawn = numpy_rng(seed).choice(known, max(round(share * len(known)), 1), replace=False)
    verified = torch.full_like(noisy.clean, -1)
    verified[drawn] = noisy.clean[drawn]
    return verified


def score_estimate(found: TransitionEstimator, noisy: NoisyGraph) -> dict[str, float]:
    r"""Score a fitted estimator against the noise that a cell really has.

    Args:
        found: The estimator, fitted on ``noisy.blind``.
        noisy: The graph and its truth; every labelled node with a known true label counts.

    Returns:
        - ``transition_error``: mean absolute error against the realised T, as `evaluate_issues`
          has it for detectors;
        - ``noise_rate``, ``estimated_noise_rate`` = :math:`1 - \sum_i \pi_i T_{ii}` with the
          estimated prior, ``noise_rate_error`` (estimated - true);
        - ``credibility``: `TransitionEstimator.credibility_`, in [0, 1].
    """
    estimated, rows = found.transition_, _known(noisy)
    given, clean, classes = noisy.blind.y[rows], noisy.clean[rows], len(estimated)
    inside = clean < classes
    realised = realised_transition(clean[inside], given[inside], classes)
    true_rate = float((given != clean).double().mean())
    rate = float(1.0 - np.dot(found.class_prior_, np.diag(estimated)))
    return {
        "transition_error": transition_error(estimated, realised),
        "noise_rate": true_rate,
        "estimated_noise_rate": rate,
        "noise_rate_error": rate - true_rate,
        "credibility": found.credibility_,
    }


def _known(noisy: NoisyGraph) -> Tensor:
    known: Tensor = (noisy.blind.y >= 0) & (noisy.clean >= 0)
    return known
