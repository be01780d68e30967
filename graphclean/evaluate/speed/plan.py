"""Which tasks are measured on which graphs, by size of the run."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from graphclean.evaluate.speed import hops, product, propagation, reductions, training
from graphclean.evaluate.speed.cases import Case, check_graph, is_at_hand
from graphclean.evaluate.speed.comparison import Comparison
from graphclean.types import InputError

Size = Literal["small", "default", "products"]

_ON_ANY: Mapping[str, Callable[[Case, str], Comparison]] = {
    "spmm": product.spmm,
    "label_propagation": propagation.propagate_labels,
    "gcn": training.gcn,
    "sgc": training.sgc,
    "appnp": training.appnp,
    "hops_warm": hops.hop_products,
}
_ON_CPU: Mapping[str, Callable[[Case], Comparison]] = {
    "build": product.build,
    "hops": hops.hop_features,
    "max": reductions.maximum,
    "softmax": reductions.edge_softmax,
    "label_histogram": reductions.histogram,
    "sign_features": training.sign,
    "label_propagation_networkx": propagation.propagate_labels_small,
}
_NAMED = ("cora", "photo", "dblp", "tolokers")
_STAND_IN: Mapping[str, str] = {"photo": "photo-size"}
"""Synthetic graphs of the same size, for named ones that are not at hand."""

PLANS: Mapping[Size, Mapping[str, Sequence[str]]] = {
    "small": {
        "spmm": ("pl2k",),
        "build": ("pl2k",),
        "label_propagation": ("pl2k",),
        "label_propagation_networkx": ("pl500",),
        "hops": ("pl500",),
        "hops_warm": ("pl500",),
        "gcn": ("pl500",),
        "sgc": ("pl500",),
        "appnp": ("pl500",),
        "sign_features": ("pl500",),
        "max": ("pl500",),
        "softmax": ("pl500",),
        "label_histogram": ("pl500",),
    },
    "default": {
        "spmm": ("pl200k", *_NAMED),
        "build": ("pl200k",),
        "label_propagation": ("pl200k",),
        "label_propagation_networkx": ("pl5k",),
        "hops": ("photo", "cora", "dblp", "tolokers", "pl200k"),
        "hops_warm": ("photo",),
        "gcn": ("arxiv-size",),
        "sgc": ("arxiv-size",),
        "appnp": ("arxiv-size",),
        "sign_features": ("arxiv-size",),
        "max": ("pl200k",),
        "softmax": ("pl200k",),
        "label_histogram": ("pl200k",),
    },
    "products": {
        "spmm": ("products-size",),
        "build": ("products-size",),
        "label_propagation": ("products-size",),
        "hops": ("products-size",),
        "hops_warm": ("products-size",),
        "gcn": ("products-size",),
    },
}


@dataclass(frozen=True)
class Step:
    """One comparison to make."""

    topic: str
    graph: str

    @property
    def name(self) -> str:
        """Name of the comparison."""
        return f"{self.topic}/{self.graph}"

    def build(self, case: Case, device: str) -> Comparison:
        """Return the comparison on a graph."""
        if self.topic in _ON_ANY:
            return _ON_ANY[self.topic](case, device)
        return _ON_CPU[self.topic](case)


def steps(
    size: Size, graphs: Sequence[str], only: Sequence[str], device: str
) -> tuple[list[Step], dict[str, str]]:
    """Return what to measure, and by name what is left out and why.

    Args:
        size: One of `PLANS`.
        graphs: Graphs to measure on in place of the plan's own.
        only: Topics (``"hops"``) or comparisons (``"hops/photo"``) to keep; empty for all.
        device: ``"cpu"``, or ``"cuda"``, which leaves out what runs on a CPU only.

    Raises:
        InputError: A size, graph or name that there is not, or nothing to measure.
    """
    if size not in PLANS:
        raise InputError("size", size, f"Choose one of: {', '.join(PLANS)}.")
    if device not in ("cpu", "cuda"):
        raise InputError("device", device, "Choose 'cpu' or 'cuda'.")
    for name in graphs:
        check_graph(name)
    planned = [Step(topic, graph) for topic, own in PLANS[size].items() for graph in graphs or own]
    left_out: dict[str, str] = {}
    wanted = list(_wanted(planned, only))
    found = []
    for step in wanted:
        if device != "cpu" and step.topic in _ON_CPU:
            left_out[step.name] = "runs on a CPU only"
        elif graphs or is_at_hand(step.graph):
            found.append(step)
        elif step.graph in _STAND_IN:
            found.append(Step(step.topic, _STAND_IN[step.graph]))
        else:
            left_out[step.name] = "its raw files are not below GRAPHCLEAN_DATA"
    if not found:
        raise InputError("only", ", ".join(only) or size, "Nothing of it runs on this device.")
    return found, left_out


def _wanted(planned: Sequence[Step], only: Sequence[str]) -> Iterator[Step]:
    known = {name for step in planned for name in (step.topic, step.name)}
    for name in only:
        if name not in known:
            topics = ", ".join(dict.fromkeys(step.topic for step in planned))
            raise InputError(
                "only",
                name,
                f"Choose a topic ({topics}), or one on one graph, as {planned[0].name}.",
            )
    for step in planned:
        if not only or step.topic in only or step.name in only:
            yield step
