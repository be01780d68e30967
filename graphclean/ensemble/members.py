"""The learners of a stack: who they are and what they read."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sklearn.base import clone
from sklearn.linear_model import LogisticRegression

from graphclean.data.mixed import MixedTable, mixed_table
from graphclean.ensemble.base import EnsembleClassifier
from graphclean.nn.classifier import NodeClassifier
from graphclean.nn.gcn import GCN
from graphclean.nn.mlp import MLP
from graphclean.nn.sage import GraphSAGE
from graphclean.nn.sign import SIGN
from graphclean.nn.tabular import HistGradientBoosting, ScikitLearnClassifier, TabularClassifier
from graphclean.robust.base import RobustTrainer
from graphclean.sparse import Propagator
from graphclean.types import InputError

Member = NodeClassifier | str | tuple[str, NodeClassifier | str]
Members = Sequence[Member] | None
TableKey = tuple[tuple[str, ...], bool, int | None]
Stackers = Sequence[str | tuple[str, TabularClassifier]] | None

_STACKERS = ("boosting", "logistic")
"""The stackers that have a name of their own; the second reads no features."""


@dataclass(frozen=True, eq=False)
class StackInputs:
    """What the learners of a stack read of one graph; free of labels.

    Attributes:
        members: Prepared graph by member.
        tables: Features as learners of tables read them, by ``neighbours, structure, svd``.
        propagator: S, normalised by rows, of the undirected graph.
    """

    members: dict[str, Any]
    tables: dict[TableKey, MixedTable]
    propagator: Propagator


def default_members() -> list[tuple[str, NodeClassifier]]:
    """Return the members that a stack has unless others are given."""
    return [
        ("boosting", HistGradientBoosting()),
        ("mlp", MLP(feature_norm="auto")),
        ("gcn", GCN(feature_norm="auto")),
        ("sage", GraphSAGE(feature_norm="auto")),
        ("sign", SIGN(feature_norm="auto")),
    ]


def named_members(given: Members) -> list[tuple[str, NodeClassifier]]:
    """Return fresh members with unique names.

    Raises:
        InputError: One is no classifier, or two have one name.
    """
    if given is None:
        return default_members()
    if isinstance(given, str) or not isinstance(given, Sequence) or not given:
        raise InputError("estimators", repr(given), "Pass a list of classifiers, or None.")
    found = [_named(each) for each in given]
    return _unique("estimators", found)


def named_stackers(given: Stackers) -> list[tuple[str, TabularClassifier, bool]]:
    """Return fresh stackers: name, learner, and whether it reads features.

    Raises:
        InputError: One is no tabular classifier, or two have one name.
    """
    wanted = _STACKERS if given is None else given
    if isinstance(wanted, str) or not isinstance(wanted, Sequence) or not wanted:
        raise InputError("stackers", repr(given), "Pass a list of stackers, or None.")
    found: list[tuple[str, TabularClassifier]] = []
    for each in wanted:
        if isinstance(each, str) and each in _STACKERS:
            found.append((each, _own_stacker(each)))
        elif _is_pair(each) and isinstance(each[1], TabularClassifier):
            found.append((each[0], clone(each[1])))
        else:
            raise InputError(
                "stackers",
                repr(each),
                "Pass 'boosting', 'logistic' or (name, tabular classifier): whatever collects from "
                "neighbours would bring a row its own label back.",
            )
    own = {each for each in wanted if each == "logistic"}
    return [(name, model, name not in own) for name, model in _unique("stackers", found)]


def _own_stacker(name: str) -> TabularClassifier:
    if name == "boosting":
        return HistGradientBoosting(max_iter=100, max_leaf_nodes=8)
    # Columns of members and hops say nearly the same: they need a strong penalty.
    return ScikitLearnClassifier(model=LogisticRegression(C=0.01, max_iter=1000))


def prepare_stack(
    data: Any,
    members: Iterable[tuple[str, NodeClassifier]],
    stackers: Iterable[tuple[str, TabularClassifier, bool]],
    *,
    fitted: bool = False,
) -> StackInputs:
    """Prepare a graph for all learners, once for those that read the same.

    Fitted learners of tables get columns that are made as they were for their fit. Trainers and
    ensembles that are ``fitted`` get None: what their own learners read only they know.
    """
    tables: dict[TableKey, MixedTable] = {}

    def table(model: TabularClassifier) -> MixedTable:
        key = _key(model)
        if key not in tables:
            tables[key] = _table(data, model)
        return tables[key]

    ready: dict[str, Any] = {}
    for name, model in members:
        if isinstance(model, TabularClassifier):
            ready[name] = table(model)
        elif fitted and isinstance(model, RobustTrainer | EnsembleClassifier):
            ready[name] = None
        else:
            ready[name] = model.prepare(data)
    for _, model, reads in stackers:
        if reads:
            table(model)
    return StackInputs(ready, tables, Propagator.from_data(data, norm="row", direction="both"))


def stacker_tables(
    data: Any, stackers: Iterable[tuple[str, TabularClassifier, bool]], inputs: StackInputs
) -> dict[str, MixedTable | None]:
    """Return the features of every stacker, None for one that reads predictions alone."""
    found: dict[str, MixedTable | None] = {}
    for name, model, reads in stackers:
        found[name] = inputs.tables.get(_key(model)) if reads else None
        if reads and found[name] is None:
            found[name] = _table(data, model)
    return found


def _key(model: TabularClassifier) -> TableKey:
    return tuple(model.neighbours), model.structure, model.svd


def _table(data: Any, model: TabularClassifier) -> MixedTable:
    layout = getattr(model, "layout_", None)
    if layout is None:
        return model.prepare(data)
    neighbours, structure, svd = _key(model)
    return mixed_table(data, neighbours=neighbours, structure=structure, svd=svd, layout=layout)


def _named(given: Any) -> tuple[str, NodeClassifier]:
    if _is_pair(given):
        return given[0], _classifier(given[1])
    made = _classifier(given)
    return str(getattr(made, "name", type(made).__name__)), made


def _classifier(given: Any) -> NodeClassifier:
    families: tuple[type[NodeClassifier], ...] = (RobustTrainer, EnsembleClassifier, NodeClassifier)
    if isinstance(given, str):
        for family in families:
            if given in family.registry or family is NodeClassifier:
                made: NodeClassifier = family.create(given)
                return made
    if not isinstance(given, NodeClassifier):
        fix = "Pass classifiers, their registered names, or pairs of a name and one of these."
        raise InputError("estimators", repr(given), fix)
    copied: NodeClassifier = clone(given)
    return copied


def _is_pair(given: Any) -> bool:
    return isinstance(given, (tuple, list)) and len(given) == 2 and isinstance(given[0], str)


def _unique(argument: str, found: list[Any]) -> list[Any]:
    names = [each[0] for each in found]
    twice = [name for name in names if names.count(name) > 1]
    if twice:
        raise InputError(argument, f"{twice[0]!r} twice", "Name them: ('name', classifier).")
    for name in names:
        if name in ("mean", "stack") or re.match(r"layer\d+/", name):
            fix = "Choose another name: a stack calls its own results so."
            raise InputError(argument, repr(name), fix)
    return found
