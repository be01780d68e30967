"""Out-of-fold probabilities, fitted once for a cell and a learner and kept on disk."""

from __future__ import annotations

import hashlib
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from graphclean.data import labelled_mask
from graphclean.evaluate.grid.keys import probs_key
from graphclean.evaluate.grid.methods import Learner
from graphclean.evaluate.grid.plan import Cell
from graphclean.issues import write_atomic
from graphclean.nn import OutOfFold, cross_fit, stratified_folds

_TENSORS = ("pred_probs", "fold", "model_probs")


@dataclass(frozen=True, eq=False)
class CachedProbs:
    """Out-of-fold probabilities and what they took.

    Attributes:
        probs: The probabilities.
        cpu_seconds: CPU time of the fits.
        log_loss: Mean ``-log p(given label)`` of the labelled nodes, out of fold.
    """

    probs: OutOfFold
    cpu_seconds: float
    log_loss: float


def out_of_fold(out: Path, cell: Cell, learner: Learner, graph: Any, n_folds: int) -> CachedProbs:
    """Return the probabilities of a learner on a cell: from disk, else fitted and kept there.

    All learners of a cell have the same folds. What is returned was read from the file even if it
    has just been written, so that a resumed grid computes with the same bits in the same places.

    Args:
        out: Folder of the grid; the file is ``oof/<key>.safetensors``.
        cell: The cell.
        learner: The learner.
        graph: Its graph without the truth, as `noisy_graph` gives it.
        n_folds: Folds; at most as many as there are labelled nodes.
    """
    path = out / "oof" / f"{probs_key(cell, learner, n_folds)}.safetensors"
    found = _read(path, graph)
    if found is None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(path, _fitted(cell, learner, graph, n_folds))
        found = _read(path, graph)
    if found is None:
        raise OSError(f"{path} cannot be read back after it was written")
    return found


def _fitted(cell: Cell, learner: Learner, graph: Any, n_folds: int) -> bytes:
    labelled = labelled_mask(graph)
    folds = stratified_folds(graph.y, labelled, min(n_folds, int(labelled.sum())), cell.seed)
    began = time.process_time()
    found = cross_fit(learner.build(), graph, folds=folds, random_state=cell.seed)
    seconds = time.process_time() - began
    tensors = {name: getattr(found, name).contiguous() for name in _TENSORS}
    about = {"cpu_seconds": repr(seconds), "sha256": _digest(tensors), "learner": learner.name}
    content: bytes = save(tensors, about)
    return content


def _read(path: Path, graph: Any) -> CachedProbs | None:
    """Return what the file holds, None if there is none or it is damaged."""
    try:
        with safe_open(str(path), framework="pt") as file:
            about = file.metadata() or {}
            # A copy lies in torch's own aligned memory, on which the last bits may depend.
            tensors = {name: file.get_tensor(name).clone() for name in _TENSORS}
        seconds = float(about["cpu_seconds"])
        sound = about["sha256"] == _digest(tensors)
    except (OSError, KeyError, ValueError, SafetensorError):
        return None
    if not sound:
        return None
    probs = OutOfFold(**tensors)
    return CachedProbs(probs, seconds, _log_loss(probs.pred_probs, graph.y))


def _log_loss(probs: Tensor, y: Tensor) -> float:
    labelled = y >= 0
    given = probs[labelled].double().gather(1, y[labelled].unsqueeze(1))
    return float(-given.clamp_min(torch.finfo(torch.float32).tiny).log().mean())


def _digest(tensors: dict[str, Tensor]) -> str:
    found = hashlib.sha256()
    for name in _TENSORS:
        found.update(f"{name} {tensors[name].dtype} {tuple(tensors[name].shape)}".encode())
        found.update(tensors[name].numpy().tobytes())
    return found.hexdigest()
