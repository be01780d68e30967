"""What a fit learns from: targets, training rows, their weights, rows for early stopping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from graphclean.data.labels import num_classes
from graphclean.nn.folds import validation_rows
from graphclean.types import InputError, Seed


@dataclass(frozen=True, eq=False)
class Supervision:
    """Checked targets and rows of one fit.

    Attributes:
        target: Class indices ``[N]``, long, or class probabilities ``[N, C]``, float32.
        num_classes: Number of classes C, whether or not each occurs in the training rows.
        train_index: Training rows ``[n]``, long, sorted.
        weight: Weights of the training rows ``[n]``, float32 and positive, or None.
        val_index: Rows for early stopping ``[m]``, long; empty for none.
    """

    target: Tensor
    num_classes: int
    train_index: Tensor
    weight: Tensor | None
    val_index: Tensor


def supervision(
    data: Any,
    y: Any = None,
    mask: Any = None,
    sample_weight: Any = None,
    val_mask: Any = None,
    val_fraction: float = 0.0,
    seed: Seed = None,
) -> Supervision:
    """Check the arguments of ``fit`` and settle which rows train and which stop the training.

    Args:
        data: The graph; ``data.y`` is the default target.
        y: Hard targets ``[N]`` (long, -1 ignored) or soft targets ``[N, C]`` (rows sum to one; an
            all-zero row is ignored).
        mask: Training rows ``[N]``, bool. None: ``data.train_mask`` if it is ``[N]``, else all.
        sample_weight: Non-negative weights ``[N]``; weight 0 takes a row out.
        val_mask: Rows for early stopping ``[N]``, bool; they do not train. None: a stratified
            share ``val_fraction`` of the training rows.
        val_fraction: Share of the training rows, 0 to 0.5.
        seed: Seed of that share.

    Raises:
        InputError: A shape, type or value does not fit, or no training row is left.
    """
    n = int(data.num_nodes)
    target, classes, usable = _target(data, y, n)
    if mask is None and isinstance(data.train_mask if "train_mask" in data else None, Tensor):
        mask = data.train_mask if data.train_mask.dim() == 1 else None
    rows = usable if mask is None else usable & _bool_mask("mask", mask, n)
    weight = None if sample_weight is None else _weights(sample_weight, n)
    if weight is not None:
        rows = rows & (weight > 0)
    validation = torch.zeros(n, dtype=torch.bool)
    if val_mask is not None:
        validation = usable & _bool_mask("val_mask", val_mask, n)
        rows = rows & ~validation
    train_index = rows.nonzero().view(-1)
    if len(train_index) == 0:
        raise InputError("mask", "no labelled training row", "Select at least one labelled node.")
    val_index = validation.nonzero().view(-1)
    if val_mask is None and val_fraction > 0:
        hard = target if target.dim() == 1 else target.argmax(dim=1)
        val_index = validation_rows(hard[train_index], train_index, val_fraction, seed)
        rows[val_index] = False
        train_index = rows.nonzero().view(-1)
    return Supervision(
        target=target,
        num_classes=classes,
        train_index=train_index,
        weight=None if weight is None else weight[train_index],
        val_index=val_index,
    )


def _target(data: Any, y: Any, n: int) -> tuple[Tensor, int, Tensor]:
    argument = "data.y" if y is None else "y"
    y = (data.y if "y" in data else None) if y is None else y
    if y is None:
        raise InputError("y", "missing", "Set data.y or pass y; -1 marks an unlabelled node.")
    y = torch.as_tensor(y).detach().cpu()
    if y.dim() == 2 and y.is_floating_point() and y.shape[0] == n:
        total = y.sum(dim=1)
        usable = total != 0
        if bool((y < 0).any()) or not torch.allclose(
            total[usable].float(), torch.ones(1), atol=1e-3
        ):
            raise InputError(
                argument, "rows that are no probabilities", "Make every row >= 0 with sum one."
            )
        return y.to(torch.float32), int(y.shape[1]), usable
    y = y.view(-1) if y.dim() == 2 and y.shape[1] == 1 else y
    if y.dim() != 1 or len(y) != n or y.is_floating_point() or y.is_complex():
        raise InputError(
            argument,
            f"{y.dtype} of shape {tuple(y.shape)}",
            f"Pass {n} integer labels (-1 = unlabelled) or probabilities [{n}, C].",
        )
    y = y.long()
    if len(y) and int(y.min()) < -1:
        raise InputError(argument, int(y.min()), "Labels are 0 to C-1, or -1 for unlabelled.")
    highest = int(y.max()) + 1 if len(y) else 0
    known = num_classes(data) if "y" in data and data.y is not None else 0
    return y, max(highest, known), y >= 0


def _bool_mask(argument: str, mask: Any, n: int) -> Tensor:
    rows = torch.as_tensor(mask).detach().cpu()
    if rows.dtype != torch.bool or tuple(rows.shape) != (n,):
        shown = f"{rows.dtype} of shape {tuple(rows.shape)}"
        raise InputError(argument, shown, f"Pass a bool mask of shape ({n},).")
    return rows


def _weights(sample_weight: Any, n: int) -> Tensor:
    weight = torch.as_tensor(sample_weight).detach().cpu().to(torch.float32)
    if tuple(weight.shape) != (n,) or not bool((torch.isfinite(weight) & (weight >= 0)).all()):
        raise InputError(
            "sample_weight",
            f"shape {tuple(weight.shape)}, or a negative or infinite value",
            f"Pass {n} finite weights >= 0, one per node.",
        )
    return weight
