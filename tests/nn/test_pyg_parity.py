"""Our networks against PyG's own with the same weights, dense features and edge lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch_geometric.nn as pyg
from torch import Tensor, nn
from torch_geometric.data import Data
from torch_geometric.nn import models
from torch_geometric.transforms import SIGN

from graphclean.nn.matrix import SparseMatrix

Build = Callable[..., Any]
F, H, C, N = 200, 16, 3, 90


class _MLP(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mlp = models.MLP([F, H, C], norm=None)

    def forward(self, x: Tensor, edge_index: Tensor) -> Any:
        return self.mlp(x)


class _APPNP(_MLP):
    def forward(self, x: Tensor, edge_index: Tensor) -> Any:
        return pyg.APPNP(K=10, alpha=0.1)(self.mlp(x), edge_index)


class _SIGN(nn.Module):
    """PyG's example of SIGN, on the features of PyG's transform."""

    def __init__(self) -> None:
        super().__init__()
        self.lins = nn.ModuleList(pyg.Linear(F, H) for _ in range(4))
        self.mlp = models.MLP([4 * H, C], norm=None)

    def forward(self, x: Tensor, edge_index: Tensor) -> Any:
        data = SIGN(3)(Data(x=x, edge_index=edge_index, num_nodes=N))
        hops = [x, *(data[f"x{hop}"] for hop in (1, 2, 3))]
        hidden = [lin(hop) for lin, hop in zip(self.lins, hops, strict=True)]
        return self.mlp(torch.cat(hidden, dim=1).relu())


REFERENCE: dict[str, Callable[[], nn.Module]] = {
    "gcn": lambda: models.GCN(F, H, 2, C),
    "sage": lambda: models.GraphSAGE(F, H, 2, C),
    "gin": lambda: models.GIN(F, H, 2, C, norm="batch_norm"),
    "gat": lambda: models.GAT(F, H, 2, C, act="elu", heads=4),
    "sgc": lambda: pyg.SGConv(F, C, K=2),
    "linkx": lambda: models.LINKX(N, F, H, C, 1),
    "mlp": _MLP,
    "appnp": _APPNP,
    "sign": _SIGN,
}
RENAMED = {"appnp": ("mlp.mlp.", "mlp."), "sign": ("mlp.mlp.", "mlp.")}


def copied(network: nn.Module, name: str, reference: nn.Module | None = None) -> nn.Module:
    """Return PyG's network with the parameters and buffers of ours."""
    reference = reference or REFERENCE[name]()
    old, new = RENAMED.get(name, ("", ""))
    state = {key.replace(old, new): value for key, value in network.state_dict().items()}
    reference.load_state_dict(state)
    return reference


@pytest.mark.parametrize("name", sorted(REFERENCE))
@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
def test_network_equals_pyg(
    name: str, sparse: bool, fast: Build, words: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not sparse:
        monkeypatch.setattr("graphclean.nn.features.SPARSE_BELOW", 0.0)
    model = fast(name, epochs=3, lr=0.05).fit(words)
    assert isinstance(model.prepare(words).x, SparseMatrix) is (sparse and name != "sign")
    reference = copied(model.module_.body, name)
    with torch.no_grad():
        expected = reference.eval()(words.x, words.edge_index).softmax(dim=1)
    assert torch.allclose(model.predict_proba(words), expected, atol=1e-5)


@pytest.mark.parametrize("name", sorted(REFERENCE))
@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
def test_first_gradients_equal_pyg(
    name: str, sparse: bool, fast: Build, words: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One step of SGD-like size: the trained weights move as they would in PyG's network."""
    if not sparse:
        monkeypatch.setattr("graphclean.nn.features.SPARSE_BELOW", 0.0)
    model = fast(name, epochs=1, dropout=0.0) if name != "sgc" else fast(name, epochs=1)
    inputs = model.prepare(words)
    network = model._network(inputs, C)
    reference = copied(network, name)
    for net, x, adj in ((network, inputs.x, inputs.adj), (reference, words.x, words.edge_index)):
        nn.functional.cross_entropy(net(x, adj), words.y).backward()
    expected = dict(reference.named_parameters())
    old, new = RENAMED.get(name, ("", ""))
    for key, parameter in network.named_parameters():
        twin = expected[key.replace(old, new)]
        assert parameter.grad is not None
        assert twin.grad is not None
        assert torch.allclose(parameter.grad, twin.grad, atol=1e-5), key


@pytest.mark.parametrize("name", ["gcn", "appnp", "sgc"])
def test_edge_weights_equal_pyg(name: str, fast: Build, words: Data) -> None:
    generator = torch.Generator().manual_seed(4)
    weight = torch.rand(N, N, generator=generator) + 0.2
    weight = weight + weight.t()
    words.edge_weight = weight[words.edge_index[0], words.edge_index[1]]
    model = fast(name, epochs=3, lr=0.05).fit(words)
    reference = copied(model.module_.body, name).eval()
    with torch.no_grad():
        if name == "appnp":
            spread = pyg.APPNP(K=10, alpha=0.1)
            logits = spread(reference.mlp(words.x), words.edge_index, words.edge_weight)
        else:
            logits = reference(words.x, words.edge_index, words.edge_weight)
    assert torch.allclose(model.predict_proba(words), logits.softmax(dim=1), atol=1e-5)


@pytest.mark.parametrize("name", ["gcn", "sage", "gin", "gat"])
def test_three_layers_equal_pyg(name: str, fast: Build, sbm: Data) -> None:
    options = {} if name == "gat" else {"norm": "batch_norm"}
    build = {"gcn": models.GCN, "sage": models.GraphSAGE, "gin": models.GIN, "gat": models.GAT}
    extra = {"act": "elu", "heads": 4} if name == "gat" else options
    model = fast(name, epochs=3, num_layers=3, **options).fit(sbm)
    reference = copied(model.module_.body, name, build[name](8, H, 3, C, **extra)).eval()
    with torch.no_grad():
        expected = reference(sbm.x, sbm.edge_index).softmax(dim=1)
    assert torch.allclose(model.predict_proba(sbm), expected, atol=1e-5)


def test_sign_equals_explicit_powers(fast: Build, sbm: Data) -> None:
    model = fast("sign", epochs=2, hops=2)
    a = torch.zeros(N, N)
    a[sbm.edge_index[0], sbm.edge_index[1]] = 1
    scale = a.sum(dim=1).clamp(min=1).pow(-0.5)
    s = scale[:, None] * a * scale[None, :]
    expected = torch.cat([sbm.x, s @ sbm.x, s @ s @ sbm.x], dim=1)
    assert torch.allclose(model.prepare(sbm).x, expected, atol=1e-5)


@pytest.mark.parametrize("name", sorted({*REFERENCE} - {"linkx"}))
def test_node_order_does_not_matter(name: str, fast: Build, words: Data) -> None:
    model = fast(name, epochs=3).fit(words)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(3))
    place = torch.empty_like(order)
    place[order] = torch.arange(N)
    shuffled = Data(x=words.x[order], edge_index=place[words.edge_index], y=words.y[order])
    moved = model.predict_proba(shuffled)
    assert torch.allclose(moved, model.predict_proba(words)[order], atol=1e-5)


def test_linkx_knows_its_nodes(fast: Build, words: Data) -> None:
    """Permuting the nodes with the weight rows that belong to them changes nothing."""
    model = fast("linkx", epochs=3).fit(words)
    before = model.predict_proba(words)
    order = torch.randperm(N, generator=torch.Generator().manual_seed(3))
    place = torch.empty_like(order)
    place[order] = torch.arange(N)
    shuffled = Data(x=words.x[order], edge_index=place[words.edge_index], y=words.y[order])
    weight = model.states_["best"]["body.edge_lin.weight"]
    model.states_["best"]["body.edge_lin.weight"] = weight[order]
    assert torch.allclose(model.predict_proba(shuffled), before[order], atol=1e-5)
