"""Data-parallel training: several processes, each with its share of every batch."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from graphclean.nn.prepared import Prepared
from graphclean.types import InputError


@dataclass(frozen=True)
class Replicas:
    """The processes that train one network together; one process alone is the default.

    Every process holds the same parameters, draws the same batches and computes the gradient of
    its share of the rows. Shares are added up before every step, so that all take the same step:
    the one that a single process with all rows would take.

    Attributes:
        rank: Number of this process, 0 to size - 1.
        size: Number of processes.
    """

    rank: int = 0
    size: int = 1

    @classmethod
    def here(cls) -> Replicas:
        """Return the processes of torch's default group; this one alone where there is none."""
        if not (dist.is_available() and dist.is_initialized()):
            return cls()
        return cls(dist.get_rank(), dist.get_world_size())

    @property
    def own(self) -> slice:
        """Which of any rows are this process's own."""
        return slice(self.rank, None, self.size)

    def add_gradients(self, module: nn.Module, loss: Tensor) -> Tensor:
        """Add up the gradients of all processes in place, and return their added losses."""
        loss = loss.detach()
        if self.size == 1:
            return loss
        grads = [p.grad for p in module.parameters() if p.grad is not None]
        flat = torch.cat([loss.view(1), *(grad.reshape(-1) for grad in grads)])
        dist.all_reduce(flat)
        start = 1
        for grad in grads:
            grad.copy_(flat[start : start + grad.numel()].view_as(grad))
            start += grad.numel()
        return flat[0]

    def gather(self, own: Tensor, count: int) -> Tensor:
        """Return all ``count`` rows ``[count, C]`` of which every process has its own."""
        if self.size == 1:
            return own
        rows = own.new_zeros(count, own.shape[1])
        rows[self.own] = own
        dist.all_reduce(rows)
        return rows

    def any(self, flag: bool) -> bool:
        """Return whether the flag is set in any process."""
        if self.size == 1:
            return flag
        device = "cuda" if dist.get_backend() == "nccl" else "cpu"
        answer = torch.tensor(float(flag), device=device)
        dist.all_reduce(answer)
        return bool(answer > 0)


ALONE = Replicas()


def check_replicable(network: nn.Module, inputs: Prepared, loss: object) -> None:
    """Raise InputError unless processes with parts of the rows add up to one with all of them."""
    if hasattr(loss, "on_event"):
        raise InputError(
            "loss",
            f"{type(loss).__name__}, which follows the training",
            "Choose one without state: every process would know its own rows only.",
        )
    if inputs.adj is not None:
        raise InputError(
            "data_parallel",
            "a network that reads its neighbours",
            "Choose SIGN, MLP or, on dense features, SGC.",
        )
    if any(isinstance(module, _BatchNorm) for module in network.modules()):
        raise InputError(
            "norm", "batch_norm", "Pass None: every process would normalise its rows on its own."
        )
