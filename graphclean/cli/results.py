"""What ``graphclean clean`` leaves in its output folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphclean.cli.graph_source import GraphSource
from graphclean.cli.out_folder import remove_stale, write_csv, write_json
from graphclean.cli.show import Result, without_nan

_ISSUES = ("issues.csv", "issues.parquet", "transition.csv", "summary.json")
_JUDGED = ("evaluation.json", "report.html")
_CLEANED = ("cleaned.npz", "cleaned_nodes.csv", "cleaned_edges.csv", "cleaned_targets.csv")
FILES = (*_ISSUES, *_JUDGED, *_CLEANED)


def write_issues(out: Path, found: Result, top: int) -> list[str]:
    """Write the issues, the report and, where there is one, the evaluation; return the names."""
    from graphclean.report import write_report

    found.issues.save(out)
    written = list(_JUDGED)
    if found.evaluation is None:
        written.remove("evaluation.json")
    else:
        write_json(out / "evaluation.json", without_nan(found.evaluation))
    write_report(
        out / "report.html", found.issues, found.data, evaluation=found.evaluation, top=top
    )
    remove_stale(out, _JUDGED, written)
    return [*(name for name in _ISSUES if (out / name).exists()), *written]


def write_cleaned(out: Path, graph: GraphSource, cleaned: Any) -> list[str]:
    """Write the cleaned graph, if any, of tables also as tables; return the names of the files."""
    written = []
    if cleaned is not None:
        from graphclean.data import save_npz

        save_npz(cleaned, out / "cleaned.npz")
        written.append("cleaned.npz")
        for name, table in _tables(graph, cleaned).items():
            write_csv(out / name, table)
            written.append(name)
    remove_stale(out, _CLEANED, written)
    return written


def _tables(graph: GraphSource, cleaned: Any) -> dict[str, Any]:
    """Return the user's own tables with repaired labels, and soft targets or weights beside them.

    Targets stay out of the table of nodes, where the next reader would take them for features.
    """
    if graph.nodes is None:
        return {}
    import numpy as np
    import pandas as pd

    from graphclean.data import class_names, node_ids
    from graphclean.data.ids import find_ids, id_index
    from graphclean.data.table_files import read_table
    from graphclean.data.tables import id_column

    names = class_names(cleaned)
    nodes = read_table(graph.nodes, str(graph.nodes))[0]
    column = id_column(nodes, graph.id, str(graph.label))
    ids = nodes.index.to_series() if column is None else nodes[column]
    order = find_ids(id_index(node_ids(cleaned)), ids)
    labels = np.array([*names, ""], dtype=object)[cleaned.y.numpy()[order]]
    tables = {"cleaned_nodes.csv": nodes.assign(**{str(graph.label): labels})}
    if graph.edges is not None:
        tables["cleaned_edges.csv"] = read_table(graph.edges, str(graph.edges))[0]
    targets = pd.DataFrame({"node_id": node_ids(cleaned)})
    if "y_soft" in cleaned:
        soft = pd.DataFrame(cleaned.y_soft.numpy(), columns=pd.Index(names))
        tables["cleaned_targets.csv"] = pd.concat([targets, soft], axis=1)
    elif "sample_weight" in cleaned:
        tables["cleaned_targets.csv"] = targets.assign(sample_weight=cleaned.sample_weight.numpy())
    return tables
