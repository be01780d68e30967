"""The edge-wise kernels against dense float64: torch, Triton's interpreter, CUDA if there is one.

Run as a script under ``TRITON_INTERPRET=1`` this file writes what the Triton kernels give; the
tests read that. A process of its own is needed because torch has long imported triton here.
"""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from graphclean.sparse import HopOperator, Propagator, kernels
from graphclean.sparse.kernels import fallback
from graphclean.types import InputError

TOLERANCE = {torch.float32: 2e-6, torch.bfloat16: 2e-6, torch.float64: 1e-12}


def random_csr(seed, counts, columns):
    """CSR with the given entries per row, no duplicates, columns unsorted as a kernel may meet."""
    rng = np.random.default_rng(seed)
    indices = [rng.choice(columns, count, replace=False) for count in counts]
    indptr = torch.tensor(np.concatenate([[0], np.cumsum(counts)]))
    values = torch.from_numpy(rng.uniform(0.1, 1.0, sum(counts)) / 20)
    return indptr, torch.tensor(np.concatenate(indices).astype(np.int64)), values


def symmetric_csr(seed, nodes, edges):
    rng = np.random.default_rng(seed)
    dense = np.zeros((nodes, nodes))
    for a, b in rng.integers(0, nodes, (edges, 2)):
        if a != b:
            dense[a, b] = dense[b, a] = rng.uniform(0.1, 1.0)
    row, column = dense.nonzero()
    indptr = torch.tensor(np.searchsorted(row, np.arange(nodes + 1)))
    return indptr, torch.from_numpy(column), torch.from_numpy(dense[row, column])


def gather_case(seed, counts, columns, *, dtype, index=torch.int64, queries=None, weighted=True):
    rng = np.random.default_rng(seed)
    indptr, indices, values = random_csr(seed, counts, columns)
    shape = (len(counts),) if queries is None else (len(counts), queries)
    return {
        "csr": (indptr.to(index), indices.to(index), values.to(dtype) if weighted else None),
        "labels": torch.tensor(rng.integers(-1, 3, columns)),
        "x": torch.from_numpy(rng.normal(size=(columns, 3))).to(dtype),
        "query": torch.tensor(rng.integers(-1, 3, shape)),
        "dtype": dtype,
    }


LONG_ROWS = [3, 0, 1100, 513, 512, 1]
GATHERS = {
    "float32": gather_case(1, [4, 0, 7, 1, 33, 12, 2], 40, dtype=torch.float32),
    "float64 int32": gather_case(
        2, [5, 2, 0, 40], 40, dtype=torch.float64, index=torch.int32, queries=2
    ),
    "bfloat16": gather_case(3, [6, 3, 20], 30, dtype=torch.bfloat16, queries=1),
    "unweighted, five queries": gather_case(
        4, [6, 3, 20], 30, dtype=torch.float32, queries=5, weighted=False
    ),
    "long rows": gather_case(5, LONG_ROWS, 1200, dtype=torch.float64, index=torch.int32),
    "more pieces than a program": gather_case(6, [2] * 37, 9, dtype=torch.float32, queries=2),
    "no edges": gather_case(7, [0, 0, 0], 4, dtype=torch.float32),
    "no rows": gather_case(8, [0], 4, dtype=torch.float32)
    | {
        "csr": (torch.zeros(1, dtype=torch.int64), torch.zeros(0, dtype=torch.int64), None),
        "query": torch.zeros(0, dtype=torch.int64),
    },
}
COMPLETE = symmetric_csr(3, 20, 6000)
TRIANGLES = {
    "random": symmetric_csr(1, 14, 60),
    "complete, rows in two lists": COMPLETE,
    "float32 int32": tuple(
        part.to(kind)
        for part, kind in zip(
            symmetric_csr(2, 12, 40), (torch.int32, torch.int32, torch.float32), strict=True
        )
    ),
    "path": symmetric_csr(4, 2, 3),
    "unweighted": (*symmetric_csr(5, 10, 30)[:2], None),
    "empty": symmetric_csr(5, 3, 0),
    "no rows": symmetric_csr(5, 0, 0),
}


def computed(device="cpu"):
    """Every case through the public functions, by name."""

    def moved(parts):
        return tuple(None if part is None else part.to(device) for part in parts)

    found = {}
    for name, case in GATHERS.items():
        csr, query = moved(case["csr"]), case["query"].to(device)
        found[f"label {name}"] = kernels.label_agreement(*csr, case["labels"].to(device), query)
        found[f"entry {name}"] = kernels.hop_entry(*csr, case["x"].to(device), query)
    for name, csr in TRIANGLES.items():
        found[f"triangle {name}"] = kernels.triangle_diagonal(*moved(csr))
    found["hop features"] = hop_features(device)
    return {name: value.cpu().numpy() for name, value in found.items()}


def hop_features(device="cpu"):
    """Two hops and the diagonal of the third on a small graph: all that runs through kernels."""
    indptr, indices, _ = symmetric_csr(9, 8, 30)
    target = torch.arange(8).repeat_interleave(indptr.diff())
    propagator = Propagator(torch.stack([indices, target]), 8, dtype=torch.float64).to(device)
    x = torch.linspace(0, 1, 24, dtype=torch.float64, device=device).view(8, 3).cos()
    return HopOperator(propagator, 3).at(x, torch.arange(8, device=device) % 3)


def dense(csr, columns):
    indptr, indices, values = csr
    matrix = np.zeros((len(indptr) - 1, columns))
    row = np.repeat(np.arange(len(matrix)), np.diff(indptr))
    matrix[row, indices] = 1.0 if values is None else values.double()
    return matrix


def brute_force(case, kind):
    matrix = dense(case["csr"], len(case["labels"]))
    query = case["query"].numpy()
    asked = query if query.ndim == 2 else query[:, None]
    if kind == "label":
        right = np.stack([(case["labels"].numpy() == c) for c in range(3)], axis=1)
    else:
        right = case["x"].double().numpy()
    product = matrix @ right
    rows = np.arange(len(matrix))[:, None]
    return np.where(asked < 0, 0.0, product[rows, asked]).reshape(query.shape)


def compare(found):
    for name, case in GATHERS.items():
        for kind in ("label", "entry"):
            values = found[f"{kind} {name}"]
            expected_type = np.float64 if case["dtype"] == torch.float64 else np.float32
            if name != "no rows":
                assert values.dtype == expected_type, (kind, name)
            np.testing.assert_allclose(
                values, brute_force(case, kind), atol=TOLERANCE[case["dtype"]], err_msg=name
            )
    for name, csr in TRIANGLES.items():
        matrix = dense(csr, len(csr[0]) - 1)
        expected = np.diag(np.linalg.matrix_power(matrix, 3)) if len(matrix) else np.zeros(0)
        single = csr[2] is None or csr[2].dtype == torch.float32
        tolerance = 1e-6 if single else 1e-13
        np.testing.assert_allclose(
            found[f"triangle {name}"], expected, rtol=tolerance, atol=1e-12, err_msg=name
        )
        assert found[f"triangle {name}"].dtype == np.float64
    matrix = dense((*symmetric_csr(9, 8, 30)[:2], None), 8)
    matrix = matrix / np.sqrt(matrix.sum(0) * matrix.sum(1)[:, None])
    x = np.cos(np.linspace(0, 1, 24)).reshape(8, 3)
    for hop in (1, 2, 3):
        power = np.linalg.matrix_power(matrix, hop)
        np.fill_diagonal(power, 0.0)
        expected = (power @ x)[np.arange(8), np.arange(8) % 3]
        np.testing.assert_allclose(found["hop features"][:, hop - 1], expected, atol=1e-12)
    hub = brute_force(GATHERS["long rows"], "label")
    assert hub.max() > 1, "the cases must find something"
    assert found["triangle random"].max() > 0


def test_torch_path_equals_dense(monkeypatch):
    monkeypatch.setattr(kernels, "available", lambda device: False)
    whole = computed()
    compare(whole)
    monkeypatch.setattr(fallback, "_BLOCK", 30)
    blocks = computed()
    for name, values in whole.items():
        np.testing.assert_allclose(blocks[name], values, rtol=1e-6, err_msg=name)


@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
def test_triton_kernels_equal_dense_in_the_interpreter(tmp_path):
    out = tmp_path / "interpreted.npz"
    environment = {**os.environ, "TRITON_INTERPRET": "1", "TRITON_CACHE_DIR": str(tmp_path)}
    subprocess.run([sys.executable, __file__, str(out)], env=environment, check=True, timeout=300)
    with np.load(out) as found:
        compare(found)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_kernels_equal_dense_on_cuda():
    first, second = computed("cuda"), computed("cuda")
    compare(first)
    if kernels.available("cuda"):
        assert all(np.array_equal(first[name], second[name]) for name in first)


def compile_for(kernel, pointers, integers, constants, tmp_path, monkeypatch):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource, compile

    monkeypatch.setenv("TRITON_CACHE_DIR", str(tmp_path))
    signature = {
        **pointers,
        **dict.fromkeys(integers, "i32"),
        **dict.fromkeys(constants, "constexpr"),
    }
    source = ASTSource(kernel, signature=signature, constexprs=constants)
    target, options = GPUTarget("cuda", 90, 32), {"enable_fp_fusion": True}
    return compile(source, target=target, options=options).asm


@pytest.mark.parametrize(("match", "value"), [(True, "*fp32"), (False, "*bf16"), (False, "*fp64")])
def test_label_gather_compiles_for_a_gpu(match, value, tmp_path, monkeypatch):
    pytest.importorskip("triton")
    from graphclean.sparse.kernels import label_gather

    pointers = {
        "out": "*fp64" if value == "*fp64" else "*fp32",
        "owner": "*i32",
        "start": "*i32",
        "end": "*i32",
        "indices": "*i32",
        "values": value,
        "source": "*i64" if match else value,
        "query": "*i64",
    }
    constants = {"MATCH": match, "WEIGHTED": True, "ROWS": 16, "EDGES": 32, "QUERIES": 2}
    asm = compile_for(
        label_gather._gather_kernel,
        pointers,
        ("num_pieces", "width", "source_width"),
        constants,
        tmp_path,
        monkeypatch,
    )
    assert "atom" not in asm["ptx"]


@pytest.mark.parametrize("value", ["*fp32", "*fp64"])
def test_triangle_kernel_compiles_for_a_gpu(value, tmp_path, monkeypatch):
    pytest.importorskip("triton")
    from graphclean.sparse.kernels import triangles

    pointers = {"middle": value, "high": value, "rows": "*i64", "indptr": "*i64"}
    pointers |= {"indices": "*i32", "values": value}
    constants = {"LISTED": 64, "COMPARED": 16}
    asm = compile_for(
        triangles._triangle_kernel, pointers, ("num_edges",), constants, tmp_path, monkeypatch
    )
    assert "atom" not in asm["ptx"]


def test_a_machine_without_triton_or_cuda_takes_the_torch_path(monkeypatch):
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert not kernels.available("cpu")
    monkeypatch.setattr(kernels, "_triton_is_here", lambda: False)
    assert not kernels.available("cuda")
    monkeypatch.setattr(kernels, "_triton_is_here", lambda: True)
    assert kernels.available("cuda")


@pytest.mark.parametrize(
    ("argument", "change"),
    [
        ("indptr", {"indptr": torch.zeros(3)}),
        ("indices", {"indices": torch.zeros(2, 2, dtype=torch.int64)}),
        ("values", {"values": torch.ones(5)}),
        ("values", {"values": torch.ones(2, dtype=torch.int64)}),
        ("query", {"query": torch.zeros(3, dtype=torch.int64)}),
        ("query", {"query": torch.tensor([0, 2])}),
        ("x", {"x": torch.zeros(2, 2, dtype=torch.int64)}),
    ],
)
def test_refuses_what_does_not_fit(argument, change):
    good = {
        "indptr": torch.tensor([0, 1, 2]),
        "indices": torch.tensor([1, 0]),
        "values": torch.ones(2),
        "x": torch.rand(2, 2),
        "query": torch.tensor([0, 1]),
    }
    with pytest.raises(InputError, match=argument):
        kernels.hop_entry(**{**good, **change})


def test_refuses_soft_labels():
    csr = (torch.tensor([0, 1]), torch.tensor([0]), None)
    with pytest.raises(InputError, match="labels"):
        kernels.label_agreement(*csr, torch.zeros(1), torch.tensor([0]))


if __name__ == "__main__":
    from graphclean.sparse.kernels import triangles

    assert kernels.available("cpu")
    triangles._LISTED = 16
    np.savez(Path(sys.argv[1]), **computed())
