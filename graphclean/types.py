"""The vocabulary every room shares: registered families, seeds, input errors, protocols."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, Protocol, Self, runtime_checkable

import numpy as np
import torch

Seed = int | None
"""A non-negative integer for a reproducible run, or None for fresh entropy."""


class InputError(ValueError):
    """Bad input from the user: names the argument, the offending value and the fix.

    Args:
        argument: Name of the argument as the caller wrote it.
        value: The offending value, or what is wrong with it.
        fix: What the caller should do instead, as an imperative.
    """

    def __init__(self, argument: str, value: object, fix: str) -> None:
        self.argument, self.value, self.fix = argument, value, fix
        shown = value if isinstance(value, str) else repr(value)
        super().__init__(f"{argument}: {shown}. {fix}")


class MissingDependencyError(ImportError):
    """An optional dependency is absent; the message names the extra that brings it."""

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(
            f"{purpose} needs the package '{package}'. "
            f"Install it with: pip install 'graphclean[{extra}]'"
        )


class Registered:
    """A family of methods in which every subclass with its own ``name`` registers itself.

    A family root is declared with ``class Detector(Registered, family="detector")``; its
    ``registry`` is what ``graphclean list`` and the contract tests walk.
    """

    name: ClassVar[str]
    registry: ClassVar[dict[str, type[Any]]]
    family: ClassVar[str]

    def __init_subclass__(cls, family: str | None = None, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if family is not None:
            cls.registry, cls.family = {}, family
            return
        name = cls.__dict__.get("name")
        if name is None:
            return
        taken = cls.registry.get(name)
        if taken is not None and taken.__qualname__ != cls.__qualname__:
            raise TypeError(
                f"{cls.__qualname__}: the name {name!r} belongs to {taken.__qualname__}"
            )
        cls.registry[name] = cls

    @classmethod
    def create(cls, name: str, **params: Any) -> Self:
        """Build the registered method ``name``; unknown names and parameters raise InputError."""
        if name not in cls.registry:
            known = ", ".join(sorted(cls.registry))
            raise InputError(cls.family, name, f"Choose one of: {known}.")
        method = cls.registry[name]
        signature = inspect.signature(method).parameters
        needed = {key for key, p in signature.items() if p.default is inspect.Parameter.empty}
        for problem, names in (
            ("unknown", sorted(set(params) - set(signature))),
            ("missing", sorted(needed - set(params))),
        ):
            if names:
                raise InputError(
                    f"{cls.family} {name!r}",
                    f"{problem} parameter {names[0]!r}",
                    f"It takes: {', '.join(signature) or 'no parameters'}.",
                )
        built: Self = method(**params)
        return built


@runtime_checkable
class ProbabilisticClassifier(Protocol):
    """Whatever can be fitted on a graph and give class probabilities for all its nodes."""

    def fit(self, data: Any, y: Any = None, mask: Any = None, sample_weight: Any = None) -> Any:
        """Fit on the rows of ``data`` selected by ``mask``."""

    def predict_proba(self, data: Any) -> torch.Tensor:
        """Return class probabilities ``[N, C]``, float, rows summing to one."""


def numpy_rng(seed: Seed | np.random.Generator) -> np.random.Generator:
    """Return a NumPy generator for ``seed`` (a generator passes through unchanged)."""
    if isinstance(seed, np.random.Generator):
        return seed
    return np.random.default_rng(check_seed(seed))


def torch_rng(seed: Seed | torch.Generator) -> torch.Generator:
    """Return a CPU torch generator for ``seed`` (a generator passes through unchanged)."""
    if isinstance(seed, torch.Generator):
        return seed
    generator = torch.Generator()
    if check_seed(seed) is None:
        generator.seed()
    else:
        generator.manual_seed(int(seed))  # type: ignore[arg-type]
    return generator


def check_seed(seed: Seed) -> Seed:
    """Return ``seed`` if it is None or a non-negative integer, else raise InputError."""
    if seed is None or (isinstance(seed, (int, np.integer)) and 0 <= seed < 2**63):
        return seed
    raise InputError("random_state", seed, "Pass a non-negative integer, or None.")


def spawn_seeds(seed: Seed, count: int) -> list[int]:
    """Return ``count`` independent seeds derived from ``seed``; a longer list only appends."""
    children = np.random.SeedSequence(check_seed(seed)).spawn(count)
    return [int(child.generate_state(1, np.uint32)[0]) for child in children]
