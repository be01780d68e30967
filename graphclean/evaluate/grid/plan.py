"""What an experiment grid consists of: cells, learners, methods."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from numbers import Integral
from typing import Any

from graphclean.detect import Detector
from graphclean.nn import NodeClassifier
from graphclean.noise import parse_noise
from graphclean.noise.base import check_rate
from graphclean.noise.flip_labels import PUBLISHED_KINDS
from graphclean.recipes import get_recipe
from graphclean.types import InputError, check_seed

PROTOCOLS = ("whole", "published")
ACTIONS = ("drop", "relabel")
BEST = "best"
"""In ``Method.probs``: the learner with the lowest out-of-fold log loss on the given labels."""


@dataclass(frozen=True)
class Cell:
    """One graph with one draw of noise.

    Attributes:
        graph: Name of a graph (``graphclean list datasets``).
        noise: Name of a noise model that needs nothing but a rate.
        rate: Its rate, in [0, 1].
        seed: Seed of the noise, the folds, the learners and the detectors.
        protocol: ``"whole"``: every label is given and every labelled node is scored.
            ``"published"``: noise by GraphCleaner's procedure with seed 1000 + ``seed``
            (``"uniform"`` or ``"pair"``), on the published split, or where there is none on a
            random one of 60/20/20; test nodes alone are scored.
    """

    graph: str
    noise: str
    rate: float
    seed: int
    protocol: str = "whole"

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise InputError("protocol", self.protocol, f"Choose one of: {', '.join(PROTOCOLS)}.")
        object.__setattr__(self, "graph", _graph_name(self.graph))
        object.__setattr__(self, "rate", check_rate(self.rate))
        if isinstance(self.seed, bool) or check_seed(self.seed) is None:
            raise InputError("seeds", self.seed, "Pass non-negative integers.")
        if self.protocol == "whole":
            parse_noise(f"{self.noise}:{self.rate}")
        elif self.noise not in PUBLISHED_KINDS:
            kinds = ", ".join(sorted(PUBLISHED_KINDS))
            raise InputError("noise", self.noise, f"The published protocol has: {kinds}.")

    def __str__(self) -> str:
        return f"{self.graph} {self.noise} {self.rate:g} seed {self.seed} ({self.protocol})"


@dataclass(frozen=True)
class Learner:
    """A base learner whose out-of-fold probabilities the methods of a cell share.

    Attributes:
        name: Name within the grid.
        classifier: Registered name of a ``NodeClassifier``.
        params: Its parameters; ``random_state`` follows from the cell.
        version: Raise it when the learner's code has changed, to fit it anew.
    """

    name: str
    classifier: str
    params: Mapping[str, Any] = field(default_factory=dict)
    version: int = 1

    def __post_init__(self) -> None:
        if not self.name or self.name == BEST:
            raise InputError("learners", self.name, f"Choose a name other than {BEST!r}.")
        self.build()

    def build(self) -> NodeClassifier:
        """Return the learner, unfitted."""
        return NodeClassifier.create(self.classifier, **self.params)


@dataclass(frozen=True)
class Method:
    """A detector with its settings.

    Attributes:
        name: Name in the tables.
        detector: Registered name of a ``Detector``.
        params: Its parameters; ``random_state`` is the cell's seed unless it is given here.
        probs: What ``fit`` gets as ``pred_probs``: None for nothing, the name of a learner or
            ``"best"`` for its ``OutOfFold``, or a list of names for a list of them in this order,
            in which the best one, if it is asked for, comes once.
        version: Raise it when the detector's code has changed, to run it anew.
    """

    name: str
    detector: str
    params: Mapping[str, Any] = field(default_factory=dict)
    probs: str | tuple[str, ...] | None = None
    version: int = 1

    def __post_init__(self) -> None:
        if not self.name:
            raise InputError("method.name", repr(self.name), "Give the method a name.")
        detector = self.build(0)
        if self.probs is None:
            return
        if not detector.reads_probs:
            raise InputError(
                f"method {self.name!r}: probs",
                repr(self.probs),
                f"{self.detector} reads no probabilities: leave it out.",
            )
        if not isinstance(self.probs, str):
            object.__setattr__(self, "probs", tuple(self.probs))
            if not self.probs or BEST in self.probs[1:] or len({*self.probs}) < len(self.probs):
                raise InputError(
                    f"method {self.name!r}: probs",
                    list(self.probs),
                    f"Name different learners, {BEST!r} only as the first.",
                )

    @property
    def wanted(self) -> tuple[str, ...]:
        """The names in ``probs``, as a tuple."""
        if self.probs is None:
            return ()
        return (self.probs,) if isinstance(self.probs, str) else self.probs

    def build(self, seed: int) -> Detector:
        """Return the detector, unfitted, with this seed where it takes one."""
        detector = Detector.create(self.detector, **self.params)
        if "random_state" in detector.get_params(deep=False) and "random_state" not in self.params:
            detector.set_params(random_state=seed)
        return detector

    def reads(self, learners: Iterable[Learner]) -> list[Learner]:
        """Return the learners that the result depends on: all of them where it takes the best."""
        return [each for each in learners if BEST in self.wanted or each.name in self.wanted]


@dataclass(frozen=True)
class Grid:
    """Every method on every cell.

    Attributes:
        cells: What to run on, each once.
        learners: Whose out-of-fold probabilities are shared.
        methods: What to run.
        actions: Repairs whose effect is measured, out of ``"drop"`` and ``"relabel"``.
        n_folds: Folds of the out-of-fold probabilities.
    """

    cells: tuple[Cell, ...]
    learners: tuple[Learner, ...]
    methods: tuple[Method, ...]
    actions: tuple[str, ...] = ACTIONS
    n_folds: int = 5

    def __post_init__(self) -> None:
        for key in ("cells", "learners", "methods", "actions"):
            object.__setattr__(self, key, tuple(getattr(self, key)))
        object.__setattr__(self, "cells", tuple(dict.fromkeys(self.cells)))
        for key in ("cells", "methods"):
            if not getattr(self, key):
                raise InputError(key, "none", "Give the grid at least one.")
        _check_names("learners", self.learners)
        _check_names("methods", self.methods)
        known = [each.name for each in self.learners]
        for method in self.methods:
            for name in method.wanted:
                if name not in known and not (name == BEST and known):
                    raise InputError(
                        f"method {method.name!r}: probs",
                        name,
                        f"Name a learner ({', '.join(known) or 'there are none'}) or {BEST!r}.",
                    )
        for action in self.actions:
            if action not in ACTIONS:
                raise InputError("actions", action, f"Choose one of: {', '.join(ACTIONS)}.")
        if isinstance(self.n_folds, bool) or not isinstance(self.n_folds, Integral):
            raise InputError("n_folds", self.n_folds, "Pass an integer >= 2.")
        if self.n_folds < 2:
            raise InputError("n_folds", self.n_folds, "Pass an integer >= 2.")

    @property
    def runs(self) -> int:
        """Number of runs: cells times methods."""
        return len(self.cells) * len(self.methods)


def _graph_name(given: Any) -> str:
    try:
        return get_recipe("datasets", given).name
    except InputError as error:
        raise InputError("graphs", error.value, error.fix) from error


def _check_names(key: str, named: Sequence[Learner | Method]) -> None:
    names = [each.name for each in named]
    for name in names:
        if names.count(name) > 1:
            raise InputError(key, name, "Give each a name of its own.")
