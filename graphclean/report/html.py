"""The review page: label issues in, one self-contained HTML file out."""

from __future__ import annotations

import base64
import hashlib
import json
import math
import os
import re
from collections.abc import Mapping
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from graphclean.issues import REQUIRED_COLUMNS, LabelIssues, write_atomic
from graphclean.report import figures, groups
from graphclean.report.ego import SIZE, ego_network
from graphclean.report.neighbours import Neighbours
from graphclean.types import InputError

_MOST_CLASSES = 20
_LONGEST = 80
_AGREEMENT = "neighbour_agreement"
_HOP_EVIDENCE = re.compile(r"agreement_(p|l(?!0)|x(?=0))(\d)")
_VIEWS = {
    "agreement_xs": "Support: features alone, spread over the neighbourhood",
    "agreement_y": "Support: which labels stand next to which",
    "agreement_r": "Support: nodes that look alike",
}
_ACRONYMS = {
    name: name.upper() for name in ("ap", "auc", "auroc", "ece", "f1", "fdr", "mcc", "tnr", "tpr")
}


def render_report(
    issues: LabelIssues,
    data: Any = None,
    *,
    title: str | None = None,
    evaluation: Mapping[str, float] | None = None,
    top: int = 25,
) -> str:
    """Return the review page of ``issues`` as one self-contained HTML document.

    No network, no dates: equal input gives equal bytes. Whatever an id, a class or a column is
    called is escaped, and the page's own policy lets no other script run.

    Args:
        issues: The label issues.
        data: The graph, for neighbour votes and ego networks (``edge_index``, ``num_nodes``).
        title: Heading of the page; by default it names ``issues.meta["dataset"]``.
        evaluation: Scores against known injected noise (``precision``, ``recall``, ``f1``,
            ``ap``, counts...), shown as such.
        top: Number of worst nodes to show, each with its evidence.

    Raises:
        InputError: ``data`` is not the graph of the issues, ``top`` is negative, or an evaluation
            value is not a number.
    """
    frame, summary, meta = issues.frame, issues.summary(), issues.meta
    neighbours = Neighbours(issues, data) if data is not None else None
    dataset = meta.get("dataset")
    script = resources.files("graphclean.report").joinpath("templates/table.js").read_text("utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    page = _environment().get_template("report.html.j2")
    return page.render(
        title=title or (f"Label issues in {dataset}" if dataset else "Label issues"),
        issues=issues,
        summary=summary,
        script=Markup(script),
        script_hash=digest,
        rate_figure=_rate_figure(summary),
        transition=_transition(issues),
        mixes_confusion=bool(meta.get("transition_mixes_confusion", False)),
        group_figures=_group_figures(issues, neighbours),
        probability_figure=_probability_figure(frame),
        cards=_cards(issues, neighbours, top),
        supports=any(_HOP_EVIDENCE.fullmatch(name) for name in frame.columns),
        drawings=neighbours is not None,
        ego_size=SIZE,
        evaluation=_evaluation(evaluation),
        made=_made(meta),
    )


def write_report(
    path: str | os.PathLike[str],
    issues: LabelIssues,
    data: Any = None,
    *,
    title: str | None = None,
    evaluation: Mapping[str, float] | None = None,
    top: int = 25,
) -> Path:
    """Write ``render_report`` to ``path`` (whole or not at all) and return the path."""
    page = render_report(issues, data, title=title, evaluation=evaluation, top=top)
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    return write_atomic(target, page.encode())


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("graphclean.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, value=_value, breakable=_breakable)
    return environment


def _rate_figure(summary: Any) -> Markup:
    share = summary.issues / summary.labelled if summary.labelled else 0.0
    return figures.noise_rate_figure(summary.noise_rate, share)


def _transition(issues: LabelIssues) -> dict[str, Any] | None:
    """Return the heat map, of the classes with most confusion where there are many."""
    matrix = issues.transition
    if matrix is None or not len(matrix):
        return None
    confusion = matrix.sum(axis=0) + matrix.sum(axis=1) - 2 * np.diag(matrix)
    kept = np.sort(np.argsort(-confusion, kind="stable")[:_MOST_CLASSES])
    names = [issues.class_names[i] for i in kept]
    return {
        "figure": figures.transition_figure(matrix[np.ix_(kept, kept)], names),
        "shown": len(kept),
        "of": len(matrix),
    }


def _group_figures(issues: LabelIssues, neighbours: Neighbours | None) -> list[dict[str, Any]]:
    frame = issues.frame
    if frame.empty:
        return []
    classes = groups.by_class(frame, issues.class_names)
    shown = sorted(classes, key=lambda group: group.expected, reverse=True)[:_MOST_CLASSES]
    note = f"The {len(shown)} of {len(classes)} classes with most expected errors. "
    result = [
        {
            "heading": "By class",
            "note": note if len(shown) < len(classes) else "",
            "figure": figures.group_figure(
                "by-class", [g for g in classes if g in shown], "Label quality by given class"
            ),
        },
        {
            "heading": "By degree",
            "note": "",
            "figure": figures.group_figure(
                "by-degree", groups.by_degree(frame), "Label quality by node degree"
            ),
        },
    ]
    agreement = _agreement(frame, neighbours)
    if agreement is not None:
        figure = figures.group_figure(
            "by-agreement", groups.by_agreement(frame, agreement), "Label quality by homophily"
        )
        note = "Share of a node's labelled neighbours that were given the same label. "
        result.append({"heading": "By local homophily", "note": note, "figure": figure})
    return result


def _agreement(frame: pd.DataFrame, neighbours: Neighbours | None) -> np.ndarray | None:
    if _AGREEMENT in frame.columns and pd.api.types.is_float_dtype(frame[_AGREEMENT]):
        return frame[_AGREEMENT].to_numpy()
    return neighbours.agreement(frame["node"].to_numpy()) if neighbours is not None else None


def _probability_figure(frame: pd.DataFrame) -> Markup | None:
    if frame.empty:
        return None
    probability, flagged = frame["mislabel_probability"], frame["is_label_issue"]
    return figures.probability_figure(probability.to_numpy(), flagged.to_numpy())


def _cards(issues: LabelIssues, neighbours: Neighbours | None, top: int) -> list[dict[str, Any]]:
    """Return the worst nodes with their evidence, worst first."""
    code = {name: i for i, name in enumerate(issues.class_names)}
    worst = issues.top(top)
    evidence = [name for name in worst.columns if name not in REQUIRED_COLUMNS]
    cards = []
    for rank, (node_id, row) in enumerate(
        zip(worst.index, worst.to_dict(orient="records"), strict=True), start=1
    ):
        ego = None
        if neighbours is not None:
            suggested = code[row["suggested_label"]]
            ego = ego_network(int(row["node"]), suggested, neighbours, issues.class_names)
        facts = {_fact(name): _value(row[name]) for name in evidence}
        cards.append({"rank": rank, "id": str(node_id), "row": row, "ego": ego, "facts": facts})
    return cards


def _fact(name: str) -> str:
    """Return what an evidence column is called on the page."""
    if name in _VIEWS:
        return _VIEWS[name]
    hop = _HOP_EVIDENCE.fullmatch(name)
    if hop is None:
        return _words(name)
    source, distance = hop[1], int(hop[2])
    if distance == 0:
        return {"p": "Support: own prediction", "x": "Support: features alone"}[source]
    what = {"p": "predictions", "l": "labels"}[source]
    return f"Support: {what} {distance} {'hop' if distance == 1 else 'hops'} away"


def _evaluation(scores: Mapping[str, float] | None) -> dict[str, str] | None:
    if scores is None:
        return None
    for name, score in scores.items():
        if isinstance(score, bool) or not isinstance(score, (int, float, np.number)):
            raise InputError("evaluation", f"{name} = {score!r}", "Pass numbers by name.")
    return {_words(str(name)): _value(score) for name, score in scores.items()}


def _made(meta: Mapping[str, Any]) -> dict[str, str]:
    """Return what is known of how the issues were made, the usual keys first."""
    usual = ["detector", "dataset", "params", "seed", "calibrated", "versions", "command"]
    known = {key for key, value in meta.items() if value not in (None, [], {}, "")}
    keys = [*(key for key in usual if key in known), *sorted(known - set(usual))]
    return {_words(key): _plain(meta[key]) for key in keys}


def _plain(value: Any) -> str:
    if isinstance(value, dict):
        known = sorted(key for key in value if value[key] is not None)
        return ", ".join(f"{key} = {_plain(value[key])}" for key in known)
    if isinstance(value, list):
        return "; ".join(map(_plain, value))
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _percent(share: float) -> str:
    return f"{share:.1%}"


def _breakable(text: str) -> Markup:
    """Escape ``text``, cut it if very long, and let its lines break after an underscore."""
    shown = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return Markup("_<wbr>").join(escape(part) for part in shown.split("_"))


def _value(value: Any) -> str:
    if isinstance(value, (bool, np.bool_)):
        return "yes" if value else "no"
    if isinstance(value, (int, np.integer)):
        return f"{value:,}"
    if isinstance(value, (float, np.floating)):
        number = float(value)
        return "unknown" if math.isnan(number) else f"{number:,.3f}"
    return str(value)


def _words(name: str) -> str:
    text = _ACRONYMS.get(name, name.replace("_", " "))
    return text[:1].upper() + text[1:]
