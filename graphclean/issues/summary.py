"""The counts behind a set of label issues: noise rate, per class, per class pair."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import pandas as pd

from graphclean.issues.flags import described
from graphclean.issues.tables import html_table, text_table
from graphclean.types import InputError


@dataclass(frozen=True)
class NoiseRate:
    """Estimated share of wrong labels, with an interval.

    Args:
        value: Estimate in [0, 1].
        low: Lower end of the interval, in [0, 1].
        high: Upper end of the interval, in [0, 1].
        level: Coverage the interval aims at, in [0, 1].

    Raises:
        InputError: A number is outside [0, 1], or ``low > high``.
    """

    value: float
    low: float
    high: float
    level: float = 0.90

    def __post_init__(self) -> None:
        for name in ("value", "low", "high", "level"):
            number = float(getattr(self, name))
            if not 0.0 <= number <= 1.0:
                raise InputError(f"noise_rate.{name}", number, "Pass a fraction from 0 to 1.")
            object.__setattr__(self, name, number)
        if self.low > self.high:
            raise InputError("noise_rate", (self.low, self.high), "Pass low <= high.")

    def __str__(self) -> str:
        return f"{self.value:.1%} ({self.level:.0%} interval {self.low:.1%} to {self.high:.1%})"


@dataclass(frozen=True, eq=False)
class IssueSummary:
    """The counts behind a set of label issues.

    With ``p_i`` the mislabel probability of node i, the expected number of wrong labels in a
    group is ``sum_i p_i`` over the group; ``expected_precision`` is that sum over the flagged
    nodes divided by their number. Where ``calibrated`` is False the ``p_i`` only rank the nodes,
    and the expectations are rough.

    Attributes:
        labelled: Number of labelled nodes.
        issues: Number of nodes flagged as label issues.
        expected_mislabelled: Expected wrong labels among all labelled nodes.
        expected_real_issues: Expected wrong labels among the flagged nodes.
        expected_precision: Expected share of the flagged labels that are wrong; None when nothing
            is flagged.
        noise_rate: The detector's estimate of the noise rate.
        calibrated: Whether the detector calibrates its probabilities.
        per_class: One row per class, in class order: class, given, issues, expected_mislabelled,
            mean_quality (NaN for a class without labelled nodes).
        per_pair: One row per pair among the flagged nodes, most frequent first: given,
            suggested, count, expected.
        flag_policy: Rule of ``LabelIssues.flagged`` behind the flags; None: the detector's own.
    """

    labelled: int
    issues: int
    expected_mislabelled: float
    expected_real_issues: float
    expected_precision: float | None
    noise_rate: NoiseRate
    calibrated: bool
    per_class: pd.DataFrame
    per_pair: pd.DataFrame
    flag_policy: Mapping[str, float | int] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return the summary as JSON-able types (a missing number is None)."""
        result: dict[str, Any] = {}
        for name, value in vars(self).items():
            if isinstance(value, pd.DataFrame):
                rows = value.to_dict(orient="records")
                value = [{str(k): _none_for_nan(v) for k, v in row.items()} for row in rows]
            result[name] = asdict(value) if isinstance(value, NoiseRate) else value
        return result

    def lines(self) -> list[str]:
        """Return the headline as plain phrases, one a line."""
        share = self.issues / self.labelled if self.labelled else 0.0
        rule = f": {described(self.flag_policy)}" if self.flag_policy else ""
        text = [
            f"{self.issues:,} of {self.labelled:,} labelled nodes flagged ({share:.1%}){rule}",
            f"Estimated noise rate: {self.noise_rate}",
        ]
        if self.expected_precision is not None:
            text.append(
                f"Expected real errors among the flagged: {self.expected_real_issues:,.1f} "
                f"(precision {self.expected_precision:.1%})"
            )
        if not self.calibrated:
            text.append("The probabilities are not calibrated: read them as a ranking")
        return text

    def __str__(self) -> str:
        tables = (text_table(self.per_class), text_table(self.per_pair))
        return "\n\n".join(["\n".join(self.lines()), *filter(None, tables)])

    def _repr_html_(self) -> str:
        head = "".join(f"<li>{html.escape(line)}</li>" for line in self.lines())
        tables = "".join(html_table(frame) for frame in (self.per_class, self.per_pair))
        return f"<div><ul>{head}</ul>{tables}</div>"


def summarise(
    frame: pd.DataFrame,
    class_names: Sequence[str],
    noise_rate: NoiseRate,
    calibrated: bool,
    flag_policy: Mapping[str, float | int] | None = None,
) -> IssueSummary:
    """Return the summary of a checked issue frame."""
    flagged = frame[frame["is_label_issue"]]
    expected = float(flagged["mislabel_probability"].sum())
    per_class = frame.groupby("given_label").agg(
        given=("node", "size"),
        issues=("is_label_issue", "sum"),
        expected_mislabelled=("mislabel_probability", "sum"),
        mean_quality=("label_quality", "mean"),
    )
    per_class = per_class.reindex(list(class_names)).rename_axis("class").reset_index()
    per_class = per_class.fillna({"given": 0, "issues": 0, "expected_mislabelled": 0.0})
    per_pair = (
        flagged.groupby(["given_label", "suggested_label"])
        .agg(count=("node", "size"), expected=("mislabel_probability", "sum"))
        .rename_axis(["given", "suggested"])
        .reset_index()
    )
    return IssueSummary(
        labelled=len(frame),
        issues=len(flagged),
        expected_mislabelled=float(frame["mislabel_probability"].sum()),
        expected_real_issues=expected,
        expected_precision=expected / len(flagged) if len(flagged) else None,
        noise_rate=noise_rate,
        calibrated=calibrated,
        per_class=per_class.astype({"given": "int64", "issues": "int64"}),
        per_pair=per_pair.sort_values(
            ["count", "expected", "given", "suggested"],
            ascending=[False, False, True, True],
            ignore_index=True,
        ),
        flag_policy=flag_policy,
    )


def _none_for_nan(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
