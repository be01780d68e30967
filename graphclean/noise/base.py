"""The noise-model family: what every synthetic mislabelling gives back, and how it is asked for."""

from __future__ import annotations

import inspect
import secrets
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Real
from typing import Any

import torch
from torch import Tensor

from graphclean.data.labels import labelled_mask, num_classes
from graphclean.noise._sampling import round_half_up
from graphclean.noise.transition import realised_transition
from graphclean.types import InputError, Registered, check_seed, torch_rng

SPLITS = ("train", "val", "test")


@dataclass(frozen=True, eq=False)
class NoiseSample:
    """One draw of synthetic mislabels.

    Attributes:
        y: Noisy labels ``[N]``, long; -1 stays -1.
        flip_mask: Nodes whose label changed ``[N]``, bool.
        transition: Realised ``T[i, j]``: share of eligible nodes of class i that are now labelled
            j, float ``[C, C]``, rows sum to one; a class without eligible nodes has the row of the
            identity.
        rate: Realised rate: flips divided by eligible nodes, in [0, 1].
        seed: The integer that gives this sample again, None if a generator was passed in.
        eligible: Nodes that were exposed to noise ``[N]``, bool.
        on: The splits that were exposed, out of train, val and test.
    """

    y: Tensor
    flip_mask: Tensor
    transition: Tensor
    rate: float
    seed: int | None
    eligible: Tensor
    on: tuple[str, ...]


class NoiseModel(Registered, ABC, family="noise"):
    """A synthetic mislabelling process with an exact number of flips.

    Expected counts are rounded to integers (halves upwards) before any node is drawn, and a flipped
    node always gets a different class. The label found in ``data.y`` is taken as the true one.
    Subclasses store their constructor's parameters as attributes of the same name.
    """

    def sample(
        self,
        data: Any,
        generator: torch.Generator | int | None = None,
        *,
        on: Sequence[str] = SPLITS,
    ) -> NoiseSample:
        """Draw mislabels for a graph; ``data`` is not changed.

        Args:
            data: PyG ``Data`` with ``y`` (long ``[N]``, -1 = unlabelled).
            generator: A torch generator, a seed, or None for fresh entropy.
            on: Splits to corrupt, out of ``"train"``, ``"val"``, ``"test"``. A labelled node in
                neither ``val_mask`` nor ``test_mask`` counts as train.

        Returns:
            Noisy labels, flip mask, realised transition matrix and rate.

        Raises:
            InputError: If there is nothing to corrupt, or only one class.
        """
        wanted = check_splits(on)
        y = _labels(data)
        classes = num_classes(data)
        if classes < 2:
            raise InputError("data.y", f"{classes} class(es)", "Label noise needs at least two.")
        eligible = eligible_mask(data, wanted)
        nodes = torch.nonzero(eligible).flatten()
        if len(nodes) == 0:
            raise InputError(
                "on",
                f"no labelled node in {', '.join(wanted)}",
                "Choose other splits, or add masks.",
            )
        seed, rng = self._seeding(generator)
        flipped, labels = self._draw(data, y, nodes, classes, rng)
        noisy = y.clone()
        noisy[flipped] = labels
        mask = noisy != y
        device = data.y.device
        return NoiseSample(
            y=noisy.to(device),
            flip_mask=mask.to(device),
            transition=realised_transition(y[nodes], noisy[nodes], classes).to(device),
            rate=int(mask.sum()) / len(nodes),
            seed=seed,
            eligible=eligible.to(device),
            on=wanted,
        )

    def _seeding(
        self, generator: torch.Generator | int | None
    ) -> tuple[int | None, torch.Generator]:
        if isinstance(generator, torch.Generator):
            return None, generator
        seed = secrets.randbits(32) if generator is None else check_seed(generator)
        return seed, torch_rng(seed)

    @abstractmethod
    def _draw(
        self, data: Any, y: Tensor, nodes: Tensor, num_classes: int, generator: torch.Generator
    ) -> tuple[Tensor, Tensor]:
        """Return the flipped nodes ``[F]``, all among ``nodes``, and their new labels ``[F]``."""

    def __repr__(self) -> str:
        names = inspect.signature(type(self)).parameters
        shown = ", ".join(f"{name}={_brief(getattr(self, name))}" for name in names)
        return f"{type(self).__name__}({shown})"


class FixedRateNoise(NoiseModel):
    """A noise model that flips ``round(rate * eligible)`` labels, halves rounded upwards.

    Args:
        rate: Share of eligible nodes to flip, in [0, 1].

    Raises:
        InputError: If the rate is not a number in [0, 1].
    """

    def __init__(self, rate: float = 0.1) -> None:
        self.rate = check_rate(rate)

    def _flip_count(self, nodes: Tensor) -> int:
        return round_half_up(self.rate * len(nodes))


def eligible_mask(data: Any, on: Sequence[str] = SPLITS) -> Tensor:
    """Return the labelled nodes of the splits ``on``, bool ``[N]`` on the CPU.

    Raises:
        InputError: If a mask has several columns and the splits have to be told apart.
    """
    if set(on) == set(SPLITS):
        return labelled_mask(data).cpu()
    splits = split_masks(data)
    return torch.stack([splits[name] for name in on]).any(dim=0)


def split_masks(data: Any) -> dict[str, Tensor]:
    """Return the labelled nodes of train, val and test, where train = neither val nor test.

    A missing mask is an empty one, so without masks every labelled node is a train node.

    Args:
        data: PyG ``Data`` with masks ``[N]`` or ``[N, 1]``, if any.

    Returns:
        Bool masks ``[N]`` on the CPU, in the order train, val, test.

    Raises:
        InputError: If a mask has several columns.
    """
    labelled = labelled_mask(data).cpu()
    held_out = {}
    for name in ("val", "test"):
        mask = getattr(data, f"{name}_mask", None)
        if mask is None:
            mask = torch.zeros_like(labelled)
        if mask.dim() > 1 and mask.size(1) > 1:
            raise InputError(
                f"data.{name}_mask",
                f"{mask.size(1)} splits",
                f"Pick one first: data.{name}_mask = data.{name}_mask[:, 0].",
            )
        held_out[name] = labelled & mask.reshape(-1).bool().cpu()
    return {"train": labelled & ~held_out["val"] & ~held_out["test"], **held_out}


def check_rate(rate: float) -> float:
    """Return ``rate`` as a float if it is a number in [0, 1], else raise InputError."""
    if isinstance(rate, bool) or not isinstance(rate, Real) or not 0.0 <= float(rate) <= 1.0:
        raise InputError("rate", rate, "Pass a number between 0 and 1.")
    return float(rate)


def check_splits(on: Sequence[str]) -> tuple[str, ...]:
    """Return the splits named in ``on`` in the order train, val, test, else raise InputError."""
    names = {on} if isinstance(on, str) else set(on)
    if not names or not names <= set(SPLITS):
        raise InputError("on", on, f"Name at least one of: {', '.join(SPLITS)}.")
    return tuple(name for name in SPLITS if name in names)


def _labels(data: Any) -> Tensor:
    y = data.y
    if y is None or y.dim() != 1 or y.is_floating_point():
        shown = "missing" if y is None else f"{y.dtype} of shape {list(y.shape)}"
        raise InputError("data.y", shown, "Pass integer class labels [N], with -1 = unlabelled.")
    labels: Tensor = y.cpu().long()
    return labels


def _brief(value: Any) -> str:
    if hasattr(value, "shape"):
        return f"<{'x'.join(str(size) for size in value.shape)}>"
    return repr(value)
