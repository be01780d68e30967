"""Products in column blocks: the same bits, the fastest width kept, wrong widths never used."""

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from graphclean.sparse import backend, backend_info, column_blocks, spmm
from graphclean.sparse.product import to_torch_csr

pytestmark = pytest.mark.skipif(
    not torch.backends.mkl.is_available(), reason="column blocks are used with MKL"
)


@pytest.fixture(autouse=True)
def eager(monkeypatch):
    monkeypatch.setattr(column_blocks, "_CACHED_BYTES", 0)
    monkeypatch.setattr(column_blocks, "_trials", {})


def pair(columns, dtype=torch.float32, rows=60):
    rng = np.random.default_rng(columns)
    matrix = sp.random_array((rows, 50), density=0.2, rng=rng, format="csr")
    return matrix, to_torch_csr(matrix, dtype), torch.from_numpy(rng.normal(size=(50, columns)))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("columns", [1, 7, 8, 9, 33, 40])
def test_every_call_gives_the_same_bits(columns, dtype):
    matrix, csr, x = pair(columns, dtype)
    products = [spmm(csr, x.to(dtype)) for _ in range(8)]
    assert all(torch.equal(products[0], product) for product in products)
    np.testing.assert_allclose(products[0], matrix @ x.numpy(), atol=1e-5)


def test_candidates_take_turns_and_the_fastest_stays(monkeypatch):
    _, csr, x = pair(40)
    clock = iter(np.cumsum([0, 3, 0, 1, 0, 2, 0, 3, 0, 1, 0, 2, *([0, 9] * 4)]).tolist())
    monkeypatch.setattr(column_blocks.time, "perf_counter", lambda: next(clock))
    widths = []
    real = column_blocks._write

    def watched(matrix, x, out, width, product):
        if len(out) == 60:
            widths.append(width)
        real(matrix, x, out, width, product)

    monkeypatch.setattr(column_blocks, "_CHECKED_ENTRIES", 20)
    monkeypatch.setattr(column_blocks, "_write", watched)
    for _ in range(10):
        spmm(csr, x.float())
    assert widths == [8, 16, 40, 8, 16, 40, 16, 16, 16, 16]
    assert list(backend_info()["column_blocks"].values()) == [16]


def test_a_width_with_other_bits_is_no_candidate():
    _, csr, x = pair(48)

    def rounding(matrix, x, out):
        backend._write_product(matrix, x, out)
        if x.shape[1] == 8:
            out += 1e-3

    trials = column_blocks._candidates(csr, x.float(), rounding)
    assert trials == [16, 48]


def test_a_small_matrix_and_one_without_entries_go_whole(monkeypatch):
    empty = to_torch_csr(sp.csr_array((4, 50)))
    assert torch.equal(spmm(empty, torch.ones(50, 40)), torch.zeros(4, 40))
    monkeypatch.setattr(column_blocks, "_CACHED_BYTES", 50 * 40 * 4)
    _, csr, x = pair(40)
    spmm(csr, x.float())
    assert column_blocks._trials == {}


def test_gradients_pass_where_autograd_watches():
    matrix, csr, x = pair(12, torch.float64)
    x.requires_grad_()
    spmm(csr, x).sum().backward()
    np.testing.assert_allclose(x.grad, matrix.T @ np.ones((60, 12)), atol=1e-12)
