"""A graph comes in: named benchmarks, tables, networkx, scipy, npz, GraphML; checks; splits."""

from graphclean.data.checks import check
from graphclean.data.importers import from_networkx, from_scipy, load_graphml, read_graph
from graphclean.data.labels import class_names, encode_labels, labelled_mask, node_ids, num_classes
from graphclean.data.loading import list_datasets, load
from graphclean.data.mixed import MixedTable, mixed_table
from graphclean.data.npz import load_npz, save_npz
from graphclean.data.splits import split
from graphclean.data.tables import from_tables, to_tables

__all__ = [
    "MixedTable",
    "check",
    "class_names",
    "encode_labels",
    "from_networkx",
    "from_scipy",
    "from_tables",
    "labelled_mask",
    "list_datasets",
    "load",
    "load_graphml",
    "load_npz",
    "mixed_table",
    "node_ids",
    "num_classes",
    "read_graph",
    "save_npz",
    "split",
    "to_tables",
]
