"""The mapped operator against the one in memory: the same numbers from blocks of rows."""

import socket
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
import torch

from graphclean.sparse import HopOperator, Propagator
from graphclean.sparse import mapped as mapped_module
from graphclean.sparse.adjacency import Adjacency
from graphclean.sparse.convert import convert_edges
from graphclean.sparse.mapped import MappedPropagator
from graphclean.sparse.solvers import label_propagation
from graphclean.sparse.storage import open_csr
from graphclean.types import InputError

NODES = 60
NORMS = ("sym", "row", "col", "none")


@pytest.fixture(scope="module")
def graphs(tmp_path_factory):
    """Adjacencies in memory and mapped, by (directed, weighted); node 0 is a hub, 59 is alone."""
    folder = tmp_path_factory.mktemp("graphs")
    found = {}
    for directed in (False, True):
        for weighted in (False, True):
            rng = np.random.default_rng(7)
            source, target = rng.integers(0, NODES - 1, (2, 200))
            source[:70] = 0
            table = pd.DataFrame({"a": source, "b": target, "w": rng.uniform(0.1, 2.0, 200)})
            table = table[table.a != table.b].drop_duplicates(["a", "b"])
            if not directed:
                table = table[table.a < table.b]
            path = folder / "edges.parquet"
            table.to_parquet(path)
            weight = "w" if weighted else None
            out = folder / f"{directed}{weighted}.csr"
            convert_edges(path, out, weight=weight, directed=directed, num_nodes=NODES)
            edges = torch.from_numpy(table[["a", "b"]].to_numpy().T.copy())
            values = torch.from_numpy(table.w.to_numpy().copy())
            if not directed:
                edges, values = torch.cat([edges, edges.flip(0)], dim=1), values.repeat(2)
            plain = Adjacency.from_edges(edges, NODES, values if weighted else None)
            found[directed, weighted] = (plain, open_csr(out))
    return found


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("self_loops", [False, True])
@pytest.mark.parametrize("block_edges", [1, 40, 2**22])
def test_equal_to_the_operator_in_memory(graphs, directed, weighted, norm, self_loops, block_edges):
    plain, mapped = graphs[directed, weighted]
    options = {"norm": norm, "self_loops": self_loops}
    x = torch.randn(NODES, 5, generator=torch.Generator().manual_seed(0))
    for dtype, tolerance in ((torch.float32, 1e-6), (torch.float64, 1e-13)):
        reference = Propagator.from_adjacency(plain, dtype=dtype, **options)
        operator = MappedPropagator(mapped, dtype=dtype, block_edges=block_edges, **options)
        expected = reference @ x.to(dtype)
        close = {"rtol": tolerance, "atol": tolerance}
        torch.testing.assert_close(operator @ x.to(dtype), expected, **close)
        torch.testing.assert_close(operator @ x[:, 0].to(dtype), expected[:, 0], **close)
        np.testing.assert_allclose(operator.left, reference.left, rtol=1e-14)
        np.testing.assert_allclose(operator.right, reference.right, rtol=1e-14)
        assert abs(operator.matrix - reference.matrix).max() < 1e-14
    assert operator.is_symmetric == reference.is_symmetric
    assert (operator.norm, operator.self_loops) == (norm, self_loops)
    assert operator.num_nodes == NODES


@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("self_loops", [False, True])
def test_the_gradient_is_the_transposed_product(graphs, weighted, norm, self_loops):
    mapped = graphs[False, weighted][1]
    operator = MappedPropagator(
        mapped, norm=norm, self_loops=self_loops, dtype=torch.float64, block_edges=30
    )
    generator = torch.Generator().manual_seed(1)
    x, g = torch.randn(2, NODES, 3, generator=generator, dtype=torch.float64)
    x.requires_grad_()
    ((operator @ x) * g).sum().backward()
    np.testing.assert_allclose(x.grad, operator.matrix.T @ g.numpy(), atol=1e-13)


def test_a_directed_graph_has_no_gradient_but_products(graphs):
    operator = MappedPropagator(graphs[True, False][1])
    x = torch.ones(NODES, 2, requires_grad=True)
    product = operator @ x
    with pytest.raises(InputError, match="the mapped graph is directed"):
        product.sum().backward()


def test_only_blocks_are_held(graphs, monkeypatch):
    matrix = graphs[False, False][1].matrix
    mapped = Adjacency(matrix, weighted=False, is_symmetric=True)
    operator = MappedPropagator(mapped, norm="sym", self_loops=True, block_edges=50)
    sizes = []
    real = mapped_module.spmm

    def counted(block, x):
        sizes.append(block._nnz())
        column = block.col_indices()
        assert column.dtype == torch.int32
        start = column.data_ptr() - matrix.indices.ctypes.data
        assert start == 4 * sum(sizes[:-1]), "columns are the mapped file itself"
        return real(block, x)

    monkeypatch.setattr(mapped_module, "spmm", counted)
    operator @ torch.ones(NODES, 1)
    assert sum(sizes) == mapped.num_edges
    assert len(sizes) > 3
    assert max(sizes) < 50 + int(mapped.degree.max())
    assert "csr" not in operator.__dict__
    assert not mapped.memo


def test_what_it_refuses(graphs):
    mapped = graphs[False, False][1]
    for options, argument in (
        ({"norm": "left"}, "norm"),
        ({"dtype": torch.int32}, "dtype"),
        ({"block_edges": 0}, "block_edges"),
    ):
        with pytest.raises(InputError, match=argument):
            MappedPropagator(mapped, **options)
    with pytest.raises(InputError, match="x: 3 rows"):
        MappedPropagator(mapped) @ torch.ones(3, 2)


def test_sparse_features(graphs):
    plain, mapped = graphs[False, True]
    x = sp.random_array((NODES, 7), density=0.2, rng=np.random.default_rng(0), format="csr")
    expected = Propagator.from_adjacency(plain).matrix @ x
    assert abs((MappedPropagator(mapped) @ x) - expected).max() < 1e-14


@pytest.mark.parametrize("directed", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("norm", ["sym", "row"])
def test_hop_agreement_and_its_diagonals(graphs, directed, weighted, norm):
    plain, mapped = graphs[directed, weighted]
    generator = torch.Generator().manual_seed(2)
    probs = torch.rand(NODES, 4, generator=generator).softmax(dim=1)
    query = torch.randint(0, 4, (NODES,), generator=generator)
    reference = HopOperator(Propagator.from_adjacency(plain, norm=norm), 4)
    found = HopOperator(MappedPropagator(mapped, norm=norm, block_edges=33), 4)
    for a, b in zip(found.diagonals, reference.diagonals, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(
        found.at(probs, query), reference.at(probs, query), rtol=0, atol=2e-6
    )


def test_label_propagation_and_propagated_features(graphs):
    plain, mapped = graphs[False, False]
    reference = Propagator.from_adjacency(plain, norm="sym")
    operator = MappedPropagator(mapped, norm="sym", block_edges=64)
    labels = torch.arange(NODES) % 3
    labels[::4] = -1
    spread = [label_propagation(each, labels, steps=20) for each in (reference, operator)]
    torch.testing.assert_close(spread[1].values, spread[0].values, rtol=0, atol=1e-6)
    x = torch.randn(NODES, 3, generator=torch.Generator().manual_seed(3))
    a = b = x
    for _ in range(3):  # the inputs of SIGN and SGC
        a, b = reference @ a, operator @ b
        torch.testing.assert_close(b, a, rtol=1e-6, atol=1e-6)


WORKER = """
import sys
import torch
import torch.distributed as dist
from graphclean.sparse.mapped import MappedPropagator
from graphclean.sparse.storage import open_csr

rank, port, folder, out = int(sys.argv[1]), sys.argv[2], sys.argv[3], sys.argv[4]
torch.set_num_threads(1)
dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=2)
operator = MappedPropagator(open_csr(folder), block_edges=64)
x = torch.randn(operator.num_nodes, 7, generator=torch.Generator().manual_seed(4))
mine = torch.tensor_split(x, 2, dim=1)[rank]
for _ in range(3):
    mine = operator @ mine
shares = [None, None]
dist.all_gather_object(shares, mine)
if rank == 0:
    torch.save(torch.cat(shares, dim=1), out)
dist.destroy_process_group()
"""


def test_two_processes_share_the_columns(tmp_path):
    rng = np.random.default_rng(8)
    edges = pd.DataFrame(rng.integers(0, NODES, (150, 2)), columns=["a", "b"])
    edges.to_parquet(tmp_path / "edges.parquet")
    folder = tmp_path / "g.csr"
    adjacency = convert_edges(tmp_path / "edges.parquet", folder, num_nodes=NODES).adjacency()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    args = [str(port), str(folder), str(tmp_path / "out.pt")]
    ranks = [
        subprocess.Popen([sys.executable, "-c", WORKER, str(rank), *args]) for rank in range(2)
    ]
    try:
        assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]
    finally:
        for rank in ranks:
            rank.kill()
    gathered = torch.load(tmp_path / "out.pt", weights_only=True)
    operator = MappedPropagator(adjacency, block_edges=64)
    whole = torch.randn(NODES, 7, generator=torch.Generator().manual_seed(4))
    shares = torch.tensor_split(whole, 2, dim=1)
    for _ in range(3):
        whole = operator @ whole
        shares = [operator @ share for share in shares]
    assert torch.equal(gathered, torch.cat(shares, dim=1))
    torch.testing.assert_close(gathered, whole, rtol=0, atol=1e-6)
