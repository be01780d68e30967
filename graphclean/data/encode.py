"""Columns of a table become node features."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import torch
from sklearn.decomposition import TruncatedSVD
from sklearn.feature_extraction.text import TfidfVectorizer

from graphclean.data.features import DENSE_BYTES
from graphclean.types import InputError

MAX_ONE_HOT = 50
"""A column of strings with more distinct values than this (or than half the rows) is text."""

MAX_WORDS = 1000
TEXT_DIMENSIONS = 64

_FIRST_ROWS = 1000


def encode_columns(
    table: pd.DataFrame, notes: list[str]
) -> tuple[torch.Tensor | None, list[str] | None]:
    """Turn every column of ``table`` into float features, without looking at labels.

    - Numbers, bools and dates: standardised to mean 0 and variance 1 (columns that hold only 0 and
      1 stay as they are); a missing number takes the column's mean and an indicator column
      ``<column> missing`` is added.
    - Strings and categories with few distinct values: one-hot, ``<column>=<value>``; a missing
      value is a level of its own.
    - Other strings: tf-idf of their at most 1,000 most frequent words, ``<column>:<word>``, reduced
      to 64 dimensions by a truncated SVD where that would not fit 256 MB dense.
    - Columns with one value only carry nothing and are left out, with a note.

    Args:
        table: One row a node; only the columns to be used.
        notes: Sentences on what was decided are appended here.

    Returns:
        Float32 ``[N, F]`` and ``F`` names, or ``(None, None)`` if no column carries anything.

    Raises:
        InputError: If a number is infinite.
    """
    blocks: list[np.ndarray] = []
    names: list[str] = []
    for column in table.columns:
        values = table[column]
        if isinstance(values.dtype, pd.DatetimeTZDtype) or values.dtype.kind in "mM":
            values = seconds(values)
        encode = _numbers if pd.api.types.is_numeric_dtype(values.dtype) else _strings
        block, block_names = encode(values, str(column))
        if not block_names:
            notes.append(f"column {column!r} left out: it is constant, or no word occurs twice")
            continue
        blocks.append(block.astype(np.float32))
        names += block_names
    if not blocks:
        return None, None
    return torch.from_numpy(np.hstack(blocks)), names


def copies_of_label(table: pd.DataFrame, y: torch.Tensor) -> list[str]:
    """Return the columns that equal the label up to renaming its classes.

    Such a column (an id of the class, say) would show a model the very label it has to judge.
    """
    labelled = (y >= 0).numpy()
    codes = y.numpy()[labelled]
    if not len(codes) or (codes == codes[0]).all():
        return []
    copies = []
    for column in table.columns:
        values = table[column][labelled]
        # Few columns rename the label on their first rows: the others are not read further.
        if all(_renames(values.iloc[:rows], codes[:rows]) for rows in (_FIRST_ROWS, len(codes))):
            copies.append(column)
    return copies


def _renames(values: pd.Series, codes: np.ndarray) -> bool:
    """Whether equal values have equal codes and different ones different."""
    numbers, distinct = pd.factorize(values, use_na_sentinel=False)
    pairs = len(np.unique(numbers * (int(codes.max()) + 1) + codes))
    return pairs == len(distinct) == len(np.unique(codes))


def seconds(values: pd.Series) -> pd.Series:
    """Return dates as seconds since 1970, durations as seconds; missing ones stay missing."""
    if values.dtype.kind == "m":
        return pd.Series(values.dt.total_seconds())
    origin = pd.Timestamp(0, tz=getattr(values.dtype, "tz", None))
    return pd.Series((values - origin).dt.total_seconds())


def _numbers(values: pd.Series, column: str) -> tuple[np.ndarray, list[str]]:
    numbers = values.to_numpy(dtype=np.float64, na_value=np.nan)
    if np.isinf(numbers).any():
        row = int(np.flatnonzero(np.isinf(numbers))[0])
        raise InputError(f"column {column!r}", f"infinite at row {row}", "Replace or clear it.")
    missing = np.isnan(numbers)
    known = numbers[~missing]
    columns: list[np.ndarray] = []
    names: list[str] = []
    if len(known) and (known != known[0]).any():
        filled = np.where(missing, known.mean(), numbers)
        if not ((known == 0) | (known == 1)).all():
            filled = (filled - filled.mean()) / filled.std()
        columns.append(filled)
        names.append(column)
    if missing.any() and not missing.all():
        columns.append(missing.astype(np.float64))
        names.append(f"{column} missing")
    return np.stack(columns, axis=1) if columns else np.empty((len(values), 0)), names


def _strings(values: pd.Series, column: str) -> tuple[np.ndarray, list[str]]:
    rows = len(values)
    missing = values.isna().to_numpy()
    text = values.astype(object).where(~missing, "").map(str)
    levels = sorted(set(text[~missing]))
    if len(levels) + bool(missing.any()) < 2:
        return np.empty((rows, 0)), []
    if len(levels) > max(2, min(MAX_ONE_HOT, rows // 2)):
        return _words(list(text), column)
    columns = [(text == level).to_numpy() & ~missing for level in levels]
    names = [f"{column}={level}" for level in levels]
    if missing.any():
        columns.append(missing)
        names.append(f"{column} missing")
    return np.stack(columns, axis=1), names


def _words(texts: list[str], column: str) -> tuple[np.ndarray, list[str]]:
    vectorizer = word_counter()
    try:
        matrix = vectorizer.fit_transform(texts)
    except ValueError:  # scikit-learn's way to say that no word occurs twice
        return np.empty((len(texts), 0)), []
    if 4 * len(texts) * matrix.shape[1] > DENSE_BYTES:
        svd = TruncatedSVD(TEXT_DIMENSIONS, random_state=0)
        return svd.fit_transform(matrix), [f"{column}~{i}" for i in range(TEXT_DIMENSIONS)]
    return matrix.toarray(), [f"{column}:{word}" for word in vectorizer.get_feature_names_out()]


def word_counter(vocabulary: list[str] | None = None) -> TfidfVectorizer:
    """Return tf-idf of the `MAX_WORDS` most frequent words that occur twice, or of given ones."""
    return TfidfVectorizer(
        max_features=MAX_WORDS,
        min_df=2,
        sublinear_tf=True,
        tokenizer=_tokens,
        token_pattern=None,
        vocabulary=vocabulary,
    )


def _tokens(text: str) -> list[str]:
    return re.findall(r"\w+", text)
