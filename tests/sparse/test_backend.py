"""Every product that is here gives the same numbers, and one place chooses among them."""

import json
import sys
import types

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from graphclean.sparse import Propagator, backend, backend_for, backend_info, spmm, use_backend
from graphclean.sparse.product import to_torch_csr
from graphclean.types import InputError

CPU = [name for name in backend_info()["available"] if name != "cusparse"]


@pytest.fixture
def pair():
    rng = np.random.default_rng(0)
    matrix = sp.random_array((40, 30), density=0.15, rng=rng, format="lil")
    matrix[7] = 0.0
    return sp.csr_array(matrix), rng.normal(size=(30, 5))


@pytest.fixture
def clean_choice():
    backend._chosen.cache_clear()
    yield
    backend._chosen.cache_clear()


@pytest.mark.parametrize("name", CPU)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("block", [2**40, 50, 1])
def test_equal_to_scipy(name, dtype, block, pair, monkeypatch):
    matrix, x = pair
    monkeypatch.setattr(backend, "_EDGE_BLOCK", block)
    monkeypatch.setattr(backend, "_INT32_MAX", block)
    with use_backend(name):
        assert backend_for("cpu", dtype) == name
        product = spmm(to_torch_csr(matrix, dtype), torch.from_numpy(x).to(dtype))
    assert product.dtype == dtype
    np.testing.assert_allclose(product, matrix @ x, atol=1e-5 if dtype == torch.float32 else 1e-12)


def test_a_transposed_view_is_multiplied_as_it_reads(pair):
    matrix, x = pair
    view = torch.from_numpy(np.ascontiguousarray(x.T)).T
    np.testing.assert_allclose(spmm(to_torch_csr(matrix, torch.float64), view), matrix @ x)


def test_environment_and_context_force_a_backend(monkeypatch, pair):
    monkeypatch.setenv("GRAPHCLEAN_SPMM", "scipy")
    assert backend_for("cpu") == "scipy"
    assert backend_info()["forced"] == "scipy"
    with use_backend("edges"):
        assert backend_for("cpu") == "edges"
    assert backend_for("cpu") == "scipy"
    monkeypatch.setenv("GRAPHCLEAN_SPMM", "fast")
    with pytest.raises(InputError, match=r"fast.*native"):
        backend_for("cpu")


def test_forced_backend_reaches_forward_and_backward(monkeypatch):
    calls = []
    monkeypatch.setattr(
        backend,
        "_PRODUCTS",
        {**backend._PRODUCTS, "edges": lambda m, x: calls.append(1) or backend._edges(m, x)},
    )
    prop = Propagator(torch.tensor([[0, 1], [1, 0]]), 2)
    x = torch.ones(2, 1, requires_grad=True)
    with use_backend("edges"):
        (prop @ x).sum().backward()
    assert len(calls) == 2


def test_falls_back_where_torch_has_no_mkl(monkeypatch, clean_choice):
    assert backend_for("cpu", torch.bfloat16) in ("native", "edges")
    real = backend._available
    monkeypatch.setattr(backend, "_available", lambda name: name != "mkl" and real(name))
    assert backend_for("cpu") == "native"
    backend._chosen.cache_clear()

    def broken(matrix, x):
        raise RuntimeError("not built in")

    products = {
        **backend._PRODUCTS,
        "native": broken,
        "scipy": lambda m, x: 2 * backend._scipy(m, x),
    }
    monkeypatch.setattr(backend, "_PRODUCTS", products)
    assert backend_for("cpu") == "edges"
    with pytest.raises(InputError, match="mkl"), use_backend("mkl"):
        pass


@pytest.mark.parametrize("faster", [True, False])
def test_torch_scatter_is_used_when_it_is_there_and_faster(monkeypatch, clean_choice, faster):
    module = types.ModuleType("torch_scatter")
    module.__spec__ = types.SimpleNamespace(name="torch_scatter")
    module.segment_csr = lambda src, ptr, reduce: torch.segment_reduce(
        src, "sum", offsets=ptr, axis=0, initial=0
    )
    monkeypatch.setitem(sys.modules, "torch_scatter", module)
    seconds = {"torch_scatter": 1.0 if faster else 3.0}
    monkeypatch.setattr(backend, "_seconds", lambda name, dtype: seconds.get(name, 2.0))
    assert (backend_for("cpu") == "torch_scatter") == faster


def test_measuring_needs_no_package():
    assert all(backend._seconds(name, torch.float32) > 0 for name in CPU)


def test_other_devices_gather():
    assert backend_for("meta") == "edges"


def test_info_is_plain_and_complete():
    info = json.loads(json.dumps(backend_info()))
    assert {"scipy", "edges", "native"} <= set(info["available"])
    assert info["cpu"]["float32"] in info["available"]
