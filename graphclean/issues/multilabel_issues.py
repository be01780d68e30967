"""MultiLabelIssues: which tags of which nodes look wrong."""

from __future__ import annotations

import html
from dataclasses import dataclass

import numpy as np
import pandas as pd

from graphclean.issues.tables import html_table
from graphclean.types import InputError


@dataclass(frozen=True, eq=False, repr=False)
class MultiLabelIssues:
    """Label issues of nodes that carry any number of tags: one row per judged node.

    Arrays are kept read-only; n judged nodes, L tags.

    Attributes:
        node_ids: Original ids of the judged nodes, unique ``[n]``.
        node: Their row positions in the graph ``[n]``, int64.
        tag_names: Names of the tags ``[L]``.
        given: Given tags ``[n, L]``, bool.
        pred_probs: Out-of-sample probability of every tag being on ``[n, L]``, float64.
        tag_issue: Tags that look wrong ``[n, L]``, bool: on and should be off, or the reverse.
        label_quality: Quality of all tags of a node together ``[n]``, in [0, 1], low = bad.
        notes: What was noticed on the way.
    """

    node_ids: pd.Index
    node: np.ndarray
    tag_names: tuple[str, ...]
    given: np.ndarray
    pred_probs: np.ndarray
    tag_issue: np.ndarray
    label_quality: np.ndarray
    notes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        dtypes = {
            "node": np.int64,
            "given": np.bool_,
            "pred_probs": np.float64,
            "tag_issue": np.bool_,
            "label_quality": np.float64,
        }
        shape = (len(self.node_ids), len(self.tag_names))
        for name, dtype in dtypes.items():
            array: np.ndarray = np.array(getattr(self, name), dtype=dtype)
            wanted = shape[:1] if name in ("node", "label_quality") else shape
            if array.shape != wanted:
                raise InputError(name, f"shape {array.shape}", f"Pass {wanted}.")
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    def __len__(self) -> int:
        return len(self.node)

    def __repr__(self) -> str:
        nodes, tags = int(self.tag_issue.any(axis=1).sum()), int(self.tag_issue.sum())
        return (
            f"MultiLabelIssues({nodes} of {len(self)} nodes flagged, "
            f"{tags} of {self.tag_issue.size} tags)"
        )

    def _repr_html_(self) -> str:
        table = html_table(self.top(10), index=True)
        return f"<div><p>{html.escape(repr(self))}</p>{table}</div>"

    @property
    def self_confidence(self) -> np.ndarray:
        """Probability that a tag is right as given ``[n, L]``: p where on, 1 - p where off."""
        return np.where(self.given, self.pred_probs, 1.0 - self.pred_probs)

    @property
    def suggested(self) -> np.ndarray:
        """Tags with those that look wrong turned round ``[n, L]``, bool."""
        return np.asarray(self.given ^ self.tag_issue)

    @property
    def frame(self) -> pd.DataFrame:
        """One row per node, indexed by node id.

        Columns: ``node``, ``is_label_issue`` (any tag is one), ``label_quality``, ``num_tags``
        (given), ``num_tag_issues``, ``worst_tag`` (lowest self-confidence; ties by tag order).
        """
        worst = self.self_confidence.argmin(axis=1)
        return pd.DataFrame(
            {
                "node": self.node,
                "is_label_issue": self.tag_issue.any(axis=1),
                "label_quality": self.label_quality,
                "num_tags": self.given.sum(axis=1),
                "num_tag_issues": self.tag_issue.sum(axis=1),
                "worst_tag": np.asarray(self.tag_names, dtype=object)[worst],
            },
            index=self.node_ids.rename("node_id"),
        )

    def top(self, k: int = 20) -> pd.DataFrame:
        """Return the ``k`` rows of ``frame`` of lowest quality, worst first, ties in node order."""
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 0:
            raise InputError("k", k, "Pass a non-negative integer.")
        return self.frame.sort_values(["label_quality", "node"], kind="stable").head(int(k))

    def tags(self, *, only_issues: bool = False) -> pd.DataFrame:
        """Return one row per node and tag, nodes in order; indexed by node id.

        Columns: ``node``, ``tag`` (categorical), ``given`` and ``suggested`` (bool),
        ``probability`` (of the tag being on), ``label_quality`` (self-confidence), ``is_issue``.

        Args:
            only_issues: Leave out the tags that look right.
        """
        shown = self.tag_issue if only_issues else np.ones_like(self.tag_issue)
        row, column = np.nonzero(shown)
        return pd.DataFrame(
            {
                "node": self.node[row],
                "tag": pd.Categorical.from_codes(column, pd.Index(self.tag_names)),
                "given": self.given[row, column],
                "suggested": self.suggested[row, column],
                "probability": self.pred_probs[row, column],
                "label_quality": self.self_confidence[row, column],
                "is_issue": self.tag_issue[row, column],
            },
            index=self.node_ids.rename("node_id")[row],
        )

    def per_tag(self) -> pd.DataFrame:
        """Return one row per tag: tag, given, should_be_off and should_be_on (counts of nodes)."""
        return pd.DataFrame(
            {
                "tag": list(self.tag_names),
                "given": self.given.sum(axis=0),
                "should_be_off": (self.tag_issue & self.given).sum(axis=0),
                "should_be_on": (self.tag_issue & ~self.given).sum(axis=0),
            }
        )
