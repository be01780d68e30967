from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torch_geometric.data import Data

from graphclean.nn.dropout import Dropout, dropout
from graphclean.nn.features import InputDropout, InputLinear, features_of
from graphclean.nn.matrix import SparseMatrix
from graphclean.types import InputError


def dense(x: SparseMatrix) -> Tensor:
    return torch.from_numpy(x.to_scipy().toarray())


def test_sparse_linear_equals_dense_linear_and_its_gradient(words: Data) -> None:
    layer = InputLinear(200, 7)
    results = []
    for x in (features_of(words), words.x):
        layer.zero_grad()
        out = layer(x)
        (out**2).sum().backward()
        results.append((out.detach(), layer.weight.grad, layer.bias.grad))
    for sparse, expected in zip(*results, strict=True):
        assert torch.allclose(sparse, expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layout", [torch.sparse_csr, torch.sparse_csc, torch.sparse_coo])
def test_every_layout_is_read(words: Data, layout: torch.layout) -> None:
    x = words.x.clone()
    words.x = words.x.to_sparse(layout=layout)
    assert torch.equal(dense(features_of(words)), x)


def test_dense_features_stay_dense_and_shared(sbm: Data) -> None:
    assert features_of(sbm) is not None
    assert features_of(sbm).data_ptr() == sbm.x.data_ptr()
    sbm.x = (sbm.x > 0).long()
    assert torch.equal(features_of(sbm), sbm.x.float())
    sbm.x = torch.arange(1, 91)
    assert features_of(sbm).shape == (90, 1)


def test_rows_and_transpose_belong_together(words: Data) -> None:
    x = features_of(words)
    assert isinstance(x, SparseMatrix)
    index = torch.tensor([5, 3, 80])
    part = x.rows(index)
    assert torch.equal(dense(part), words.x[index])
    assert torch.equal(part.transposed.to_dense(), words.x[index].t())


@pytest.mark.parametrize("kind", ["dense", "sparse"])
def test_input_dropout_drops_and_rescales(kind: str, words: Data) -> None:
    x = features_of(words) if kind == "sparse" else torch.ones(300, 100)
    layer = InputDropout(0.3)
    kept = layer(x)
    if isinstance(kept, SparseMatrix):
        assert torch.equal(kept.transposed.to_dense(), kept.csr.to_dense().t())
        values, original = kept.csr.values(), x.csr.values()
    else:
        values, original = kept, x
    assert (values == 0).float().mean() == pytest.approx(0.3, abs=0.05)
    alive = values != 0
    assert torch.allclose(values[alive], original[alive] / 0.7, rtol=1e-4)
    assert layer.eval()(x) is x


@pytest.mark.parametrize("p", [0.01, 0.5, 0.8, 0.9999999])
def test_dropout_keeps_the_mean(p: float) -> None:
    """Against the binomial: the share kept, the scale, independence of the four packed draws."""
    x = torch.ones(401, 1001, requires_grad=True)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        y = dropout(x, p)
    keep = (y != 0).float().reshape(-1)
    size = len(keep)
    assert keep.mean() == pytest.approx(1 - p, abs=4 * (p * (1 - p) / size) ** 0.5 + 2e-5)
    if p < 0.99:
        assert y.detach().mean() == pytest.approx(1.0, abs=4 * (p / (1 - p) / size) ** 0.5)
        lanes = keep[: size // 4 * 4].view(-1, 4)
        assert torch.corrcoef(lanes.t()).sub(torch.eye(4)).abs().max() < 0.02
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())
    assert Dropout(p).eval()(x) is x


@pytest.mark.parametrize("x", [None, torch.ones(4, 2), torch.ones(90, 2, 2)])
def test_unusable_features_are_refused(sbm: Data, x: Tensor | None) -> None:
    data = Data(x=x, edge_index=sbm.edge_index, num_nodes=90)
    with pytest.raises(InputError, match=r"data\.x"):
        features_of(data)
