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


REFERENCE: dict[str, Callable[[], nn.Module]] = {
    "gcn": lambda: models.GCN(F, H, 2, C),
    "sage": lambda: models.GraphSAGE(F, H, 2, C),
    "gin": lambda: models.GIN(F, H, 2, C, norm="batch_norm"),
    "gat": lambda: models.GAT(F, H, 2, C, act="elu", heads=4),
    "sgc": lambda: pyg.SGConv(F, C, K=2),
    "linkx": lambda: models.LINKX(N, F, H, C, 1),
    "mlp": _MLP,
    "appnp": _APPNP,
}
RENAMED = {"appnp": ("mlp.mlp.", "mlp.")}


@pytest.mark.parametrize("name", sorted(REFERENCE))
@pytest.mark.parametrize("sparse", [True, False], ids=["sparse", "dense"])
def test_network_equals_pyg(
    name: str, sparse: bool, fast: Build, words: Data, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not sparse:
        monkeypatch.setattr("graphclean.nn.features.SPARSE_BELOW", 0.0)
    model = fast(name, epochs=3, lr=0.05).fit(words)
    assert isinstance(model.prepare(words).x, Tensor) is not sparse
    old, new = RENAMED.get(name, ("", ""))
    state = {key.replace(old, new): value for key, value in model.module_.body.state_dict().items()}
    reference = REFERENCE[name]()
    reference.load_state_dict(state)
    with torch.no_grad():
        expected = reference.eval()(words.x, words.edge_index).softmax(dim=1)
    assert torch.allclose(model.predict_proba(words), expected, atol=1e-5)


@pytest.mark.parametrize("name", sorted(REFERENCE))
def test_first_gradients_equal_pyg(name: str, fast: Build, words: Data) -> None:
    """One step of SGD-like size: the trained weights move as they would in PyG's network."""
    model = fast(name, epochs=1, dropout=0.0) if name != "sgc" else fast(name, epochs=1)
    network = model._network(model.prepare(words), C)
    inputs = model.prepare(words)
    old, new = RENAMED.get(name, ("", ""))
    reference = REFERENCE[name]()
    reference.load_state_dict(
        {key.replace(old, new): value for key, value in network.state_dict().items()}
    )
    for net, x, adj in ((network, inputs.x, inputs.adj), (reference, words.x, words.edge_index)):
        nn.functional.cross_entropy(net(x, adj), words.y).backward()
    expected = dict(reference.named_parameters())
    for key, parameter in network.named_parameters():
        twin = expected[key.replace(old, new)]
        assert parameter.grad is not None
        assert twin.grad is not None
        assert torch.allclose(parameter.grad, twin.grad, atol=1e-5), key


def test_sign_equals_explicit_powers(fast: Build, sbm: Data) -> None:
    model = fast("sign", epochs=2, hops=2)
    a = torch.zeros(N, N)
    a[sbm.edge_index[0], sbm.edge_index[1]] = 1
    scale = a.sum(dim=1).clamp(min=1).pow(-0.5)
    s = scale[:, None] * a * scale[None, :]
    expected = torch.cat([sbm.x, s @ sbm.x, s @ s @ sbm.x], dim=1)
    assert torch.allclose(model.prepare(sbm).x, expected, atol=1e-5)


@pytest.mark.parametrize("name", sorted({*REFERENCE, "sign"} - {"linkx"}))
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
