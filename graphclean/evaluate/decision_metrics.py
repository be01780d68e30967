"""Whether promises are kept: false discoveries, intervals, expected counts, calibration curve."""

from __future__ import annotations

from numbers import Integral
from typing import Any

import numpy as np
import pandas as pd

from graphclean.evaluate.arrays import mask_array, score_array
from graphclean.evaluate.metrics import CALIBRATION_BINS, calibration_bins
from graphclean.issues import NoiseRate
from graphclean.types import InputError


def false_discovery_proportion(is_wrong: Any, is_flagged: Any) -> float:
    r"""Return the realised share of right labels among the flagged ones.

    .. math:: FP / \max(F, 1)

    Its expectation is the false-discovery rate of Benjamini and Hochberg (*Controlling the False
    Discovery Rate*, JRSS B 1995), which counts no discovery as no false one: 0 where nothing is
    flagged, where ``1 - precision`` has no meaning.

    Args:
        is_wrong: Whether each label is wrong, bool ``[M]``.
        is_flagged: Whether the detector flags the label, bool ``[M]``.

    Returns:
        In [0, 1].

    Raises:
        InputError: They differ in length or are not bool.
    """
    wrong = mask_array("is_wrong", is_wrong)
    flagged = mask_array("is_flagged", is_flagged, len(wrong))
    return float((flagged & ~wrong).sum() / max(int(flagged.sum()), 1))


def interval_covers(rate: NoiseRate, truth: float) -> bool:
    """Return whether the interval of an estimated noise rate, ends included, holds the true rate.

    Averaged over runs this is the coverage, which ``rate.level`` promises.

    Args:
        rate: Estimate with its interval.
        truth: True rate in [0, 1].

    Raises:
        InputError: The truth is outside [0, 1].
    """
    if not 0.0 <= truth <= 1.0:
        raise InputError("truth", truth, "Pass a rate from 0 to 1.")
    return bool(rate.low <= truth <= rate.high)


def expected_over_realised(expected: float, realised: float) -> float:
    """Return how far a promised count is from the realised one, as their ratio: 1 is exact.

    Args:
        expected: Expected count, >= 0.
        realised: Realised count, >= 0.

    Returns:
        In [0, inf]; NaN where neither expected nor realised anything. Average the counts rather
        than the ratios: one run without a broken label makes a mean of ratios infinite.

    Raises:
        InputError: A count is negative or not finite.
    """
    for argument, value in (("expected", expected), ("realised", realised)):
        if not 0.0 <= value < float("inf"):
            raise InputError(argument, value, "Pass a finite count >= 0.")
    if realised:
        return float(expected / realised)
    return float("inf") if expected else float("nan")


def calibration_curve(
    is_wrong: Any, mislabel_probability: Any, bins: int = CALIBRATION_BINS
) -> pd.DataFrame:
    r"""Return the reliability diagram of a mislabel probability.

    The bins are those of ``ece`` in `detection_scores`, so that with n nodes, mean probability
    :math:`\bar s` and share of wrong labels :math:`\bar w` by row,
    :math:`\sum_b n_b |\bar w_b - \bar s_b| / \sum_b n_b` over the default bins is the ECE
    (Guo et al., *On Calibration of Modern Neural Networks*, ICML 2017).

    Args:
        is_wrong: Whether each label is wrong, bool ``[M]``.
        mislabel_probability: Probability of being wrong ``[M]``, float in [0, 1].
        bins: Number of bins of equal width.

    Returns:
        One row a bin that holds a node, ascending: ``low``, ``high`` (its edges; the last bin
        holds 1 too), ``nodes``, ``mean_probability``, ``share_wrong`` and ``standard_error`` of
        that share, :math:`\sqrt{\bar w (1 - \bar w) / n}`.

    Raises:
        InputError: The arguments differ in length, a probability is outside [0, 1], or ``bins`` is
            not a positive integer.
    """
    if not isinstance(bins, Integral) or isinstance(bins, bool) or bins < 1:
        raise InputError("bins", bins, "Pass an integer >= 1.")
    count = int(bins)
    wrong = mask_array("is_wrong", is_wrong)
    score = score_array("mislabel_probability", mislabel_probability, len(wrong))
    if len(score) and not 0.0 <= score.min() <= score.max() <= 1.0:
        shown = f"values from {score.min():g} to {score.max():g}"
        raise InputError("mislabel_probability", shown, "Pass probabilities from 0 to 1.")
    which = calibration_bins(score, count)
    nodes = np.bincount(which, minlength=count)
    held = np.flatnonzero(nodes)
    size = nodes[held]
    share = np.bincount(which, weights=wrong, minlength=count)[held] / size
    return pd.DataFrame(
        {
            "low": held / count,
            "high": (held + 1) / count,
            "nodes": size,
            "mean_probability": np.bincount(which, weights=score, minlength=count)[held] / size,
            "share_wrong": share,
            "standard_error": np.sqrt(share * (1.0 - share) / size),
        }
    )
