"""LabelIssues: what a detector found, one row per labelled node."""

from __future__ import annotations

import copy
import html
import importlib
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from graphclean.issues.checks import (
    checked_frame,
    checked_meta,
    checked_names,
    checked_transition,
)
from graphclean.issues.files import read_issues, reading, write_issues
from graphclean.issues.flags import flag_policy, flags, reflagged
from graphclean.issues.summary import IssueSummary, NoiseRate, summarise
from graphclean.issues.tables import html_table
from graphclean.types import InputError


@dataclass(frozen=True, eq=False, repr=False)
class LabelIssues:
    """Label issues of a graph: one row per labelled node.

    Frozen: the constructor checks and copies what it is given, and ``frame`` and ``meta`` are
    handed out as copies, so nothing done to them changes the issues.

    Args:
        frame: Indexed by the original node id (unique integers or strings, name ``node_id``),
            with at least ``REQUIRED_COLUMNS``: ``node`` (row position in the graph),
            ``is_label_issue``, ``label_quality`` (in [0, 1], low = bad), ``mislabel_probability``
            (in [0, 1]; calibrated, or 1 - quality), ``given_label``, ``predicted_label``,
            ``suggested_label`` (each one of ``class_names``), ``suggestion_confidence`` (in
            [0, 1]) and ``degree``. Further columns are per-node evidence: bool, int, float (NaN =
            unknown) or str. Those that mean something here: ``alternative_label`` (most probable
            class other than the given one) with ``alternative_confidence`` and
            ``given_confidence`` (both in [0, 1]), for ``flagged``; ``abstained`` (bool): too
            little is known about the node to flag it.
        class_names: Names of the classes; class c of the graph is ``class_names[c]``.
        noise_rate: Estimated noise rate with its interval.
        transition: Estimated ``T[i, j] = Pr(given = j | true = i)``, float ``[C, C]``, rows
            summing to one (kept read-only), or None.
        meta: How the issues were made, JSON-able: ``detector``, ``params``, ``seed``,
            ``dataset``, ``versions``, ``command``, ``calibrated`` (bool, taken as False),
            ``transition_mixes_confusion`` (bool: T also holds the classifier's own confusion),
            ``flag_policy`` (rule of ``flagged``).
            Leave out timings and dates, so that equal runs write byte-identical files.

    Raises:
        InputError: A column is missing, of another type, out of range or names an unknown class;
            T is not a transition matrix; ``meta`` is not JSON-able.
    """

    frame: pd.DataFrame
    class_names: tuple[str, ...]
    noise_rate: NoiseRate
    transition: np.ndarray | None = None
    meta: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        names = checked_names(self.class_names)
        object.__setattr__(self, "class_names", names)
        object.__setattr__(self, "frame", checked_frame(self.frame, names))
        object.__setattr__(self, "transition", checked_transition(self.transition, len(names)))
        object.__setattr__(self, "meta", checked_meta(self.meta))

    def __len__(self) -> int:
        return len(self.frame)

    def __repr__(self) -> str:
        flagged = int(self.frame["is_label_issue"].sum())
        return f"LabelIssues({flagged} of {len(self)} labelled nodes flagged, {self.noise_rate})"

    def _repr_html_(self) -> str:
        head = html.escape(". ".join(self.summary().lines()))
        return (
            f"<div><p><b>LabelIssues</b>. {head}.</p>{html_table(self.top(10), index=True)}</div>"
        )

    def summary(self) -> IssueSummary:
        """Return counts, the noise rate, and tables per class and per class pair."""
        calibrated = bool(self.meta.get("calibrated", False))
        policy = self.meta.get("flag_policy")
        return summarise(self.frame, self.class_names, self.noise_rate, calibrated, policy)

    def flagged(
        self,
        *,
        threshold: float | None = None,
        fdr: float | None = None,
        budget: float | int | None = None,
    ) -> LabelIssues:
        """Return the same issues with other nodes flagged; pass exactly one rule.

        Suggestions follow: a newly flagged node is never suggested its given label. Nodes on which
        the detector abstained (column ``abstained``) are flagged by a budget only, after all
        others. ``meta["flag_policy"]`` keeps the rule.

        Args:
            threshold: Flag where ``mislabel_probability`` is above it, in [0, 1].
            fdr: Flag as many as possible, the most suspicious first, while the expected share of
                right labels among them, ``mean(1 - mislabel_probability)``, is at most this number
                in (0, 1). Equal probabilities are all flagged or none is.
            budget: Flag this many nodes (an integer >= 1), or this share of the judged ones (a
                float in (0, 1), rounded down), the most suspicious first; ties go by label
                quality, then in node order.

        Raises:
            InputError: Not exactly one rule, a number out of range, ``fdr`` of a detector that is
                not calibrated, or issues too old to tell what a flagged node should be instead.

        Example:
            >>> issues.flagged(fdr=0.1).summary().issues  # doctest: +SKIP
        """
        policy = flag_policy(
            threshold=threshold,
            fdr=fdr,
            budget=budget,
            calibrated=bool(self.meta.get("calibrated", False)),
        )
        frame = self.frame
        return replace(
            self,
            frame=reflagged(frame, flags(frame, policy), self.class_names),
            meta=self.meta | {"flag_policy": policy},
        )

    def top(self, k: int = 20) -> pd.DataFrame:
        """Return the ``k`` rows of lowest label quality, worst first (ties in node order)."""
        if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 0:
            raise InputError("k", k, "Pass a non-negative integer.")
        return self.frame.sort_values(["label_quality", "node"], kind="stable").head(int(k))

    def save(self, folder: str | os.PathLike[str]) -> Path:
        """Write the issues to ``folder`` (made if need be) and return it.

        ``issues.parquet`` holds the rows exactly; ``issues.csv`` the same rows for other tools
        (ids and labels stand in it as they are: import them as text, since a spreadsheet takes
        ``007`` for a number and ``=x`` for a formula); ``transition.csv`` T, where it is known;
        ``summary.json``, written last, the rest and the checksums of the others. Each file appears
        whole or not at all, and equal issues give byte-identical files.
        """
        record = {
            "class_names": list(self.class_names),
            **self.summary().to_dict(),
            "meta": self.meta,
        }
        return write_issues(folder, self.frame, self.transition, record)

    @classmethod
    def load(cls, folder: str | os.PathLike[str]) -> LabelIssues:
        """Return what ``save`` wrote, exactly: ids, dtypes and every bit of every float.

        Raises:
            InputError: A file is missing, damaged, or from another save than ``summary.json``.
        """
        with reading(folder):
            frame, transition, record = read_issues(folder)
            return cls(
                frame=frame,
                class_names=record["class_names"],
                noise_rate=NoiseRate(**record["noise_rate"]),
                transition=transition,
                meta=record["meta"],
            )

    def to_html(self, path: str | os.PathLike[str], data: Any = None, **options: Any) -> Path:
        """Write the self-contained HTML report; see ``graphclean.report.write_report``.

        Args:
            path: The HTML file to write.
            data: The graph, for ego networks and neighbour votes.
            **options: ``title``, ``evaluation`` and ``top`` of the report.
        """
        # The report is a higher room: it is looked up when asked for, never imported from here.
        report = importlib.import_module("graphclean.report")
        written: Path = report.write_report(path, self, data, **options)
        return written


def _hand_out_copies() -> None:
    """Make ``frame`` and ``meta`` of a LabelIssues read as copies of what it holds."""
    # From pandas 3 on a shallow copy is copied on write: safe to hand out, and free.
    deep = int(pd.__version__.split(".")[0]) < 3
    for name, copier in (("frame", lambda kept: kept.copy(deep=deep)), ("meta", copy.deepcopy)):

        def read(self: LabelIssues, name: str = name, copier: Any = copier) -> Any:
            return copier(self.__dict__[name])

        def keep(self: LabelIssues, value: Any, name: str = name) -> None:
            self.__dict__[name] = value

        setattr(LabelIssues, name, property(read, keep))


_hand_out_copies()
