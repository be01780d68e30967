"""graphclean: find, explain, repair and train through wrong node labels in graphs.

>>> import graphclean as gc
>>> data = gc.load("digits")
>>> issues = gc.find_label_issues(data)          # doctest: +SKIP
>>> cleaned = gc.clean(data, issues, "relabel")  # doctest: +SKIP
>>> model = gc.train(data)                       # doctest: +SKIP
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from graphclean import (
        data,
        denoise,
        detect,
        ensemble,
        evaluate,
        nn,
        noise,
        report,
        robust,
        sparse,
    )
    from graphclean.data import (
        check,
        from_networkx,
        from_scipy,
        from_tables,
        list_datasets,
        load,
        read_graph,
        split,
    )
    from graphclean.denoise import CleanLabels, clean, plan_repair
    from graphclean.detect import find_label_issues, find_multilabel_issues
    from graphclean.issues import LabelIssues, MultiLabelIssues
    from graphclean.nn import load_model, save_model
    from graphclean.noise import FlipLabels
    from graphclean.robust import train
    from graphclean.types import InputError

__version__ = "0.1.0"

_HOME = {
    "check": "data",
    "from_networkx": "data",
    "from_scipy": "data",
    "from_tables": "data",
    "list_datasets": "data",
    "load": "data",
    "read_graph": "data",
    "split": "data",
    "CleanLabels": "denoise",
    "clean": "denoise",
    "plan_repair": "denoise",
    "find_label_issues": "detect",
    "find_multilabel_issues": "detect",
    "LabelIssues": "issues",
    "MultiLabelIssues": "issues",
    "load_model": "nn",
    "save_model": "nn",
    "FlipLabels": "noise",
    "train": "robust",
    "InputError": "types",
}
_ROOMS = (
    "data",
    "denoise",
    "detect",
    "ensemble",
    "evaluate",
    "nn",
    "noise",
    "report",
    "robust",
    "sparse",
)

__all__ = [
    "CleanLabels",
    "FlipLabels",
    "InputError",
    "LabelIssues",
    "MultiLabelIssues",
    "check",
    "clean",
    "data",
    "denoise",
    "detect",
    "ensemble",
    "evaluate",
    "find_label_issues",
    "find_multilabel_issues",
    "from_networkx",
    "from_scipy",
    "from_tables",
    "list_datasets",
    "load",
    "load_model",
    "nn",
    "noise",
    "plan_repair",
    "read_graph",
    "report",
    "robust",
    "save_model",
    "sparse",
    "split",
    "train",
]


def __getattr__(name: str) -> Any:
    """Import a room, and torch with it, when it is first used: ``graphclean --help`` is instant."""
    if name in _ROOMS:
        return import_module(f"graphclean.{name}")
    if name in _HOME:
        return getattr(import_module(f"graphclean.{_HOME[name]}"), name)
    raise AttributeError(f"module 'graphclean' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
