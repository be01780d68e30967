"""Which labels to flag, given how likely each of them is wrong."""

from __future__ import annotations

import numpy as np


def f1_threshold(probability: np.ndarray) -> float:
    r"""Return the threshold above which flagging gives the best expected F1, in [0, 1].

    .. math::
        k^* = \arg\max_k \frac{2 \sum_{i \le k} p_{(i)}}{k + \sum_i p_i}

    for probabilities in decreasing order. Where all are near 0 or 1 it is near 1/2; where labels
    are hard to judge it is about half of the F1 that can be had. To flag nothing is perfect if
    nothing is wrong: it is chosen where that is likelier than the best F1. Paper: Lipton et
    al., "Optimal thresholding of classifiers to maximize F1 measure", ECML PKDD 2014.

    Args:
        probability: Calibrated mislabel probabilities ``[n]``, n >= 1.
    """
    ordered = np.sort(probability)[::-1]
    expected = 2.0 * np.cumsum(ordered) / (np.arange(1, len(ordered) + 1) + ordered.sum())
    last = int(np.argmax(expected))
    nothing_wrong = np.log1p(-np.minimum(ordered, 1.0 - 1e-12)).sum()
    if nothing_wrong >= np.log(max(expected[last], 1e-300)):
        return float(ordered[0])
    following = ordered[last + 1] if last + 1 < len(ordered) else 0.0
    return float((ordered[last] + following) / 2.0)
