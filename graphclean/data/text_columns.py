"""Columns of text as a few numbers."""

from __future__ import annotations

from typing import Any, TypedDict

import numpy as np
from sklearn.utils.extmath import randomized_svd, svd_flip

from graphclean.data.encode import word_counter

TEXT_NUMBERS = 16


class TextColumns(TypedDict):
    """How a column of text becomes numbers.

    Attributes:
        words: The ``W`` words that count.
        weights: Their inverse document frequencies, float64 ``[W]``.
        basis: What their tf-idf is multiplied with, float64 ``[W, k]``.
    """

    words: list[str]
    weights: np.ndarray
    basis: np.ndarray


def text_columns(texts: np.ndarray) -> TextColumns | None:
    """Choose words and basis for a column of strings (None = missing); None if no word recurs."""
    counter = word_counter()
    try:
        matrix = counter.fit_transform(_filled(texts))
    except ValueError:  # scikit-learn's way to say that no word occurs twice
        return None
    words = [str(word) for word in counter.get_feature_names_out()]
    weights = np.array(counter.idf_, dtype=np.float64)
    return TextColumns(words=words, weights=weights, basis=svd_basis(matrix, TEXT_NUMBERS))


def read_text(texts: np.ndarray, columns: TextColumns) -> np.ndarray:
    """Return float32 ``[N, k]`` of a column of strings; NaN where one is None."""
    counter = word_counter(vocabulary=columns["words"])
    counter.idf_ = columns["weights"]
    found = np.asarray(counter.transform(_filled(texts)) @ columns["basis"], dtype=np.float32)
    found[np.array([text is None for text in texts], dtype=bool)] = np.nan
    return found


def svd_basis(matrix: Any, k: int) -> np.ndarray:
    r"""Return the first right singular vectors :math:`V_k` of a matrix ``[N, F]``.

    Unlike scikit-learn's ``TruncatedSVD`` it starts from random numbers for the columns, never for
    the rows: nodes in another order have the same :math:`X V_k`.

    Returns:
        Float64 ``[F, min(k, N, F)]``; the identity if ``F`` is no larger than ``k``.
    """
    rows, width = matrix.shape
    if width <= k:
        return np.eye(width)
    u, _, vt = randomized_svd(
        matrix, min(k, rows), n_iter=7, transpose=False, flip_sign=False, random_state=0
    )
    _, vt = svd_flip(u, vt, u_based_decision=False)
    return np.ascontiguousarray(vt.T, dtype=np.float64)


def _filled(texts: np.ndarray) -> list[str]:
    return ["" if text is None else text for text in texts]
