"""One epoch of training and one precomputation of features: ours against PyG's networks."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse as sp
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import APPNP as PyGAPPNP
from torch_geometric.nn import SGConv
from torch_geometric.nn.models import GCN as PyGGCN
from torch_geometric.nn.models import MLP as PyGMLP
from torch_geometric.transforms import SIGN as PyGSIGN

from graphclean.evaluate.speed.cases import Case
from graphclean.evaluate.speed.comparison import OURS, Comparison
from graphclean.evaluate.speed.product import ours, pyg_csr, pyg_edges
from graphclean.nn import APPNP, GCN, SGC, SIGN
from graphclean.nn.features import Collected, Features
from graphclean.nn.prepared import Prepared

FEATURES, HIDDEN = 128, 64
SGC_HOPS, SIGN_HOPS, APPNP_HOPS, APPNP_ALPHA = 2, 3, 10, 0.1
_TOLERANCE = 1e-4
"""Of logits and gradients in float32; a gradient is a sum over all nodes."""


def gcn(case: Case, device: str) -> Comparison:
    """Compare an epoch of a two-layer GCN: forward, backward, Adam; all nodes are labelled."""
    task = _Task(case, device)
    found = task.comparison("gcn", f"GCN epoch, {FEATURES}-{HIDDEN}-{case.num_classes}")
    model = GCN(hidden=HIDDEN)
    prepared = found.prepare(
        "graphclean: edges to CSR, first layer's S X", lambda: model.prepare(task.data())
    ).to(device)
    mine = model._network(prepared, case.num_classes)
    peer = PyGGCN(FEATURES, HIDDEN, 2, case.num_classes, dropout=0.5)
    prenormalised = PyGGCN(FEATURES, HIDDEN, 2, case.num_classes, dropout=0.5, normalize=False)
    csr = found.prepare(
        "pyg_csr: normalise, to torch CSR",
        lambda: pyg_csr(case.num_nodes, pyg_edges(case, device, loops=True)),
    )
    found.expected = lambda: task.exact(mine, _exact_gcn)
    task.add(found, OURS, mine, prepared.adj, x=prepared.x, note="S X once for all epochs")
    task.add(found, "pyg", peer, task.edge_index, like=mine, note="edge_index, its default")
    task.add(
        found,
        "pyg_csr",
        prenormalised,
        csr,
        like=mine,
        note="its best: normalised once, torch CSR adjacency",
    )
    return found


def sgc(case: Case, device: str) -> Comparison:
    """Compare an epoch of SGC: ours propagates once for all epochs, PyG if cached."""
    task = _Task(case, device)
    found = task.comparison("sgc", f"SGC epoch, K = {SGC_HOPS}, {FEATURES}-{case.num_classes}")
    model = SGC(hops=SGC_HOPS)
    prepared = found.prepare("graphclean: propagate once", lambda: model.prepare(task.data()))
    mine = model._network(prepared, case.num_classes)
    found.expected = lambda: task.exact(mine, _exact_sgc)
    task.add(found, OURS, mine, None, x=prepared.x.to(device))
    peer = SGConv(FEATURES, case.num_classes, K=SGC_HOPS)
    cached = SGConv(FEATURES, case.num_classes, K=SGC_HOPS, cached=True).to(device)
    found.prepare("pyg_cached: propagate once", lambda: cached(task.x, task.edge_index))
    task.add(found, "pyg", peer, task.edge_index, like=mine, note="its default: cached=False")
    task.add(found, "pyg_cached", cached, task.edge_index, like=mine, note="its best")
    return found


def appnp(case: Case, device: str) -> Comparison:
    """Compare an epoch of APPNP with ten steps."""
    task = _Task(case, device)
    found = task.comparison(
        "appnp", f"APPNP epoch, K = {APPNP_HOPS}, {FEATURES}-{HIDDEN}-{case.num_classes}"
    )
    adj = found.prepare("graphclean: edges to CSR", lambda: ours(case, device, loops=True))
    model = APPNP(hidden=HIDDEN, hops=APPNP_HOPS, alpha=APPNP_ALPHA)
    mine = model._network(Prepared(task.x, adj), case.num_classes)
    csr = found.prepare(
        "pyg_csr: normalise, to torch CSR",
        lambda: pyg_csr(case.num_nodes, pyg_edges(case, device, loops=True)),
    )
    found.expected = lambda: task.exact(mine, _exact_appnp)
    task.add(found, OURS, mine, adj)
    peer = _PyGAPPNP(case.num_classes, normalize=True)
    best = _PyGAPPNP(case.num_classes, normalize=False)
    task.add(found, "pyg", peer, task.edge_index, like=mine, note="edge_index, its default")
    task.add(
        found,
        "pyg_csr",
        best,
        csr,
        like=mine,
        note="its best: normalised once, torch CSR adjacency",
    )
    return found


def sign(case: Case) -> Comparison:
    """Compare the propagated features of SIGN, from the edges on, on the CPU."""
    x = case.features(FEATURES)
    found = Comparison(
        f"sign_features/{case.name}",
        f"SIGN features from the edges, K = {SIGN_HOPS}, {case.sizes}, {FEATURES} features",
        expected=lambda: _exact_sign(case.operator, x),
    )
    model = SIGN(hops=SIGN_HOPS)

    def unseen() -> Data:
        return Data(x=x, edge_index=case.edge_index.clone())  # ours is cached on the edges

    def by_pyg() -> Tensor:
        data = PyGSIGN(SIGN_HOPS)(unseen())
        return torch.cat([x, *(data[f"x{hop}"] for hop in range(1, SIGN_HOPS + 1))], dim=1)

    found.add(OURS, lambda: model.prepare(unseen()).x)
    found.add("pyg", by_pyg, note="transforms.SIGN, which uses EdgeIndex")
    return found


class _Task:
    """Features, labels and the steps that every network goes through."""

    def __init__(self, case: Case, device: str) -> None:
        self.case = case
        # Positive features and uneven classes: gradients that are no sums of noise, which float32
        # could not reproduce however it is computed.
        self.x = case.features(FEATURES).abs().to(device)
        uneven = np.random.default_rng(case.seed).random(case.num_nodes) ** 3
        self.y = torch.from_numpy((uneven * case.num_classes).astype(np.int64)).to(device)
        self.edge_index = case.edge_index.to(device)
        self.device = device

    def data(self) -> Data:
        return Data(x=self.x.cpu(), y=self.y.cpu(), edge_index=self.case.edge_index)

    def comparison(self, topic: str, title: str) -> Comparison:
        return Comparison(
            f"{topic}/{self.case.name}", f"{title}, {self.case.sizes}", expected=lambda: ()
        )

    def add(
        self,
        found: Comparison,
        name: str,
        network: nn.Module,
        adj: Any,
        *,
        like: nn.Module | None = None,
        x: Features | Collected | None = None,
        note: str = "",
    ) -> None:
        """Add the epoch of a network that starts from the parameters of another."""
        if like is not None:
            network.load_state_dict(_renamed(like.state_dict()))
        network = network.to(self.device)
        inputs = self.x if x is None else x
        fresh = copy.deepcopy(network).eval()
        optimizer = torch.optim.Adam(network.parameters(), lr=0.01, weight_decay=5e-4)

        def epoch() -> None:
            network.train()
            optimizer.zero_grad()
            F.cross_entropy(network(inputs, adj), self.y).backward()  # type: ignore[no-untyped-call]
            optimizer.step()

        def check() -> list[Tensor]:
            """Return logits and gradients without dropout, at the first parameters."""
            fresh.zero_grad()
            logits = fresh(inputs, adj)
            F.cross_entropy(logits, self.y).backward()  # type: ignore[no-untyped-call]
            named = _renamed({key: value.grad for key, value in fresh.named_parameters()})
            return [logits, *(named[key] for key in sorted(named))]

        found.add(name, epoch, check=check, tolerance=_TOLERANCE, note=note)

    def exact(
        self, network: nn.Module, logits_of: Callable[[Case, Tensor, dict[str, Tensor]], Tensor]
    ) -> list[Tensor]:
        """Return logits and gradients in float64, with products by SciPy."""
        state = _renamed(network.state_dict())
        parameters = {
            key: value.detach().cpu().double().requires_grad_() for key, value in state.items()
        }
        logits = logits_of(self.case, self.x.cpu().double(), parameters)
        F.cross_entropy(logits, self.y.cpu()).backward()  # type: ignore[no-untyped-call]
        return [logits, *(parameters[key].grad for key in sorted(parameters))]


class _PyGAPPNP(nn.Module):
    def __init__(self, num_classes: int, normalize: bool) -> None:
        super().__init__()
        self.mlp = PyGMLP([FEATURES, HIDDEN, num_classes], dropout=0.5, norm=None)
        self.spread = PyGAPPNP(K=APPNP_HOPS, alpha=APPNP_ALPHA, normalize=normalize)

    def forward(self, x: Tensor, adj: Any) -> Tensor:
        logits: Tensor = self.spread(self.mlp(x), adj)
        return logits


class _ScipyProduct(torch.autograd.Function):
    """Product with a constant symmetric matrix in float64."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrix: sp.csr_array) -> Tensor:
        ctx.matrix = matrix
        return torch.from_numpy(matrix @ x.detach().numpy())

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return torch.from_numpy(ctx.matrix @ grad.numpy()), None


def _times(matrix: sp.csr_array, x: Tensor) -> Tensor:
    product: Tensor = _ScipyProduct.apply(x, matrix)  # type: ignore[no-untyped-call]
    return product


def _exact_gcn(case: Case, x: Tensor, parameters: dict[str, Tensor]) -> Tensor:
    matrix = case.operator_with_loops
    for layer in range(2):
        x = x.relu() if layer else x
        weight, bias = (parameters[f"convs.{layer}.{part}"] for part in ("lin.weight", "bias"))
        x = _times(matrix, x @ weight.T) + bias
    return x


def _exact_sgc(case: Case, x: Tensor, parameters: dict[str, Tensor]) -> Tensor:
    logits = x @ parameters["lin.weight"].T
    for _ in range(SGC_HOPS):
        logits = _times(case.operator_with_loops, logits)
    return logits + parameters["lin.bias"]


def _exact_appnp(case: Case, x: Tensor, parameters: dict[str, Tensor]) -> Tensor:
    for layer in range(2):
        x = x.relu() if layer else x
        weight, bias = (parameters[f"mlp.lins.{layer}.{part}"] for part in ("weight", "bias"))
        x = x @ weight.T + bias
    spread = x
    for _ in range(APPNP_HOPS):
        spread = (1 - APPNP_ALPHA) * _times(case.operator_with_loops, spread) + APPNP_ALPHA * x
    return spread


def _exact_sign(matrix: sp.csr_array, x: Tensor) -> Any:
    hops = [x.numpy().astype(np.float64)]
    for _ in range(SIGN_HOPS):
        hops.append(matrix @ hops[-1])
    return np.concatenate(hops, axis=1)


def _renamed(state: Any) -> Any:
    """Return a state with the names that PyG's modules have."""
    return {key.replace("mlp.mlp.", "mlp."): value for key, value in state.items()}
